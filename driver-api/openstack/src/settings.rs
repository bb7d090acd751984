//! The configuration keys of an identity, and their checked values.
//!
//! Their names are those of driver `swift` of docker-registry 0.x, behind the driver's own prefix; their variables are
//! those of OpenStack's own clients.

use std::path::PathBuf;

use docker_registry_driver_api::{ConfigurationKey, Error, Result, Settings, ValueKind};
use docker_registry_object_storage::http::{Advice, normal_address};

use crate::{Domain, Identity, Interface, Name, Proof, Service, invalid};

const AUTH_URL: &str = "authurl";
const AUTH_VERSION: &str = "auth_version";
const USER: &str = "user";
const PASSWORD: &str = "password";
const USER_DOMAIN_NAME: &str = "user_domain_name";
const USER_DOMAIN_ID: &str = "user_domain_id";
const TENANT_NAME: &str = "tenant_name";
const TENANT_ID: &str = "tenant_id";
const PROJECT_DOMAIN_NAME: &str = "project_domain_name";
const PROJECT_DOMAIN_ID: &str = "project_domain_id";
const CREDENTIAL_ID: &str = "application_credential_id";
const CREDENTIAL_NAME: &str = "application_credential_name";
const CREDENTIAL_SECRET: &str = "application_credential_secret";
const TOKEN: &str = "token";
const REGION: &str = "region_name";
const INTERFACE: &str = "interface";
const CA_CERT: &str = "cacert";

const USUAL_DOMAIN: &str = "default";

/// Who asks, and where the service is. `Debug` is not derived: some of it is secret.
pub struct CloudSettings {
    /// Who asks.
    pub identity: Identity,
    /// The region of the catalog, or its first one.
    pub region: Option<String>,
    /// Which of the catalog's addresses is used.
    pub interface: Interface,
    /// Where the service is, when the catalog is not to say.
    pub address: Option<String>,
    /// PEM file with certificates of authorities.
    pub ca_bundle: Option<PathBuf>,
}

/// Values by the second part of their key's name.
struct Values<'a> {
    service: &'a Service,
    settings: &'a Settings,
}

impl Values<'_> {
    fn filled(&self, name: &str) -> Result<Option<String>> {
        filled(self.settings, &self.service.key(name))
    }

    fn domain(&self, name: &str, id: &str) -> Result<Option<Domain>> {
        Ok(match (self.filled(id)?, self.filled(name)?) {
            (Some(id), _) => Some(Domain::Id(id)),
            (None, name) => name.map(Domain::Name),
        })
    }

    fn name(&self, name: &str, id: &str) -> Result<Option<Name>> {
        Ok(match (self.filled(id)?, self.filled(name)?) {
            (Some(id), _) => Some(Name::Id(id)),
            (None, name) => name.map(Name::Name),
        })
    }

    fn missing(&self, name: &str, beside: &str) -> Error {
        invalid(format!("{} is missing beside {}", self.service.key(name), self.service.key(beside)))
    }

    fn user_and_password(&self) -> Result<(String, String)> {
        match (self.filled(USER)?, self.filled(PASSWORD)?) {
            (Some(user), Some(password)) => Ok((user, password)),
            (Some(_), None) => Err(self.missing(PASSWORD, USER)),
            (None, Some(_)) => Err(self.missing(USER, PASSWORD)),
            (None, None) => {
                let (user, password) = (self.service.key(USER), self.service.key(PASSWORD));
                Err(invalid(format!("{user} and {password} are missing")))
            }
        }
    }
}

impl CloudSettings {
    /// The keys, for `describe`.
    pub fn keys(service: &Service) -> Vec<ConfigurationKey> {
        let key = |name: &str, doc: &str, variable: &str| {
            ConfigurationKey::text(&service.key(name), doc).environment(variable)
        };
        let address = match service.has_own_identity {
            true => "Address of the identity service: Keystone's, or the cluster's own of version 1.",
            false => "Address of Keystone, the identity service.",
        };
        let version = match service.has_own_identity {
            true => {
                "Version of the identity service, 1, 2 or 3. Without it the end of the address tells, and 3 is tried."
            }
            false => {
                "Version of the identity service, 2 or 3. Without it the end of the address tells, and 3 is tried."
            }
        };
        let user = match service.has_own_identity {
            true => "Name of the user; ACCOUNT:USER with version 1.",
            false => "Name of the user.",
        };
        vec![
            key(AUTH_URL, address, "OS_AUTH_URL"),
            ConfigurationKey::of(ValueKind::Integer, &service.key(AUTH_VERSION), version)
                .environment("OS_AUTH_VERSION"),
            key(USER, user, "OS_USERNAME"),
            key(PASSWORD, "Password of the user.", "OS_PASSWORD").secret(),
            key(
                USER_DOMAIN_NAME,
                "Domain of the user, by name. Without name and id it is the domain `default`.",
                "OS_USER_DOMAIN_NAME",
            ),
            key(USER_DOMAIN_ID, "Domain of the user, by id.", "OS_USER_DOMAIN_ID"),
            key(TENANT_NAME, "Project (tenant) of the registry, by name.", "OS_TENANT_NAME"),
            key(TENANT_ID, "Project (tenant) of the registry, by id.", "OS_PROJECT_ID"),
            key(
                PROJECT_DOMAIN_NAME,
                "Domain of the project, by name. Without name and id it is that of the user.",
                "OS_PROJECT_DOMAIN_NAME",
            ),
            key(PROJECT_DOMAIN_ID, "Domain of the project, by id.", "OS_PROJECT_DOMAIN_ID"),
            key(
                CREDENTIAL_ID,
                "Application credential, by id, instead of a user and a password.",
                "OS_APPLICATION_CREDENTIAL_ID",
            ),
            key(
                CREDENTIAL_NAME,
                "Application credential, by name; its user goes with it.",
                "OS_APPLICATION_CREDENTIAL_NAME",
            ),
            key(
                CREDENTIAL_SECRET,
                "Secret of the application credential.",
                "OS_APPLICATION_CREDENTIAL_SECRET",
            )
            .secret(),
            key(
                TOKEN,
                "A token, instead of a user and a password. When it ends the driver stops working.",
                "OS_TOKEN",
            )
            .secret(),
            key(
                REGION,
                "Region of the catalog that the service is in. Without it the first one counts.",
                "OS_REGION_NAME",
            ),
            key(
                INTERFACE,
                "Which address of the catalog is used: public, internal or admin.",
                "OS_INTERFACE",
            )
            .default("public"),
            ConfigurationKey::text(service.address_key, service.address_doc)
                .environment(service.address_variable),
            key(CA_CERT, "The same as ca_bundle, under its old name.", "OS_CACERT"),
        ]
    }

    /// Whether an identity service is configured under this service's keys.
    ///
    /// # Errors
    /// `InvalidConfiguration` where the address is no text.
    pub fn are_there(service: &Service, settings: &Settings) -> Result<bool> {
        Ok(filled(settings, &service.key(AUTH_URL))?.is_some())
    }

    /// The first key of a service that is filled, and differently from that of `other`.
    ///
    /// # Errors
    /// `InvalidConfiguration` where one of them is no text.
    pub fn first_other(service: &Service, other: &Service, settings: &Settings) -> Result<Option<String>> {
        for key in Self::keys(service) {
            let Some(name) = key.name.strip_prefix(service.prefix) else { continue };
            if key.name == service.address_key || key.kind != ValueKind::Text {
                continue;
            }
            let value = filled(settings, &key.name)?;
            // A variable that fills both is no difference, nor is a default.
            if value.is_some()
                && value != key.default
                && value != filled(settings, &format!("{}{name}", other.prefix))?
            {
                return Ok(Some(key.name));
            }
        }
        Ok(None)
    }

    /// Reads and checks the values.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key.
    pub fn read(service: &Service, settings: &Settings) -> Result<Self> {
        let values = Values { service, settings };
        let address = |key: &str| -> Result<Option<String>> {
            let Some(text) = filled(settings, key)? else { return Ok(None) };
            let wrong = || invalid(format!("{key} must be an address: http(s)://HOST:PORT/…"));
            normal_address(&text).map(Some).ok_or_else(wrong)
        };
        let service_address = address(service.address_key)?;
        let identity = identity(&values, address(&service.key(AUTH_URL))?, service_address.is_some())?;
        let interface = match values.filled(INTERFACE)?.as_deref().map(|name| name.trim_end_matches("URL")) {
            None | Some("public") => Interface::Public,
            Some("internal") => Interface::Internal,
            Some("admin") => Interface::Admin,
            Some(_) => {
                return Err(invalid(format!("{} must be public, internal or admin", service.key(INTERFACE))));
            }
        };
        Ok(Self {
            identity,
            region: values.filled(REGION)?,
            interface,
            address: service_address,
            ca_bundle: values.filled(CA_CERT)?.map(PathBuf::from),
        })
    }

    /// The words for errors. `store` is the name of the service, `bucket` the key of what is looked for in it.
    pub fn advice(&self, service: &Service, store: &str, bucket: &str) -> Advice {
        let key = |name| service.key(name);
        let credentials = match &self.identity {
            Identity::First { .. } => format!("{} and {}", key(USER), key(PASSWORD)),
            Identity::Second { .. } => {
                format!("{}, {} and {}", key(USER), key(PASSWORD), key(TENANT_NAME))
            }
            Identity::Third { proof: Proof::Password { .. }, .. } => {
                format!("{}, {}, {} and the domains", key(USER), key(PASSWORD), key(TENANT_NAME))
            }
            Identity::Third { proof: Proof::Application { .. }, .. } => {
                format!("{} and {}", key(CREDENTIAL_ID), key(CREDENTIAL_SECRET))
            }
            Identity::Third { proof: Proof::Token(_), .. } | Identity::Token { .. } => key(TOKEN),
        };
        Advice {
            store: store.to_owned(),
            credentials,
            bucket: bucket.to_owned(),
            region: key(REGION),
            endpoint: format!(
                "{}, {}, {} and {}",
                key(AUTH_URL),
                key(REGION),
                key(INTERFACE),
                service.address_key
            ),
            ca_bundle: format!("{} or ca_bundle", key(CA_CERT)),
            proxy: "proxy".to_owned(),
        }
    }
}

fn identity(values: &Values<'_>, url: Option<String>, has_address: bool) -> Result<Identity> {
    let key = |name: &str| values.service.key(name);
    let token = values.filled(TOKEN)?;
    let Some(url) = url else {
        return match token {
            Some(token) if has_address => Ok(Identity::Token { token }),
            Some(_) => Err(invalid(format!(
                "{} needs {} or {}",
                key(TOKEN),
                key(AUTH_URL),
                values.service.address_key
            ))),
            None => Err(invalid(format!("{} is missing", key(AUTH_URL)))),
        };
    };
    let oldest = if values.service.has_own_identity { 1 } else { 2 };
    let version = match values.settings.integer(&key(AUTH_VERSION))? {
        Some(version) if (oldest..=3).contains(&version) => version,
        Some(_) => return Err(invalid(format!("{} must be {oldest} to 3", key(AUTH_VERSION)))),
        None => version_of(&url).max(oldest),
    };
    let credential = values.filled(CREDENTIAL_SECRET)?;
    let credential_name = values.name(CREDENTIAL_NAME, CREDENTIAL_ID)?;
    if version < 3 && (credential.is_some() || credential_name.is_some() || token.is_some()) {
        let message =
            format!("{} and {} need an identity service of version 3", key(TOKEN), key(CREDENTIAL_SECRET));
        return Err(invalid(format!("{message}: check {} and {}", key(AUTH_URL), key(AUTH_VERSION))));
    }
    if version == 1 {
        let (user, password) = values.user_and_password()?;
        return Ok(Identity::First { url, user, password });
    }
    let project = values.name(TENANT_NAME, TENANT_ID)?;
    if version == 2 {
        let (user, password) = values.user_and_password()?;
        // Clients of the time took both in one word as well.
        let (project, user) = match (project, user.split_once(':')) {
            (None, Some((tenant, user))) => (Some(Name::Name(tenant.to_owned())), user.to_owned()),
            (project, _) => (project, user),
        };
        return Ok(Identity::Second { url: with_version(url, "v2.0"), user, password, project });
    }
    let user_domain = values.domain(USER_DOMAIN_NAME, USER_DOMAIN_ID)?;
    let usual = user_domain.unwrap_or_else(|| Domain::Id(USUAL_DOMAIN.to_owned()));
    let proof = match (credential_name, credential, token) {
        (Some(name), Some(secret), None) => {
            let user = match (&name, values.filled(USER)?) {
                (Name::Id(_), _) => None,
                (Name::Name(_), Some(user)) => Some((user, usual.clone())),
                (Name::Name(_), None) => return Err(values.missing(USER, CREDENTIAL_NAME)),
            };
            Proof::Application { name, secret, user }
        }
        (Some(_), None, _) => return Err(values.missing(CREDENTIAL_SECRET, CREDENTIAL_ID)),
        (None, Some(_), _) => return Err(values.missing(CREDENTIAL_ID, CREDENTIAL_SECRET)),
        (Some(_), Some(_), Some(_)) => {
            let both = format!("{} and {}", key(TOKEN), key(CREDENTIAL_SECRET));
            return Err(invalid(format!("{both} are both set: leave one")));
        }
        (None, None, Some(token)) => Proof::Token(token),
        (None, None, None) => {
            let (user, password) = values.user_and_password()?;
            Proof::Password { user, domain: usual.clone(), password }
        }
    };
    let project_domain = values.domain(PROJECT_DOMAIN_NAME, PROJECT_DOMAIN_ID)?.unwrap_or(usual);
    let scope = match &proof {
        // The project of an application credential is its own.
        Proof::Application { .. } => None,
        _ => project.map(|project| (project, project_domain)),
    };
    if scope.is_none() && matches!(proof, Proof::Password { .. }) {
        // The user's default project, where the identity service knows one.
        tracing::debug!("no project is configured: check {} should the catalog be empty", key(TENANT_NAME));
    }
    Ok(Identity::Third { url: with_version(url, "v3"), proof, scope })
}

/// The version that the end of an address tells.
fn version_of(url: &str) -> i64 {
    match split_version(url).1 {
        Some(version) if version.starts_with("v1") => 1,
        Some(version) if version.starts_with("v2") => 2,
        _ => 3,
    }
}

/// The address with its version at the end.
fn with_version(url: String, version: &str) -> String {
    if split_version(&url).1.is_some() { url } else { format!("{url}/{version}") }
}

/// An address without the version at the end of its path, and that version: `http://host/image/v2` has `v2`. The name of
/// a host is never taken for one.
pub fn split_version(address: &str) -> (&str, Option<&str>) {
    let host = address.find("://").map_or(0, |scheme| scheme + 3);
    let Some(slash) = address[host..].rfind('/') else { return (address, None) };
    let (base, end) = (&address[..host + slash], &address[host + slash + 1..]);
    let is_version = end.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if is_version { (base, Some(end)) } else { (address, None) }
}

fn filled(settings: &Settings, key: &str) -> Result<Option<String>> {
    Ok(settings.text(key)?.filter(|text| !text.is_empty()).map(str::to_owned))
}
