//! What the suite cannot see from outside: requests that are spared, lost answers, and garbage.

use std::{sync::Arc, time::Duration};

use docker_registry_object_storage::{
    Engine, Opened, Unchanging,
    driver_api::{
        Bytes, CallContext, Condition, ErrorKind, ListRequest, ObjectPath, Prefix, ReadRange, UploadHint,
        byte_stream,
    },
};
use libtest_mimic::Trial;

use crate::{
    KIB, settings, trial,
    trouble::When::{After, Before, Never},
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("each call makes as few requests as it can", async |bucket, engine| {
            let call = CallContext::default();
            bucket.place("root/a", "content");
            let mut before = bucket.calls();
            let mut expect = |what: &str, requests| {
                assert_eq!(bucket.calls() - before, requests, "{what}");
                before = bucket.calls();
            };
            engine.get(&call, &path("a"), 100).await.unwrap();
            expect("get", 1);
            engine.head(&call, &path("a")).await.unwrap();
            expect("head", 1);
            engine.read(&call, &path("a"), ReadRange::Last { length: 1 }).await.unwrap();
            expect("read", 1);
            engine.stat(&call, &Prefix::new("a").unwrap()).await.unwrap();
            expect("stat, side by side", 2);
            engine.put(&call, &path("b"), "x".into(), &Condition::IfAbsent).await.unwrap();
            expect("put", 1);
            engine.list(&call, &ListRequest::children(Prefix::root())).await.unwrap();
            expect("list", 1);
            engine.copy(&call, &path("a"), &path("c")).await.unwrap();
            expect("copy", 2);
            engine.rename(&call, &path("c"), &path("d")).await.unwrap();
            expect("rename", 4);
            engine.delete(&call, &path("d")).await.unwrap();
            expect("delete", 1);
            let many: Vec<_> = (0..100).map(|number| path(&format!("many/{number}"))).collect();
            assert!(engine.delete_many(&call, &many).await.unwrap().is_empty());
            expect("delete_many of a hundred", 1);
            engine.redirect_url(&call, &redirect("a")).await.unwrap().unwrap();
            expect("redirect_url", 0);
        }),
        trial("a conditional write whose answer was lost is a success", async |bucket, engine| {
            for fate in [After, Never] {
                let path = path(&format!("{fate:?}"));
                bucket.trouble.plan([Some(fate)]);
                let put = engine.put(&CallContext::default(), &path, "x".into(), &Condition::IfAbsent).await;
                let etag = put.unwrap();
                assert_eq!(engine.head(&CallContext::default(), &path).await.unwrap().etag, etag);
                // And that of another is none.
                bucket.trouble.plan([Some(fate)]);
                let put = engine.put(&CallContext::default(), &path, "y".into(), &Condition::IfAbsent).await;
                let error = put.unwrap_err();
                assert_eq!((error.kind, error.outcome_unknown), (ErrorKind::ConditionFailed, false));
            }
        }),
        trial("a write without any answer may have happened", async |bucket, engine| {
            bucket.trouble.plan([Some(Never); 20]);
            let put = engine.put(&CallContext::default(), &path("a"), "x".into(), &Condition::Always).await;
            let error = put.unwrap_err();
            assert_eq!((error.kind, error.outcome_unknown), (ErrorKind::Timeout, true));
        }),
        trial("a write that was refused each time has not happened", async |bucket, engine| {
            bucket.trouble.plan([Some(Before); 20]);
            let put = engine.put(&CallContext::default(), &path("a"), "x".into(), &Condition::Always).await;
            let error = put.unwrap_err();
            assert_eq!((error.kind, error.outcome_unknown), (ErrorKind::Throttled, false));
            assert_eq!(error.path, None);
        }),
        trial("attempts end before the deadline of their call", async |bucket, engine| {
            bucket.trouble.plan([Some(Never); 50]);
            let call = CallContext::with_timeout(Duration::from_secs(5));
            let begun = tokio::time::Instant::now();
            let error = engine.head(&call, &path("a")).await.unwrap_err();
            assert_eq!((error.kind, error.outcome_unknown), (ErrorKind::Timeout, false));
            // The clock of the deadline is the real one, which hardly moves: each attempt has its own limit.
            assert!(begun.elapsed() <= Duration::from_secs(200));
            assert!(bucket.calls() >= 3);
        }),
        trial("opening waits for a store that is starting", async |bucket, _engine| {
            bucket.trouble.plan([Some(Before), Some(Never), Some(After), None]);
            let opened = Opened {
                bucket: Arc::new(bucket.clone()),
                root: String::new(),
                renewal: Arc::<Unchanging>::default(),
            };
            Engine::open(opened, settings()).await.expect("it opens at last");
        }),
        trial("what an upload leaves behind goes with the next deletion", async |bucket, engine| {
            let call = CallContext::default();
            let state = engine.open_upload(&call, &UploadHint::default()).await.unwrap();
            let body = byte_stream([Bytes::from(vec![1; 300 * KIB as usize])]);
            let progress = engine.append(&call, &state, 0, body).await.unwrap();
            engine.commit(&call, &progress.state, &path("blob"), &Condition::Always).await.unwrap();
            let left = bucket.keys().len();
            let before = bucket.calls();
            engine.delete(&call, &path("something")).await.unwrap();
            assert_eq!(bucket.calls() - before, 1);
            assert!(bucket.keys().len() < left, "{:?}", bucket.keys());
            engine.close(Duration::from_secs(10)).await;
            assert_eq!(bucket.keys(), ["root/blob"]);
        }),
        trial("an object above the limit of one copy is copied in parts", async |bucket, engine| {
            let content: Bytes = (0..9_000_000).map(|place| (place / 3) as u8).collect::<Vec<_>>().into();
            bucket.place("root/a", content.clone());
            engine.rename(&CallContext::default(), &path("a"), &path("b")).await.unwrap();
            assert_eq!(bucket.keys(), ["root/b"]);
            assert_eq!(bucket.content("root/b").unwrap(), content);
            assert_eq!(bucket.open_objects(), 0);
        }),
    ]
}

fn path(path: &str) -> ObjectPath {
    ObjectPath::new(path).unwrap()
}

fn redirect(name: &str) -> docker_registry_object_storage::driver_api::RedirectRequest {
    docker_registry_object_storage::driver_api::RedirectRequest {
        path: path(name),
        method: "GET".to_owned(),
        expires: Duration::from_secs(60),
        response_headers: Vec::new(),
    }
}
