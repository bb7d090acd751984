//! An HTTP/1.1 client that sends exactly the bytes it is given.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Read, but not consumed yet.
    ahead: Vec<u8>,
}

/// A response as it came over the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and headers in lower case, without the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text")
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("the server accepts"), ahead: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the server reads");
    }

    /// Sends a request without body and reads the answer.
    pub(crate) async fn request(&mut self, method: &str, path: &str) -> Answer {
        self.send(format!("{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        self.answer(method).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path).await
    }

    /// Reads the head of an answer.
    pub(crate) async fn head(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = self.ahead.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            assert!(self.read_more().await > 0, "the connection was closed before an answer");
        };
        let head = String::from_utf8(self.ahead.drain(..end + 4).collect()).expect("a text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_ascii_lowercase(), body: Vec::new() }
    }

    /// Reads a whole answer to a request of this method.
    pub(crate) async fn answer(&mut self, method: &str) -> Answer {
        let mut answer = self.head().await;
        let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a number"));
        if method != "HEAD" {
            while self.ahead.len() < length {
                assert!(self.read_more().await > 0, "the connection was closed in a body");
            }
            answer.body = self.ahead.drain(..length).collect();
        }
        answer
    }

    /// Reads until the server closes; an error of the connection counts as closed too.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut read = std::mem::take(&mut self.ahead);
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(length @ 1..) = self.stream.read(&mut buffer).await {
            read.extend_from_slice(&buffer[..length]);
        }
        read
    }

    /// Reads ahead until this many more bytes are there for [`Client::rest`].
    pub(crate) async fn read_at_least(&mut self, length: usize) {
        let enough = self.ahead.len() + length;
        while self.ahead.len() < enough {
            assert!(self.read_more().await > 0, "the connection was closed too early");
        }
    }

    async fn read_more(&mut self) -> usize {
        self.stream.read_buf(&mut self.ahead).await.expect("the connection holds")
    }
}
