//! The driver's configuration keys: those of the original, and what they lacked.
//!
//! Wrong values fail with `InvalidConfiguration` and name the key.

use std::fmt;

use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, Result, Settings, ValueKind};
use docker_registry_object_storage::settings;
use http::{HeaderMap, HeaderName, HeaderValue};
use reqsign_aliyun_oss::SigningVersion;

use crate::endpoint::{Endpoint, Wanted};

const STORAGE_PATH: &str = "storage_path";
const DEFAULT_STORAGE_PATH: &str = "/registry/";
const HOST: &str = "oss_host";
const BUCKET: &str = "oss_bucket";
const ACCESS_ID: &str = "oss_accessid";
const ACCESS_KEY: &str = "oss_accesskey";
const SECURITY_TOKEN: &str = "oss_security_token";
const RAM_ROLE: &str = "oss_ram_role";
const REGION: &str = "oss_region";
const SIGNATURE: &str = "oss_signature_version";
const SECURE: &str = "oss_secure";
const INTERNAL: &str = "oss_internal";
const ACCELERATE: &str = "oss_accelerate";
const PATH_STYLE: &str = "oss_path_style";
const OWN_NAME: &str = "oss_cname";
const REDIRECT_HOST: &str = "oss_redirect_host";
const ENCRYPTION: &str = "oss_encryption";
const KMS_KEY: &str = "oss_kms_key_id";
const STORAGE_CLASS: &str = "oss_storage_class";

/// Whose credentials are used.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// These keys.
    Keys {
        /// AccessKey id.
        id: String,
        /// AccessKey secret.
        secret: String,
        /// Token of temporary keys.
        token: Option<String>,
    },
    /// The role of this machine.
    Role(String),
    /// What the environment, profiles and the machine have.
    Found,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keys { .. } => "Keys",
            Self::Role(_) => "Role",
            Self::Found => "Found",
        })
    }
}

/// The values that the driver works with.
#[derive(Debug)]
pub(crate) struct OssSettings {
    /// Prefix of every key.
    pub(crate) root: String,
    /// Name of the bucket.
    pub(crate) bucket: String,
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    /// Who asks.
    pub(crate) account: Account,
    /// How requests are signed.
    pub(crate) signature: SigningVersion,
    /// Encryption and storage class, for requests that begin an object.
    pub(crate) begin_headers: HeaderMap,
    /// Whether the keys of encryption are a key management service's.
    pub(crate) uses_kms: bool,
}

impl OssSettings {
    /// The keys, for `describe`; those of every object store are added by the shared crate.
    pub(crate) fn keys() -> Vec<ConfigurationKey> {
        let text = ConfigurationKey::text;
        let boolean = |name, doc| ConfigurationKey::of(ValueKind::Boolean, name, doc);
        vec![
            text(
                HOST,
                "Host of the endpoint, without the bucket; a scheme and a port may be there. By default that of \
                 oss_region, or oss.aliyuncs.com.",
            )
            .environment("OSS_HOST"),
            text(BUCKET, "Name of the bucket. It must exist.").required().environment("OSS_BUCKET"),
            text(
                ACCESS_ID,
                "AccessKey id. Without it the environment, profiles and the machine's role are asked for credentials.",
            )
            .environment("OSS_KEY"),
            text(ACCESS_KEY, "AccessKey secret that belongs to oss_accessid.")
                .environment("OSS_SECRET")
                .secret(),
            text(STORAGE_PATH, "Prefix of everything in the bucket.")
                .default(DEFAULT_STORAGE_PATH)
                .environment("STORAGE_PATH"),
            text(SECURITY_TOKEN, "Security token of STS, where oss_accessid is a temporary one.")
                .environment("OSS_SECURITY_TOKEN")
                .secret(),
            text(RAM_ROLE, "RAM role of this ECS machine whose credentials are used instead of oss_accessid.")
                .environment("OSS_RAM_ROLE"),
            text(
                REGION,
                "Region of the bucket, cn-hangzhou for example. Needed where the host does not tell it: with \
                 acceleration and with names of your own.",
            )
            .environment("OSS_REGION"),
            text(SIGNATURE, "How requests are signed: v4, or v1 for old servers.")
                .default("v4")
                .environment("OSS_SIGNATURE_VERSION"),
            boolean(SECURE, "Whether the connection is encrypted; a scheme in oss_host counts more.")
                .default("true")
                .environment("OSS_SECURE"),
            boolean(INTERNAL, "Whether the endpoint inside of Aliyun's network is used.")
                .default("false")
                .environment("OSS_INTERNAL"),
            boolean(ACCELERATE, "Whether the endpoint for transfer acceleration is used.")
                .default("false")
                .environment("OSS_ACCELERATE"),
            boolean(
                PATH_STYLE,
                "Whether the bucket is named in the path. By default only where oss_host is an address with numbers.",
            ),
            boolean(OWN_NAME, "Whether oss_host is a name of your own that stands for the bucket.")
                .default("false"),
            text(
                REDIRECT_HOST,
                "Host that clients are sent to. By default the public one, also where the server uses the internal one.",
            ),
            text(ENCRYPTION, "How OSS encrypts new objects at rest: AES256 or KMS. By default the bucket decides."),
            text(KMS_KEY, "Key of Aliyun KMS for oss_encryption: KMS, instead of the account's own."),
            text(STORAGE_CLASS, "Storage class of new objects: Standard or IA. By default the bucket decides."),
        ]
    }

    /// Reads and checks the values.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key.
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let bucket = filled(settings, BUCKET)?.ok_or_else(|| invalid("oss_bucket is missing"))?;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(3..=63).contains(&bucket.len())
            || !bucket.bytes().all(is_name)
            || bucket.starts_with('-')
            || bucket.ends_with('-')
        {
            let message = format!(
                "oss_bucket: {bucket:?} is no name of a bucket, which has 3 to 63 lower-case letters, digits and -"
            );
            return Err(invalid(message));
        }
        let signature = match filled(settings, SIGNATURE)?.unwrap_or("v4") {
            "v4" | "V4" | "4" => SigningVersion::V4,
            "v1" | "V1" | "1" => SigningVersion::V1,
            other => return Err(invalid(format!("oss_signature_version: {other:?} is neither v4 nor v1"))),
        };
        let flag = |key| Ok::<_, Error>(settings.boolean(key)?.unwrap_or(false));
        let endpoint = Endpoint::new(&Wanted {
            host: filled(settings, HOST)?,
            region: filled(settings, REGION)?,
            secure: settings.boolean(SECURE)?.unwrap_or(true),
            internal: flag(INTERNAL)?,
            accelerate: flag(ACCELERATE)?,
            path_style: settings.boolean(PATH_STYLE)?,
            own_name: flag(OWN_NAME)?,
            redirect_host: filled(settings, REDIRECT_HOST)?,
            needs_region: signature == SigningVersion::V4,
        })?;
        let (begin_headers, uses_kms) = begin_headers(settings)?;
        Ok(Self {
            root: settings::root(settings.text(STORAGE_PATH)?.unwrap_or(DEFAULT_STORAGE_PATH))?,
            bucket: bucket.to_owned(),
            endpoint,
            account: account(settings)?,
            signature,
            begin_headers,
            uses_kms,
        })
    }
}

fn account(settings: &Settings) -> Result<Account> {
    let id = filled(settings, ACCESS_ID)?;
    let secret = filled(settings, ACCESS_KEY)?;
    let token = filled(settings, SECURITY_TOKEN)?;
    let role = filled(settings, RAM_ROLE)?;
    for (key, value) in [(ACCESS_ID, id), (SECURITY_TOKEN, token)] {
        if value.is_some_and(|value| !value.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(invalid(format!("{key} has characters that no such key has")));
        }
    }
    match (id, secret, role) {
        (Some(_), _, Some(_)) => Err(invalid("oss_ram_role and oss_accessid exclude each other")),
        (Some(id), Some(secret), None) => Ok(Account::Keys {
            id: id.to_owned(),
            secret: secret.to_owned(),
            token: token.map(str::to_owned),
        }),
        (Some(_), None, None) => Err(invalid("oss_accesskey is missing, which belongs to oss_accessid")),
        (None, Some(_), _) => Err(invalid("oss_accessid is missing, which belongs to oss_accesskey")),
        (None, None, _) if token.is_some() => Err(invalid("oss_security_token needs oss_accessid")),
        (None, None, Some(role)) => Ok(Account::Role(role.to_owned())),
        (None, None, None) => Ok(Account::Found),
    }
}

fn begin_headers(settings: &Settings) -> Result<(HeaderMap, bool)> {
    const WAY: HeaderName = HeaderName::from_static("x-oss-server-side-encryption");
    const KEY: HeaderName = HeaderName::from_static("x-oss-server-side-encryption-key-id");
    const CLASS: HeaderName = HeaderName::from_static("x-oss-storage-class");
    let mut headers = HeaderMap::new();
    let way = filled(settings, ENCRYPTION)?;
    match way {
        None => {}
        Some("AES256" | "KMS") => {
            headers.insert(WAY, header(ENCRYPTION, way.unwrap_or_default())?);
        }
        Some(other) => return Err(invalid(format!("oss_encryption: {other:?} is neither AES256 nor KMS"))),
    }
    if let Some(key) = filled(settings, KMS_KEY)? {
        if way != Some("KMS") {
            return Err(invalid("oss_kms_key_id needs oss_encryption: KMS"));
        }
        headers.insert(KEY, header(KMS_KEY, key)?);
    }
    match filled(settings, STORAGE_CLASS)? {
        None => {}
        Some(class @ ("Standard" | "IA")) => {
            headers.insert(CLASS, header(STORAGE_CLASS, class)?);
        }
        // What must be restored before it is read is no place for a registry.
        Some(other) => {
            return Err(invalid(format!("oss_storage_class: {other:?} is neither Standard nor IA")));
        }
    }
    Ok((headers, way == Some("KMS")))
}

/// A text that is not empty.
fn filled<'a>(settings: &'a Settings, key: &str) -> Result<Option<&'a str>> {
    Ok(settings.text(key)?.map(str::trim).filter(|text| !text.is_empty()))
}

fn header(key: &str, value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|_| invalid(format!("{key} has characters that cannot be sent")))
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(values: Value) -> Result<OssSettings> {
        let mut all = json!({ "oss_bucket": "bucket", "oss_host": "oss-cn-hangzhou.aliyuncs.com" });
        all.as_object_mut().unwrap().extend(values.as_object().cloned().unwrap_or_default());
        OssSettings::read(&Settings::new(all.as_object().cloned().unwrap_or_default()))
    }

    #[test]
    fn the_keys_of_the_original_are_enough() {
        let read = read(json!({ "oss_accessid": "i", "oss_accesskey": "s", "storage_path": "/registry/" }));
        let read = read.unwrap();
        assert_eq!(read.root, "registry");
        assert_eq!(read.signature, SigningVersion::V4);
        assert!(matches!(read.account, Account::Keys { token: None, .. }));
        assert!(!format!("{read:?}").contains("\"s\""), "no secret in a debug text");
    }

    #[test]
    fn a_wrong_value_is_refused_by_the_name_of_its_key() {
        for (values, key) in [
            (json!({ "oss_bucket": "" }), "oss_bucket"),
            (json!({ "oss_bucket": "Not/A Bucket" }), "oss_bucket"),
            (json!({ "oss_accessid": "i" }), "oss_accesskey"),
            (json!({ "oss_accesskey": "s" }), "oss_accessid"),
            (json!({ "oss_security_token": "t" }), "oss_security_token"),
            (json!({ "oss_accessid": "i", "oss_accesskey": "s", "oss_ram_role": "r" }), "oss_ram_role"),
            (json!({ "oss_signature_version": "v3" }), "oss_signature_version"),
            (json!({ "oss_encryption": "yes" }), "oss_encryption"),
            (json!({ "oss_kms_key_id": "k" }), "oss_kms_key_id"),
            (json!({ "oss_storage_class": "Archive" }), "oss_storage_class"),
            (json!({ "oss_internal": "maybe" }), "oss_internal"),
            (json!({ "storage_path": "a/../b" }), "storage_path"),
        ] {
            let error = read(values.clone()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
            assert!(error.message.starts_with(key), "{values}: {}", error.message);
        }
    }
}
