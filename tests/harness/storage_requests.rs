//! What each request of a client costs between the server and an object store, counted at a proxy between the two.
//!
//! Parts of large objects are not counted: they go side by side, and there are as many as the object is large. Neither is
//! the look of every few seconds whether the store answers, and that of every minute at the secret of the cache. Nothing
//! that the server could have read before is read again: each request is about something new, or comes once.

use std::fmt;
use std::thread;
use std::time::Duration;

use crate::content::{Content, digest};
use crate::fault_proxy::{FaultProxy, Seen};
use crate::http::Client;
use crate::v2;

/// More than a part of any driver, so that the content is an object of parts.
const LARGE: u64 = 40 << 20;
const SMALL: u64 = 100 << 10;
/// When nothing has come for this long, a request of a client has had all its consequences.
const QUIET: Duration = Duration::from_millis(300);

/// The requests to the store that one request of a client, or a few that belong together, led to.
#[derive(Debug)]
pub struct Cost {
    /// What the client asked for.
    pub what: &'static str,
    /// How many requests there may be.
    pub most: usize,
    /// How many distribution 2.8 makes with its own S3 driver, where that is known.
    pub distribution: Option<usize>,
    /// The requests, parts left out.
    pub requests: Vec<Seen>,
}

impl Cost {
    /// Whether there were not too many.
    pub fn is_within(&self) -> bool {
        self.requests.len() <= self.most
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of at most {}", self.what, self.requests.len(), self.most)?;
        for seen in &self.requests {
            write!(f, "\n    {} {} {:?}", seen.method, seen.target, seen.status)?;
        }
        Ok(())
    }
}

/// A table of all costs.
pub fn table(costs: &[Cost]) -> String {
    let mut text =
        format!("{:<44} {:>11} {:>8} {:>16}\n", "request", "round trips", "at most", "distribution 2.8");
    for cost in costs {
        let distribution = cost.distribution.map_or("-".to_owned(), |count| count.to_string());
        let (what, count, most) = (cost.what, cost.requests.len(), cost.most);
        text += &format!("{what:<44} {count:>11} {most:>8} {distribution:>16}\n");
    }
    text
}

/// Pushes and pulls through the server behind `client`, which stores through `proxy`, and counts.
pub fn count(client: &Client, proxy: &FaultProxy) -> Vec<Cost> {
    let mut costs = Vec::new();
    let mut counted = |what, most, distribution, request: &mut dyn FnMut()| {
        let requests = requests_of(proxy, request);
        costs.push(Cost { what, most, distribution, requests });
    };
    let (small, large) = (Content::bytes(1, SMALL), Content::bytes(2, LARGE));
    counted("push of a small blob, digest known", 2, None, &mut || {
        push_at_once(client, "known", &small);
    });
    counted("push of a large blob, digest known", 3, None, &mut || {
        push_at_once(client, "known", &large);
    });
    counted("POST, PATCH, PUT of a small blob", 4, Some(12), &mut || {
        push_as_docker(client, "docker", &small);
    });
    counted("POST, PATCH, PUT of a large blob", 7, None, &mut || {
        push_as_docker(client, "docker", &large);
    });
    let (config, layer) = (Content::bytes(3, 1_000), Content::bytes(4, SMALL));
    for (what, most, distribution, repository, push) in [
        ("image of one layer, digests known", 10, None, "image/known", push_at_once as Push),
        ("image of one layer, as docker pushes it", 14, Some(33), "image/docker", push_as_docker as Push),
    ] {
        counted(what, most, distribution, &mut || {
            let blobs = [&config, &layer].map(|content| {
                push(client, repository, content);
                (digest(content), content.len() as u64)
            });
            let manifest = v2::manifest(&blobs);
            v2::push_manifest(client, repository, "latest", &manifest).expect(201);
        });
    }
    let blobs = [&config, &layer].map(|content| (digest(content), content.len() as u64));
    let manifest = digest(v2::manifest(&blobs).as_bytes());
    counted("manifest by tag", 3, Some(4), &mut || {
        v2::get_manifest(client, "image/docker", "latest").expect(200);
    });
    counted("manifest by digest", 2, Some(3), &mut || {
        v2::get_manifest(client, "image/docker", &manifest).expect(200);
    });
    let target = format!("/v2/image/docker/blobs/{}", digest(&layer));
    counted("blob HEAD", 2, Some(8), &mut || {
        assert_eq!(client.head(&target).status, 200);
    });
    counted("blob GET", 2, Some(9), &mut || {
        client.get(&target).expect(200);
    });
    costs
}

/// The requests to the store that `request` led to, parts left out.
pub fn requests_of(proxy: &FaultProxy, request: &mut dyn FnMut()) -> Vec<Seen> {
    settle(proxy);
    proxy.take_seen();
    request();
    settle(proxy);
    let is_secret = |seen: &Seen| seen.target.ends_with("/docker-registry/cache-secret");
    let is_counted = |seen: &Seen| !seen.is_part() && !seen.is_probe() && !is_secret(seen);
    proxy.take_seen().into_iter().filter(is_counted).collect()
}

type Push = fn(&Client, &str, &[u8]);

fn push_at_once(client: &Client, repository: &str, content: &[u8]) {
    let target = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(content));
    client.send("POST", &target, &[v2::OCTETS], content).expect(201);
}

fn push_as_docker(client: &Client, repository: &str, content: &[u8]) {
    let location = v2::open_upload(client, repository);
    let location = client.send("PATCH", &location, &[v2::OCTETS], content).expect(202).location();
    client.send("PUT", &v2::completion(&location, &digest(content)), &[], b"").expect(201);
}

/// Waits until nothing comes any more.
fn settle(proxy: &FaultProxy) {
    let mut count = proxy.seen_so_far();
    loop {
        thread::sleep(QUIET);
        match proxy.seen_so_far() {
            now if now == count => return,
            now => count = now,
        }
    }
}
