//! New certificates: self-signed, so that one file is what the server shows and what its clients trust.
//!
//! There is no authority of one's own, whose key would have to be guarded. Docker and every other client in Go,
//! OpenSSL and curl take such a certificate as its own root when it is given to them; it is no authority
//! (CA:FALSE), so that it can vouch for nobody else.

use std::{
    net::IpAddr,
    str::FromStr,
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType,
};

/// How far a new certificate reaches back, for clients whose clocks are behind.
const SLACK: Duration = Duration::from_secs(60 * 60);
/// The longest common name that X.509 allows.
const MAX_COMMON_NAME: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The kind of a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    Ecdsa,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

/// What a new certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A server with these names and addresses, all of them accepted by [`host_name`].
    Server(Vec<String>),
    /// A client of this name.
    Client(String),
}

/// A new certificate and its key, both PEM.
pub struct Generated {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS#8.
    pub key: String,
    /// Its last day.
    pub not_after: SystemTime,
}

/// Makes a certificate and its key. RSA keys take seconds.
///
/// # Errors
/// When a name cannot be in a certificate, or the system has no random numbers.
pub fn generate(purpose: &Purpose, kind: KeyKind, days: u32) -> Result<Generated, String> {
    let make = || -> Result<Generated, rcgen::Error> {
        let key = match kind {
            KeyKind::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
            KeyKind::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072)?,
            KeyKind::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096)?,
        };
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        let (name, usage) = match purpose {
            Purpose::Server(hosts) => {
                for host in hosts {
                    parameters.subject_alt_names.push(match IpAddr::from_str(host) {
                        Ok(address) => SanType::IpAddress(address),
                        Err(_) => SanType::DnsName(host.as_str().try_into()?),
                    });
                }
                let first = hosts.iter().find(|host| host.len() <= MAX_COMMON_NAME);
                (first.map_or("docker-registry", String::as_str), ExtendedKeyUsagePurpose::ServerAuth)
            }
            Purpose::Client(name) => (name.as_str(), ExtendedKeyUsagePurpose::ClientAuth),
        };
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages = vec![usage];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if kind != KeyKind::Ecdsa {
            parameters.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        parameters.is_ca = IsCa::ExplicitNoCa;
        let now = SystemTime::now();
        let not_after = now + DAY * days;
        parameters.not_before = (now - SLACK).into();
        parameters.not_after = not_after.into();
        let certificate = parameters.self_signed(&key)?;
        Ok(Generated { certificate: certificate.pem(), key: key.serialize_pem(), not_after })
    };
    make().map_err(|error| error.to_string())
}

/// A host as a certificate names it: a name, a name with `*.` before it, or an address; no scheme and no port.
///
/// # Errors
/// What to write instead.
pub fn host_name(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = IpAddr::from_str(bare) {
        return Ok(address.to_string());
    }
    if let Some((_, host)) = text.split_once("://") {
        return Err(format!(
            "a certificate is for a host, not for a URL: write `{}`",
            host.trim_end_matches('/')
        ));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(format!("a certificate is for a host at any port: write `{host}`"));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits only is a mistyped address.
    let is_address =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if text.len() > 253 || is_address || !name.split('.').all(is_label) {
        return Err(
            "a host is a name of letters, digits and dashes (others as xn--…), or an address".to_owned()
        );
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for good in ["registry", "registry.example.com", "*.example.com", "10.0.0.1", "::1", "my_host.lan"] {
            assert_eq!(host_name(good).as_deref(), Ok(good));
        }
        assert_eq!(host_name("[::1]").as_deref(), Ok("::1"));
        assert_eq!(host_name("Registry.Example.COM").as_deref(), Ok("registry.example.com"));
        for wrong in ["", "a b", "-a", "a..b", "*", "a.*.b", "10.0.0.256", "regístry", "$(reboot)", "a/b"] {
            assert!(host_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_or_a_scheme_is_told_from_a_host() {
        assert!(host_name("registry:5000").unwrap_err().contains("write `registry`"));
        assert!(host_name("https://registry/").unwrap_err().contains("write `registry`"));
    }
}
