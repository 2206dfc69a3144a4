/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/peak.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/status.h"

/* clang-format off */
static const td_peak_loop loops[] = {
    {TD_ISA_PORTABLE, 4 * 14 * 4,  {4, 8, 12, 16}, true,  "SSE2 mulps and addps, 7 chains each"},
    {TD_ISA_AVX2,     2 * 8 * 12,  {16, 32, 0, 0}, false, "vfmadd213ps ymm, 12 chains"},
    {TD_ISA_AVX512,   2 * 16 * 24, {32, 64, 0, 0}, false, "vfmadd213ps zmm, 24 chains"},
};
/* clang-format on */

/* Sapphire and Emerald Rapids start one 512-bit dot product every other cycle: half a pipe, and
 * half the FLOPs of their two FMA pipes. */
static const td_peak_loop dot_bf16 = {
    TD_ISA_AVX512_BF16, 4 * 16 * 24, {32, 64, 128, 0}, false, "vdpbf16ps zmm, 24 chains"};

const td_peak_loop *td_peak_loop_dot(void) {
    return &dot_bf16;
}

/* One instruction in 16 cycles. */
static const td_peak_loop tiles_bf16 = {
    TD_ISA_AMX_BF16, 2 * 16 * 16 * 32 * 12, {1024, 2048, 0, 0}, false, "tdpbf16ps, 6 tiles"};

const td_peak_loop *td_peak_loop_tiles(void) {
    return &tiles_bf16;
}

const td_peak_loop *td_peak_loop_find(td_isa isa) {
    for (size_t i = sizeof loops / sizeof loops[0]; i-- > 0;) {
        if (loops[i].isa <= isa) {
            return &loops[i];
        }
    }
    return &loops[0];
}

bool td_peak_rate_fits(const td_peak_loop *loop, double per_cycle) {
    double most = 0;
    for (int i = 0; i < 4 && loop->per_cycle[i] > 0; i++) {
        most = loop->per_cycle[i];
        if (fabs(per_cycle / most - 1) <= 0.03) {
            return true;
        }
    }
    return loop->mixed && per_cycle > loop->per_cycle[0] && per_cycle < most;
}

bool td_peak_fastest_slice(const double *loop_ticks, const double *chain_ticks, int n, double *loop,
                           double *chain) {
    int steady = 0, best[2] = {-1, -1}; /* of all, of the steady */
    for (int i = 0; i < n; i++) {
        bool good = fabs(chain_ticks[i + 1] / chain_ticks[i] - 1) <= 0.03;
        steady += good;
        for (int of = 0; of <= good; of++) {
            if (best[of] < 0 || loop_ticks[i] < loop_ticks[best[of]]) {
                best[of] = i;
            }
        }
    }
    bool most = steady >= n / 2;
    int at = best[most];
    *loop = loop_ticks[at];
    *chain = (chain_ticks[at] + chain_ticks[at + 1]) / 2;
    return most;
}

/* x * 0.5 + 0.5 keeps 1, and x * 1, x + 0 keep anything: operands stay normal numbers, so the loop
 * measures neither denormals nor NaNs. */
static const float ONE = 1.0f, HALF = 0.5f;

#define EACH_12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define EACH_24(X)                                                                                 \
    EACH_12(X) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)

/* The vector registers that every compiler knows; the upper 16 are used by no code around. */
#define VECTOR_CLOBBERS                                                                            \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static void fma_avx512(int64_t iterations, float out[16]) {
#define LOAD(i) "vbroadcastss %[one], %%zmm" #i "\n\t"
#define STEP(i) "vfmadd213ps %%zmm31, %%zmm30, %%zmm" #i "\n\t"
#define JOIN(i) "vmulps %%zmm" #i ", %%zmm29, %%zmm29\n\t"
    __asm__ volatile(
        "vbroadcastss %[half], %%zmm30\n\t"
        "vbroadcastss %[half], %%zmm31\n\t"
        "vbroadcastss %[one], %%zmm29\n\t" EACH_24(
            LOAD) ".p2align 5\n"
                  "1:\n\t" EACH_24(STEP) "dec %[n]\n\t"
                                         "jnz 1b\n\t" EACH_24(JOIN) "vmovups %%zmm29, (%[out])\n\t"
                                                                    "vzeroupper\n\t"
        : [n] "+r"(iterations)
        : [one] "m"(ONE), [half] "m"(HALF), [out] "r"(out)
        : "memory", "cc", VECTOR_CLOBBERS);
#undef LOAD
#undef STEP
#undef JOIN
}

/* Pairs (1, -1) by (1, 1): every step adds 1 and takes it away again. */
static const uint32_t ONE_ONE = 0x3F803F80, ONE_MINUS_ONE = 0x3F80BF80;

static void dot_avx512_bf16(int64_t iterations, float out[16]) {
#define LOAD(i) "vbroadcastss %[one], %%zmm" #i "\n\t"
#define STEP(i) "vdpbf16ps %%zmm31, %%zmm30, %%zmm" #i "\n\t"
#define JOIN(i) "vmulps %%zmm" #i ", %%zmm29, %%zmm29\n\t"
    __asm__ volatile(
        "vbroadcastss %[pair], %%zmm30\n\t"
        "vbroadcastss %[ones], %%zmm31\n\t"
        "vbroadcastss %[one], %%zmm29\n\t" EACH_24(
            LOAD) ".p2align 5\n"
                  "1:\n\t" EACH_24(STEP) "dec %[n]\n\t"
                                         "jnz 1b\n\t" EACH_24(JOIN) "vmovups %%zmm29, (%[out])\n\t"
                                                                    "vzeroupper\n\t"
        : [n] "+r"(iterations)
        : [one] "m"(ONE), [pair] "m"(ONE_MINUS_ONE), [ones] "m"(ONE_ONE), [out] "r"(out)
        : "memory", "cc", VECTOR_CLOBBERS);
#undef LOAD
#undef STEP
#undef JOIN
}

/* tiles (6, 16, 16) hold ones before and after: as above, what even k add odd k take away. */
enum { AMX_CHAINS = 6, AMX_TILE = 16 * 16 };

static void dot_amx(int64_t iterations, float tiles[AMX_CHAINS * AMX_TILE]) {
    const struct {
        uint8_t palette, start, unused[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    uint32_t pairs[2][AMX_TILE];
    for (int i = 0; i < AMX_TILE; i++) {
        pairs[0][i] = ONE_MINUS_ONE;
        pairs[1][i] = ONE_ONE;
    }
#define EACH_6(X) X(0) X(1) X(2) X(3) X(4) X(5)
#define LOAD(i)   "tileloadd 1024*" #i "(%[c], %[row]), %%tmm" #i "\n\t"
#define STEP(i)   "tdpbf16ps %%tmm7, %%tmm6, %%tmm" #i "\n\t"
#define STORE(i)  "tilestored %%tmm" #i ", 1024*" #i "(%[c], %[row])\n\t"
    __asm__ volatile(
        "ldtilecfg %[config]\n\t" EACH_6(
            LOAD) "tileloadd (%[pairs], %[row]), %%tmm6\n\t"
                  "tileloadd 1024(%[pairs], %[row]), %%tmm7\n\t"
                  ".p2align 5\n"
                  "1:\n\t" EACH_6(STEP) EACH_6(STEP) "dec %[n]\n\t"
                                                     "jnz 1b\n\t" EACH_6(STORE) "tilerelease\n\t"
        : [n] "+r"(iterations)
        : [c] "r"(tiles), [pairs] "r"(pairs), [config] "m"(config), [row] "r"(INT64_C(64))
        : "memory", "cc");
#undef EACH_6
#undef LOAD
#undef STEP
#undef STORE
}

static void fma_avx2(int64_t iterations, float out[16]) {
#define LOAD(i) "vbroadcastss %[one], %%ymm" #i "\n\t"
#define STEP(i) "vfmadd213ps %%ymm14, %%ymm15, %%ymm" #i "\n\t"
#define JOIN(i) "vmulps %%ymm" #i ", %%ymm13, %%ymm13\n\t"
    __asm__ volatile("vbroadcastss %[half], %%ymm14\n\t"
                     "vbroadcastss %[half], %%ymm15\n\t"
                     "vbroadcastss %[one], %%ymm13\n\t" EACH_12(
                         LOAD) ".p2align 5\n"
                               "1:\n\t" EACH_12(STEP) "dec %[n]\n\t"
                                                      "jnz 1b\n\t" EACH_12(
                                                          JOIN) "vmovups %%ymm13, (%[out])\n\t"
                                                                "vmovups %%ymm13, 32(%[out])\n\t"
                                                                "vzeroupper\n\t"
                     : [n] "+r"(iterations)
                     : [one] "m"(ONE), [half] "m"(HALF), [out] "r"(out)
                     : "memory", "cc", VECTOR_CLOBBERS);
#undef LOAD
#undef STEP
#undef JOIN
}

/* Multiplications and additions are separate chains, so that neither waits for the other. */
static void mul_add_sse2(int64_t iterations, float out[16]) {
#define LOAD(i)    "movaps %%xmm15, %%xmm" #i "\n\t"
#define PAIR(m, a) "mulps %%xmm15, %%xmm" #m "\n\taddps %%xmm14, %%xmm" #a "\n\t"
#define ALL_PAIRS  PAIR(0, 7) PAIR(1, 8) PAIR(2, 9) PAIR(3, 10) PAIR(4, 11) PAIR(5, 12) PAIR(6, 13)
#define JOIN(i)    "mulps %%xmm" #i ", %%xmm15\n\t"
    __asm__ volatile("movss %[one], %%xmm15\n\t"
                     "shufps $0, %%xmm15, %%xmm15\n\t"
                     "xorps %%xmm14, %%xmm14\n\t" EACH_12(LOAD) LOAD(12)
                         LOAD(13) "xorps %%xmm14, %%xmm14\n\t"
                                  ".p2align 5\n"
                                  "1:\n\t" ALL_PAIRS ALL_PAIRS ALL_PAIRS ALL_PAIRS "dec %[n]\n\t"
                                  "jnz 1b\n\t" EACH_12(JOIN) JOIN(12)
                                      JOIN(13) "movups %%xmm15, (%[out])\n\t"
                                               "movups %%xmm15, 16(%[out])\n\t"
                                               "movups %%xmm15, 32(%[out])\n\t"
                                               "movups %%xmm15, 48(%[out])\n\t"
                     : [n] "+r"(iterations)
                     : [one] "m"(ONE), [out] "r"(out)
                     : "memory", "cc", VECTOR_CLOBBERS);
#undef LOAD
#undef PAIR
#undef ALL_PAIRS
#undef JOIN
}

static bool all_one(const float out[16]) {
    for (int i = 0; i < 16; i++) {
        if (!(out[i] == 1.0f)) {
            return false;
        }
    }
    return true;
}

bool td_peak_dot(int64_t iterations) {
    float out[16] = {0};
    dot_avx512_bf16(iterations, out);
    return all_one(out);
}

bool td_peak_tiles(int64_t iterations) {
    float tiles[AMX_CHAINS * AMX_TILE];
    bool good = true;
    for (int i = 0; i < AMX_CHAINS * AMX_TILE; i++) {
        tiles[i] = 1.0f;
    }
    dot_amx(iterations, tiles);
    for (int i = 0; i < AMX_CHAINS * AMX_TILE; i += 16) {
        good = good && all_one(tiles + i);
    }
    return good;
}

bool td_peak_fma(td_isa isa, int64_t iterations) {
    float out[16] = {0};
    if (isa >= TD_ISA_AVX512) {
        fma_avx512(iterations, out);
    } else if (isa == TD_ISA_AVX2) {
        fma_avx2(iterations, out);
    } else {
        mul_add_sse2(iterations, out);
    }
    return all_one(out);
}

uint64_t td_peak_adds(int64_t iterations) {
    uint64_t sum = 0, one = 1;
    __asm__ volatile("1:\n\t"
                     ".rept 1024\n\t"
                     "add %[one], %[sum]\n\t"
                     ".endr\n\t"
                     "dec %[n]\n\t"
                     "jnz 1b\n\t"
                     : [n] "+r"(iterations), [sum] "+r"(sum)
                     : [one] "r"(one)
                     : "cc");
    return sum;
}

#define EACH_8(X) X(0, 0) X(1, 1) X(2, 2) X(3, 3) X(4, 4) X(5, 5) X(6, 6) X(7, 7)

static void read_avx512(const void *data, int64_t bytes, uint64_t out[8]) {
#define ZERO(i, at) "vpxorq %%zmm" #i ", %%zmm" #i ", %%zmm" #i "\n\t"
#define STEP(i, at) "vpxorq 64*" #at "(%[p]), %%zmm" #i ", %%zmm" #i "\n\t"
#define JOIN(i, at) "vpxorq %%zmm" #i ", %%zmm8, %%zmm8\n\t"
    __asm__ volatile(
        "vpxorq %%zmm8, %%zmm8, %%zmm8\n\t" EACH_8(
            ZERO) ".p2align 5\n"
                  "1:\n\t" EACH_8(STEP) "add $512, %[p]\n\t"
                                        "sub $512, %[n]\n\t"
                                        "jnz 1b\n\t" EACH_8(JOIN) "vmovups %%zmm8, (%[out])\n\t"
                                                                  "vzeroupper\n\t"
        : [n] "+r"(bytes), [p] "+r"(data)
        : [out] "r"(out)
        : "memory", "cc", VECTOR_CLOBBERS);
#undef ZERO
#undef STEP
#undef JOIN
}

static void read_avx2(const void *data, int64_t bytes, uint64_t out[8]) {
#define ZERO(i, at) "vpxor %%ymm" #i ", %%ymm" #i ", %%ymm" #i "\n\t"
#define STEP(i, at) "vpxor 32*" #at "(%[p]), %%ymm" #i ", %%ymm" #i "\n\t"
#define JOIN(i, at) "vpxor %%ymm" #i ", %%ymm8, %%ymm8\n\t"
    __asm__ volatile(
        "vpxor %%ymm8, %%ymm8, %%ymm8\n\t" EACH_8(
            ZERO) ".p2align 5\n"
                  "1:\n\t" EACH_8(STEP) "add $256, %[p]\n\t"
                                        "sub $256, %[n]\n\t"
                                        "jnz 1b\n\t" EACH_8(JOIN) "vmovups %%ymm8, (%[out])\n\t"
                                                                  "vzeroupper\n\t"
        : [n] "+r"(bytes), [p] "+r"(data)
        : [out] "r"(out)
        : "memory", "cc", VECTOR_CLOBBERS);
#undef ZERO
#undef STEP
#undef JOIN
}

static void read_sse2(const void *data, int64_t bytes, uint64_t out[8]) {
#define ZERO(i, at) "pxor %%xmm" #i ", %%xmm" #i "\n\t"
#define STEP(i, at) "pxor 16*" #at "(%[p]), %%xmm" #i "\n\t"
#define JOIN(i, at) "pxor %%xmm" #i ", %%xmm8\n\t"
    __asm__ volatile(
        "pxor %%xmm8, %%xmm8\n\t" EACH_8(
            ZERO) ".p2align 5\n"
                  "1:\n\t" EACH_8(STEP) "add $128, %[p]\n\t"
                                        "sub $128, %[n]\n\t"
                                        "jnz 1b\n\t" EACH_8(JOIN) "movups %%xmm8, (%[out])\n\t"
        : [n] "+r"(bytes), [p] "+r"(data)
        : [out] "r"(out)
        : "memory", "cc", VECTOR_CLOBBERS);
#undef ZERO
#undef STEP
#undef JOIN
}

uint64_t td_peak_read(td_isa isa, const void *data, int64_t bytes) {
    uint64_t out[8] = {0}, all = 0;
    TD_ASSERT(bytes > 0 && bytes % 512 == 0 && (uintptr_t)data % 64 == 0);
    if (isa >= TD_ISA_AVX512) {
        read_avx512(data, bytes, out);
    } else if (isa == TD_ISA_AVX2) {
        read_avx2(data, bytes, out);
    } else {
        read_sse2(data, bytes, out);
    }
    for (int i = 0; i < 8; i++) {
        all ^= out[i];
    }
    return all;
}

/* The three stores differ in width only; a copy is bound by memory or by one store a cycle. */
#define COPY_LOOP(load, store, reg, width, tail)                                                   \
    __asm__ volatile(".p2align 5\n"                                                                \
                     "1:\n\t" load " (%[from]), %%" reg "0\n\t" load " " width "(%[from]), %%" reg \
                     "1\n\t" load " 2*" width "(%[from]), %%" reg "2\n\t" load " 3*" width         \
                     "(%[from]), %%" reg "3\n\t" store " %%" reg "0, (%[to])\n\t" store " %%" reg  \
                     "1, " width "(%[to])\n\t" store " %%" reg "2, 2*" width "(%[to])\n\t" store   \
                     " %%" reg "3, 3*" width "(%[to])\n\t"                                         \
                     "add $4*" width ", %[from]\n\t"                                               \
                     "add $4*" width ", %[to]\n\t"                                                 \
                     "sub $4*" width ", %[n]\n\t"                                                  \
                     "jnz 1b\n\t"                                                                  \
                     "sfence\n\t" tail                                                             \
                     : [n] "+r"(bytes), [from] "+r"(from), [to] "+r"(to)                           \
                     :                                                                             \
                     : "memory", "cc", VECTOR_CLOBBERS)

void td_peak_copy(td_isa isa, void *to, const void *from, int64_t bytes, bool streaming) {
    TD_ASSERT(bytes > 0 && bytes % 512 == 0);
    TD_ASSERT((uintptr_t)to % 64 == 0 && (uintptr_t)from % 64 == 0);
    if (isa >= TD_ISA_AVX512 && streaming) {
        COPY_LOOP("vmovaps", "vmovntps", "zmm", "64", "vzeroupper\n\t");
    } else if (isa >= TD_ISA_AVX512) {
        COPY_LOOP("vmovaps", "vmovaps", "zmm", "64", "vzeroupper\n\t");
    } else if (isa == TD_ISA_AVX2 && streaming) {
        COPY_LOOP("vmovaps", "vmovntps", "ymm", "32", "vzeroupper\n\t");
    } else if (isa == TD_ISA_AVX2) {
        COPY_LOOP("vmovaps", "vmovaps", "ymm", "32", "vzeroupper\n\t");
    } else if (streaming) {
        COPY_LOOP("movaps", "movntps", "xmm", "16", "");
    } else {
        COPY_LOOP("movaps", "movaps", "xmm", "16", "");
    }
}

#define ADD_LOOP(load, add, store, reg, width, tail)                                               \
    __asm__ volatile(                                                                              \
        ".p2align 5\n"                                                                             \
        "1:\n\t" load " (%[from]), %%" reg "0\n\t" load " " width "(%[from]), %%" reg "1\n\t" load \
        " 2*" width "(%[from]), %%" reg "2\n\t" load " 3*" width "(%[from]), %%" reg               \
        "3\n\t" add("", "0") add(width, "1") add("2*" width, "2") add("3*" width, "3") store       \
        " %%" reg "0, (%[to])\n\t" store " %%" reg "1, " width "(%[to])\n\t" store " %%" reg       \
        "2, 2*" width "(%[to])\n\t" store " %%" reg "3, 3*" width "(%[to])\n\t"                    \
        "add $4*" width ", %[from]\n\t"                                                            \
        "add $4*" width ", %[to]\n\t"                                                              \
        "sub $4*" width ", %[n]\n\t"                                                               \
        "jnz 1b\n\t" tail                                                                          \
        : [n] "+r"(bytes), [from] "+r"(from), [to] "+r"(to)                                        \
        :                                                                                          \
        : "memory", "cc", VECTOR_CLOBBERS)
#define ADD_ZMM(at, i) "vpaddq " at "(%[to]), %%zmm" i ", %%zmm" i "\n\t"
#define ADD_YMM(at, i) "vpaddq " at "(%[to]), %%ymm" i ", %%ymm" i "\n\t"
#define ADD_XMM(at, i) "paddq " at "(%[to]), %%xmm" i "\n\t"

void td_peak_add(td_isa isa, void *to, const void *from, int64_t bytes) {
    TD_ASSERT(bytes > 0 && bytes % 512 == 0);
    TD_ASSERT((uintptr_t)to % 64 == 0 && (uintptr_t)from % 64 == 0);
    if (isa >= TD_ISA_AVX512) {
        ADD_LOOP("vmovdqa64", ADD_ZMM, "vmovdqa64", "zmm", "64", "vzeroupper\n\t");
    } else if (isa == TD_ISA_AVX2) {
        ADD_LOOP("vmovdqa", ADD_YMM, "vmovdqa", "ymm", "32", "vzeroupper\n\t");
    } else {
        ADD_LOOP("movdqa", ADD_XMM, "movdqa", "xmm", "16", "");
    }
}

#define SWAP_LOOP(move, reg, width, tail)                                                          \
    __asm__ volatile(".p2align 5\n"                                                                \
                     "1:\n\t" move " (%[from]), %%" reg "0\n\t" move " " width "(%[from]), %%" reg \
                     "1\n\t" move " (%[to]), %%" reg "2\n\t" move " " width "(%[to]), %%" reg      \
                     "3\n\t" move " %%" reg "0, (%[to])\n\t" move " %%" reg "1, " width            \
                     "(%[to])\n\t" move " %%" reg "2, (%[from])\n\t" move " %%" reg "3, " width    \
                     "(%[from])\n\t"                                                               \
                     "add $2*" width ", %[from]\n\t"                                               \
                     "add $2*" width ", %[to]\n\t"                                                 \
                     "sub $2*" width ", %[n]\n\t"                                                  \
                     "jnz 1b\n\t" tail                                                             \
                     : [n] "+r"(bytes), [from] "+r"(from), [to] "+r"(to)                           \
                     :                                                                             \
                     : "memory", "cc", VECTOR_CLOBBERS)

void td_peak_swap(td_isa isa, void *to, void *from, int64_t bytes) {
    TD_ASSERT(bytes > 0 && bytes % 512 == 0);
    TD_ASSERT((uintptr_t)to % 64 == 0 && (uintptr_t)from % 64 == 0);
    if (isa >= TD_ISA_AVX512) {
        SWAP_LOOP("vmovaps", "zmm", "64", "vzeroupper\n\t");
    } else if (isa == TD_ISA_AVX2) {
        SWAP_LOOP("vmovaps", "ymm", "32", "vzeroupper\n\t");
    } else {
        SWAP_LOOP("movaps", "xmm", "16", "");
    }
}
