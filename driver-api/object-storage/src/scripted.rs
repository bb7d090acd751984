//! A server of the tests that answers from a script, byte for byte: one connection for each answer.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::http::{Advice, HttpOptions, Transport};

/// One request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `PUT /key?query HTTP/1.1` and the headers, names in lower case.
    pub(crate) head: String,
    /// The content.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The first line without the protocol.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1")
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What the script does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Writes these bytes and closes.
    Answer(Vec<u8>),
    /// Writes these bytes and stays silent.
    Stall(Vec<u8>),
}

/// An answer with a right length.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Step {
    let mut text = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("connection: close\r\n\r\n");
    text.push_str(body);
    Step::Answer(text.into_bytes())
}

/// The running server.
pub(crate) struct Scripted {
    /// `127.0.0.1:PORT`.
    pub(crate) authority: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Scripted {
    /// Starts it on a free port; it ends with the test's runtime.
    pub(crate) async fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        tokio::spawn(async move {
            for step in script {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read(&mut stream).await;
                list.lock().unwrap().push(request);
                match step {
                    Step::Answer(bytes) => {
                        stream.write_all(&bytes).await.unwrap();
                        stream.shutdown().await.unwrap();
                        // Until the client is gone, or a reset could overtake the answer.
                        let _ = stream.read(&mut [0; 16]).await;
                    }
                    Step::Stall(bytes) => {
                        stream.write_all(&bytes).await.unwrap();
                        std::future::pending::<()>().await;
                    }
                }
            }
        });
        Self { authority, seen }
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn read(stream: &mut tokio::net::TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the client left in the head");
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().replace("\r\n", "\n");
    let mut body = bytes.split_off(end + 4);
    let mut seen = Seen { head, body: Vec::new() };
    let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        assert!(stream.read_buf(&mut body).await.unwrap() > 0, "the client left in the body");
    }
    seen.body = body;
    seen
}

/// Words of the tests.
pub(crate) fn advice() -> Advice {
    Advice {
        store: "Teststore".into(),
        credentials: "the_key and the_secret".into(),
        bucket: "the_bucket".into(),
        region: "the_region".into(),
        endpoint: "the_endpoint".into(),
        ca_bundle: "the_bundle".into(),
        proxy: "the_proxy".into(),
    }
}

/// A client of the tests.
pub(crate) async fn transport(change: impl FnOnce(&mut HttpOptions)) -> Transport {
    let mut options = HttpOptions::default();
    change(&mut options);
    Transport::new(options, advice()).await.unwrap()
}
