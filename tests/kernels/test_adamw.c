/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "kernel_oracles.h"

/* Bit for bit from the order of operations in args.h; p within a bound of the same update in f64.
 */
void oracle_adamw(const void *before, const void *after) {
    const td_adamw_f32_args *args = before;
    const td_adamw_f32_args *done = after;
    const td_adamw_step s = *args->step;
    for (int64_t i = 0; i < args->n; i++) {
        float decay = twin_in_ranges(args->ranges, args->n_ranges, i) ? s.decay : 1.0f;
        const float own = twin_gradient(args->g, args->g_rows, i);
        float g = s.grad_scale * own, m = fmaf(s.beta1, args->m[i], s.one_minus_beta1 * g);
        float square = s.one_minus_beta2 * g;
        square = square * g;
        float v = fmaf(s.beta2, args->v[i], square);
        float root = sqrtf(v) * s.rsqrt_bc2, d = root + s.eps;
        float p = fmaf(-s.lr_bc1, m / d, args->p[i] * decay);
        twin_same("m", i, done->m[i], m);
        twin_same("v", i, done->v[i], v);
        twin_same("p", i, done->p[i], p);
        double wide_g = (double)s.grad_scale * (double)own;
        double wide_m = (double)s.beta1 * (double)args->m[i] + (double)s.one_minus_beta1 * wide_g;
        double m_error = 3 * TWIN_U * (fabs((double)args->m[i]) + fabs(wide_g));
        double wide_v =
            (double)s.beta2 * (double)args->v[i] + (double)s.one_minus_beta2 * wide_g * wide_g;
        double wide_d = sqrt(wide_v) * (double)s.rsqrt_bc2 + (double)s.eps;
        double kept = (double)args->p[i] * (double)decay, moved = (double)s.lr_bc1 / wide_d;
        double bound = moved * (m_error + 8 * TWIN_U * fabs(wide_m)) + 2 * TWIN_U * fabs(kept);
        twin_near("p", i, (double)done->p[i], kept - moved * wide_m, 1.01 * bound);
    }
}

Test(adamw, order_and_bound) {
    twin_each_case(TD_OP_adamw_f32, oracle_adamw);
}

enum { N = 40000 };

static const td_adamw_step step = {.beta1 = 0.9f,
                                   .one_minus_beta1 = 0.1f,
                                   .beta2 = 0.95f,
                                   .one_minus_beta2 = 0.05f,
                                   .eps = 1e-8f,
                                   .lr_bc1 = 1e-3f,
                                   .rsqrt_bc2 = 1.5f,
                                   .decay = 0.5f,
                                   .grad_scale = 1};

/* Decayed elements differ from the others by the factor 1/2 alone when gradients and moments are
 * zero. */
static void expect_decayed(const int64_t (*ranges)[2], int64_t n_ranges) {
    float *zero = td_alloc_zero(N * sizeof *zero), *p = td_alloc(N * sizeof *p);
    float *m = td_alloc_zero(N * sizeof *m), *v = td_alloc_zero(N * sizeof *v);
    int count;
    const td_kernel *kernels = td_kernels(&count);
    td_adamw_f32_args args = {.n = N,
                              .p = p,
                              .m = m,
                              .v = v,
                              .g = zero,
                              .step = &step,
                              .ranges = ranges,
                              .n_ranges = n_ranges};
    for (int k = 0; k < count; k++) {
        if (kernels[k].op != TD_OP_adamw_f32 || kernels[k].isa > td_isa_native()) {
            continue;
        }
        for (int64_t i = 0; i < N; i++) {
            p[i] = 2;
        }
        int64_t tiles = td_adamw_f32_tiles(&args);
        kernels[k].run(&args, 1, tiles, NULL); /* in two calls: the second starts inside a range */
        kernels[k].run(&args, 0, 1, NULL);
        for (int64_t i = 0; i < N; i++) {
            cr_assert_eq(p[i], twin_in_ranges(ranges, n_ranges, i) ? 1 : 2, "%s: element %d",
                         kernels[k].name, (int)i);
        }
    }
    td_free(zero);
    td_free(p);
    td_free(m);
    td_free(v);
}

Test(adamw, decay_follows_its_ranges) {
    const int64_t all[][2] = {{0, N}};
    const int64_t touching[][2] = {{0, 1}, {1, 17}, {17, 16384}, {16384, 16385}, {20000, 39999}};
    const int64_t across[][2] = {{3, 3}, {16000, 33000}, {39999, N}};
    expect_decayed(NULL, 0);
    expect_decayed(all, 1);
    expect_decayed(touching, 5);
    expect_decayed(across, 3);
}

/* Rows of weights that get no gradient decay into the denormal range. Every row treats them alike,
 * with denormals flushed, as in a worker, and without. */
static void expect_rows_agree(const char *mode) {
    float start_v[33], start_m[33], g[33], p[3][33], m[3][33], v[3][33];
    for (int i = 0; i < 33; i++) {
        start_v[i] = 1e-40f * (float)(i + 1);
        start_m[i] = i % 2 ? 1e-41f : -3e-39f;
        g[i] = i % 3 ? 0 : 1e-30f;
    }
    int count, n = 0;
    const td_kernel *kernels = td_kernels(&count);
    for (int k = 0; k < count; k++) {
        if (kernels[k].op != TD_OP_adamw_f32 || kernels[k].isa > td_isa_native()) {
            continue;
        }
        memcpy(v[n], start_v, sizeof start_v);
        memcpy(m[n], start_m, sizeof start_m);
        for (int i = 0; i < 33; i++) {
            p[n][i] = 0.75f;
        }
        td_adamw_f32_args args = {.n = 33, .p = p[n], .m = m[n], .v = v[n], .g = g, .step = &step};
        kernels[k].run(&args, 0, 1, NULL);
        cr_expect_eq(memcmp(v[n], v[0], sizeof v[0]), 0, "%s, %s: v", kernels[k].name, mode);
        cr_expect_eq(memcmp(m[n], m[0], sizeof m[0]), 0, "%s, %s: m", kernels[k].name, mode);
        cr_expect_eq(memcmp(p[n], p[0], sizeof p[0]), 0, "%s, %s: p", kernels[k].name, mode);
        for (int i = 0; i < 33; i++) {
            cr_expect(isfinite(p[n][i]) != 0, "%s, %s: p[%d]", kernels[k].name, mode, i);
        }
        n++;
    }
}

Test(adamw, denormal_moments) {
    expect_rows_agree("denormals kept");
    td_cpu_flush_denormals();
    expect_rows_agree("denormals flushed");
}

void oracle_ema(const void *before, const void *after) {
    const td_ema_f32_args *args = before;
    const float *got = ((const td_ema_f32_args *)after)->ema;
    for (int64_t i = 0; i < args->n; i++) {
        twin_same("ema", i, got[i], fmaf(*args->weight, args->p[i] - args->ema[i], args->ema[i]));
    }
}

Test(ema, twin) {
    twin_each_case(TD_OP_ema_f32, oracle_ema);
}
