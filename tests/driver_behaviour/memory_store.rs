//! What only the memory driver promises: its limit and its settings.

use std::sync::Arc;

use docker_registry_driver_api::{
    Bytes, Condition, Driver, Error, ErrorKind, HostServices, ListRequest, Result, Settings, byte_stream,
    futures::{StreamExt, stream},
};
use docker_registry_driver_memory::MemoryDriver;
use serde_json::{Value, json};

use crate::subject::{Store, all_below, append, body, call, commit, fails, open_upload, path, prefix, put};

async fn open(settings: Value) -> Result<Store> {
    let settings = Settings::new(settings.as_object().unwrap().clone());
    Ok(Arc::new(MemoryDriver::open(settings, HostServices::default()).await?))
}

#[tokio::test]
async fn the_limit_counts_what_is_kept_and_nothing_else() {
    let store = open(json!({ "memory_limit": 100 })).await.unwrap();
    let put_more = |at: &str, size: usize| {
        let (store, at) = (store.clone(), path(at));
        async move { store.put(&call(), &at, vec![0; size].into(), &Condition::Always).await }
    };
    fails(put_more("a", 101).await, ErrorKind::StorageFull);
    put_more("a", 60).await.unwrap();
    // Both versions are there for a moment, so a replacement needs the room of both.
    put_more("a", 30).await.unwrap();
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, &"x".repeat(50)).await;
    // What a failed append took is given back, whether the limit or the body ended it.
    let chunks = [10, 10, 10].map(|size| Bytes::from(vec![0; size]));
    fails(store.append(&call(), &state, 50, byte_stream(chunks)).await, ErrorKind::StorageFull);
    let broken = stream::iter([
        Ok(Bytes::from(vec![0; 20])),
        Err(Error::new(ErrorKind::Unavailable, "the client went away")),
    ]);
    fails(store.append(&call(), &state, 50, broken.boxed()).await, ErrorKind::BodyFailed);
    let state = store.append(&call(), &state, 50, body(vec![0; 20])).await.unwrap().state;
    fails(store.health(&call()).await, ErrorKind::StorageFull);
    commit(&store, &state, "b").await;
    fails(put_more("c", 1).await, ErrorKind::StorageFull);
    store.delete_tree(&call(), &prefix("")).await.unwrap();
    put_more("c", 100).await.unwrap();
}

#[tokio::test]
async fn pages_are_as_small_as_configured() {
    let store = open(json!({ "page_size": 2 })).await.unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        put(&store, name, "x").await;
    }
    let page = store.list(&call(), &ListRequest::below(prefix(""))).await.unwrap();
    assert_eq!((page.entries.len(), page.next.as_deref()), (2, Some("b")));
    assert_eq!(all_below(&store, "", 1000).await.len(), 5);
}

#[tokio::test]
async fn wrong_settings_are_named() {
    for (settings, key) in [
        (json!({ "memory_limit": -1 }), "memory_limit"),
        (json!({ "memory_limit": "much" }), "memory_limit"),
        (json!({ "page_size": 0 }), "page_size"),
        (json!({ "page_size": 1001 }), "page_size"),
    ] {
        let error = open(settings).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
        assert!(error.message.contains(key), "{error}");
    }
}
