#!/usr/bin/env bash
# Azurite, Microsoft's emulator of Azure Blob Storage, on loopback, with one account and two private containers.
#
# usage: azurite.sh WORKFOLDER
#
# WORKFOLDER/ready appears when it answers: lines of KEY=VALUE for the tests. With AZURITE_TLS=yes it speaks
# HTTPS with a certificate of its own and takes bearer tokens as well; it does not verify who signed them.
# Azurite comes from npm into the cache of the tests, once, at the version below.
set -euo pipefail

version=3.35.0
work=$(realpath "${1:?usage: azurite.sh WORKFOLDER}")
cache=${DOCKER_REGISTRY_TEST_CACHE:-$HOME/.cache/docker-registry-tests}
program=$cache/azurite-$version/node_modules/azurite/dist/src/blob/main.js

fail() {
    echo "azurite.sh: $1" >&2
    exit 1
}

install() {
    command -v npm >/dev/null || fail "npm is missing: apt-get install nodejs npm"
    mkdir -p "$cache"
    exec 9>"$cache/azurite.lock"
    flock 9
    if [[ ! -f $program ]]; then
        rm -rf "$cache/azurite-$version.new"
        mkdir "$cache/azurite-$version.new"
        (cd "$cache/azurite-$version.new" &&
            npm install --no-audit --no-fund --no-save --loglevel=error "azurite@$version" >&2) ||
            fail "npm could not install azurite@$version"
        rm -rf "$cache/azurite-$version"
        mv "$cache/azurite-$version.new" "$cache/azurite-$version"
    fi
    exec 9>&-
}

[[ -f $program ]] || install

account=registryaccount
key=$(head -c 64 /dev/urandom | base64 -w 0)
mkdir -p "$work/data"
options=(--blobHost 127.0.0.1 --blobPort 0 --location "$work/data" --skipApiVersionCheck --disableTelemetry)
scheme=http
if [[ ${AZURITE_TLS:-no} == yes ]]; then
    scheme=https
    # An authority, and a certificate of it.
    curve=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    {
        openssl req -x509 "${curve[@]}" -days 2 -subj /CN=authority -keyout "$work/authority.key" \
            -out "$work/authority.pem" &&
            openssl req "${curve[@]}" -subj /CN=azurite -keyout "$work/key.pem" -out "$work/request.pem" &&
            printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >"$work/extensions" &&
            openssl x509 -req -in "$work/request.pem" -CA "$work/authority.pem" -CAkey "$work/authority.key" \
                -CAcreateserial -days 2 -extfile "$work/extensions" -out "$work/certificate.pem"
    } 2>"$work/openssl.log" || {
        cat "$work/openssl.log" >&2
        fail "openssl could not make a certificate"
    }
    options+=(--cert "$work/certificate.pem" --key "$work/key.pem" --oauth basic)
fi

cd "$work"
AZURITE_ACCOUNTS="$account:$key" node "$program" "${options[@]}" >"$work/output.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT INT TERM

# It says which port the system gave it.
endpoint=
for _ in $(seq 1200); do
    kill -0 "$server" 2>/dev/null || {
        cat "$work/output.log" >&2
        fail "azurite ended"
    }
    endpoint=$(sed -n "s|.*successfully listens on \($scheme://[0-9.:]*\).*|\1|p" "$work/output.log")
    [[ -z $endpoint ]] || break
    sleep 0.1
done
[[ -n $endpoint ]] || fail "azurite does not listen after two minutes"

# A signature over the account, for the calls below and for tests that want a SAS token.
expires=2099-01-01T00:00:00Z
permissions=rwdlac
sas=$(python3 - "$account" "$key" "$permissions" "$expires" <<'PYTHON'
import base64, hashlib, hmac, sys, urllib.parse
account, key, permissions, expires = sys.argv[1:]
fields = [account, permissions, "b", "sco", "", expires, "", "https,http", "2022-11-02", "", ""]
text = "\n".join(fields).encode()
signature = base64.b64encode(hmac.new(base64.b64decode(key), text, hashlib.sha256).digest()).decode()
print(urllib.parse.urlencode({"sv": "2022-11-02", "ss": "b", "srt": "sco", "sp": permissions, "se": expires,
    "spr": "https,http", "sig": signature}))
PYTHON
)
trusted=()
[[ $scheme == http ]] || trusted=(--cacert "$work/authority.pem")
for container in registry second; do
    curl --silent --show-error --fail --max-time 60 ${trusted[@]+"${trusted[@]}"} --request PUT \
        --header "Content-Length: 0" "$endpoint/$account/$container?restype=container&$sas" >&2 ||
        fail "the container $container cannot be made"
done

{
    echo "endpoint=$endpoint/$account"
    echo "account=$account"
    echo "key=$key"
    echo "container=registry"
    echo "second_container=second"
    echo "sas_token=$sas"
    [[ $scheme == http ]] || echo "ca_bundle=$work/authority.pem"
} >"$work/ready.tmp"
mv "$work/ready.tmp" "$work/ready"
wait "$server"
