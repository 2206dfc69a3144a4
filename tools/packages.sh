#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Checks for the Debian packages that building, testing or benchmarking needs, installs what is missing when it may
# (root, or sudo without a password; TANDEM_INSTALL=0 forbids it), and otherwise prints the one line to run.
#   tools/packages.sh build|test|bench|mpi
# Exit: 0 everything needed is there, 2 usage, 3 something needed is missing.
set -u

build="gcc g++ make cmake pkg-config libc6-dev libjansson-dev libssl-dev libhwloc-dev libnuma-dev libisal-dev libspng-dev
 libturbojpeg0-dev libutf8proc-dev libxml2-dev zlib1g-dev libzstd-dev libsnappy-dev libfarmhash-dev libbenchmark-dev libjs-chart.js"
peers="libopenblas0-pthread libblis4-pthread libdnnl2 libxsmm-dev libomp5-14 libpthreadpool0 libtbb-dev
 protobuf-c-compiler libprotobuf-c-dev"
monitor="libdw-dev"

case "${1:-}" in
build) needed=$build wanted=$monitor ;;
test) needed="$build libcriterion-dev python3" wanted="chromium clang libsimgrid-dev $peers $monitor" ;;
bench) needed=$build wanted="$peers $monitor openclipart-png openclipart-svg" ;;
mpi) needed="" wanted="openmpi-bin libopenmpi-dev mpich libmpich-dev python3-venv" ;;
*)
    echo "usage: tools/packages.sh build|test|bench|mpi" >&2
    exit 2
    ;;
esac

# The packages of $* that are not installed, in one line.
missing() {
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || printf '%s ' "$package"
    done
}

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "tandem: this is not a Debian system; install the equivalents of: $(echo $needed)" >&2
    command -v cmake >/dev/null 2>&1 && exit 0
    exit 3
fi

lack=$(missing $needed)
lack_wanted=$(missing $wanted)
[ -z "$lack$lack_wanted" ] && exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root="no"; fi
fi
if [ "$as_root" != no ] && [ "${TANDEM_INSTALL:-1}" != 0 ]; then
    echo "tandem: installing $lack$lack_wanted"
    log=$(mktemp)
    if { $as_root apt-get -q update && DEBIAN_FRONTEND=noninteractive $as_root apt-get -q install -y \
        --no-install-recommends $lack $lack_wanted; } >"$log" 2>&1; then
        rm -f "$log"
        exit 0
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
    lack=$(missing $needed)
fi

if [ -n "$lack" ]; then
    echo "tandem: packages are missing; run:" >&2
    echo "  sudo apt-get install --no-install-recommends $lack$lack_wanted" >&2
    exit 3
fi
echo "tandem: going on without $(missing $wanted)" >&2
