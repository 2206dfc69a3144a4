#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Imports Debian's openclipart pairs into DIR once, when the packages are installed; otherwise says that the procedural
# set takes their place.   tools/real_pairs.sh TANDEM DIR
set -u
tandem=$1 directory=$2
ls "$directory"/*.tfrecord >/dev/null 2>&1 && exit 0
if dpkg-query -W -f '${db:Status-Status}' openclipart-png 2>/dev/null | grep -qx installed; then
    echo "tandem: importing openclipart into $directory (once)"
    exec "$tandem" data import --openclipart --out "$directory"
fi
echo "tandem: openclipart is not installed; training steps use the procedural set" >&2
