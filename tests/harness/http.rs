//! A small HTTP/1.1 client that does exactly what it is told: stop half-way, trickle, reuse a connection, never
//! redirect, never retry. No ready-made client lets a test break off a request at a chosen byte.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::process::PATIENCE;

/// The largest response head that is read.
const HEAD_LIMIT: usize = 64 * 1024;
/// How much is read from the socket at once.
const BUFFER: usize = 256 * 1024;
/// How much is thrown away at once.
const DISCARDED: usize = 4 << 20;

/// A complete response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body, without any transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Fails the test unless the status is `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "unexpected answer {:?} {}", self.headers, self.text());
        self
    }

    /// Path and query of the `Location` header, which may be absolute or relative to the server.
    #[track_caller]
    pub fn location(&self) -> String {
        let location = self.header("location").expect("the answer has a Location");
        match location.strip_prefix("http://") {
            Some(rest) => rest[rest.find('/').expect("the Location has a path")..].to_owned(),
            None => location.to_owned(),
        }
    }
}

/// Opens a connection for each request.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    source: Option<Ipv4Addr>,
    patience: Duration,
    /// A header line that every request carries, or nothing.
    always: String,
}

impl Client {
    /// A client of the server at that address.
    pub fn new(address: SocketAddr) -> Client {
        Client { address, source: None, patience: PATIENCE, always: String::new() }
    }

    /// Gives up on a silent server after this time instead of the usual minute.
    pub fn with_patience(self, patience: Duration) -> Client {
        Client { patience, ..self }
    }

    /// Sends this header with every request.
    pub fn with_header(self, name: &str, value: &str) -> Client {
        Client { always: format!("{}{name}: {value}\r\n", self.always), ..self }
    }

    /// Comes from another address of this machine, such as 127.0.0.2.
    pub fn coming_from(self, source: Ipv4Addr) -> Client {
        Client { source: Some(source), ..self }
    }

    /// A new connection, for several requests or an unfinished one.
    pub fn connect(&self) -> io::Result<Connection> {
        let stream = match self.source {
            None => TcpStream::connect_timeout(&self.address, self.patience)?,
            Some(source) => connect_from(source, self.address)?,
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        let (host, always) = (self.address.to_string(), self.always.clone());
        Ok(Connection {
            stream,
            host,
            always,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            discarded: Vec::new(),
        })
    }

    /// Sends a request and reads the whole answer.
    pub fn try_send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        self.connect()?.send(method, target, headers, body)
    }

    /// Like [`Client::try_send`], for a server that must answer.
    #[track_caller]
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        match self.try_send(method, target, headers, body) {
            Ok(response) => response,
            Err(error) => panic!("{method} {target}: {error}"),
        }
    }

    /// GET, with the body in memory.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send("GET", target, &[], b"")
    }

    /// HEAD.
    #[track_caller]
    pub fn head(&self, target: &str) -> Response {
        self.send("HEAD", target, &[], b"")
    }

    /// GET, with the body handed to `sink` piece by piece. The response has none.
    #[track_caller]
    pub fn download(&self, target: &str, sink: &mut dyn FnMut(&[u8])) -> Response {
        let mut download = || {
            let mut connection = self.connect()?;
            connection.begin("GET", target, &[], Length::Known(0))?;
            connection.receive(false, sink)
        };
        match download() {
            Ok(response) => response,
            Err(error) => panic!("GET {target}: {error}"),
        }
    }
}

fn connect_from(source: Ipv4Addr, target: SocketAddr) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddr::from((source, 0)))?;
    connect(&socket, &target)?;
    Ok(TcpStream::from(socket))
}

/// How the end of a request body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// By `Content-Length`.
    Known(u64),
    /// By chunks. Each is written with [`Connection::write_chunk`]; an empty one is the last.
    Chunked,
}

/// One connection. Requests on it follow each other.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    host: String,
    always: String,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Room for bytes that nobody wants; empty until there are some.
    discarded: Vec<u8>,
}

/// What a response head says about the body after it.
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

enum Body {
    Sized(u64),
    Chunked,
    UntilClose,
}

impl Connection {
    /// Sends a request and reads the whole answer, which a server may give before it has read the body.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        self.begin(method, target, headers, Length::Known(body.len() as u64))?;
        let written = self.write(body);
        let answer = self.finish(method == "HEAD");
        if answer.is_err() { written.and(answer) } else { answer }
    }

    /// Sends the head of a request. The body follows in as many writes as the caller likes.
    pub fn begin(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        length: Length,
    ) -> io::Result<()> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{}", self.host, self.always);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match length {
            Length::Known(0) if matches!(method, "GET" | "HEAD" | "DELETE") => head.push_str("\r\n"),
            Length::Known(bytes) => head.push_str(&format!("Content-Length: {bytes}\r\n\r\n")),
            Length::Chunked => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
        }
        self.stream.write_all(head.as_bytes())
    }

    /// Sends bytes as they are: a part of a body of known length, or anything at all.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one chunk of a chunked body. An empty chunk ends the body.
    pub fn write_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let size = format!("{:x}\r\n", bytes.len());
        if bytes.len() > BUFFER {
            // Copying would cost more than two small writes.
            self.stream.write_all(size.as_bytes())?;
            self.stream.write_all(bytes)?;
            return self.stream.write_all(b"\r\n");
        }
        let mut chunk = size.into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.stream.write_all(&chunk)
    }

    /// Reads the answer to a request that has been sent.
    pub fn finish(&mut self, head: bool) -> io::Result<Response> {
        let mut body = Vec::new();
        let response = self.receive(head, &mut |bytes| body.extend_from_slice(bytes))?;
        Ok(Response { body, ..response })
    }

    /// Reads bytes of an answer as they come, its head included; 0 at the end of the connection.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    /// Sends a prepared request and reads past the answer, as cheaply as that can be done: for load.
    ///
    /// Returns the status and the number of bytes in the body.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, u64)> {
        self.stream.write_all(request)?;
        let head = self.receive_head(false)?;
        let mut bytes = 0;
        self.receive_body(request.starts_with(b"HEAD "), &head, &mut |piece| bytes += piece.len() as u64)?;
        Ok((head.status, bytes))
    }

    /// Like [`Connection::exchange`], for a large body of told size: its bytes are thrown away in the kernel, so that
    /// reading them costs next to nothing, and not read on when `end` has come. The connection is of no use then.
    pub fn exchange_until(&mut self, request: &[u8], end: Instant) -> io::Result<(u16, u64)> {
        if self.discarded.is_empty() {
            self.discarded = vec![0; DISCARDED];
        }
        self.stream.write_all(request)?;
        let head = self.receive_head(false)?;
        let Body::Sized(size) = head.body else { return Err(malformed("a large body of untold size")) };
        let mut received = ((self.end - self.start) as u64).min(size);
        self.start += received as usize;
        while received < size && Instant::now() < end {
            let most = (size - received).min(DISCARDED as u64) as usize;
            // Nothing is written to the buffer, but its length counts.
            let buffer = &mut self.discarded[..most];
            match rustix::net::recv(&self.stream, buffer, rustix::net::RecvFlags::TRUNC) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, count)) => received += count as u64,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok((head.status, received))
    }

    /// Reads the answer to a request, its body handed to `sink`. `head` tells that it answers a HEAD request.
    pub fn receive(&mut self, head: bool, sink: &mut dyn FnMut(&[u8])) -> io::Result<Response> {
        let answer = self.receive_head(true)?;
        self.receive_body(head, &answer, sink)?;
        Ok(Response { status: answer.status, headers: answer.headers, body: Vec::new() })
    }

    fn receive_body(&mut self, head: bool, answer: &Head, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        match answer.body {
            _ if head || matches!(answer.status, 204 | 304) => Ok(()),
            Body::Sized(bytes) => self.receive_sized(bytes, sink),
            Body::Chunked => self.receive_chunks(sink),
            Body::UntilClose => {
                while self.receive_some(u64::MAX, sink)? > 0 {}
                Ok(())
            }
        }
    }

    /// Reads a response head. Interim responses (1xx) are skipped.
    fn receive_head(&mut self, keep_headers: bool) -> io::Result<Head> {
        loop {
            if let Some((head, bytes)) = parse_head(&self.buffer[self.start..self.end], keep_headers)? {
                self.start += bytes;
                if head.status >= 200 {
                    return Ok(head);
                }
                continue;
            }
            if self.end - self.start > HEAD_LIMIT {
                return Err(malformed("a response head without end"));
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn receive_sized(&mut self, mut bytes: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        while bytes > 0 {
            match self.receive_some(bytes, sink)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => bytes -= count,
            }
        }
        Ok(())
    }

    fn receive_chunks(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        loop {
            let line = self.receive_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| malformed("a chunk without a size"))?;
            self.receive_sized(size, sink)?;
            if size == 0 {
                while !self.receive_line()?.is_empty() {}
                return Ok(());
            }
            self.receive_line()?;
        }
    }

    fn receive_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if self.receive_some(1, &mut |byte| line.extend_from_slice(byte))? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).map_err(|_| malformed("a line that is no text"))
    }

    /// Hands over what is there, at most `limit` bytes. 0 means that the server has closed the connection.
    fn receive_some(&mut self, limit: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
        if self.start == self.end && self.fill()? == 0 {
            return Ok(0);
        }
        let count = (limit.min((self.end - self.start) as u64)) as usize;
        sink(&self.buffer[self.start..self.start + count]);
        self.start += count;
        Ok(count as u64)
    }

    fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let count = self.stream.read(&mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count)
    }
}

/// The head at the start of these bytes and its length, or nothing while it is incomplete.
fn parse_head(bytes: &[u8], keep_headers: bool) -> io::Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(malformed(&error.to_string())),
    };
    let status = response.code.unwrap_or(0);
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let body = if value("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        Body::Chunked
    } else if let Some(length) = value("content-length") {
        Body::Sized(length.parse().map_err(|_| malformed("a Content-Length that is no number"))?)
    } else {
        Body::UntilClose
    };
    let text = |header: &httparse::Header<'_>| {
        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
    };
    let headers = if keep_headers { response.headers.iter().map(text).collect() } else { Vec::new() };
    Ok(Some((Head { status, headers, body }, length)))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Serves these bytes to one connection, whatever it asks.
    fn answer_with(answer: &'static [u8]) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the client connects");
            let mut request = [0; 1000];
            let _ = stream.read(&mut request);
            stream.write_all(answer).expect("the client reads");
        });
        Client::new(address)
    }

    #[test]
    fn chunks_are_joined_and_interim_answers_skipped() {
        let client = answer_with(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n\
              3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
        );
        let answer = client.get("/").expect(200);
        assert_eq!((answer.text().as_str(), answer.header("x-a")), ("abcde", Some("b")));
    }

    #[test]
    fn a_body_that_ends_early_is_an_error() {
        let client = answer_with(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        let error = client.try_send("GET", "/", &[], b"").expect_err("seven bytes are missing");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_answer_to_head_has_no_body_to_wait_for() {
        let client = answer_with(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        assert!(client.head("/").expect(200).body.is_empty());
    }
}
