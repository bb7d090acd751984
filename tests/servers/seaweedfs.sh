#!/usr/bin/env bash
# SeaweedFS with its S3 gateway, all on loopback, with one bucket, from a Go module.
#
# usage: seaweedfs.sh WORKFOLDER
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

version=v0.0.0-20261109003541-7506e5f91cd6
program=$cache/seaweedfs-$version/weed
# `go install` refuses modules with a `replace`, so the module is built where it is kept.
build() {
    local go folder
    go=$(go_program)
    folder=$(cd "$cache" && "$go" mod download -json "github.com/seaweedfs/seaweedfs@$version" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
    mkdir -p "${program%/*}"
    (cd "$folder" && CGO_ENABLED=0 "$go" build -trimpath -ldflags '-s -w' -o "$program.tmp" ./weed)
    mv "$program.tmp" "$program"
}
once "$program" build

access_key=test-access-key
secret_key=test-secret-key-of-seaweedfs
mkdir -p "$work/data"
read -r master master_grpc volume volume_grpc filer filer_grpc s3 s3_grpc < <(free_ports 8)
cat >"$work/s3.json" <<JSON
{"identities": [{"name": "test", "actions": ["Admin", "Read", "List", "Tagging", "Write"],
  "credentials": [{"accessKey": "$access_key", "secretKey": "$secret_key"}]}]}
JSON

# Nothing is reported to anybody, and a bucket that is not there stays so. Encryption at rest needs a key.
WEED_S3_SSE_KEK=$(printf '%064d' 7)
export WEED_S3_SSE_KEK
start weed "$program" -logtostderr=true server -dir="$work/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.telemetry=false -master.port="$master" -master.port.grpc="$master_grpc" \
    -master.volumeSizeLimitMB=4096 -master.volumePreallocate=false \
    -volume.port="$volume" -volume.port.grpc="$volume_grpc" -volume.max=100 -volume.preStopSeconds=0 \
    -filer -filer.port="$filer" -filer.port.grpc="$filer_grpc" -filer.localSocket="$work/filer.sock" \
    -s3 -s3.port="$s3" -s3.port.grpc="$s3_grpc" -s3.config="$work/s3.json" -s3.localSocket="$work/s3.sock" \
    -s3.port.iceberg=0 -s3.port.lance=0 -s3.iam=false -s3.autoCreateBucket=false
url=http://127.0.0.1:$s3
wait_for "the bucket" asked_s3 PUT "$url/registry"
ready "endpoint=$url" host=127.0.0.1 "port=$s3" region=us-east-1 bucket=registry \
    "access_key=$access_key" "secret_key=$secret_key"
serve
