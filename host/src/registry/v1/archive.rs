//! The members of a layer's tar archive, plain or compressed with gzip, bzip2 or xz.
//!
//! Names and numbers are kept, contents are skipped. Memory is bounded by [`MAX_LIST_BYTES`],
//! [`MAX_EXTENSION_BYTES`] and [`XZ_MEMORY`], whatever the layer says. Unlike in 0.9.1, whiteouts are
//! recognised in every folder.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use serde_json::json;
use tar::{EntryType, Header, PaxExtensions};

use super::{Error, Result, json};

/// Longest list, as JSON. It is stored as one small object.
const MAX_LIST_BYTES: usize = 32 << 20;
/// Longest name or extended header of one archive member.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;
/// Memory that the xz decoder may ask for; its largest preset needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;
const BLOCK: usize = 512;

/// The archive inside a layer, by its first bytes.
fn decompress(mut layer: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut magic = Vec::with_capacity(6);
    layer.by_ref().take(6).read_to_end(&mut magic)?;
    let kind = magic.clone();
    let whole = Read::chain(Cursor::new(magic), layer);
    Ok(match kind.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(whole))),
        [b'B', b'Z', b'h', ..] => Box::new(BufReader::new(bzip2::read::MultiBzDecoder::new(whole))),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let decoder =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(BufReader::new(liblzma::read::XzDecoder::new_stream(whole, decoder)))
        }
        _ => Box::new(BufReader::new(whole)),
    })
}

/// The JSON list of an archive's members.
///
/// What cannot be read as the first header is no archive; what follows good members and is broken ends
/// the list, as in 0.9.1.
pub(super) fn list(layer: impl Read + 'static) -> Result<String> {
    let mut archive = decompress(layer).map_err(|_| Error::NotAnArchive)?;
    if archive.fill_buf().map_err(|_| Error::NotAnArchive)?.is_empty() {
        return Err(Error::NotAnArchive);
    }
    let mut list = String::from("[");
    let mut members = 0_u64;
    loop {
        match next_member(&mut archive) {
            Ok(Some(member)) => {
                members += 1;
                if let Some(line) = member.line() {
                    list.push_str(if list.len() == 1 { "" } else { ", " });
                    list.push_str(&line);
                }
                if list.len() > MAX_LIST_BYTES {
                    return Err(Error::TooManyFiles);
                }
            }
            Err(Broken) if members == 0 => return Err(Error::NotAnArchive),
            Ok(None) | Err(Broken) => break,
        }
    }
    list.push(']');
    Ok(list)
}

/// A header or a content cannot be read.
struct Broken;

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self
    }
}

struct Member {
    name: String,
    kind: char,
    size: u64,
    mtime: serde_json::Value,
    mode: u32,
    uid: u64,
    gid: u64,
}

/// Reads headers up to the next member proper and skips its content. `None` at the end mark.
fn next_member(archive: &mut impl Read) -> std::result::Result<Option<Member>, Broken> {
    let mut long_name = None;
    let mut extensions = Vec::new();
    loop {
        let mut header = Header::new_old();
        if !read_block(archive, header.as_mut_bytes())? {
            return Ok(None);
        }
        let content = content_size(&header)?;
        match header.entry_type() {
            EntryType::GNULongName => long_name = Some(read_extension(archive, content)?),
            EntryType::XHeader => extensions = read_extension(archive, content)?,
            EntryType::GNULongLink | EntryType::XGlobalHeader => skip(archive, content)?,
            _ => {
                let (member, content) = member_of(&header, long_name, &extensions)?;
                skip_sparse_maps(archive, &header)?;
                skip(archive, content)?;
                return Ok(Some(member));
            }
        }
    }
}

/// Fills one header block. `false` at the end of the archive: a block of zeros, or no more bytes.
fn read_block(archive: &mut impl Read, block: &mut [u8; BLOCK]) -> std::result::Result<bool, Broken> {
    let mut read = 0;
    while read < BLOCK {
        match archive.read(&mut block[read..])? {
            0 if read == 0 => return Ok(false),
            0 => return Err(Broken),
            more => read += more,
        }
    }
    if block.iter().all(|byte| *byte == 0) {
        return Ok(false);
    }
    let header = Header::from_byte_slice(block);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(i, byte)| if (148..156).contains(&i) { 32 } else { u32::from(*byte) })
        .sum();
    if header.cksum()? == sum { Ok(true) } else { Err(Broken) }
}

fn read_extension(archive: &mut impl Read, size: u64) -> std::result::Result<Vec<u8>, Broken> {
    if size > MAX_EXTENSION_BYTES {
        return Err(Broken);
    }
    let mut content = vec![0; size as usize];
    archive.read_exact(&mut content)?;
    skip_bytes(archive, padding(size))?;
    Ok(content)
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn skip(archive: &mut impl Read, size: u64) -> std::result::Result<(), Broken> {
    skip_bytes(archive, size)?;
    skip_bytes(archive, padding(size))
}

/// Skips bytes. An archive that ends inside a content has been listed up to there.
fn skip_bytes(archive: &mut impl Read, count: u64) -> std::result::Result<(), Broken> {
    io::copy(&mut archive.take(count), &mut io::sink())?;
    Ok(())
}

/// Skips the further blocks of a GNU sparse file's map.
fn skip_sparse_maps(archive: &mut impl Read, header: &Header) -> std::result::Result<(), Broken> {
    if header.entry_type() != EntryType::GNUSparse {
        return Ok(());
    }
    let mut more = header.as_gnu().is_some_and(tar::GnuHeader::is_extended);
    while more {
        let mut map = tar::GnuExtSparseHeader::new();
        archive.read_exact(map.as_mut_bytes())?;
        more = map.is_extended();
    }
    Ok(())
}

/// The size of a content by its header; an empty field is zero.
fn content_size(header: &Header) -> std::result::Result<u64, Broken> {
    let field = header.as_old().size;
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { Ok(header.entry_size()?) }
}

/// A member and the size of its content in the archive, by its header and what was said before it.
fn member_of(
    header: &Header,
    long_name: Option<Vec<u8>>,
    extensions: &[u8],
) -> std::result::Result<(Member, u64), Broken> {
    let mut content = content_size(header)?;
    let mut name = match long_name {
        Some(name) => name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
        None => header.path_bytes().into_owned(),
    };
    // Fields that are empty or no numbers hurt nobody but the reader of the list.
    let mut mtime = json!(header.mtime().unwrap_or_default());
    let mut uid = header.uid().unwrap_or_default();
    let mut gid = header.gid().unwrap_or_default();
    let mode = header.mode().unwrap_or_default();
    for extension in PaxExtensions::new(extensions).flatten() {
        let number = extension.value().ok().and_then(|text| text.parse::<u64>().ok());
        match extension.key_bytes() {
            b"path" => name = extension.value_bytes().to_vec(),
            b"size" => content = number.unwrap_or(content),
            b"uid" => uid = number.unwrap_or(uid),
            b"gid" => gid = number.unwrap_or(gid),
            // Python keeps times of extended headers as floating point numbers.
            b"mtime" => {
                let time = extension.value().ok().and_then(|text| text.parse::<f64>().ok());
                mtime = time.filter(|time| time.is_finite()).map_or(mtime, |time| json!(time));
            }
            _ => {}
        }
    }
    let mut kind = type_letter(header.entry_type().as_byte());
    if header.entry_type().as_byte() == 0 && name.ends_with(b"/") {
        kind = 'd';
    }
    let size = match header.as_gnu() {
        Some(gnu) if kind == 'S' => gnu.real_size()?,
        _ => content,
    };
    // Links, devices and folders have no content, whatever their size says.
    if matches!(kind, 'l' | 's' | 'c' | 'b' | 'd' | 'i') {
        content = 0;
    }
    let name = String::from_utf8_lossy(&name).trim_end_matches('/').to_owned();
    Ok((Member { name, kind, size, mtime, mode, uid, gid }, content))
}

/// The letters of 0.9.1's lists.
fn type_letter(kind: u8) -> char {
    match kind {
        0 | b'0' => 'f',
        b'1' => 'l',
        b'2' => 's',
        b'3' => 'c',
        b'4' => 'b',
        b'5' => 'd',
        b'6' => 'i',
        b'7' => 't',
        b'S' => 'S',
        _ => 'u',
    }
}

impl Member {
    /// The member's line in the list; `None` for the union file system's own files (`.wh..wh.*`).
    fn line(&self) -> Option<String> {
        let path = match self.name.strip_prefix("./") {
            _ if self.name == "." => "/".to_owned(),
            Some(below) => format!("/{below}"),
            None => self.name.clone(),
        };
        if path.split('/').any(|part| part.starts_with(".wh..wh.")) {
            return None;
        }
        let (folder, file) = path
            .rsplit_once('/')
            .map_or(("", path.as_str()), |(_, file)| (&path[..path.len() - file.len()], file));
        let (path, deleted) = match file.strip_prefix(".wh.") {
            Some(file) => (format!("{folder}{file}"), true),
            None => (path, false),
        };
        let kind = self.kind.to_string();
        Some(json::to_text(&json!([
            path, kind, deleted, self.size, self.mtime, self.mode, self.uid, self.gid
        ])))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn archive() -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |path: &str, kind: EntryType, content: &[u8]| {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1_400_000_000);
            header.set_uid(1);
            header.set_gid(2);
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            archive.append(&header, content).unwrap();
        };
        add("./", EntryType::Directory, b"");
        add("./.wh..wh.plnk/", EntryType::Directory, b"");
        add("./.wh.gone", EntryType::Regular, b"");
        add("./sub/.wh.deep", EntryType::Regular, b"");
        add("etc/passwd", EntryType::Regular, b"hello");
        add("link", EntryType::Symlink, b"");
        archive.append_data(&mut Header::new_gnu(), "n".repeat(300), io::empty()).unwrap();
        archive.into_inner().unwrap()
    }

    fn expected() -> String {
        let long = "n".repeat(300);
        format!(
            "{}{long}{}",
            concat!(
                r#"[["/", "d", false, 0, 1400000000, 420, 1, 2], ["/gone", "f", true, 0, 1400000000, 420, 1, 2], "#,
                r#"["/sub/deep", "f", true, 0, 1400000000, 420, 1, 2], "#,
                r#"["etc/passwd", "f", false, 5, 1400000000, 420, 1, 2], "#,
                r#"["link", "s", false, 0, 1400000000, 420, 1, 2], [""#
            ),
            r#"", "f", false, 0, 0, 0, 0, 0]]"#
        )
    }

    fn listed(layer: Vec<u8>) -> Result<String> {
        list(Cursor::new(layer))
    }

    #[test]
    fn plain_and_compressed_archives_are_listed() {
        let plain = archive();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&plain).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&plain).unwrap();
        for layer in [plain, gzip.finish().unwrap(), bzip2.finish().unwrap(), xz.finish().unwrap()] {
            assert_eq!(listed(layer).unwrap(), expected());
        }
    }

    #[test]
    fn extended_headers_replace_names_and_numbers() {
        let mut builder = tar::Builder::new(Vec::new());
        let values = [("path", &b"./caf\xff\xc3\xa9"[..]), ("mtime", b"12.5"), ("uid", b"70000000000")];
        builder.append_pax_extensions(values).unwrap();
        let mut header = Header::new_ustar();
        header.set_path("short").unwrap();
        header.set_size(0);
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
        assert_eq!(
            listed(builder.into_inner().unwrap()).unwrap(),
            r#"[["/caf\ufffd\u00e9", "f", false, 0, 12.5, 0, 70000000000, 0]]"#
        );
    }

    #[test]
    fn what_is_no_archive_is_refused_and_an_empty_archive_is_not() {
        let pattern: Vec<u8> = (0..5000).map(|i| (i % 251) as u8).collect();
        for layer in
            [vec![], pattern, b"\x1f\x8bbroken".to_vec(), b"BZhbroken".to_vec(), archive()[..100].to_vec()]
        {
            assert!(matches!(listed(layer), Err(Error::NotAnArchive)));
        }
        assert_eq!(listed(vec![0; 1024]).unwrap(), "[]");
    }

    #[test]
    fn a_huge_name_costs_no_memory() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        assert!(matches!(listed(header.as_bytes().to_vec()), Err(Error::NotAnArchive)));
    }

    #[test]
    fn a_broken_member_ends_the_list() {
        let mut layer = archive();
        let end = layer.len() - 1024;
        layer[end - 3 * BLOCK..end - 2 * BLOCK].fill(7);
        assert!(listed(layer).unwrap().ends_with(r#"["link", "s", false, 0, 1400000000, 420, 1, 2]]"#));
    }
}
