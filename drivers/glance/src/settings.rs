//! The configuration keys, and their checked values. Those of the identity are `docker-registry-openstack`'s.

use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, Result, Settings};
use docker_registry_object_storage::settings as shared;
use docker_registry_openstack::{CloudSettings, Service};

const ALTERNATE: &str = "storage_alternate";
const STORE: &str = "glance_store";
const USUAL_ALTERNATE: &str = "local";
const USUAL_STORE: &str = "registry";
/// Those of the keys of all object stores that mean something here.
const SHARED: [&str; 6] =
    ["attempt_timeout", "connect_timeout", "most_attempts", "most_connections", "ca_bundle", "proxy"];

/// Glance in the catalog and in the keys.
pub(crate) const GLANCE: Service = Service {
    prefix: "glance",
    kind: "image",
    said: "image service",
    address_key: "glance_url",
    address_variable: "OS_GLANCE_URL",
    address_doc: "Address of Glance, instead of the one in the catalog.",
    has_own_identity: false,
};

/// Values of the driver's own keys.
pub(crate) struct GlanceSettings {
    pub(crate) alternate: String,
    pub(crate) store: String,
    /// Whose keys the identity is configured with.
    pub(crate) service: Service,
}

impl GlanceSettings {
    pub(crate) fn keys() -> Vec<ConfigurationKey> {
        let text = ConfigurationKey::text;
        let mut keys = vec![
            text(
                ALTERNATE,
                "Driver for everything but images: local, swift or any other. Its keys stand beside these.",
            )
            .default(USUAL_ALTERNATE)
            .environment("GLANCE_STORAGE_ALTERNATE"),
            text(
                STORE,
                "Name of this registry, which tells its images from those of others in the same project.",
            )
            .default(USUAL_STORE)
            .environment("GLANCE_STORE"),
        ];
        keys.extend(CloudSettings::keys(&GLANCE));
        keys.extend(shared::keys().into_iter().filter(|key| SHARED.contains(&key.name.as_str())));
        keys
    }

    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let filled = |key: &str, usual: &str| -> Result<String> {
            Ok(settings.text(key)?.filter(|text| !text.is_empty()).unwrap_or(usual).to_owned())
        };
        let store = filled(STORE, USUAL_STORE)?;
        if store.len() > 200 || store.chars().any(|c| !(c.is_ascii_alphanumeric() || "._-".contains(c))) {
            return Err(invalid(format!("{STORE} must be a name of letters, digits, `.`, `_` and `-`")));
        }
        // A flavor that was written for Swift as the other driver has these keys already.
        let of_swift = Service { prefix: "swift", ..GLANCE };
        let is_swifts =
            !CloudSettings::are_there(&GLANCE, settings)? && CloudSettings::are_there(&of_swift, settings)?;
        if is_swifts && let Some(key) = CloudSettings::first_other(&GLANCE, &of_swift, settings)? {
            return Err(invalid(format!("glance_authurl is missing beside {key}")));
        }
        let service = if is_swifts { of_swift } else { GLANCE };
        Ok(Self { alternate: filled(ALTERNATE, USUAL_ALTERNATE)?, store, service })
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}

#[cfg(test)]
mod tests {
    use docker_registry_openstack::Identity;
    use serde_json::{Value, json};

    use super::*;

    fn read(values: Value) -> Result<(GlanceSettings, CloudSettings)> {
        let settings = Settings::new(values.as_object().unwrap().clone());
        let glance = GlanceSettings::read(&settings)?;
        let cloud = CloudSettings::read(&glance.service, &settings)?;
        Ok((glance, cloud))
    }

    #[test]
    fn without_keys_of_its_own_the_identity_is_that_of_the_flavor_for_swift() {
        let url = |values: Value| match read(values).unwrap().1.identity {
            Identity::Third { url, .. } => url,
            _ => panic!("it is version 3"),
        };
        let swift = json!({"swift_authurl": "http://s", "swift_user": "u", "swift_password": "p"});
        assert_eq!(url(swift.clone()), "http://s/v3");
        let mut other = swift.clone();
        other["glance_user"] = "of glance".into();
        assert!(read(other).err().unwrap().message.contains("beside glance_user"));
        let mut both = swift;
        let own = json!({"glance_authurl": "http://g", "glance_user": "u", "glance_password": "p"});
        both.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        assert_eq!(url(both), "http://g/v3");
    }

    #[test]
    fn what_is_wrong_is_refused_by_the_name_of_its_key() {
        let glance = |values: Value| {
            let mut all = json!({"glance_authurl": "http://g", "glance_user": "u", "glance_password": "p"});
            all.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
            all
        };
        assert_eq!(read(glance(json!({}))).unwrap().0.alternate, "local");
        for (values, key) in [
            (json!({}), "glance_authurl"),
            (json!({"glance_authurl": "http://g"}), "glance_user"),
            (glance(json!({"glance_auth_version": 1})), "glance_auth_version"),
            (glance(json!({"glance_url": "here"})), "glance_url"),
            (glance(json!({"glance_store": "a b"})), "glance_store"),
            (glance(json!({"storage_alternate": 5})), "storage_alternate"),
        ] {
            let error = read(values.clone()).err().unwrap_or_else(|| panic!("{values}"));
            assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
            assert!(error.message.contains(key), "{values}: {}", error.message);
        }
    }

    #[test]
    fn every_key_is_told_to_the_operator() {
        let readme = include_str!("../README.md");
        for key in GlanceSettings::keys() {
            let is_shared = SHARED.contains(&key.name.as_str());
            assert!(is_shared || readme.contains(&format!("`{}`", key.name)), "{} is not in it", key.name);
        }
    }
}
