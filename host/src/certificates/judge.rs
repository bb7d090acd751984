//! What a server's certificate must be like.

use std::{net::IpAddr, time::SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
        OID_SIG_ED25519,
    },
    prelude::FromDer,
    public_key::PublicKey,
    signature_algorithm::SignatureAlgorithm,
    x509::X509Version,
};

use super::{Certificate, Fault, PemFile, Problem, Validity, Warning, host_name};

/// RSA keys with fewer bits can be broken.
const MIN_RSA_BITS: u64 = 2048;

/// Judges the certificates of a file, the server's own first.
pub(super) fn judge(
    file: &PemFile,
    chain: Vec<CertificateDer<'static>>,
    now: SystemTime,
) -> Result<Certificate, Problem> {
    let path = || file.path().to_owned();
    let parsed = (1..)
        .zip(&chain)
        .map(|(position, der)| match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(certificate),
            _ => Err(Problem::NotX509 { file: path(), position }),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let own = parsed.first().ok_or(Problem::NotPem { file: path() })?;

    let mut faults = Vec::new();
    if own.version() != X509Version::V3 {
        faults.push(Fault::OldVersion(own.version().0 + 1));
    }
    faults.extend(key_fault(own));
    for (position, certificate) in (1..).zip(&parsed) {
        // Nobody looks at the signature of an authority that is known anyway.
        let is_root = position > 1 && certificate.issuer() == certificate.subject();
        if let Some(hash) = weak_hash(certificate).filter(|_| !is_root) {
            faults.push(Fault::WeakSignature(hash, position));
        }
    }
    let names = names(own);
    if names.is_empty() {
        faults.push(Fault::NoNames);
    }
    if !is_for_servers(own) {
        faults.push(Fault::NotForServers);
    }
    if !faults.is_empty() {
        return Err(Problem::Unfit { file: path(), faults, host: likely_host(own, &names) });
    }

    let validity = Validity::new(own.validity());
    let mut warnings: Vec<Warning> = validity.warning(path(), now).into_iter().collect();
    for (position, pair) in (1..).zip(parsed.windows(2)) {
        if pair[0].issuer() != pair[1].subject() {
            warnings.push(Warning::BrokenChain { file: path(), position });
        }
    }
    Ok(Certificate { names, validity, warnings, chain })
}

fn key_fault(certificate: &X509Certificate<'_>) -> Option<Fault> {
    let key = certificate.public_key();
    let algorithm = &key.algorithm;
    if algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        return match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => {
                let bits = bits(rsa.modulus);
                (bits < MIN_RSA_BITS).then_some(Fault::ShortKey(bits))
            }
            _ => Some(Fault::KeyKind),
        };
    }
    let curve = algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let is_known = algorithm.algorithm == OID_SIG_ED25519
        || (algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
            && curve.is_some_and(|curve| [OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521].contains(&curve)));
    (!is_known).then_some(Fault::KeyKind)
}

/// The length of a number without the zeros before it.
fn bits(number: &[u8]) -> u64 {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let significant = &number[zeros..];
    significant.first().map_or(0, |first| significant.len() as u64 * 8 - u64::from(first.leading_zeros()))
}

/// The broken hash that a certificate is signed over, if it is one.
fn weak_hash(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    let algorithm = &certificate.signature_algorithm;
    if let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = SignatureAlgorithm::try_from(algorithm) {
        return (parameters.hash_algorithm_oid().to_id_string() == "1.3.14.3.2.26").then_some("SHA-1");
    }
    match algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.2" => Some("MD2"),
        "1.2.840.113549.1.1.3" => Some("MD4"),
        "1.2.840.113549.1.1.4" => Some("MD5"),
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" => Some("SHA-1"),
        _ => None,
    }
}

/// The names and addresses of subjectAltName. An unreadable extension has none.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.escape_default().to_string()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Whether it may be a server's: it says nothing about purposes, or says this one.
fn is_for_servers(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
        Ok(None) => true,
        Err(_) => false,
    }
}

/// The host to put into the advice: the first that can be typed as it is.
fn likely_host(certificate: &X509Certificate<'_>, names: &[String]) -> String {
    let common_names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let mut candidates = names.iter().map(String::as_str).chain(common_names);
    candidates.find(|name| host_name(name).is_ok()).unwrap_or("HOST").to_owned()
}
