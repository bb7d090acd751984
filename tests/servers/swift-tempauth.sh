#!/usr/bin/env bash
# OpenStack Swift on loopback with its own authentication (tempauth, which speaks the protocol v1), and two private
# containers.
#
# usage: swift-tempauth.sh WORKFOLDER
#
#   SWIFT_MAX_FILE_SIZE   the largest object in bytes, for tests of what is larger; Swift's own 5 GiB unless set
#   SWIFT_TOKEN_SECONDS   how long a token is good for; a day unless set
#   SWIFT_PORT            the port of the proxy server, for whoever must know it before; a free one unless set
#
# The storage URL that a client is told has the host that the client asked: a proxy in front needs no setting here.
# The second user is of the same account and has no right to anything.
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/openstack.sh"

password=$(random_word)
stranger_password=$(random_word)
port=${SWIFT_PORT:-}
[ -n "$port" ] || read -r port < <(free_ports 1)

swift_start "$port" tempauth "[filter:tempauth]
use = egg:swift#tempauth
token_life = ${SWIFT_TOKEN_SECONDS:-86400}
user_test_tester = $password .admin
user_test_stranger = $stranger_password"
swift_wait

endpoint=http://127.0.0.1:$port/auth/v1.0
curl -sf --max-time 60 -o /dev/null -D "$work/answer" -H "X-Auth-User: test:tester" -H "X-Auth-Key: $password" \
    "$endpoint" || fail "Swift gives no token"
told() { sed -n "s/^$1: *//Ip" "$work/answer" | tr -d '\r'; }
token=$(told X-Auth-Token)
storage_url=$(told X-Storage-Url)
swift_containers "$storage_url" "$token" registry another

ready "endpoint=$endpoint" "storage_url=$storage_url" user=test:tester "password=$password" \
    user_without_rights=test:stranger "password_without_rights=$stranger_password" \
    container=registry another_container=another "log=$work/log/swift-proxy.log"
serve
