#!/usr/bin/env bash
# Azurite with HTTPS and bearer tokens.
#
# usage: azurite-tls.sh WORKFOLDER
set -euo pipefail
AZURITE_TLS=yes exec bash "$(dirname "$(realpath "$0")")/azurite.sh" "$1"
