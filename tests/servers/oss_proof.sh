#!/usr/bin/env bash
# Proves the stand-in of oss.sh with Aliyun's own Python SDK.
#
# usage: oss_proof.sh WORKFOLDER READY_FILE
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

sdk=$cache/oss2-2.19.1
once "$sdk/complete" python_packages "$sdk" oss2==2.19.1
no_proxies "$sdk/bin/python" "$(dirname "$(realpath "$0")")/oss_proof.py" "$2"
