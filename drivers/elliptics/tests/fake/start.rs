//! Opening the driver with settings that are wrong, and with nodes that are away.

use docker_registry_driver_api::{CallContext, Driver, ErrorKind};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::{
    cluster::{FakeCluster, open},
    trial,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_node_that_does_not_answer_stops_the_start_by_the_name_of_the_key", absent_node),
        trial("a_node_that_speaks_something_else_stops_the_start_by_the_name_of_the_key", foreign_node),
        trial("a_group_that_nobody_serves_stops_the_start_by_the_name_of_the_key", absent_group),
        trial("a_start_with_a_minority_away_works_and_health_says_who_is_away_when_it_is_too_many", minority),
    ]
}

fn message(
    opened: docker_registry_driver_api::Result<docker_registry_driver_elliptics::EllipticsDriver>,
) -> String {
    let error = opened.map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidConfiguration, "{error}");
    error.message
}

async fn absent_node() {
    let message = message(open(json!({ "elliptics_nodes": "127.0.0.1:1:2", "elliptics_groups": [1] })).await);
    assert!(message.starts_with("elliptics_nodes") && message.contains("127.0.0.1:1"), "{message}");
}

async fn foreign_node() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = format!("{}:2", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let greeting = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".repeat(9);
            stream.write_all(&greeting).await.unwrap();
        }
    });
    let message = message(open(json!({ "elliptics_nodes": [node], "elliptics_groups": [1] })).await);
    assert!(message.starts_with("elliptics_nodes"), "{message}");
}

async fn absent_group() {
    let cluster = FakeCluster::start(2, 1, false).await;
    let mut settings = cluster.settings();
    settings["elliptics_groups"] = json!([1, 2, 7]);
    let message = message(open(settings).await);
    assert!(message.starts_with("elliptics_groups") && message.contains('7'), "{message}");
}

async fn minority() {
    let cluster = FakeCluster::start(3, 1, false).await;
    cluster.nodes[1].stop();
    let driver = cluster.driver().await.unwrap();
    let call = CallContext::default();
    driver.health(&call).await.unwrap();
    cluster.nodes[2].stop();
    let error =
        driver.health(&CallContext::with_timeout(std::time::Duration::from_secs(5))).await.unwrap_err();
    let away = cluster.nodes[2].address.to_string();
    assert!(error.message.contains(&away) || error.kind == ErrorKind::Timeout, "{error}");
}
