//! Thousands of wrong logins a second: who has the right password gets in all the same, and who is in stays in.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use docker_registry_tests::http::Client;
use docker_registry_tests::process::{PATIENCE, wait_for};

use crate::place::{Files, Registry, SECRET, basic, htpasswd};

/// Clients that make the storm.
const CLIENTS: u32 = 16;

/// What the wrong logins have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kind {
    /// The same name, which exists, or another one each time.
    same_user: bool,
    /// The same wrong password, or another one each time.
    same_password: bool,
    /// From one address, or from as many as there are clients.
    one_address: bool,
    /// Requests on a connection.
    requests: u32,
}

/// A storm that ends when it is dropped.
struct Storm {
    running: Arc<AtomicBool>,
    /// Answers by what they were: let in, wrong, put off, anything else.
    answers: Arc<[AtomicU64; 4]>,
    clients: Vec<JoinHandle<()>>,
}

impl Storm {
    fn start(registry: &Registry, kind: Kind) -> Storm {
        let running = Arc::new(AtomicBool::new(true));
        let answers = Arc::new([const { AtomicU64::new(0) }; 4]);
        let clients = (0..CLIENTS)
            .map(|number| {
                let last =
                    if kind.one_address { 1 } else { 100 + u8::try_from(number).expect("few clients") };
                let client = registry.client().coming_from(Ipv4Addr::new(127, 0, 0, last));
                let (running, answers) = (Arc::clone(&running), Arc::clone(&answers));
                thread::spawn(move || blow(&client, kind, number, &running, &answers))
            })
            .collect();
        Storm { running, answers, clients }
    }

    fn count(&self, index: usize) -> u64 {
        self.answers[index].load(Relaxed)
    }

    fn total(&self) -> u64 {
        (0..4).map(|index| self.count(index)).sum()
    }

    /// Waits until it blows; from one address, until that address is put off.
    fn is_up(&self, kind: Kind) {
        let is_put_off = kind.one_address && kind.requests > 1;
        wait_for("the storm", PATIENCE, || {
            (self.total() > 20 && (self.count(2) > 0 || !is_put_off)).then_some(())
        });
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.running.store(false, Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

fn blow(client: &Client, kind: Kind, number: u32, running: &AtomicBool, answers: &[AtomicU64; 4]) {
    let mut attempt = u64::from(number) << 32;
    while running.load(Relaxed) {
        let Ok(mut connection) = client.connect() else { continue };
        for _ in 0..kind.requests {
            attempt += 1;
            let user = if kind.same_user { "ann".to_owned() } else { format!("user{attempt}") };
            let password = if kind.same_password { "wrong".to_owned() } else { format!("wrong{attempt}") };
            let request = format!(
                "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n",
                basic(&user, &password)
            );
            let Ok((status, _)) = connection.exchange(request.as_bytes()) else { break };
            let index = match status {
                200 => 0,
                401 => 1,
                429 => 2,
                _ => 3,
            };
            answers[index].fetch_add(1, Relaxed);
            if !running.load(Relaxed) {
                return;
            }
        }
    }
}

fn registry() -> Registry {
    let files = Files::new("");
    // As hard as people have it.
    htpasswd(&["-B", "-C", "10"], &files.passwords(), "ann", SECRET);
    files.start()
}

const STEADY: Kind = Kind { same_user: true, same_password: false, one_address: true, requests: u32::MAX };

/// The user logs in for the first time while the storm blows, on a new connection and from its very address.
#[track_caller]
fn the_right_user_gets_in(kind: Kind) {
    let registry = registry();
    let storm = Storm::start(&registry, kind);
    storm.is_up(kind);
    let (password, mut tries) = (basic("ann", SECRET), 0);
    wait_for("the right user gets in", PATIENCE, || {
        tries += 1;
        // The storm may have taken every port of the machine for a moment.
        let headers = [("Authorization", password.as_str())];
        let answer = registry.client().try_send("GET", "/v2/", &headers, b"").ok()?;
        (answer.status == 200).then_some(())
    });
    println!("{kind:?}: in after {tries} tries, {} answers of the storm", storm.total());
    assert_eq!(storm.count(0), 0, "nobody else gets in");
    assert_eq!(storm.count(3), 0, "every answer is 401 or 429");
}

#[test]
fn one_user_from_one_address() {
    the_right_user_gets_in(STEADY);
}

#[test]
fn one_user_with_one_wrong_password_from_one_address() {
    the_right_user_gets_in(Kind { same_password: true, ..STEADY });
}

#[test]
fn random_users_from_one_address() {
    the_right_user_gets_in(Kind { same_user: false, ..STEADY });
}

#[test]
fn random_users_from_one_address_with_a_connection_for_each() {
    the_right_user_gets_in(Kind { same_user: false, requests: 1, ..STEADY });
}

#[test]
fn one_user_from_many_addresses() {
    the_right_user_gets_in(Kind { one_address: false, ..STEADY });
}

#[test]
fn one_user_from_many_addresses_with_a_connection_for_each() {
    the_right_user_gets_in(Kind { one_address: false, requests: 1, ..STEADY });
}

#[test]
fn random_users_from_many_addresses_with_a_connection_for_each() {
    the_right_user_gets_in(Kind { same_user: false, one_address: false, requests: 1, ..STEADY });
}

#[test]
fn who_is_logged_in_is_never_put_off() {
    let registry = registry();
    assert!(registry.lets_in("ann", SECRET));
    // The one storm in which nothing tells a first login of the user from the storm itself.
    let kind = Kind { requests: 1, ..STEADY };
    let storm = Storm::start(&registry, kind);
    storm.is_up(kind);
    let password = basic("ann", SECRET);
    let mut connection = wait_for("a free port", PATIENCE, || registry.client().connect().ok());
    for _ in 0..200 {
        let answer = connection.send("GET", "/v2/", &[("Authorization", &password)], b"");
        assert_eq!(answer.expect("an answer").status, 200);
    }
    wait_for("the storm is put off", PATIENCE, || (storm.count(2) > 0).then_some(()));
}

#[test]
fn who_is_put_off_is_told_for_how_long_in_the_language_of_the_api() {
    let registry = registry();
    let put_off = |method: &str, target: &str| {
        wait_for("too many failures", PATIENCE, || {
            let answer = registry.ask_as("ann", "wrong", method, target);
            (answer.status == 429).then_some(answer)
        })
    };
    let answer = put_off("GET", "/v2/");
    assert!(answer.text().contains("\"code\":\"TOOMANYREQUESTS\""), "{}", answer.text());
    let pause: u64 = answer.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=63).contains(&pause), "{pause}");
    let answer = put_off("GET", "/v1/users/");
    assert_eq!(answer.text(), "{\"error\": \"Too many failed logins, retry later\"}");
    assert!(answer.header("retry-after").is_some());
}

/// Prints by how much a storm of 10,000 wrong logins a second slows down somebody who is logged in. Nothing is
/// asserted: the machine decides.
#[cfg(feature = "long")]
#[test]
fn what_a_storm_costs_who_is_logged_in() {
    use std::time::{Duration, Instant};

    use docker_registry_tests::{content::digest, v2};

    let registry = registry();
    let password = basic("ann", SECRET);
    let digest = digest(b"content");
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    let headers = [("Authorization", password.as_str()), v2::OCTETS];
    registry.client().send("POST", &target, &headers, b"content").expect(201);
    let request =
        format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {password}\r\n\r\n");
    let rate = || {
        let mut connection = registry.client().connect().expect("a connection");
        let (start, mut pulls) = (Instant::now(), 0_u32);
        while start.elapsed() < Duration::from_secs(5) {
            assert_eq!(connection.exchange(request.as_bytes()).expect("an answer").0, 200);
            pulls += 1;
        }
        f64::from(pulls) / start.elapsed().as_secs_f64()
    };
    let quiet = rate();
    for kind in [
        STEADY,
        Kind { same_user: false, ..STEADY },
        Kind { one_address: false, ..STEADY },
        Kind { same_user: false, one_address: false, ..STEADY },
    ] {
        let storm = Storm::start(&registry, kind);
        storm.is_up(kind);
        let (before, start) = (storm.total(), Instant::now());
        let stormy = rate();
        let blown = (storm.total() - before) as f64 / start.elapsed().as_secs_f64();
        println!(
            "{kind:?}: {quiet:.0} pulls a second without, {stormy:.0} with {blown:.0} wrong logins a second, ratio {:.2}",
            stormy / quiet
        );
    }
}
