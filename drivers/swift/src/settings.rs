//! The configuration keys, and their checked values.

use std::path::PathBuf;

use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, Result, Settings, ValueKind};
use docker_registry_object_storage::{
    http::{Advice, normal_address},
    settings::root,
};

use crate::{
    catalog::Interface,
    identity::{Domain, Identity, Name, Proof},
};

const AUTH_URL: &str = "swift_authurl";
const AUTH_VERSION: &str = "swift_auth_version";
const CONTAINER: &str = "swift_container";
const STORAGE_PATH: &str = "storage_path";
const USER: &str = "swift_user";
const PASSWORD: &str = "swift_password";
const USER_DOMAIN_NAME: &str = "swift_user_domain_name";
const USER_DOMAIN_ID: &str = "swift_user_domain_id";
const TENANT_NAME: &str = "swift_tenant_name";
const TENANT_ID: &str = "swift_tenant_id";
const PROJECT_DOMAIN_NAME: &str = "swift_project_domain_name";
const PROJECT_DOMAIN_ID: &str = "swift_project_domain_id";
const CREDENTIAL_ID: &str = "swift_application_credential_id";
const CREDENTIAL_NAME: &str = "swift_application_credential_name";
const CREDENTIAL_SECRET: &str = "swift_application_credential_secret";
const TOKEN: &str = "swift_token";
const REGION: &str = "swift_region_name";
const INTERFACE: &str = "swift_interface";
const STORAGE_URL: &str = "swift_object_storage_url";
const CA_CERT: &str = "swift_cacert";
const NEWEST: &str = "swift_newest";
const TEMP_URL_KEY: &str = "swift_temp_url_key";
const TEMP_URL_SETUP: &str = "swift_temp_url_setup";

/// The container of docker-registry 0.x when none is named.
const USUAL_CONTAINER: &str = "dev_container";
const USUAL_DOMAIN: &str = "default";

/// Values of the driver's own keys. `Debug` is not derived: some are secret.
pub(crate) struct SwiftSettings {
    pub(crate) container: String,
    pub(crate) root: String,
    pub(crate) identity: Identity,
    pub(crate) region: Option<String>,
    pub(crate) interface: Interface,
    /// Where the account is, when the catalog is not to say.
    pub(crate) storage_url: Option<String>,
    pub(crate) ca_bundle: Option<PathBuf>,
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
        vec![
            text(AUTH_URL, "Address of the identity service: Keystone's, or the cluster's own of version 1.")
                .environment("OS_AUTH_URL"),
            ConfigurationKey::of(
                ValueKind::Integer,
                AUTH_VERSION,
                "Version of the identity service, 1, 2 or 3. Without it the end of the address tells, and 3 is tried.",
            )
            .environment("OS_AUTH_VERSION"),
            text(CONTAINER, "Name of the container. It is made, private, when it is not there.")
                .default(USUAL_CONTAINER)
                .environment("OS_CONTAINER"),
            text(STORAGE_PATH, "Prefix of every object in the container.")
                .default("/registry")
                .environment("STORAGE_PATH"),
            text(USER, "Name of the user; ACCOUNT:USER with version 1.").environment("OS_USERNAME"),
            text(PASSWORD, "Password of the user.").environment("OS_PASSWORD").secret(),
            text(USER_DOMAIN_NAME, "Domain of the user, by name. Without name and id it is the domain `default`.")
                .environment("OS_USER_DOMAIN_NAME"),
            text(USER_DOMAIN_ID, "Domain of the user, by id.").environment("OS_USER_DOMAIN_ID"),
            text(TENANT_NAME, "Project (tenant) that the container is in, by name.")
                .environment("OS_TENANT_NAME"),
            text(TENANT_ID, "Project (tenant) that the container is in, by id.").environment("OS_PROJECT_ID"),
            text(PROJECT_DOMAIN_NAME, "Domain of the project, by name. Without name and id it is that of the user.")
                .environment("OS_PROJECT_DOMAIN_NAME"),
            text(PROJECT_DOMAIN_ID, "Domain of the project, by id.").environment("OS_PROJECT_DOMAIN_ID"),
            text(CREDENTIAL_ID, "Application credential, by id, instead of a user and a password.")
                .environment("OS_APPLICATION_CREDENTIAL_ID"),
            text(CREDENTIAL_NAME, "Application credential, by name; its user goes with it.")
                .environment("OS_APPLICATION_CREDENTIAL_NAME"),
            text(CREDENTIAL_SECRET, "Secret of the application credential.")
                .environment("OS_APPLICATION_CREDENTIAL_SECRET")
                .secret(),
            text(TOKEN, "A token, instead of a user and a password. When it ends the driver stops working.")
                .environment("OS_TOKEN")
                .secret(),
            text(REGION, "Region of the catalog that the cluster is in. Without it the first one counts.")
                .environment("OS_REGION_NAME"),
            text(INTERFACE, "Which address of the catalog is used: public, internal or admin.")
                .default("public")
                .environment("OS_INTERFACE"),
            text(STORAGE_URL, "Address of the account, instead of the one that the identity service names.")
                .environment("OS_STORAGE_URL"),
            text(CA_CERT, "The same as ca_bundle, under its old name.").environment("OS_CACERT"),
            boolean(NEWEST, "Whether readings ask every copy of an object and take the newest.")
                .environment("SWIFT_NEWEST"),
            text(TEMP_URL_KEY, "Key of the container or account that signs addresses for redirects.")
                .environment("SWIFT_TEMP_URL_KEY")
                .secret(),
            boolean(TEMP_URL_SETUP, "Whether the driver sets this key at the container.")
                .environment("SWIFT_TEMP_URL_SETUP"),
        ]
    }

    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let filled = |key: &str| -> Result<Option<String>> {
            Ok(settings.text(key)?.filter(|text| !text.is_empty()).map(str::to_owned))
        };
        let container = filled(CONTAINER)?.unwrap_or_else(|| USUAL_CONTAINER.to_owned());
        if container.len() > 256 || container.contains(['/', '\n']) {
            return Err(invalid(format!("{CONTAINER} must be a name of at most 256 bytes without /")));
        }
        let address = |key: &str| -> Result<Option<String>> {
            let Some(text) = filled(key)? else { return Ok(None) };
            let wrong = || invalid(format!("{key} must be an address: http(s)://HOST:PORT/…"));
            normal_address(&text).map(Some).ok_or_else(wrong)
        };
        let storage_url = address(STORAGE_URL)?;
        let identity = Self::identity(settings, &filled, address(AUTH_URL)?, storage_url.is_some())?;
        let interface = match filled(INTERFACE)?.as_deref().map(|name| name.trim_end_matches("URL")) {
            None | Some("public") => Interface::Public,
            Some("internal") => Interface::Internal,
            Some("admin") => Interface::Admin,
            Some(_) => return Err(invalid(format!("{INTERFACE} must be public, internal or admin"))),
        };
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
            identity,
            region: filled(REGION)?,
            interface,
            storage_url,
            ca_bundle: filled(CA_CERT)?.map(PathBuf::from),
            newest: settings.boolean(NEWEST)?.unwrap_or(false),
            temp_url,
        })
    }

    fn identity(
        settings: &Settings,
        filled: &impl Fn(&str) -> Result<Option<String>>,
        url: Option<String>,
        has_storage_url: bool,
    ) -> Result<Identity> {
        let (user, password, token) = (filled(USER)?, filled(PASSWORD)?, filled(TOKEN)?);
        let missing = |key: &str, beside: &str| invalid(format!("{key} is missing beside {beside}"));
        let Some(url) = url else {
            return match token {
                Some(token) if has_storage_url => Ok(Identity::Token { token }),
                Some(_) => Err(invalid(format!("{TOKEN} needs {AUTH_URL} or {STORAGE_URL}"))),
                None => Err(invalid(format!("{AUTH_URL} is missing"))),
            };
        };
        let version = match settings.integer(AUTH_VERSION)? {
            Some(version @ 1..=3) => version,
            Some(_) => return Err(invalid(format!("{AUTH_VERSION} must be 1, 2 or 3"))),
            None => version_of(&url),
        };
        let credential = filled(CREDENTIAL_SECRET)?;
        let credential_name = match (filled(CREDENTIAL_ID)?, filled(CREDENTIAL_NAME)?) {
            (Some(id), _) => Some(Name::Id(id)),
            (None, name) => name.map(Name::Name),
        };
        let domain = |name: &str, id: &str| -> Result<Option<Domain>> {
            Ok(match (filled(id)?, filled(name)?) {
                (Some(id), _) => Some(Domain::Id(id)),
                (None, name) => name.map(Domain::Name),
            })
        };
        let user_domain = domain(USER_DOMAIN_NAME, USER_DOMAIN_ID)?;
        let usual = user_domain.clone().unwrap_or_else(|| Domain::Id(USUAL_DOMAIN.to_owned()));
        let project = match (filled(TENANT_ID)?, filled(TENANT_NAME)?) {
            (Some(id), _) => Some(Name::Id(id)),
            (None, name) => name.map(Name::Name),
        };
        let with_password = |user: Option<String>, password: Option<String>| match (user, password) {
            (Some(user), Some(password)) => Ok((user, password)),
            (Some(_), None) => Err(missing(PASSWORD, USER)),
            (None, Some(_)) => Err(missing(USER, PASSWORD)),
            (None, None) => Err(invalid(format!("{USER} and {PASSWORD} are missing"))),
        };
        if version < 3 && (credential.is_some() || credential_name.is_some() || token.is_some()) {
            let message = format!("{TOKEN} and {CREDENTIAL_SECRET} need an identity service of version 3");
            return Err(invalid(format!("{message}: check {AUTH_URL} and {AUTH_VERSION}")));
        }
        if version == 1 {
            let (user, password) = with_password(user, password)?;
            return Ok(Identity::First { url, user, password });
        }
        if version == 2 {
            let (user, password) = with_password(user, password)?;
            // Clients of the time took both in one word as well.
            let (project, user) = match (project, user.split_once(':')) {
                (None, Some((tenant, user))) => (Some(Name::Name(tenant.to_owned())), user.to_owned()),
                (project, _) => (project, user),
            };
            return Ok(Identity::Second { url: with_version(url, "v2.0"), user, password, project });
        }
        let proof = match (credential_name, credential, token) {
            (Some(name), Some(secret), None) => {
                let user = match (&name, user) {
                    (Name::Id(_), _) => None,
                    (Name::Name(_), Some(user)) => Some((user, usual.clone())),
                    (Name::Name(_), None) => return Err(missing(USER, CREDENTIAL_NAME)),
                };
                Proof::Application { name, secret, user }
            }
            (Some(_), None, _) => return Err(missing(CREDENTIAL_SECRET, CREDENTIAL_ID)),
            (None, Some(_), _) => return Err(missing(CREDENTIAL_ID, CREDENTIAL_SECRET)),
            (Some(_), Some(_), Some(_)) => {
                return Err(invalid(format!("{TOKEN} and {CREDENTIAL_SECRET} are both set: leave one")));
            }
            (None, None, Some(token)) => Proof::Token(token),
            (None, None, None) => {
                let (user, password) = with_password(user, password)?;
                Proof::Password { user, domain: usual.clone(), password }
            }
        };
        let project_domain = domain(PROJECT_DOMAIN_NAME, PROJECT_DOMAIN_ID)?.unwrap_or(usual);
        let scope = match &proof {
            // The project of an application credential is its own.
            Proof::Application { .. } => None,
            _ => project.map(|project| (project, project_domain)),
        };
        if scope.is_none() && matches!(proof, Proof::Password { .. }) {
            // The user's default project, where the identity service knows one.
            tracing::debug!("no project is configured: check {TENANT_NAME} should the catalog be empty");
        }
        Ok(Identity::Third { url: with_version(url, "v3"), proof, scope })
    }

    /// The words for errors.
    pub(crate) fn advice(&self) -> Advice {
        let credentials = match &self.identity {
            Identity::First { .. } => format!("{USER} and {PASSWORD}"),
            Identity::Second { .. } => format!("{USER}, {PASSWORD} and {TENANT_NAME}"),
            Identity::Third { proof: Proof::Password { .. }, .. } => {
                format!("{USER}, {PASSWORD}, {TENANT_NAME} and the domains")
            }
            Identity::Third { proof: Proof::Application { .. }, .. } => {
                format!("{CREDENTIAL_ID} and {CREDENTIAL_SECRET}")
            }
            Identity::Third { proof: Proof::Token(_), .. } | Identity::Token { .. } => TOKEN.to_owned(),
        };
        Advice {
            store: "Swift".to_owned(),
            credentials,
            bucket: CONTAINER.to_owned(),
            region: REGION.to_owned(),
            endpoint: format!("{AUTH_URL}, {REGION}, {INTERFACE} and {STORAGE_URL}"),
            ca_bundle: format!("{CA_CERT} or ca_bundle"),
            proxy: "proxy".to_owned(),
        }
    }
}

/// The version that the end of an address tells.
fn version_of(url: &str) -> i64 {
    match url.rsplit('/').next() {
        Some(end) if end.starts_with("v1") => 1,
        Some(end) if end.starts_with("v2") => 2,
        _ => 3,
    }
}

/// The address with its version at the end.
fn with_version(url: String, version: &str) -> String {
    let is_version = |end: &str| end.strip_prefix('v').is_some_and(|rest| rest.starts_with(char::is_numeric));
    if url.rsplit('/').next().is_some_and(is_version) { url } else { format!("{url}/{version}") }
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(values: Value) -> Result<SwiftSettings> {
        SwiftSettings::read(&Settings::new(values.as_object().unwrap().clone()))
    }

    fn with(values: Value) -> Value {
        let mut all = json!({"swift_authurl": "http://k:5000/v3", "swift_user": "u", "swift_password": "p"});
        all.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        all
    }

    #[test]
    fn the_configuration_of_the_original_works() {
        let read = read(json!({
            "storage_path": "/registry", "swift_authurl": "http://k:5000/v2.0", "swift_container": "c",
            "swift_user": "u", "swift_password": "p", "swift_tenant_name": "t", "swift_region_name": "r",
        }))
        .unwrap();
        assert!(
            matches!(&read.identity, Identity::Second { url, user, project: Some(Name::Name(project)), .. }
            if url == "http://k:5000/v2.0" && user == "u" && project == "t")
        );
        assert_eq!((read.container.as_str(), read.root.as_str()), ("c", "registry"));
        assert_eq!(read.region.as_deref(), Some("r"));
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
            let found = match read(values).unwrap().identity {
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
        let scope = |values: Value| match read(with(values)).unwrap().identity {
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
