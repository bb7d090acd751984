//! A small Aliyun OSS for the tests of the driver `oss`, written from the public protocol and apart from it.
//!
//! It **verifies** signatures (V1 and V4, in headers and in addresses), clock skew and security tokens, and
//! has the calls that a registry needs. Objects are files of one folder; no blob is held whole in memory.
//! What it knows about them is in memory and gone when it ends. `tests/servers/oss_proof.py` proves it with
//! the official SDK.
//!
//! Beside the store it serves credentials as an ECS machine's metadata service does.

mod accounts;
mod address;
mod call;
mod content;
mod copying;
mod deleting;
mod fault;
mod listing;
mod metadata;
mod multipart;
mod objects;
mod reply;
mod service;
mod signature;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::accounts::Accounts;
use crate::store::{Bucket, Store};

/// What the program is told at its start.
#[derive(Debug, Parser)]
#[command(about = "A small Aliyun OSS for tests")]
struct Arguments {
    /// Folder for objects, the access log and the file `ready`.
    folder: PathBuf,
}

/// The region of the buckets.
const REGION: &str = "cn-test";
/// A bucket for anything.
const BUCKET: &str = "registry";
/// A bucket that keeps versions, and so ignores `x-oss-forbid-overwrite`.
const VERSIONED: &str = "versioned";
/// A bucket of another region.
const ELSEWHERE: &str = "elsewhere";
/// How far ahead the clock of the skewed endpoint is, in seconds. Fifteen minutes are allowed.
const SKEW: i64 = 3600;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = &arguments.folder;
    let files = folder.join("objects");
    std::fs::create_dir_all(&files).context("the folder cannot be made")?;

    let accounts = Arc::new(Accounts::new());
    let buckets = [
        Bucket::new(BUCKET, REGION),
        Bucket { keeps_versions: true, ..Bucket::new(VERSIONED, REGION) },
        Bucket::new(ELSEWHERE, "cn-other"),
    ];
    let log = std::fs::File::create(folder.join("access.log")).context("the access log cannot be made")?;
    let store = Arc::new(Store::new(REGION, files, Arc::clone(&accounts), log, buckets));

    let endpoint = serve_store(Arc::clone(&store), 0).await?;
    let skewed = serve_store(store, SKEW).await?;
    let metadata = serve_metadata(Arc::clone(&accounts)).await?;

    let session = accounts.issue();
    let ready = [
        ("endpoint", endpoint),
        ("skewed_endpoint", skewed),
        ("metadata", metadata),
        ("region", REGION.to_owned()),
        ("bucket", BUCKET.to_owned()),
        ("versioned_bucket", VERSIONED.to_owned()),
        ("other_region_bucket", ELSEWHERE.to_owned()),
        ("access_id", accounts.owner.id.clone()),
        ("access_key", accounts.owner.secret.clone()),
        ("stranger_id", accounts.stranger.id.clone()),
        ("stranger_key", accounts.stranger.secret.clone()),
        ("session_id", session.id),
        ("session_key", session.secret),
        ("session_token", session.token),
        ("access_log", folder.join("access.log").display().to_string()),
    ];
    let text: String = ready.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    std::fs::write(folder.join("ready.tmp"), text)?;
    std::fs::rename(folder.join("ready.tmp"), folder.join("ready"))?;
    // Whoever started it ends it.
    std::future::pending().await
}

/// Serves the store on a free port, with a clock that is `offset` seconds ahead. Returns the endpoint.
async fn serve_store(store: Arc<Store>, offset: i64) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        loop {
            let Ok((connection, _)) = listener.accept().await else { continue };
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let service = service_fn(move |request| service::answer(Arc::clone(&store), offset, request));
                // A client that goes away is not this server's business.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(connection), service)
                    .await;
            });
        }
    });
    Ok(endpoint)
}

async fn serve_metadata(accounts: Arc<Accounts>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        loop {
            let Ok((connection, _)) = listener.accept().await else { continue };
            let accounts = Arc::clone(&accounts);
            tokio::spawn(async move {
                let service = service_fn(move |request| metadata::answer(Arc::clone(&accounts), request));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
            });
        }
    });
    Ok(endpoint)
}
