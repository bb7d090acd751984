#!/usr/bin/env bash
# A stand-in for an Elliptics cluster on loopback: the package docker-registry-fake-elliptics of this tree. Three nodes in
# two groups, version 2.26 with secondary indexes; other arguments are handed on.
#
# usage: elliptics.sh WORKFOLDER [ARGUMENT...]
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

fake elliptics "$work" --indexes "${@:2}"
