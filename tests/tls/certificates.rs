//! Certificates, made by openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use docker_registry_tests::process::run;

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    /// What the configuration says to use it.
    pub(crate) fn configuration(&self) -> String {
        format!("tls.certificate: {}\ntls.key: {}\n", self.certificate.display(), self.key.display())
    }

    /// Puts this pair in the place of another, each file at once.
    pub(crate) fn replace(&self, other: &Pair) {
        self.replace_key(other);
        rename_copy(&self.certificate, &other.certificate);
    }

    /// Puts only the key in the place of another.
    pub(crate) fn replace_key(&self, other: &Pair) {
        rename_copy(&self.key, &other.key);
    }
}

/// Copies a file beside the other and renames it there, as every careful program does.
fn rename_copy(from: &Path, to: &Path) {
    let beside = to.with_extension("new");
    fs::copy(from, &beside).expect("a copy");
    fs::rename(beside, to).expect("a new name");
}

fn request(folder: &Path, name: &str, common_name: &str) -> (Command, Pair) {
    let pair =
        Pair { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-days", "30", "-subj", &format!("/O=tests/CN={common_name}")]);
    openssl.arg("-keyout").arg(&pair.key).arg("-out").arg(&pair.certificate);
    (openssl, pair)
}

/// A certificate for 127.0.0.1 and localhost that stands for itself.
pub(crate) fn server(folder: &Path, name: &str) -> Pair {
    let (mut openssl, pair) = request(folder, name, name);
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
    run(&mut openssl);
    pair
}

/// An authority.
pub(crate) fn authority(folder: &Path, name: &str) -> Pair {
    let (mut openssl, pair) = request(folder, name, name);
    openssl.args(["-addext", "keyUsage=critical,keyCertSign"]);
    run(&mut openssl);
    pair
}

/// A client's certificate that the authority has signed.
pub(crate) fn client(folder: &Path, name: &str, authority: &Pair) -> Pair {
    let (mut openssl, pair) = request(folder, name, name);
    openssl.arg("-CA").arg(&authority.certificate).arg("-CAkey").arg(&authority.key);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=clientAuth"]);
    run(&mut openssl);
    pair
}
