#!/usr/bin/env bash
# Proves the stand-in of gcs.sh with clients that others wrote: Google's own for the JSON API, boto3 for the XML API.
#
# usage: gcs_proof.sh READY_FILE
#
# The clients come from PyPI, once, into the cache of the tests.
set -euo pipefail

ready=$(realpath "${1:?usage: gcs_proof.sh READY_FILE}")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
cache=${DOCKER_REGISTRY_TEST_CACHE:-$HOME/.cache/docker-registry-tests}
clients=$cache/gcs-clients-3.17.1
mkdir -p "$cache"

exec 9>"$cache/gcs-clients.lock"
flock 9
if [ ! -e "$clients/complete" ]; then
    rm -rf "$clients"
    python3 -m venv "$clients" >&2
    "$clients/bin/pip" install --quiet google-cloud-storage==3.17.1 boto3==1.44.8 >&2
    touch "$clients/complete"
fi
exec 9>&-
exec env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY "$clients/bin/python" "$here/gcs_proof.py" "$ready"
