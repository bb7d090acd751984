#!/bin/sh
# Pushes every image of this machine that has a name to a registry, with push_images.sh beside this file and its
# variables. Images without a name or a tag, which `docker images` shows as <none>, are left out.
set -u

listed=$(docker images --format '{{.Repository}}:{{.Tag}}') || exit 1
# A name of an image holds neither blanks nor wildcards, so the list can be taken apart at its line ends.
set -f
# shellcheck disable=SC2046
set -- $(printf '%s\n' "$listed" | grep -v '<none>' | sort -u)
if [ "$#" -eq 0 ]; then
    echo 'There is no image to push.'
    exit 0
fi
exec "$(dirname "$0")/push_images.sh" "$@"
