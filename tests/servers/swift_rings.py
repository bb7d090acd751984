"""Writes the rings of a Swift with one device and one replica.

Usage: swift_rings.py FOLDER DEVICES account=PORT container=PORT object=PORT

FOLDER gets one ring for each kind of server, DEVICES is where the device `d1` lies. Fails with a sentence when that
file system has no extended attributes, because Swift keeps what it knows of an object in them.
"""

import os
import sys
import tempfile

from swift.common.ring import RingBuilder

# 2^8 partitions; moved no sooner than after 0 hours.
PART_POWER, REPLICAS, HOURS = 8, 1, 0


def can_keep_attributes(folder):
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        try:
            os.setxattr(file.fileno(), "user.swift.metadata", b"x" * 512)
        except OSError as error:
            return f"the file system of {folder} has no extended attributes ({error.strerror}): choose another TMPDIR"
    return None


folder, devices, *servers = sys.argv[1:]
os.makedirs(os.path.join(devices, "d1"), exist_ok=True)
problem = can_keep_attributes(devices)
if problem:
    sys.exit(problem)
for server in servers:
    kind, port = server.split("=")
    builder = RingBuilder(PART_POWER, REPLICAS, HOURS)
    builder.add_dev(
        {"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1.0}
    )
    builder.rebalance()
    builder.get_ring().save(os.path.join(folder, f"{kind}.ring.gz"))
