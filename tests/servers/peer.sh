#!/usr/bin/env bash
# Installs a registry that ours is compared with, from its Go module, and prints the path of its program.
#
# usage: peer.sh WORKFOLDER distribution-3|zot
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

case ${2:?usage: peer.sh WORKFOLDER NAME} in
distribution-3)
    version=v3.1.2
    program=$cache/distribution-$version/registry
    once "$program" go_install github.com/distribution/distribution/v3/cmd/registry "$version" "${program%/*}"
    ;;
zot)
    version=v2.1.20
    program=$cache/zot-$version-minimal/zot
    # Without its extensions, as its project's "minimal" build: those would cost it time and memory here.
    once "$program" env GOEXPERIMENT=jsonv2 GOFLAGS="${GOFLAGS:-} -tags=containers_image_openpgp" bash -c \
        "$(declare -f go_program go_install); cache=$cache; go_install zotregistry.dev/zot/v2/cmd/zot $version ${program%/*}"
    ;;
*) fail "$2 is none of distribution-3 and zot" ;;
esac
echo "$program"
