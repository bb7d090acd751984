//! Content on its way: into files with its sums, and out of them again.

use std::{
    io::SeekFrom,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::stream;
use http::HeaderMap;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use sha2::{Digest, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
};

use crate::{answer::Refusal, auth::Proved, signature::hex, store::Content, sums::Sums};

const PIECE: usize = 256 << 10;

/// Takes a body into a new file and compares it with every sum that came along.
pub(crate) async fn receive(
    body: Incoming,
    file: PathBuf,
    headers: &HeaderMap,
    proved: &Proved,
) -> Result<Content, Refusal> {
    let (content, sha256) = receive_unchecked(body, file).await?;
    if let Some(length) = headers.get(http::header::CONTENT_LENGTH)
        && length.to_str().ok().and_then(|length| length.parse().ok()) != Some(content.size)
    {
        return Err(Refusal::new(400, "IncompleteBody", "The content is shorter than announced."));
    }
    if let Some(payload) = &proved.payload
        && *payload != sha256
    {
        let message = "The content does not have the SHA-256 that was signed.";
        return Err(Refusal::new(400, "XAmzContentSHA256Mismatch", message));
    }
    if let Some(md5) = headers.get("content-md5")
        && md5.as_bytes() != BASE64_STANDARD.encode(content.md5).as_bytes()
    {
        return Err(Refusal::new(400, "BadDigest", "The content does not have the MD5 that was sent."));
    }
    Ok(content)
}

async fn receive_unchecked(mut body: Incoming, path: PathBuf) -> Result<(Content, String), Refusal> {
    let mut file = File::create(&path).await?;
    let (mut sums, mut sha256, mut size) = (Sums::default(), Sha256::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::new(400, "IncompleteBody", error.to_string()))?;
        let Some(piece) = frame.data_ref() else { continue };
        sums.update(piece);
        sha256.update(piece);
        size += piece.len() as u64;
        file.write_all(piece).await?;
    }
    file.flush().await?;
    let (md5, crc32c) = sums.finish();
    let content = Content { file: path, size, md5, crc32c };
    Ok((content, hex(&sha256.finalize())))
}

/// A small body, whole.
pub(crate) async fn small(body: Incoming, proved: &Proved) -> Result<Bytes, Refusal> {
    let limited = http_body_util::Limited::new(body, 4 << 20);
    let whole = limited.collect().await.map_err(|error| Refusal::invalid(error.to_string()))?.to_bytes();
    match &proved.payload {
        Some(payload) if *payload != hex(&Sha256::digest(&whole)) => {
            let message = "The content does not have the SHA-256 that was signed.";
            Err(Refusal::new(400, "XAmzContentSHA256Mismatch", message))
        }
        _ => Ok(whole),
    }
}

/// A range of a file.
pub(crate) struct Range<'a> {
    pub(crate) file: &'a Path,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Joins ranges of files to a new file.
pub(crate) async fn join(ranges: &[Range<'_>], path: PathBuf) -> Result<Content, Refusal> {
    let mut target = File::create(&path).await?;
    let (mut sums, mut size) = (Sums::default(), 0);
    let mut piece = vec![0; PIECE];
    for range in ranges {
        let mut source = File::open(range.file).await?;
        source.seek(SeekFrom::Start(range.offset)).await?;
        let mut source = source.take(range.length);
        loop {
            let read = source.read(&mut piece).await?;
            if read == 0 {
                break;
            }
            sums.update(&piece[..read]);
            size += read as u64;
            target.write_all(&piece[..read]).await?;
        }
    }
    target.flush().await?;
    let (md5, crc32c) = sums.finish();
    Ok(Content { file: path, size, md5, crc32c })
}

/// Part of a file as a body.
pub(crate) async fn send(
    path: &Path,
    offset: u64,
    length: u64,
) -> Result<UnsyncBoxBody<Bytes, std::io::Error>, Refusal> {
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    let pieces = stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; PIECE.min(left as usize)];
        let read = file.read(&mut piece).await?;
        if read == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        }
        piece.truncate(read);
        Ok(Some((Frame::data(Bytes::from(piece)), (file, left - read as u64))))
    });
    Ok(StreamBody::new(pieces).boxed_unsync())
}
