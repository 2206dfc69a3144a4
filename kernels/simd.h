/* SPDX-License-Identifier: Apache-2.0
 * One vector of 16 f32 lanes (td_v16), its integers (td_i16), f64 lanes (td_d16) and masks
 * (td_m16). A kernel is written once on it and compiled once per row of cmake/isa.cmake; the flags
 * choose the back end. Every function gives the same bits on every back end, so a kernel does too.
 *
 * - load, store: any 4-byte aligned address. The _part forms touch `count` (0..16) elements and no
 *   byte behind them; lanes from count on are `fill`.
 * - stream: a store that fetches no line and leaves none in a cache, to an address aligned as the
 *   bytes it writes; whoever reads them on another CPU waits for td_stream_fence.
 * - fma(a, b, c): a * b + c, rounded once. fnma: -(a * b) + c. fms: a * b - c.
 * - max(a, b), min(a, b): b where a or b is NaN or both are zero. max_nan: NaN where either is.
 * - sum, reduce_max across lanes by one tree: lane i with i + 8, then 4, 2, 1. reduce_max is NaN
 *   when a lane is.
 * - to_i16: the nearest integer, ties to even; out of range or NaN gives INT32_MIN.
 * - sum_rows(v), max_rows(v): lane r is sum(v[r]), or the largest lane of v[r] without NaN's
 * special part, of 16 vectors at a third of the price of one by one.
 * - scale(v, shifted): v * 2^n where shifted = n + 0x1.8p23, n in [-252, 254] and |v| in [1/4, 4]:
 * it rounds once, also into denormals. NaN where shifted is.
 * - select(m, a, b): a where m is set, b elsewhere. Comparisons with NaN are false.
 * - transpose16: to[j][i] = from[i][j] for a block of 16 x 16.
 *
 * The sign and payload of a NaN that arithmetic produces are not part of any contract.
 */
#ifndef TD_KERNELS_SIMD_H
#define TD_KERNELS_SIMD_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifndef TD_ISA_SUFFIX
#error "compiled once per ISA: list the file under td_kernel_sources in kernels/CMakeLists.txt"
#endif

/* TD_FN(softmax_f32) is td_softmax_f32__avx2 and so on: the name of this row of kernels.inc. */
#define TD_FN_JOIN(name, suffix)   td_##name##__##suffix
#define TD_FN_EXPAND(name, suffix) TD_FN_JOIN(name, suffix)
#define TD_FN(name)                TD_FN_EXPAND(name, TD_ISA_SUFFIX)

/* Vectors live in registers only if nothing is called; in portable code they live in memory anyway,
 * and inlining all of it would cost minutes of compilation under the sanitizers. */
#define TD_SIMD_INLINE static inline __attribute__((always_inline))
#if defined(__AVX2__)
#define TD_SIMD TD_SIMD_INLINE
#else
#define TD_SIMD static inline
#endif

enum { TD_LANES = 16 };

/* Whose shapes of tiles a row has: its own ISA's. Compiled on portable vectors with
 * TD_STANDS_FOR_AVX2 or _AVX512 it has those of the ISA it stands for, so that a CPU without that
 * ISA can still run all of a row but its instructions. */
#if defined(__AVX512F__) || defined(TD_STANDS_FOR_AVX512)
#define TD_TILES_OF_AVX512
#endif
#if defined(TD_TILES_OF_AVX512) || defined(__AVX2__) || defined(TD_STANDS_FOR_AVX2)
#define TD_TILES_OF_AVX2
#endif

#if defined(__AVX512F__)
#include "kernels/simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "kernels/simd_avx2.h"
#else
#include "kernels/simd_portable.h"
#endif

TD_SIMD td_v16 td_v16_zero(void) {
    return td_v16_set1(0.0f);
}

TD_SIMD td_m16 td_v16_gt(td_v16 a, td_v16 b) {
    return td_v16_lt(b, a);
}

TD_SIMD td_m16 td_v16_ge(td_v16 a, td_v16 b) {
    return td_v16_le(b, a);
}

TD_SIMD td_v16 td_v16_max_nan(td_v16 a, td_v16 b) {
    return td_v16_select(td_v16_is_nan(a), a, td_v16_max(a, b));
}

TD_SIMD td_v16 td_v16_abs(td_v16 v) {
    return td_i16_as_v16(td_i16_and(td_v16_as_i16(v), td_i16_set1(INT32_MAX)));
}

TD_SIMD td_v16 td_v16_neg(td_v16 v) {
    return td_i16_as_v16(td_i16_xor(td_v16_as_i16(v), td_i16_set1(INT32_MIN)));
}

#define TD_SCALE_SHIFT 0x1.8p23f

#if !defined(__AVX512F__)
/* The bits of 2^n for n in [-126, 127]. */
TD_SIMD td_v16 td_v16_exp2i(td_i16 n) {
    return td_i16_as_v16(td_i16_shl(td_i16_add(n, td_i16_set1(127)), 23));
}

TD_SIMD td_v16 td_v16_scale(td_v16 v, td_v16 shifted) {
    td_i16 n = td_i16_sub(td_v16_as_i16(shifted), td_v16_as_i16(td_v16_set1(TD_SCALE_SHIFT)));
    td_i16 half = td_i16_sar(n, 1);
    return td_v16_mul(td_v16_mul(v, td_v16_exp2i(half)), td_v16_exp2i(td_i16_sub(n, half)));
}
#endif

#endif
