//! A server that is asked to keep something.

use std::net::SocketAddr;

use docker_registry_tests::{
    content,
    http::Client,
    process::{PATIENCE, wait_for},
    server::announced,
    v2::{Presence, look_up_blob, push_blob},
};

/// The address that a server says in its log, once it does. `alive` fails the test when the server has ended.
pub(crate) fn address(mut log: impl FnMut() -> String, admin: bool, mut alive: impl FnMut()) -> SocketAddr {
    wait_for("the server says where it listens", PATIENCE, || {
        alive();
        let text = log();
        // A line that is still being written has no end.
        announced(&text[..=text.rfind('\n')?], admin)
    })
}

/// Pushes a blob of its own for each number and reads it back.
#[track_caller]
pub(crate) fn keeps(client: &Client, number: u8) {
    let bytes = vec![number; 100_000];
    assert_eq!(push_blob(client, "some/thing", &bytes), content::digest(&bytes));
    has(client, number);
}

/// Reads back what [`keeps`] pushed.
#[track_caller]
pub(crate) fn has(client: &Client, number: u8) {
    let digest = content::digest(&vec![number; 100_000]);
    assert_eq!(look_up_blob(client, "some/thing", &digest), Presence::Whole(100_000));
}
