//! Errors of Redis in sentences of our own.
//!
//! The library's texts quote what was sent and what the server answered, addresses of Sentinels and Clusters among
//! it. None of it is repeated: a kind is enough to act on, and no password can be in it.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The Redis, or the connection to it, is of no use now.
    Away(&'static str),
    /// This command failed; others may go on.
    Refused(&'static str),
}

/// The meaning of an error of the library.
pub(super) fn meaning(error: &RedisError) -> Meaning {
    use Meaning::{Away, Refused};
    match error.code() {
        Some("NOAUTH") => return Away("it wants a password"),
        Some("WRONGPASS") => return Away("it refuses the password"),
        Some("NOPERM") => return Away("its access list does not let the cache work"),
        Some("READONLY") => return Away("it is a replica that cannot be written"),
        Some("OOM") => return Refused("it is out of memory"),
        Some("MISCONF") => return Away("it cannot write its files and refuses to change anything"),
        _ => {}
    }
    if error.is_timeout() {
        return Away("it does not answer in time");
    }
    if error.is_connection_refusal() {
        return Away("it refuses connections");
    }
    if error.is_connection_dropped() {
        return Away("the connection was closed");
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => Away("it refuses the password"),
        ErrorKind::Io => Away("it cannot be reached"),
        ErrorKind::Parse => Away("what it answers is not the protocol of Redis"),
        ErrorKind::InvalidClientConfig => Away("the connection cannot be made as it is configured"),
        ErrorKind::MasterNameNotFoundBySentinel => Away("the Sentinels know no master of this name"),
        ErrorKind::ClusterConnectionNotFound => Away("no node of the Cluster can be reached"),
        ErrorKind::Server(ServerErrorKind::BusyLoading) => Away("it is loading its data"),
        ErrorKind::Server(ServerErrorKind::ClusterDown) => Away("the Cluster is down"),
        ErrorKind::Server(ServerErrorKind::MasterDown) => Away("its master is down"),
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
            Away("it is a node of a Cluster; write redis+cluster://")
        }
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType => {
            Refused("it refused a command")
        }
        _ => Away("the connection failed"),
    }
}
