#!/usr/bin/env bash
# Proves the server of oss.sh with Aliyun's own Python SDK, see oss_proof.py.
#
# usage: oss_proof.sh READY_FILE
#
# The SDK is installed once, at a pinned version, into the cache of the tests.
set -euo pipefail

version=2.19.1
here=$(dirname "${BASH_SOURCE[0]}")
cache=${DOCKER_REGISTRY_TEST_CACHE:-$HOME/.cache/docker-registry-tests}
python=$cache/oss2-$version/bin/python
mkdir -p "$cache"
exec 9>"$cache/oss2.lock"
flock 9
if ! "$python" -c 'import oss2' 2>/dev/null; then
    python3 -m venv --clear "$cache/oss2-$version" >&2
    "$python" -m pip install --quiet "oss2==$version" >&2
fi
exec 9>&-
exec env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY -u all_proxy -u ALL_PROXY \
    "$python" "$here/oss_proof.py" "${1:?usage: oss_proof.sh READY_FILE}"
