#!/usr/bin/env bash
# Proves the stand-in of gcs.sh with clients that others wrote: Google's own for the JSON API, boto3 for the XML API.
#
# usage: gcs_proof.sh WORKFOLDER READY_FILE
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

clients=$cache/gcs-clients-3.17.1
once "$clients/complete" python_packages "$clients" google-cloud-storage==3.17.1 boto3==1.44.8
no_proxies "$clients/bin/python" "$(dirname "$(realpath "$0")")/gcs_proof.py" "$2"
