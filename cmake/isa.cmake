# SPDX-License-Identifier: Apache-2.0
# One row per ISA: the flags of the files that are compiled for it, negative flags included. A kernel source listed in
# kernels/CMakeLists.txt is compiled once per row, with TD_ISA_SUFFIX set to the row's name.
set(TD_ISA_NAMES portable avx2 avx512)
set(TD_ISA_FLAGS_portable -mno-avx -mno-fma)
set(TD_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2 -mno-avx512f)
set(TD_ISA_FLAGS_avx512 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma -mf16c -mbmi -mbmi2
    -mprefer-vector-width=512)
# Not rows for every source: only those that have their instructions to use are compiled for them.
set(TD_ISA_SOME_NAMES avx512_bf16 amx_bf16)
set(TD_ISA_FLAGS_avx512_bf16 ${TD_ISA_FLAGS_avx512} -mavx512bf16)
set(TD_ISA_FLAGS_amx_bf16 ${TD_ISA_FLAGS_avx512_bf16} -mamx-tile -mamx-bf16)
# Rows of checksums, which need other instructions than vectors of floats.
set(TD_ISA_FLAGS_sse42 -msse4.2 -mno-avx)
set(TD_ISA_FLAGS_pclmul -msse4.2 -mpclmul -mno-avx)
set(TD_ISA_FLAGS_vpclmul ${TD_ISA_FLAGS_avx512} -msse4.2 -mpclmul -mvpclmulqdq)
