//! How many logins have failed lately, and from where.
//!
//! A failure is counted for the connection, for the client's address and for the name at that address. Counts
//! sink with time, and the memory that they take is bounded. So is what is known of the names that have logged in
//! from an address.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use super::bounded::Bounded;

/// One failure is forgotten in so long.
const FORGOTTEN_IN: Duration = Duration::from_secs(3);
/// Failures from one address that cost nothing.
const FREE: u32 = 20;
/// More than this is not counted: a storm keeps nobody out for longer than a minute.
const MOST: u32 = FREE + 20;
/// New connections that may try one name from an address that has to wait; they are forgotten like failures.
const NEW_CONNECTIONS: u32 = 5;
const REMEMBERED: usize = 16 * 1024;

/// Where an attempt comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) connection: Source,
    pub(super) address: Source,
    pub(super) name: Source,
    new_connection: Source,
}

/// One of the things that failures are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// Not known, as behind a proxy.
    Unknown,
    Connection(SocketAddr),
    Address(IpAddr),
    /// A name at an address, as a number that cannot be foretold.
    Name(IpAddr, u64),
    /// First attempts of connections under a name, from an address that has to wait.
    NewConnection(IpAddr, u64),
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    since: Instant,
}

impl Count {
    fn at(self, now: Instant) -> Self {
        let passed = now.saturating_duration_since(self.since).as_millis() / FORGOTTEN_IN.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX).min(MOST);
        Self { failures: self.failures.saturating_sub(passed), since: self.since + FORGOTTEN_IN * passed }
    }
}

/// All counts.
#[derive(Debug)]
pub(super) struct Failures {
    counts: Bounded<Source, Count>,
    /// Names at addresses from where somebody has logged in under them.
    good: Bounded<Source, ()>,
    names: RandomState,
}

impl Failures {
    pub(super) fn new() -> Self {
        let (counts, good) = (Bounded::new(REMEMBERED), Bounded::new(REMEMBERED));
        Self { counts, good, names: RandomState::new() }
    }

    /// Where an attempt under a name comes from.
    pub(super) fn origin(&self, peer: Option<SocketAddr>, name: &str) -> Origin {
        let address = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| network(peer.ip()));
        let connection = peer.filter(|peer| peer.port() != 0).map_or(Source::Unknown, Source::Connection);
        let name = self.names.hash_one(name);
        Origin {
            connection,
            address: Source::Address(address),
            name: Source::Name(address, name),
            new_connection: Source::NewConnection(address, name),
        }
    }

    /// Failures that have not been forgotten.
    pub(super) fn of(&self, source: Source, now: Instant) -> u32 {
        self.counts.peek(&source).map_or(0, |count| count.at(now).failures)
    }

    /// Counts a failure.
    pub(super) fn add(&mut self, origin: &Origin, now: Instant) {
        for source in [origin.connection, origin.address, origin.name] {
            self.count(source, now);
        }
    }

    fn count(&mut self, source: Source, now: Instant) {
        let known = self.counts.get(source).map(|count| count.at(now));
        let count = match known {
            Some(count) if count.failures > 0 => Count { failures: (count.failures + 1).min(MOST), ..count },
            _ => Count { failures: 1, since: now },
        };
        if source != Source::Unknown {
            self.counts.insert(source, count);
        }
    }

    /// After a login that was right: the connection and the name are in good hands.
    pub(super) fn forgive(&mut self, origin: &Origin) {
        self.counts.remove(&origin.connection);
        self.counts.remove(&origin.name);
        self.counts.remove(&origin.new_connection);
        self.good.insert(origin.name, ());
    }

    /// Whether nobody has logged in lately under the name from the address. Whether the password file has the name
    /// must not matter: who is preferred would tell it to everybody.
    pub(super) fn is_stranger(&self, origin: &Origin) -> bool {
        self.good.peek(&origin.name).is_none()
    }

    /// Lets an attempt in, or says how long it has to wait.
    ///
    /// An address with too many failures has to wait, but not the first attempt of a connection under a name, now
    /// and then: others may share the address, and the name may be theirs.
    pub(super) fn admit(&mut self, origin: &Origin, now: Instant) -> Result<(), Duration> {
        let failures = self.of(origin.address, now);
        if failures < FREE {
            return Ok(());
        }
        if self.of(origin.connection, now) == 0 && self.of(origin.new_connection, now) < NEW_CONNECTIONS {
            self.count(origin.new_connection, now);
            return Ok(());
        }
        Err(FORGOTTEN_IN * (failures - FREE + 1))
    }
}

/// A customer of an IPv6 provider has a network of their own.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::from(([10, 0, 0, 1], port)))
    }

    #[test]
    fn an_address_waits_after_many_failures_and_is_forgiven_with_time() {
        let (mut failures, start) = (Failures::new(), Instant::now());
        let origin = failures.origin(peer(1), "ann");
        for _ in 0..1000 {
            failures.add(&origin, start);
        }
        let wait = failures.admit(&origin, start).expect_err("it has to wait");
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(63), "{wait:?}");
        assert_eq!(failures.admit(&origin, start + wait), Ok(()));
        let other = failures.origin(Some(SocketAddr::from(([10, 0, 0, 2], 1))), "ann");
        assert_eq!(failures.admit(&other, start), Ok(()), "another address does not wait");
    }

    #[test]
    fn a_new_connection_of_a_storming_address_may_try_now_and_then() {
        let (mut failures, now) = (Failures::new(), Instant::now());
        for port in 1..100 {
            failures.add(&failures.origin(peer(port), "ann"), now);
        }
        let origin = |failures: &Failures, port, name| failures.origin(peer(port), name);
        for port in 200..200 + u16::try_from(NEW_CONNECTIONS).unwrap() {
            assert_eq!(failures.admit(&origin(&failures, port, "ann"), now), Ok(()));
        }
        assert!(failures.admit(&origin(&failures, 300, "ann"), now).is_err(), "too many new connections");
        assert_eq!(failures.admit(&origin(&failures, 300, "ann"), now + FORGOTTEN_IN), Ok(()));
        assert_eq!(failures.admit(&origin(&failures, 300, "bob"), now), Ok(()), "another name");
        assert!(failures.admit(&origin(&failures, 5, "bob"), now).is_err(), "not a new connection");
    }
}
