#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Stands in for ssh when ranks are to be on several hosts and there is one machine: what mpirun wants to start on a host
# runs here, with that host's name. Needs root, for a UTS namespace.
#   host_agent.sh [ssh's options] HOST COMMAND...
while [ "${1#-}" != "$1" ]; do
    shift
done
host=$1
shift
exec unshare --uts sh -c 'hostname "$0" && eval "$1"' "$host" "$*"
