# What the scripts that start Swift, Keystone and Glance share. Sourced, not run, instead of serving.sh:
#
#   . "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/openstack.sh"
#
# All programs come from PyPI, in one virtual environment of the cache, with the versions of
# openstack-requirements.txt.
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
. "$here/serving.sh"

# Other versions make another folder, so that a cache of before is never half of both.
requirements=$here/openstack-requirements.txt
openstack=$cache/openstack-$(sha256sum "$requirements" | head -c 12)
once "$openstack/complete" python_packages "$openstack" --requirement "$requirements"
python=$openstack/bin/python

# All talk is on this machine, and what is temporary lies in the work folder.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export TMPDIR=$work/temporary PYTHONWARNINGS=ignore
mkdir -p "$TMPDIR"

# served LOG swift|wsgi ARGUMENT...: starts one of them, which ends when this script does, however that ends.
served() {
    start "$1" setpriv --pdeathsig KILL "$python" "$here/openstack_serve.py" "${@:2}"
}

# answers URL: whether anything but an error comes from there.
answers() { curl -sf --max-time 30 -o "$work/answer" "$1"; }

# random_word: what no other start has, for passwords.
random_word() { head -c 18 /dev/urandom | base64 -w 0 | tr '+/' 'xy'; }

# swift_start PORT FILTERS SECTIONS: one Swift with one replica of everything, whose proxy server uses these filters for
# authentication. It is not waited for.
#
# The servers' patience is that of a slow machine. A container server that is given up leaves an object out of the
# listing until a daemon comes by that nobody runs here, and a server that is taken for broken is not asked for a
# minute.
#
# There is no memcached: what is remembered is in the memory of the one proxy server.
swift_start() {
    local kind
    declare -gA swift_ports
    swift=$work/swift
    mkdir -p "$swift/devices"
    read -r swift_ports[account] swift_ports[container] swift_ports[object] < <(free_ports 3)
    swift_ports[proxy]=$1
    cat >"$swift/swift.conf" <<CONF
[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
[swift-constraints]
max_file_size = ${SWIFT_MAX_FILE_SIZE:-5368709122}
[storage-policy:0]
name = single
default = yes
CONF
    "$python" "$here/swift_rings.py" "$swift" "$swift/devices" "account=${swift_ports[account]}" \
        "container=${swift_ports[container]}" "object=${swift_ports[object]}" || fail "the rings cannot be made"
    for kind in account container object; do
        cat >"$swift/$kind.conf" <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${swift_ports[$kind]}
swift_dir = $swift
devices = $swift/devices
mount_check = false
workers = 0
user = $(id -un)
log_name = $kind
log_level = WARNING
log_address = $swift/no-system-log
disable_fallocate = true
[pipeline:main]
pipeline = healthcheck $kind-server
[filter:healthcheck]
use = egg:swift#healthcheck
[app:$kind-server]
use = egg:swift#$kind
conn_timeout = 20
node_timeout = 60
container_update_timeout = 60
CONF
    done
    cat >"$swift/proxy.conf" <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $1
swift_dir = $swift
workers = 0
user = $(id -un)
log_name = proxy
log_level = INFO
log_address = $swift/no-system-log
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck proxy-logging cache listing_formats bulk tempurl
    $2
    copy slo dlo symlink proxy-logging proxy-server
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:cache]
paste.filter_factory = swift_cache:filter_factory
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:tempurl]
use = egg:swift#tempurl
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:symlink]
use = egg:swift#symlink
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 20
node_timeout = 60
recoverable_node_timeout = 60
error_suppression_interval = 0
error_suppression_limit = 1000000
$3
CONF
    for kind in account container object proxy; do
        served "swift-$kind" swift "$swift/$kind.conf" "$kind-server"
    done
}

# swift_wait: until all of it answers.
swift_wait() {
    local kind
    for kind in account container object proxy; do
        wait_for "Swift's $kind server" answers "http://127.0.0.1:${swift_ports[$kind]}/healthcheck"
    done
}

# swift_containers STORAGE_URL TOKEN NAME...: private containers, which makes the account as well.
swift_containers() {
    local name
    for name in "${@:3}"; do
        curl -sf --max-time 120 -o "$work/answer" -X PUT -H "X-Auth-Token: $2" -H 'Content-Length: 0' "$1/$name" ||
            fail "the container $name cannot be made"
    done
}
