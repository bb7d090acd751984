//! What the server does with a driver, without a server.

use std::time::Duration;

use docker_registry_driver___NAME__::Store;

use docker_registry_driver_api::{
    Bytes, CallContext, Condition, Driver, ErrorKind, ListRequest, ObjectPath, Prefix, ReadRange,
    ReadingBody, Settings, UploadHint, byte_stream, collect,
};

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).expect("a path")
}

async fn store() -> Store {
    Store::open(Settings::default(), Default::default()).await.expect("the driver opens")
}

#[tokio::test]
async fn a_blob_arrives_in_steps_and_is_read_back() {
    let (store, call) = (store().await, CallContext::with_timeout(Duration::from_secs(60)));
    let state = store.open_upload(&call, &UploadHint::default()).await.unwrap();
    let body = byte_stream([Bytes::from("hello "), Bytes::from("wor")]);
    let first = store.append(&call, &state, 0, body).await.unwrap();
    assert_eq!(first.offset, 9);

    // Somebody who goes on from the first state is refused and changes nothing.
    let stale = store.append(&call, &state, 0, byte_stream([Bytes::from("x")])).await.unwrap_err();
    assert_eq!(stale.kind, ErrorKind::Conflict);

    let body = byte_stream([Bytes::from("ld")]);
    let second = store.append(&call, &first.state, 9, body).await.unwrap();
    let blob = path("blobs/a");
    assert!(store.head(&call, &blob).await.unwrap_err().is_not_found());
    store.commit(&call, &second.state, &blob, &Condition::IfAbsent).await.unwrap();

    let range = ReadRange::Window { offset: 4, length: 4 };
    let reading = store.read(&call, &blob, range).await.unwrap();
    assert_eq!((reading.total_size, reading.length), (11, 4));
    let ReadingBody::Stream(body) = reading.body else { panic!("this driver streams") };
    assert_eq!(collect(body, 100).await.unwrap(), "o wo");
}

#[tokio::test]
async fn a_conditional_write_has_one_winner_and_listings_are_in_byte_order() {
    let (store, call) = (store().await, CallContext::default());
    for name in ["a/x", "a-b", "b"] {
        store.put(&call, &path(name), Bytes::from("1"), &Condition::IfAbsent).await.unwrap();
        let again = store.put(&call, &path(name), Bytes::from("2"), &Condition::IfAbsent).await;
        assert_eq!(again.unwrap_err().kind, ErrorKind::ConditionFailed);
    }
    let page = store.list(&call, &ListRequest::children(Prefix::root())).await.unwrap();
    let paths: Vec<_> = page.entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["a", "a-b", "b"]);
}
