//! A service of a cloud, in the words of its driver.

/// A service that a driver talks to.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// What the driver's keys begin with: `swift` makes `swift_authurl`.
    pub prefix: &'static str,
    /// The type of the service in catalogs.
    pub kind: &'static str,
    /// What it is in a sentence: `object storage`.
    pub said: &'static str,
    /// The key with the address of the service, for clouds whose catalog has another one.
    pub address_key: &'static str,
    /// The variable of that key.
    pub address_variable: &'static str,
    /// What that key means.
    pub address_doc: &'static str,
    /// Whether it may have an identity service of its own, of version 1.
    pub has_own_identity: bool,
}

impl Service {
    /// The driver's key for one of the things that every such driver has.
    pub fn key(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }
}

#[cfg(test)]
pub(crate) const SWIFT: Service = Service {
    prefix: "swift",
    kind: "object-store",
    said: "object storage",
    address_key: "swift_object_storage_url",
    address_variable: "OS_STORAGE_URL",
    address_doc: "Address of the account.",
    has_own_identity: true,
};
