//! What a node says of itself and others: versions, addresses, backends with their ids.
//!
//! Rules from `include/elliptics/packet.h` (`dnet_addr_container`, `dnet_id_container`, `dnet_backend_ids`),
//! `library/elliptics.h` (versions and the number of index shards lie in the id of a handshake) and
//! `library/route.cpp`. Servers of 3.0 leave the number of shards alone.

use std::net::SocketAddrV4;
use std::sync::atomic::Ordering;

use bytes::{Buf, BufMut};

use crate::cluster::{Backend, Node};
use crate::id::Id;
use crate::wire::{Header, command, flag, put_address};

/// In `dnet_backend_ids`: this backend is gone.
const DISABLED: u32 = 1;

/// The version in the id of a handshake.
pub(crate) fn version(id: &Id) -> [i32; 4] {
    let mut rest = &id.0[..16];
    [rest.get_i32_le(), rest.get_i32_le(), rest.get_i32_le(), rest.get_i32_le()]
}

/// Puts a version into the id of a handshake.
pub(crate) fn put_version(id: &mut Id, version: [i32; 4]) {
    let mut place = &mut id.0[..16];
    for number in version {
        place.put_i32_le(number);
    }
}

/// Puts the number of index shards into the id of a handshake.
pub(crate) fn put_shards(id: &mut Id, shards: i32) {
    id.0[20..24].copy_from_slice(&shards.to_le_bytes());
}

/// Addresses of nodes that have one each.
pub(crate) fn put_addresses(bytes: &mut Vec<u8>, addresses: &[SocketAddrV4]) {
    bytes.put_i32_le(1);
    bytes.put_i32_le(addresses.len() as i32);
    for address in addresses {
        put_address(bytes, *address);
    }
}

/// The backends of a node that are in use.
pub(crate) fn put_backends(bytes: &mut Vec<u8>, node: &Node) {
    let backends: Vec<_> = node.enabled().map(|(_, backend)| backend).collect();
    bytes.put_i32_le(backends.len() as i32);
    for backend in backends {
        put_backend(bytes, backend);
    }
}

fn put_backend(bytes: &mut Vec<u8>, backend: &Backend) {
    let enabled = backend.enabled.load(Ordering::SeqCst);
    let ids = if enabled { backend.ids.as_slice() } else { &[] };
    bytes.put_i32_le(backend.number);
    // Who is gone says neither group nor ids.
    bytes.put_i32_le(if enabled { backend.group as i32 } else { 0 });
    bytes.put_u32_le(if enabled { 0 } else { DISABLED });
    bytes.put_u32_le(ids.len() as u32);
    for id in ids {
        bytes.put_slice(&id.0);
    }
}

/// The frame that tells clients of a backend that came or went; nobody answers it.
pub(crate) fn update(backend: &Backend) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_i32_le(1);
    put_backend(&mut body, backend);
    let header = Header {
        id: Id([0; Id::SIZE]),
        group: 0,
        reserved: 0,
        status: 0,
        command: command::UPDATE_IDS,
        backend: 0,
        trace: 0,
        flags: flag::DIRECT | flag::NOLOCK,
        transaction: 0,
        size: 0,
    };
    header.frame(&body, 0)
}
