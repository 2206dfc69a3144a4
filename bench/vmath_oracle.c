/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/vmath_oracle.h"

#include <math.h>
#include <string.h>

#include "base/status.h"

#define STEPS 0x1p-142 /* 4 ULP just below 2^-120 */

/* clang-format off */
static const td_vmath_bound bounds[TD_VMATH_COUNT] = {
    [TD_VMATH_exp]             = {"exp",             1,   0x1p-126, STEPS},
    [TD_VMATH_log]             = {"log",             2,   0x1p-126, STEPS},
    [TD_VMATH_rsqrt]           = {"rsqrt",           1.5, 0x1p-126, STEPS},
    [TD_VMATH_sigmoid]         = {"sigmoid",         3,   0x1p-126, STEPS},
    [TD_VMATH_softplus]        = {"softplus",        3,   0x1p-126, STEPS},
    [TD_VMATH_gelu_erf]        = {"gelu_erf",        8,   0x1p-126, STEPS},
    [TD_VMATH_gelu_tanh]       = {"gelu_tanh",       4,   0x1p-120, STEPS},
    [TD_VMATH_gelu_quick]      = {"gelu_quick",      4,   0x1p-120, STEPS},
    [TD_VMATH_gelu_erf_grad]   = {"gelu_erf_grad",   0,   0,        5e-7},
    [TD_VMATH_gelu_tanh_grad]  = {"gelu_tanh_grad",  0,   0,        5e-7},
    [TD_VMATH_gelu_quick_grad] = {"gelu_quick_grad", 0,   0,        5e-7},
};
/* clang-format on */

const td_vmath_bound *td_vmath_bound_of(td_vmath_function function) {
    TD_ASSERT(function < TD_VMATH_COUNT);
    return &bounds[function];
}

/* Names and register use are those of the vector ABI that libm's vector part has on x86-64. */
typedef double v2 __attribute__((vector_size(16)));
typedef int64_t i2 __attribute__((vector_size(16)));
v2 _ZGVbN2v_exp(v2);
v2 _ZGVbN2v_log(v2);
v2 _ZGVbN2v_log1p(v2);
v2 _ZGVbN2v_erfc(v2);

static v2 choose(i2 mask, v2 yes, v2 no) {
    return (v2)(((i2)yes & mask) | ((i2)no & ~mask));
}

/* A NaN of x stays. */
static v2 clamp(v2 x, double low, double high) {
    v2 l = {low, low}, h = {high, high};
    x = choose(x < l, l, x);
    return choose(x > h, h, x);
}

/* No float is as small as exp(-200), nor as large as exp(90). */
static v2 exact_exp(v2 x) {
    return _ZGVbN2v_exp(clamp(x, -200, 90));
}

static v2 exact_log(v2 x) {
    v2 some = {1, 1}, none = {0, 0};
    i2 inside = (x > none) & (x < some * (double)INFINITY);
    v2 special = choose(x == none, some * -(double)INFINITY, x); /* inf and NaN as they are */
    special = choose(x < none, some * (double)NAN, special);
    return choose(inside, _ZGVbN2v_log(choose(inside, x, some)), special);
}

static v2 exact_rsqrt(v2 x) {
    return (v2){1 / sqrt(x[0]), 1 / sqrt(x[1])};
}

/* The double's range is far wider than a float's. */
static v2 exact_sigmoid(v2 x) {
    return 1 / (1 + _ZGVbN2v_exp(clamp(-x, -600, 600)));
}

static v2 exact_softplus(v2 x) {
    v2 none = {0, 0};
    return choose(x > none, x, none) + _ZGVbN2v_log1p(exact_exp(choose(x > none, -x, x)));
}

static v2 exact_phi(v2 x) {
    return 0.5 * _ZGVbN2v_erfc(-sqrt(0.5) * clamp(x, -24, 24));
}

/* x times a gate that is 0 long before x is `low`: there x is clamped, so that -inf gives -0. */
static v2 gated(v2 x, v2 gate) {
    return clamp(x, -1000, (double)INFINITY) * gate;
}

static v2 exact_gelu_erf(v2 x) {
    return gated(x, exact_phi(x));
}

/* The argument of the gate, and its derivative. */
static v2 tanh_argument(v2 x) {
    x = clamp(x, -60, 60);
    return 2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
}

static v2 tanh_slope(v2 x) {
    x = clamp(x, -60, 60);
    return 2 * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

static v2 exact_gelu_tanh(v2 x) {
    return gated(x, exact_sigmoid(tanh_argument(x)));
}

static v2 exact_gelu_quick(v2 x) {
    return gated(x, exact_sigmoid(1.702 * x));
}

static v2 exact_gelu_erf_grad(v2 x) {
    v2 t = clamp(x, -37, 37);
    return exact_phi(x) + t * _ZGVbN2v_exp(-0.5 * t * t) / sqrt(2 * M_PI);
}

static v2 gate_grad(v2 x, v2 w, v2 slope) {
    return exact_sigmoid(w) + clamp(x, -400, 400) * slope * exact_sigmoid(w) * exact_sigmoid(-w);
}

static v2 exact_gelu_tanh_grad(v2 x) {
    return gate_grad(x, tanh_argument(x), tanh_slope(x));
}

static v2 exact_gelu_quick_grad(v2 x) {
    return gate_grad(x, 1.702 * x, (v2){1.702, 1.702});
}

#define ARRAY(name, doc)                                                                           \
    static void array_##name(int64_t n, const float *x, double *y) {                               \
        for (int64_t i = 0; i < n; i += 2) {                                                       \
            v2 exact = exact_##name((v2){(double)x[i], (double)x[i + 1]});                         \
            memcpy(y + i, &exact, sizeof exact);                                                   \
        }                                                                                          \
    }
TD_VMATH_MAP(ARRAY)
#undef ARRAY

void td_vmath_exact(td_vmath_function function, int64_t n, const float *x, double *y) {
    static void (*const arrays[])(int64_t, const float *, double *) = {
#define ENTRY(name, doc) array_##name,
        TD_VMATH_MAP(ENTRY)
#undef ENTRY
    };
    TD_ASSERT(function < TD_VMATH_COUNT && n % 2 == 0);
    arrays[function](n, x, y);
}

/* One f32 unit in the last place of a finite value. */
static double unit_of(double size) {
    uint64_t bits;
    double power;
    memcpy(&bits, &size, sizeof bits);
    bits &= UINT64_C(0x7FF) << 52;
    memcpy(&power, &bits, sizeof power);
    return (power < 0x1p-126 ? 0x1p-126 : power) * 0x1p-23;
}

/* Where one of both is no finite number, which all but the largest floats must agree on: those may
 * round up to inf. */
static bool special_matches(double exact, float y) {
    if (isnan(exact) || isnan(y)) {
        return isnan(exact) && isnan(y);
    }
    return isinf(y) && fabs(exact) > 0x1.fffffdp127 && (y > 0) == (exact > 0);
}

void td_vmath_compare(const td_vmath_bound *bound, int64_t n, const float *x, const double *exact,
                      const float *y, bool flushed, td_vmath_finding *found) {
    /* A result as far below 2^-126 as the bound allows is flushed. */
    const double least = bound->normal > 0 ? bound->normal * (1 + bound->ulp * 0x1p-23)
                                           : bound->absolute;
    for (int64_t i = 0; i < n; i++) {
        double size = fabs(exact[i]), error = fabs((double)y[i] - exact[i]), share;
        if (!(error < (double)INFINITY)) { /* NaN, inf, or both */
            share = special_matches(exact[i], y[i]) ? 0 : INFINITY;
        } else if (flushed && y[i] == 0 && size < least) {
            share = 0;
        } else if (bound->ulp > 0 && size >= bound->normal) {
            double ulp = error / unit_of(size);
            found->ulp = ulp > found->ulp ? ulp : found->ulp;
            share = ulp / bound->ulp;
        } else {
            found->absolute = error > found->absolute ? error : found->absolute;
            share = error / bound->absolute;
        }
        if (share > found->worst) {
            found->worst = share;
            found->worst_at = x[i];
        }
    }
}
