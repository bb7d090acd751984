//! `openssl s_client`: a connection that a test holds in its hand.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use docker_registry_tests::process::{PATIENCE, run};

/// The SHA-256 of the certificate that the server shows now.
pub(crate) fn shown(address: SocketAddr) -> String {
    let script = "openssl s_client -connect \"$1\" </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256";
    run(Command::new("sh").args(["-c", script, "sh", &address.to_string()]))
}

/// The SHA-256 of a certificate.
pub(crate) fn fingerprint(certificate: &std::path::Path) -> String {
    run(Command::new("openssl").args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(certificate))
}

/// An open connection. Dropping it ends openssl.
pub(crate) struct Session {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
}

impl Session {
    pub(crate) fn open(address: SocketAddr) -> Session {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("standard output"));
        Session { child, input, output: read(output) }
    }

    pub(crate) fn send(&mut self, text: &str) {
        let input = self.input.as_mut().expect("the connection is open");
        input.write_all(text.as_bytes()).expect("openssl reads");
        input.flush().expect("openssl reads");
    }

    /// Reads on until this has come.
    pub(crate) fn await_text(&mut self, part: &str) -> String {
        let mut text = String::new();
        while !text.contains(part) {
            let piece = self.output.recv_timeout(PATIENCE);
            let piece = piece.unwrap_or_else(|_| panic!("{part:?} did not come, but {text:?}"));
            text.push_str(&String::from_utf8_lossy(&piece));
        }
        text
    }

    /// Reads to the end and says whether openssl found it in order: an end without a word is an error to it.
    pub(crate) fn ends_well(mut self) -> bool {
        while self.output.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().expect("openssl ends").success()
    }
}

/// Reads in a thread, so that waiting has an end.
fn read(mut output: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = output.read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
