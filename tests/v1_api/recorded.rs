//! The recorded requests of docker-registry 0.9.1, sent to the handlers in this process. Those that a driver serves are
//! replayed through the whole server, with the drivers for stores.

use docker_registry_tests::{
    http::Response,
    recording::{RECORDED_HOST, Recording},
};
use http::Method;

use crate::{
    registry::Registry,
    transport::{Sent, SentBody, Transport},
};

#[tokio::test]
async fn answers_are_those_of_0_9_1_but_for_named_differences() {
    let registry = Registry::empty().await;
    let mut client = registry.client.clone();
    client.host = RECORDED_HOST.to_owned();
    let mut recording = Recording::default();
    for (number, request) in recording.requests().into_iter().enumerate() {
        let method = Method::try_from(request.method.as_str()).unwrap();
        let mut sent = Sent::new(method, &request.target).body(SentBody::Sized(request.body.into()));
        for (name, value) in &request.headers {
            sent = sent.header(name, value);
        }
        let ours = client.exchange(sent).await;
        let headers = ours.headers.iter();
        let headers =
            headers.map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()));
        let (status, headers) = (ours.status.as_u16(), headers.collect());
        recording.compare(number, &Response { status, headers, body: ours.body.to_vec() });
    }
    recording.finish();
}
