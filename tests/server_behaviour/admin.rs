//! The admin listener: metrics and probes.

use std::{sync::Arc, time::Duration};

use docker_registry::{
    http::{admin::Admin, exchange::Request, exchange::whole, health::Health},
    telemetry,
};
use http::StatusCode;

use crate::{
    server::{Answer, patient, start},
    wire::{Answer as Reply, Client},
};

fn admin(health: &Arc<Health>) -> Admin {
    // The listener starts a runtime of its own, which may not be nested in the test's.
    let (metrics, health) = (telemetry::metrics::install().unwrap(), Arc::clone(health));
    std::thread::spawn(|| Admin::start("127.0.0.1:0", metrics, health, None).unwrap()).join().unwrap()
}

async fn get(admin: &Admin, path: &str) -> Reply {
    Client::connect(admin.address()).await.get(path).await
}

#[tokio::test]
async fn probes_follow_the_life_of_the_server() {
    let health = Arc::new(Health::default());
    let admin = admin(&health);
    for (path, status) in [("/livez", 200), ("/healthz", 200), ("/startupz", 503), ("/readyz", 503)] {
        assert_eq!(get(&admin, path).await.status, status, "{path} while starting");
    }
    health.set_started();
    for path in ["/livez", "/healthz", "/startupz", "/readyz"] {
        assert_eq!(get(&admin, path).await.status, 200, "{path} when started");
    }
    health.set_draining();
    let answer = get(&admin, "/readyz").await;
    assert_eq!((answer.status, answer.text()), (503, "the server is stopping\n"));
    assert_eq!(get(&admin, "/livez").await.status, 200, "alive to the end");
    assert_eq!(get(&admin, "/other").await.status, 404);
}

#[tokio::test]
async fn metrics_name_the_kind_of_request_and_never_the_repository() {
    let admin = admin(&Arc::new(Health::default()));
    let server =
        start(patient(), Answer(|_: Request| async { whole(StatusCode::OK, "text/plain", "four") })).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/v2/secret/name/manifests/latest").await.status, 200);
    assert_eq!(client.request("BREW", "/v2/secret/name/tags/list").await.status, 200);
    // The next answer on a connection comes after the end of the one before.
    client.get("/").await;
    let answer = get(&admin, "/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    for line in [
        "registry_http_requests_total{handler=\"manifest\",method=\"get\",code=\"200\"} 1",
        "registry_http_requests_total{handler=\"tags\",method=\"other\",code=\"200\"} 1",
        "registry_http_request_duration_seconds_count{handler=\"manifest\",method=\"get\"} 1",
        "registry_http_in_flight_requests{handler=\"manifest\"} 0",
        "registry_http_response_bytes_total{handler=\"manifest\"} 4",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn the_admin_listener_answers_while_every_worker_is_held_up() {
    let health = Arc::new(Health::default());
    let admin = admin(&health);
    let address = admin.address();
    // This test's runtime has one thread, and this blocks it.
    let answer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Client::connect(address).await.get("/livez").await.status })
    });
    assert_eq!(answer.join().unwrap(), 200);
}

#[tokio::test]
async fn the_listener_ends_with_its_handle() {
    let admin = admin(&Arc::new(Health::default()));
    let address = admin.address();
    drop(admin);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
