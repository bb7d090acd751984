# Keystone v3, for the scripts that start a Swift or a Glance which it guards. Sourced after openstack.sh.
#
#   KEYSTONE_TOKEN_SECONDS   how long a token is good for; an hour unless set
#   SWIFT_PORT, GLANCE_PORT  the ports of Swift's proxy server and of Glance, for whoever must know them before
#   SWIFT_CATALOG_URL        what the catalog says is Swift's public address in the first region, for a proxy between;
#                            it may hold %(project_id)s. Unless set it is Swift itself.
#   GLANCE_CATALOG_URL       the same for Glance

region=registry-north
second_region=registry-south
password=$(random_word)
password_without_rights=$(random_word)
service_password=$(random_word)

# keystone_database FOLDER: a database with an administrator and nothing else, and the password. It takes some seconds
# to make, so that it is made once and copied.
keystone_database() {
    local new=$1.new administrator_password manage
    rm -rf "$new"
    (umask 077 && mkdir "$new")
    mkdir -m 700 "$new/keys"
    fernet_keys "$new/keys"
    administrator_password=$(random_word)
    printf '%s\n' '[database]' "connection = sqlite:///$new/keystone.db" '[fernet_tokens]' \
        "key_repository = $new/keys" '[fernet_receipts]' "key_repository = $new/keys" >"$new/keystone.conf"
    manage=("$openstack/bin/keystone-manage" --config-file "$new/keystone.conf")
    "${manage[@]}" db_sync
    "${manage[@]}" bootstrap --bootstrap-password "$administrator_password"
    printf '%s' "$administrator_password" >"$new/password"
    mv -T "$new" "$1"
}

# keystone_start PORT: Keystone with nothing but an administrator in it; sets identity_url. It is not waited for.
keystone_start() {
    local made=$openstack/keystone repository
    identity_url=http://127.0.0.1:$1/v3
    once "$made" keystone_database "$made"
    administrator_password=$(<"$made/password")
    for repository in tokens receipts credentials; do
        mkdir -p -m 700 "$work/keystone/$repository"
        fernet_keys "$work/keystone/$repository"
    done
    cp "$made/keystone.db" "$work/keystone/keystone.db"
    cat >"$work/keystone/keystone.conf" <<CONF
[DEFAULT]
log_file = $work/log/keystone.log
public_endpoint = http://127.0.0.1:$1
[database]
connection = sqlite:///$work/keystone/keystone.db
# Nobody needs it after a power cut.
sqlite_synchronous = false
[token]
provider = fernet
expiration = ${KEYSTONE_TOKEN_SECONDS:-3600}
[fernet_tokens]
key_repository = $work/keystone/tokens
[fernet_receipts]
key_repository = $work/keystone/receipts
[credential]
key_repository = $work/keystone/credentials
[identity]
# Passwords of tests are not worth the time.
password_hash_rounds = 4
[cache]
# In the memory of the one process that there is. Without it each request takes half a second.
enabled = true
backend = oslo_cache.dict
CONF
    OS_KEYSTONE_CONFIG_FILES=$work/keystone/keystone.conf \
        served keystone wsgi keystone.wsgi.api:application "$1"
}

# fernet_keys FOLDER: the two keys that Keystone's own fernet_setup would write, in less time.
fernet_keys() {
    local number
    for number in 0 1; do
        (umask 077 && head -c 32 /dev/urandom | base64 -w 0 | tr '+/' '-_' >"$1/$number")
    done
}

# keystone_accounts SETTING...: users, projects, catalog and containers, as soon as everything that was started
# answers. What is printed goes to the file `accounts`.
keystone_accounts() {
    wait_for "Keystone" answers "$identity_url"
    swift_wait
    printf '%s\n' "administrator_password=$administrator_password" "service_password=$service_password" \
        "password=$password" "password_without_rights=$password_without_rights" service=keystone,identity \
        "endpoint=identity,public,$region,$identity_url" "endpoint=identity,internal,$region,$identity_url" \
        "endpoint=identity,admin,$region,$identity_url" "$@" |
        "$python" "$here/keystone_accounts.py" "$identity_url" >"$work/accounts" ||
        fail "Keystone's users cannot be made"
}

# What servers behind Keystone are told of it. They remember tokens in their own memory.
keystone_middleware() {
    cat <<CONF
www_authenticate_uri = $identity_url
auth_url = $identity_url
auth_type = password
username = $1
password = $service_password
user_domain_id = default
project_name = service
project_domain_id = default
service_token_roles = service
service_token_roles_required = true
CONF
}

# swift_behind_keystone PORT: a Swift for the member role. There are two accounts for each project, each the whole of
# one region: a client that takes the wrong region does not find its objects.
swift_behind_keystone() {
    swift_start "$1" "authtoken keystoneauth" "[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
delay_auth_decision = true
include_service_catalog = false
$(keystone_middleware swift)
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, member
reseller_prefix = AUTH, SOUTH"
}

# swift_settings PORT: its part of the catalog, and its containers. The administrator's address is without account, as
# it always was.
swift_settings() {
    local swift=http://127.0.0.1:$1/v1
    printf '%s\n' service=swift,object-store \
        "endpoint=object-store,public,$second_region,$swift/SOUTH_%(project_id)s" \
        "endpoint=object-store,internal,$second_region,$swift/SOUTH_%(project_id)s" \
        "endpoint=object-store,admin,$second_region,$swift" \
        "endpoint=object-store,public,$region,${SWIFT_CATALOG_URL:-$swift/AUTH_%(project_id)s}" \
        "endpoint=object-store,internal,$region,$swift/AUTH_%(project_id)s" \
        "endpoint=object-store,admin,$region,$swift" \
        "container=$swift/AUTH_,registry" "container=$swift/AUTH_,another" \
        "container=$swift/SOUTH_,registry" "container=$swift/SOUTH_,another"
}

# ready_behind_keystone SWIFT_PORT KEY=VALUE...: says how everything is reached.
ready_behind_keystone() {
    local accounts project swift=http://127.0.0.1:$1/v1
    mapfile -t accounts <"$work/accounts"
    project=$(sed -n 's/^project_id=//p' "$work/accounts")
    ready "endpoint=$identity_url" "auth_url=$identity_url" "${accounts[@]}" "password=$password" \
        "password_without_rights=$password_without_rights" "administrator_password=$administrator_password" \
        "region=$region" "second_region=$second_region" "storage_url=$swift/AUTH_$project" \
        "second_storage_url=$swift/SOUTH_$project" container=registry another_container=another "${@:2}"
}
