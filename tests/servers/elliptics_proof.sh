#!/usr/bin/env bash
# Proves the stand-in of elliptics.sh with a client that knows the published packet format only.
#
# usage: elliptics_proof.sh WORKFOLDER READY_FILE
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

no_proxies python3 -B "$(dirname "$(realpath "$0")")/elliptics_proof.py" "$2"
