/* SPDX-License-Identifier: Apache-2.0
 * The functions of vmath.h over arrays: what other kernels compute inside, reachable alone.
 */
#include "kernels/vmath.h"

#include "kernels/kernel.h"
#include "kernels/tiles.h"

TD_SIMD td_v16 value_exp(td_v16 x) {
    return td_v16_exp(x);
}

TD_SIMD td_v16 value_log(td_v16 x) {
    return td_v16_log(x);
}

TD_SIMD td_v16 value_rsqrt(td_v16 x) {
    return td_v16_div(td_v16_set1(1.0f), td_v16_sqrt(x));
}

TD_SIMD td_v16 value_sigmoid(td_v16 x) {
    return td_v16_sigmoid_of(x, td_v16_exp_minus_abs(x));
}

TD_SIMD td_v16 value_softplus(td_v16 x) {
    return td_v16_softplus_of(x, td_v16_exp_minus_abs(x));
}

TD_SIMD td_v16 value_gelu_erf(td_v16 x) {
    return td_v16_act(TD_ACT_GELU_ERF, x);
}

TD_SIMD td_v16 value_gelu_tanh(td_v16 x) {
    return td_v16_act(TD_ACT_GELU_TANH, x);
}

TD_SIMD td_v16 value_gelu_quick(td_v16 x) {
    return td_v16_act(TD_ACT_GELU_QUICK, x);
}

TD_SIMD td_v16 value_gelu_erf_grad(td_v16 x) {
    return td_v16_act_grad(TD_ACT_GELU_ERF, x);
}

TD_SIMD td_v16 value_gelu_tanh_grad(td_v16 x) {
    return td_v16_act_grad(TD_ACT_GELU_TANH, x);
}

TD_SIMD td_v16 value_gelu_quick_grad(td_v16 x) {
    return td_v16_act_grad(TD_ACT_GELU_QUICK, x);
}

/* A loop of its own for each: a choice inside it would cost as much as the shorter functions. */
#define ARRAY(name, doc)                                                                           \
    static void array_##name(const float *x, float *y, int64_t n) {                                \
        int64_t i = 0;                                                                             \
        for (; i + TD_LANES <= n; i += TD_LANES) {                                                 \
            td_v16_store(y + i, value_##name(td_v16_load(x + i)));                                 \
        }                                                                                          \
        if (i < n) {                                                                               \
            td_v16_store_part(y + i, value_##name(td_v16_load_part(x + i, n - i, 1)), n - i);      \
        }                                                                                          \
    }
TD_VMATH_MAP(ARRAY)
#undef ARRAY

void TD_FN(vmath_f32)(const td_vmath_f32_args *args, int64_t first, int64_t last, void *scratch) {
    static void (*const arrays[])(const float *, float *, int64_t) = {
#define ENTRY(name, doc) array_##name,
        TD_VMATH_MAP(ENTRY)
#undef ENTRY
    };
    (void)scratch;
    int64_t i = first * TD_TILE_FLAT, end = td_tile_end(args->n, TD_TILE_FLAT, last);
    if (i < end) {
        arrays[args->function](args->x + i, args->y + i, end - i);
    }
}
