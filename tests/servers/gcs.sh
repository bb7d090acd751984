#!/usr/bin/env bash
# A stand-in for Google Cloud Storage on loopback: the package docker-registry-fake-gcs of this tree.
#
# usage: gcs.sh WORKFOLDER
#
# WORKFOLDER/ready appears when it answers: lines of KEY=VALUE for the tests. Everything lies in WORKFOLDER, a new key
# of a service account included, and ends with the process group. The program is taken from
# DOCKER_REGISTRY_TEST_ARTIFACTS, the folder that cargo built into, or from target/debug; it is built when it is not
# there.
set -euo pipefail

work=$(realpath "${1:?usage: gcs.sh WORKFOLDER}")
tree=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
artifacts=${DOCKER_REGISTRY_TEST_ARTIFACTS:-${CARGO_TARGET_DIR:-$tree/target}/debug}
program=$artifacts/docker-registry-fake-gcs

if [ ! -x "$program" ]; then
    echo "gcs.sh: building $program" >&2
    (cd "$tree" && cargo build --quiet --workspace --bins) >&2
fi
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/key.pem" 2>"$work/openssl.log"
exec "$program" --folder "$work" --private-key "$work/key.pem"
