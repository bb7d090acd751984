//! The driver's configuration keys: those of docker-registry 0.9.1, and what they lacked.
//!
//! Wrong values fail with `InvalidConfiguration` and name the key. Keys of the original that have no meaning any
//! more are accepted, so that a file that worked keeps working.

use std::{fmt, path::Path};

use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, Result, Settings, ValueKind};
use docker_registry_object_storage::{http::ProxyOptions, settings};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::{
    address::{Place, Style},
    cloudfront::CloudFront,
};

const STORAGE_PATH: &str = "storage_path";
const DEFAULT_STORAGE_PATH: &str = "/registry";

/// The account that requests are signed for, as far as the configuration says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// These keys.
    Keys {
        /// Access key.
        id: String,
        /// Secret key.
        secret: String,
        /// Session token of temporary keys.
        token: Option<String>,
    },
    /// What the environment, profiles and the machine have.
    Found {
        /// Profile to use instead of the usual one.
        profile: Option<String>,
    },
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { id, .. } => f.debug_struct("Keys").field("id", id).finish_non_exhaustive(),
            Self::Found { profile } => f.debug_struct("Found").field("profile", profile).finish(),
        }
    }
}

/// The values that the driver works with.
#[derive(Debug)]
pub(crate) struct S3Settings {
    /// Prefix of every key.
    pub(crate) root: String,
    /// Where the bucket is.
    pub(crate) place: Place,
    /// Who asks.
    pub(crate) account: Account,
    /// Headers of encryption, for every request that begins an object.
    pub(crate) encryption: HeaderMap,
    /// Header of the storage class, for the same requests.
    pub(crate) class: HeaderMap,
    /// Signs addresses instead of S3, if it is configured.
    pub(crate) cloudfront: Option<CloudFront>,
    /// The proxy of the `boto_proxy` keys.
    pub(crate) proxy: Option<ProxyOptions>,
}

impl S3Settings {
    /// The keys, for `describe`; those of every object store are added by the shared crate.
    pub(crate) fn keys() -> Vec<ConfigurationKey> {
        let text = ConfigurationKey::text;
        let boolean = |name, doc| ConfigurationKey::of(ValueKind::Boolean, name, doc);
        let integer = |name, doc| ConfigurationKey::of(ValueKind::Integer, name, doc);
        vec![
            text("boto_bucket", "Name of the bucket. It must exist.").environment("AWS_BUCKET"),
            text("s3_bucket", "Another name of boto_bucket. Where both are set they must agree.")
                .environment("AWS_BUCKET"),
            text(STORAGE_PATH, "Prefix of everything in the bucket.")
                .default(DEFAULT_STORAGE_PATH)
                .environment("STORAGE_PATH"),
            text(
                "s3_region",
                "Region of the bucket. By default that of the host's name, then AWS_REGION and AWS_DEFAULT_REGION, \
                 then us-east-1.",
            )
            .environment("AWS_REGION"),
            text("s3_access_key", "Access key. Without it the environment, profiles and the machine's role count.")
                .environment("AWS_KEY"),
            text("s3_secret_key", "Secret key that belongs to s3_access_key.").environment("AWS_SECRET").secret(),
            text("s3_session_token", "Session token, where s3_access_key is a temporary one.").secret(),
            text("s3_profile", "Profile of ~/.aws to take credentials from, instead of AWS_PROFILE or default."),
            boolean("s3_secure", "Whether the connection is encrypted.").default("true").environment("AWS_SECURE"),
            boolean("s3_encrypt", "Whether S3 encrypts objects at rest with its own keys (SSE-S3).")
                .default("true")
                .environment("AWS_ENCRYPT"),
            text(
                "s3_sse_kms_key_id",
                "Key of AWS KMS that S3 encrypts objects at rest with (SSE-KMS), instead of its own.",
            ),
            text("s3_storage_class", "Storage class of new objects, STANDARD_IA for example."),
            boolean("s3_use_sigv4", "Has no effect: signature version 4 is always used.")
                .environment("AWS_USE_SIGV4"),
            text("s3_endpoint", "Address of the server, http://HOST:PORT for example, instead of boto_host."),
            text("boto_host", "Host of the server, where it is not Amazon's.").environment("AWS_HOST"),
            integer("boto_port", "Port of the server.").environment("AWS_PORT"),
            text(
                "boto_calling_format",
                "How the bucket is named in addresses, by boto's classes: boto.s3.connection.OrdinaryCallingFormat \
                 in the path, SubdomainCallingFormat before the host, VHostCallingFormat as the host. By default \
                 before the host at Amazon, in the path elsewhere.",
            )
            .environment("AWS_CALLING_FORMAT"),
            boolean("s3_path_style", "Whether the bucket is named in the path; overrides boto_calling_format."),
            boolean("s3_accelerate", "Whether Amazon's transfer acceleration is used.").default("false"),
            boolean("s3_dualstack", "Whether Amazon is reached by IPv6 as well.").default("false"),
            integer("boto_debug", "Has no effect: set loglevel instead.").environment("AWS_DEBUG"),
            text("boto_proxy", "Host of an HTTP proxy on the way to the server."),
            integer("boto_proxy_port", "Port of that proxy."),
            text("boto_proxy_user", "User name for that proxy."),
            text("boto_proxy_pass", "Password for that proxy.").secret(),
            text("cloudfront.base", "Address of a CloudFront distribution that clients are sent to.")
                .environment("CF_BASE_URL"),
            text("cloudfront.keyid", "Id of the CloudFront key pair that addresses are signed with.")
                .environment("CF_KEYID"),
            text("cloudfront.keysecret", "Private key of that pair in PEM, or the path of its file.")
                .environment("CF_KEYSECRET")
                .secret(),
        ]
    }

    /// Reads and checks the values.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key.
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        for key in ["s3_use_sigv4", "boto_debug"] {
            if settings.values().get(key).is_some_and(|value| !value.is_null()) {
                tracing::debug!(key, "this key has no effect");
            }
        }
        Ok(Self {
            root: settings::root(settings.text(STORAGE_PATH)?.unwrap_or(DEFAULT_STORAGE_PATH))?,
            place: place(settings)?,
            account: account(settings)?,
            encryption: encryption(settings)?,
            class: class(settings)?,
            cloudfront: cloudfront(settings)?,
            proxy: proxy(settings)?,
        })
    }
}

fn bucket(settings: &Settings) -> Result<String> {
    let bucket = match (filled(settings, "boto_bucket")?, filled(settings, "s3_bucket")?) {
        (Some(one), Some(other)) if one != other => {
            return Err(invalid(format!("boto_bucket is {one} and s3_bucket is {other}: they must agree")));
        }
        (Some(bucket), _) | (None, Some(bucket)) => bucket,
        (None, None) => return Err(invalid("boto_bucket is missing")),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    if !bucket.bytes().all(is_name) || bucket.starts_with(['.', '-']) {
        return Err(invalid(format!("boto_bucket: {bucket:?} is no name of a bucket")));
    }
    Ok(bucket.to_owned())
}

fn place(settings: &Settings) -> Result<Place> {
    let port = match settings.integer("boto_port")? {
        None => None,
        Some(port) => {
            let port = u16::try_from(port).ok().filter(|port| *port > 0);
            Some(port.ok_or_else(|| invalid("boto_port must be a port, 1 to 65535"))?)
        }
    };
    let style = match settings.boolean("s3_path_style")? {
        Some(true) => Some(Style::Path),
        Some(false) => Some(Style::Subdomain),
        None => match filled(settings, "boto_calling_format")? {
            None => None,
            Some(name) => Some(style(name)?),
        },
    };
    let place = Place {
        bucket: bucket(settings)?,
        region: filled(settings, "s3_region")?.map(str::to_owned),
        endpoint: filled(settings, "s3_endpoint")?.map(str::to_owned),
        host: filled(settings, "boto_host")?.map(str::to_owned),
        port,
        secure: settings.boolean("s3_secure")?.unwrap_or(true),
        style,
        accelerate: settings.boolean("s3_accelerate")?.unwrap_or(false),
        dualstack: settings.boolean("s3_dualstack")?.unwrap_or(false),
    };
    place.check()?;
    Ok(place)
}

/// The classes of boto by their names, with or without the module.
fn style(name: &str) -> Result<Style> {
    match name.rsplit('.').next().unwrap_or(name) {
        "OrdinaryCallingFormat" | "ProtocolIndependentOrdinaryCallingFormat" => Ok(Style::Path),
        "SubdomainCallingFormat" => Ok(Style::Subdomain),
        "VHostCallingFormat" => Ok(Style::Host),
        _ => Err(invalid(format!(
            "boto_calling_format: {name:?} is none of OrdinaryCallingFormat, SubdomainCallingFormat and \
             VHostCallingFormat of boto.s3.connection"
        ))),
    }
}

fn account(settings: &Settings) -> Result<Account> {
    let id = filled(settings, "s3_access_key")?;
    let secret = filled(settings, "s3_secret_key")?;
    let token = filled(settings, "s3_session_token")?.map(str::to_owned);
    let profile = filled(settings, "s3_profile")?.map(str::to_owned);
    for (key, value) in [("s3_access_key", id), ("s3_session_token", token.as_deref())] {
        if value.is_some_and(|value| !value.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(invalid(format!("{key} has characters that no such key has")));
        }
    }
    match (id, secret) {
        (Some(_), Some(_)) if profile.is_some() => {
            Err(invalid("s3_profile and s3_access_key exclude each other"))
        }
        (Some(id), Some(secret)) => {
            Ok(Account::Keys { id: id.to_owned(), secret: secret.to_owned(), token })
        }
        (Some(_), None) => Err(invalid("s3_secret_key is missing, which belongs to s3_access_key")),
        (None, Some(_)) => Err(invalid("s3_access_key is missing, which belongs to s3_secret_key")),
        (None, None) if token.is_some() => Err(invalid("s3_session_token needs s3_access_key")),
        (None, None) => Ok(Account::Found { profile }),
    }
}

fn encryption(settings: &Settings) -> Result<HeaderMap> {
    const ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
    const KMS_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");
    let mut headers = HeaderMap::new();
    if let Some(key) = filled(settings, "s3_sse_kms_key_id")? {
        headers.insert(ENCRYPTION, HeaderValue::from_static("aws:kms"));
        headers.insert(KMS_KEY, header("s3_sse_kms_key_id", key)?);
    } else if settings.boolean("s3_encrypt")?.unwrap_or(true) {
        headers.insert(ENCRYPTION, HeaderValue::from_static("AES256"));
    }
    Ok(headers)
}

fn class(settings: &Settings) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(class) = filled(settings, "s3_storage_class")? {
        // What must be restored before it is read is no place for a registry.
        if matches!(class, "GLACIER" | "DEEP_ARCHIVE") {
            return Err(invalid(format!("s3_storage_class: {class} cannot be read without waiting for hours")));
        }
        headers.insert(HeaderName::from_static("x-amz-storage-class"), header("s3_storage_class", class)?);
    }
    Ok(headers)
}

fn cloudfront(settings: &Settings) -> Result<Option<CloudFront>> {
    let base = nested(settings, "cloudfront", "base")?;
    let key_id = nested(settings, "cloudfront", "keyid")?;
    let secret = nested(settings, "cloudfront", "keysecret")?;
    match (base, key_id, secret) {
        (None, None, None) => Ok(None),
        (Some(base), Some(key_id), Some(secret)) => {
            // A key is one file of a few kilobytes that is read once, before anything runs.
            let text = if secret.contains("-----BEGIN") {
                // Variables often carry the line ends as two characters.
                secret.replace("\\n", "\n")
            } else {
                std::fs::read_to_string(Path::new(secret))
                    .map_err(|error| invalid("the file of cloudfront.keysecret cannot be read").caused_by(&error))?
            };
            CloudFront::new(base, key_id, &text).map(Some)
        }
        (base, key_id, secret) => {
            let parts = [("base", base), ("keyid", key_id), ("keysecret", secret)];
            let missing: Vec<String> = parts
                .iter()
                .filter(|(_, value)| value.is_none())
                .map(|(name, _)| format!("cloudfront.{name}"))
                .collect();
            Err(invalid(format!("{} is missing", missing.join(" and "))))
        }
    }
}

fn proxy(settings: &Settings) -> Result<Option<ProxyOptions>> {
    let Some(host) = filled(settings, "boto_proxy")? else { return Ok(None) };
    let port = settings.integer("boto_proxy_port")?.unwrap_or(8080);
    let port = u16::try_from(port).map_err(|_| invalid("boto_proxy_port must be a port, 1 to 65535"))?;
    let url = if host.contains("://") { host.to_owned() } else { format!("http://{host}:{port}") };
    let text = |key| Ok::<_, Error>(filled(settings, key)?.map(str::to_owned));
    Ok(Some(ProxyOptions {
        url,
        user: text("boto_proxy_user")?,
        password: text("boto_proxy_pass")?,
        except: None,
    }))
}

/// A text that is not empty.
fn filled<'a>(settings: &'a Settings, key: &str) -> Result<Option<&'a str>> {
    Ok(settings.text(key)?.map(str::trim).filter(|text| !text.is_empty()))
}

/// The same of a dotted key, which arrives as an object in an object.
fn nested<'a>(settings: &'a Settings, group: &str, key: &str) -> Result<Option<&'a str>> {
    match settings.values().get(group).and_then(|group| group.get(key)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
        Some(_) => Err(invalid(format!("{group}.{key} must be a text"))),
    }
}

fn header(key: &str, value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|_| invalid(format!("{key} has characters that cannot be sent")))
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
