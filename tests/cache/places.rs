//! Every way to reach a Redis, by URL: its unix socket, TLS, Sentinels, a Cluster.

use std::{fs, path::Path, process::Command, sync::Arc};

use docker_registry_tests::{
    process::{PATIENCE, Process, run, wait_for},
    redis::Redis,
    server::free_address,
};

use crate::{
    replicas::{BLOB, PATIENT, REPOSITORY, Replica, TAG, eventually, settings},
    storage::Storage,
};

/// Two replicas over one storage agree, through the Redis at this URL.
async fn agree(url: &str, keys: &str) {
    let storage = Arc::new(Storage::default());
    let settings = settings(url, keys);
    let one = Replica::connected(&storage, &settings).await;
    let other = Replica::connected(&storage, &settings).await;
    storage.set(TAG, "old");
    storage.set(BLOB, "blob");
    eventually("one reads, the other need not", async || {
        let before = (storage.reads(TAG), storage.reads(BLOB));
        assert_eq!([other.read(TAG).await, other.read(BLOB).await], ["old", "blob"]);
        assert_eq!([one.read(TAG).await, one.read(BLOB).await], ["old", "blob"]);
        before == (storage.reads(TAG), storage.reads(BLOB))
    })
    .await;
    other.put(TAG, "new").await.unwrap();
    assert_eq!(other.read(TAG).await, "new");
    eventually("the other replica sees it", async || one.read(TAG).await == "new").await;
    one.delete_tree(REPOSITORY).await;
    assert_eq!(one.read(TAG).await, "");
    eventually("the other replica misses it", async || other.read(TAG).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tcp_and_by_unix_socket() {
    let redis = Redis::start_with(&["--requirepass", "p@ss/word"]);
    let address = redis.address();
    agree(&format!("redis://:p%40ss%2Fword@{address}/3"), PATIENT).await;
    let socket = redis.socket();
    agree(&format!("unix://:p%40ss%2Fword@{}", socket.display()), PATIENT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls_with_an_authority_of_ones_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = certificate(folder.path());
    let port = free_address().port().to_string();
    let _redis = Redis::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://127.0.0.1:{port}");
    let keys = PATIENT.replace('}', &format!(", certificate_authorities: {certificate}}}"));
    agree(&url, &keys).await;
    // Without the authority it is nobody's Redis, and no request fails.
    let storage = Arc::new(Storage::default());
    storage.set(TAG, "old");
    let stranger = Replica::start(&storage, &settings(&url, PATIENT));
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!([stranger.read(TAG).await, stranger.read(TAG).await], ["old", "old"]);
    assert_eq!(storage.reads(TAG), 2);
}

fn certificate(folder: &Path) -> (String, String) {
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate));
    (certificate.display().to_string(), key.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn by_sentinels_also_after_the_master_is_another() {
    let mut master = Redis::start();
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &master.address().port().to_string()]);
    eventually("the replica follows", async || {
        replica.ask(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_address().port();
    let file = folder.path().join("sentinel.conf");
    let configuration = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor mine 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds mine 500\nsentinel failover-timeout mine 5000\n",
        folder.path().display(),
        master.address().port()
    );
    fs::write(&file, configuration).expect("a file");
    let mut command = Command::new("redis-sentinel");
    let sentinel = Process::start("redis-sentinel", command.arg(&file), &folder.path().join("sentinel.log"));
    wait_for("the sentinel knows the replica", PATIENCE, || sentinel.log().contains("+slave").then_some(()));
    let url = format!("redis+sentinel://127.0.0.1:{port}/mine");
    agree(&url, PATIENT).await;

    let storage = Arc::new(Storage::default());
    let one = Replica::connected(&storage, &settings(&url, PATIENT)).await;
    storage.set(TAG, "old");
    assert_eq!(one.read(TAG).await, "old");
    master.kill();
    one.put(TAG, "new").await.unwrap();
    assert_eq!(one.read(TAG).await, "new");
    one.is_connected(&storage).await;
    assert!(replica.ask(&["ROLE"]).starts_with("master"));
    assert_eq!(one.read(TAG).await, "new");
    drop(sentinel);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_nodes_of_a_cluster() {
    let nodes: Vec<Redis> = (0..3)
        .map(|_| {
            let bus = free_address().port().to_string();
            Redis::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus])
        })
        .collect();
    let addresses: Vec<String> = nodes.iter().map(|node| node.address().to_string()).collect();
    run(Command::new("redis-cli").args(["--cluster", "create"]).args(&addresses).args([
        "--cluster-replicas",
        "0",
        "--cluster-yes",
    ]));
    eventually("the cluster is whole", async || {
        nodes.iter().all(|node| node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
    })
    .await;
    agree(&format!("redis+cluster://{},{}", addresses[0], addresses[1]), PATIENT).await;
    let used = nodes.iter().filter(|node| !node.keys().is_empty()).count();
    assert!(used > 1, "the entries are spread over the nodes");
}
