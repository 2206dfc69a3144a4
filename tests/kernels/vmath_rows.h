/* SPDX-License-Identifier: Apache-2.0
 * The functions of kernels/vmath.h over arrays, one row per ISA: what the table's kernels compute
 * inside, reachable alone.
 */
#ifndef TD_TESTS_VMATH_ROWS_H
#define TD_TESTS_VMATH_ROWS_H

#include <stdint.h>

/* name, expression on the td_v16 named x */
#define VMATH_MAP(X)                                                                               \
    X(exp, td_v16_exp(x))                                                                          \
    X(log, td_v16_log(x))                                                                          \
    X(sigmoid, td_v16_sigmoid_of(x, td_v16_exp_minus_abs(x)))                                      \
    X(softplus, td_v16_softplus_of(x, td_v16_exp_minus_abs(x)))                                    \
    X(gelu_erf, td_v16_act(TD_ACT_GELU_ERF, x))                                                    \
    X(gelu_tanh, td_v16_act(TD_ACT_GELU_TANH, x))                                                  \
    X(gelu_quick, td_v16_act(TD_ACT_GELU_QUICK, x))                                                \
    X(gelu_erf_grad, td_v16_act_grad(TD_ACT_GELU_ERF, x))                                          \
    X(gelu_tanh_grad, td_v16_act_grad(TD_ACT_GELU_TANH, x))                                        \
    X(gelu_quick_grad, td_v16_act_grad(TD_ACT_GELU_QUICK, x))

typedef enum vmath_function {
#define VMATH_ENUM(name, expr) VMATH_##name,
    VMATH_MAP(VMATH_ENUM)
#undef VMATH_ENUM
        VMATH_COUNT
} vmath_function;

/* y[i] = f(x[i]), n a multiple of 16. */
typedef void vmath_fn(vmath_function f, int64_t n, const float *x, float *y);
vmath_fn td_vmath__portable, td_vmath__avx2, td_vmath__avx512;

#endif
