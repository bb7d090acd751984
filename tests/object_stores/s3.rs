//! Driver `s3` on MinIO, on Ceph's RADOS gateway and on SeaweedFS, or on the account in `REGISTRY_TEST_S3_…`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use docker_registry_driver_api::{
    CallContext, Condition, Driver, HostServices, ObjectPath, RedirectRequest, Settings,
};
use docker_registry_driver_s3::S3Driver;
use docker_registry_tests::artifacts;
use docker_registry_tests::content::{Content, digest};
use docker_registry_tests::fault_proxy::{Fault, FaultProxy, Seen};
use docker_registry_tests::flavor_variables::s3 as variables;
use docker_registry_tests::http::Client;
use docker_registry_tests::process::{PATIENCE, run, wait_for};
use docker_registry_tests::server::{Place, Server};
use docker_registry_tests::store_server::StoreServer;
use docker_registry_tests::{v1, v2};
use serde_json::{Value, json};

use crate::running::{
    Subject, changed, goes_on_in_another_process, launch, refused, refused_with, serve, stores_an_image,
    with_a_late_clock,
};

/// Nobody listens here: ports below 1024 are never given out for port 0.
const NOBODY: &str = "http://127.0.0.1:9";
/// Enough for several parts.
const LARGE: usize = 40 << 20;

/// The driver on a server of the tests, below a prefix of its own.
fn on(server: &StoreServer, prefix: &str) -> Subject {
    let settings = [
        ("boto_bucket", server.value("bucket")),
        ("s3_endpoint", server.value("endpoint")),
        ("s3_region", server.value("region")),
        ("s3_access_key", server.value("access_key")),
        ("s3_secret_key", server.value("secret_key")),
        ("s3_encrypt", "false"),
        ("storage_path", prefix),
    ];
    Subject::new(
        "s3",
        &settings,
        &[("s3_endpoint", NOBODY), ("most_attempts", "2"), ("connect_timeout", "1")],
    )
}

/// Asks the server directly, signed by curl.
fn asked(server: &StoreServer, method: &str, target: &str) -> String {
    const EMPTY: &str =
        "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let user = format!("{}:{}", server.value("access_key"), server.value("secret_key"));
    let url = format!("{}/{}{target}", server.value("endpoint"), server.value("bucket"));
    let mut command = Command::new("curl");
    command.args(["--noproxy", "*", "-sS", "--fail-with-body", "-X", method, "-H", EMPTY]);
    run(command.args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &user, &url]))
}

/// What uploads have at the server: objects, and large ones that were begun and neither finished nor aborted.
fn left_by_uploads(server: &StoreServer) -> usize {
    let prefix = "prefix=registry%2F.docker-registry%2Fuploads%2F";
    let begun = asked(server, "GET", &format!("/?{prefix}&uploads=")).matches("<UploadId>").count();
    begun + asked(server, "GET", &format!("/?list-type=2&{prefix}")).matches("<Key>").count()
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_on_minio() {
    if let Some(account) = Subject::from_environment("s3") {
        account.conforms();
        return;
    }
    let server = StoreServer::start("minio");
    on(&server, "/conformance").conforms_in(minio_can);
}

/// MinIO hides what lies below `a/` from listings as soon as there is an object `a`. The registry makes no such
/// names; one case does.
fn minio_can(case: &str) -> bool {
    !case.ends_with("a_tree_takes_the_object_of_its_name")
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_on_the_gateway_of_ceph_whose_flavor_stores_an_image() {
    let server = StoreServer::start("ceph");
    on(&server, "/conformance").conforms();
    let registry = serve("ceph-s3", &variables(&server, server.address()));
    stores_an_image(&registry, LARGE);
}

/// Not the whole suite: SeaweedFS lists folders for a while after the last object in them is gone.
#[cfg(feature = "long")]
#[test]
fn flavor_s3_stores_an_image_on_seaweedfs_with_encryption_at_rest() {
    let server = StoreServer::start("seaweedfs");
    let encrypted = changed(&variables(&server, server.address()), &[("AWS_ENCRYPT", "true")]);
    let registry = serve("s3", &encrypted);
    stores_an_image(&registry, LARGE);
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_while_its_way_to_minio_makes_trouble() {
    let server = StoreServer::start("minio");
    let proxy = FaultProxy::start(server.address());
    on(&server, "/trouble").with("s3_endpoint", &format!("http://{}", proxy.address())).conforms_in_trouble(
        &proxy,
        &[(Fault::WrongTag, 2)],
        minio_can,
    );
}

#[test]
fn flavor_s3_stores_an_image_on_minio() {
    let server = StoreServer::start("minio");
    let registry = serve("s3", &variables(&server, server.address()));
    stores_an_image(&registry, LARGE);
}

#[test]
fn what_is_wrong_stops_the_start_with_a_sentence_that_names_the_key() {
    let server = StoreServer::start("minio");
    let right = variables(&server, server.address());
    let said = |changes: &[(&str, &str)], words: &[&str]| {
        refused_with("s3", &changed(&right, changes), words, &[server.value("secret_key")]);
    };
    said(&[("AWS_KEY", "nobody")], &["s3_access_key and s3_secret_key", "InvalidAccessKeyId"]);
    said(&[("AWS_SECRET", "wrong")], &["s3_access_key and s3_secret_key", "SignatureDoesNotMatch"]);
    said(&[("AWS_SECRET", "")], &["s3_secret_key is missing"]);
    said(&[("AWS_BUCKET", "absent")], &["no such bucket", "boto_bucket"]);
    said(&[("AWS_ENCRYPT", "true")], &["s3_encrypt"]);
    said(&[("AWS_PORT", "9")], &["does not answer at 127.0.0.1:9", "boto_host"]);
    said(&[("AWS_HOST", "no-such-host.invalid")], &["no-such-host.invalid", "boto_host"]);
    said(&[("AWS_SECURE", "true")], &["s3_secure"]);
    said(&[("AWS_REGION", "eu-central-1")], &["s3_region", "us-east-1"]);
    let elsewhere = Answering::start(|_, _| {
        let document = "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>";
        answer("301 Moved Permanently", "x-amz-bucket-region: eu-central-1\r\n", document)
    });
    let port = elsewhere.address.port().to_string();
    said(&[("AWS_PORT", &port)], &["s3_region", "eu-central-1"]);
}

#[test]
fn a_clock_that_is_wrong_stops_the_start_and_the_difference_is_told() {
    let server = StoreServer::start("minio");
    let late = with_a_late_clock(&variables(&server, server.address()));
    let text = refused("s3", &late);
    assert!(text.contains("the clock of this machine differs") && text.contains("by 7"), "{text}");
}

#[cfg(feature = "long")]
#[test]
fn encryption_and_storage_class_are_asked_for_whenever_an_object_begins() {
    let server = StoreServer::start("seaweedfs");
    let proxy = FaultProxy::start(server.address());
    let folder = tempfile::tempdir().expect("a folder");
    // The sample has no key for the class.
    let sample =
        fs::read_to_string(artifacts::workspace().join("config/config_sample.yml")).expect("the sample");
    let configuration = folder.path().join("config.yml");
    let text = format!("{sample}\nclass:\n    <<: *s3\n    s3_storage_class: STANDARD_IA\n");
    fs::write(&configuration, text).expect("a configuration is written");
    let variables = changed(&variables(&server, proxy.address()), &[("AWS_ENCRYPT", "true")]);
    let mut launch = launch("class", &variables);
    launch.chosen.as_mut().expect("a configuration is chosen").configuration = configuration;
    let registry = Server::launch(launch, Place::new());
    let client = registry.client();
    // A large object in one go, and one whose name is known at its end only, which is copied there.
    v2::push_blob(&client, "with/headers", &Content::bytes(1, LARGE as u64));
    let content = Content::bytes(2, LARGE as u64);
    let location = v2::open_upload(&client, "with/headers");
    let location = client.send("PATCH", &location, &[v2::OCTETS], &content).expect(202).location();
    client.send("PUT", &v2::completion(&location, &digest(&content)), &[], b"").expect(201);

    let seen = proxy.take_seen();
    let begins = |seen: &&Seen| {
        let put = seen.method == "PUT" && !seen.is_part();
        put || seen.begins_parts()
    };
    let begun: Vec<&Seen> = seen.iter().filter(begins).collect();
    assert!(begun.iter().any(|seen| seen.method == "POST"), "a large object was begun");
    assert!(begun.iter().any(|seen| seen.method == "PUT"), "a small one was written");
    for seen in begun {
        let header = |name| seen.headers.get(name).map(|value| value.as_bytes());
        assert_eq!(
            header("x-amz-server-side-encryption"),
            Some(&b"AES256"[..]),
            "{} {}",
            seen.method,
            seen.target
        );
        assert_eq!(
            header("x-amz-storage-class"),
            Some(&b"STANDARD_IA"[..]),
            "{} {}",
            seen.method,
            seen.target
        );
    }
}

#[test]
fn an_upload_goes_on_in_another_process_and_no_finished_part_is_sent_or_copied_again() {
    let server = StoreServer::start("minio");
    let proxy = FaultProxy::start(server.address());
    goes_on_in_another_process("s3", &proxy, &variables(&server, proxy.address()));
}

/// The driver in this process.
async fn opened(subject: &Subject, cloudfront: Option<Value>) -> S3Driver {
    let typed = |(key, value): (&String, &String)| {
        (key.clone(), value.parse::<bool>().map_or_else(|_| json!(value), Value::from))
    };
    let settings = subject.settings.iter().map(typed);
    let settings = settings.chain(cloudfront.map(|cloudfront| ("cloudfront".to_owned(), cloudfront)));
    S3Driver::open(Settings::new(settings.collect()), HostServices::default())
        .await
        .expect("the driver opens")
}

/// The address that the driver gives a client for an object with this content.
async fn address_of(subject: &Subject, content: &[u8], wishes: &[(&str, &str)]) -> String {
    let driver = opened(subject, None).await;
    let path = ObjectPath::new("sent/a b+c/layer").expect("a path");
    let call = CallContext::default();
    driver.put(&call, &path, content.to_vec().into(), &Condition::Always).await.expect("it is written");
    let wishes = wishes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let request = RedirectRequest {
        path,
        method: "GET".to_owned(),
        expires: Duration::from_secs(600),
        response_headers: wishes.collect(),
    };
    let address = driver.redirect_url(&call, &request).await.expect("an address is made");
    address.expect("the driver has addresses")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_for_a_client_works_without_credentials_and_for_this_object_only() {
    for name in ["minio"] {
        let server = StoreServer::start(name);
        let content = Content::bytes(3, 300_000);
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        let address = address_of(&on(&server, "/addresses"), &content, &[("content-type", kind)]).await;
        let target = address.strip_prefix(&format!("http://{}", server.address())).expect("at the server");
        let plain = Client::new(server.address());
        let fetched = plain.get(target).expect(200);
        assert!(fetched.body == content, "{name} gives the object");
        assert_eq!(fetched.header("content-type"), Some(kind), "{name}");
        let (path, query) = target.split_once('?').expect("a signature");
        plain.get(path).expect(403);
        plain.get(&format!("{}?{query}", path.replace("layer", "other"))).expect(403);
    }
}

#[test]
fn clients_of_both_protocols_are_sent_to_the_bucket_when_that_is_wished() {
    let server = StoreServer::start("minio");
    let wish = [("STORAGE_REDIRECT", "true")];
    let registry = serve("s3", &changed(&variables(&server, server.address()), &wish));
    let client = registry.client();
    let content = Content::bytes(4, 300_000);
    let blob = format!("/v2/sent/away/blobs/{}", v2::push_blob(&client, "sent/away", &content));
    let image = v1::Image::new(None, content.clone());
    v1::push(&client, "sent/old", "latest", &[&image]);
    for (target, status) in [(blob, 307), (image.path("layer"), 302)] {
        let answer = client.get(&target).expect(status);
        let address = answer.header("location").expect("an address").to_owned();
        let target = address.strip_prefix(&format!("http://{}", server.address())).expect("at the server");
        let plain = Client::new(server.address());
        assert!(plain.get(target).expect(200).body == content, "the bucket gives it");
        let part = plain.send("GET", target, &[("Range", "bytes=10-19")], b"").expect(206);
        assert_eq!(part.body, content[10..20]);
        assert!(answer.header("cache-control").is_some_and(|value| value.starts_with("no-")), "not kept");
    }
    // What is not there has no address.
    client.get(&format!("/v1/images/{}/layer", "0".repeat(64))).expect(404);
    assert_eq!(client.head(&image.path("layer")).expect(200).header("content-length"), Some("300000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_cloudfront_a_client_is_sent_to_the_distribution() {
    let server = StoreServer::start("minio");
    let subject = on(&server, "/cloud");
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key.pem");
    run(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"));
    let cloudfront = json!({
        "base": "https://d111111abcdef8.cloudfront.net",
        "keyid": "APKATEST",
        "keysecret": key.display().to_string(),
    });
    let driver = opened(&subject, Some(cloudfront)).await;
    let request = RedirectRequest {
        path: ObjectPath::new("images/1/layer").expect("a path"),
        method: "GET".to_owned(),
        expires: Duration::from_secs(60),
        response_headers: Vec::new(),
    };
    let address = driver.redirect_url(&CallContext::default(), &request).await.expect("an address is made");
    let address = address.expect("the driver has addresses");
    assert!(
        address.starts_with("https://d111111abcdef8.cloudfront.net/cloud/images/1/layer?Expires="),
        "{address}"
    );
    assert!(address.contains("&Signature=") && address.ends_with("&Key-Pair-Id=APKATEST"), "{address}");
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing_at_the_server() {
    let server = StoreServer::start("minio");
    let registry = serve("s3", &variables(&server, server.address()));
    let location = v2::open_upload(&registry.client(), "given/up");
    let content = Content::bytes(5, 20 << 20);
    let location = registry.client().send("PATCH", &location, &[v2::OCTETS], &content).expect(202).location();
    assert_eq!(left_by_uploads(&server), 1, "what was sent is there");
    registry.client().send("DELETE", &location, &[], b"").expect(204);
    wait_for("the upload is gone", PATIENCE, || (left_by_uploads(&server) == 0).then_some(()));
    drop(registry);
}

/// A fake of the services that give a machine or a container its keys.
#[test]
fn keys_come_from_the_machine_or_the_container_and_are_fetched_again_when_they_expired() {
    let server = StoreServer::start("minio");
    let proxy = FaultProxy::start(server.address());
    let temporary = Arc::new(temporary_keys(&server));
    let fetched = Arc::new(AtomicUsize::new(0));
    let (counter, keys) = (Arc::clone(&fetched), Arc::clone(&temporary));
    let fake = Answering::start(move |method, target| match (method, target) {
        ("PUT", "/latest/api/token") => answer("200 OK", "", "token"),
        ("GET", "/latest/meta-data/iam/security-credentials/") => answer("200 OK", "", "role"),
        ("GET", "/latest/meta-data/iam/security-credentials/role" | "/container") => {
            counter.fetch_add(1, Ordering::Relaxed);
            answer("200 OK", "Content-Type: application/json\r\n", &keys)
        }
        _ => answer("404 Not Found", "", "nothing here"),
    });
    let address = format!("http://{}", fake.address);
    let container = format!("{address}/container");
    let sources =
        [("AWS_EC2_METADATA_SERVICE_ENDPOINT", address), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container)];
    for (name, value) in sources {
        let changes = [("AWS_KEY", ""), ("AWS_SECRET", ""), (name, value.as_str())];
        let variables = changed(&variables(&server, proxy.address()), &changes);
        let registry = serve("s3", &variables);
        stores_an_image(&registry, 10_000);
        assert_eq!(fetched.swap(0, Ordering::Relaxed), 1, "{name}: fetched once for many requests");

        proxy.take_seen();
        proxy.make_trouble(&[(Fault::ExpiredToken, 30)]);
        for seed in 0..20 {
            v2::push_blob(&registry.client(), "expired/keys", &Content::bytes(100 + seed, 1_000));
        }
        proxy.make_trouble(&[]);
        let expired = proxy.take_seen().iter().filter(|seen| seen.fault == Some(Fault::ExpiredToken)).count();
        let fetched = fetched.swap(0, Ordering::Relaxed);
        assert!((1..=expired).contains(&fetched), "{name}: {fetched} times for {expired} refusals");
    }
}

/// Temporary keys of MinIO's own token service, as the fake answers them.
fn temporary_keys(server: &StoreServer) -> String {
    let user = format!("{}:{}", server.value("access_key"), server.value("secret_key"));
    let action = "Action=AssumeRole&Version=2011-06-15&DurationSeconds=3600";
    let mut command = Command::new("curl");
    command.args(["--noproxy", "*", "-sS", "--fail-with-body", "--aws-sigv4", "aws:amz:us-east-1:sts"]);
    let text = run(command.args(["--user", &user, "--data", action, server.value("endpoint")]));
    let element = |name: &str| {
        let rest =
            text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{name} is not in {text}")).1;
        rest.split('<').next().unwrap_or_default().to_owned()
    };
    json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
        "AccessKeyId": element("AccessKeyId"),
        "SecretAccessKey": element("SecretAccessKey"),
        "Token": element("SessionToken"),
        "Expiration": element("Expiration"),
    })
    .to_string()
}

/// A server that answers every request by a function of method and target.
struct Answering {
    address: SocketAddr,
}

impl Answering {
    fn start(answers: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let answers = Arc::new(answers);
        // It ends with the process of the tests.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answers = Arc::clone(&answers);
                thread::spawn(move || {
                    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                    let first = lines.next().unwrap_or_default();
                    let mut words = first.split(' ');
                    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
                    // To the end of the head; no request here has a body.
                    for _ in lines.by_ref().take_while(|line| !line.is_empty()) {}
                    // Who does not wait for the answer needs none.
                    let _ = (&stream).write_all(answers(method, target).as_bytes());
                });
            }
        });
        Self { address }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
