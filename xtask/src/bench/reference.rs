//! `cargo xtask reference`: two programs that do one part of a registry's work with nothing around it.
//!
//! The benchmark starts them. They check nothing, promise nothing and are no registry.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::{Context, Result};
use bytes::Bytes;
use docker_registry_tests::content::Hasher;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Response, server::conn::http1};
use hyper_util::rt::TokioIo;

/// Bytes that are read, hashed and written at a time.
const PIECE: usize = 1 << 20;
/// Pieces that may wait for the hash.
const BACKLOG: usize = 4;

/// What is started, where it listens, and a folder of its own.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    kind: Kind,
    address: SocketAddr,
    folder: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// hyper answers every request with the file `manifest`, from memory.
    Answer,
    /// Bodies of PUT go from the socket through SHA-256 into a file, which is synchronised.
    Receive,
}

/// Serves until it is killed.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    match arguments.kind {
        Kind::Answer => answer(arguments.address, &arguments.folder),
        Kind::Receive => receive(arguments.address, arguments.folder),
    }
}

fn answer(address: SocketAddr, folder: &Path) -> Result<()> {
    let body = Bytes::from(std::fs::read(folder.join("manifest")).context("there is no manifest")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let body = body.clone();
            tokio::spawn(async move {
                let service = service_fn(move |_| {
                    let answer = Response::builder()
                        .header("content-type", docker_registry_tests::v2::MANIFEST)
                        .body(Full::new(body.clone()));
                    async move { answer }
                });
                // A client that goes away is no event here.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

fn receive(address: SocketAddr, folder: PathBuf) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    let folder = Arc::new(folder);
    loop {
        let (stream, _) = listener.accept()?;
        let folder = Arc::clone(&folder);
        thread::spawn(move || {
            // A client that goes away is no event here.
            let _ = receive_on(stream, &folder);
        });
    }
}

fn receive_on(stream: TcpStream, folder: &Path) -> std::io::Result<()> {
    static FILES: AtomicU64 = AtomicU64::new(0);
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let path = folder.join(FILES.fetch_add(1, Ordering::Relaxed).to_string());
        let digest = store(&mut reader, length, &path)?;
        stream.write_all(
            format!("HTTP/1.1 201 Created\r\nDocker-Content-Digest: {digest}\r\nContent-Length: 0\r\n\r\n")
                .as_bytes(),
        )?;
        // Only so that the disk does not fill up; the next body does not wait for it.
        thread::spawn(move || std::fs::remove_file(path));
    }
}

/// One thread reads and writes, another hashes; each piece is in memory once.
fn store(reader: &mut impl Read, length: u64, path: &Path) -> std::io::Result<String> {
    let (pieces, received) = sync_channel::<Arc<Vec<u8>>>(BACKLOG);
    let hashing = thread::spawn(move || {
        let mut hasher = Hasher::default();
        for piece in received {
            hasher.update(&piece);
        }
        hasher.finish()
    });
    let mut file = File::create(path)?;
    let mut rest = length;
    while rest > 0 {
        let mut piece = vec![0; rest.min(PIECE as u64) as usize];
        reader.read_exact(&mut piece)?;
        rest -= piece.len() as u64;
        let piece = Arc::new(piece);
        if pieces.send(Arc::clone(&piece)).is_err() {
            break;
        }
        file.write_all(&piece)?;
    }
    drop(pieces);
    file.sync_all()?;
    hashing.join().map_err(|_| std::io::Error::other("the hash died"))
}
