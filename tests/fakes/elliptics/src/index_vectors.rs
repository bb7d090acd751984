//! Frames of secondary indexes that were written down by hand from `packet.h`, as those of `vectors.rs`.

use crate::vectors::Fixture;

#[test]
fn indexes_are_changed_and_found() {
    let fixture = Fixture::new();
    let request = |command: &str, index_flags: &str, entry_flags: &str| {
        format!(
            "
            cc*64 01000000 00*8 00000000
            {command} 00000000 00*8
            0100000000000000    # NEED_ACK
            1000000000000000    # transaction 16
            0701000000000000    # 136 + 124 + 3 bytes
            dd*64 01000000 00*8 # the object
            {index_flags}       # flags
            02000000 10000000   # shard, shards
            00*40               # reserved
            0100000000000000    # one entry
            cc*64               # id of the index's shard
            {entry_flags}       # flags
            00000000            # limit
            02000000 10000000   # shard, shards
            00*32               # reserved
            0300000000000000    # three bytes
            6b6579              # key"
        )
    };
    let changed = |command: &str, object: &str| {
        format!(
            "
            cc*64 01000000 00*8 00000000
            {command} 00000000 00*8
            0202000000000000    # MORE | REPLY
            1000000000000000
            {object}
            # the acknowledgement
            cc*64 01000000 00*8 00000000
            {command} 00000000 00*8
            0002000000000000    # REPLY
            1000000000000000 00*8"
        )
    };
    let one_entry = "
        8400000000000000    # 48 + 84 bytes
        00*40 0100000000000000 # one entry
        cc*64 00000000 00*16 # its id and status";
    fixture.check(&request("15000000", "00000000", "0100000000000000"), &changed("15000000", one_entry));
    fixture.check(
        &request("16000000", "01000000", "0000000000000000"),
        "
        cc*64 01000000 00*8 00000000
        16000000            # INDEXES_FIND
        00000000 00*8
        0002000000000000    # REPLY
        1000000000000000
        8f00000000000000    # 3 + 67 + 2 + 67 + 4 bytes of msgpack
        91 93 01            # one object: version
        da0040 dd*64        # its id
        91 92               # one index
        da0040 cc*64        # its id
        a3 6b6579           # key",
    );
    let no_entry = "3000000000000000 00*40 00*8 # 48 bytes, no entry";
    fixture.check(&request("14000000", "04000000", "0000000000000000"), &changed("14000000", no_entry));
}
