#!/usr/bin/env bash
# A stand-in for an Elliptics cluster on loopback: the package docker-registry-fake-elliptics of this tree. Three nodes in
# two groups, version 2.26 with secondary indexes; other arguments are handed on. FAKE_NODES names other nodes: what
# `--node` is told for each, with spaces between them.
#
# usage: elliptics.sh WORKFOLDER [ARGUMENT...]
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

nodes=()
for node in ${FAKE_NODES:-}; do nodes+=(--node "$node"); done
fake elliptics "$work" --indexes "${nodes[@]}" "${@:2}"
