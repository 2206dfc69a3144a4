/* SPDX-License-Identifier: Apache-2.0
 * GEMM on bf16 products: what a pair is, against the instruction itself where this CPU has it; and
 * every row against the canonical order written down once more, element by element.
 */
#include <criterion/criterion.h>
#include <immintrin.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "kernel_twin.h"
#include "kernels/kernel.h"

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static bool same(float x, float y) {
    return bits_of(x) == bits_of(y) || (isnan(x) && isnan(y));
}

/* The contract of one step, under FTZ and DAZ; pairs hold the lower k in the low half. */
static float pair_step(uint32_t a, uint32_t b, float acc) {
    acc = fmaf(from_bits(a & 0xFFFF0000u), from_bits(b & 0xFFFF0000u), acc);
    return fmaf(from_bits(a << 16), from_bits(b << 16), acc);
}

__attribute__((target("avx512f,avx512bf16"))) static void instruction(const uint32_t a[16],
                                                                      const uint32_t b[16],
                                                                      const float acc[16],
                                                                      float out[16]) {
    __m512 sum = _mm512_dpbf16_ps(_mm512_loadu_ps(acc), (__m512bh)_mm512_loadu_si512(a),
                                  (__m512bh)_mm512_loadu_si512(b));
    _mm512_storeu_ps(out, sum);
}

/* Any bits; numbers near one another, so that sums cancel and round; products that vanish into
 * denormals; and zeros, denormals, infinities, NaN, the largest numbers. */
enum { ANY, NEAR, TINY, SPECIAL, FLAVOURS };

static uint32_t draw(td_rng *rng, int flavour, bool product) {
    static const uint16_t special[] = {0x0000, 0x8000, 0x0001, 0x807F, 0x0080, 0x8080, 0x7F7F,
                                       0xFF7F, 0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0x3F80, 0xBF80};
    uint32_t bits = (uint32_t)(td_rng_uniform(rng) * 0x1p32);
    uint32_t more = (uint32_t)(td_rng_uniform(rng) * 0x1p32);
    uint32_t base = flavour == NEAR ? 124 : product ? 60 : 1;
    switch (flavour) {
    case NEAR:
    case TINY:
        bits = (bits & 0x807F807Fu) | (base + more % 8) << 23 | (base + more / 8 % 8) << 7;
        return product ? bits : (bits & 0xFFFF807Fu) | (more & 0x7F80u);
    case SPECIAL:
        return (uint32_t)special[bits % 14] << 16 | special[more % 14];
    default:
        return bits;
    }
}

static unsigned flush(void) {
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
}

Test(gemm_bf16, a_pair_is_what_the_instruction_does) {
    if (td_isa_native() < TD_ISA_AVX512_BF16) {
        cr_skip_test("this CPU has no VDPBF16PS");
    }
    td_rng rng = td_rng_make(11, TD_PURPOSE_TEST, 0);
    const unsigned flushing = flush();
    int64_t wrong = 0, other_order = 0;
    for (int64_t i = 0; i < 320000; i++) {
        uint32_t a[16], b[16];
        float acc[16], out[16];
        for (int lane = 0; lane < 16; lane++) {
            int flavour = (int)(i % FLAVOURS);
            a[lane] = draw(&rng, flavour, true);
            b[lane] = draw(&rng, flavour, true);
            acc[lane] = from_bits(draw(&rng, flavour, false));
        }
        /* Whatever MXCSR says: the instruction flushes all the same. */
        _mm_setcsr(i % 2 == 0 ? flushing : flushing | 0x8040);
        instruction(a, b, acc, out);
        _mm_setcsr(flushing | 0x8040);
        for (int lane = 0; lane < 16; lane++) {
            uint32_t swapped_a = a[lane] << 16 | a[lane] >> 16;
            uint32_t swapped_b = b[lane] << 16 | b[lane] >> 16;
            wrong += !same(out[lane], pair_step(a[lane], b[lane], acc[lane]));
            other_order += !same(out[lane], pair_step(swapped_a, swapped_b, acc[lane]));
        }
    }
    _mm_setcsr(flushing);
    cr_expect_eq(wrong, 0, "%lld of 5,120,000", (long long)wrong);
    cr_expect_gt(other_order, 1000, "the inputs do not tell the two orders apart");
}

/* Rounds to nearest even in f64, where the step between bf16 neighbours is a power of two. */
static uint32_t rounded(float x) {
    if (!isfinite(x) || fabsf(x) < 0x1p-126f) {
        return isnan(x) ? 0x7FC0 : bits_of(x) >> 16 & (isinf(x) ? 0xFFFFu : 0x8000u);
    }
    int exponent;
    (void)frexp((double)x, &exponent);
    double step = ldexp(1, exponent - 8);
    return bits_of((float)(nearbyint((double)x / step) * step)) >> 16;
}

typedef struct shape {
    int64_t m, n, k, blocks;
    bool accumulate;
} shape;

typedef struct problem {
    td_op_id op; /* gemm_bf16 or gemm_amx */
    td_gemm_bf16_args args;
    float *a, *b, *c;
} problem;

static float *random_floats(int64_t n, uint64_t id) {
    float *x = td_alloc((size_t)n * sizeof *x + sizeof *x);
    cr_assert_not_null(x);
    td_rng rng = td_rng_make(13, TD_PURPOSE_TEST, id);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(td_rng_uniform(&rng) * 2.0 - 1.0);
    }
    return x;
}

/* bf16 of A's and B's element at k, as the upper half of a float; zero from `last` on. */
static void operands(const problem *p, int64_t i, int64_t j, int64_t k, int64_t last, uint32_t *a,
                     uint32_t *b) {
    const td_gemm_bf16_args *g = &p->args;
    *a = *b = 0;
    if (k < last) {
        *a = rounded(g->a_trans ? p->a[k * g->lda + i] : p->a[i * g->lda + k]);
        *b = rounded(g->b_trans ? p->b[j * g->ldb + k] : p->b[k * g->ldb + j]);
    }
}

static float element_by_pairs(const problem *p, int64_t i, int64_t j, int64_t first, int64_t last,
                              float sum) {
    for (int64_t k = first; k < last; k += 2) {
        uint32_t a[2], b[2];
        operands(p, i, j, k, last, &a[0], &b[0]);
        operands(p, i, j, k + 1, last, &a[1], &b[1]);
        sum = pair_step(a[0] | a[1] << 16, b[0] | b[1] << 16, sum);
    }
    return sum;
}

/* 32 of k, even and odd ones apart. */
static float element_by_tiles(const problem *p, int64_t i, int64_t j, int64_t first, int64_t last,
                              float sum) {
    for (int64_t k = first; k < last; k += 32) {
        float half[2] = {0.0f, 0.0f};
        for (int64_t h = 0; h < 32; h++) {
            uint32_t a, b;
            operands(p, i, j, k + h, last, &a, &b);
            half[h % 2] = fmaf(from_bits(a << 16), from_bits(b << 16), half[h % 2]);
        }
        float both = half[0] + half[1];
        sum += both;
    }
    return sum;
}

static float element(const problem *p, int64_t i, int64_t j, int64_t first, int64_t last,
                     float sum) {
    return p->op == TD_OP_gemm_amx ? element_by_tiles(p, i, j, first, last, sum)
                                   : element_by_pairs(p, i, j, first, last, sum);
}

static float tree(const problem *p, int64_t i, int64_t j, int64_t first, int64_t count) {
    const td_gemm_bf16_args *g = &p->args;
    if (count == 1) {
        return element(p, i, j, g->k * first / g->k_blocks, g->k * (first + 1) / g->k_blocks, 0.0f);
    }
    int64_t head = 1;
    while (head * 2 < count) {
        head *= 2;
    }
    float left = tree(p, i, j, first, head);
    return left + tree(p, i, j, first + head, count - head);
}

/* Operands and results that lie in memory as bf16, as bits. */
enum { STORED_A = 1, STORED_B = 2, STORED_C = 4, STORED_ALL = 7 };

/* At a cache line, as the arenas of a step are. */
static uint16_t *halves_of(const float *x, int64_t n, twin_region region) {
    uint16_t *halves = twin_fenced(region, n * (int64_t)sizeof *halves);
    for (int64_t i = 0; i < n; i++) {
        halves[i] = (uint16_t)rounded(x[i]);
    }
    return halves;
}

static bool is_wanted(const td_gemm_bf16_args *args, int64_t at, float want) {
    if (args->c_bf16 == NULL) {
        return same(args->c[at], want);
    }
    uint32_t found = (uint32_t)args->c_bf16[at] << 16, expected = rounded(want) << 16;
    return same(from_bits(found), from_bits(expected));
}

static void expect_rows_equal(const problem *p, const float *want) {
    const td_gemm_bf16_args *g = &p->args;
    int count;
    const td_kernel *rows = td_kernels(&count);
    float *c = td_alloc((size_t)(g->m * g->ldc) * sizeof *c);
    void *scratch = twin_scratch(td_ops[p->op].scratch(g));
    cr_assert_not_null(c);
    for (int r = 0; r < count; r++) {
        if (rows[r].op != p->op || rows[r].isa > td_isa_native()) {
            continue;
        }
        td_gemm_bf16_args args = *g;
        memcpy(c, p->c, (size_t)(g->m * g->ldc) * sizeof *c);
        args.c = g->c_bf16 == NULL ? c : NULL;
        args.c_bf16 = g->c_bf16 == NULL ? NULL : (uint16_t *)(void *)c;
        unsigned before = _mm_getcsr();
        rows[r].run(&args, 0, td_ops[p->op].tiles(&args), scratch);
        cr_expect_eq(_mm_getcsr() & 0x8040, before & 0x8040, "%s leaves MXCSR", rows[r].name);
        int64_t wrong = 0;
        for (int64_t i = 0; i < g->m * g->n; i++) {
            wrong += !is_wanted(&args, i / g->n * g->ldc + i % g->n, want[i]);
        }
        cr_expect_eq(wrong, 0, "%s %s m%d n%d k%d %c%c blocks %d stored %d%d%d: %d elements",
                     td_ops[p->op].name, rows[r].name, (int)g->m, (int)g->n, (int)g->k,
                     g->a_trans ? 'T' : 'N', g->b_trans ? 'T' : 'N', (int)g->k_blocks,
                     g->a_bf16 != NULL, g->b_bf16 != NULL, g->c_bf16 != NULL, (int)wrong);
    }
    td_free(c);
}

/* The same problem with operands rounded beforehand must give the same sums. */
static void expect_stored_equal(problem *p, int64_t a_floats, int64_t b_floats, int stored,
                                const float *want) {
    td_gemm_bf16_args *g = &p->args;
    const td_gemm_bf16_args plain = *g;
    uint16_t *a = halves_of(p->a, a_floats, TWIN_A);
    uint16_t *b = halves_of(p->b, b_floats, TWIN_B), c;
    if ((stored & STORED_A) != 0) {
        g->a = NULL;
        g->a_bf16 = a;
    }
    if ((stored & STORED_B) != 0) {
        g->b = NULL;
        g->b_bf16 = b;
    }
    g->c_bf16 = (stored & STORED_C) != 0 ? &c : NULL;
    expect_rows_equal(p, want);
    *g = plain;
}

/* Denormals, infinities, NaN and numbers that round across a power of two or to infinity. */
static void sprinkle(float *x, int64_t n) {
    static const uint32_t special[] = {0x00000001, 0x807FFFFF, 0x7F800000, 0x7FC00000, 0x7F7FFFFF,
                                       0x3F7FFFFF, 0x3F808000, 0x3F818000, 0x80000000, 0x00FFFFFF};
    for (int64_t i = 0; i < 10 && i * 97 + 5 < n; i++) {
        x[i * 97 + 5] = from_bits(special[i]);
    }
}

/* VANISHING: products lie among the denormals, where a row that does not flush them differs.
 * WANING, GROWING: some do, and some overflow, beside others that do not: a product that is added
 * before it is rounded gives other bits. */
typedef enum inputs { PLAIN, STRANGE, VANISHING, WANING, GROWING } inputs;

static void stretch(float *x, int64_t n, inputs kind) {
    const float by = kind == VANISHING ? 0x1p-63f : kind == WANING ? 0x1p-61f : 0x1.8p64f;
    for (int64_t i = 0; i < n; i++) {
        x[i] *= by;
    }
}

static void check_shape(td_op_id op, const shape *s, int form, inputs kind) {
    bool a_trans = (form & 1) != 0, b_trans = (form & 2) != 0;
    /* Rows of whole steps begin at cache lines, which gemm_amx reads in place. */
    int64_t lda = (a_trans ? s->m : s->k) + (s->k % 32 == 0 ? 32 : 3),
            ldb = (b_trans ? s->k : s->n) + 1;
    int64_t a_floats = (a_trans ? s->k : s->m) * lda, b_floats = (b_trans ? s->n : s->k) * ldb;
    problem p = {.op = op,
                 .a = random_floats(a_floats, 1),
                 .b = random_floats(b_floats, 2),
                 .c = random_floats(s->m * s->n, 3)};
    if (kind == STRANGE) {
        sprinkle(p.a, a_floats);
        sprinkle(p.b, b_floats);
    } else if (kind != PLAIN) {
        stretch(p.a, a_floats, kind);
        stretch(p.b, b_floats, kind);
    }
    p.args = (td_gemm_bf16_args){.m = s->m,
                                 .n = s->n,
                                 .k = s->k,
                                 .a = p.a,
                                 .b = p.b,
                                 .c = p.c,
                                 .lda = lda,
                                 .ldb = ldb,
                                 .ldc = s->n,
                                 .a_trans = a_trans,
                                 .b_trans = b_trans,
                                 .accumulate = s->accumulate,
                                 .k_blocks = s->blocks};
    float *want = td_alloc((size_t)(s->m * s->n) * sizeof *want);
    cr_assert_not_null(want);
    unsigned before = flush();
    for (int64_t i = 0; i < s->m * s->n; i++) {
        int64_t row = i / s->n, col = i % s->n;
        want[i] = s->blocks > 1 ? tree(&p, row, col, 0, s->blocks)
                                : element(&p, row, col, 0, s->k, s->accumulate ? p.c[i] : 0.0f);
    }
    _mm_setcsr(before);
    expect_rows_equal(&p, want);
    for (int stored = 1; stored <= STORED_ALL && !s->accumulate; stored++) {
        if (s->m * s->n * s->k < 100000 || stored == STORED_ALL) {
            expect_stored_equal(&p, a_floats, b_floats, stored, want);
        }
    }
    td_free(want);
    td_free(p.a);
    td_free(p.b);
    td_free(p.c);
}

/* Around tiles, strips, passes of 384 and 256 pairs, of 1,024 k, and vectors of 16; odd k and odd
 * blocks; short products in whole trees of blocks. */
static void check_canonical_order(td_op_id op) {
    static const shape shapes[] = {
        {1, 1, 1, 1, false},       {1, 17, 31, 1, true},      {2, 33, 0, 1, false},
        {6, 16, 2, 1, false},      {14, 32, 33, 1, true},     {15, 33, 63, 1, false},
        {29, 47, 769, 1, false},   {13, 31, 1537, 1, true},   {65, 97, 70, 1, false},
        {7, 401, 19, 1, false},    {31, 35, 96, 8, false},    {31, 35, 104, 8, false},
        {17, 19, 101, 7, false},   {9, 40, 1700, 4, false},   {9, 16, 2309, 3, false},
        {1600, 3, 1801, 2, false}, {5, 20, 1000, 100, false}, {15, 20, 5, 7, false},
        {33, 31, 3100, 1, true},   {40, 530, 64, 1, false},   {97, 33, 128, 4, false},
        {70, 35, 2112, 1, false},  {67, 48, 16, 8, false},    {65, 80, 63, 4, false},
        {131, 96, 64, 8, false},   {70, 16, 7, 2, false},     {67, 48, 8, 8, false},
        {130, 80, 8, 8, false},    {66, 16, 4, 4, false},     {40, 1040, 8, 8, false},
        {65, 32, 2, 2, false},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int form = 0; form < 3; form++) {
            check_shape(op, &shapes[i], form, PLAIN);
        }
    }
}

static void check_special_values(td_op_id op) {
    static const shape some = {31, 37, 301, 1, false}, blocks = {31, 37, 301, 4, false};
    static const shape few = {67, 48, 31, 8, false};
    for (int form = 0; form < 3; form++) {
        check_shape(op, &some, form, STRANGE);
        check_shape(op, &blocks, form, STRANGE);
        check_shape(op, &some, form, VANISHING);
    }
    static const shape ones = {67, 48, 8, 8, false}, four = {65, 80, 4, 4, false};
    for (inputs kind = STRANGE; kind <= GROWING; kind++) {
        check_shape(op, &few, 1, kind);
        check_shape(op, &ones, 1, kind);
        check_shape(op, &four, 1, kind);
    }
}

Test(gemm_bf16, rows_equal_the_canonical_order) {
    check_canonical_order(TD_OP_gemm_bf16);
}

Test(gemm_bf16, special_values) {
    check_special_values(TD_OP_gemm_bf16);
}

Test(gemm_amx, rows_equal_the_canonical_order) {
    check_canonical_order(TD_OP_gemm_amx);
}

Test(gemm_amx, special_values) {
    check_special_values(TD_OP_gemm_amx);
}
