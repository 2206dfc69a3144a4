/* SPDX-License-Identifier: Apache-2.0
 * The functions of kernels/vmath.h against glibc in f64, within the bounds the header states, and
 * the same bits from every ISA; with denormals kept and with denormals flushed. A sample of all
 * floats here, each one of them in the suite full_vmath.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "bench/vmath_oracle.h"
#include "kernels/kernel.h"

/* Every 1,999th float of all 2^32: prime, so that all exponents and low bits occur. */
enum { STRIDE = 1999, CHUNK = 4096, NEAR = 64, MAX_ROWS = 8 };

/* Where some function changes its path: 0, clamps, zeros of derivatives, powers of two; and where
 * half of x is the smallest normal float, and where errors of two activations were found largest.
 */
static const float breakpoints[] = {
    0.0f,     0x1p-149f,     0x1p-126f,    0x1p-125f,      0x1.0416f2p+1f, 0x1.988acap+1f,
    0x1p-24f, 0x1p-12f,      0.5f,         0x1.6a09e6p-1f, 1.0f,           1.41421f,
    2.0f,     0.751791f,     0.7524f,      0.346573590f,   0.693147f,      8.0f,
    10.0f,    10.5f,         11.0f,        12.0f,          13.2f,          14.4f,
    16.0f,    17.0f,         51.3f,        61.1f,          62.0f,          64.0f,
    80.0f,    87.336544751f, 88.72283905f, 89.0f,          103.2789f,      103.972f,
    104.0f,   128.0f,        1e4f,         1e19f,          0x1p64f,        3e38f,
    INFINITY};
enum { BREAKPOINTS = sizeof breakpoints / sizeof breakpoints[0] };

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Fills x with input number `chunk`: first the breakpoints' neighbours of both signs, then all
 * floats with a stride. False when there is none left. */
static bool chunk_fill(int64_t chunk, float *x) {
    if (chunk < BREAKPOINTS) {
        for (int i = 0; i < CHUNK; i++) {
            uint32_t near = bits_of(breakpoints[chunk]) + (uint32_t)(i / 2 % (2 * NEAR)) - NEAR;
            x[i] = float_of((near & INT32_MAX) | (uint32_t)(i & 1) << 31);
        }
        return true;
    }
    uint64_t first = (uint64_t)(chunk - BREAKPOINTS) * CHUNK * STRIDE;
    for (uint64_t i = 0; i < CHUNK; i++) {
        x[i] = float_of((uint32_t)(first + i * STRIDE)); /* the last chunk starts over */
    }
    return first <= UINT32_MAX;
}

static void flush_denormals(bool on) {
    _mm_setcsr(on ? _mm_getcsr() | 0x8040u : _mm_getcsr() & ~0x8040u);
}

/* The rows that this CPU can run, the portable one first. */
static int find_rows(const td_kernel *found[MAX_ROWS]) {
    int count, n = 0;
    const td_kernel *rows = td_kernels(&count);
    for (int i = count - 1; i >= 0; i--) {
        if (rows[i].op == TD_OP_vmath_f32 && rows[i].isa <= td_isa_native()) {
            cr_assert_lt(n, MAX_ROWS);
            found[n++] = &rows[i];
        }
    }
    cr_assert(n > 0 && found[0]->isa == TD_ISA_PORTABLE);
    return n;
}

static void run_row(const td_kernel *row, td_vmath_function f, bool flushed, const float *x,
                    float *y) {
    td_vmath_f32_args args = {.n = CHUNK, .function = f, .x = x, .y = y};
    flush_denormals(flushed);
    row->run(&args, 0, 1, NULL);
    flush_denormals(false);
}

/* What a row saw where it read denormals as zero. */
static void seen(const float *x, bool flushed, float *as) {
    for (int i = 0; i < CHUNK; i++) {
        as[i] = flushed && fabsf(x[i]) < 0x1p-126f ? copysignf(0.0f, x[i]) : x[i];
    }
}

static bool same(float a, float b) {
    return bits_of(a) == bits_of(b) || (isnan(a) && isnan(b));
}

/* Assertions inside the loops would cost a message each. */
typedef struct unequal {
    int64_t n;
    float at;
} unequal;

static void count_unequal(unequal *found, const float *x, const float *a, const float *b) {
    if (memcmp(a, b, CHUNK * sizeof *a) == 0) {
        return;
    }
    for (int i = 0; i < CHUNK; i++) {
        if (!same(a[i], b[i])) {
            found->n++;
            found->at = x[i];
        }
    }
}

static void expect_good(const td_vmath_bound *bound, const td_vmath_finding *found,
                        const unequal *different) {
    cr_log_info("%s: at most %.4f ULP, %.3g elsewhere, %.3f of its bound at %a\n", bound->name,
                found->ulp, found->absolute, found->worst, (double)found->worst_at);
    cr_expect(found->worst <= 1, "%s: %g of its bound at %a", bound->name, found->worst,
              (double)found->worst_at);
    cr_expect_eq(different->n, 0, "%s: %lld results differ between ISAs, one at %a", bound->name,
                 (long long)different->n, (double)different->at);
}

static struct criterion_test_params each_function(void) {
    static int indices[TD_VMATH_COUNT];
    for (int i = 0; i < TD_VMATH_COUNT; i++) {
        indices[i] = i;
    }
    return cr_make_param_array(int, indices, TD_VMATH_COUNT);
}

ParameterizedTestParameters(vmath, within_bounds_and_equal_on_every_isa) {
    return each_function();
}

ParameterizedTest(int *index, vmath, within_bounds_and_equal_on_every_isa) {
    td_vmath_function f = (td_vmath_function)*index;
    const td_vmath_bound *bound = td_vmath_bound_of(f);
    static float x[CHUNK], as[CHUNK], y[MAX_ROWS][CHUNK];
    static double exact[CHUNK];
    const td_kernel *rows[MAX_ROWS];
    td_vmath_finding found = {0};
    unequal different = {0};
    int n_rows = find_rows(rows);
    for (int flushed = 0; flushed < 2; flushed++) {
        for (int64_t chunk = 0; chunk_fill(chunk, x); chunk++) {
            for (int r = 0; r < n_rows; r++) {
                run_row(rows[r], f, flushed != 0, x, y[r]);
                count_unequal(&different, x, y[0], y[r]);
            }
            seen(x, flushed != 0, as);
            td_vmath_exact(f, CHUNK, as, exact);
            td_vmath_compare(bound, CHUNK, x, exact, y[0], flushed != 0, &found);
        }
    }
    expect_good(bound, &found, &different);
}

ParameterizedTestParameters(full_vmath, every_float_there_is) {
    return each_function();
}

/* All 2^32 floats, on every row but the portable one, which would take an hour. With denormals
 * flushed only what that changes is compared again. */
ParameterizedTest(int *index, full_vmath, every_float_there_is) {
    td_vmath_function f = (td_vmath_function)*index;
    const td_vmath_bound *bound = td_vmath_bound_of(f);
    static float x[CHUNK], as[CHUNK], y[MAX_ROWS][CHUNK], flushed[CHUNK];
    static double exact[CHUNK];
    const td_kernel *rows[MAX_ROWS];
    td_vmath_finding found = {0};
    unequal different = {0};
    int n_rows = find_rows(rows);
    if (n_rows < 2) {
        cr_skip_test("this CPU has the portable row only");
    }
    for (uint64_t first = 0; first <= UINT32_MAX; first += CHUNK) {
        for (uint32_t i = 0; i < CHUNK; i++) {
            x[i] = float_of((uint32_t)first + i);
        }
        for (int r = 1; r < n_rows; r++) {
            run_row(rows[r], f, false, x, y[r]);
            count_unequal(&different, x, y[1], y[r]);
        }
        td_vmath_exact(f, CHUNK, x, exact);
        td_vmath_compare(bound, CHUNK, x, exact, y[1], false, &found);
        run_row(rows[1], f, true, x, flushed);
        if (memcmp(flushed, y[1], sizeof flushed) != 0) {
            seen(x, true, as);
            td_vmath_exact(f, CHUNK, as, exact);
            td_vmath_compare(bound, CHUNK, x, exact, flushed, true, &found);
        }
    }
    expect_good(bound, &found, &different);
}

static long double sigmoid_l(long double x) {
    return 1 / (1 + expl(-x));
}

static long double phi_l(long double x) {
    return 0.5L * erfcl(-x * sqrtl(0.5L));
}

static long double exact_l(td_vmath_function f, long double x) {
    const long double root = sqrtl(2 / acosl(-1)), c = 0.044715L;
    long double w = 2 * root * (x + c * x * x * x), slope = 2 * root * (1 + 3 * c * x * x);
    switch (f) {
    case TD_VMATH_exp:
        return expl(x);
    case TD_VMATH_log:
        return logl(x);
    case TD_VMATH_rsqrt:
        return 1 / sqrtl(x);
    case TD_VMATH_sigmoid:
        return sigmoid_l(x);
    case TD_VMATH_softplus:
        return x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x));
    case TD_VMATH_gelu_erf:
        return x * phi_l(x);
    case TD_VMATH_gelu_tanh:
        return x * sigmoid_l(w);
    case TD_VMATH_gelu_quick:
        return x * sigmoid_l(1.702L * x);
    case TD_VMATH_gelu_erf_grad:
        return phi_l(x) + x * expl(-x * x / 2) * root / 2;
    case TD_VMATH_gelu_tanh_grad:
        return sigmoid_l(w) + x * slope * sigmoid_l(w) * sigmoid_l(-w);
    case TD_VMATH_gelu_quick_grad:
        return sigmoid_l(1.702L * x) + x * 1.702L * sigmoid_l(1.702L * x) * sigmoid_l(-1.702L * x);
    case TD_VMATH_COUNT:
        break;
    }
    return NAN;
}

/* What everything is measured by, against the C library's functions in extended precision: a
 * thousandth of an ULP of f32 would be 2^-34. */
Test(vmath, oracle_is_right) {
    enum { N = 200000 };
    for (int f = 0; f < TD_VMATH_COUNT; f++) {
        for (int i = 0; i < N; i += 2) {
            float at = ldexpf(0x1p-20f + (float)i / N, 7 - i % 23 * (i % 3 == 0)); /* to 2^-16 */
            bool positive = f == TD_VMATH_log || f == TD_VMATH_rsqrt;
            float x[2] = {at, positive ? at : -at};
            double y[2];
            td_vmath_exact((td_vmath_function)f, 2, x, y);
            for (int j = 0; j < 2; j++) {
                long double want = exact_l((td_vmath_function)f, (long double)x[j]);
                long double size = fabsl(want) > 0x1p-149L ? fabsl(want) : 0x1p-149L;
                if (f >= TD_VMATH_gelu_erf_grad) {
                    size = 1;
                }
                bool beyond = fabsl(want) > 0x1p128L && y[j] > 0x1p128;
                cr_assert(beyond || fabsl((long double)y[j] - want) <= 0x1p-40L * size,
                          "%s(%a) is %a, expected %La",
                          td_vmath_bound_of((td_vmath_function)f)->name, (double)x[j], y[j], want);
            }
        }
    }
}

/* The error of one result as a share of its bound. */
static double share_of(td_vmath_function f, float x, float y, bool flushed) {
    td_vmath_finding found = {0};
    float xs[2] = {x, x}, ys[2] = {y, y};
    double exact[2];
    td_vmath_exact(f, 2, xs, exact);
    td_vmath_compare(td_vmath_bound_of(f), 2, xs, exact, ys, flushed, &found);
    return found.worst;
}

/* The comparator must reject what is just outside of a bound, and special values that differ. */
Test(vmath, comparator_rejects) {
    cr_assert(share_of(TD_VMATH_exp, 0.0f, 1.0f, false) <= 1);
    cr_assert(share_of(TD_VMATH_exp, 0.0f, 1.0f + 0x1p-23f, false) <= 1);
    cr_assert(share_of(TD_VMATH_exp, 0.0f, 1.0f + 0x1p-22f, false) > 1);
    cr_assert(share_of(TD_VMATH_exp, 0.0f, 0.0f, true) > 1);
    cr_assert(share_of(TD_VMATH_exp, 0.0f, NAN, false) > 1);
    cr_assert(share_of(TD_VMATH_exp, 0.0f, INFINITY, false) > 1);
    cr_assert(share_of(TD_VMATH_exp, NAN, 1.0f, false) > 1);
    cr_assert(share_of(TD_VMATH_exp, INFINITY, 3e38f, false) > 1);
    cr_assert(share_of(TD_VMATH_exp, -104.0f, 0x1p-120f, false) > 1);
    cr_assert(share_of(TD_VMATH_exp, 100.0f, -INFINITY, false) > 1);
    cr_assert(share_of(TD_VMATH_exp, 100.0f, INFINITY, false) <= 1);
    cr_assert(share_of(TD_VMATH_gelu_erf, -INFINITY, -INFINITY, false) > 1);
    cr_assert(share_of(TD_VMATH_gelu_erf, -INFINITY, -0.0f, false) <= 1);
    cr_assert(share_of(TD_VMATH_log, -1.0f, 0.0f, false) > 1);
    cr_assert(share_of(TD_VMATH_log, 0.0f, -INFINITY, false) <= 1);
    cr_assert(share_of(TD_VMATH_sigmoid, -95.0f, 0.0f, false) > 1);
    cr_assert(share_of(TD_VMATH_sigmoid, -95.0f, 0.0f, true) <= 1);
    cr_assert(share_of(TD_VMATH_gelu_erf_grad, 1.0f, 1.0833166f, false) > 1);
}

Test(vmath, limits) {
    static const float in[CHUNK] = {INFINITY, -INFINITY, 0.0f, -0.0f, NAN};
    static const struct {
        td_vmath_function f;
        float at[5];
    } want[] = {{TD_VMATH_exp, {INFINITY, 0, 1, 1, NAN}},
                {TD_VMATH_log, {INFINITY, NAN, -INFINITY, -INFINITY, NAN}},
                {TD_VMATH_rsqrt, {0, NAN, INFINITY, -INFINITY, NAN}},
                {TD_VMATH_sigmoid, {1, 0, 0.5f, 0.5f, NAN}},
                {TD_VMATH_gelu_erf, {INFINITY, -0.0f, 0, -0.0f, NAN}},
                {TD_VMATH_gelu_tanh, {INFINITY, -0.0f, 0, -0.0f, NAN}},
                {TD_VMATH_gelu_quick, {INFINITY, -0.0f, 0, -0.0f, NAN}}};
    const td_kernel *rows[MAX_ROWS];
    find_rows(rows);
    for (size_t w = 0; w < sizeof want / sizeof want[0]; w++) {
        static float y[CHUNK];
        run_row(rows[0], want[w].f, true, in, y); /* the tails' last denormals are zero */
        for (int i = 0; i < 5; i++) {
            cr_expect(same(y[i], want[w].at[i]), "%s(%a) = %a", td_vmath_bound_of(want[w].f)->name,
                      (double)in[i], (double)y[i]);
        }
    }
}
