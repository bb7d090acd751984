//! Readings: what they survive, and what ends them.

use std::sync::Arc;

use docker_registry_object_storage::{
    Engine,
    bucket::Limits,
    driver_api::{
        ByteStream, Bytes, CallContext, ErrorKind, ObjectPath, ReadRange, ReadingBody, Result,
        futures::StreamExt,
    },
};
use libtest_mimic::Trial;

use crate::{
    small, trial, trial_on,
    trouble::When::{After, Before, Never},
};

const SIZE: usize = 1_000_000;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a reading goes on where its connection broke, fell silent or ended",
            async |bucket, engine| {
                let content = pattern();
                bucket.place("root/a", content.clone());
                // The call and its body, four times, the last time in peace.
                bucket.trouble.plan([None, Some(After), None, Some(Never), None, Some(Before), None, None]);
                let before = bucket.calls();
                let body = open(&engine, ReadRange::Window { offset: 10, length: SIZE as u64 - 20 }).await;
                assert_eq!(whole(body).await.unwrap(), content[10..SIZE - 10]);
                assert_eq!(bucket.calls() - before, 4);
            },
        ),
        trial("a reading goes on when the requests for the rest fail at first", async |bucket, engine| {
            let content = pattern();
            bucket.place("root/a", content.clone());
            bucket.trouble.plan([None, Some(After), Some(Before), Some(After), Some(Never), None, None]);
            assert_eq!(whole(open(&engine, ReadRange::Full).await).await.unwrap(), content);
        }),
        trial("a reading of what was replaced ends with an error and no mixture", async |bucket, engine| {
            let content = pattern();
            bucket.place("root/a", content.clone());
            bucket.trouble.plan([None, Some(After)]);
            let mut body = open(&engine, ReadRange::Full).await;
            bucket.place("root/a", vec![0; SIZE]);
            let mut read = Vec::new();
            let error = loop {
                match body.next().await.expect("the reading ends with an error") {
                    Ok(chunk) => read.extend_from_slice(&chunk),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind, ErrorKind::Conflict);
            assert_eq!(read, content[..read.len()]);
        }),
        trial("a store that never sends the content is given up", async |bucket, engine| {
            bucket.place("root/a", pattern());
            bucket.trouble.plan([None, Some(Before)].into_iter().cycle().take(100));
            let error = whole(open(&engine, ReadRange::Full).await).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
        }),
        trial("a small object is read again when its content breaks off", async |bucket, engine| {
            bucket.place("root/a", pattern());
            bucket.trouble.plan([None, Some(After), None, Some(Before), None, Some(Never)]);
            let path = ObjectPath::new("a").unwrap();
            let got = engine.get(&CallContext::default(), &path, 2 * SIZE as u64).await.unwrap();
            assert_eq!(got.content, pattern());
        }),
        trial_on(
            "the end of an object is found where the store knows no suffix ranges",
            Limits { suffix_ranges: false, ..small(Limits::s3()) },
            async |bucket, engine| {
                let content = pattern();
                bucket.place("root/a", content.clone());
                let body = open(&engine, ReadRange::Last { length: 10 }).await;
                assert_eq!(whole(body).await.unwrap(), content[SIZE - 10..]);
            },
        ),
    ]
}

fn pattern() -> Bytes {
    (0..SIZE).map(|place| (place * 7 / 3) as u8).collect::<Vec<_>>().into()
}

async fn open(engine: &Arc<Engine>, range: ReadRange) -> ByteStream {
    let path = ObjectPath::new("a").unwrap();
    let reading = engine.read(&CallContext::default(), &path, range).await.expect("the object opens");
    assert_eq!(reading.total_size, SIZE as u64);
    match reading.body {
        ReadingBody::Stream(body) => body,
        ReadingBody::File(_) => panic!("a bucket has no files"),
    }
}

async fn whole(mut body: ByteStream) -> Result<Bytes> {
    let mut read = Vec::new();
    while let Some(chunk) = body.next().await {
        read.extend_from_slice(&chunk?);
    }
    Ok(read.into())
}
