#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzzers with clang (ASan, UBSan, libFuzzer) and runs each for so many seconds, from the corpus that the
# recorded cases make and what earlier runs found. A finding stays in build/fuzz/found.
#   tools/fuzz.sh [SECONDS] [NAME...]       default: 30, all
# Exit: 0 nothing found, 1 a finding, 3 cannot build.
set -u
seconds=${1:-30}
[ $# -gt 0 ] && shift
names=${*:-columns example image records sequence stream table}

command -v clang >/dev/null 2>&1 || {
    echo "tandem: the fuzzers need clang; run: sudo apt-get install --no-install-recommends clang" >&2
    exit 3
}
cmake --preset fuzz >build-fuzz.log 2>&1 || {
    cat build-fuzz.log
    exit 3
}
rm -f build-fuzz.log
for name in $names; do set -- "$@"; targets="${targets:-} fuzz_$name"; done
cmake --build build/fuzz -j "${JOBS:-$(nproc)}" --target $targets -- -s >/dev/null || exit 3
tools/fuzz_seeds.py build/fuzz/seeds || exit 3
mkdir -p build/fuzz/found
status=0
for name in $names; do
    mkdir -p "build/fuzz/corpus/$name"
    if build/fuzz/tests/fuzz/fuzz_"$name" -max_total_time="$seconds" -rss_limit_mb=1024 -malloc_limit_mb=512 -timeout=20 \
        -artifact_prefix="build/fuzz/found/$name-" "build/fuzz/corpus/$name" "build/fuzz/seeds/$name" \
        >"build/fuzz/$name.log" 2>&1; then
        echo "fuzz $name: $(grep -E '^Done' "build/fuzz/$name.log" || tail -n 1 "build/fuzz/$name.log"), nothing found"
    else
        echo "fuzz $name: a finding in build/fuzz/found"
        tail -n 40 "build/fuzz/$name.log"
        status=1
    fi
done
exit $status
