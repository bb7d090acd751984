//! The configuration keys, and their checked values. Those of the identity are `docker-registry-openstack`'s.

use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, Result, Settings, ValueKind};
use docker_registry_object_storage::settings::root;
use docker_registry_openstack::{CloudSettings, Service};

pub(crate) const CONTAINER: &str = "swift_container";
const STORAGE_PATH: &str = "storage_path";
const NEWEST: &str = "swift_newest";
const TEMP_URL_KEY: &str = "swift_temp_url_key";
const TEMP_URL_SETUP: &str = "swift_temp_url_setup";

/// The container of docker-registry 0.x when none is named.
const USUAL_CONTAINER: &str = "dev_container";

/// Swift in the catalog and in the keys.
pub(crate) const SERVICE: Service = Service {
    prefix: "swift",
    kind: "object-store",
    said: "object storage",
    address_key: "swift_object_storage_url",
    address_variable: "OS_STORAGE_URL",
    address_doc: "Address of the account, instead of the one that the identity service names.",
    has_own_identity: true,
};

/// Values of the driver's own keys. `Debug` is not derived: some are secret.
pub(crate) struct SwiftSettings {
    pub(crate) container: String,
    pub(crate) root: String,
    /// Readings ask every copy.
    pub(crate) newest: bool,
    pub(crate) temp_url: Option<TempUrl>,
}

/// The key that addresses are signed with.
pub(crate) struct TempUrl {
    pub(crate) key: String,
    /// Whether the driver gives it to the container.
    pub(crate) setup: bool,
}

impl SwiftSettings {
    pub(crate) fn keys() -> Vec<ConfigurationKey> {
        let text = ConfigurationKey::text;
        let boolean = |name, doc| ConfigurationKey::of(ValueKind::Boolean, name, doc).default("false");
        let mut keys = CloudSettings::keys(&SERVICE);
        keys.extend([
            text(CONTAINER, "Name of the container. It is made, private, when it is not there.")
                .default(USUAL_CONTAINER)
                .environment("OS_CONTAINER"),
            text(STORAGE_PATH, "Prefix of every object in the container.")
                .default("/registry")
                .environment("STORAGE_PATH"),
            boolean(NEWEST, "Whether readings ask every copy of an object and take the newest.")
                .environment("SWIFT_NEWEST"),
            text(TEMP_URL_KEY, "Key of the container or account that signs addresses for redirects.")
                .environment("SWIFT_TEMP_URL_KEY")
                .secret(),
            boolean(TEMP_URL_SETUP, "Whether the driver sets this key at the container.")
                .environment("SWIFT_TEMP_URL_SETUP"),
        ]);
        keys
    }

    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let filled = |key: &str| -> Result<Option<String>> {
            Ok(settings.text(key)?.filter(|text| !text.is_empty()).map(str::to_owned))
        };
        let container = filled(CONTAINER)?.unwrap_or_else(|| USUAL_CONTAINER.to_owned());
        if container.len() > 256 || container.contains(['/', '\n']) {
            return Err(invalid(format!("{CONTAINER} must be a name of at most 256 bytes without /")));
        }
        let setup = settings.boolean(TEMP_URL_SETUP)?.unwrap_or(false);
        let temp_url = filled(TEMP_URL_KEY)?.map(|key| TempUrl { key, setup });
        if temp_url
            .as_ref()
            .is_some_and(|temp_url| temp_url.key.chars().any(|sign| !(' '..='~').contains(&sign)))
        {
            return Err(invalid(format!("{TEMP_URL_KEY} has characters that no header can have")));
        }
        if setup && temp_url.is_none() {
            return Err(invalid(format!("{TEMP_URL_KEY} is missing beside {TEMP_URL_SETUP}")));
        }
        Ok(Self {
            container,
            root: root(&filled(STORAGE_PATH)?.unwrap_or_else(|| "/registry".to_owned()))?,
            newest: settings.boolean(NEWEST)?.unwrap_or(false),
            temp_url,
        })
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use docker_registry_openstack::{Domain, Identity, Name};

    use super::*;

    fn read(values: Value) -> Result<(SwiftSettings, CloudSettings)> {
        let settings = Settings::new(values.as_object().unwrap().clone());
        Ok((SwiftSettings::read(&settings)?, CloudSettings::read(&SERVICE, &settings)?))
    }

    fn with(values: Value) -> Value {
        let mut all = json!({"swift_authurl": "http://k:5000/v3", "swift_user": "u", "swift_password": "p"});
        all.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        all
    }

    #[test]
    fn the_configuration_of_the_original_works() {
        let (swift, cloud) = read(json!({
            "storage_path": "/registry", "swift_authurl": "http://k:5000/v2.0", "swift_container": "c",
            "swift_user": "u", "swift_password": "p", "swift_tenant_name": "t", "swift_region_name": "r",
        }))
        .unwrap();
        assert!(
            matches!(&cloud.identity, Identity::Second { url, user, project: Some(Name::Name(project)), .. }
            if url == "http://k:5000/v2.0" && user == "u" && project == "t")
        );
        assert_eq!((swift.container.as_str(), swift.root.as_str()), ("c", "registry"));
        assert_eq!(cloud.region.as_deref(), Some("r"));
    }

    #[test]
    fn the_address_tells_the_version_unless_the_configuration_does() {
        for (url, version, expected) in [
            ("http://k:5000", None, "http://k:5000/v3"),
            ("http://k/identity/", None, "http://k/identity/v3"),
            ("http://k:5000/v3/", None, "http://k:5000/v3"),
            ("http://k:5000", Some(2), "http://k:5000/v2.0"),
            ("http://s/auth/v1.0", None, "http://s/auth/v1.0"),
        ] {
            let mut values = with(json!({"swift_authurl": url}));
            if let Some(version) = version {
                values["swift_auth_version"] = json!(version);
            }
            let found = match read(values).unwrap().1.identity {
                Identity::First { url, .. } | Identity::Second { url, .. } | Identity::Third { url, .. } => {
                    url
                }
                Identity::Token { .. } => panic!("no token was given"),
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_project_has_the_users_domain_unless_it_is_named() {
        let scope = |values: Value| match read(with(values)).unwrap().1.identity {
            Identity::Third { scope, .. } => scope,
            _ => panic!("it is version 3"),
        };
        let project = || Name::Name("t".to_owned());
        assert_eq!(scope(json!({})), None);
        let expected = Domain::Id("default".to_owned());
        assert_eq!(scope(json!({"swift_tenant_name": "t"})), Some((project(), expected)));
        let expected = Domain::Name("d".to_owned());
        assert_eq!(
            scope(json!({"swift_tenant_name": "t", "swift_user_domain_name": "d"})),
            Some((project(), expected))
        );
        let expected = Domain::Id("e".to_owned());
        let values =
            json!({"swift_tenant_name": "t", "swift_user_domain_name": "d", "swift_project_domain_id": "e"});
        assert_eq!(scope(values), Some((project(), expected)));
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_the_name_of_a_key() {
        for (values, key) in [
            (json!({}), "swift_authurl"),
            (json!({"swift_token": "t"}), "swift_authurl"),
            (json!({"swift_authurl": "http://k"}), "swift_user"),
            (json!({"swift_authurl": "http://k", "swift_user": "u"}), "swift_password"),
            (json!({"swift_authurl": "http://k", "swift_password": "p"}), "swift_user"),
            (with(json!({"swift_authurl": "k:5000"})), "swift_authurl"),
            (with(json!({"swift_authurl": "http://u:p@k"})), "swift_authurl"),
            (with(json!({"swift_auth_version": 4})), "swift_auth_version"),
            (with(json!({"swift_container": "a/b"})), "swift_container"),
            (with(json!({"swift_interface": "secret"})), "swift_interface"),
            (with(json!({"swift_application_credential_id": "i"})), "swift_application_credential_secret"),
            (with(json!({"swift_application_credential_secret": "s"})), "swift_application_credential_id"),
            (with(json!({"swift_auth_version": 1, "swift_token": "t"})), "swift_auth_version"),
            (with(json!({"swift_temp_url_setup": true})), "swift_temp_url_key"),
            (with(json!({"swift_temp_url_key": "a\nb"})), "swift_temp_url_key"),
            (with(json!({"swift_object_storage_url": "here"})), "swift_object_storage_url"),
            (with(json!({"storage_path": "/a/../b"})), "storage_path"),
        ] {
            let error = read(values.clone()).err().unwrap_or_else(|| panic!("{values}"));
            assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
            assert!(error.message.contains(key), "{values}: {}", error.message);
        }
    }

    #[test]
    fn every_key_is_told_to_the_operator() {
        let readme = include_str!("../README.md");
        for key in SwiftSettings::keys() {
            assert!(readme.contains(&format!("`{}`", key.name)), "{} is not in the README", key.name);
        }
    }
}
