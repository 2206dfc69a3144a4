/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "kernel_oracles.h"

static float sign_of(float c) {
    return c > 0 ? 1.0f : c < 0 ? -1.0f : c;
}

/* Bit for bit from the order of operations in args.h, and within a bound of the update in f64. The
 * sign is that of f64 wherever the sum is further from zero than its rounding. */
void oracle_lion(const void *before, const void *after) {
    const td_lion_f32_args *args = before, *done = after;
    const td_lion_step s = *args->step;
    for (int64_t i = 0; i < args->n; i++) {
        float decay = twin_in_ranges(args->ranges, args->n_ranges, i) ? s.decay : 1.0f;
        const float own = twin_gradient(args->g, args->g_rows, i);
        float g = s.grad_scale * own;
        float c = fmaf(s.beta1, args->m[i], s.one_minus_beta1 * g);
        twin_same("p", i, done->p[i], fmaf(-s.lr, sign_of(c), args->p[i] * decay));
        twin_same("m", i, done->m[i], fmaf(s.beta2, args->m[i], s.one_minus_beta2 * g));
        double wide_g = (double)s.grad_scale * (double)own, m = (double)args->m[i];
        double wide_c = (double)s.beta1 * m + (double)s.one_minus_beta1 * wide_g;
        double rounding = 3 * TWIN_U * (fabs(m) + fabs(wide_g));
        if (fabs(wide_c) > rounding) {
            double kept = (double)args->p[i] * (double)decay;
            double p = kept - (double)s.lr * (wide_c > 0 ? 1 : -1);
            twin_near("p", i, (double)done->p[i], p,
                      1.01 * TWIN_U * (2 * fabs(kept) + (double)s.lr));
        }
        double wide_m = (double)s.beta2 * m + (double)s.one_minus_beta2 * wide_g;
        twin_near("m", i, (double)done->m[i], wide_m, rounding);
    }
}

Test(lion, order_and_bound) {
    twin_each_case(TD_OP_lion_f32, oracle_lion);
}

/* Signs of every kind of sum: zeros move nothing, and a NaN is not a direction. */
Test(lion, signs) {
    const float g[6] = {3, -3, 0, NAN, INFINITY, -1e-30f};
    const float want[6] = {0.75f, 1.25f, 1, NAN, 0.75f, 1.25f};
    const td_lion_step step = {.beta1 = 0.5f,
                               .one_minus_beta1 = 0.5f,
                               .beta2 = 0.5f,
                               .one_minus_beta2 = 0.5f,
                               .lr = 0.25f,
                               .decay = 1,
                               .grad_scale = 1};
    int count;
    const td_kernel *kernels = td_kernels(&count);
    for (int k = 0; k < count; k++) {
        if (kernels[k].op != TD_OP_lion_f32 || kernels[k].isa > td_isa_native()) {
            continue;
        }
        float p[6] = {1, 1, 1, 1, 1, 1}, m[6] = {0};
        td_lion_f32_args args = {.n = 6, .p = p, .m = m, .g = g, .step = &step};
        kernels[k].run(&args, 0, 1, NULL);
        for (int i = 0; i < 6; i++) {
            cr_expect(isnan(want[i]) ? isnan(p[i]) : !(fabsf(p[i] - want[i]) > 0), "%s: p[%d] = %g",
                      kernels[k].name, i, (double)p[i]);
            cr_expect(isnan(g[i]) ? isnan(m[i]) : !(m[i] < g[i] / 2 || m[i] > g[i] / 2),
                      "%s: m[%d] = %g", kernels[k].name, i, (double)m[i]);
        }
    }
}
