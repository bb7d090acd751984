#!/usr/bin/env bash
# Installs a registry that ours is compared with, from its Go module or Python package, and prints the path of its program.
#
# usage: peer.sh WORKFOLDER distribution-3|zot|docker-registry-0.9
#
# docker-registry 0.9 needs a Python 2.7, which is no part of Debian any more: DOCKER_REGISTRY_BENCH_PYTHON2 names one, else
# `python2.7` is looked for. One of its packages is built with swig and the headers of OpenSSL.
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
docker-registry-0.9)
    python=${DOCKER_REGISTRY_BENCH_PYTHON2:-python2.7}
    folder=$cache/docker-registry-0.9.1
    program=$folder/bin/docker-registry
    python2_packages() {
        command -v "$python" >/dev/null || fail "it needs Python 2.7: DOCKER_REGISTRY_BENCH_PYTHON2 names one"
        command -v swig >/dev/null || fail "it needs the packages swig and libssl-dev"
        # The last one that makes environments of Python 2.7.
        python_packages "$cache/virtualenv" virtualenv==20.21.1
        "$cache/virtualenv/bin/virtualenv" --quiet --clear --python "$python" --no-download "$folder.new"
        "$folder.new/bin/python" -m pip install --quiet --no-deps \
            -r "$(dirname "${BASH_SOURCE[0]}")/docker-registry-0.9-requirements.txt"
        # Its scripts name the folder that they are in.
        grep -lIrF "$folder.new" "$folder.new/bin" | xargs sed -i "s|$folder.new|$folder|g"
        mv -T "$folder.new" "$folder"
    }
    once "$program" python2_packages
    ;;
*) fail "$2 is none of distribution-3, zot and docker-registry-0.9" ;;
esac
echo "$program"
