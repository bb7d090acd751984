//! A stream of an object that goes wrong in the middle.

use std::time::Duration;

use docker_registry_driver_api::{
    ByteStream, Bytes, ReadRange, Reading, ReadingBody, Result,
    futures::{StreamExt, stream},
};

use crate::fault::{Bomb, Brake, Chosen, Fault};

/// What a stream drags along, for its destructor.
enum Ballast {
    Nothing,
    Bomb(Bomb),
    Brake(#[expect(dead_code, reason = "held for its destructor")] Brake),
}

/// The wanted range of `content`. Half of it comes as it should; then the fault shows.
///
/// `panic_in_drop` yields everything and panics when the stream is dropped; `leak` and `log` happen once and
/// spoil nothing; `slow` yields byte by byte.
pub(crate) fn spoilt(chosen: Chosen, content: &Bytes, range: ReadRange) -> Result<Reading> {
    let total_size = content.len() as u64;
    let (offset, length) = range.resolve(total_size)?;
    let wanted = content.slice(offset as usize..(offset + length) as usize);
    let body = ReadingBody::Stream(stream(chosen, wanted));
    Ok(Reading { total_size, offset, length, etag: None, body })
}

fn stream(chosen: Chosen, wanted: Bytes) -> ByteStream {
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
    stream::unfold((0, pieces, chosen, ballast), move |(number, pieces, chosen, ballast)| async move {
        if number == 1 && !whole {
            if let Err(error) = meet_in_stream(&chosen).await {
                return Some((Err(error), (pieces.len(), pieces, chosen, ballast)));
            }
        }
        if let Some(pause) = pause
            && number > 0
        {
            tokio::time::sleep(pause).await;
        }
        let piece = pieces.get(number)?.clone();
        Some((Ok(piece), (number + 1, pieces, chosen, ballast)))
    })
    .boxed()
}

async fn meet_in_stream(chosen: &Chosen) -> Result<()> {
    match chosen.fault {
        Fault::Hang | Fault::PanicWhenDropped | Fault::BlockWhenDropped => std::future::pending().await,
        _ => chosen.meet_now(),
    }
}
