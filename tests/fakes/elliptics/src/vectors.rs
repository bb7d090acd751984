//! Frames that were written down by hand from `packet.h`, byte for byte: requests, and the answers that they must get.
//!
//! A line is hexadecimal digits, `XX*N` for a byte N times, and behind `#` the name of the field.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::call::{Body, Call};
use crate::cluster::{Cluster, Settings};
use crate::id::hexadecimal;
use crate::journal::Journal;
use crate::routes;
use crate::wire::{Header, IoAttribute};

/// A cluster of one node at 127.0.0.1:1025 with backend 0 for group 1, and its folder.
pub(crate) struct Fixture {
    cluster: Arc<Cluster>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let mut cookie = [0; 32];
        cookie[..3].copy_from_slice(b"key");
        let settings = Settings { version: [2, 26, 11, 1], cookie, indexes: true, shards: 16 };
        let plans = ["1@10".parse().expect("a plan")];
        let addresses = [SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1025)];
        let cluster = Cluster::new(settings, &plans, &addresses, folder.path(), Journal::new(log));
        let cluster = Arc::new(cluster.expect("a cluster"));
        cluster.nodes[0].up.store(true, Ordering::SeqCst);
        Self { cluster, _folder: folder }
    }

    /// All bytes that answer the request, and whether the connection is closed.
    fn answer(&self, request: &str) -> (String, bool) {
        let bytes = bytes(request);
        let (head, body) = bytes.split_at(Header::SIZE);
        let header = Header::read(head.try_into().expect("a head"));
        assert_eq!(header.size, body.len() as u64, "the request says its size");
        assert_eq!(header.frame(body, 0), bytes, "a head is written as it is read");
        let mut call = Call::new(Arc::clone(&self.cluster), 0, header);
        call.run(Body::of(body.to_vec()));
        let answers = call.answers.iter().map(|answer| {
            assert!(answer.content.is_none(), "little content is in memory");
            hexadecimal(&answer.bytes)
        });
        (answers.collect(), call.reset)
    }

    /// Checks all bytes of the answer.
    pub(crate) fn check(&self, request: &str, expected: &str) {
        let (answer, reset) = self.answer(request);
        assert_eq!(answer, hexadecimal(&bytes(expected)));
        assert!(!reset, "the connection stays");
    }
}

fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace()) {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        let one = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
        let one: Vec<u8> = one.collect::<Result<_, _>>().expect("hexadecimal digits");
        bytes.extend(one.repeat(times.parse().expect("a number")));
    }
    bytes
}

/// The record of id aa…aa: `abc`, user's flags 7, of second 0x51 and nanosecond 0x1234.
const WRITE: &str = "
    aa*64               # id
    01000000            # group 1
    00*8                # reserved
    00000000            # status
    04000000            # WRITE
    00000000            # backend
    efbeadde00000000    # trace id
    0100000000000000    # NEED_ACK
    0900000000000000    # transaction 9
    d300000000000000    # 208 + 3 bytes
    00*64               # parent
    aa*64               # id
    00*8                # start
    00*8                # number
    5100000000000000    # seconds
    3412000000000000    # nanoseconds
    0700000000000000    # user's flags
    00*8                # total size
    00*8                # record flags
    00*4                # reserved
    00000000            # flags
    00*8                # offset
    0300000000000000    # size
    616263              # abc";

#[test]
fn the_handshake_is_these_bytes() {
    let fixture = Fixture::new();
    fixture.check(
        "
        02000000 1a000000 03000000 1b000000 # version 2.26.3.27
        00*4                # nothing
        10000000            # the client's 16 shards
        00*40               # the rest of the id
        00000000            # group
        00*8                # reserved
        00000000            # status
        02000000            # REVERSE_LOOKUP
        00000000            # backend
        00*8                # trace id
        1800000000000000    # DIRECT | NOLOCK
        00*8                # transaction 0
        00*8                # no body",
        "
        02000000 1a000000 0b000000 01000000 # version 2.26.11.1
        00*4
        10000000            # the server's 16 shards
        00*40
        01000000            # the group of the first backend
        00*8                # reserved
        00000000            # status
        02000000            # REVERSE_LOOKUP
        00000000            # backend
        00*8                # trace id
        1002000000000000    # NOLOCK | REPLY
        00*8                # transaction
        7c00000000000000    # 8 + 32 + 4 + 16 + 64 bytes
        01000000            # addresses of a node
        01000000            # addresses
        0200 0401 7f000001 00*8 # AF_INET, port 1025 in network order, 127.0.0.1, rest of sockaddr_in
        00*12               # rest of the 28 bytes
        1000                # 16 bytes of them count
        0200                # AF_INET
        01000000            # backends
        00000000            # number of the backend
        01000000            # its group
        00000000            # flags
        01000000            # ids
        10 00*63            # its id",
    );
}

#[test]
fn another_version_is_refused_by_closing_the_connection() {
    let fixture = Fixture::new();
    let request = "
        03000000 00*60 00000000 00*8 00000000 02000000 00000000 00*8 1900000000000000 00*8 00*8";
    assert_eq!(fixture.answer(request), (String::new(), true));
}

#[test]
fn the_route_list_is_these_bytes_and_no_acknowledgement() {
    let fixture = Fixture::new();
    fixture.check(
        "
        00*64 00000000 00*8 00000000 # id, group, reserved, status
        08000000            # ROUTE_LIST
        00000000            # backend
        00*8                # trace id
        1900000000000000    # NEED_ACK | DIRECT | NOLOCK
        0500000000000000    # transaction 5
        00*8                # no body",
        "
        00*64 00000000 00*8 00000000
        08000000            # ROUTE_LIST
        00000000            # backend
        00*8                # trace id
        1002000000000000    # NOLOCK | REPLY
        0500000000000000    # transaction 5
        2800000000000000    # 8 + 32 bytes
        01000000            # addresses of a node
        01000000            # addresses
        0200 0401 7f000001 00*20 1000 0200",
    );
}

#[test]
fn a_write_is_answered_by_what_the_file_is() {
    let fixture = Fixture::new();
    fixture.check(
        WRITE,
        "
        aa*64               # id
        01000000            # group 1
        00*8                # reserved
        00000000            # status
        04000000            # WRITE
        00000000            # backend
        efbeadde00000000    # trace id
        0002000000000000    # REPLY, and neither NEED_ACK nor MORE
        0900000000000000    # transaction 9
        aa00000000000000    # 32 + 112 + 26 bytes
        0200 0401 7f000001 00*20 1000 0200 # the node's address
        1a000000            # 26 bytes of path
        00*64               # checksum: not asked for
        00*4                # padding
        4001000000000000    # EXTHDR | CHUNKED_CSUM
        0300000000000000    # size
        9000000000000000    # offset in the file
        5100000000000000    # seconds
        3412000000000000    # nanoseconds
        2f7372762f656c6c69707469 63732f302f646174 612d302e30 00 # /srv/elliptics/0/data-0.0",
    );
}

#[test]
fn a_lookup_with_a_checksum_is_these_bytes() {
    let fixture = Fixture::new();
    fixture.answer(WRITE);
    fixture.check(
        "
        aa*64 01000000 00*8 00000000
        01000000            # LOOKUP
        00000000 00*8
        2100000000000000    # NEED_ACK | CHECKSUM
        0a00000000000000    # transaction 10
        00*8                # no body",
        "
        aa*64 01000000 00*8 00000000
        01000000            # LOOKUP
        00000000 00*8
        2002000000000000    # CHECKSUM | REPLY
        0a00000000000000    # transaction 10
        aa00000000000000    # 32 + 112 + 26 bytes
        0200 0401 7f000001 00*20 1000 0200
        1a000000            # 26 bytes of path
        ddaf35a193617aba cc417349ae204131 12e6fa4e89a97ea2 0a9eeee64b55d39a # SHA-512 of abc
        2192992a274fc1a8 36ba3c23a3feebbd 454d4423643ce80e 2a9ac94fa54ca49f
        00*4                # padding
        4001000000000000 0300000000000000 9000000000000000 5100000000000000 3412000000000000
        2f7372762f656c6c69707469 63732f302f646174 612d302e30 00",
    );
}

#[test]
fn a_read_from_an_offset_with_a_checksum_is_these_bytes() {
    let fixture = Fixture::new();
    fixture.answer(WRITE);
    fixture.check(
        "
        aa*64 01000000 00*8 00000000
        05000000            # READ
        00000000 00*8
        0100000000000000    # NEED_ACK
        0b00000000000000    # transaction 11
        d000000000000000    # 208 bytes
        00*64               # parent
        aa*64               # id
        00*8 00*8           # start, number
        00*8 00*8           # timestamp
        00*8 00*8 00*8      # user's flags, total size, record flags
        00*4                # reserved
        00400000            # CHECKSUM
        0100000000000000    # from byte 1
        0000000000000000    # all that is left",
        "
        aa*64 01000000 00*8 00000000
        05000000            # READ
        00000000 00*8
        0002000000000000    # REPLY
        0b00000000000000    # transaction 11
        d200000000000000    # 208 + 2 bytes
        # parent: the SHA-512 of bc
        b90715f60d3937af c424af6f41d37bad 66117b9618233a70 d3d93aceffd59672
        5e9d7e7e03afc30c ea118c2bcaf1ee31 f40d7e6e270ca357 6cd95a9ffb3e353d
        aa*64               # id
        00*8 00*8           # start, number
        5100000000000000    # seconds
        3412000000000000    # nanoseconds
        0700000000000000    # user's flags
        0300000000000000    # total size
        4001000000000000    # EXTHDR | CHUNKED_CSUM
        00*4                # reserved
        00400000            # CHECKSUM
        0100000000000000    # from byte 1
        0200000000000000    # size
        6263                # bc",
    );
}

#[test]
fn a_record_that_is_not_there_is_an_acknowledgement_with_its_status() {
    let fixture = Fixture::new();
    for (name, body) in [("01000000", 0), ("05000000", 208), ("0b000000", 208)] {
        let size = format!("{body:02x}00000000000000");
        fixture.check(
            &format!(
                "
                bb*64 01000000 00*8 00000000
                {name}              # LOOKUP, READ, DEL
                00000000 00*8
                0000000000000000    # no acknowledgement is wanted
                0c00000000000000    # transaction 12
                {size}
                00*{body}"
            ),
            &format!(
                "
                bb*64 01000000 00*8
                feffffff            # ENOENT
                {name}
                00000000 00*8
                0002000000000000    # REPLY
                0c00000000000000    # transaction 12
                00*8                # no body"
            ),
        );
    }
}

#[test]
fn a_group_that_nobody_has_is_not_supported_and_only_acknowledged_on_request() {
    let fixture = Fixture::new();
    let request = |flags: &str| {
        format!("bb*64 09000000 00*8 00000000 01000000 00000000 00*8 {flags} 00*7 0c00000000000000 00*8")
    };
    fixture.check(&request("00"), "");
    fixture.check(
        &request("01"),
        "
        bb*64
        09000000            # group 9
        00*8
        a1ffffff            # ENOTSUP
        01000000            # LOOKUP
        ffffffff            # no backend
        00*8
        0002000000000000    # REPLY
        0c00000000000000 00*8",
    );
}

#[test]
fn a_deletion_is_an_acknowledgement() {
    let fixture = Fixture::new();
    fixture.answer(WRITE);
    fixture.check(
        "
        aa*64 01000000 00*8 00000000
        0b000000            # DEL
        00000000 00*8
        0100000000000000    # NEED_ACK
        0d00000000000000    # transaction 13
        d000000000000000    # 208 bytes
        aa*128              # parent, id
        00*80",
        "
        aa*64 01000000 00*8
        00000000            # status
        0b000000            # DEL
        00000000 00*8
        0002000000000000    # REPLY
        0d00000000000000    # transaction 13
        00*8                # no body",
    );
}

#[test]
fn a_bulk_read_is_a_frame_for_each_record_and_an_acknowledgement() {
    let fixture = Fixture::new();
    fixture.answer(WRITE);
    fixture.check(
        "
        aa*64 01000000 00*8 00000000
        11000000            # BULK_READ
        00000000 00*8
        0100000000000000    # NEED_ACK
        0e00000000000000    # transaction 14
        7002000000000000    # three times 208 bytes
        00*64 00*64 00*8 00*8 00*8 00*8 00*8 00*8 00*8 00*4 00*4 00*8
        a001000000000000    # size: two attributes
        00*64 aa*64 00*80   # the first one
        00*64 bb*64 00*80   # the second one",
        "
        aa*64 01000000 00*8 00000000
        05000000            # READ
        00000000 00*8
        0202000000000000    # MORE | REPLY
        0e00000000000000    # transaction 14
        d300000000000000    # 208 + 3 bytes
        00*64 aa*64 00*8 00*8
        5100000000000000 3412000000000000 0700000000000000
        0300000000000000 4001000000000000 00*4 00*4 00*8
        0300000000000000
        616263
        # the second one: its id is the command's, because only replies have their own
        aa*64 01000000 00*8
        feffffff            # ENOENT
        05000000            # READ
        00000000 00*8
        0202000000000000    # MORE | REPLY
        0e00000000000000 00*8
        # the end
        aa*64 01000000 00*8 00000000
        11000000            # BULK_READ
        00000000 00*8
        0002000000000000    # REPLY
        0e00000000000000 00*8",
    );
}

#[test]
fn a_cookie_is_compared() {
    let fixture = Fixture::new();
    for (cookie, status) in [("6b6579 00*29", "00000000"), ("6b657a 00*29", "ffffffff")] {
        fixture.check(
            &format!(
                "00*64 00000000 00*8 00000000 10000000 00000000 00*8
                0900000000000000    # NEED_ACK | DIRECT
                0f00000000000000
                4000000000000000    # 64 bytes
                {cookie}            # cookie
                00*8 00*24          # flags, unused"
            ),
            &format!(
                "00*64 00000000 00*8
                {status}            # 0 or EPERM
                10000000            # AUTH
                ffffffff            # no backend
                00*8
                0802000000000000    # DIRECT | REPLY
                0f00000000000000 00*8"
            ),
        );
    }
}

#[test]
fn a_frame_that_is_too_short_is_refused() {
    let fixture = Fixture::new();
    fixture.check(
        "
        aa*64 01000000 00*8 00000000
        04000000            # WRITE
        00000000 00*8 00*8 0100000000000000
        cf00000000000000    # 207 bytes
        00*207",
        "
        aa*64 01000000 00*8
        eaffffff            # EINVAL
        04000000 00000000 00*8
        0002000000000000    # REPLY
        0100000000000000 00*8",
    );
    // Three bytes are said, two are there.
    let (answer, _) =
        fixture.answer(&WRITE.replace("d300000000000000", "d200000000000000").replace("616263", "6162"));
    assert_eq!(answer[152..160], *"eaffffff");
    assert_eq!(fixture.cluster.journal.problems().len(), 2);
}

#[test]
fn a_backend_that_goes_is_told_of() {
    let fixture = Fixture::new();
    let backend = &fixture.cluster.nodes[0].backends[0];
    backend.enabled.store(false, Ordering::SeqCst);
    let expected = "
        00*64 00000000 00*8 00000000
        18000000            # UPDATE_IDS
        00000000 00*8
        1800000000000000    # DIRECT | NOLOCK
        00*8
        1400000000000000    # 4 + 16 bytes
        01000000            # one backend
        00000000            # its number
        00000000            # no group
        01000000            # it is disabled
        00000000            # no ids";
    assert_eq!(hexadecimal(&routes::update(backend)), hexadecimal(&bytes(expected)));
}

#[test]
fn an_attribute_is_written_as_it_is_read() {
    let all: Vec<u8> = (0..IoAttribute::SIZE as u8).collect();
    assert_eq!(IoAttribute::read(&all).map(|attribute| attribute.bytes()), Some(all));
}
