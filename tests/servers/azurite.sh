#!/usr/bin/env bash
# Azurite, Microsoft's emulator of Azure Blob Storage, on loopback, with one account and two private containers.
#
# usage: azurite.sh WORKFOLDER
#
# With AZURITE_TLS=yes it speaks HTTPS with a certificate of its own and takes bearer tokens as well; it does not verify
# who signed them. Azurite comes from npm.
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

version=3.35.0
folder=$cache/azurite-$version
program=$folder/node_modules/azurite/dist/src/blob/main.js
install() {
    command -v npm >/dev/null || fail "npm is missing: apt-get install nodejs npm"
    rm -rf "$folder" "$folder.new"
    mkdir "$folder.new"
    (cd "$folder.new" && npm install --no-audit --no-fund --no-save --loglevel=error "azurite@$version")
    mv "$folder.new" "$folder"
}
once "$program" install

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
    } 2>"$work/log/openssl.log" || {
        fail "openssl could not make a certificate"
    }
    options+=(--cert "$work/certificate.pem" --key "$work/key.pem" --oauth basic)
fi

cd "$work"
export AZURITE_ACCOUNTS="$account:$key"
start azurite node "$program" "${options[@]}"
# It says which port the system gave it.
listens() { grep -q "successfully listens on $scheme://" "$work/log/azurite.log"; }
wait_for "the port of azurite" listens
endpoint=$(sed -n "s|.*successfully listens on \($scheme://[0-9.:]*\).*|\1|p" "$work/log/azurite.log")

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

said=("endpoint=$endpoint/$account" "account=$account" "key=$key" container=registry second_container=second
    "sas_token=$sas")
[[ $scheme == http ]] || said+=("ca_bundle=$work/authority.pem")
ready "${said[@]}"
serve
