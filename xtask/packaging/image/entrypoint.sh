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

# The configuration file on the command line.
file=
for word in "$@"; do
    [ ! -f "$word" ] || file=$word
done

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
if [ "$(user_id)" != 0 ] || ! has_capabilities "$user_capabilities"; then
    exec docker-registry "$@"
fi
case $place in
    # Relative, or a folder of the system: whoever configured it takes care of it.
    "" | / | /bin* | /dev* | /etc* | /lib* | /proc* | /sys* | /tmp | /usr* | /var | /var/lib) ;;
    /*)
        is_new=
        [ -d "$place" ] || { mkdir -p "$place" && is_new=yes; } || true
        # The owner of the top folder stands for all: it is changed last.
        if [ -d "$place" ] && ! as_registry sh -c '[ -O "$1" ]' sh "$place"; then
            if has_capabilities "$chown_capability" && chown -R "$user:$user" "$place"; then
                [ -n "$is_new" ] || say "$place belongs to the user registry ($user) from now on"
            elif ! as_registry sh -c '[ -w "$1" ]' sh "$place"; then
                say "$place cannot be given to the user registry ($user): the server runs as root"
                exec docker-registry "$@"
            fi
        fi
        ;;
esac
exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs -- docker-registry "$@"
