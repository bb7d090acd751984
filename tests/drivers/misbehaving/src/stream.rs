//! Streams that go wrong in the middle: of an object that is read, and of an upload's body.

use std::time::Duration;

use docker_registry_driver_api::{
    ByteStream, Bytes, ReadRange, Reading, ReadingBody, Result,
    futures::{StreamExt, stream},
};

use crate::{
    fault::{Bomb, Brake, Chosen, Fault},
    record::{NotedWhenDropped, Record},
};

/// What a stream drags along, for its destructor.
enum Ballast {
    Nothing,
    Bomb(Bomb),
    Brake(#[expect(dead_code, reason = "held for its destructor")] Brake),
}

/// The wanted range of `content`. Half of it comes as it should; then the fault shows.
///
/// `panic_in_drop` yields everything and panics when the stream is dropped; `leak` and `log` happen once and
/// spoil nothing; `slow` yields byte by byte. The stream's end, by whatever cause, is recorded.
pub(crate) fn spoilt(chosen: Chosen, content: &Bytes, range: ReadRange, record: Record) -> Result<Reading> {
    let total_size = content.len() as u64;
    let (offset, length) = range.resolve(total_size)?;
    let wanted = content.slice(offset as usize..(offset + length) as usize);
    let noted = NotedWhenDropped(record, "read_stream dropped");
    let body = ReadingBody::Stream(stream(chosen, wanted, noted));
    Ok(Reading { total_size, offset, length, etag: None, body })
}

fn stream(chosen: Chosen, wanted: Bytes, noted: NotedWhenDropped) -> ByteStream {
    let ballast = match chosen.fault {
        Fault::PanicInDrop | Fault::PanicWhenDropped => Ballast::Bomb(Bomb),
        Fault::BlockWhenDropped => Ballast::Brake(Brake(chosen.clone())),
        _ => Ballast::Nothing,
    };
    let (size, pause): (usize, Option<Duration>) = match chosen.fault {
        Fault::Slow => (1, Some(chosen.pause)),
        _ => (wanted.len().div_ceil(2).max(1), None),
    };
    let pieces: Vec<Bytes> = (0..wanted.len())
        .step_by(size)
        .map(|start| wanted.slice(start..wanted.len().min(start + size)))
        .collect();
    let whole = matches!(chosen.fault, Fault::PanicInDrop | Fault::Slow);
    stream::unfold(
        (0, pieces, chosen, (noted, ballast)),
        move |(number, pieces, chosen, ballast)| async move {
            if number == 1
                && !whole
                && let Err(error) = meet_in_stream(&chosen).await
            {
                return Some((Err(error), (pieces.len(), pieces, chosen, ballast)));
            }
            if let Some(pause) = pause
                && number > 0
            {
                tokio::time::sleep(pause).await;
            }
            let piece = pieces.get(number)?.clone();
            Some((Ok(piece), (number + 1, pieces, chosen, ballast)))
        },
    )
    .boxed()
}

/// The body of an upload. Its second chunk meets the fault before the driver below sees it.
pub(crate) fn spoilt_body(chosen: Chosen, body: ByteStream) -> ByteStream {
    body.enumerate()
        .then(move |(number, chunk)| {
            let chosen = (number == 1).then(|| chosen.clone());
            async move {
                if let Some(chosen) = chosen {
                    meet_in_stream(&chosen).await?;
                }
                chunk
            }
        })
        .boxed()
}

async fn meet_in_stream(chosen: &Chosen) -> Result<()> {
    match chosen.fault {
        Fault::Hang | Fault::PanicWhenDropped | Fault::BlockWhenDropped => std::future::pending().await,
        _ => chosen.meet_now(),
    }
}
