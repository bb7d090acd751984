//! Whether a request was signed by somebody who knows the secret.
//!
//! Version 1 is HMAC-SHA1 over a few lines; version 4 is HMAC-SHA256 with a key for one day and region.
//! Both come in the header `Authorization` or in the address.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::accounts::{Accounts, Identity};
use crate::call::Call;
use crate::fault::Fault;
use crate::reply::{encoded, encoded_path};

/// How far the clocks may be apart, in seconds.
const ALLOWED_SKEW: i64 = 15 * 60;
/// Longest life of an address signed with version 4, in seconds.
const LONGEST_LIFE: i64 = 7 * 24 * 3600;
const V4: &str = "OSS4-HMAC-SHA256";

/// Parts of the query that belong to the resource, as version 1 counts.
const SUB_RESOURCES: &[&str] = &[
    "acl",
    "append",
    "bucketInfo",
    "comp",
    "continuation-token",
    "cors",
    "delete",
    "encryption",
    "lifecycle",
    "location",
    "logging",
    "objectMeta",
    "partNumber",
    "policy",
    "position",
    "referer",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "security-token",
    "stat",
    "symlink",
    "tagging",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
    "x-oss-process",
    "x-oss-traffic-limit",
];

/// Verifies the signature of a request.
///
/// # Errors
/// As the store answers: no signature, a wrong one, one that is too old, an unknown key.
pub(crate) fn verify(call: &Call, region: &str, accounts: &Accounts, now: i64) -> Result<(), Fault> {
    let identity = match call.header("authorization") {
        Some(text) => match text.split_once(' ') {
            Some(("OSS", rest)) => v1_header(call, rest, accounts, now)?,
            Some((V4, rest)) => v4_header(call, rest, region, accounts, now)?,
            _ => return Err(Fault::argument("Authorization header is invalid.")),
        },
        None if call.asks("x-oss-signature") => v4_address(call, region, accounts, now)?,
        None if call.asks("Signature") => v1_address(call, accounts, now)?,
        None => return Err(Fault::new(403, "AccessDenied", "Anonymous access is forbidden.")),
    };
    if identity.may {
        Ok(())
    } else {
        let message = "You have no right to access this object because of bucket acl.";
        Err(Fault::new(403, "AccessDenied", message))
    }
}

fn v1_header(call: &Call, text: &str, accounts: &Accounts, now: i64) -> Result<Identity, Fault> {
    let (id, signature) =
        text.split_once(':').ok_or_else(|| Fault::argument("Authorization header is invalid."))?;
    let date = call.header("x-oss-date").or(call.header("date")).unwrap_or_default();
    let time = httpdate::parse_http_date(date)
        .map_err(|_| Fault::new(403, "AccessDenied", "OSS authentication requires a valid Date."))?;
    check_skew(seconds(time), now)?;
    let identity = accounts.identify(id, call.header("x-oss-security-token"), now)?;
    check_v1(call, date, signature, &identity)?;
    Ok(identity)
}

fn v1_address(call: &Call, accounts: &Accounts, now: i64) -> Result<Identity, Fault> {
    let expires: i64 = call.number("Expires")?.ok_or_else(|| Fault::argument("Expires is missing."))?;
    if expires < now {
        return Err(Fault::new(403, "AccessDenied", "Request has expired."));
    }
    let id = call.value("OSSAccessKeyId").unwrap_or_default();
    let identity = accounts.identify(id, call.value("security-token"), now)?;
    check_v1(call, &expires.to_string(), call.value("Signature").unwrap_or_default(), &identity)?;
    Ok(identity)
}

fn check_v1(call: &Call, date: &str, signature: &str, identity: &Identity) -> Result<(), Fault> {
    let mut text = format!(
        "{}\n{}\n{}\n{date}\n",
        call.method,
        call.header("content-md5").unwrap_or_default(),
        call.header("content-type").unwrap_or_default()
    );
    for (name, value) in own_headers(call) {
        text.push_str(&format!("{name}:{value}\n"));
    }
    text.push('/');
    if let Some(bucket) = &call.bucket {
        text.push_str(&format!("{bucket}/{}", call.key));
    }
    let mut resources: Vec<String> = call
        .query
        .iter()
        .filter(|(name, _)| SUB_RESOURCES.contains(&name.as_str()))
        .map(|(name, value)| match value.as_deref() {
            None | Some("") => name.clone(),
            Some(value) => format!("{name}={value}"),
        })
        .collect();
    resources.sort();
    if !resources.is_empty() {
        text.push_str(&format!("?{}", resources.join("&")));
    }
    let mut mac = <Hmac<Sha1>>::new_from_slice(identity.secret.as_bytes()).expect("a key of any length");
    mac.update(text.as_bytes());
    compare(&STANDARD.encode(mac.finalize().into_bytes()), signature, &text)
}

/// What version 4 signs, apart from the request itself.
struct Scope<'a> {
    id: &'a str,
    date: &'a str,
    region: &'a str,
}

impl<'a> Scope<'a> {
    fn parse(credential: &'a str, region: &str) -> Result<Self, Fault> {
        let parts: Vec<&str> = credential.split('/').collect();
        let [id, date, named, product, end] = parts[..] else {
            return Err(Fault::argument("Invalid credential in Authorization header."));
        };
        if product != "oss" || end != "aliyun_v4_request" {
            return Err(Fault::argument("Invalid signing product in Authorization header."));
        }
        if named != region {
            return Err(Fault::argument("Invalid signing region in Authorization header."));
        }
        Ok(Self { id, date, region: named })
    }
}

fn v4_header(
    call: &Call,
    text: &str,
    region: &str,
    accounts: &Accounts,
    now: i64,
) -> Result<Identity, Fault> {
    let field = |name: &str| {
        text.split(',').map(str::trim).find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    let scope = Scope::parse(field("Credential").unwrap_or_default(), region)?;
    let date = call.header("x-oss-date").unwrap_or_default();
    check_skew(basic_time(date)?, now)?;
    let identity = accounts.identify(scope.id, call.header("x-oss-security-token"), now)?;
    let payload = call.header("x-oss-content-sha256").unwrap_or_default();
    if payload != "UNSIGNED-PAYLOAD" {
        return Err(Fault::argument("Invalid x-oss-content-sha256."));
    }
    let additional = field("AdditionalHeaders").unwrap_or_default();
    check_v4(call, &scope, date, additional, field("Signature").unwrap_or_default(), &identity)?;
    Ok(identity)
}

fn v4_address(call: &Call, region: &str, accounts: &Accounts, now: i64) -> Result<Identity, Fault> {
    let field = |name: &str| call.value(name).unwrap_or_default();
    if field("x-oss-signature-version") != V4 {
        return Err(Fault::argument("Invalid x-oss-signature-version."));
    }
    let scope = Scope::parse(field("x-oss-credential"), region)?;
    let date = field("x-oss-date");
    let begin = basic_time(date)?;
    let life: i64 = call.number("x-oss-expires")?.unwrap_or_default();
    if !(1..=LONGEST_LIFE).contains(&life) {
        return Err(Fault::argument("Invalid x-oss-expires."));
    }
    if begin > now + ALLOWED_SKEW || begin + life < now {
        return Err(Fault::new(403, "AccessDenied", "Request has expired."));
    }
    let identity = accounts.identify(scope.id, call.value("x-oss-security-token"), now)?;
    let additional = field("x-oss-additional-headers");
    check_v4(call, &scope, date, additional, field("x-oss-signature"), &identity)?;
    Ok(identity)
}

fn check_v4(
    call: &Call,
    scope: &Scope<'_>,
    date: &str,
    additional: &str,
    signature: &str,
    identity: &Identity,
) -> Result<(), Fault> {
    if !date.starts_with(scope.date) {
        return Err(Fault::argument("Invalid signing date in Authorization header."));
    }
    let bucket = call.bucket.as_ref().map_or_else(String::new, |bucket| format!("{bucket}/"));
    let path = format!("/{bucket}{}", call.key);
    let mut query: Vec<String> = call
        .query
        .iter()
        .filter(|(name, _)| name != "x-oss-signature")
        .map(|(name, value)| match value.as_deref() {
            None | Some("") => encoded(name),
            Some(value) => format!("{}={}", encoded(name), encoded(value)),
        })
        .collect();
    query.sort();

    let mut signed: Vec<(String, String)> = own_headers(call);
    for name in ["content-type", "content-md5"] {
        signed.extend(call.header(name).map(|value| (name.to_owned(), value.trim().to_owned())));
    }
    for name in additional.split(';').filter(|name| !name.is_empty()) {
        let value = match (name, call.header(name)) {
            (_, Some(value)) => value.trim(),
            // A request that came as to a proxy has it in its address.
            ("host", None) => &call.host,
            _ => "",
        };
        signed.push((name.to_owned(), value.to_owned()));
    }
    signed.sort();
    let headers: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();

    let request = format!(
        "{}\n{}\n{}\n{headers}\n{additional}\nUNSIGNED-PAYLOAD",
        call.method,
        encoded_path(&path),
        query.join("&")
    );
    let digest = hexadecimal(&Sha256::digest(request.as_bytes()));
    let text = format!("{V4}\n{date}\n{}/{}/oss/aliyun_v4_request\n{digest}", scope.date, scope.region);
    let mut key = sha256(format!("aliyun_v4{}", identity.secret).as_bytes(), scope.date);
    for part in [scope.region, "oss", "aliyun_v4_request"] {
        key = sha256(&key, part);
    }
    compare(&hexadecimal(&sha256(&key, &text)), signature, &format!("{text}\n\n{request}"))
}

/// The headers that are always signed, sorted.
fn own_headers(call: &Call) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = call
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-oss-"))
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        })
        .collect();
    headers.sort();
    headers
}

fn compare(expected: &str, given: &str, text: &str) -> Result<(), Fault> {
    if expected == given {
        return Ok(());
    }
    let message = "The request signature we calculated does not match the signature you provided.";
    Err(Fault::new(403, "SignatureDoesNotMatch", message).detail("StringToSign", text))
}

fn check_skew(time: i64, now: i64) -> Result<(), Fault> {
    if (time - now).abs() <= ALLOWED_SKEW {
        return Ok(());
    }
    let message = "The difference between the request time and the current time is too large.";
    Err(Fault::new(403, "RequestTimeTooSkewed", message)
        .detail("MaxAllowedSkewMilliseconds", (ALLOWED_SKEW * 1000).to_string()))
}

fn basic_time(text: &str) -> Result<i64, Fault> {
    jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text)
        .and_then(|time| jiff::tz::TimeZone::UTC.to_timestamp(time))
        .map(jiff::Timestamp::as_second)
        .map_err(|_| Fault::argument("Invalid x-oss-date."))
}

fn seconds(time: std::time::SystemTime) -> i64 {
    time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

fn sha256(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = <Hmac<Sha256>>::new_from_slice(key).expect("a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Bytes in lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
