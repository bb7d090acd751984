//! The variables by which the flavors of the sample configuration are told to store in a [`StoreServer`].

use std::net::SocketAddr;

use crate::store_server::StoreServer;

/// Variables of a server, by name.
pub type Variables = Vec<(String, String)>;

/// How a client of Google proves who it is: variables, and the keys under which the start script gives their values.
pub type GoogleCredentials = [(&'static str, &'static str)];

/// Keys of Amazon's kind, with which the XML API is spoken.
pub const GOOGLE_HMAC: &GoogleCredentials = &[("GCS_KEY", "access_key"), ("GCS_SECRET", "secret_key")];
/// The key of a service account, with which the JSON API is spoken.
pub const GOOGLE_SERVICE_ACCOUNT: &GoogleCredentials = &[("GCS_CREDENTIALS_FILE", "service_account")];

fn owned(variables: &[(&str, &str)]) -> Variables {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Flavors `s3` and `ceph-s3`, for a store that is reached at `address`: its own, or that of a proxy.
pub fn s3(store: &StoreServer, address: SocketAddr) -> Variables {
    owned(&[
        ("AWS_REGION", store.value("region")),
        ("AWS_BUCKET", store.value("bucket")),
        ("AWS_KEY", store.value("access_key")),
        ("AWS_SECRET", store.value("secret_key")),
        ("AWS_HOST", &address.ip().to_string()),
        ("AWS_PORT", &address.port().to_string()),
        ("AWS_SECURE", "false"),
        ("AWS_ENCRYPT", "false"),
        ("AWS_CALLING_FORMAT", "boto.s3.connection.OrdinaryCallingFormat"),
    ])
}

/// Flavor `azureblob`, for Azurite at `address`.
pub fn azureblob(azurite: &StoreServer, address: SocketAddr) -> Variables {
    owned(&[
        ("AZURE_STORAGE_ACCOUNT_NAME", azurite.value("account")),
        ("AZURE_STORAGE_ACCOUNT_KEY", azurite.value("key")),
        ("AZURE_STORAGE_CONTAINER", azurite.value("container")),
        ("AZURE_STORAGE_ENDPOINT", &format!("http://{address}/{}", azurite.value("account"))),
    ])
}

/// Flavor `gcs`, for a store at `address`.
pub fn gcs(store: &StoreServer, address: SocketAddr, credentials: &GoogleCredentials) -> Variables {
    let endpoint = format!("http://{address}");
    let mut variables = vec![("GCS_ENDPOINT", endpoint.as_str()), ("GCS_BUCKET", store.value("bucket"))];
    variables.extend(credentials.iter().map(|(name, key)| (*name, store.value(key))));
    owned(&variables)
}

/// Flavor `oss`, for a store at `address`.
pub fn oss(store: &StoreServer, address: SocketAddr) -> Variables {
    owned(&[
        ("OSS_HOST", &format!("http://{address}")),
        ("OSS_BUCKET", store.value("bucket")),
        ("OSS_REGION", store.value("region")),
        ("OSS_KEY", store.value("access_id")),
        ("OSS_SECRET", store.value("access_key")),
    ])
}

/// Flavor `swift` with the cluster's own authentication, for one that is reached at `address`.
pub fn swift_tempauth(store: &StoreServer, address: SocketAddr) -> Variables {
    owned(&[
        ("OS_AUTH_URL", &format!("http://{address}/auth/v1.0")),
        ("OS_STORAGE_URL", &at(address, store.value("storage_url"))),
        ("OS_USERNAME", store.value("user")),
        ("OS_PASSWORD", store.value("password")),
        ("OS_CONTAINER", store.value("container")),
    ])
}

/// Flavor `swift` behind Keystone, whose catalog says where the cluster is.
pub fn swift_keystone(store: &StoreServer) -> Variables {
    owned(&[
        ("OS_AUTH_URL", store.value("auth_url")),
        ("OS_USERNAME", store.value("user")),
        ("OS_USER_DOMAIN_NAME", store.value("user_domain")),
        ("OS_PASSWORD", store.value("password")),
        ("OS_TENANT_NAME", store.value("project")),
        ("OS_PROJECT_DOMAIN_NAME", store.value("project_domain")),
        ("OS_REGION_NAME", store.value("region")),
        ("OS_CONTAINER", store.value("container")),
    ])
}

/// Flavor `elliptics`.
pub fn elliptics(cluster: &StoreServer) -> Variables {
    owned(&[
        ("ELLIPTICS_NODES", cluster.value("nodes")),
        ("ELLIPTICS_GROUPS", &format!("[{}]", cluster.value("groups"))),
    ])
}

/// Flavor `glance` behind Keystone, whose catalog says where Glance is. The harness chooses the folder of the rest.
pub fn glance(store: &StoreServer) -> Variables {
    let is_swifts = |name: &str| name == "OS_CONTAINER";
    swift_keystone(store).into_iter().filter(|(name, _)| !is_swifts(name)).collect()
}

/// The same URL at another address.
pub fn at(address: SocketAddr, url: &str) -> String {
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    format!("http://{address}/{path}")
}
