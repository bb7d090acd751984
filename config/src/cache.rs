//! Where the Redis of the cache is, and what the cache keeps for how long: the keys of `cache_lru`.
//!
//! A Redis is named by `host` and `port`, as docker-registry had it, or by a URL:
//!
//! ```text
//! redis://[USER:PASSWORD@]HOST[:PORT][/DB]                        rediss:// for TLS
//! redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST…/SERVICE[/DB]  rediss+sentinel://
//! redis+cluster://[USER:PASSWORD@]HOST[:PORT],HOST…                rediss+cluster://
//! unix://[USER:PASSWORD@]/PATH/OF/THE/SOCKET[?db=DB]
//! ```
//! No message repeats a part of a URL that could be a password, also when the URL cannot be understood.

use crate::auth::SecretKey;
use crate::reader::{INSTANT, Reader};
use crate::settings::Address;
use percent_encoding::percent_decode_str;
use std::path::PathBuf;
use std::time::Duration;

/// The port of Redis, and that of a Sentinel.
const PORTS: (u16, u16) = (6379, 26379);
/// The longest that a changing entry may be believed. More would make a lost invalidation last for days.
const LONGEST_TAG_TTL: Duration = Duration::from_secs(60 * 60);
/// The longest that a request may be made to wait for Redis.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The largest value that Redis may be asked to hold, in bytes.
const LARGEST_VALUE: u64 = 64 << 20;
const HINT: &str = "redis://HOST:6379/0, rediss://…, unix:///PATH, redis+sentinel://HOST,HOST/SERVICE or \
                    redis+cluster://HOST,HOST";

/// The cache in front of small reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// The Redis.
    pub redis: RedisPlace,
    /// The PEM file of the authorities that sign the certificate of the Redis; without one, the system's count.
    pub certificate_authorities: Option<PathBuf>,
    /// What is kept in this process, in bytes.
    pub memory: u64,
    /// The largest content that is kept, in bytes.
    pub max_value_size: u64,
    /// How long a tag or a link is believed without asking the storage.
    pub tag_ttl: Duration,
    /// How long a request waits for Redis before the storage is asked as well.
    pub patience: Duration,
    /// After what time a Redis that does not answer counts as away.
    pub timeout: Duration,
    /// `secret_key`, which takes part in what seals the values.
    pub secret_key: Option<SecretKey>,
}

/// Where a Redis is and how one logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisPlace {
    /// How it is reached.
    pub kind: RedisKind,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// The server, the Sentinels, or some nodes of the Cluster; empty for a unix socket.
    pub nodes: Vec<Address>,
    /// The user of the access list; `None` for the default one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretKey>,
    /// The password of the Sentinels themselves.
    pub sentinel_password: Option<SecretKey>,
    /// The number of the database.
    pub database: u32,
}

/// How a Redis is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// One server.
    Single,
    /// One server, by its unix socket.
    Unix(PathBuf),
    /// The master that Sentinels know under this name.
    Sentinel(String),
    /// A Cluster.
    Cluster,
}

impl Reader<'_> {
    /// `None` when there is no Redis to use.
    pub(crate) fn cache(&mut self) -> Option<CacheSettings> {
        let written = |reader: &Self, name| reader.text(name).filter(|text| !text.is_empty());
        let (url, host) = (written(self, "cache_lru.url"), written(self, "cache_lru.host"));
        let place = match (url, host) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                self.problem("cache_lru.url", "there is a cache_lru.host as well", "write one of the two");
                return None;
            }
            (Some(url), None) => match parse(&url) {
                Ok(place) => place,
                Err(message) => {
                    self.problem("cache_lru.url", message, HINT);
                    return None;
                }
            },
            (None, Some(_)) => {
                let node = self.address("cache_lru.host", "cache_lru.port", PORTS.0);
                RedisPlace { nodes: vec![node], ..RedisPlace::of(RedisKind::Single) }
            }
        };
        let secret = |reader: &Self, name| written(reader, name).map(SecretKey::new);
        let database = self.database(place.database);
        let redis = RedisPlace {
            username: place.username.or_else(|| written(self, "cache_lru.username")),
            password: place.password.or_else(|| secret(self, "cache_lru.password")),
            sentinel_password: secret(self, "cache_lru.sentinel_password"),
            database,
            ..place
        };
        if redis.kind == RedisKind::Cluster && redis.database != 0 {
            self.problem("cache_lru.db", "a Redis Cluster has no databases", "leave it at 0");
        }
        Some(CacheSettings {
            redis,
            certificate_authorities: written(self, "cache_lru.certificate_authorities").map(PathBuf::from),
            memory: self.size("cache_lru.memory"),
            max_value_size: self.value_size(),
            tag_ttl: self.time_up_to("cache_lru.tag_ttl", LONGEST_TAG_TTL),
            patience: self.time_up_to("cache_lru.patience", LONGEST_WAIT),
            timeout: self.time_up_to("cache_lru.timeout", LONGEST_WAIT),
            secret_key: secret(self, "secret_key"),
        })
    }

    /// The number of the database; that of the URL counts when it has one.
    fn database(&mut self, of_url: u32) -> u32 {
        let written = self.value("cache_lru.db").and_then(serde_json::Value::as_i64).unwrap_or_default();
        match u32::try_from(written) {
            Ok(number) if of_url == 0 => number,
            Ok(_) => of_url,
            Err(_) => {
                self.problem("cache_lru.db", format!("{written} is not a database"), "0 or more");
                of_url
            }
        }
    }

    fn value_size(&mut self) -> u64 {
        let size = self.size("cache_lru.max_value_size");
        if size > LARGEST_VALUE {
            let hint = format!("at most {LARGEST_VALUE} bytes");
            self.problem("cache_lru.max_value_size", format!("{size} bytes are too many"), hint);
        }
        size.min(LARGEST_VALUE)
    }

    fn time_up_to(&mut self, name: &str, most: Duration) -> Duration {
        let time = self.duration(name, INSTANT);
        if time > most {
            self.problem(name, format!("{time:?} is too long"), format!("at most {most:?}"));
        }
        time.min(most)
    }
}

impl RedisPlace {
    fn of(kind: RedisKind) -> Self {
        Self {
            kind,
            tls: false,
            nodes: Vec::new(),
            username: None,
            password: None,
            sentinel_password: None,
            database: 0,
        }
    }
}

/// Understands a URL; a refusal holds nothing of it but a scheme that is a plain word.
fn parse(url: &str) -> Result<RedisPlace, String> {
    let Some((scheme, rest)) = url.trim().split_once("://") else {
        return Err("this is not a URL".to_owned());
    };
    let scheme = scheme.to_ascii_lowercase();
    let (tls, kind) = match scheme.as_str() {
        "redis" => (false, RedisKind::Single),
        "rediss" => (true, RedisKind::Single),
        "unix" | "redis+unix" => (false, RedisKind::Unix(PathBuf::new())),
        "redis+sentinel" => (false, RedisKind::Sentinel(String::new())),
        "rediss+sentinel" => (true, RedisKind::Sentinel(String::new())),
        "redis+cluster" => (false, RedisKind::Cluster),
        "rediss+cluster" => (true, RedisKind::Cluster),
        _ => {
            let is_word = scheme.len() <= 20 && scheme.bytes().all(|byte| byte.is_ascii_lowercase());
            let named = if is_word { format!("`{scheme}`") } else { "what it begins with".to_owned() };
            return Err(format!("{named} is not a way to reach a Redis"));
        }
    };
    if rest.contains('#') {
        return Err("`#` and what follows it has no meaning here; in a password it is %23".to_owned());
    }
    let (rest, options) = rest.split_once('?').map_or((rest, None), |(rest, options)| (rest, Some(options)));
    // A password may hold an @ that nobody has written as %40: the last one ends it.
    let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
    let mut redis = RedisPlace { tls, ..RedisPlace::of(kind) };
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (user, password) = (decoded(user, "the user")?, decoded(password, "the password")?);
        redis.username = Some(user).filter(|user| !user.is_empty());
        redis.password = Some(password).filter(|password| !password.is_empty()).map(SecretKey::new);
    }
    match options {
        None => {}
        Some(options) => match options.strip_prefix("db=") {
            Some(number) => redis.database = number_of(number)?,
            None => return Err("the only option after `?` is db=NUMBER".to_owned()),
        },
    }
    if let RedisKind::Unix(path) = &mut redis.kind {
        let text = decoded(place, "the path")?;
        if !text.starts_with('/') {
            return Err("the path of a unix socket begins with / (three slashes in a row)".to_owned());
        }
        *path = PathBuf::from(text);
        return Ok(redis);
    }
    let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
    let port = if matches!(redis.kind, RedisKind::Sentinel(_)) { PORTS.1 } else { PORTS.0 };
    redis.nodes = hosts.split(',').map(|host| node(host, port)).collect::<Result<_, _>>()?;
    if matches!(redis.kind, RedisKind::Single) && redis.nodes.len() > 1 {
        return Err("several hosts are for redis+sentinel and redis+cluster".to_owned());
    }
    let path = path.trim_end_matches('/');
    let database = match &mut redis.kind {
        RedisKind::Sentinel(service) => {
            let (name, database) = path.split_once('/').unwrap_or((path, ""));
            if name.is_empty() {
                return Err("the name of the master that the Sentinels watch is missing".to_owned());
            }
            *service = decoded(name, "the name of the master")?;
            database
        }
        _ => path,
    };
    if !database.is_empty() {
        redis.database = number_of(database)?;
    }
    Ok(redis)
}

fn decoded(text: &str, what: &str) -> Result<String, String> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(Into::into).map_err(|_| format!("{what} is not UTF-8"))
}

fn number_of(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "the database is not a number".to_owned())
}

/// `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.
fn node(text: &str, port: u16) -> Result<Address, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, Ok(port)),
        Some((host, rest)) => (host, rest.strip_prefix(':').unwrap_or("none").parse()),
        None => match text.split_once(':') {
            Some((host, number)) => (host, number.parse()),
            None => (text, Ok(port)),
        },
    };
    if host.is_empty() {
        return Err("a host is missing".to_owned());
    }
    match port {
        Ok(port) if port > 0 => Ok(Address { host: host.to_owned(), port }),
        _ => Err("a port is not a number from 1 to 65535".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(place: &RedisPlace) -> Vec<String> {
        place.nodes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_form_of_a_url_is_understood() {
        let single = parse("redis://me:p%40ss@cache.example.org/3").unwrap();
        assert_eq!((single.kind.clone(), single.tls, single.database), (RedisKind::Single, false, 3));
        assert_eq!(nodes(&single), ["cache.example.org:6379"]);
        assert_eq!(single.username.as_deref(), Some("me"));
        assert_eq!(single.password.unwrap().as_bytes(), b"p@ss");
        let tls = parse("rediss://:a@b@[::1]:7000").unwrap();
        assert_eq!((tls.tls, nodes(&tls), tls.username), (true, vec!["[::1]:7000".to_owned()], None));
        assert_eq!(tls.password.unwrap().as_bytes(), b"a@b");
        let unix = parse("unix:///run/redis.sock?db=2").unwrap();
        assert_eq!((unix.kind, unix.database), (RedisKind::Unix("/run/redis.sock".into()), 2));
        let sentinel = parse("redis+sentinel://one,two:7/mine/1").unwrap();
        assert_eq!(sentinel.kind, RedisKind::Sentinel("mine".to_owned()));
        assert_eq!((nodes(&sentinel), sentinel.database), (vec!["one:26379".into(), "two:7".into()], 1));
        let cluster = parse("rediss+cluster://one,two").unwrap();
        assert_eq!((cluster.kind.clone(), cluster.tls), (RedisKind::Cluster, true));
        assert_eq!(nodes(&cluster), ["one:6379", "two:6379"]);
    }

    #[test]
    fn a_refusal_repeats_nothing_of_the_url() {
        for url in [
            "hunter2",
            "hunter2://x",
            "hunter2@host",
            "redis://:hunter2@",
            "redis://:hunter2@host:hunter2",
            "redis://host:0",
            "redis://:hunter2@host/hunter2",
            "redis://one:hunter2,two",
            "redis://:hunt#er2@host",
            "redis://host?password=hunter2",
            "unix://hunter2",
            "redis+sentinel://:hunter2@host",
            "mysql://root:hunter2@host",
        ] {
            let refusal = parse(url).expect_err(url);
            assert!(!refusal.contains("hunter2") && !refusal.contains("er2"), "{url}: {refusal}");
        }
    }
}
