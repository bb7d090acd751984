//! Packets byte for byte, put together by hand from the description of the protocol: one line for each field.

use bytes::Bytes;

use super::{
    FileInfo, Header, Id, IoAttribute, Malformed, Timestamp, WireAddress,
    attribute::{Writing, delete, lookup, read, write},
    greeting, indexes,
    topology::{Backend, Introduction, backends, parse_route_list, route_list},
    version_of,
};

/// The bytes of hexadecimal digits; spaces do not count, and `xx*count` repeats a byte.
fn bytes(fields: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in fields.iter().flat_map(|field| field.split_whitespace()) {
        let (digits, count) = word.split_once('*').unwrap_or((word, "1"));
        for _ in 0..count.parse::<usize>().unwrap() {
            bytes.extend(
                (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()),
            );
        }
    }
    bytes
}

fn id(byte: u8) -> Id {
    Id([byte; 64])
}

/// SHA-512 of `DOCKER`, a zero byte and `images/a/json`.
const JSON: &str = "14e1805e8dbbed1eb88d704631ce726d76f5a793d8bfdba7ee0f0fae857b32ae\
                    d20837044ba78ef9c2f1fbb63e980adc70266024df7a7d0b8e8e5a598bd85c1d";

#[test]
fn ids_and_checksums_are_sha_512_and_the_namespace_ends_with_a_zero() {
    assert_eq!(Id::of("DOCKER", "images/a/json").0[..], bytes(&[JSON]));
    let abc = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
               2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    assert_eq!(Id::checksum(b"abc").0[..], bytes(&[abc]));
    assert_eq!(Id::of("", "abc"), Id::checksum(b"abc"));
    assert_eq!(Id::checksum(b""), Id::ZERO);
}

#[test]
fn the_greeting_has_the_version_in_its_id() {
    let expected = bytes(&[
        "02000000 1a000000 03000000 1b000000", // version 2.26.3.27
        "00*48",                               // the rest of the id
        "00000000",                            // group
        "00*8",                                // reserved
        "00000000",                            // status
        "02000000",                            // command: reverse lookup
        "00000000",                            // backend
        "00*8",                                // trace
        "18*1 00*7",                           // flags: direct, nolock
        "00*8",                                // transaction
        "00*8",                                // size
    ]);
    assert_eq!(expected.len(), 120);
    assert_eq!(greeting()[..], expected);
}

#[test]
fn a_list_of_nodes_is_asked_for_without_a_body() {
    let expected = bytes(&[
        "00*64",     // id
        "00000000",  // group
        "00*8",      // reserved
        "00000000",  // status
        "08000000",  // command: route list
        "00000000",  // backend
        "00*8",      // trace
        "19*1 00*7", // flags: need ack, direct, nolock
        "00*8",      // transaction
        "00*8",      // size
    ]);
    assert_eq!(route_list()[..], expected);
}

#[test]
fn a_read_names_its_object_three_times() {
    let expected = bytes(&[
        "11*64",            // id
        "02000000",         // group
        "00*8",             // reserved
        "00000000",         // status
        "05000000",         // command: read
        "00000000",         // backend
        "00*8",             // trace
        "01*1 00*7",        // flags: need ack
        "00*8",             // transaction
        "d0*1 00*7",        // size: 208
        "11*64",            // parent
        "11*64",            // id
        "00*8",             // start
        "00*8",             // number
        "00*16",            // timestamp
        "00*8",             // user flags
        "00*8",             // total size
        "00*8",             // record flags
        "00000000",         // reserved
        "00010000",         // flags: no checksum
        "0500000000000000", // offset
        "0000010000000000", // size: 65536
    ]);
    assert_eq!(expected.len(), 120 + 208);
    assert_eq!(read(id(0x11), 2, 5, 65536, 1 << 8)[..], expected);
}

fn a_write(parent: &str, flags: &str) -> Vec<u8> {
    bytes(&[
        "22*64",            // id
        "01000000",         // group
        "00*8",             // reserved
        "00000000",         // status
        "04000000",         // command: write
        "00000000",         // backend
        "00*8",             // trace
        "01*1 00*7",        // flags: need ack
        "00*8",             // transaction
        "d300000000000000", // size: 208 + 3
        parent,             // parent: the checksum to compare with
        "22*64",            // id
        "00*8",             // start
        "0300000000000000", // number: bytes that the object will have
        "0700000000000000", // timestamp, seconds
        "0900000000000000", // timestamp, nanoseconds
        "efbe000000000000", // user flags
        "00*8",             // total size
        "00*8",             // record flags
        "00000000",         // reserved
        flags,              // flags
        "00*8",             // offset
        "0300000000000000", // size
    ])
}

#[test]
fn a_write_has_its_time_and_its_size_and_a_swap_the_checksum_that_is_expected() {
    let timestamp = Timestamp { seconds: 7, nanoseconds: 9 };
    let plain = Writing { id: id(0x22), timestamp, user_flags: 0xbeef, flags: 0, expected: None };
    assert_eq!(write(1, &plain, 3)[..], a_write("00*64", "00000000"));
    let swap = Writing { expected: Some(id(0x33)), ..plain };
    assert_eq!(write(1, &swap, 3)[..], a_write("33*64", "00200000"));
}

#[test]
fn a_deletion_has_an_attribute_without_anything() {
    let expected = bytes(&[
        "44*64",     // id
        "03000000",  // group
        "00*8",      // reserved
        "00000000",  // status
        "0b000000",  // command: delete
        "00000000",  // backend
        "00*8",      // trace
        "01*1 00*7", // flags: need ack
        "00*8",      // transaction
        "d0*1 00*7", // size: 208
        "44*64",     // parent
        "44*64",     // id
        "00*16",     // start, number
        "00*16",     // timestamp
        "00*24",     // user flags, total size, record flags
        "00*8",      // reserved, flags
        "00*16",     // offset, size
    ]);
    assert_eq!(delete(id(0x44), 3)[..], expected);
}

#[test]
fn a_lookup_is_a_header_and_may_ask_for_the_checksum() {
    let expected = |flags: &str| {
        bytes(&[
            "55*64",    // id
            "01000000", // group
            "00*8",     // reserved
            "00000000", // status
            "01000000", // command: lookup
            "00000000", // backend
            "00*8",     // trace
            flags,      // flags
            "00*8",     // transaction
            "00*8",     // size
        ])
    };
    assert_eq!(lookup(id(0x55), 1, false)[..], expected("01*1 00*7"));
    assert_eq!(lookup(id(0x55), 1, true)[..], expected("21*1 00*7"));
}

#[test]
fn shards_of_an_index_begin_with_their_part_of_all_ids() {
    let expected = bytes(&[
        "50000000", // 5 of 16 parts
        "00*28",
        // The end of SHA-512 of the id of the index and `\0index_table\0`.
        "96508fdc417603ea5d8320769a93f9acfd23e57871b150a9f0b029ad35a9fe24",
    ]);
    assert_eq!(indexes::shard_id(&Id::of("DOCKER", "docker"), 5, 16).0[..], expected);
    let table = "2c18dcca75f6b17bc4bd69cba739b981d23a21f78fe5de016c3d0e08f0c85fe2\
                 cf45a8975e237ea7bd0d1af1fb450cf780a0650127badf8a5f574bd5cadc0875";
    assert_eq!(indexes::object_table_id(&Id(bytes(&[JSON]).try_into().unwrap())).0[..], bytes(&[table]));
}

#[test]
fn a_look_into_two_indexes_is_a_request_with_two_entries() {
    let expected = bytes(&[
        "66*64",            // id: that of the first shard
        "02000000",         // group
        "00*8",             // reserved
        "00000000",         // status
        "16000000",         // command: find in indexes
        "00000000",         // backend
        "00*8",             // trace
        "01*1 00*7",        // flags: need ack
        "00*8",             // transaction
        "8001000000000000", // size: 136 + 2 * 124
        "66*64",            // request: id
        "02000000",         // request: group
        "00*8",             // request: reserved
        "01000000",         // request: flags: intersect
        "00*8",             // request: shard and number of shards
        "00*40",            // request: reserved
        "0200000000000000", // request: number of entries
        "66*64",            // entry: id
        "00*8",             // entry: flags
        "00*12",            // entry: limit, shard, number of shards
        "00*32",            // entry: reserved
        "00*8",             // entry: size
        "77*64",            // entry: id
        "00*60",            // entry: the rest
    ]);
    assert_eq!(indexes::find(2, &[id(0x66), id(0x77)])[..], expected);
}

#[test]
fn an_object_is_taken_out_of_its_indexes_by_an_empty_set_of_them() {
    let packet = indexes::clear(2, &id(0x66));
    assert_eq!(packet[..64], indexes::object_table_id(&id(0x66)).0);
    let expected = bytes(&[
        "02000000",  // group
        "00*8",      // reserved
        "00000000",  // status
        "14000000",  // command: update of indexes
        "00000000",  // backend
        "00*8",      // trace
        "01*1 00*7", // flags: need ack
        "00*8",      // transaction
        "88*1 00*7", // size: 136
        "66*64",     // request: id
        "02000000",  // request: group
        "00*8",      // request: reserved
        "00000000",  // request: flags: set
        "00*8",      // request: shard and number of shards
        "00*40",     // request: reserved
        "00*8",      // request: number of entries
    ]);
    assert_eq!(packet[64..], expected);
}

#[test]
fn what_was_found_is_the_data_of_the_first_index() {
    let entry = [
        "93",           // entry: three fields
        "01",           // entry: version
        "da0040 88*64", // entry: id of the object, as an old msgpack packs it
        "92",           // entry: two indexes
        "92",           // index: two fields
        "c440 66*64",   // index: id, as a new msgpack packs it
        "a3 612f62",    // index: data
        "92 da0040 77*64 a3 612f63",
    ];
    let found = indexes::parse_found(&bytes(&[&["91"][..], &entry[..]].concat())).unwrap();
    assert_eq!(found, [Bytes::from_static(b"a/b")]);
    assert_eq!(indexes::parse_found(&[]), Ok(Vec::new()));
    assert_eq!(indexes::parse_found(&bytes(&["90"])), Ok(Vec::new()));
    for wrong in ["91", "c0", "9101", "9193 02 a161 91 92 a161 a162", "9193 01 a161 90", "dd ffffffff"] {
        assert!(indexes::parse_found(&bytes(&[wrong])).is_err(), "{wrong}");
    }
}

#[test]
fn a_header_is_read_as_it_was_written() {
    let bytes = bytes(&[
        "99*64",            // id
        "02000000",         // group
        "00*8",             // reserved
        "feffffff",         // status: -2
        "05000000",         // command
        "07000000",         // backend
        "0300000000000000", // trace
        "0202000000000000", // flags: more, reply
        "0400000000000000", // transaction
        "0500000000000000", // size
    ]);
    let header = Header::parse(&bytes).unwrap();
    let expected = Header {
        id: id(0x99),
        group: 2,
        status: -2,
        command: 5,
        backend: 7,
        trace: 3,
        flags: 0x202,
        transaction: 4,
        size: 5,
    };
    assert_eq!(header, expected);
    assert!(header.is_reply() && header.has_more());
    assert!(Header::parse(&bytes[1..]).is_err());
}

#[test]
fn an_answer_to_the_greeting_says_version_shards_addresses_and_ids() {
    let header = Header {
        id: Id(bytes(&["02000000 1a000000 09000000 04000000 00*4 10000000 00*40"]).try_into().unwrap()),
        group: 0,
        status: 0,
        command: 2,
        backend: 0,
        trace: 0,
        flags: 0,
        transaction: 0,
        size: 0,
    };
    assert_eq!(version_of(&header), ([2, 26, 9, 4], 16));
    let body = bytes(&[
        "02000000",                                  // addresses of the node
        "02000000",                                  // addresses
        "0200 0401 7f000001 00*20 1000 0200",        // IPv4: 127.0.0.1, port 1025
        "0a00 0402 00*4 00*15 01 00*4 1c00 0a00",    // IPv6: ::1, port 1026
        "02000000",                                  // backends
        "07000000 01000000 00000000 01000000 11*64", // 7: group 1, in use, one id
        "08000000 02000000 01000000 00000000",       // 8: group 2, gone, no id
    ]);
    let introduction = Introduction::parse(&body).unwrap();
    let address = |text: &str| WireAddress(Some(text.parse().unwrap()));
    assert_eq!(introduction.addresses, [address("127.0.0.1:1025"), address("[::1]:1026")]);
    let expected = [
        Backend { number: 7, group: 1, ids: vec![id(0x11)], is_gone: false },
        Backend { number: 8, group: 2, ids: Vec::new(), is_gone: true },
    ];
    assert_eq!(introduction.backends, expected);
    for end in 0..body.len() {
        assert!(Introduction::parse(&body[..end]).is_err());
    }
    assert!(backends(&bytes(&["ffffffff"])).is_err());
}

#[test]
fn a_list_of_nodes_has_so_many_addresses_of_each() {
    let body = bytes(&[
        "02000000",                           // addresses of each node
        "04000000",                           // addresses
        "0200 0401 0a000001 00*20 1000 0200", // 10.0.0.1:1025
        "0200 0401 00000000 00*20 1000 0200", // a wildcard
        "0200 0401 0a000002 00*20 1000 0200", // 10.0.0.2:1025
        "00*28 1000 6300",                    // an unknown family
    ]);
    let address = |text: &str| WireAddress(Some(text.parse().unwrap()));
    let nowhere = WireAddress(None);
    let expected = [[address("10.0.0.1:1025"), nowhere], [address("10.0.0.2:1025"), nowhere]];
    assert_eq!(parse_route_list(&body).unwrap(), expected);
}

#[test]
fn an_attribute_in_an_answer_says_time_flags_and_sizes() {
    let bytes = bytes(&[
        "11*64",            // parent
        "22*64",            // id
        "00*16",            // start, number
        "0700000000000000", // timestamp, seconds
        "0900000000000000", // timestamp, nanoseconds
        "0300000000000000", // user flags
        "0500000000000000", // total size
        "4000000000000000", // record flags
        "00000000",         // reserved
        "00400000",         // flags
        "0100000000000000", // offset
        "0400000000000000", // size
    ]);
    let attribute = IoAttribute::parse(&bytes).unwrap();
    let expected = IoAttribute {
        parent: id(0x11),
        timestamp: Timestamp { seconds: 7, nanoseconds: 9 },
        user_flags: 3,
        total_size: 5,
        record_flags: 0x40,
        flags: 1 << 14,
        offset: 1,
        size: 4,
        ..IoAttribute::of(id(0x22))
    };
    assert_eq!(attribute, expected);
    assert_eq!(IoAttribute::parse(&bytes[1..]), Err(Malformed("an attribute is cut off")));
}

#[test]
fn the_facts_of_an_object_stand_behind_the_address_and_are_not_packed() {
    let body = bytes(&[
        "0200 0401 7f000001 00*20 1000 0200", // address of the node
        "02000000",                           // length of the name
        "33*64",                              // checksum
        "00*4",                               // filling
        "0100000000000000",                   // record flags
        "ff00000000000000",                   // size
        "8800000000000000",                   // offset
        "0700000000000000",                   // time, seconds
        "0900000000000000",                   // time, nanoseconds
        "61 00",                              // name
    ]);
    assert_eq!(FileInfo::parse(&body).unwrap(), FileInfo { checksum: id(0x33) });
    assert!(FileInfo::parse(&body[..32 + 4 + 63]).is_err());
}
