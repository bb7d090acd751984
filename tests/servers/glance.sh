#!/usr/bin/env bash
# OpenStack Glance (API v2, images in files) and Swift behind one Keystone v3 on loopback, in one catalog.
#
# usage: glance.sh WORKFOLDER
#
# The variables of keystone.sh are obeyed, and SWIFT_MAX_FILE_SIZE of swift-tempauth.sh. An image takes Glance's own 128
# properties. The second region has no Glance.
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/openstack.sh"
. "$here/keystone.sh"

# glance_database FILE: an empty database with all tables, which takes some seconds to make and is always the same.
glance_database() {
    local new=$1.new
    rm -f "$new"
    printf '[database]\nconnection = sqlite:///%s\n' "$new" >"$work/glance-database.conf"
    "$openstack/bin/glance-manage" --config-file "$work/glance-database.conf" db_sync
    mv "$new" "$1"
}

# glance_start PORT: Glance alone; sets glance_url. It is not waited for.
glance_start() {
    local folder=$work/glance
    glance_url=http://127.0.0.1:$1
    once "$openstack/glance.db" glance_database "$openstack/glance.db"
    mkdir -p "$folder"/{images,tasks,staging}
    cp "$openstack/glance.db" "$folder/glance.db"
    cp "$openstack/etc/glance/glance-api-paste.ini" "$folder/"
    cat >"$folder/glance-api.conf" <<CONF
[DEFAULT]
log_file = $work/log/glance.log
public_endpoint = $glance_url
worker_self_reference_url = $glance_url
enabled_backends = files:file
node_staging_uri = file://$folder/staging
[database]
connection = sqlite:///$folder/glance.db
# Nobody needs it after a power cut.
sqlite_synchronous = false
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = $folder/images
[os_glance_tasks_store]
filesystem_store_datadir = $folder/tasks
[os_glance_staging_store]
filesystem_store_datadir = $folder/staging
[keystone_authtoken]
$(keystone_middleware glance)
[paste_deploy]
flavor = keystone
config_file = $folder/glance-api-paste.ini
CONF
    OS_GLANCE_CONFIG_DIR=$folder served glance wsgi glance.wsgi.api:application "$1"
}

read -r identity_port swift_port glance_port < <(free_ports 3)
swift_port=${SWIFT_PORT:-$swift_port}
glance_port=${GLANCE_PORT:-$glance_port}

keystone_start "$identity_port"
# Neither asks Keystone for anything before the first token comes.
glance_start "$glance_port"
swift_behind_keystone "$swift_port"
mapfile -t settings < <(swift_settings "$swift_port")
wait_for "Glance" answers "$glance_url/healthcheck"
keystone_accounts "${settings[@]}" service=glance,image \
    "endpoint=image,public,$region,${GLANCE_CATALOG_URL:-$glance_url}" \
    "endpoint=image,internal,$region,$glance_url" "endpoint=image,admin,$region,$glance_url"
ready_behind_keystone "$swift_port" "glance_url=$glance_url" "log=$work/log/swift-proxy.log"
serve
