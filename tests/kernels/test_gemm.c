/* SPDX-License-Identifier: Apache-2.0
 * GEMM against two references of its own: the canonical order written down once more, recursively
 * and element by element, which every row must equal bit for bit; and f64, within the bound of a
 * sum of k products. Epilogues are held to f64 here and to the portable row bit for bit.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "kernel_twin.h"
#include "kernels/gemm/gemm_plan.h"
#include "kernels/kernel.h"

enum { PAD = 5, MAX_ROWS = 8, CANARY = 0x7FC0BEEF };

/* One matrix inside a buffer of canaries: rows PAD floats apart, PAD floats before and behind. */
typedef struct matrix {
    int64_t rows, cols, ld, floats;
    float *base, *data;
} matrix;

static matrix matrix_make(int64_t rows, int64_t cols, int64_t shift) {
    matrix x = {.rows = rows, .cols = cols, .ld = cols + PAD};
    x.floats = rows * x.ld + 2 * PAD + 16;
    x.base = td_alloc((size_t)x.floats * sizeof(float));
    cr_assert_not_null(x.base);
    const uint32_t canary = CANARY;
    for (int64_t i = 0; i < x.floats; i++) {
        memcpy(x.base + i, &canary, sizeof canary);
    }
    x.data = x.base + PAD + shift;
    return x;
}

static float *at(const matrix *x, int64_t i, int64_t j) {
    return x->data + i * x->ld + j;
}

/* Full 24-bit significands: a kernel that drops low bits of its inputs exceeds the bound. */
static matrix matrix_random(int64_t rows, int64_t cols, int64_t shift, uint64_t id) {
    matrix x = matrix_make(rows, cols, shift);
    td_rng rng = td_rng_make(7, TD_PURPOSE_TEST, id);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            *at(&x, i, j) = (float)(td_rng_uniform(&rng) * 2.0 - 1.0);
        }
    }
    return x;
}

static matrix matrix_copy(const matrix *x) {
    matrix y = *x;
    y.base = td_alloc((size_t)x->floats * sizeof(float));
    cr_assert_not_null(y.base);
    memcpy(y.base, x->base, (size_t)x->floats * sizeof(float));
    y.data = y.base + (x->data - x->base);
    return y;
}

/* Equal to the last bit, what lies between and around the rows included. */
static bool matrix_equal(const matrix *x, const matrix *y) {
    return memcmp(x->base, y->base, (size_t)x->floats * sizeof(float)) == 0;
}

typedef struct problem {
    td_gemm_f32_args args;
    matrix a, b, c, preact, residual, bias, act_grad_of;
} problem;

enum {
    WITH_BIAS = 1,
    WITH_PREACT = 2,
    WITH_RESIDUAL = 4,
    WITH_RESIDUAL_C = 8,
    WITH_ACT_GRAD = 16,
    WITH_ACT_GRAD_C = 32,
};

/* form: bit 0 is a_trans, bit 1 b_trans. shift moves every operand by so many floats. */
static problem problem_make(int64_t m, int64_t n, int64_t k, int form, int64_t k_blocks,
                            bool accumulate, int with, td_act act, int64_t shift) {
    problem p = {.args = {.m = m, .n = n, .k = k, .k_blocks = k_blocks, .act = act}};
    td_gemm_f32_args *args = &p.args;
    args->a_trans = (form & 1) != 0;
    args->b_trans = (form & 2) != 0;
    args->accumulate = accumulate;
    p.a = args->a_trans ? matrix_random(k, m, shift, 1) : matrix_random(m, k, shift, 1);
    p.b = args->b_trans ? matrix_random(n, k, shift, 2) : matrix_random(k, n, shift, 2);
    /* Where nothing may read C it holds NaN. */
    p.c = accumulate || with & (WITH_RESIDUAL_C | WITH_ACT_GRAD_C) ? matrix_random(m, n, shift, 3)
                                                                   : matrix_make(m, n, shift);
    p.bias = matrix_random(1, n, shift, 4);
    p.residual = matrix_random(m, n, shift, 5);
    p.act_grad_of = matrix_random(m, n, shift, 6);
    p.preact = matrix_make(m, n, shift);
    args->a = p.a.data;
    args->lda = p.a.ld;
    args->b = p.b.data;
    args->ldb = p.b.ld;
    args->c = p.c.data;
    args->ldc = p.c.ld;
    args->bias = with & WITH_BIAS ? p.bias.data : NULL;
    args->preact = with & WITH_PREACT ? p.preact.data : NULL;
    args->ldpreact = p.preact.ld;
    args->residual = with & WITH_RESIDUAL_C ? p.c.data
                     : with & WITH_RESIDUAL ? p.residual.data
                                            : NULL;
    args->ldresidual = p.residual.ld;
    args->act_grad_of = with & WITH_ACT_GRAD_C ? p.c.data
                        : with & WITH_ACT_GRAD ? p.act_grad_of.data
                                               : NULL;
    args->ldact_grad_of = p.act_grad_of.ld;
    return p;
}

static void problem_destroy(problem *p) {
    const matrix *all[] = {&p->a,        &p->b,    &p->c,          &p->preact,
                           &p->residual, &p->bias, &p->act_grad_of};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        td_free(all[i]->base);
    }
}

/* Runs a row on all tiles in `parts` calls; c and preact of `out` are new, the inputs p's own. */
static problem problem_run(const problem *p, const td_kernel *row, int64_t parts) {
    problem out = *p;
    out.c = matrix_copy(&p->c);
    out.preact = matrix_copy(&p->preact);
    out.args.c = out.c.data;
    out.args.preact = p->args.preact != NULL ? out.preact.data : NULL;
    if (p->args.residual == p->args.c) {
        out.args.residual = out.c.data;
    }
    if (p->args.act_grad_of == p->args.c) {
        out.args.act_grad_of = out.c.data;
    }
    void *scratch = twin_scratch(td_gemm_f32_scratch(&out.args));
    int64_t tiles = td_gemm_f32_tiles(&out.args);
    for (int64_t i = parts - 1; i >= 0; i--) {
        row->run(&out.args, tiles * i / parts, tiles * (i + 1) / parts, scratch);
    }
    return out;
}

static void outputs_destroy(problem *out) {
    td_free(out->c.base);
    td_free(out->preact.base);
}

static float a_of(const problem *p, int64_t i, int64_t k) {
    return p->args.a_trans ? *at(&p->a, k, i) : *at(&p->a, i, k);
}

static float b_of(const problem *p, int64_t k, int64_t j) {
    return p->args.b_trans ? *at(&p->b, j, k) : *at(&p->b, k, j);
}

static float chain(const problem *p, int64_t i, int64_t j, int64_t first, int64_t last, float sum) {
    for (int64_t k = first; k < last; k++) {
        sum = fmaf(a_of(p, i, k), b_of(p, k, j), sum);
    }
    return sum;
}

/* Blocks [first, first + count), count a power of two: halves, left + right. */
static float balanced(const problem *p, int64_t i, int64_t j, int64_t first, int64_t count) {
    if (count == 1) {
        int64_t k = p->args.k, blocks = p->args.k_blocks;
        return chain(p, i, j, k * first / blocks, k * (first + 1) / blocks, 0.0f);
    }
    float left = balanced(p, i, j, first, count / 2);
    return left + balanced(p, i, j, first + count / 2, count / 2);
}

/* Any count: the largest power of two that fits, plus all the rest. */
static float any_tree(const problem *p, int64_t i, int64_t j, int64_t first, int64_t count) {
    int64_t head = 1;
    while (head * 2 <= count) {
        head *= 2;
    }
    float sum = balanced(p, i, j, first, head);
    return head == count ? sum : sum + any_tree(p, i, j, first + head, count - head);
}

/* C as the contract defines it, before any epilogue. */
static matrix canonical(const problem *p) {
    matrix c = matrix_copy(&p->c);
    for (int64_t i = 0; i < c.rows; i++) {
        for (int64_t j = 0; j < c.cols; j++) {
            *at(&c, i, j) = p->args.k_blocks == 1 ? chain(p, i, j, 0, p->args.k,
                                                          p->args.accumulate ? *at(&c, i, j) : 0.0f)
                                                  : any_tree(p, i, j, 0, p->args.k_blocks);
        }
    }
    return c;
}

/* Rows of the table that this CPU runs. */
static int gemm_rows(const td_kernel *rows[MAX_ROWS]) {
    int count, found = 0;
    const td_kernel *all = td_kernels(&count);
    for (int i = 0; i < count; i++) {
        if (all[i].op == TD_OP_gemm_f32 && all[i].isa <= td_isa_native()) {
            cr_assert_lt(found, MAX_ROWS);
            rows[found++] = &all[i];
        }
    }
    return found;
}

static const td_kernel *portable_row(void) {
    const td_kernel *rows[MAX_ROWS];
    for (int i = gemm_rows(rows) - 1; i >= 0; i--) {
        if (rows[i]->isa == TD_ISA_PORTABLE) {
            return rows[i];
        }
    }
    return NULL;
}

/* Sums of products in f64, and of their magnitudes for the bound. */
static double dot64(const problem *p, int64_t i, int64_t j, double *magnitude) {
    double sum = p->args.accumulate ? (double)*at(&p->c, i, j) : 0.0;
    *magnitude = fabs(sum);
    for (int64_t k = 0; k < p->args.k; k++) {
        double product = (double)a_of(p, i, k) * (double)b_of(p, k, j);
        sum += product;
        *magnitude += fabs(product);
    }
    return sum;
}

/* The first place where |c - A B| exceeds gamma_k |A| |B|; false when there is none. A chain of k
 * FMAs rounds k times, a tree fewer. */
static bool exceeds_bound(const problem *p, const matrix *c, char *where, size_t size) {
    const double u = 0x1p-24, k = (double)p->args.k + 1;
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t j = 0; j < c->cols; j++) {
            double magnitude, want = dot64(p, i, j, &magnitude);
            double error = fabs((double)*at(c, i, j) - want);
            if (!(error <= k * u / (1 - k * u) * magnitude)) {
                snprintf(where, size, "c[%d][%d] = %.9g, not %.9g", (int)i, (int)j,
                         (double)*at(c, i, j), want);
                return true;
            }
        }
    }
    return false;
}

static const char *describe(const problem *p, const td_kernel *row, int64_t parts) {
    static char text[160];
    const td_gemm_f32_args *args = &p->args;
    snprintf(text, sizeof text, "%s m%d n%d k%d %c%c blocks %d%s%s, %d parts", row->name,
             (int)args->m, (int)args->n, (int)args->k, args->a_trans ? 'T' : 'N',
             args->b_trans ? 'T' : 'N', (int)args->k_blocks, args->accumulate ? " accumulate" : "",
             (uintptr_t)args->a % 16 != 0 ? " shifted" : "", (int)parts);
    return text;
}

/* B in the order of products, by another row's hand than the portable one's if there is one. */
static float *pack_b(const problem *p) {
    const td_gemm_f32_args *g = &p->args;
    float *packed = td_alloc((size_t)(td_gemm_packed_floats(g->n, g->k) + 1) * sizeof(float));
    td_gemm_pack_f32_args pack = {
        .n = g->n, .k = g->k, .b = g->b, .ldb = g->ldb, .b_trans = g->b_trans, .packed = packed};
    cr_assert_not_null(packed);
    td_ops[TD_OP_gemm_pack_f32].run(&pack, 0, td_gemm_pack_f32_tiles(&pack), NULL);
    return packed;
}

/* Every row, in one to seven calls, from B as it is and from B packed, against what C must be. */
static void expect_rows_equal(const problem *p, const matrix *want) {
    const td_kernel *rows[MAX_ROWS];
    static const int64_t parts[] = {1, 2, 3, 7};
    int n_rows = gemm_rows(rows);
    cr_assert_eq(td_kernels_select(td_isa_native()), TD_OK);
    problem from_packed = *p;
    float *packed = pack_b(p);
    from_packed.args.packed = packed;
    from_packed.args.b = NULL;
    for (int r = 0; r < n_rows; r++) {
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            problem out = problem_run(p, rows[r], parts[i]);
            problem again = problem_run(&from_packed, rows[r], parts[i]);
            cr_expect(matrix_equal(&out.c, want), "%s", describe(p, rows[r], parts[i]));
            cr_expect(matrix_equal(&again.c, want), "packed: %s", describe(p, rows[r], parts[i]));
            outputs_destroy(&out);
            outputs_destroy(&again);
        }
    }
    td_free(packed);
}

/* Around the edges of register tiles (2 x 16, 6 x 16, 14 x 32), of tiles (64 rows), of strips (384
 * columns) and of passes (256 and 384 deep); primes; few rows, which go by columns, and many; k =
 * 1,019 gives rows of 1,024 floats, which collide in L1 and are copied; 8 rows times whole vectors
 * of columns turn B in registers. */
typedef struct shape {
    int64_t m, n, k;
} shape;

static shape shapes[] = {
    {1, 1, 1},      {1, 17, 31},   {2, 33, 0},    {3, 16, 257},   {4, 15, 3},     {5, 31, 16},
    {6, 15, 17},    {7, 32, 255},  {8, 2, 129},   {13, 47, 33},   {14, 48, 256},  {15, 1, 385},
    {16, 16, 2},    {27, 33, 384}, {28, 64, 7},   {29, 31, 769},  {29, 40, 507},  {63, 17, 40},
    {64, 32, 64},   {65, 33, 65},  {113, 65, 31}, {127, 16, 97},  {129, 79, 50},  {3, 383, 29},
    {4, 384, 33},   {6, 385, 19},  {14, 416, 48}, {2, 769, 70},   {13, 811, 11},  {70, 401, 30},
    {11, 37, 1031}, {50, 50, 64},  {257, 3, 23},  {17, 19, 1543}, {29, 99, 1019}, {130, 50, 1019},
    {8, 45, 1543},  {8, 16, 7},    {8, 48, 83},   {8, 64, 1543},  {8, 1072, 21},
};

ParameterizedTestParameters(gemm, rows_equal_the_canonical_order) {
    return cr_make_param_array(shape, shapes, sizeof shapes / sizeof shapes[0]);
}

ParameterizedTest(shape *s, gemm, rows_equal_the_canonical_order) {
    static const int64_t blocks[] = {1, 1, 2, 3, 8};
    for (int form = 0; form < 3; form++) {
        for (int b = 0; b < 5; b++) {
            problem p = problem_make(s->m, s->n, s->k, form, blocks[b], b == 1, 0, TD_ACT_NONE,
                                     (form + b) % 2);
            matrix want = canonical(&p);
            expect_rows_equal(&p, &want);
            td_free(want.base);
            problem_destroy(&p);
        }
    }
}

/* With C as the residual, what a second call computes again is added twice. Few rows in place and
 * turned, a short product in blocks, and a plain one; several strips of columns each. */
Test(gemm, calls_compute_their_own_tiles_only) {
    static const struct {
        int64_t m, n, k, blocks;
        int form;
    } cases[] = {
        {8, 800, 96, 1, 2}, {32, 800, 64, 1, 0}, {130, 1104, 64, 8, 1}, {200, 800, 64, 1, 2}};
    int count;
    const td_kernel *rows = td_kernels(&count);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        problem p = problem_make(cases[i].m, cases[i].n, cases[i].k, cases[i].form, cases[i].blocks,
                                 false, WITH_RESIDUAL_C, TD_ACT_NONE, 0);
        for (int r = 0; r < count; r++) {
            if (rows[r].op == TD_OP_gemm_f32 && rows[r].isa <= td_isa_native()) {
                problem whole = problem_run(&p, &rows[r], 1), cut = problem_run(&p, &rows[r], 7);
                cr_expect(matrix_equal(&whole.c, &cut.c), "%s", describe(&p, &rows[r], 7));
                outputs_destroy(&whole);
                outputs_destroy(&cut);
            }
        }
        problem_destroy(&p);
    }
}

/* Many blocks, empty ones, blocks that span passes, and more rows than one block of scratch. */
Test(gemm, unusual_block_counts_and_tall_matrices) {
    static const struct {
        int64_t m, n, k, blocks;
        int form;
    } cases[] = {
        {15, 33, 5, 7, 0},     {7, 17, 40, 40, 1},    {3, 16, 1000, 100, 2}, {15, 20, 1700, 4, 1},
        {31, 35, 1200, 5, 0},  {6, 16, 1024, 64, 2},  {1600, 3, 900, 2, 1},  {3100, 2, 700, 8, 1},
        {1601, 1, 1300, 1, 0}, {29, 33, 2300, 13, 1}, {9, 40, 777, 6, 1},    {9, 40, 777, 11, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        problem p = problem_make(cases[i].m, cases[i].n, cases[i].k, cases[i].form, cases[i].blocks,
                                 false, 0, TD_ACT_NONE, 0);
        matrix want = canonical(&p);
        expect_rows_equal(&p, &want);
        td_free(want.base);
        problem_destroy(&p);
    }
}

Test(gemm, every_row_packs_in_one_order) {
    static const shape some[] = {{0, 1, 1},   {0, 15, 7},   {0, 16, 16},  {0, 17, 33},
                                 {0, 48, 5},  {0, 97, 50},  {0, 385, 31}, {0, 416, 20},
                                 {0, 811, 9}, {0, 1024, 3}, {0, 2048, 17}};
    int count;
    const td_kernel *rows = td_kernels(&count);
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        for (int form = 0; form < 4; form += 2) {
            const int64_t n = some[i].n, k = some[i].k, floats = td_gemm_packed_floats(n, k);
            problem p = problem_make(1, n, k, form, 1, false, 0, TD_ACT_NONE, form / 2);
            matrix want = matrix_make(1, floats, 0);
            memset(want.data, 0, (size_t)floats * sizeof(float));
            for (int64_t j = 0; j < n * k; j++) {
                const int64_t row = j / n, col = j % n; /* as args.h says it lies */
                want.data[col / 16 * 16 * k + row * 16 + col % 16] = b_of(&p, row, col);
            }
            for (int r = 0; r < count; r++) {
                if (rows[r].op != TD_OP_gemm_pack_f32 || rows[r].isa > td_isa_native()) {
                    continue;
                }
                matrix found = matrix_make(1, floats, 0);
                td_gemm_pack_f32_args args = {.n = n,
                                              .k = k,
                                              .b = p.args.b,
                                              .ldb = p.args.ldb,
                                              .b_trans = p.args.b_trans,
                                              .packed = found.data};
                int64_t tiles = td_gemm_pack_f32_tiles(&args);
                rows[r].run(&args, tiles / 2, tiles, NULL);
                rows[r].run(&args, 0, tiles / 2, NULL);
                cr_expect(matrix_equal(&found, &want), "%s n %d k %d form %d", rows[r].name, (int)n,
                          (int)k, form);
                td_free(found.base);
            }
            td_free(want.base);
            problem_destroy(&p);
        }
    }
}

ParameterizedTestParameters(gemm, rows_stay_within_the_bound) {
    static shape some[] = {{29, 47, 769}, {65, 33, 385}, {14, 400, 97}};
    return cr_make_param_array(shape, some, 3);
}

ParameterizedTest(shape *s, gemm, rows_stay_within_the_bound) {
    const td_kernel *rows[MAX_ROWS];
    int n_rows = gemm_rows(rows);
    char where[96];
    for (int form = 0; form < 3; form++) {
        for (int b = 0; b < 3; b++) {
            problem p =
                problem_make(s->m, s->n, s->k, form, b == 2 ? 8 : 1, b == 1, 0, TD_ACT_NONE, 0);
            for (int r = 0; r < n_rows; r++) {
                problem out = problem_run(&p, rows[r], 1);
                bool wrong = exceeds_bound(&p, &out.c, where, sizeof where);
                cr_expect_not(wrong, "%s: %s", describe(&p, rows[r], 1), wrong ? where : "");
                outputs_destroy(&out);
            }
            problem_destroy(&p);
        }
    }
}

/* The epilogue in f64, from libm's erf and tanh. */
static double act64(td_act act, double x) {
    switch (act) {
    case TD_ACT_GELU_ERF:
        return x * 0.5 * erfc(-x * M_SQRT1_2);
    case TD_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case TD_ACT_GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    case TD_ACT_NONE:
        break;
    }
    return x;
}

static double act_grad64(td_act act, double x) {
    const double h = 1e-5;
    return (act64(act, x + h) - act64(act, x - h)) / (2 * h);
}

static void expect_epilogue(const problem *p, const problem *out, const td_kernel *row) {
    const td_gemm_f32_args *args = &p->args;
    for (int64_t i = 0; i < args->m; i++) {
        for (int64_t j = 0; j < args->n; j++) {
            double magnitude, v = dot64(p, i, j, &magnitude);
            double bound = 0x1p-24 * ((double)args->k + 40) * (magnitude + 1);
            v += args->bias != NULL ? (double)args->bias[j] : 0.0;
            if (args->preact != NULL) {
                cr_expect(fabs((double)*at(&out->preact, i, j) - v) <= bound, "%s preact[%d][%d]",
                          describe(p, row, 1), (int)i, (int)j);
            }
            if (args->act_grad_of != NULL) {
                v *= act_grad64(args->act, (double)args->act_grad_of[i * args->ldact_grad_of + j]);
            } else {
                v = act64(args->act, v);
            }
            if (args->residual != NULL) {
                v += (double)args->residual[i * args->ldresidual + j];
            }
            /* No slope of the activations exceeds 1.13. */
            cr_expect(fabs((double)*at(&out->c, i, j) - v) <= 1.2 * bound,
                      "%s act %d: c[%d][%d] = %.9g, not %.9g", describe(p, row, 1), (int)args->act,
                      (int)i, (int)j, (double)*at(&out->c, i, j), v);
        }
    }
}

static int epilogues[] = {
    WITH_BIAS,
    WITH_PREACT,
    WITH_RESIDUAL,
    WITH_RESIDUAL_C,
    WITH_ACT_GRAD,
    WITH_ACT_GRAD_C,
    WITH_BIAS | WITH_PREACT,
    WITH_BIAS | WITH_RESIDUAL,
    WITH_BIAS | WITH_RESIDUAL_C,
    WITH_BIAS | WITH_PREACT | WITH_RESIDUAL_C,
    WITH_ACT_GRAD | WITH_RESIDUAL,
    0,
};

ParameterizedTestParameters(gemm, epilogues) {
    return cr_make_param_array(int, epilogues, sizeof epilogues / sizeof epilogues[0]);
}

ParameterizedTest(int *with, gemm, epilogues) {
    static const shape some[] = {
        {29, 47, 33}, {15, 64, 400}, {65, 17, 20}, {3, 401, 9}, {70, 48, 21}};
    const td_kernel *rows[MAX_ROWS];
    int n_rows = gemm_rows(rows);
    for (int act = TD_ACT_NONE; act <= TD_ACT_GELU_QUICK; act++) {
        for (int i = 0; i < 5; i++) {
            int form = i == 4 ? 2 : (act + i) % 3; /* the last: a tree of short blocks */
            int64_t blocks = i == 1 ? 3 : i == 4 ? 8 : 1;
            bool accumulate = i == 3 && !(*with & WITH_ACT_GRAD_C);
            problem p = problem_make(some[i].m, some[i].n, some[i].k, form, blocks, accumulate,
                                     *with, (td_act)act, i % 2);
            problem want = problem_run(&p, portable_row(), 1);
            for (int r = 0; r < n_rows; r++) {
                for (int64_t parts = 1; parts <= 3; parts++) {
                    problem out = problem_run(&p, rows[r], parts);
                    cr_expect(matrix_equal(&out.c, &want.c) &&
                                  matrix_equal(&out.preact, &want.preact),
                              "%s act %d epilogue %d", describe(&p, rows[r], parts), act, *with);
                    outputs_destroy(&out);
                }
            }
            expect_epilogue(&p, &want, portable_row());
            outputs_destroy(&want);
            problem_destroy(&p);
        }
    }
}

/* Infinities, NaN, zeros of both signs, denormals and numbers that overflow go where the chain says
 * and nowhere else; which NaN it is is not part of the contract. */
Test(gemm, special_values) {
    static const float special[] = {INFINITY,  -INFINITY, NAN,   -0.0f,
                                    0x1p-149f, -3e38f,    3e38f, 0x1p-126f};
    const td_kernel *rows[MAX_ROWS];
    int n_rows = gemm_rows(rows);
    for (int form = 0; form < 3; form++) {
        problem p = problem_make(31, 37, 300, form, form == 1 ? 2 : 1, false, 0, TD_ACT_NONE, 0);
        for (int64_t i = 0; i < 8; i++) {
            *at(&p.a, i * 3, i * 3 + 1) = special[i];
            *at(&p.b, i * 4 + 1, i * 2) = special[i];
        }
        matrix want = canonical(&p);
        for (int r = 0; r < n_rows; r++) {
            problem out = problem_run(&p, rows[r], 1);
            for (int64_t i = 0; i < p.args.m; i++) {
                for (int64_t j = 0; j < p.args.n; j++) {
                    float x = *at(&out.c, i, j), y = *at(&want, i, j);
                    cr_expect((isnan(x) && isnan(y)) || memcmp(&x, &y, sizeof x) == 0,
                              "%s c[%d][%d] = %g, not %g", describe(&p, rows[r], 1), (int)i, (int)j,
                              (double)x, (double)y);
                }
            }
            outputs_destroy(&out);
        }
        td_free(want.base);
        problem_destroy(&p);
    }
}

/* The comparisons themselves: each way of being wrong is seen. */
Test(gemm, comparators_reject_wrong_results) {
    problem p = problem_make(17, 17, 97, 0, 8, false, 0, TD_ACT_NONE, 0);
    matrix right = canonical(&p), wrong = matrix_copy(&right);
    char where[96];
    cr_expect(matrix_equal(&right, &wrong));
    cr_expect_not(exceeds_bound(&p, &right, where, sizeof where));
    *at(&wrong, 3, 4) = nextafterf(*at(&wrong, 3, 4), INFINITY);
    cr_expect_not(matrix_equal(&right, &wrong), "one ULP");
    *at(&wrong, 3, 4) = NAN;
    cr_expect(exceeds_bound(&p, &wrong, where, sizeof where), "NaN");
    *at(&wrong, 3, 4) = 0.0f;
    cr_expect(exceeds_bound(&p, &wrong, where, sizeof where), "zero");
    *at(&wrong, 3, 4) = *at(&right, 4, 3);
    cr_expect(exceeds_bound(&p, &wrong, where, sizeof where), "transposed");
    *at(&wrong, 3, 4) = *at(&right, 3, 5);
    cr_expect(exceeds_bound(&p, &wrong, where, sizeof where), "shifted");
    *at(&wrong, 3, 4) = *at(&right, 3, 4);
    *at(&wrong, 3, 17) = 0.0f;
    cr_expect_not(matrix_equal(&right, &wrong), "written between rows");
    memcpy(wrong.base, right.base, (size_t)right.floats * sizeof(float));
    /* Another tree, and inputs cut to bf16, must show. */
    p.args.k_blocks = 7;
    matrix other = canonical(&p);
    cr_expect_not(matrix_equal(&right, &other), "another tree");
    uint32_t bits;
    for (int64_t i = 0; i < p.a.rows * p.a.ld; i++) {
        memcpy(&bits, p.a.data + i, sizeof bits);
        bits &= 0xFFFF0000u;
        memcpy(p.a.data + i, &bits, sizeof bits);
    }
    cr_expect(exceeds_bound(&p, &right, where, sizeof where), "inputs cut to bf16");
    td_free(other.base);
    td_free(wrong.base);
    td_free(right.base);
    problem_destroy(&p);
}
