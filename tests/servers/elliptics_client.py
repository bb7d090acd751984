"""A client for Elliptics that is made of the published packet format alone: the struct module and
include/elliptics/packet.h. What does not fit ends the program with a sentence. Used by elliptics_proof.py.
"""

import hashlib
import socket
import struct
import urllib.request

CMD = struct.Struct("<64sIQiiiQQQQ")  # dnet_cmd, packed
IO = struct.Struct("<64s64sQQQQQQQIIQQ")  # dnet_io_attr
ADDR = struct.Struct("<28sHH")  # dnet_addr
INFO = struct.Struct("@i64sQQQQQ")  # dnet_file_info, which is not packed
assert (CMD.size, IO.size, ADDR.size, INFO.size) == (120, 208, 32, 112)

LOOKUP, REVERSE_LOOKUP, WRITE, READ, ROUTE_LIST, DEL, AUTH, BULK_READ = 1, 2, 4, 5, 8, 11, 16, 17
INDEXES_UPDATE, INDEXES_INTERNAL, INDEXES_FIND = 20, 21, 22
NEED_ACK, MORE, DIRECT, NOLOCK, CHECKSUM, DIRECT_BACKEND, REPLY = 1, 2, 8, 16, 32, 128, 512
APPEND, PREPARE, COMMIT, NOCSUM, PLAIN = 1 << 1, 1 << 4, 1 << 5, 1 << 8, 1 << 9
CAS, IO_CHECKSUM, NO_INFO, CAS_TIMESTAMP = 1 << 13, 1 << 14, 1 << 14, 1 << 15
EPERM, ENOENT, EIO, E2BIG, EINVAL, ENOSPC, EROFS = -1, -2, -5, -7, -22, -28, -30
ERANGE, EBADFD, EILSEQ, ENOTSUP = -34, -77, -84, -95


def check(condition, what):
    if not condition:
        raise SystemExit(f"elliptics: {what}")


def equal(found, expected, what):
    check(found == expected, f"{what}: found {found!r}, expected {expected!r}")


def key(text):
    """The id of a key in namespace DOCKER."""
    return hashlib.sha512(b"DOCKER\0" + text.encode()).digest()


class Frame:
    def __init__(self, head, body):
        fields = CMD.unpack(head)
        self.id, self.group, _, self.status, self.command, self.backend = fields[:6]
        self.trace, self.flags, self.trans, self.size = fields[6:]
        self.body = body


class Node:
    """A connection to one node."""

    def __init__(self, address, version):
        self.address = address
        self.trans = 0
        self.socket = socket.create_connection(address, timeout=60)
        self.send(REVERSE_LOOKUP, bytes(64), 0, DIRECT | NOLOCK, head=struct.pack("<4i", *version))
        answer = self.receive()
        equal((answer.command, answer.status), (REVERSE_LOOKUP, 0), "the handshake")
        check(answer.flags & REPLY and answer.trans == self.trans, "the handshake is no reply")
        self.version = struct.unpack_from("<4i", answer.id)
        self.shards = struct.unpack_from("<i", answer.id, 20)[0]
        self.backends = []
        per_node, count = struct.unpack_from("<ii", answer.body)
        equal((per_node, count), (1, 1), "the addresses of a node")
        equal(self.parse_address(answer.body[8:40]), address, "the own address")
        offset = 44
        for _ in range(struct.unpack_from("<i", answer.body, 40)[0]):
            number, group, flags, ids = struct.unpack_from("<iiII", answer.body, offset)
            equal(flags, 0, "the flags of a backend")
            offset += 16
            for _ in range(ids):
                self.backends.append((group, answer.body[offset : offset + 64], number))
                offset += 64
        equal(offset, len(answer.body), "the length of the handshake")

    @staticmethod
    def parse_address(raw):
        sockaddr, length, family = ADDR.unpack(raw)
        equal((length, family), (16, 2), "an address")
        native, port, ip = struct.unpack_from("<H", sockaddr)[0], struct.unpack_from(">H", sockaddr, 2)[0], sockaddr[4:8]
        equal((native, sockaddr[8:]), (2, bytes(20)), "a sockaddr_in")
        return socket.inet_ntoa(ip), port

    def send(self, command, ident, group, flags, body=b"", head=b"", backend=0):
        self.trans += 1
        ident = head + ident[len(head) :]
        frame = CMD.pack(ident, group, 0, 0, command, backend, 77, flags, self.trans, len(body))
        self.socket.sendall(frame + body)
        return self.trans

    def exactly(self, size):
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(min(size - len(data), 1 << 20))
            if not piece:
                raise EOFError(f"{len(data)} of {size} bytes")
            data += piece
        return bytes(data)

    def receive(self):
        head = self.exactly(CMD.size)
        return Frame(head, self.exactly(CMD.unpack(head)[9]))

    def ask(self, command, ident, group, flags=NEED_ACK, body=b"", backend=0):
        """All frames that answer one request."""
        trans = self.send(command, ident, group, flags, body, backend=backend)
        frames = []
        while True:
            frame = self.receive()
            equal(frame.trans, trans, "the transaction")
            check(frame.flags & REPLY, "an answer is no reply")
            frames.append(frame)
            if not frame.flags & MORE:
                return frames

    def one(self, *arguments, **named):
        frames = self.ask(*arguments, **named)
        equal(len(frames), 1, "the frames of an answer")
        return frames[0]

    def close(self):
        self.socket.close()


def io(ident, flags=0, offset=0, size=0, num=0, ts=(0, 0), user=0, parent=bytes(64)):
    return IO.pack(parent, ident, 0, num, *ts, user, 0, 0, 0, flags, offset, size)


class Cluster:
    def __init__(self, ready):
        self.ready = ready
        self.version = tuple(int(number) for number in ready["version"].split("."))
        self.addresses = []
        for node in ready["nodes"].split():
            host, port, family = node.split(":")
            equal(family, "2", "the family")
            self.addresses.append((host, int(port)))
        self.nodes = [Node(address, self.version) for address in self.addresses]
        self.groups = [int(group) for group in ready["groups"].split(",")]
        # What younger servers say and older ones do not.
        self.record_flags = 0x140 if self.version >= (2, 26, 6, 0) else 0
        self.header_size = 0 if self.version >= (2, 26, 10, 2) else 48
        self.compares_times = self.version >= (2, 26, 9, 0)
        self.reply_flags = MORE | REPLY | (0 if self.version >= (2, 26, 8, 0) else NEED_ACK)

    def control(self, what):
        with urllib.request.urlopen(f"{self.ready['control']}/{what}", timeout=60) as answer:
            return answer.read().decode().splitlines()

    def ring(self, group, without=()):
        entries = []
        for number, node in enumerate(self.nodes):
            if number not in without:
                entries += [(ident, number, backend) for one, ident, backend in node.backends if one == group]
        return sorted(entries)

    def owner(self, group, ident, without=()):
        """Position of the node, and number of the backend."""
        ring = self.ring(group, without)
        before = [entry for entry in ring if entry[0] <= ident]
        return (before or ring)[-1][1:]

    def at(self, group, ident):
        return self.nodes[self.owner(group, ident)[0]]

    def reconnect(self, number):
        self.nodes[number].close()
        self.nodes[number] = Node(self.addresses[number], self.version)

    def write(self, ident, data, group=1, flags=0, cflags=NEED_ACK, **named):
        body = io(ident, flags, size=len(data), **named) + data
        return self.at(group, ident).one(WRITE, ident, group, cflags, body)

    def read(self, ident, group=1, flags=0, offset=0, size=0, node=None):
        node = node or self.at(group, ident)
        frame = node.one(READ, ident, group, NEED_ACK, io(ident, flags, offset, size))
        if frame.status:
            equal(frame.size, 0, "the size of an error")
            return frame.status, None, b""
        return 0, IO.unpack_from(frame.body), frame.body[IO.size :]

    def lookup(self, ident, group=1, flags=0):
        frame = self.at(group, ident).one(LOOKUP, ident, group, NEED_ACK | flags)
        return frame.status or info(frame)

    def remove(self, ident, group=1):
        return self.at(group, ident).one(DEL, ident, group, NEED_ACK, io(ident)).status


def info(frame):
    """Checksum, record flags, size and timestamp of a record."""
    equal(frame.status, 0, "the status")
    Node.parse_address(frame.body[: ADDR.size])
    flen, checksum, record_flags, size, _, seconds, nanoseconds = INFO.unpack_from(frame.body, ADDR.size)
    path = frame.body[ADDR.size + INFO.size :]
    check(len(path) == flen and path.endswith(b"\0"), f"the path {path!r}")
    return checksum, record_flags, size, (seconds, nanoseconds)
