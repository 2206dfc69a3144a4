#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fails if an object that must run on any CPU holds an instruction that names a ymm or zmm register:
#   isa_leak.sh OBJDUMP FILE...
# A function the linker may merge across objects, or a flag on the wrong file, would put one there.
# The self-test at the end: the same search finds such instructions where they belong.
objdump=$1
shift
status=0 found=0
for file in "$@"; do
    leaks=$("$objdump" -d "$file" | grep -cE '%[yz]mm[0-9]')
    case $file in
    *td_kernels_avx* | *td_kernels_amx*) found=$((found + leaks)) ;;
    *)
        if [ "$leaks" -ne 0 ]; then
            echo "$file: $leaks instructions on ymm or zmm registers" >&2
            status=1
        fi
        ;;
    esac
done
if [ "$found" -eq 0 ]; then
    echo "no instruction on ymm or zmm registers anywhere: the search does not work" >&2
    status=1
fi
exit $status
