#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a Criterion program, keeps its output in LOG, shows it, and returns its status.   tools/criterion.sh PROGRAM LOG
"$1" -j "${JOBS:-2}" >"$2" 2>&1
status=$?
cat "$2"
exit $status
