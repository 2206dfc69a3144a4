#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds one preset, runs its tests through ctest, and ends with Criterion's own summary line. With "full" the long
# suites too.   tools/test.sh release|debug|tsan [full]
set -u
preset=${1:?usage: tools/test.sh release|debug|tsan [full]}
if [ "${2:-}" = full ]; then without=none; else without=full; fi
jobs=${JOBS:-$(nproc)}

cmake --preset "$preset" -DTD_TESTS=ON >"build-$preset.log" 2>&1 || {
    cat "build-$preset.log"
    exit 3
}
rm -f "build-$preset.log"
cmake --build "build/$preset" -j "$jobs" -- -s || exit 3
rm -f "build/$preset/criterion.log" "build/$preset/criterion_full.log" "build/$preset/kernel_rows.jsonl"
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --label-exclude "^$without\$"
status=$?
if [ -f "build/$preset/criterion.log" ]; then
    grep -E '^\[(SKIP|FAIL|CRASH|ERR )' "build/$preset/criterion.log" || true
    cat "build/$preset"/criterion*.log | grep 'Synthesis'
fi
# What ran natively, by emulation or not at all. Sanitizer builds have no emulated rows, so there it only tells.
if [ -f "build/$preset/kernel_rows.jsonl" ]; then
    tools/kernel_ledger.py "build/$preset" || [ "$preset" != release ] || status=1
fi
[ $status -eq 0 ] || exit 1
