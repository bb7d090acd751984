//! TLS: what it is spoken with, read anew when the files change.
//!
//! Guarantees: a new certificate is used for new connections within seconds, or at once at SIGHUP, and old connections
//! go on; files that cannot be used change nothing and are one warning, and are looked at again, because a pair may be
//! half replaced.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use docker_registry_config as config;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::CertificateDer},
    server::TlsStream,
};
use x509_parser::parse_x509_certificate;

use super::{
    Wire,
    tls_files::{FileProblem, Fingerprint, fingerprint, read},
};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What a TLS connection begins with: a handshake record.
const HANDSHAKE: u8 = 0x16;

/// TLS of the server.
#[derive(Debug)]
pub struct Tls {
    settings: config::Tls,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    files: Fingerprint,
    /// What was wrong with them at the last look.
    problem: Option<FileProblem>,
}

impl Tls {
    /// Reads the files. Blocks the thread.
    ///
    /// # Errors
    /// What is wrong with them, one sentence.
    pub fn load(settings: &config::Tls) -> Result<Self, FileProblem> {
        // First: what is written from now on is another version.
        let files = fingerprint(settings);
        let current = RwLock::new(Arc::new(read(settings)?));
        Ok(Self { settings: settings.clone(), current, seen: Mutex::new(Seen { files, problem: None }) })
    }

    /// Follows the files for ever.
    pub(crate) async fn follow(self: Arc<Self>) -> io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            let asked = tokio::select! {
                () = sleep(LOOK_INTERVAL) => false,
                _ = hangup.recv() => true,
            };
            let tls = Arc::clone(&self);
            tokio::task::spawn_blocking(move || tls.look(asked)).await?;
        }
    }

    /// Reads the files if they changed, if they could not be used before, or if somebody asked for it.
    fn look(&self, asked: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let files = fingerprint(&self.settings);
        if !asked && files == seen.files && seen.problem.is_none() {
            return;
        }
        seen.files = files;
        match read(&self.settings) {
            Ok(read) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
                seen.problem = None;
                tracing::info!(certificate = %self.settings.certificate.display(), "the certificate was read anew");
            }
            Err(problem) => {
                if asked || seen.problem.as_ref() != Some(&problem) {
                    tracing::warn!(%problem, "the certificate stays as it was");
                }
                seen.problem = Some(problem);
            }
        }
    }

    /// Whether a connection that begins with this byte wants TLS, and not HTTP as it is. What is neither is left to
    /// TLS to refuse.
    pub(crate) fn is_plain_http(first: u8) -> bool {
        first != HANDSHAKE && first.is_ascii_uppercase()
    }

    /// The handshake.
    pub(crate) async fn accept(&self, wire: Wire) -> io::Result<Box<TlsStream<Wire>>> {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        Ok(Box::new(TlsAcceptor::from(current).accept(wire).await?))
    }
}

/// The subject's common name in a certificate, which somebody else has verified.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}
