#!/bin/sh
# What a container of this image runs first. It decides three things and says each of them:
#
# 1. What is meant. Nothing, `FILE.yml`, `serve ...` and each of these behind `docker-registry` or `registry` start the
#    server; other words are a command of docker-registry, or a program of the image.
# 2. Where images go when nobody said it: /tmp/registry, as with the image of docker-registry 0.9; but /var/lib/registry,
#    as with the image of distribution, when only that is mounted.
# 3. Who the server is. Root, where it may, gives the storage folder to the user `registry` and becomes that user.
#    Whoever else this container runs as, or root without those capabilities, stays what it is.
set -eu

user=5000

say() {
    echo "docker-registry image: $*" >&2
}

# Whether something is mounted at exactly this folder.
is_mounted() {
    while read -r _ _ _ _ point _; do
        [ "$point" != "$1" ] || return 0
    done </proc/self/mountinfo
    return 1
}

# The folder of the local driver by the effective configuration, of the file on the command line if there is one.
# Nothing with another driver, or when the configuration is wrong, which the server says better.
storage_place() {
    docker-registry config show "$@" 2>/dev/null | {
        place=
        driver=
        while IFS= read -r line; do
            value=${line#*\"}
            value=${value%\"*}
            case $line in
                "storage = "*) driver=$value ;;
                "storage_path = "*) place=$value ;;
            esac
        done
        case $driver in
            local | file) echo "$place" ;;
        esac
    }
}

# Whether this process has all capabilities of a mask.
has_capabilities() {
    while read -r name value; do
        [ "$name" != CapEff: ] || effective=$value
    done </proc/self/status
    [ $((0x$effective & $1)) -eq $(($1)) ]
}
# CAP_CHOWN, and CAP_SETGID with CAP_SETUID, as in capabilities(7).
chown_capability=0x1
user_capabilities=0xc0

user_id() {
    while read -r name _ effective _; do
        [ "$name" != Uid: ] || echo "$effective"
    done </proc/self/status
}

as_registry() {
    setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs -- "$@"
}

# --- 1. What is meant
case "${1-}" in
    docker-registry | registry) shift ;;
esac
case "${1-}" in
    "") set -- serve ;;
    *.yml | *.yaml) set -- serve "$@" ;;
    -*) ;;
    *)
        program=$(command -v -- "$1" || true)
        # A path, and not a word that the shell knows.
        case $program in
            /*) exec "$@" ;;
        esac
        ;;
esac
[ "$1" = serve ] || exec docker-registry "$@"

# The configuration file on the command line of `serve`: the word that is neither an option nor the value of one. A log
# that an option names is there from the second start on, and is no configuration.
configuration_file() {
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            --access-log | --bind | --error-log | --graceful-timeout | --log-format) [ $# -eq 1 ] || shift ;;
            -?*) ;;
            *) echo "$1" ;;
        esac
        shift
    done
}
file=$(configuration_file "$@")

# --- 2. Where images go
v1_place=/tmp/registry
v2_place=/var/lib/registry
place=$(storage_place ${file:+"$file"})
if [ "$place" = "$v1_place" ] && [ -z "${STORAGE_PATH+set}" ] && ! is_mounted "$v1_place" && is_mounted "$v2_place"; then
    export STORAGE_PATH=$v2_place
    place=$(storage_place ${file:+"$file"})
fi
case $place in
    "") ;;
    "$v2_place") say "images are kept in $place, because that is mounted" ;;
    "$v1_place")
        if is_mounted "$place"; then
            say "images are kept in $place, because that is mounted"
        else
            say "images are kept in $place, which goes with the container: mount a volume there or at $v2_place"
        fi
        ;;
    *) say "images are kept in $place, as configured" ;;
esac

# --- 3. Who the server is
# Relative, or a folder of the system: whoever configured it takes care of it.
is_of_the_system() {
    case $1 in
        / | /bin | /bin/* | /dev | /dev/* | /etc | /etc/* | /lib | /lib/* | /lib64 | /lib64/*) ;;
        /proc | /proc/* | /sys | /sys/* | /usr | /usr/*) ;;
        /boot | /home | /media | /mnt | /opt | /root | /run | /sbin | /srv | /tmp | /var | /var/lib) ;;
        /*) return 1 ;;
    esac
}

# Root without capabilities may write no more than what belongs to root.
serve_as_root() {
    if [ -d "$place" ] && [ ! -O "$place" ] && [ ! -w "$place" ]; then
        say "root without capabilities cannot write to $place: add --user $user, or whoever else owns that folder"
        exit 1
    fi
    exec docker-registry "$@"
}

[ "$(user_id)" = 0 ] || exec docker-registry "$@"
has_capabilities "$user_capabilities" || serve_as_root "$@"
while [ "$place" != "${place%/}" ] && [ "$place" != / ]; do
    place=${place%/}
done
if ! is_of_the_system "$place"; then
    is_new=
    [ -d "$place" ] || { mkdir -p "$place" && is_new=yes; } || true
    # A link is no folder that can be given to somebody; what it points to is.
    folder=$(cd -P -- "$place" 2>/dev/null && pwd -P) || folder=
    # The owner of the top folder stands for all: it is changed last.
    if [ -d "$place" ] && ! is_of_the_system "$folder" && ! as_registry sh -c '[ -O "$1" ]' sh "$place"; then
        if has_capabilities "$chown_capability" && chown -R "$user:$user" "$folder"; then
            [ -n "$is_new" ] || say "$place belongs to the user registry ($user) from now on"
        elif ! as_registry sh -c '[ -w "$1" ]' sh "$place"; then
            say "$place cannot be given to the user registry ($user): the server runs as root"
            serve_as_root "$@"
        fi
    fi
fi
exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs -- docker-registry "$@"
