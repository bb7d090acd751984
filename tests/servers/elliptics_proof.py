"""Proves the stand-in for an Elliptics cluster with a client that is made of the published packet format alone.

usage: elliptics_proof.py READY_FILE [MEBIBYTES]

READY_FILE is the file `ready` of elliptics.sh. The frames are put together by elliptics_client.py from
include/elliptics/packet.h, with nothing from the stand-in and nothing from the driver. MEBIBYTES is the size of the
large record. Prints a line for each part and ends with 0 when all holds.
"""

import hashlib
import socket
import struct
import sys
import time

from elliptics_client import (
    APPEND, AUTH, BULK_READ, CAS, CAS_TIMESTAMP, CHECKSUM, CMD, COMMIT, Cluster, DIRECT, DIRECT_BACKEND,
    E2BIG, EBADFD, EILSEQ, EINVAL, EIO, ENOENT, ENOSPC, ENOTSUP, EPERM, ERANGE, EROFS, Frame, INDEXES_FIND,
    INDEXES_INTERNAL, INDEXES_UPDATE, IO, IO_CHECKSUM, LOOKUP, NEED_ACK, NOCSUM, NOLOCK, NO_INFO, Node, PLAIN,
    PREPARE, READ, REPLY, ROUTE_LIST, WRITE, check, equal, info, io, key,
)


def handshake(cluster):
    for node in cluster.nodes:
        equal(node.version, cluster.version, "the version")
        frame = node.one(ROUTE_LIST, bytes(64), 0, NEED_ACK | DIRECT | NOLOCK)
        count = len(cluster.addresses)
        equal(struct.unpack_from("<ii", frame.body), (1, count), "the counts of the route list")
        routes = [Node.parse_address(frame.body[8 + 32 * n : 40 + 32 * n]) for n in range(count)]
        equal(sorted(routes), sorted(cluster.addresses), "the route list")
    cookie = cluster.ready["cookie"].encode().ljust(32, b"\0")
    auth = cluster.nodes[0].one(AUTH, bytes(64), 0, NEED_ACK | DIRECT, cookie + bytes(32))
    equal(auth.status, 0, "the right cookie")
    equal(cluster.control("problems"), [], "the problems until now")
    auth = cluster.nodes[0].one(AUTH, bytes(64), 0, NEED_ACK | DIRECT, b"x" * 32 + bytes(32))
    equal(auth.status, EPERM, "a wrong cookie")
    try:
        Node(cluster.addresses[0], (cluster.version[0], cluster.version[1] + 1, 0, 0))
        check(False, "another version is let in")
    except (EOFError, ConnectionError):
        pass
    print("handshake: all holds")


def routing(cluster):
    seen = set()
    for number in range(40):
        ident = key(f"routing/{number}")
        for group in cluster.groups:
            owner, backend = cluster.owner(group, ident)
            seen.add((owner, backend))
            frame = cluster.write(ident, b"here", group)
            equal(frame.backend, backend, "the backend")
            for other, node in enumerate(cluster.nodes):
                equal(cluster.read(ident, group, node=node)[2], b"here", "what another node hands on")
                frame = node.one(LOOKUP, ident, group, NEED_ACK | DIRECT)
                equal(frame.status, 0 if other == owner else ENOTSUP, "a direct lookup")
                frame = node.one(LOOKUP, ident, group, NEED_ACK | DIRECT | DIRECT_BACKEND, backend=backend)
                if other == owner:
                    equal((frame.status, frame.backend), (0, backend), "a lookup at a backend")
            frame = cluster.nodes[0].one(LOOKUP, ident, 999)
            equal(frame.status, ENOTSUP, "a group that nobody has")
    equal(len(seen), len({(n, b) for n, node in enumerate(cluster.nodes) for _, _, b in node.backends}), "backends")
    for number in range(40):
        for group in cluster.groups:
            equal(cluster.remove(key(f"routing/{number}"), group), 0, "a deletion")
    equal(cluster.control("holds"), [], "what is left")
    print("routing: all holds")


def records(cluster):
    ident, content = key("images/a/json"), bytes(range(256)) * 4
    equal(cluster.read(ident)[0], ENOENT, "a read of nothing")
    equal(cluster.lookup(ident), ENOENT, "a lookup of nothing")
    equal(cluster.remove(ident), ENOENT, "a deletion of nothing")
    equal(cluster.write(ident, b"").status, ENOENT, "a write of no bytes")
    written = info(cluster.write(ident, content, ts=(1000, 5), user=42))
    flags, more = cluster.record_flags, cluster.header_size
    equal(written, (bytes(64), flags, 1024 + more, (1000, 5)), "what a write says")
    equal(cluster.lookup(ident), (bytes(64), flags, 1024, (1000, 5)), "what a lookup says")
    digest = hashlib.sha512(content).digest()
    equal(cluster.lookup(ident, flags=CHECKSUM)[0], digest, "the checksum of a lookup")
    equal(info(cluster.write(ident, content, cflags=NEED_ACK | CHECKSUM, ts=(1000, 5), user=42))[0], digest, "of a write")
    status, attribute, data = cluster.read(ident, flags=IO_CHECKSUM)
    equal((status, data), (0, content), "what is read")
    equal(attribute[0], digest, "the checksum of a read")
    equal(attribute[4:9], (1000, 5, 42, 1024, flags), "times, flags and total size")
    equal(cluster.read(ident, offset=1000, size=10)[2], content[1000:1010], "a range")
    status, attribute, data = cluster.read(ident, offset=1020, size=100, flags=IO_CHECKSUM)
    equal((data, attribute[12], attribute[7]), (content[1020:], 4, 1024), "a range beyond the end")
    equal(attribute[0], hashlib.sha512(content[1020:]).digest(), "the checksum of a range")
    equal(cluster.read(ident, offset=1024)[0], E2BIG, "a range behind the end")

    info(cluster.write(ident, b"short"))
    equal(cluster.read(ident)[2], b"short", "a shorter write")
    equal(info(cluster.write(ident, b"er and more", flags=APPEND))[2], 11 + more, "the size that an append says")
    equal(cluster.read(ident)[2], b"shorter and more", "what was appended")
    info(cluster.write(ident, b"X", offset=2))
    equal(cluster.read(ident)[2], b"shX", "a write in the middle")
    frame = cluster.write(ident, b"quiet", flags=NO_INFO)
    equal((frame.status, frame.size), (0, 0), "a write without information")

    equal(cluster.write(ident, b"no", flags=CAS, parent=digest).status, EBADFD, "a wrong comparison")
    now = hashlib.sha512(b"quiet").digest()
    equal(cluster.write(ident, b"swapped", flags=CAS, parent=now, ts=(50, 0)).status, 0, "a right comparison")
    older = cluster.write(ident, b"no", flags=CAS_TIMESTAMP, ts=(49, 999999999)).status
    equal(older, EBADFD if cluster.compares_times else 0, "an older write")
    equal(cluster.write(ident, b"equal", flags=CAS_TIMESTAMP, ts=(50, 0)).status, 0, "a write as old")
    equal(cluster.write(ident, b"newer", flags=CAS_TIMESTAMP, ts=(50, 1)).status, 0, "a newer write")
    equal(cluster.read(ident)[2], b"newer", "what was compared and written")
    equal(cluster.remove(ident), 0, "a deletion")
    equal(cluster.write(ident, b"first", flags=CAS, parent=digest).status, 0, "a comparison with nothing")
    equal(cluster.remove(ident), 0, "a deletion")

    equal(cluster.write(ident, b"ab", flags=PLAIN).status, ENOENT, "a plain write of nothing")
    equal(info(cluster.write(ident, b"ab", flags=PREPARE | PLAIN, num=6))[2], 0, "what is prepared")
    equal(cluster.read(ident)[0], ENOENT, "a read of what is prepared")
    equal(cluster.lookup(ident), ENOENT, "a lookup of what is prepared")
    equal(cluster.write(ident, b"cdefg", flags=PLAIN, offset=2).status, E2BIG, "more than is prepared")
    equal(cluster.write(ident, b"cd", flags=PLAIN, offset=2).status, 0, "a plain write")
    equal(cluster.write(ident, b"ef", flags=PLAIN | COMMIT, offset=4, num=1000).status, ERANGE, "a commit of more")
    equal(info(cluster.write(ident, b"ef", flags=PLAIN | COMMIT, offset=4, num=6))[2], 6 + more, "a commit")
    equal(cluster.read(ident)[2], b"abcdef", "what was committed")
    equal(cluster.write(ident, b"zz", flags=PLAIN).status, EPERM, "a plain write of what is committed")
    equal(cluster.remove(ident), 0, "a deletion")

    others = [key(f"bulk/{number}") for number in range(30)]
    node, backend = cluster.owner(1, ident)
    others = [one for one in others if cluster.owner(1, one) == (node, backend)]
    check(len(others) > 2, "too few records at one backend")
    for one in others[1:]:
        info(cluster.write(one, one[:9]))
    body = io(ident, size=IO.size * len(others)) + b"".join(io(one) for one in others)
    frames = cluster.nodes[node].ask(BULK_READ, ident, 1, NEED_ACK, body)
    equal([frame.status for frame in frames], [ENOENT] + [0] * len(others), "statuses of a bulk read")
    equal([frame.body[IO.size :] for frame in frames[1:-1]], [one[:9] for one in others[1:]], "a bulk read")
    equal([frame.id for frame in frames[1:-1]], others[1:], "the ids of a bulk read")
    equal(frames[-1].command, BULK_READ, "the end of a bulk read")
    for one in others[1:]:
        equal(cluster.remove(one), 0, "a deletion")
    print("records: all holds")


def large(cluster, mebibytes):
    ident, piece = key("large"), hashlib.sha512(b"large").digest() * (1 << 14)
    node, size = cluster.at(1, ident), mebibytes << 20
    frame = CMD.pack(ident, 1, 0, 0, WRITE, 0, 0, NEED_ACK, 1 << 40, IO.size + size)
    node.socket.sendall(frame + io(ident, size=size))
    for _ in range(mebibytes):
        node.socket.sendall(piece)
    equal(info(node.receive())[2], size + cluster.header_size, "the size of a large write")
    node.send(READ, ident, 1, NEED_ACK, io(ident, IO_CHECKSUM))
    head = Frame(node.exactly(CMD.size), b"")
    equal((head.status, head.size), (0, IO.size + size), "a large read")
    attribute = IO.unpack(node.exactly(IO.size))
    digest = hashlib.sha512()
    for _ in range(mebibytes):
        data = node.exactly(1 << 20)
        check(data == piece, "large content differs")
        digest.update(data)
    equal(attribute[0], digest.digest(), "the checksum of a large read")
    info(cluster.write(ident, piece, flags=APPEND))
    equal(cluster.lookup(ident)[2], size + (1 << 20), "the size after an append")
    equal(cluster.read(ident, offset=size - 3, size=6)[2], piece[-3:] + piece[:3], "the seam of an append")
    equal(cluster.remove(ident), 0, "a deletion")
    print(f"{mebibytes} MiB: all holds")


def raw(data):
    return (bytes([0xA0 | len(data)]) if len(data) < 32 else b"\xda" + struct.pack(">H", len(data))) + data


def index_request(ident, group, flags, entries, shard=0, shards=0):
    body = struct.pack("<64sIQIII40xQ", ident, group, 0, flags, shard, shards, len(entries))
    for index, action, data in entries:
        body += struct.pack("<64sQIII32xQ", index, action, 0, shard, shards, len(data)) + data
    return body


def indexes(cluster):
    shards = cluster.nodes[0].shards
    tag, folder = key("docker"), key("images/a")
    names = ["images/a/json", "images/a/layer"]

    def shard_id(index, shard):
        digest = hashlib.sha512(index + b"\0index_table\0").digest()
        return struct.pack(">I", (shard << 32) // shards) + bytes(28) + digest[32:]

    if cluster.ready["indexes"] != "true":
        ident = key("object")
        body = index_request(ident, 1, 4, [(tag, 0, b"")])
        equal(cluster.at(1, ident).one(INDEXES_UPDATE, ident, 1, NEED_ACK, body).status, ENOTSUP, "an update")
        print("no indexes: all holds")
        return
    by_shard = {}
    for name in names:
        ident = key(name)
        table = hashlib.sha512(ident + b"\0object_table\0").digest()
        shard = int.from_bytes(table, "big") % shards
        by_shard.setdefault(shard, []).append((ident, name.encode()))
        for group in cluster.groups:
            if name.endswith("json"):
                # The client itself changes the indexes.
                body = index_request(ident, group, 4, [(tag, 0, name.encode()), (folder, 0, name.encode())])
                frames = cluster.at(group, table).ask(INDEXES_UPDATE, table, group, NEED_ACK, body)
                equal([(f.status, len(f.body)) for f in frames], [(0, 48), (0, 0)], "an update")
                equal([f.flags for f in frames], [cluster.reply_flags, REPLY], "the flags of an update")
                for index in (tag, folder):
                    one = shard_id(index, shard)
                    body = index_request(ident, group, 0, [(one, 1, name.encode())], shard, shards)
                    frames = cluster.at(group, one).ask(INDEXES_INTERNAL, one, group, NEED_ACK, body)
                    equal([(f.status, len(f.body)) for f in frames], [(0, 132), (0, 0)], "an insertion")
            else:
                # The server does.
                body = index_request(ident, group, 0, [(tag, 0, name.encode()), (folder, 0, name.encode())])
                frames = cluster.at(group, table).ask(INDEXES_UPDATE, table, group, NEED_ACK, body)
                equal((frames[0].status, frames[-1].status), (0, 0), "a replacement")
            # The list of the object is a record of msgpack behind a magic number.
            status, _, data = cluster.read(table, group)
            equal((status, data[:8]), (0, struct.pack("<Q", 0x5DA38CFBE7734027)), "the magic of a table")
            equal(data[8:11], b"\x94\x02\x92", "the beginning of a table")

    def found(flags, wanted):
        """What is found in each shard, as msgpack; None where a shard is missing."""
        result = {}
        for shard in range(shards):
            ids = [shard_id(index, shard) for index in wanted]
            owners = {cluster.owner(1, one) for one in ids}
            equal(len(owners), 1, "shards of one number are at one backend")
            body = index_request(ids[0], 1, flags, [(one, 0, b"") for one in ids])
            frame = cluster.at(1, ids[0]).one(INDEXES_FIND, ids[0], 1, NEED_ACK, body)
            check(frame.status in (0, ENOENT), f"a search ends with {frame.status}")
            result[shard] = frame.body if frame.status == 0 else None
        return result

    both = found(1, [tag, folder])
    for shard in range(shards):
        objects = sorted(by_shard.get(shard, []))
        if not objects:
            equal(both[shard], None, "an empty shard")
            continue
        expected = bytes([0x90 | len(objects)])
        for ident, name in objects:
            expected += b"\x93\x01" + raw(ident) + b"\x92"
            expected += b"".join(b"\x92" + raw(shard_id(index, shard)) + raw(name) for index in (tag, folder))
        equal(both[shard], expected, "what has both indexes")
    united = found(2, [tag, key("no such index")])
    equal(sum(body is not None for body in united.values()), len(by_shard), "what has one of two indexes")

    for name in names:
        ident = key(name)
        table = hashlib.sha512(ident + b"\0object_table\0").digest()
        for group in cluster.groups:
            body = index_request(ident, group, 0, [])
            frames = cluster.at(group, table).ask(INDEXES_UPDATE, table, group, NEED_ACK, body)
            equal(frames[-1].status, 0, "a removal")
    for shard, body in found(1, [tag, folder]).items():
        equal(body, b"\x90" if shard in by_shard else None, "what is left of the indexes")
    print("indexes: all holds")


def trouble(cluster):
    ident, other = key("trouble"), key("other")
    check(cluster.owner(1, ident) and cluster.lookup(ident) == ENOENT, "a record is left")
    info(cluster.write(ident, b"content"))
    node = cluster.at(1, ident)
    number = cluster.owner(1, ident)[0] + 1
    where = f"node={number}&group=1"

    cluster.control(f"fault?{where}&command=WRITE&status=-28&every=2&times=1")
    equal(cluster.write(ident, b"one").status, 0, "the first write")
    equal(cluster.write(ident, b"two").status, ENOSPC, "the second write")
    equal(cluster.write(ident, b"three").status, 0, "the third write")
    cluster.control(f"fault?{where}&command=WRITE&status=-5&effect=done-and-refuse&times=1")
    equal(cluster.write(ident, b"done").status, EIO, "a write that is refused when it is done")
    equal(cluster.read(ident)[2], b"done", "what it wrote")

    cluster.control(f"fault?{where}&command=READ&delay=700&times=1")
    late = node.send(READ, ident, 1, NEED_ACK, io(ident))
    soon = node.send(LOOKUP, other, 1, NEED_ACK | DIRECT | NOLOCK)
    equal([node.receive().trans for _ in range(2)], [soon, late], "the order of a late answer")
    cluster.control(f"fault?{where}&command=READ&delay=300&times=1")
    order = [node.send(command, ident, 1, NEED_ACK, body) for command, body in ((READ, io(ident)), (LOOKUP, b""))]
    equal([node.receive().trans for _ in range(2)], order, "the order of commands for one id")

    cluster.control(f"fault?{where}&command=READ&effect=silent&times=1")
    node.send(READ, ident, 1, NEED_ACK, io(ident))
    soon = node.send(LOOKUP, ident, 1, NEED_ACK)
    equal(node.receive().trans, soon, "silence")

    cluster.control(f"fault?{where}&command=READ&effect=wrong-checksum&times=1")
    wrong = cluster.read(ident, flags=IO_CHECKSUM)
    right = hashlib.sha512(b"done").digest()
    check(wrong[2] == b"done" and wrong[1][0] != right, "a checksum is right")
    cluster.control(f"damage?node={number}&id={ident.hex()}")
    equal(cluster.read(ident)[0], EILSEQ, "a read of spoiled content")
    check(cluster.read(ident, flags=NOCSUM)[2] != b"done", "spoiled content is right")
    equal(cluster.lookup(ident, flags=CHECKSUM), EILSEQ, "a checked lookup of spoiled content")

    for effect in ("cut", "close"):
        cluster.control(f"fault?{where}&command=READ&effect={effect}&times=1")
        try:
            cluster.read(ident, flags=NOCSUM)
            check(False, f"{effect} lets an answer through")
        except (EOFError, ConnectionError):
            cluster.reconnect(number - 1)
    backend = cluster.owner(1, ident)[1]
    cluster.control(f"backend?node={number}&backend={backend}&state=read-only")
    equal(cluster.write(ident, b"x").status, EROFS, "a write to a backend that is read only")
    equal(cluster.remove(ident), EROFS, "a deletion at a backend that is read only")
    cluster.control(f"backend?node={number}&backend={backend}&state=writable")
    equal(cluster.remove(ident), 0, "a deletion")

    node = cluster.nodes[0]
    equal(node.one(99, cluster.ring(1)[0][0], 1).status, ENOTSUP, "an unknown command")
    equal(node.one(WRITE, ident, 1, NEED_ACK, b"short").status, EINVAL, "a write that is too short")
    equal(node.one(WRITE, ident, 1, NEED_ACK, io(ident, size=4) + b"abc").status, EINVAL, "a write that lacks a byte")
    check(len(cluster.control("problems")) > 2, "no problem is noted")
    counts = {tuple(line.split()[:2]): line.split()[2:] for line in cluster.control("counts")}
    check(int(counts[("1", "ROUTE_LIST")][0]) == 1, "commands are not counted")
    frames = cluster.control("frames")
    check(any(line.split()[1].startswith(ident.hex()) for line in frames), "frames are not recorded")
    print("trouble: all holds")


def coming_and_going(cluster):
    ident = key("coming and going")
    first = cluster.owner(1, ident)[0]
    info(cluster.write(ident, b"old", ts=(1, 0)))
    cluster.control(f"stop?node={first + 1}")
    try:
        cluster.nodes[first].receive()
        check(False, "a node that is stopped answers")
    except (EOFError, ConnectionError):
        pass
    try:
        socket.create_connection(cluster.addresses[first], timeout=60)
        check(False, "a node that is stopped accepts")
    except ConnectionError:
        pass
    second, _ = cluster.owner(1, ident, without=(first,))
    node = cluster.nodes[second]
    frame = node.one(ROUTE_LIST, bytes(64), 0, NEED_ACK | DIRECT | NOLOCK)
    equal(struct.unpack_from("<ii", frame.body), (1, len(cluster.addresses) - 1), "the route list without a node")
    equal(node.one(LOOKUP, ident, 1).status, ENOENT, "a lookup where the record never was")
    info(node.one(WRITE, ident, 1, NEED_ACK, io(ident, size=3, ts=(2, 0)) + b"new"))
    cluster.control(f"start?node={first + 1}&data=kept")
    cluster.reconnect(first)
    status, attribute, data = cluster.read(ident)
    equal((status, attribute[4], data), (0, 1, b"old"), "what a node has that was away")
    held = [line.split() for line in cluster.control("holds")]
    equal(sorted(line[4] + line[5] for line in held if line[3] == ident.hex()), ["31", "32"], "what both nodes hold")
    cluster.control(f"stop?node={first + 1}")
    cluster.control(f"start?node={first + 1}&data=empty")
    cluster.reconnect(first)
    equal(cluster.read(ident)[0], ENOENT, "what a node has that came back empty")
    cluster.control(f"forget?node={second + 1}&id={ident.hex()}")
    print("coming and going: all holds")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        ready = dict(line.rstrip("\n").split("=", 1) for line in file)
    begin = time.monotonic()
    cluster = Cluster(ready)
    handshake(cluster)
    routing(cluster)
    records(cluster)
    large(cluster, int(sys.argv[2]) if len(sys.argv) > 2 else 24)
    # The wrong cookie and the wrong version; all else is as a right client sends it.
    equal(len(cluster.control("problems")), 2, "the problems of a right client")
    indexes(cluster)
    trouble(cluster)
    coming_and_going(cluster)
    print(f"{time.monotonic() - begin:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
