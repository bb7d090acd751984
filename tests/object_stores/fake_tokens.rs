//! A fake of the services that give bearer tokens for Azure: Microsoft Entra for applications, and the metadata
//! service of a virtual machine. The tokens have the claims that Azurite looks at, and no signature.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A running service. Dropping it ends it.
pub(crate) struct TokenService {
    address: SocketAddr,
    given: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TokenService {
    /// The tenant that it knows.
    pub(crate) const TENANT: &str = "ab1f708d-50f6-404c-a006-d71b2ac7a606";
    /// The application that it knows.
    pub(crate) const CLIENT: &str = "f997392c-e15a-4ad8-af9e-cd6966caba7f";
    /// The secret of that application.
    pub(crate) const SECRET: &str = "the-secret-of-the-application";

    /// Starts it on a free port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (given, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, stopped) = (Arc::clone(&given), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let counter = Arc::clone(&counter);
                // A client that goes away is no matter.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &counter)));
            }
        });
        Self { address, given, stop, thread: Some(thread) }
    }

    /// `http://HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many tokens it has given.
    pub(crate) fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }
}

impl Drop for TokenService {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one request and closes the connection.
fn answer(stream: TcpStream, given: &AtomicUsize) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (mut length, mut is_metadata) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        is_metadata |= header == "metadata: true";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, document) = decide(&line, &String::from_utf8_lossy(&body), is_metadata);
    if status == 200 {
        given.fetch_add(1, Ordering::SeqCst);
    }
    let text = document.to_string();
    write!(
        reader.get_mut(),
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    )
}

fn decide(line: &str, body: &str, is_metadata: bool) -> (u16, Value) {
    let target = line.split(' ').nth(1).unwrap_or_default();
    let has = |name: &str, value: &str| body.split('&').any(|pair| pair == format!("{name}={value}"));
    if line.starts_with("POST") && target == format!("/{}/oauth2/v2.0/token", TokenService::TENANT) {
        let is_known = has("client_id", TokenService::CLIENT) && has("client_secret", TokenService::SECRET);
        if !is_known || !has("grant_type", "client_credentials") {
            let description = "AADSTS7000215: Invalid client secret provided.";
            return (401, json!({"error": "invalid_client", "error_description": description}));
        }
        return (200, json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token()}));
    }
    if line.starts_with("GET") && target.starts_with("/metadata/identity/oauth2/token?") && is_metadata {
        let expires = (now() + 3600).to_string();
        return (200, json!({"token_type": "Bearer", "expires_on": expires, "access_token": token()}));
    }
    (404, json!({"error": "not_found"}))
}

/// A token as Azurite wants it.
fn token() -> String {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "aud": "https://storage.azure.com",
        "iss": format!("https://sts.windows.net/{}/", TokenService::TENANT),
        "iat": now() - 60,
        "nbf": now() - 60,
        "exp": now() + 3600,
        "oid": "11059fcc-5514-4800-b5f8-49808b9cfab6",
        "tid": TokenService::TENANT,
    });
    let signature = BASE64_URL_SAFE_NO_PAD.encode("none");
    format!("{}.{}.{signature}", part(json!({"alg": "RS256", "typ": "JWT"})), part(claims))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
