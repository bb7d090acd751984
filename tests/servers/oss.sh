#!/usr/bin/env bash
# A stand-in for Aliyun OSS on loopback: the package docker-registry-fake-oss of this tree.
#
# usage: oss.sh WORKFOLDER
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/serving.sh"

fake oss "$work"
