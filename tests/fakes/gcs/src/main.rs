//! A stand-in for Google Cloud Storage, written from the public protocol and apart from the driver.
//!
//! It exists because no emulator checks anything: this one verifies V4 signatures (HMAC keys in headers and
//! addresses, RSA keys in addresses), bearer tokens and their expiry, checksums, preconditions, chunk sizes
//! and page tokens, and refuses what the real service refuses. It issues tokens as Google's token endpoint and
//! as the metadata server do. Content lies in files of its folder; names and sessions die with the process.
//!
//! `docker-registry-fake-gcs --folder F --private-key KEY.pem …` listens on a free port of the loopback and
//! writes `F/ready` (lines `KEY=VALUE`) when it answers. `POST /_fake/expire` makes every token worthless,
//! `GET /_fake/log` shows the requests, `GET /_fake/state` what is unfinished.

mod answer;
mod auth;
mod fake;
mod json;
mod listing;
mod sessions;
mod signature;
mod store;
mod sums;
mod tokens;
mod transfer;
mod xml;

use std::{path::PathBuf, sync::Arc};

use clap::Parser;
use hyper_util::rt::{TokioIo, TokioTimer};
use rsa::pkcs8::DecodePrivateKey;
use tokio::net::TcpListener;

use crate::fake::Fake;

/// What it is started with.
#[derive(Parser)]
pub(crate) struct Options {
    /// Folder for content, credentials and the file `ready`.
    #[arg(long)]
    folder: PathBuf,
    /// RSA key of the service account, PKCS #8 as PEM.
    #[arg(long)]
    private_key: PathBuf,
    /// Buckets that exist.
    #[arg(long, default_value = "registry")]
    bucket: Vec<String>,
    /// Access id of the HMAC key.
    #[arg(long, default_value = "GOOG1EFAKEACCESSID")]
    access_key: String,
    /// Secret of the HMAC key.
    #[arg(long, default_value = "fake/secret+of/the=tests")]
    secret_key: String,
    /// How long a token is good, in seconds.
    #[arg(long, default_value_t = 3600)]
    token_lifetime: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let pem = std::fs::read_to_string(&options.private_key)?;
    let key = rsa::PrivateKey::from_pkcs8_pem(&pem)?;
    std::fs::create_dir_all(options.folder.join("content"))?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let folder = options.folder.clone();
    let fake = Arc::new(Fake::new(options, endpoint.clone(), key));
    fake.write_credentials(&pem)?;
    let ready = fake.ready_lines();
    std::fs::write(folder.join("ready.tmp"), ready)?;
    std::fs::rename(folder.join("ready.tmp"), folder.join("ready"))?;
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        let fake = Arc::clone(&fake);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let fake = Arc::clone(&fake);
                async move { Ok::<_, std::convert::Infallible>(fake.answer(request).await) }
            });
            // A client that hangs up is no matter of ours.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(connection), service)
                .await;
        });
    }
}
