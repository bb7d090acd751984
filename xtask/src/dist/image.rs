//! The container image, built by docker from what the release archive holds.

use anyhow::Result;
use xshell::{Shell, cmd};

use super::release::Release;

/// Builds the image `name` on the image `base`.
pub(crate) fn build(shell: &Shell, release: &Release, name: &str, base: &str) -> Result<()> {
    let context = tempfile::tempdir()?;
    let folder = context.path();
    release.tree(shell, "/usr/local")?.write(folder)?;
    let file = folder.join("share/docker-registry/image/Dockerfile");
    let version = &release.version;
    cmd!(
        shell,
        "docker build --quiet --tag {name} --file {file} --build-arg BASE={base} --build-arg VERSION={version} {folder}"
    )
    .quiet()
    .ignore_stdout()
    .run()?;
    println!("{name}");
    Ok(())
}
