//! Our answers beside those of docker-registry 0.9.1, request by request.
//!
//! Status, headers and body are compared. A difference must be covered by an entry of [`accepted`], and an entry that
//! covers nothing any more is a failure too. The requests depend on each other: they are sent in their order, to a registry
//! that is empty.

mod accepted;
mod transcript;

use crate::http::Response;
use accepted::{Accepted, accepted, accepted_of_a_server};
use transcript::{Exchange, exchanges};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const C: &str = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

/// Where the original listened.
pub const RECORDED_HOST: &str = "127.0.0.1:5951";
/// The checksum of the recorded archive, most of which the recording leaves out. Ours stands in for it,
/// with the same members, and the checksum is replaced wherever it appears.
const RECORDED_ARCHIVE_CHECKSUM: &str =
    "sha256:78aa1619940a2ad875445bb5ba84d3de7091dd27e776ba5a56b86a485968b081";
/// The docker that the recorded tags' metadata name.
const USER_AGENT: &str = "docker/1.6.2 go/go1.4.2 kernel/3.16.0 os/linux arch/amd64";
/// User agents of the last three requests. The recording does not show them; these are what the original
/// answers in this way.
const LAST_USER_AGENTS: [&str; 3] = ["docker/0.9.1", "docker/0", USER_AGENT];

/// A request of the recording, whole.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, PUT and so on.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers that the client set, but for those of the transport.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The recording, and what was found different from it so far.
pub struct Recording {
    exchanges: Vec<Exchange>,
    requests: Vec<Request>,
    accepted: Vec<Accepted>,
    unnamed: Vec<String>,
}

impl Default for Recording {
    fn default() -> Self {
        let archive = archive();
        let archive_checksum = checksum_of(&image_a(), &archive);
        let mut exchanges = exchanges();
        let last_three = exchanges.len() - LAST_USER_AGENTS.len();
        let mut requests = Vec::new();
        for (number, exchange) in exchanges.iter_mut().enumerate() {
            for (_, value) in exchange.request_headers.iter_mut().chain(&mut exchange.headers) {
                *value = value.replace(RECORDED_ARCHIVE_CHECKSUM, &archive_checksum);
            }
            let user_agent = number.checked_sub(last_three).map_or(USER_AGENT, |last| LAST_USER_AGENTS[last]);
            let user_agent = ("user-agent".to_owned(), user_agent.to_owned());
            let has_body = matches!(exchange.method.as_str(), "PUT" | "POST");
            requests.push(Request {
                method: exchange.method.clone(),
                target: exchange.target.clone(),
                headers: [user_agent].into_iter().chain(exchange.request_headers.clone()).collect(),
                body: if has_body { whole_body(&exchange.request_body, &archive) } else { Vec::new() },
            });
        }
        Self { exchanges, requests, accepted: accepted(), unnamed: Vec::new() }
    }
}

impl Recording {
    /// The requests in their order.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.clone()
    }

    /// Notes in what the answer to a request differs from the recorded one. The address of the server in it is
    /// [`RECORDED_HOST`]; `Content-Length` is there where the body has one.
    pub fn compare(&mut self, number: usize, ours: &Response) {
        let exchange = &self.exchanges[number];
        for difference in differences(exchange, ours) {
            match self.accepted.iter_mut().find(|entry| (entry.covers)(exchange, &difference)) {
                Some(entry) => entry.uses += 1,
                None => self.unnamed.push(format!(
                    "{number}: {} {} {:?}\n    {}: recorded {:?}\n    ours {:?}",
                    exchange.method,
                    exchange.target,
                    exchange.request_headers,
                    difference.aspect,
                    difference.recorded,
                    difference.ours
                )),
            }
        }
    }

    /// Fails the test if something differed that has no name.
    #[track_caller]
    pub fn finish(self) {
        assert!(self.unnamed.is_empty(), "differences without a name:\n{}", self.unnamed.join("\n"));
        let unused: Vec<_> =
            self.accepted.iter().filter(|entry| entry.uses == 0).map(|entry| entry.name).collect();
        assert!(unused.is_empty(), "entries that cover nothing: {unused:?}");
    }
}

/// Sends the recording to a server, and compares what it answers.
#[track_caller]
pub fn replay(server: &crate::server::Server) {
    let client = server.client();
    let mut recording = Recording::default();
    recording.accepted.extend(accepted_of_a_server());
    for (number, request) in recording.requests().iter().enumerate() {
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut answer = client.send(&request.method, &request.target, &headers, &request.body);
        answer.headers.retain(|(name, _)| !OF_THE_SERVER.contains(&name.as_str()));
        for (_, value) in &mut answer.headers {
            *value = value.replace(&server.registry(), RECORDED_HOST);
        }
        recording.compare(number, &answer);
    }
    recording.finish();
}

/// Headers that every answer of our server has, whatever the API says.
const OF_THE_SERVER: [&str; 4] = ["connection", "date", "x-content-type-options", "x-request-id"];

/// One thing that is not as it was recorded.
#[derive(Debug)]
struct Difference {
    /// `status`, `body`, or a header's name.
    aspect: String,
    recorded: Option<String>,
    ours: Option<String>,
}

impl Difference {
    fn is(&self, aspect: &str, recorded: Option<&str>, ours: Option<&str>) -> bool {
        self.aspect == aspect && self.recorded.as_deref() == recorded && self.ours.as_deref() == ours
    }

    fn in_any(&self, aspects: &[&str]) -> bool {
        aspects.contains(&self.aspect.as_str())
    }
}

/// The body that a request began with.
fn whole_body(beginning: &[u8], archive: &[u8]) -> Vec<u8> {
    let pattern: Vec<u8> = (0..5000).map(|i| (i % 251) as u8).collect();
    let long: [Vec<u8>; 6] = [
        pattern,
        archive.to_vec(),
        format!(r#"[{{"id": "{A}", "Tag": "latest"}}, {{"id": "{B}", "Tag": ""}}]"#).into(),
        format!(r#"{{"id": "{A}", "parent": "{C}"}}"#).into(),
        image_a().into(),
        format!(r#"[{{"id": "{A}", "checksum": "sha256:2"}}, {{"id": "{B}"}}]"#).into(),
    ];
    // Shorter ones were recorded whole.
    if beginning.len() < 80 {
        return beginning.to_vec();
    }
    let whole = long.into_iter().find(|whole| whole.starts_with(beginning));
    whole.unwrap_or_else(|| beginning.to_vec())
}

fn image_a() -> String {
    format!(r#"{{"id": "{A}", "parent": "{B}"}}"#)
}

fn checksum_of(json: &str, layer: &[u8]) -> String {
    crate::content::digest(&[json.as_bytes(), b"\n", layer].concat())
}

/// An archive with the members that the recorded list of files names, padded as Python pads.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().expect("an archive in memory").name[..path.len()]
            .copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_400_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        archive.append(&header, content).expect("an archive in memory");
    };
    add("./", tar::EntryType::Directory, b"");
    add("./etc", tar::EntryType::Directory, b"");
    add("./.wh.gone", tar::EntryType::Regular, b"");
    add("./.wh..wh.plnk", tar::EntryType::Regular, b"");
    add("./sub/.wh.deep", tar::EntryType::Regular, b"");
    add("etc/passwd", tar::EntryType::Regular, b"root:");
    add("link", tar::EntryType::Symlink, b"");
    let mut archive = archive.into_inner().expect("an archive in memory");
    archive.resize(10_240, 0);
    archive
}

/// Everything that is not as recorded.
fn differences(recorded: &Exchange, ours: &Response) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut compare = |aspect: &str, recorded: Option<String>, ours: Option<String>| {
        if recorded != ours {
            differences.push(Difference { aspect: aspect.to_owned(), recorded, ours });
        }
    };
    compare("status", Some(recorded.status.to_string()), Some(ours.status.to_string()));
    let mut names: Vec<&str> = recorded.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.extend(ours.headers.iter().map(|(name, _)| name.as_str()));
    names.sort_unstable();
    names.dedup();
    for name in names {
        compare(name, recorded.header(name).map(str::to_owned), ours.header(name).map(str::to_owned));
    }
    if recorded.body_length != ours.body.len() || !ours.body.starts_with(&recorded.body) {
        let text = String::from_utf8_lossy(&recorded.body).into_owned();
        compare("body", Some(text), Some(ours.text()));
    }
    differences
}
