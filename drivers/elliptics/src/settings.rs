//! The driver's configuration keys: those of the original driver, by their original meaning.

use std::{net::SocketAddr, time::Duration};

use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, Result, Settings, ValueKind};
use docker_registry_object_storage::settings::StoreSettings;
use serde_json::Value;

use crate::wire::address::{IPV4, IPV6};

const NODES: &str = "elliptics_nodes";
const GROUPS: &str = "elliptics_groups";
const NAMESPACE: &str = "elliptics_namespace";
const WAIT_TIMEOUT: &str = "elliptics_wait_timeout";
const CHECK_TIMEOUT: &str = "elliptics_check_timeout";
const IO_THREADS: &str = "elliptics_io_thread_num";
const NET_THREADS: &str = "elliptics_net_thread_num";
const NONBLOCKING_THREADS: &str = "elliptics_nonblocking_io_thread_num";
const VERBOSITY: &str = "elliptics_verbosity";
const LOGFILE: &str = "elliptics_logfile";
const FAMILY: &str = "elliptics_addr_family";
const NODE_FLAGS: &str = "elliptics_node_flags";

/// The group of the original when none is named.
const USUAL_GROUP: u32 = 1;
/// Levels of the log, by their numbers.
const VERBOSITIES: [&str; 5] = ["debug", "notice", "info", "warning", "error"];

/// The values that the driver works with.
#[derive(Debug, Clone)]
pub(crate) struct EllipticsSettings {
    pub(crate) nodes: Vec<NodeName>,
    /// The replicas, each group one, without repetitions.
    pub(crate) groups: Vec<u32>,
    pub(crate) namespace: String,
    /// Longest time for the answer to one request.
    pub(crate) wait_timeout: Duration,
    /// How often nodes are asked for the others.
    pub(crate) check_timeout: Duration,
    /// Whether nodes are asked for the others at all.
    pub(crate) asks_for_routes: bool,
    /// Whether nodes are to check and keep checksums of content.
    pub(crate) has_checksums: bool,
    /// Bytes of writes that go on when enough groups have taken them.
    pub(crate) memory_behind: u64,
}

/// A node as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeName {
    host: String,
    port: u16,
    family: u16,
}

impl EllipticsSettings {
    /// The keys, for `describe`.
    pub(crate) fn keys() -> Vec<ConfigurationKey> {
        let number = |name: &str, environment: &str, default: &str, doc: &str| {
            ConfigurationKey::of(ValueKind::Integer, name, doc).default(default).environment(environment)
        };
        vec![
            ConfigurationKey::of(
                ValueKind::List,
                NODES,
                "Nodes to connect to first, `host:port:family` with family 2 for IPv4 and 10 for IPv6.",
            )
            .required()
            .environment("ELLIPTICS_NODES"),
            ConfigurationKey::of(ValueKind::List, GROUPS, "Numbers of the groups that each hold a copy.")
                .default("[1]")
                .environment("ELLIPTICS_GROUPS"),
            ConfigurationKey::text(NAMESPACE, "Namespace of all keys.").default("DOCKER"),
            number(
                WAIT_TIMEOUT,
                "ELLIPTICS_WAIT_TIMEOUT",
                "60",
                "Seconds that one answer of a node is waited for at most.",
            ),
            number(
                CHECK_TIMEOUT,
                "ELLIPTICS_CHECK_TIMEOUT",
                "60",
                "Seconds between two looks at which nodes there are.",
            ),
            number(IO_THREADS, "ELLIPTICS_IO_THREAD_NUM", "2", "Without effect: there are no such threads."),
            number(
                NET_THREADS,
                "ELLIPTICS_NET_THREAD_NUM",
                "2",
                "Without effect: there are no such threads.",
            ),
            number(
                NONBLOCKING_THREADS,
                "ELLIPTICS_NONBLOCKING_IO_THREAD_NUM",
                "2",
                "Without effect: there are no such threads.",
            ),
            ConfigurationKey::text(
                VERBOSITY,
                "debug, notice, info, warning, error, or 0 to 4. Without effect: the log is the server's.",
            )
            .default("4")
            .environment("ELLIPTICS_VERBOSITY"),
            ConfigurationKey::text(LOGFILE, "Without effect: the log is the server's.")
                .default("/dev/stderr")
                .environment("ELLIPTICS_LOGFILE"),
            number(
                FAMILY,
                "ELLIPTICS_ADDR_FAMILY",
                "2",
                "Family of nodes that are named without one: 2 for IPv4, 10 for IPv6.",
            ),
            ConfigurationKey::of(
                ValueKind::List,
                NODE_FLAGS,
                "no_route_list, no_csum; mix_states, randomize_states and join_network have no effect.",
            ),
        ]
    }

    /// Reads and checks the values.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key.
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let family = family(&settings.integer(FAMILY)?.unwrap_or(i64::from(IPV4)).to_string())
            .ok_or_else(|| invalid(FAMILY, "must be 2 for IPv4 or 10 for IPv6"))?;
        for key in [IO_THREADS, NET_THREADS, NONBLOCKING_THREADS] {
            if settings.integer(key)?.is_some_and(|threads| threads < 1) {
                return Err(invalid(key, "must be above zero"));
            }
        }
        check_verbosity(settings)?;
        settings.text(LOGFILE)?;
        let node_flags = words(settings, NODE_FLAGS)?;
        for flag in &node_flags {
            let known = ["no_route_list", "no_csum", "mix_states", "randomize_states", "join_network"];
            if !known.contains(&flag.as_str()) {
                return Err(invalid(
                    NODE_FLAGS,
                    &format!("does not know `{flag}`, only {}", known.join(", ")),
                ));
            }
        }
        let namespace =
            settings.text(NAMESPACE)?.filter(|text| !text.is_empty()).unwrap_or("DOCKER").to_owned();
        if namespace.contains('\0') {
            return Err(invalid(NAMESPACE, "cannot have a zero byte"));
        }
        Ok(Self {
            nodes: nodes(settings, family)?,
            groups: groups(settings)?,
            namespace,
            wait_timeout: seconds(settings, WAIT_TIMEOUT)?,
            check_timeout: seconds(settings, CHECK_TIMEOUT)?,
            asks_for_routes: !node_flags.iter().any(|flag| flag == "no_route_list"),
            has_checksums: !node_flags.iter().any(|flag| flag == "no_csum"),
            memory_behind: StoreSettings::read(settings)?.upload_memory / 4,
        })
    }

    /// How many groups must have a write.
    pub(crate) fn quorum(&self) -> usize {
        self.groups.len() / 2 + 1
    }

    /// How many groups must answer a read, so that one of them has every write.
    pub(crate) fn read_quorum(&self) -> usize {
        self.groups.len() + 1 - self.quorum()
    }
}

impl NodeName {
    fn parse(text: &str, usual_family: u16) -> Option<Self> {
        let (rest, number) = match text.strip_prefix('[') {
            // An IPv6 address in brackets.
            Some(rest) => {
                let (host, rest) = rest.split_once("]:")?;
                return Self::of(host, rest, IPV6);
            }
            None => text.split_once(':')?,
        };
        // What is before the last two numbers is the host, colons included.
        let words: Vec<&str> = text.rsplitn(3, ':').collect();
        match words[..] {
            [family_text, port, host] => {
                let family = family(family_text)?;
                Self::of(host, port, family)
            }
            _ => Self::of(rest, number, usual_family),
        }
    }

    fn of(host: &str, rest: &str, usual_family: u16) -> Option<Self> {
        let (port, family) = match rest.split_once(':') {
            Some((port, text)) => (port, family(text)?),
            None => (rest, usual_family),
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port, family })
    }

    /// The addresses behind the name.
    ///
    /// # Errors
    /// `InvalidConfiguration` when there is none of the family.
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>> {
        let name = format!("{}:{}", self.host, self.port);
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(|error| {
            invalid(NODES, &format!("names {name}, which cannot be resolved")).caused_by(&error)
        })?;
        let addresses: Vec<_> = found.filter(|address| address.is_ipv6() == (self.family == IPV6)).collect();
        if addresses.is_empty() {
            let family = if self.family == IPV6 { "IPv6" } else { "IPv4" };
            return Err(invalid(NODES, &format!("names {name}, which has no address of {family}")));
        }
        Ok(addresses)
    }
}

fn family(text: &str) -> Option<u16> {
    text.parse().ok().filter(|family| [IPV4, IPV6].contains(family))
}

fn nodes(settings: &Settings, family: u16) -> Result<Vec<NodeName>> {
    let words = words(settings, NODES)?;
    if words.is_empty() {
        return Err(invalid(NODES, "is missing: name at least one node as host:port:family"));
    }
    let parse = |word: &String| {
        NodeName::parse(word, family)
            .ok_or_else(|| invalid(NODES, &format!("has `{word}`, which is not host:port:family (2 or 10)")))
    };
    words.iter().map(parse).collect()
}

fn groups(settings: &Settings) -> Result<Vec<u32>> {
    let mut groups = Vec::new();
    for word in words(settings, GROUPS)? {
        let number = word.parse::<u32>().ok().filter(|group| *group > 0 && *group <= i32::MAX as u32);
        let group = number
            .ok_or_else(|| invalid(GROUPS, &format!("has `{word}`, which is not the number of a group")))?;
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    if groups.is_empty() {
        groups.push(USUAL_GROUP);
    }
    Ok(groups)
}

/// The words of a list, however it was written: a list, a text with spaces or commas, a list in a text.
fn words(settings: &Settings, key: &str) -> Result<Vec<String>> {
    let wrong = || invalid(key, "must be a list");
    let items = match settings.values().get(key) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().collect(),
        Some(item) => vec![item],
    };
    let mut words = Vec::new();
    for item in items {
        match item {
            Value::String(text) => {
                let inner = text.trim();
                // A node may be an IPv6 address in brackets, which is no list.
                let is_list = inner.starts_with('[') && inner.ends_with(']');
                let inner = if is_list { &inner[1..inner.len() - 1] } else { inner };
                let split = inner.split(|letter: char| letter.is_whitespace() || letter == ',');
                let unquoted = split.map(|word| word.trim_matches(['\'', '"']));
                words.extend(unquoted.filter(|word| !word.is_empty()).map(str::to_owned));
            }
            Value::Number(number) => words.push(number.to_string()),
            _ => return Err(wrong()),
        }
    }
    Ok(words)
}

fn check_verbosity(settings: &Settings) -> Result<()> {
    let word = match settings.values().get(VERBOSITY) {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::String(text)) => text.trim().to_lowercase(),
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => return Err(invalid(VERBOSITY, "must be a word or a number")),
    };
    // `data` was a level of older versions.
    let is_known = VERBOSITIES.contains(&word.as_str()) || word == "data" || word.is_empty();
    if is_known || word.parse::<usize>().is_ok_and(|number| number <= VERBOSITIES.len()) {
        return Ok(());
    }
    Err(invalid(VERBOSITY, &format!("does not know `{word}`, only {} and 0 to 4", VERBOSITIES.join(", "))))
}

fn seconds(settings: &Settings, key: &str) -> Result<Duration> {
    match settings.integer(key)?.unwrap_or(60) {
        // The original took zero for its own default.
        0 => Ok(Duration::from_secs(60)),
        value @ 1..=3600 => Ok(Duration::from_secs(value.unsigned_abs())),
        _ => Err(invalid(key, "must be 1 to 3600 seconds")),
    }
}

fn invalid(key: &str, what: &str) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, format!("{key} {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(values: Value) -> Result<EllipticsSettings> {
        EllipticsSettings::read(&Settings::new(values.as_object().cloned().unwrap_or_default()))
    }

    fn node(host: &str, port: u16, family: u16) -> NodeName {
        NodeName { host: host.to_owned(), port, family }
    }

    #[test]
    fn nodes_and_groups_may_be_lists_and_texts() {
        let two = [node("a.example", 1025, IPV4), node("::1", 1026, IPV6)];
        for nodes in [
            json!(["a.example:1025:2", "::1:1026:10"]),
            json!("a.example:1025:2 ::1:1026:10"),
            json!("['a.example:1025:2', \"::1:1026:10\"]"),
            json!(["a.example:1025", "[::1]:1026:10"]),
        ] {
            assert_eq!(read(json!({ "elliptics_nodes": nodes })).unwrap().nodes, two, "{nodes}");
        }
        for groups in [json!([1, 2]), json!("[1,2]"), json!("1, 2"), json!(["1", 2, 2])] {
            let settings = read(json!({ "elliptics_nodes": "a:1:2", "elliptics_groups": groups })).unwrap();
            assert_eq!(settings.groups, [1, 2]);
        }
        let settings = read(json!({ "elliptics_nodes": "a:1:2", "elliptics_groups": 3 })).unwrap();
        assert_eq!((settings.groups.as_slice(), settings.quorum(), settings.read_quorum()), (&[3][..], 1, 1));
    }

    #[test]
    fn the_values_of_the_sample_and_those_of_the_original_are_taken() {
        for verbosity in [json!(4), json!("4"), json!("debug"), json!("ERROR"), json!(null)] {
            let values = json!({ "elliptics_nodes": "a:1:2", "elliptics_verbosity": verbosity,
                "elliptics_wait_timeout": 60, "elliptics_check_timeout": 0, "elliptics_io_thread_num": 2,
                "elliptics_logfile": "/dev/stderr", "elliptics_addr_family": 2, "elliptics_namespace": null,
                "elliptics_node_flags": ["no_route_list", "mix_states"] });
            let settings = read(values).unwrap();
            assert_eq!(settings.namespace, "DOCKER");
            assert_eq!(settings.check_timeout, Duration::from_secs(60));
            assert!(!settings.asks_for_routes && settings.has_checksums);
            assert_eq!(settings.groups, [USUAL_GROUP]);
        }
    }

    #[test]
    fn a_majority_of_groups_has_every_write() {
        for (groups, quorum, read_quorum) in [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 3, 2), (5, 3, 3)] {
            let groups: Vec<u32> = (1..=groups).collect();
            let settings = read(json!({ "elliptics_nodes": "a:1:2", "elliptics_groups": groups })).unwrap();
            assert_eq!((settings.quorum(), settings.read_quorum()), (quorum, read_quorum));
        }
    }

    #[test]
    fn a_wrong_value_is_refused_by_the_name_of_its_key() {
        for (key, value) in [
            ("elliptics_nodes", json!(null)),
            ("elliptics_nodes", json!("")),
            ("elliptics_nodes", json!(["host"])),
            ("elliptics_nodes", json!(["host:0:2"])),
            ("elliptics_nodes", json!(["host:1025:7"])),
            ("elliptics_nodes", json!([{"host": 1}])),
            ("elliptics_groups", json!(["one"])),
            ("elliptics_groups", json!([0])),
            ("elliptics_groups", json!(true)),
            ("elliptics_wait_timeout", json!(-1)),
            ("elliptics_check_timeout", json!("soon")),
            ("elliptics_io_thread_num", json!(0)),
            ("elliptics_verbosity", json!("loud")),
            ("elliptics_verbosity", json!(17)),
            ("elliptics_addr_family", json!(3)),
            ("elliptics_node_flags", json!(["fast"])),
            ("elliptics_namespace", json!("a\u{0}b")),
        ] {
            let mut values = json!({ "elliptics_nodes": "a:1:2" });
            values[key] = value.clone();
            let error = read(values).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
            assert!(error.message.starts_with(key), "{key} {value}: {}", error.message);
        }
    }
}
