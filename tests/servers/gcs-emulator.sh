#!/usr/bin/env bash
# fake-gcs-server on loopback, an emulator of the JSON API that others wrote, with two buckets, from a Go module.
#
# usage: gcs-emulator.sh WORKFOLDER
#
# It holds everything in memory, checks no credentials and knows nothing of the XML API but signed addresses: for those
# there is gcs.sh.
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

version=v1.56.1
program=$cache/fake-gcs-server-$version/fake-gcs-server
once "$program" go_install github.com/fsouza/fake-gcs-server "$version" "${program%/*}"

read -r port < <(free_ports 1)
url=http://127.0.0.1:$port
start fake-gcs-server "$program" -scheme http -host 127.0.0.1 -port "$port" -port-http "$port" \
    -public-host "127.0.0.1:$port" -external-url "$url" -backend memory -log-level error
made() {
    curl --noproxy '*' -sf -o "$work/answer" -X POST -H 'content-type: application/json' \
        --data "{\"name\": \"$1\"}" "$url/storage/v1/b?project=test"
}
wait_for "the buckets" eval 'made registry && made another-bucket'
ready "endpoint=$url" host=127.0.0.1 "port=$port" bucket=registry
serve
