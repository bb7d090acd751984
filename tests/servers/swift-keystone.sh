#!/usr/bin/env bash
# OpenStack Swift behind Keystone v3 on loopback, in two regions, with two private containers in each.
#
# usage: swift-keystone.sh WORKFOLDER
#
# The variables of keystone.sh are obeyed, and SWIFT_MAX_FILE_SIZE of swift-tempauth.sh.
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/openstack.sh"
. "$here/keystone.sh"

read -r identity_port swift_port < <(free_ports 2)
swift_port=${SWIFT_PORT:-$swift_port}

keystone_start "$identity_port"
# Swift asks Keystone for nothing before the first token comes.
swift_behind_keystone "$swift_port"
mapfile -t settings < <(swift_settings "$swift_port")
keystone_accounts "${settings[@]}"
ready_behind_keystone "$swift_port" "log=$work/log/swift-proxy.log"
serve
