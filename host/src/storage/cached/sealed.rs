//! Names and values in Redis: derived from the secret of the store, and sealed.
//!
//! Who can write to the Redis, or a Redis that another registry has written, can make a miss of anything and
//! content of nothing: a value counts only with a MAC over the key that it lies at, the epoch of its repository, its
//! end and its content. The key of the MAC comes from a secret that lies in the storage and from the `secret_key` of
//! the configuration. What stands in names is derived from that secret as well and leads back to neither.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use docker_registry_driver_api::{ETag, Object, ObjectInfo};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a MAC.
const MAC: usize = 32;
/// Bytes of an epoch and of the random part of a lease.
pub(super) const RANDOM: usize = 16;
/// Where the end of a value stands: behind the letter and the epoch.
const END: usize = 1 + RANDOM;

/// The first byte of what lies in Redis.
pub(super) const VALUE: u8 = b'V';
pub(super) const LEASE: u8 = b'L';
pub(super) const TOMBSTONE: u8 = b'T';
pub(super) const EPOCH: u8 = b'E';

/// What names and seals. Its secrets are in no `Debug` output.
pub(super) struct Seal {
    prefix: String,
    key: [u8; MAC],
}

/// A value that was believed.
pub(super) struct Opened {
    pub(super) object: Object,
    /// When it ends, by the clock.
    pub(super) end: SystemTime,
}

/// A MAC over parts that is not finished.
fn over(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // HMAC takes keys of every length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is a key");
    for part in parts {
        // With their lengths, so that no two lists of parts are the same bytes.
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC] {
    over(key, parts).finalize().into_bytes().into()
}

/// Random bytes. Without a source of chance nothing may be kept, so that its failure is one.
pub(super) fn random() -> Option<[u8; RANDOM]> {
    let mut bytes = [0; RANDOM];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

impl Seal {
    /// From the secret of the store and that of the configuration.
    pub(super) fn new(store: &[u8], configured: &[u8]) -> Self {
        let tag = mac(store, &[b"docker-registry cache name"]);
        let tag: String = tag[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            prefix: format!("docker-registry:{tag}:"),
            key: mac(store, &[b"docker-registry cache seal", configured]),
        }
    }

    /// What the names of all changing entries begin with.
    pub(super) fn changing_prefix(&self) -> String {
        format!("{}m:", self.prefix)
    }

    /// Where content that never changes lies.
    pub(super) fn unchanging(&self, path: &str) -> String {
        format!("{}c:{path}", self.prefix)
    }

    /// Where a changing entry lies. All of a scope, its epoch included, has one hash slot of a Cluster.
    pub(super) fn changing(&self, path: &str, scope: Option<&str>) -> String {
        let scope = scope.unwrap_or(path);
        format!("{}m:{{{scope}}}{}", self.prefix, &path[scope.len()..])
    }

    /// Where the epoch of a scope, or a tombstone for a target without one, lies.
    pub(super) fn epoch(&self, scope: &str) -> String {
        self.changing(scope, None)
    }

    /// The path of a changing entry or the scope of an epoch, by its name.
    pub(super) fn path_of(&self, name: &str) -> Option<String> {
        let rest = name.strip_prefix(&self.prefix)?.strip_prefix("m:{")?;
        let (scope, rest) = rest.split_once('}')?;
        Some(format!("{scope}{rest}"))
    }

    /// A lease for the entry with this name.
    pub(super) fn lease(&self, name: &str) -> Option<Vec<u8>> {
        let chance = random()?;
        let seal = mac(&self.key, &[b"lease", name.as_bytes(), &chance]);
        Some([&[LEASE][..], &chance, &seal].concat())
    }

    /// Whether the registry has made this lease for this name.
    pub(super) fn is_lease(&self, name: &str, lease: &[u8]) -> bool {
        let Some((b"L", rest)) = lease.split_at_checked(1) else { return false };
        let Some((chance, seal)) = rest.split_at_checked(RANDOM) else { return false };
        over(&self.key, &[b"lease", name.as_bytes(), chance]).verify_slice(seal).is_ok()
    }

    /// The object as it lies in Redis under `name`, with the epoch that it belongs to, until `end`.
    pub(super) fn close(
        &self,
        name: &str,
        epoch: &[u8; RANDOM],
        end: SystemTime,
        object: &Object,
    ) -> Option<Bytes> {
        let milliseconds = u64::try_from(end.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
        let mut sealed = BytesMut::with_capacity(object.content.len() + 128);
        sealed.put_u8(VALUE);
        sealed.put_slice(epoch);
        sealed.put_u64(milliseconds);
        match object.info.modified.map(|modified| modified.duration_since(UNIX_EPOCH)) {
            // A time before 1970 is as good as none.
            None | Some(Err(_)) => sealed.put_u8(0),
            Some(Ok(since)) => {
                sealed.put_u8(1);
                sealed.put_u64(since.as_secs());
                sealed.put_u32(since.subsec_nanos());
            }
        }
        match &object.info.etag {
            None => sealed.put_u8(0),
            Some(etag) => {
                sealed.put_u8(1);
                sealed.put_u16(u16::try_from(etag.0.len()).ok()?);
                sealed.put_slice(etag.0.as_bytes());
            }
        }
        sealed.put_slice(&object.content);
        let seal = mac(&self.key, &[b"value", name.as_bytes(), &sealed]);
        sealed.put_slice(&seal);
        Some(sealed.freeze())
    }

    /// The object in what lies under `name`, if it was sealed for that name. Whether its end has come is the caller's to
    /// judge.
    pub(super) fn open(&self, name: &str, sealed: &Bytes) -> Option<Opened> {
        let content_end = sealed.len().checked_sub(MAC)?;
        let (body, seal) = sealed.split_at(content_end);
        if body.first() != Some(&VALUE) {
            return None;
        }
        over(&self.key, &[b"value", name.as_bytes(), body]).verify_slice(seal).ok()?;
        let mut rest = Fields(body.get(END..)?);
        let end = UNIX_EPOCH.checked_add(Duration::from_millis(rest.number(8)?))?;
        let modified = match rest.number(1)? {
            0 => None,
            _ => {
                let (seconds, nanoseconds) = (rest.number(8)?, u32::try_from(rest.number(4)?).ok()?);
                UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
            }
        };
        let etag = match rest.number(1)? {
            0 => None,
            _ => {
                let length = usize::try_from(rest.number(2)?).ok()?;
                Some(ETag(String::from_utf8(rest.take(length)?.to_vec()).ok()?))
            }
        };
        // A slice: the content is not copied.
        let content = sealed.slice(content_end - rest.0.len()..content_end);
        let info = ObjectInfo { size: content.len() as u64, modified, etag };
        Some(Opened { object: Object { content, info }, end })
    }
}

/// Fields one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(content: &'static [u8], etag: Option<&str>) -> Object {
        let modified = Some(UNIX_EPOCH + Duration::new(1_700_000_000, 5));
        let info =
            ObjectInfo { size: content.len() as u64, modified, etag: etag.map(|etag| ETag(etag.to_owned())) };
        Object { content: Bytes::from_static(content), info }
    }

    fn later(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(2_000_000_000 + seconds)
    }

    #[test]
    fn what_was_sealed_comes_back_with_its_end_and_not_under_another_name() {
        let seal = Seal::new(b"store", b"configured");
        for original in [object(b"content", Some("tag")), object(b"", None)] {
            let sealed = seal.close("a", &[7; RANDOM], later(10), &original).unwrap();
            let opened = seal.open("a", &sealed).unwrap();
            assert_eq!((opened.object.content, opened.object.info), (original.content, original.info));
            assert_eq!(opened.end, later(10));
            assert!(seal.open("b", &sealed).is_none(), "another name");
        }
    }

    #[test]
    fn no_byte_can_be_changed_and_no_other_registry_believes_it() {
        let seal = Seal::new(b"store", b"configured");
        let sealed = seal.close("a", &[7; RANDOM], later(10), &object(b"content", Some("tag"))).unwrap();
        for at in 0..sealed.len() {
            let mut flipped = sealed.to_vec();
            flipped[at] ^= 1;
            assert!(seal.open("a", &flipped.into()).is_none(), "byte {at}");
            assert!(seal.open("a", &sealed.slice(..at)).is_none(), "cut at {at}");
        }
        for other in [Seal::new(b"other", b"configured"), Seal::new(b"store", b"other")] {
            assert!(other.open("a", &sealed).is_none());
        }
    }

    #[test]
    fn a_lease_is_good_for_its_name_alone() {
        let seal = Seal::new(b"store", b"");
        let lease = seal.lease("a").unwrap();
        assert!(seal.is_lease("a", &lease));
        assert!(
            !seal.is_lease("b", &lease) && !seal.is_lease("a", &lease[..40]) && !seal.is_lease("a", b"L1")
        );
        assert_ne!(lease, seal.lease("a").unwrap());
    }

    #[test]
    fn names_lead_back_to_paths_and_not_to_the_secret() {
        let seal = Seal::new(b"5ecret-of-the-store", b"");
        for (path, scope) in [("r/n/x/tag", Some("r/n/x")), ("images/1/json", None)] {
            let name = seal.changing(path, scope);
            assert_eq!(seal.path_of(&name).as_deref(), Some(path));
            assert!(!name.contains("5ecret") && name.starts_with(&seal.changing_prefix()));
        }
        assert_eq!(seal.path_of(&seal.epoch("r/n/x")).as_deref(), Some("r/n/x"));
        assert_eq!(seal.path_of(&Seal::new(b"other", b"").epoch("r/n/x")), None);
    }
}
