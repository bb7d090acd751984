//! The release archive: sorted, owned by root, of one time, so that the same build gives the same bytes.

use std::fs::File;
use std::path::Path;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};
use xshell::Shell;

use super::release::Release;

/// Writes the archive into a folder and returns its name.
pub(crate) fn write(release: &Release, folder: &Path, time: u64) -> Result<String> {
    let name = format!("docker-registry-{}", release.version);
    let file = format!("{name}-x86_64-linux-gnu.tar.gz");
    let tree = release.tree(&Shell::new()?, "/usr/local")?;
    // The builder's own time would be that of the packing.
    let gzip = GzBuilder::new().mtime(0).write(File::create(folder.join(&file))?, Compression::best());
    let mut archive = Builder::new(gzip);
    for below in tree.folders() {
        append(&mut archive, &format!("{name}/{below}/"), 0o755, EntryType::Directory, &[], time)?;
    }
    for (path, entry) in tree.files() {
        append(
            &mut archive,
            &format!("{name}/{path}"),
            entry.mode,
            EntryType::Regular,
            &entry.content,
            time,
        )?;
    }
    archive.into_inner()?.finish()?.sync_all()?;
    Ok(file)
}

fn append(
    archive: &mut Builder<impl std::io::Write>,
    path: &str,
    mode: u32,
    kind: EntryType,
    content: &[u8],
    time: u64,
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    Ok(archive.append_data(&mut header, path, content)?)
}
