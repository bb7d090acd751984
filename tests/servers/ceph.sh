#!/usr/bin/env bash
# A Ceph cluster of one monitor, one OSD and one RADOS gateway, all on loopback, with one bucket.
#
# usage: ceph.sh WORKFOLDER
#
# The programs are Debian's radosgw, ceph-mon, ceph-osd and ceph-common; a manager is not needed.
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

mkdir -p "$work"/{mon,osd,rgw,run}
read -r msgr2 msgr1 gateway < <(free_ports 3)

cluster=$(cat /proc/sys/kernel/random/uuid)
access_key=test-access-key
secret_key=test-secret-key-of-the-gateway
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

cleared_up() { rm -rf "$sockets"; }

monmaptool --create --fsid "$cluster" \
    --addv a "[v2:127.0.0.1:$msgr2,v1:127.0.0.1:$msgr1]" "$work/monmap" >/dev/null
ceph-mon --mkfs -i a --monmap "$work/monmap" >/dev/null
start output ceph-mon -i a -f
wait_for "the monitor" timeout 10 ceph status

osd=$(cat /proc/sys/kernel/random/uuid)
timeout 60 ceph osd new "$osd" >/dev/null 2>&1
ceph-osd -i 0 --mkfs --osd-uuid "$osd" >/dev/null 2>&1
start output ceph-osd -i 0 -f
wait_for "the OSD" sh -c 'timeout 10 ceph osd stat --format json | grep -q "\"num_up_osds\":1"'

start output radosgw -n client.rgw -f
url=http://127.0.0.1:$gateway
wait_for "the gateway" curl --noproxy '*' -sf -o "$work/answer" "$url/"

timeout 120 radosgw-admin -n client.rgw user create --uid=test --display-name=test \
    --access-key="$access_key" --secret-key="$secret_key" >/dev/null 2>&1 || fail "no user could be made"
wait_for "the bucket" asked_s3 PUT "$url/registry"
ready "endpoint=$url" host=127.0.0.1 "port=$gateway" region=us-east-1 bucket=registry \
    "access_key=$access_key" "secret_key=$secret_key"
serve
