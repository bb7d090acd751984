#!/usr/bin/env bash
# A stand-in for Google Cloud Storage on loopback: the package docker-registry-fake-gcs of this tree, with a new key of
# a service account.
#
# usage: gcs.sh WORKFOLDER
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/key.pem" 2>"$work/log/openssl.log"
fake gcs --folder "$work" --private-key "$work/key.pem"
