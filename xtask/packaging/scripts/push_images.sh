#!/bin/sh
# Pushes images of this machine to a registry:  push_images.sh IMAGE...
#
# Each image gets a tag for the registry, is pushed, and loses that tag again; one that had the tag before keeps it.
# All images are tried; the exit code is 1 when one of them failed.
#
#   REGISTRY        the registry [default: 127.0.0.1:5000]
#   NO_COLOR        set to anything: no colours. Without it there are colours on a terminal.
#   CLICOLOR_FORCE  set to anything: colours also into a file or a pipe.
set -u

registry=${REGISTRY:-127.0.0.1:5000}
registry=${registry%/}

red='' green='' blue='' plain=''
if [ -z "${NO_COLOR:-}" ] && { [ -t 1 ] || [ -n "${CLICOLOR_FORCE:-}" ]; }; then
    red=$(printf '\033[31m') green=$(printf '\033[32m') blue=$(printf '\033[34m') plain=$(printf '\033[0m')
fi

say() {
    printf '%s%s%s\n' "$1" "$2" "$plain"
}

# The id of an image of this machine; nothing when there is no such image.
image_id() {
    docker image inspect --format '{{.Id}}' -- "$1" 2>/dev/null
}

push() {
    case $1 in
        "$registry"/*)
            docker push -- "$1"
            return
            ;;
    esac
    target=$registry/$1
    before=$(image_id "$target")
    docker tag -- "$1" "$target" || return
    docker push -- "$target"
    pushed=$?
    if [ -n "$before" ]; then
        docker tag -- "$before" "$target"
    else
        docker rmi -- "$target" >/dev/null
    fi
    return "$pushed"
}

if [ "$#" -eq 0 ]; then
    echo "usage: push_images.sh IMAGE..." >&2
    exit 2
fi

failed=0
for image in "$@"; do
    say "$blue" "Pushing $image to $registry"
    if push "$image"; then
        say "$green" "Pushed $image"
    else
        say "$red" "Failed: $image" >&2
        failed=1
    fi
done
if [ "$failed" -eq 0 ]; then
    say "$green" 'Done'
else
    say "$red" 'Done, but not every image was pushed'
fi
exit "$failed"
