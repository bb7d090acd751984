#!/usr/bin/env bash
# A Ceph cluster of one monitor, one OSD and one RADOS gateway, all on loopback, with one bucket.
#
# usage: ceph.sh WORKFOLDER
#
# WORKFOLDER/ready appears when the gateway answers: lines of KEY=VALUE for the tests. Everything lies in
# WORKFOLDER and ends with the process group. The programs are Debian's radosgw, ceph-mon, ceph-osd and
# ceph-common; a manager is not needed.
set -euo pipefail

work=$(realpath "${1:?usage: ceph.sh WORKFOLDER}")
mkdir -p "$work"/{mon,osd,rgw,run,log}

# All at once, so that no two of them are equal.
read -r msgr2 msgr1 gateway < <(python3 - <<'PYTHON'
import socket
sockets = [socket.socket() for _ in range(3)]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))
PYTHON
)

cluster=$(cat /proc/sys/kernel/random/uuid)
access_key=test-access-key
secret_key=test-secret-key-of-the-gateway
bucket=registry
# What a path below 108 bytes long needs: sockets of the daemons have a folder of their own.
sockets=$(mktemp -d /tmp/ceph-test-XXXXXX)

cat >"$work/ceph.conf" <<CONF
[global]
fsid = $cluster
mon host = [v2:127.0.0.1:$msgr2,v1:127.0.0.1:$msgr1]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv4 = true
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data avail warn = 2
mon max pg per osd = 1000
run dir = $work/run
admin socket = $sockets/\$name.asok
log file = $work/log/\$name.log
log to stderr = false
crash dir = $work/run
[mon.a]
mon data = $work/mon
[osd]
osd data = $work/osd
osd objectstore = bluestore
bluestore block size = 42949672960
osd memory target = 939524096
bluestore fsck on mount = false
[client.rgw]
# Without these two the gateway hangs when there is no authentication in the cluster.
ms mon client mode = crc
ms mon service mode = crc
rgw frontends = beast endpoint=127.0.0.1:$gateway
rgw data = $work/rgw
rgw enable usage log = false
rgw cache enabled = true
CONF
export CEPH_CONF="$work/ceph.conf" CEPH_ARGS="--conf $work/ceph.conf"

children=()
stop() {
    status=$?
    trap - EXIT INT TERM
    ((${#children[@]} == 0)) || kill -KILL "${children[@]}" 2>/dev/null || true
    rm -rf "$sockets"
    exit "$status"
}
trap stop EXIT INT TERM

fail() {
    echo "ceph.sh: $1" >&2
    tail -n 20 "$work"/log/*.log >&2 2>/dev/null || true
    exit 1
}

# Tries a command for two minutes; a daemon that ended in the meantime ends the wait.
wait_for() {
    what=$1
    shift
    for _ in $(seq 240); do
        if "$@" >/dev/null 2>&1; then return; fi
        for child in "${children[@]}"; do
            kill -0 "$child" 2>/dev/null || fail "a daemon ended while waiting for $what"
        done
        sleep 0.5
    done
    fail "waited in vain for $what"
}

start() {
    "$@" >>"$work/log/output.log" 2>&1 &
    children+=($!)
}

monmaptool --create --fsid "$cluster" \
    --addv a "[v2:127.0.0.1:$msgr2,v1:127.0.0.1:$msgr1]" "$work/monmap" >/dev/null
ceph-mon --mkfs -i a --monmap "$work/monmap" >/dev/null
start ceph-mon -i a -f
wait_for "the monitor" timeout 10 ceph status

osd=$(cat /proc/sys/kernel/random/uuid)
timeout 60 ceph osd new "$osd" >/dev/null 2>&1
ceph-osd -i 0 --mkfs --osd-uuid "$osd" >/dev/null 2>&1
start ceph-osd -i 0 -f
wait_for "the OSD" sh -c 'timeout 10 ceph osd stat --format json | grep -q "\"num_up_osds\":1"'

start radosgw -n client.rgw -f
url=http://127.0.0.1:$gateway
wait_for "the gateway" curl --noproxy '*' -sf -o "$work/answer" "$url/"

timeout 120 radosgw-admin -n client.rgw user create --uid=test --display-name=test \
    --access-key="$access_key" --secret-key="$secret_key" >/dev/null 2>&1 || fail "no user could be made"
# The curl of Debian 12 signs as S3 wants it only when it is given the digest of the (empty) body.
empty=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
wait_for "the bucket" curl --noproxy '*' -sf --aws-sigv4 aws:amz:us-east-1:s3 \
    -H "x-amz-content-sha256: $empty" --user "$access_key:$secret_key" -X PUT "$url/$bucket"

cat >"$work/ready.tmp" <<READY
endpoint=$url
host=127.0.0.1
port=$gateway
region=us-east-1
bucket=$bucket
access_key=$access_key
secret_key=$secret_key
READY
mv "$work/ready.tmp" "$work/ready"

# The first daemon that ends, ends everything.
wait -n "${children[@]}" || true
fail "a daemon ended"
