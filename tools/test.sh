#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds one preset, runs its tests through ctest, and ends with Criterion's own summary line.
#   tools/test.sh release|debug|tsan
set -u
preset=${1:?usage: tools/test.sh release|debug|tsan}
jobs=${JOBS:-$(nproc)}

cmake --preset "$preset" -DTD_TESTS=ON >"build-$preset.log" 2>&1 || {
    cat "build-$preset.log"
    exit 3
}
rm -f "build-$preset.log"
cmake --build "build/$preset" -j "$jobs" -- -s || exit 3
rm -f "build/$preset/criterion.log"
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error
status=$?
if [ -f "build/$preset/criterion.log" ]; then
    grep -E '^\[(SKIP|FAIL|CRASH|ERR )' "build/$preset/criterion.log" || true
    grep 'Synthesis' "build/$preset/criterion.log" | tail -n 1
fi
[ $status -eq 0 ] || exit 1
