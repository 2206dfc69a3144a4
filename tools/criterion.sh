#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the tests of a Criterion program whose suite/name match PATTERN, keeps its output in LOG, shows it, and returns its
# status.   tools/criterion.sh PROGRAM LOG PATTERN
"$1" -j "${JOBS:-2}" --filter "$3" >"$2" 2>&1
status=$?
cat "$2"
exit $status
