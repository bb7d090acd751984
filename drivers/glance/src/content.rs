//! Bodies of the other driver as streams, whatever they are.

use std::{os::unix::fs::FileExt, sync::Arc};

use docker_registry_driver_api::{ByteStream, Bytes, Error, ErrorKind, FileRegion, ReadingBody};
use futures::{StreamExt, stream};

/// Bytes of one chunk.
const CHUNK: u64 = 256 << 10;

/// The body as a stream.
pub(crate) fn stream_of(body: ReadingBody) -> ByteStream {
    match body {
        ReadingBody::Stream(stream) => stream,
        ReadingBody::File(region) => stream_of_file(region),
    }
}

fn stream_of_file(region: FileRegion) -> ByteStream {
    let (file, end) = (Arc::new(region.file), region.offset + region.length);
    stream::try_unfold(region.offset, move |offset| {
        let file = Arc::clone(&file);
        async move {
            if offset >= end {
                return Ok(None);
            }
            let length = usize::try_from((end - offset).min(CHUNK)).unwrap_or_default();
            let read = move || {
                let mut chunk = vec![0; length];
                file.read_exact_at(&mut chunk, offset).map(|()| chunk)
            };
            let chunk = tokio::task::spawn_blocking(read).await.map_err(|error| failed(&error))?;
            let chunk = Bytes::from(chunk.map_err(|error| failed(&error))?);
            Ok(Some((chunk, offset + length as u64)))
        }
    })
    .boxed()
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::new(ErrorKind::Unavailable, "a file of the other driver cannot be read").caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use docker_registry_driver_api::{Result, collect};

    use super::*;

    #[tokio::test]
    async fn a_part_of_a_file_comes_in_chunks_and_a_short_file_is_an_error() -> Result<()> {
        let mut file = tempfile::tempfile().expect("a file");
        let content: Vec<u8> = (0..700_000_u32).map(|number| number as u8).collect();
        file.write_all(&content).expect("it is written");
        let region = |offset, length| {
            let file = file.try_clone().expect("a copy");
            stream_of(ReadingBody::File(FileRegion { file, offset, length }))
        };
        assert_eq!(collect(region(5, 600_000), 1 << 20).await?, content[5..600_005]);
        assert_eq!(collect(region(5, 0), 1 << 20).await?, "");
        assert!(collect(region(5, 700_000), 1 << 20).await.is_err());
        Ok(())
    }
}
