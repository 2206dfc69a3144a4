/* SPDX-License-Identifier: Apache-2.0
 * The functions of kernels/vmath.h against libm in double, within the bounds the header states, and
 * the same bits from every ISA; with denormals kept and with denormals flushed.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "tests/kernels/vmath_rows.h"

/* Every 1,999th float of all 2^32: prime, so that all exponents and low bits occur. */
enum { STRIDE = 1999, CHUNK = 4096, NEAR = 64 };

/* ulp: bound in units of the last place of the exact result, where that is at least `normal`.
 * absolute: bound for the others, and for all where ulp is 0. */
typedef struct function_row {
    const char *name;
    vmath_function function;
    double (*exact)(double);
    double ulp, normal, absolute;
} function_row;

static double sigmoid(double x) {
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static double softplus(double x) {
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

/* At an infinite x the limit, not inf * 0. */
static double gated(double x, double gate) {
    return gate == 0 ? -0.0 : x * gate;
}

static double phi(double x) {
    return 0.5 * erfc(-x * sqrt(0.5));
}

static double gelu_erf(double x) {
    return gated(x, phi(x));
}

static double tanh_argument(double x) {
    return 2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
}

static double gelu_tanh(double x) {
    return gated(x, sigmoid(tanh_argument(x)));
}

static double gelu_quick(double x) {
    return gated(x, sigmoid(1.702 * x));
}

static double gelu_erf_grad(double x) {
    return phi(x) + (isinf(x) ? 0 : x * exp(-0.5 * x * x) / sqrt(2 * M_PI));
}

static double gate_grad(double x, double w, double slope) {
    double both = sigmoid(w) * sigmoid(-w);
    return sigmoid(w) + (both == 0 ? 0 : x * slope * both);
}

static double gelu_tanh_grad(double x) {
    return gate_grad(x, tanh_argument(x), 2 * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x));
}

static double gelu_quick_grad(double x) {
    return gate_grad(x, 1.702 * x, 1.702);
}

#define STEPS 0x1p-142 /* 4 ULP just below 2^-120 */

/* clang-format off */
static const function_row functions[] = {
    {"exp",              VMATH_exp,              exp,              1, 0x1p-126, STEPS},
    {"log",              VMATH_log,              log,              2, 0x1p-126, STEPS},
    {"sigmoid",          VMATH_sigmoid,          sigmoid,          3, 0x1p-126, STEPS},
    {"softplus",         VMATH_softplus,         softplus,         3, 0x1p-126, STEPS},
    {"gelu_erf",         VMATH_gelu_erf,         gelu_erf,         8, 0x1p-126, STEPS},
    {"gelu_tanh",        VMATH_gelu_tanh,        gelu_tanh,        4, 0x1p-120, STEPS},
    {"gelu_quick",       VMATH_gelu_quick,       gelu_quick,       4, 0x1p-120, STEPS},
    {"gelu_erf_grad",    VMATH_gelu_erf_grad,    gelu_erf_grad,    0, 0,        5e-7},
    {"gelu_tanh_grad",   VMATH_gelu_tanh_grad,   gelu_tanh_grad,   0, 0,        5e-7},
    {"gelu_quick_grad",  VMATH_gelu_quick_grad,  gelu_quick_grad,  0, 0,        5e-7},
};
/* clang-format on */

_Static_assert(sizeof functions / sizeof functions[0] == VMATH_COUNT, "one row a function");

typedef struct row {
    td_isa isa;
    vmath_fn *run;
} row;

static const row rows[] = {{TD_ISA_PORTABLE, td_vmath__portable},
                           {TD_ISA_AVX2, td_vmath__avx2},
                           {TD_ISA_AVX512, td_vmath__avx512}};
enum { ROWS = sizeof rows / sizeof rows[0] };

/* Where some function changes its path: 0, clamps, zeros of derivatives, powers of two. */
static const float breakpoints[] = {
    0.0f,          0x1p-149f,    0x1p-126f, 0x1p-24f,  0x1p-12f, 0.5f,         0x1.6a09e6p-1f,
    1.0f,          1.41421f,     2.0f,      0.751791f, 0.7524f,  0.346573590f, 0.693147f,
    8.0f,          10.0f,        10.5f,     11.0f,     12.0f,    13.2f,        14.4f,
    16.0f,         17.0f,        51.3f,     61.1f,     62.0f,    64.0f,        80.0f,
    87.336544751f, 88.72283905f, 89.0f,     103.2789f, 103.972f, 104.0f,       128.0f,
    1e4f,          1e19f,        0x1p64f,   3e38f,     INFINITY};
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

/* Error in ULP, or in units of the absolute bound; inf where special values do not match. */
static double error_share(const function_row *f, float x, float y, bool flushed) {
    if (flushed && fabsf(x) < 0x1p-126f) {
        x = copysignf(0.0f, x);
    }
    double exact = f->exact((double)x), size = fabs(exact);
    if (isnan(exact) || isinf(exact) || isnan(y)) {
        return isnan(exact) == isnan(y) && (isnan(y) || (double)y == exact) ? 0 : INFINITY;
    }
    /* The largest float may round up to inf. */
    if (isinf(y)) {
        return (y > 0) == (exact > 0) && size > 0x1.fffffdp127 ? 0 : INFINITY;
    }
    if (f->ulp > 0 && size >= f->normal) {
        int exponent = ilogb(size) > -126 ? ilogb(size) : -126;
        return fabs((double)y - exact) / ldexp(f->ulp, exponent - 23);
    }
    if (flushed && y == 0 && size < (f->normal > 0 ? f->normal : f->absolute)) {
        return 0;
    }
    return fabs((double)y - exact) / f->absolute;
}

static void flush_denormals(bool on) {
    _mm_setcsr(on ? _mm_getcsr() | 0x8040u : _mm_getcsr() & ~0x8040u);
}

ParameterizedTestParameters(vmath, within_bounds_and_equal_on_every_isa) {
    static int indices[VMATH_COUNT];
    for (int i = 0; i < VMATH_COUNT; i++) {
        indices[i] = i;
    }
    return cr_make_param_array(int, indices, VMATH_COUNT);
}

/* What one pass over all inputs found: assertions inside the loop would cost a message each. */
typedef struct finding {
    double worst;      /* error as a share of its bound */
    float worst_at;    /* its argument */
    int64_t n_unequal; /* results of other ISAs that differ from the portable ones */
    float unequal_at;
} finding;

static void look(finding *found, const function_row *f, bool flushed, int n_rows, const float *x,
                 float (*y)[CHUNK]) {
    for (int i = 0; i < CHUNK; i++) {
        double share = error_share(f, x[i], y[0][i], flushed);
        if (!(share <= found->worst)) {
            found->worst = share;
            found->worst_at = x[i];
        }
        for (int r = 1; r < n_rows; r++) {
            bool both_nan = isnan(y[0][i]) && isnan(y[r][i]);
            if (!both_nan && bits_of(y[r][i]) != bits_of(y[0][i])) {
                found->n_unequal++;
                found->unequal_at = x[i];
            }
        }
    }
}

ParameterizedTest(int *index, vmath, within_bounds_and_equal_on_every_isa) {
    const function_row *f = &functions[*index];
    static float x[CHUNK], y[ROWS][CHUNK];
    finding found = {0};
    int n_rows = 0;
    while (n_rows < ROWS && rows[n_rows].isa <= td_isa_native()) {
        n_rows++;
    }
    for (int flushed = 0; flushed < 2; flushed++) {
        for (int64_t chunk = 0; chunk_fill(chunk, x); chunk++) {
            flush_denormals(flushed != 0);
            for (int r = 0; r < n_rows; r++) {
                rows[r].run(f->function, CHUNK, x, y[r]);
            }
            flush_denormals(false);
            look(&found, f, flushed != 0, n_rows, x, y);
        }
    }
    cr_log_info("%s: at most %.3f of its bound, at %a\n", f->name, found.worst,
                (double)found.worst_at);
    cr_expect(found.worst <= 1, "%s: %g of its bound at %a", f->name, found.worst,
              (double)found.worst_at);
    cr_expect_eq(found.n_unequal, 0, "%s: %lld results differ between ISAs, one at %a", f->name,
                 (long long)found.n_unequal, (double)found.unequal_at);
}

/* The comparator must reject what is just outside of a bound, and special values that differ. */
Test(vmath, comparator_rejects) {
    const function_row *f = &functions[VMATH_exp];
    cr_assert(error_share(f, 0.0f, 1.0f, false) <= 1);
    cr_assert(error_share(f, 0.0f, 1.0f + 0x1p-23f, false) <= 1);
    cr_assert(error_share(f, 0.0f, 1.0f + 0x1p-22f, false) > 1);
    cr_assert(error_share(f, 0.0f, 0.0f, true) > 1);
    cr_assert(error_share(f, 0.0f, NAN, false) > 1);
    cr_assert(error_share(f, 0.0f, INFINITY, false) > 1);
    cr_assert(error_share(f, NAN, 1.0f, false) > 1);
    cr_assert(error_share(f, INFINITY, 3e38f, false) > 1);
    cr_assert(error_share(f, -104.0f, 0x1p-120f, false) > 1);
}

Test(vmath, limits) {
    static const float in[16] = {INFINITY, -INFINITY, 0.0f, -0.0f, NAN};
    static const struct {
        vmath_function f;
        float at[5];
    } want[] = {{VMATH_exp, {INFINITY, 0, 1, 1, NAN}},
                {VMATH_log, {INFINITY, NAN, -INFINITY, -INFINITY, NAN}},
                {VMATH_sigmoid, {1, 0, 0.5f, 0.5f, NAN}},
                {VMATH_gelu_erf, {INFINITY, -0.0f, 0, -0.0f, NAN}},
                {VMATH_gelu_tanh, {INFINITY, -0.0f, 0, -0.0f, NAN}},
                {VMATH_gelu_quick, {INFINITY, -0.0f, 0, -0.0f, NAN}}};
    for (size_t w = 0; w < sizeof want / sizeof want[0]; w++) {
        float y[16];
        flush_denormals(true); /* the tails' last denormals are zero */
        td_vmath__portable(want[w].f, 16, in, y);
        flush_denormals(false);
        for (int i = 0; i < 5; i++) {
            bool nan = isnan(want[w].at[i]);
            cr_expect(nan ? isnan(y[i]) : bits_of(y[i]) == bits_of(want[w].at[i]), "%s(%a) = %a",
                      functions[want[w].f].name, (double)in[i], (double)y[i]);
        }
    }
}
