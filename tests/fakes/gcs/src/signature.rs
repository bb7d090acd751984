//! V4 signatures: the canonical request and what is made of it, for Google's form and for Amazon's.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rsa::{pkcs1v15, signature::Verifier};
use sha2::{Digest, Sha256};

/// All but the unreserved characters.
const STRICT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The two families of names that a V4 signature comes with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// Prefix of the algorithm's name, and of the secret in the key.
    pub(crate) algorithm: &'static str,
    /// End of the scope.
    pub(crate) terminator: &'static str,
    /// Prefix of headers.
    pub(crate) headers: &'static str,
    /// Prefix of query parameters.
    pub(crate) query: &'static str,
}

pub(crate) const GOOGLE: Form =
    Form { algorithm: "GOOG4", terminator: "goog4_request", headers: "x-goog-", query: "X-Goog-" };
pub(crate) const AMAZON: Form =
    Form { algorithm: "AWS4", terminator: "aws4_request", headers: "x-amz-", query: "X-Amz-" };

/// `ID/DATE/REGION/SERVICE/TERMINATOR`.
pub(crate) struct Scope<'a> {
    pub(crate) id: &'a str,
    pub(crate) date: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

impl<'a> Scope<'a> {
    pub(crate) fn parse(credential: &'a str, form: Form) -> Option<Self> {
        let mut ends = credential.rsplitn(5, '/');
        let terminator = ends.next()?;
        let (service, region, date, id) = (ends.next()?, ends.next()?, ends.next()?, ends.next()?);
        let service_fits = service == "storage" || service == "s3";
        (terminator == form.terminator && service_fits).then_some(Self { id, date, region, service })
    }
}

/// The parts of a request that are signed.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(String, String)],
    pub(crate) headers: &'a HeaderMap,
    pub(crate) signed_headers: &'a str,
    pub(crate) payload: &'a str,
}

impl Signed<'_> {
    /// The text that is signed.
    pub(crate) fn string_to_sign(
        &self,
        form: Form,
        algorithm: &str,
        time: &str,
        scope: &Scope<'_>,
    ) -> String {
        let mut query: Vec<(String, String)> = self
            .query
            .iter()
            .filter(|(name, _)| name != &format!("{}Signature", form.query))
            .map(|(name, value)| (encode(name), encode(value)))
            .collect();
        query.sort();
        let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for name in self.signed_headers.split(';') {
            let values = self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            let values = values.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "));
            headers.insert(name, values.collect());
        }
        let headers: String =
            headers.iter().map(|(name, values)| format!("{name}:{}\n", values.join(","))).collect();
        let canonical = format!(
            "{}\n{}\n{}\n{headers}\n{}\n{}",
            self.method,
            self.path,
            query.join("&"),
            self.signed_headers,
            self.payload
        );
        let hash = hex(&Sha256::digest(canonical.as_bytes()));
        let Scope { date, region, service, .. } = scope;
        format!("{algorithm}\n{time}\n{date}/{region}/{service}/{}\n{hash}", form.terminator)
    }
}

/// The signature with the secret of an HMAC key.
pub(crate) fn hmac_signature(form: Form, secret: &str, scope: &Scope<'_>, text: &str) -> String {
    let mut key = format!("{}{secret}", form.algorithm).into_bytes();
    for step in [scope.date, scope.region, scope.service, form.terminator] {
        key = hmac(&key, step.as_bytes());
    }
    hex(&hmac(&key, text.as_bytes()))
}

/// Whether the service account's key made this signature.
pub(crate) fn rsa_fits(key: &rsa::PublicKey, text: &[u8], signature: &[u8]) -> bool {
    let verifier = pkcs1v15::VerifyingKey::<Sha256>::new(key.clone());
    pkcs1v15::Signature::try_from(signature).is_ok_and(|signature| verifier.verify(text, &signature).is_ok())
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("any length is fine"));
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// Percent-encoding of all but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, &STRICT).to_string()
}

/// Text without its percent-encoding, if it is UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of a hexadecimal text.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| Some((pair[0] * 16 + *pair.get(1)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the public documentation of Amazon's Signature Version 4 for S3: GET Object.
    #[test]
    fn the_signature_is_the_one_of_the_published_example() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let mut headers = HeaderMap::new();
        headers.insert("host", "examplebucket.s3.amazonaws.com".parse().unwrap());
        headers.insert("range", "bytes=0-9".parse().unwrap());
        headers.insert("x-amz-content-sha256", empty.parse().unwrap());
        headers.insert("x-amz-date", "20130524T000000Z".parse().unwrap());
        let credential = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";
        let scope = Scope::parse(credential, AMAZON).unwrap();
        let signed = Signed {
            method: "GET",
            path: "/test.txt",
            query: &[],
            headers: &headers,
            signed_headers: "host;range;x-amz-content-sha256;x-amz-date",
            payload: empty,
        };
        let text = signed.string_to_sign(AMAZON, "AWS4-HMAC-SHA256", "20130524T000000Z", &scope);
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        assert_eq!(
            hmac_signature(AMAZON, secret, &scope, &text),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }
}
