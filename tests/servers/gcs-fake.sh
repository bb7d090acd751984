#!/usr/bin/env bash
# The stand-in for Google Cloud Storage of these tests (tests/fakes/gcs) on loopback.
#
# usage: gcs-fake.sh WORKFOLDER [OPTION OF THE STAND-IN]...
#
# WORKFOLDER/ready appears when it answers. FAKE_GCS names the program, which cargo has built. A new key of a service
# account is made for each start. With the word `proof` as the only option, Google's own client and boto3 (from PyPI, in
# the cache of the tests) prove the stand-in instead, and the script ends with their verdict.
set -euo pipefail

work=$(realpath "${1:?usage: gcs-fake.sh WORKFOLDER [OPTION]...}")
shift
cache=${DOCKER_REGISTRY_TEST_CACHE:-$HOME/.cache/docker-registry-tests}
here=$(dirname "$(realpath "$0")")
program=${FAKE_GCS:?FAKE_GCS must name the program docker-registry-fake-gcs}
mkdir -p "$cache" "$work"

openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/key.pem" 2>/dev/null

if [ "${1:-}" != proof ]; then
    exec "$program" --folder "$work" --private-key "$work/key.pem" "$@"
fi

clients=$cache/gcs-clients-3.17.1
exec 9>"$cache/gcs-clients.lock"
flock 9
if [ ! -e "$clients/complete" ]; then
    rm -rf "$clients"
    python3 -m venv "$clients" >&2
    "$clients/bin/pip" install --quiet google-cloud-storage==3.17.1 boto3==1.44.8 >&2
    touch "$clients/complete"
fi
exec 9>&-

"$program" --folder "$work" --private-key "$work/key.pem" &
child=$!
trap 'kill -KILL "$child" 2>/dev/null || true' EXIT
waited=0
until [ -e "$work/ready" ]; do
    kill -0 "$child" 2>/dev/null || { echo "gcs-fake.sh: the stand-in ended" >&2; exit 1; }
    waited=$((waited + 1))
    [ "$waited" -lt 600 ] || { echo "gcs-fake.sh: waited in vain" >&2; exit 1; }
    sleep 0.1
done
env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY "$clients/bin/python" "$here/gcs_fake_proof.py" "$work/ready"
