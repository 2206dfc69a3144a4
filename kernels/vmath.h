/* SPDX-License-Identifier: Apache-2.0
 * Elementary functions on td_v16: one FMA sequence on every ISA, so the same bits everywhere,
 * whether the thread flushes denormals or not. A NaN stays one. tests/kernels/test_vmath.c holds
 * these bounds against f64:
 *   exp 1 ULP, log 2, sigmoid 3, softplus 3, GELU erf 8, where the result is normal; GELU tanh and
 *   quick 4, where it is at least 2^-120; derivatives 5e-7 absolute. Smaller results are within
 *   2^-142, or zero where the thread flushes denormals.
 * Polynomials are relative minimax fits (Sollya's fpminimax) on the reduced range.
 */
#ifndef TD_KERNELS_VMATH_H
#define TD_KERNELS_VMATH_H

#include "kernels/args.h"
#include "kernels/simd.h"

/* exp(scale x) where that is above -104 and at most 89: scale x = n ln 2 + r with |r| <= ln(2) / 2;
 * ln 2 is split so that n * high is exact. scale is a constant, a power of two of either sign: all
 * is computed in r / scale, to the same bits. */
TD_SIMD td_v16 td_v16_exp_scaled(td_v16 x, const float scale) {
    const float square = scale * scale, cube = square * scale;
    const td_v16 magic = td_v16_set1(TD_SCALE_SHIFT);
    td_v16 shifted = td_v16_fma(x, td_v16_set1(scale * 0x1.715476p+0f), magic);
    td_v16 n = td_v16_sub(shifted, magic);
    td_v16 r = td_v16_fnma(n, td_v16_set1(0x1.62e4p-1f / scale), x);
    r = td_v16_fnma(n, td_v16_set1(0x1.7f7d1cp-20f / scale), r);
    td_v16 p = td_v16_set1(cube * cube * 0x1.6d4bfcp-10f);
    p = td_v16_fma(p, r, td_v16_set1(square * cube * 0x1.120c04p-7f));
    p = td_v16_fma(p, r, td_v16_set1(square * square * 0x1.5554eap-5f));
    p = td_v16_fma(p, r, td_v16_set1(cube * 0x1.5554dcp-3f));
    p = td_v16_fma(p, r, td_v16_set1(square * 0x1p-1f));
    p = td_v16_fma(p, r, td_v16_set1(scale));
    p = td_v16_fma(p, r, td_v16_set1(1.0f));
    return td_v16_scale(p, shifted);
}

/* exp of x <= 89. max and min return their second operand for NaN: a NaN passes the clamps. */
TD_SIMD td_v16 td_v16_exp_below(td_v16 x) {
    return td_v16_exp_scaled(td_v16_max(td_v16_set1(-104.0f), x), 1.0f);
}

TD_SIMD td_v16 td_v16_exp(td_v16 x) {
    return td_v16_exp_below(td_v16_min(td_v16_set1(89.0f), x));
}

/* x = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) = f - f^2 / 2 + f^3 p(f). -inf at
 * zero (and at a denormal where the thread reads those as zero), NaN below, inf at inf. */
TD_SIMD td_v16 td_v16_log(td_v16 x) {
    td_m16 tiny = td_v16_lt(x, td_v16_set1(0x1p-126f));
    td_v16 normal = td_v16_select(tiny, td_v16_mul(x, td_v16_set1(0x1p23f)), x);
    td_i16 bits = td_v16_as_i16(normal);
    td_i16 n = td_i16_sar(td_i16_sub(bits, td_i16_set1(0x3F3504F3)), 23);
    td_v16 f = td_i16_as_v16(td_i16_sub(bits, td_i16_shl(n, 23)));
    f = td_v16_sub(f, td_v16_set1(1.0f));
    td_v16 exponent = td_i16_to_v16(n);
    exponent = td_v16_select(tiny, td_v16_sub(exponent, td_v16_set1(23.0f)), exponent);
    td_v16 p = td_v16_set1(-0x1.2a6f78p-4f);
    p = td_v16_fma(p, f, td_v16_set1(0x1.015974p-3f));
    p = td_v16_fma(p, f, td_v16_set1(-0x1.0e96ccp-3f));
    p = td_v16_fma(p, f, td_v16_set1(0x1.239ce2p-3f));
    p = td_v16_fma(p, f, td_v16_set1(-0x1.5466fep-3f));
    p = td_v16_fma(p, f, td_v16_set1(0x1.99944ep-3f));
    p = td_v16_fma(p, f, td_v16_set1(-0x1.000234p-2f));
    p = td_v16_fma(p, f, td_v16_set1(0x1.55557p-2f));
    p = td_v16_mul(td_v16_fma(p, f, td_v16_set1(-0.5f)), td_v16_mul(f, f));
    p = td_v16_add(f, td_v16_fma(exponent, td_v16_set1(0x1.7f7d1cp-20f), p));
    p = td_v16_fma(exponent, td_v16_set1(0x1.62e4p-1f), p);
    p = td_v16_select(td_v16_eq(normal, td_v16_zero()), td_v16_set1(-INFINITY), p);
    p = td_v16_select(td_v16_lt(x, td_v16_zero()), td_v16_set1(NAN), p);
    td_m16 as_is = td_m16_or(td_v16_is_nan(x), td_v16_eq(x, td_v16_set1(INFINITY)));
    return td_v16_select(as_is, x, p);
}

/* exp(-|x|), from which sigmoid and softplus of x, and of -x, are made. */
TD_SIMD td_v16 td_v16_exp_minus_abs(td_v16 x) {
    return td_v16_exp_below(td_v16_neg(td_v16_abs(x)));
}

/* exp(-|x + low|), low being what the rounding of x lost: at x = -80 it is worth 60 ULP. One FMA
 * rounds once, and what it adds is not flushed where e is near 2^-126. */
TD_SIMD td_v16 td_v16_exp_minus_abs_sum(td_v16 x, td_v16 low) {
    td_v16 e = td_v16_exp_minus_abs(x);
    td_m16 negative = td_v16_lt(x, td_v16_zero());
    return td_v16_fma(e, td_v16_select(negative, low, td_v16_neg(low)), e);
}

/* sigmoid(x) from e = exp(-|x|): small relative error at either end. */
TD_SIMD td_v16 td_v16_sigmoid_of(td_v16 x, td_v16 e) {
    td_v16 one = td_v16_set1(1.0f);
    td_v16 above = td_v16_select(td_v16_lt(x, td_v16_zero()), e, one);
    return td_v16_div(above, td_v16_add(one, e));
}

/* softplus(x) = log(1 + exp(x)) = max(x, 0) + log1p(e) from e = exp(-|x|): a polynomial in e, as
 * log(1 + e) would lose e below 2^-24. */
TD_SIMD td_v16 td_v16_softplus_of(td_v16 x, td_v16 e) {
    td_v16 p = td_v16_set1(0x1.50777cp-8f);
    p = td_v16_fma(p, e, td_v16_set1(-0x1.dc7c0cp-6f));
    p = td_v16_fma(p, e, td_v16_set1(0x1.3d59b4p-4f));
    p = td_v16_fma(p, e, td_v16_set1(-0x1.16624ap-3f));
    p = td_v16_fma(p, e, td_v16_set1(0x1.8684dep-3f));
    p = td_v16_fma(p, e, td_v16_set1(-0x1.fc8c7ap-3f));
    p = td_v16_fma(p, e, td_v16_set1(0x1.552b1ep-2f));
    p = td_v16_fma(p, e, td_v16_set1(-0x1.fffe5p-2f));
    p = td_v16_fma(p, e, td_v16_set1(0x1.fffffep-1f));
    return td_v16_fma(p, e, td_v16_max(td_v16_zero(), x));
}

/* Beyond these |x| a tail is below the smallest float: there the arguments are clamped, so that an
 * infinite x gives the limit (-0 or inf, slope 0 or 1) and not inf * 0. */
#define TD_GELU_ERF_LIMIT   14.4f
#define TD_GELU_TANH_LIMIT  11.0f
#define TD_GELU_QUICK_LIMIT 62.0f

TD_SIMD td_v16 td_v16_clamp_abs(td_v16 x, float limit) {
    return td_v16_max(td_v16_set1(-limit), td_v16_min(td_v16_set1(limit), x));
}

/* The normal distribution function from one exp: Phi(-t) = tail e with e = exp(-t^2 / 2), tail =
 * u g(u), u = 1 / (1 + 0.35 t), t = |x|: a polynomial fit of Mills' ratio. The square keeps its low
 * part, without which t = 13 loses 84 ULP. Kept apart, as their product is denormal before x Phi.
 */
typedef struct td_normal {
    td_v16 tail, e;
} td_normal;

TD_SIMD td_normal td_v16_normal(td_v16 x) {
    td_v16 one = td_v16_set1(1.0f);
    td_v16 t = td_v16_min(td_v16_set1(TD_GELU_ERF_LIMIT), td_v16_abs(x));
    td_v16 u = td_v16_div(one, td_v16_fma(td_v16_set1(0.35f), t, one));
    td_v16 square = td_v16_mul(t, t), low = td_v16_fms(t, t, square);
    td_v16 e = td_v16_exp_scaled(square, -0.5f); /* t <= 14.4: above -104 */
    /* Not a sum: its small part may be flushed. */
    e = td_v16_mul(e, td_v16_fma(low, td_v16_set1(-0.5f), one));
    td_v16 g = td_v16_set1(-0x1.ddeb5ep-6f);
    g = td_v16_fma(g, u, td_v16_set1(0x1.2715d4p-3f));
    g = td_v16_fma(g, u, td_v16_set1(-0x1.061538p-2f));
    g = td_v16_fma(g, u, td_v16_set1(0x1.468072p-3f));
    g = td_v16_fma(g, u, td_v16_set1(-0x1.7d60acp-6f));
    g = td_v16_fma(g, u, td_v16_set1(0x1.b071a8p-4f));
    g = td_v16_fma(g, u, td_v16_set1(0x1.eac3eap-4f));
    g = td_v16_fma(g, u, td_v16_set1(0x1.1e711ep-3f));
    g = td_v16_fma(g, u, td_v16_set1(0x1.1df1c2p-3f));
    return (td_normal){td_v16_mul(g, u), e};
}

TD_SIMD td_v16 td_v16_gelu_erf(td_v16 x) {
    td_normal normal = td_v16_normal(x);
    td_v16 of_tail = td_v16_mul(td_v16_max(td_v16_set1(-TD_GELU_ERF_LIMIT), x), normal.tail);
    td_v16 phi = td_v16_fnma(normal.tail, normal.e, td_v16_set1(1.0f));
    td_m16 negative = td_v16_lt(x, td_v16_zero());
    return td_v16_mul(td_v16_select(negative, of_tail, x), td_v16_select(negative, normal.e, phi));
}

/* Phi(x) + x phi(x) */
TD_SIMD td_v16 td_v16_gelu_erf_grad(td_v16 x) {
    td_normal normal = td_v16_normal(x);
    td_v16 phi = td_v16_select(td_v16_lt(x, td_v16_zero()), td_v16_mul(normal.tail, normal.e),
                               td_v16_fnma(normal.tail, normal.e, td_v16_set1(1.0f)));
    td_v16 scaled =
        td_v16_mul(td_v16_clamp_abs(x, TD_GELU_ERF_LIMIT), td_v16_set1(0.3989422804014327f));
    return td_v16_fma(scaled, normal.e, phi);
}

/* The forms x * sigmoid(w(x)): w with the part its rounding lost, and its derivative. */
typedef struct td_gate {
    td_v16 w, low, slope;
} td_gate;

/* w = 1.702 x */
TD_SIMD td_gate td_v16_gate_quick(td_v16 x) {
    const float c = 1.702f, c_low = (float)(1.702 - (double)1.702f);
    td_v16 slope = td_v16_set1(c), w = td_v16_mul(slope, x);
    td_v16 low = td_v16_fma(td_v16_set1(c_low), x, td_v16_fms(slope, x, w));
    return (td_gate){w, low, slope};
}

/* w = 2 sqrt(2 / pi) (x + 0.044715 x^3) = x (a + b x^2), since 0.5 (1 + tanh w/2) = sigmoid(w). */
TD_SIMD td_gate td_v16_gate_tanh(td_v16 x) {
    const double a = 1.5957691216057308, b = a * 0.044715;
    const td_v16 a_high = td_v16_set1((float)a), a_low = td_v16_set1((float)(a - (double)(float)a));
    const td_v16 b_high = td_v16_set1((float)b), b_low = td_v16_set1((float)(b - (double)(float)b));
    td_v16 x2 = td_v16_mul(x, x), x2_low = td_v16_fms(x, x, x2);
    td_v16 p = td_v16_mul(b_high, x2), p_low = td_v16_fms(b_high, x2, p);
    p_low = td_v16_fma(b_low, x2, td_v16_fma(b_high, x2_low, p_low));
    /* a + p with the sum's own error (Knuth): either may be the larger. */
    td_v16 sum = td_v16_add(a_high, p), of_p = td_v16_sub(sum, a_high);
    td_v16 sum_low = td_v16_add(td_v16_sub(a_high, td_v16_sub(sum, of_p)), td_v16_sub(p, of_p));
    sum_low = td_v16_add(sum_low, td_v16_add(a_low, p_low));
    td_v16 w = td_v16_mul(x, sum), low = td_v16_fma(x, sum_low, td_v16_fms(x, sum, w));
    return (td_gate){w, low, td_v16_fma(td_v16_set1(3.0f), p, a_high)};
}

TD_SIMD td_gate td_v16_gate(td_act act, td_v16 clamped) {
    return act == TD_ACT_GELU_TANH ? td_v16_gate_tanh(clamped) : td_v16_gate_quick(clamped);
}

TD_SIMD float td_gelu_limit(td_act act) {
    return act == TD_ACT_GELU_TANH ? TD_GELU_TANH_LIMIT : TD_GELU_QUICK_LIMIT;
}

TD_SIMD td_v16 td_v16_act(td_act act, td_v16 x) {
    if (act == TD_ACT_NONE) {
        return x;
    }
    if (act == TD_ACT_GELU_ERF) {
        return td_v16_gelu_erf(x);
    }
    const float limit = td_gelu_limit(act);
    td_gate gate = td_v16_gate(act, td_v16_clamp_abs(x, limit));
    td_v16 e = td_v16_exp_minus_abs_sum(gate.w, gate.low), one = td_v16_set1(1.0f);
    /* x e / (1 + e) below zero, x / (1 + e) above: x joins first, as e alone may be denormal. */
    td_v16 above = td_v16_select(td_v16_lt(gate.w, td_v16_zero()), e, one);
    above = td_v16_mul(td_v16_max(td_v16_set1(-limit), x), above);
    return td_v16_div(above, td_v16_add(one, e));
}

TD_SIMD td_v16 td_v16_act_grad(td_act act, td_v16 x) {
    if (act == TD_ACT_NONE) {
        return td_v16_set1(1.0f);
    }
    if (act == TD_ACT_GELU_ERF) {
        return td_v16_gelu_erf_grad(x);
    }
    td_v16 clamped = td_v16_clamp_abs(x, td_gelu_limit(act));
    td_gate gate = td_v16_gate(act, clamped);
    td_v16 e = td_v16_exp_minus_abs_sum(gate.w, gate.low);
    td_v16 s = td_v16_sigmoid_of(gate.w, e);
    td_v16 inner = td_v16_mul(s, td_v16_sigmoid_of(td_v16_neg(gate.w), e));
    return td_v16_fma(td_v16_mul(clamped, gate.slope), inner, s);
}

#endif
