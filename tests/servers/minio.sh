#!/usr/bin/env bash
# MinIO on loopback, with two buckets, from a Go module.
#
# usage: minio.sh WORKFOLDER
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

version=v0.0.0-20260212201848-7aac2a2c5b7c
program=$cache/minio-$version/minio
once "$program" go_install github.com/minio/minio "$version" "${program%/*}"

access_key=test-access-key
secret_key=test-secret-key-of-minio
read -r port < <(free_ports 1)
url=http://127.0.0.1:$port
# Nothing is reported to anybody and no console is served. Go programs trip over AWS_CA_BUNDLE.
start minio env -u AWS_CA_BUNDLE MINIO_ROOT_USER="$access_key" MINIO_ROOT_PASSWORD="$secret_key" MINIO_BROWSER=off \
    MINIO_UPDATE=off MINIO_CALLHOME_ENABLE=off MINIO_REGION=us-east-1 \
    "$program" server --quiet --address "127.0.0.1:$port" "$work/data"
wait_for "the buckets" eval 'asked_s3 PUT "$url/registry" && asked_s3 PUT "$url/another-bucket"'
ready "endpoint=$url" host=127.0.0.1 "port=$port" region=us-east-1 bucket=registry \
    "access_key=$access_key" "secret_key=$secret_key"
serve
