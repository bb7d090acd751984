//! The driver azureblob on Azurite: the conformance suite, each way in, an old store, private containers, signed
//! addresses, and what a wrong setting is answered with.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use docker_registry_tests::content::Content;
use docker_registry_tests::fault_proxy::FaultProxy;
use docker_registry_tests::flavor_variables::azureblob as variables;
use docker_registry_tests::http::Client;
use docker_registry_tests::process;
use docker_registry_tests::server::{Place, Server};
use docker_registry_tests::store_server::StoreServer;
use docker_registry_tests::v2;

use crate::fake_tokens::TokenService;
use crate::running::{Subject, changed, goes_on_in_another_process, launch, refused, serve, stores_an_image};

const DRIVER: &str = "azureblob";

/// Settings for a running Azurite.
fn subject(azurite: &StoreServer) -> Subject {
    Subject::new(
        DRIVER,
        &[
            ("azure_storage_account_name", azurite.value("account")),
            ("azure_storage_account_key", azurite.value("key")),
            ("azure_storage_container", azurite.value("container")),
            ("azure_storage_endpoint", azurite.value("endpoint")),
        ],
        &[
            ("azure_storage_endpoint", "http://127.0.0.1:9/nobody"),
            ("most_attempts", "2"),
            ("connect_timeout", "1"),
        ],
    )
}

/// Path and query of an address on Azurite, which is asked by a client that has no credentials.
fn target(address: &str, server: SocketAddr) -> String {
    let rest = address.strip_prefix(&format!("http://{server}"));
    rest.unwrap_or_else(|| panic!("{address} is not on {server}")).to_owned()
}

/// Puts something into Azurite as its owner, with the signature over the whole account.
fn put(azurite: &StoreServer, path: &str, query: &str, headers: &[(&str, &str)], content: &[u8]) {
    let sas = azurite.value("sas_token");
    let target = format!("/{}/{path}?{query}{sas}", azurite.value("account"));
    Client::new(azurite.address()).send("PUT", &target, headers, content).expect(201);
}

#[test]
fn azurite_passes_the_whole_conformance_suite() {
    if let Some(real) = Subject::from_environment(DRIVER) {
        real.conforms();
        return;
    }
    let azurite = StoreServer::start("azurite");
    subject(&azurite).conforms();
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_while_its_way_to_azurite_makes_trouble() {
    let azurite = StoreServer::start("azurite");
    let proxy = FaultProxy::start(azurite.address());
    // No changed tags: a tag of Azure says nothing of the content, so that nobody can tell it from the right one.
    subject(&azurite)
        .with("azure_storage_endpoint", &format!("http://{}/{}", proxy.address(), azurite.value("account")))
        .conforms_in_trouble(&proxy, &[], |_| true);
}

#[test]
fn an_image_goes_through_a_server_that_only_variables_configure() {
    let azurite = StoreServer::start("azurite");
    let variables = variables(&azurite, azurite.address());
    stores_an_image(&serve(DRIVER, &variables), 70 << 20);
}

#[cfg(feature = "long")]
#[test]
fn a_shared_access_signature_is_enough_for_everything_but_redirects() {
    let azurite = StoreServer::start("azurite");
    let variables = changed(
        &variables(&azurite, azurite.address()),
        &[
            ("AZURE_STORAGE_ACCOUNT_KEY", ""),
            ("AZURE_STORAGE_SAS_TOKEN", azurite.value("sas_token")),
            ("STORAGE_REDIRECT", "true"),
            ("STORAGE_PATH", "/below/here"),
        ],
    );
    let server = serve(DRIVER, &variables);
    stores_an_image(&server, 20 << 20);
    let content = Content::bytes(5, 100_000);
    let digest = v2::push_blob(&server.client(), "some/thing", &content);
    let answer = server.client().get(&format!("/v2/some/thing/blobs/{digest}")).expect(200);
    assert!(answer.body == content);
}

#[test]
fn a_container_that_the_driver_makes_is_closed_to_strangers() {
    let azurite = StoreServer::start("azurite");
    let variables = changed(
        &variables(&azurite, azurite.address()),
        &[("AZURE_STORAGE_CONTAINER", "made-now"), ("AZURE_CREATE_CONTAINER", "true")],
    );
    let server = serve(DRIVER, &variables);
    stores_an_image(&server, 10_000);
    let stranger = Client::new(azurite.address());
    let account = azurite.value("account");
    let listing = format!("/{account}/made-now?restype=container&comp=list");
    // The owner sees something to read there.
    let seen = stranger.get(&format!("{listing}&{}", azurite.value("sas_token"))).expect(200).text();
    let name = seen.split("<Name>").nth(1).and_then(|rest| rest.split("</Name>").next()).expect("a blob");
    let blob = format!("/{account}/made-now/{name}");
    stranger.get(&format!("{blob}?{}", azurite.value("sas_token"))).expect(200);
    for target in [listing, blob] {
        let status = stranger.get(&target).status;
        assert!((401..=409).contains(&status), "{target}: {status}");
    }
    assert!(!server.process().log().contains("is public"));
}

#[test]
fn a_store_of_docker_registry_0_x_is_read_and_its_public_container_named() {
    let azurite = StoreServer::start("azurite");
    let image = "1".repeat(64);
    put(&azurite, "old", "restype=container&", &[("x-ms-blob-public-access", "container")], b"");
    let json = format!("{{\"id\":\"{image}\"}}");
    let layer = Content::bytes(9, 300_000);
    let files: [(&str, &[u8]); 5] = [
        ("json", json.as_bytes()),
        ("ancestry", format!("[\"{image}\"]").leak().as_bytes()),
        ("layer", &layer),
        ("_checksum", b"[]"),
        ("tag", image.as_bytes()),
    ];
    for (name, content) in files {
        let path = match name {
            "tag" => "old/repositories/library/busybox/tag_latest".to_owned(),
            name => format!("old/images/{image}/{name}"),
        };
        put(&azurite, &path, "", &[("x-ms-blob-type", "BlockBlob")], content);
    }

    let here = changed(
        &variables(&azurite, azurite.address()),
        &[("AZURE_STORAGE_CONTAINER", "old"), ("STORAGE_PATH", "/")],
    );
    let server = serve(DRIVER, &here);
    let client = server.client();
    assert!(client.get(&format!("/v1/images/{image}/layer")).expect(200).body == layer);
    let tag = client.get("/v1/repositories/library/busybox/tags/latest").expect(200).text();
    assert_eq!(tag, format!("\"{image}\""));
    let log = server.process().log();
    assert!(log.contains("the container old is public"), "{log}");
    assert!(log.contains("az storage container set-permission"), "{log}");

    // The original ignored `storage_path`, this driver does not: it says where the store may be.
    let server = serve(DRIVER, &changed(&here, &[("STORAGE_PATH", "/registry")]));
    let log = server.process().log();
    assert!(log.contains("Remove the key to read that store"), "{log}");
}

#[test]
fn a_layer_is_read_by_anybody_at_a_signed_address_and_not_at_a_changed_one() {
    let azurite = StoreServer::start("azurite");
    let server =
        serve(DRIVER, &changed(&variables(&azurite, azurite.address()), &[("STORAGE_REDIRECT", "true")]));
    let content = Content::bytes(3, 9 << 20);
    let digest = v2::push_blob(&server.client(), "some/thing", &content);
    let answer = server.client().get(&format!("/v2/some/thing/blobs/{digest}")).expect(307);
    let address = answer.header("location").expect("a Location").to_owned();
    let target = target(&address, azurite.address());
    let anybody = Client::new(azurite.address());
    let fetched = anybody.get(&target).expect(200);
    assert!(fetched.body == content);
    assert_eq!(anybody.head(&target).expect(200).header("content-length"), Some("9437184"));
    anybody.get(&target.replace("sp=r", "sp=rw")).expect(403);
    anybody.get(&target.replacen("/data?", "/date?", 1)).expect(403);
    anybody.send("DELETE", &target, &[], b"").expect(403);
}

#[test]
fn an_upload_goes_on_in_another_process_and_no_finished_part_is_sent_or_copied_again() {
    let azurite = StoreServer::start("azurite");
    let proxy = FaultProxy::start(azurite.address());
    goes_on_in_another_process(DRIVER, &proxy, &variables(&azurite, proxy.address()));
}

#[test]
fn a_wrong_setting_stops_the_server_with_the_sentence_that_names_it() {
    let azurite = StoreServer::start("azurite");
    let variables = variables(&azurite, azurite.address());
    let text = |changes: &[(&str, &str)]| refused(DRIVER, &changed(&variables, changes));
    let other_key = "YW5vdGhlciBrZXkgdGhhbiB0aGF0IG9mIHRoZSBhY2NvdW50";
    let nobody = format!("http://{}/nobody", azurite.address());
    for (changes, sentence) in [
        (vec![("AZURE_STORAGE_ACCOUNT_KEY", other_key)], "check azure_storage_account_key"),
        (vec![("AZURE_STORAGE_ACCOUNT_KEY", "~~")], "azure_storage_account_key is not in base64"),
        (
            vec![("AZURE_STORAGE_CONTAINER", "absent")],
            "has no container absent: check azure_storage_container",
        ),
        (vec![("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1/acct")], "check azure_storage_endpoint"),
        (
            vec![("AZURE_STORAGE_ACCOUNT_NAME", "nobody"), ("AZURE_STORAGE_ENDPOINT", &nobody)],
            "azure_storage_account_name",
        ),
        (
            vec![("AZURE_STORAGE_ENDPOINT", ""), ("AZURE_STORAGE_ENDPOINT_SUFFIX", "nowhere.invalid")],
            "check azure_storage_account_name and azure_storage_endpoint_suffix",
        ),
    ] {
        let text = text(&changes);
        assert!(text.contains(sentence), "{changes:?}: {text}");
        for secret in [other_key, azurite.value("key")] {
            assert!(!text.contains(secret), "{changes:?} shows a key");
        }
    }
}

/// Azurite takes signatures of any time, so that something else says what Azure says.
#[test]
fn a_clock_that_is_wrong_stops_the_start_and_the_difference_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever goes away has its answer, or does not want it.
            let _ = stream.and_then(refuse_for_the_time);
        }
    });
    let azurite = StoreServer::start("azurite");
    let endpoint = format!("http://{address}/acct");
    let text = refused(
        DRIVER,
        &changed(&variables(&azurite, azurite.address()), &[("AZURE_STORAGE_ENDPOINT", &endpoint)]),
    );
    assert!(text.contains("the clock of this machine differs") && text.contains("seconds"), "{text}");
}

fn refuse_for_the_time(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let body = "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><Message>Server failed to \
                authenticate the request.</Message></Error>";
    write!(
        reader.get_mut(),
        "HTTP/1.1 403 Forbidden\r\nDate: Sat, 01 Jan 2022 00:00:00 GMT\r\nContent-Length: {}\r\n\
         x-ms-error-code: AuthenticationFailed\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(feature = "long")]
#[test]
fn an_application_with_a_secret_pushes_and_redirects() {
    with_tokens(&|tokens| {
        vec![
            ("AZURE_CLIENT_ID", TokenService::CLIENT.to_owned()),
            ("AZURE_CLIENT_SECRET", TokenService::SECRET.to_owned()),
            ("AZURE_TENANT_ID", TokenService::TENANT.to_owned()),
            ("AZURE_AUTHORITY_HOST", tokens.address()),
        ]
    });
}

#[cfg(feature = "long")]
#[test]
fn the_managed_identity_of_the_machine_pushes_and_redirects() {
    with_tokens(&|tokens| {
        vec![
            ("AZURE_USE_MANAGED_IDENTITY", "true".to_owned()),
            ("IDENTITY_ENDPOINT", format!("{}/metadata/identity/oauth2/token", tokens.address())),
        ]
    });
}

#[test]
fn a_wrong_secret_of_an_application_stops_the_server() {
    let azurite = StoreServer::start("azurite");
    let tokens = TokenService::start();
    let authority = tokens.address();
    let changes = [
        ("AZURE_STORAGE_ACCOUNT_KEY", ""),
        ("AZURE_CLIENT_ID", TokenService::CLIENT),
        ("AZURE_CLIENT_SECRET", "not-the-secret"),
        ("AZURE_TENANT_ID", TokenService::TENANT),
        ("AZURE_AUTHORITY_HOST", authority.as_str()),
    ];
    let text = refused(DRIVER, &changed(&variables(&azurite, azurite.address()), &changes));
    assert!(text.contains("azure_client_secret"), "{text}");
    assert!(!text.contains("not-the-secret"), "{text}");
}

/// Pushes an image to Azurite with bearer tokens of the fake service, and reads a layer at a signed address.
fn with_tokens(credentials: &dyn Fn(&TokenService) -> Vec<(&'static str, String)>) {
    let azurite = StoreServer::start("azurite-tls");
    let tokens = TokenService::start();
    let credentials = credentials(&tokens);
    let credentials: Vec<(&str, &str)> =
        credentials.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let bundle = azurite.value("ca_bundle");
    let more = [
        ("AZURE_STORAGE_ACCOUNT_KEY", ""),
        ("AZURE_STORAGE_ENDPOINT", azurite.value("endpoint")),
        ("STORAGE_REDIRECT", "true"),
        ("SSL_CERT_FILE", bundle),
    ];
    let variables = changed(&changed(&variables(&azurite, azurite.address()), &more), &credentials);
    let server = Server::launch(launch(DRIVER, &variables), Place::new());
    let content = Content::bytes(6, 20 << 20);
    let digest = v2::push_blob(&server.client(), "some/thing", &content);
    assert!(tokens.given() > 0, "no token was asked for");
    let answer = server.client().get(&format!("/v2/some/thing/blobs/{digest}")).expect(307);
    let address = answer.header("location").expect("a Location");
    assert!(address.contains("skoid="), "{address} is not signed by a delegation key");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("layer");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--cacert", bundle, "--output"]).arg(&file).arg(address);
    process::run(&mut curl);
    assert!(std::fs::read(&file).expect("the layer") == *content);
}
