//! The catalog of an identity service: where the service of a region is.

use docker_registry_driver_api::Result;
use serde::Deserialize;

use crate::{Service, invalid};

/// Whom an address of the catalog is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// Everybody.
    Public,
    /// Machines of the cloud.
    Internal,
    /// Its operators.
    Admin,
}

impl Interface {
    fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

/// A service in the catalog of version 3.
#[derive(Deserialize)]
pub(crate) struct ThirdService {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<ThirdEndpoint>,
}

#[derive(Deserialize)]
struct ThirdEndpoint {
    interface: String,
    region: Option<String>,
    region_id: Option<String>,
    url: String,
}

/// A service in the catalog of version 2.
#[derive(Deserialize)]
pub(crate) struct SecondService {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<SecondEndpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecondEndpoint {
    region: Option<String>,
    #[serde(rename = "publicURL")]
    public: Option<String>,
    #[serde(rename = "internalURL")]
    internal: Option<String>,
    #[serde(rename = "adminURL")]
    admin: Option<String>,
}

/// The service's address in a catalog of version 3.
pub(crate) fn third(
    wanted: &Service,
    services: &[ThirdService],
    interface: Interface,
    region: Option<&str>,
) -> Result<String> {
    let endpoints = services
        .iter()
        .filter(|service| service.kind == wanted.kind)
        .flat_map(|service| &service.endpoints)
        .filter(|endpoint| endpoint.interface == interface.name())
        .map(|endpoint| {
            let region = endpoint.region_id.as_deref().or(endpoint.region.as_deref());
            (region.unwrap_or_default(), endpoint.url.as_str())
        });
    chosen(wanted, endpoints.collect(), interface, region)
}

/// The service's address in a catalog of version 2.
pub(crate) fn second(
    wanted: &Service,
    services: &[SecondService],
    interface: Interface,
    region: Option<&str>,
) -> Result<String> {
    let endpoints = services
        .iter()
        .filter(|service| service.kind == wanted.kind)
        .flat_map(|service| &service.endpoints)
        .filter_map(|endpoint| {
            let url = match interface {
                Interface::Public => &endpoint.public,
                Interface::Internal => &endpoint.internal,
                Interface::Admin => &endpoint.admin,
            };
            Some((endpoint.region.as_deref().unwrap_or_default(), url.as_deref()?))
        });
    chosen(wanted, endpoints.collect(), interface, region)
}

/// Takes the endpoint of the region, or the first one.
fn chosen(
    wanted: &Service,
    endpoints: Vec<(&str, &str)>,
    interface: Interface,
    region: Option<&str>,
) -> Result<String> {
    let (said, key) = (wanted.said, |name: &str| wanted.key(name));
    let mut regions: Vec<&str> = endpoints.iter().map(|(region, _)| *region).collect();
    regions.dedup();
    let Some((first, _)) = endpoints.first() else {
        return Err(invalid(format!(
            "the catalog has no {said} with the interface {}: check {}, {}, and whether the user has a role there",
            interface.name(),
            key("interface"),
            key("tenant_name"),
        )));
    };
    let region = region.unwrap_or_else(|| {
        if regions.len() > 1 {
            tracing::warn!(
                first,
                ?regions,
                "the catalog has several regions and the first one is taken: set {}",
                key("region_name")
            );
        }
        first
    });
    let found = endpoints.iter().find(|(name, _)| *name == region);
    found.map(|(_, url)| url.trim_end_matches('/').to_owned()).ok_or_else(|| {
        invalid(format!(
            "the catalog has no {said} in the region {region}, but in {}: check {}",
            regions.join(", "),
            key("region_name"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::service::SWIFT;

    #[test]
    fn region_and_interface_choose_and_the_error_names_what_there_is() {
        let endpoint = |region: &str, interface: &str| {
            let url = format!("http://{region}-{interface}/v1/AUTH_a/");
            json!({"interface": interface, "region_id": region, "url": url})
        };
        let services: Vec<ThirdService> = serde_json::from_value(json!([
            {"type": "image", "endpoints": [endpoint("one", "public")]},
            {"type": "object-store", "endpoints": [
                endpoint("one", "internal"), endpoint("one", "public"), endpoint("two", "public"),
            ]},
        ]))
        .unwrap();
        let found = |interface, region| third(&SWIFT, &services, interface, region);
        assert_eq!(found(Interface::Public, None).unwrap(), "http://one-public/v1/AUTH_a");
        assert_eq!(found(Interface::Public, Some("two")).unwrap(), "http://two-public/v1/AUTH_a");
        assert_eq!(found(Interface::Internal, Some("one")).unwrap(), "http://one-internal/v1/AUTH_a");
        let error = found(Interface::Public, Some("three")).unwrap_err();
        assert!(error.message.contains("one, two") && error.message.contains("swift_region_name"));
        assert!(found(Interface::Admin, None).unwrap_err().message.contains("swift_interface"));
    }
}
