#!/usr/bin/env bash
# A stand-in for Aliyun OSS on loopback: the package docker-registry-fake-oss of this tree.
#
# usage: oss.sh WORKFOLDER
#
# WORKFOLDER/ready appears when it answers: lines of KEY=VALUE for the tests. Everything lies in WORKFOLDER and
# ends with the process group. The program is taken from DOCKER_REGISTRY_TEST_ARTIFACTS, the folder that cargo
# built into, or from target/debug; it is built when it is not there.
set -euo pipefail

work=$(realpath "${1:?usage: oss.sh WORKFOLDER}")
tree=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
artifacts=${DOCKER_REGISTRY_TEST_ARTIFACTS:-${CARGO_TARGET_DIR:-$tree/target}/debug}
program=$artifacts/docker-registry-fake-oss

if [ ! -x "$program" ]; then
    echo "oss.sh: building $program" >&2
    (cd "$tree" && cargo build --quiet --workspace --bins) >&2
fi
exec "$program" "$work"
