/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/provider.h"

enum { M = 37, N = 29, K = 53 };

static float a[M * K], b[K * N], c[M * N];

static void fill(float *x, int count, uint64_t id) {
    td_rng rng = td_rng_make(3, TD_PURPOSE_TEST, id);
    for (int i = 0; i < count; i++) {
        x[i] = (float)(td_rng_uniform(&rng) * 2.0 - 1.0);
    }
}

/* Every form, with and without adding to C, against f64. */
static void expect_products(const td_provider *provider) {
    for (int form = 0; form < 6; form++) {
        bool a_trans = form % 3 == 1, b_trans = form % 3 == 2, accumulate = form >= 3;
        fill(a, M * K, 1);
        fill(b, K * N, 2);
        fill(c, M * N, 3);
        float old[M * N];
        memcpy(old, c, sizeof old);
        td_gemm_f32_args args = {.m = M, .n = N, .k = K, .a = a, .b = b, .c = c, .ldc = N};
        args.a_trans = a_trans;
        args.b_trans = b_trans;
        args.accumulate = accumulate;
        args.lda = a_trans ? M : K;
        args.ldb = b_trans ? K : N;
        args.k_blocks = 1;
        cr_assert(td_provider_gemm_fits(&args));
        if (!td_provider_gemm_f32(provider, &args)) {
            cr_expect_str_eq(provider->name, "libxsmm");
            continue;
        }
        for (int i = 0; i < M; i++) {
            for (int j = 0; j < N; j++) {
                double want = accumulate ? (double)old[i * N + j] : 0.0;
                for (int k = 0; k < K; k++) {
                    want += (double)(a_trans ? a[k * M + i] : a[i * K + k]) *
                            (double)(b_trans ? b[j * K + k] : b[k * N + j]);
                }
                cr_expect(fabs((double)c[i * N + j] - want) <= 1e-5, "form %d c[%d][%d]", form, i,
                          j);
            }
        }
    }
}

/* Sides beyond libxsmm's blocks, and not multiples of them; a k of two passes. */
enum { BIG_M = 70, BIG_N = 98, BIG_K = 1300 };

static float wide[2][BIG_K * BIG_N];
static uint16_t narrow[2][BIG_K * BIG_N];

/* The first `count` elements of one operand: multiples of 1/128 below 1, which bf16 holds. */
static void fill_bf16(int operand, int count) {
    fill(wide[operand], count, 4 + (uint64_t)operand);
    for (int i = 0; i < count; i++) {
        uint32_t bits;
        wide[operand][i] = rintf(wide[operand][i] * 128) / 128;
        memcpy(&bits, &wide[operand][i], sizeof bits);
        narrow[operand][i] = (uint16_t)(bits >> 16);
    }
}

static void expect_bf16_products(const td_provider *provider) {
    static float sums[BIG_M * BIG_N];
    fill_bf16(0, BIG_M * BIG_K);
    fill_bf16(1, BIG_K * BIG_N);
    for (int form = 0; form < 8; form++) {
        const bool a_trans = form & 1, b_trans = form & 2, accumulate = form & 4;
        for (int i = 0; i < BIG_M * BIG_N; i++) {
            sums[i] = (float)(i % 16);
        }
        const td_gemm_f32_args args = {.m = BIG_M,
                                       .n = BIG_N,
                                       .k = BIG_K,
                                       .a_bf16 = narrow[0],
                                       .lda = a_trans ? BIG_M : BIG_K,
                                       .a_trans = a_trans,
                                       .b_bf16 = narrow[1],
                                       .ldb = b_trans ? BIG_K : BIG_N,
                                       .b_trans = b_trans,
                                       .c = sums,
                                       .ldc = BIG_N,
                                       .k_blocks = 1,
                                       .accumulate = accumulate};
        cr_assert(td_provider_gemm_bf16(provider, &args), "%s form %d", provider->name, form);
        for (int e = 0; e < BIG_M * BIG_N; e += 7) {
            const int i = e / BIG_N, j = e % BIG_N;
            double want = accumulate ? (double)(e % 16) : 0.0;
            for (int k = 0; k < BIG_K; k++) {
                want += (double)wide[0][a_trans ? k * BIG_M + i : i * BIG_K + k] *
                        (double)wide[1][b_trans ? j * BIG_K + k : k * BIG_N + j];
            }
            cr_expect(fabs((double)sums[e] - want) <= 5e-3, "%s form %d c[%d][%d] %g, not %g",
                      provider->name, form, i, j, (double)sums[e], want);
        }
    }
}

Test(provider, libraries_with_products_of_bf16_multiply) {
    int opened = 0;
    for (const char *const *name = td_provider_names(); *name != NULL; name++) {
        const td_provider *provider;
        if (td_provider_open(*name, td_isa_native(), &provider) == TD_OK &&
            td_provider_has_bf16(provider)) {
            expect_bf16_products(provider);
            opened++;
        }
    }
    if (opened == 0) {
        cr_skip_test("no library here multiplies bf16");
    }
}

Test(provider, every_installed_library_multiplies) {
    int opened = 0;
    for (const char *const *name = td_provider_names(); *name != NULL; name++) {
        const td_provider *provider, *again;
        td_status status = td_provider_open(*name, td_isa_native(), &provider);
        if (status == TD_ESKIP) {
            cr_log_warn("%s", td_error());
            continue;
        }
        cr_assert_eq(status, TD_OK, "%s", td_error());
        cr_expect_str_eq(provider->name, *name);
        cr_expect_gt(strlen(provider->version), 2);
        cr_expect_gt(strlen(provider->core), 0);
        cr_assert_eq(td_provider_open(*name, td_isa_native(), &again), TD_OK);
        cr_expect_eq(provider, again);
        expect_products(provider);
        td_provider_set_threads(provider, 2);
        expect_products(provider);
        opened++;
    }
    if (opened == 0) {
        cr_skip_test("no library of the table is installed");
    }
}

Test(provider, core_follows_the_level_asked_for) {
    const td_provider *provider;
    if (td_isa_native() < TD_ISA_AVX2 ||
        td_provider_open("openblas", TD_ISA_AVX2, &provider) != TD_OK) {
        cr_skip_test("needs AVX2 and OpenBLAS");
    }
    cr_expect_str_eq(provider->core, "Haswell");
}

Test(provider, a_weaker_core_in_the_environment_does_not_slow_the_peer) {
    const td_provider *provider;
    setenv("OPENBLAS_CORETYPE", "Nehalem", 1);
    if (td_isa_native() < TD_ISA_AVX2 ||
        td_provider_open("openblas", td_isa_native(), &provider) != TD_OK) {
        cr_skip_test("needs AVX2 and OpenBLAS");
    }
    cr_expect_str_neq(provider->core, "Nehalem");
}

/* BLIS gives a CPU that is newer than itself its generic C kernels unless they are named. */
Test(provider, a_library_older_than_the_cpu_still_gives_vector_kernels) {
    const td_provider *provider;
    setenv("BLIS_ARCH_TYPE", "25", 1);
    if (td_isa_native() < TD_ISA_AVX2 ||
        td_provider_open("blis", td_isa_native(), &provider) != TD_OK) {
        cr_skip_test("needs AVX2 and BLIS with threads");
    }
    cr_expect_str_eq(provider->core, td_isa_native() >= TD_ISA_AVX512 ? "skx" : "haswell");
}

Test(provider, a_limit_in_the_environment_does_not_slow_onednn) {
    const td_provider *provider;
    setenv("ONEDNN_MAX_CPU_ISA", "SSE41", 1);
    if (td_isa_native() < TD_ISA_AVX2 ||
        td_provider_open("onednn", td_isa_native(), &provider) != TD_OK) {
        cr_skip_test("needs AVX2 and oneDNN");
    }
    cr_expect_str_neq(provider->core, "below avx2");
}

Test(provider, unknown_name_is_a_usage_error) {
    const td_provider *provider;
    cr_expect_eq(td_provider_open("nosuchblas", TD_ISA_AVX2, &provider), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "nosuchblas"));
}

Test(provider, what_a_library_cannot_do_is_known) {
    td_gemm_f32_args args = {.m = M, .n = N, .k = K, .k_blocks = 1};
    cr_expect(td_provider_gemm_fits(&args));
    td_gemm_f32_args with_bias = args, with_blocks = args, too_large = args;
    with_bias.bias = a;
    with_blocks.k_blocks = 2;
    too_large.ldb = INT64_C(1) << 31;
    cr_expect_not(td_provider_gemm_fits(&with_bias));
    cr_expect_not(td_provider_gemm_fits(&with_blocks));
    cr_expect_not(td_provider_gemm_fits(&too_large));
}
