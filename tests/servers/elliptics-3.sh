#!/usr/bin/env bash
# The stand-in of elliptics.sh as a cluster of version 3.0: it has no secondary indexes, and refuses clients of 2.26.
#
# usage: elliptics-3.sh WORKFOLDER [ARGUMENT...]
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

fake elliptics "$work" --version 3.0.0.1 "${@:2}"
