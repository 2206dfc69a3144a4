/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <xmmintrin.h>

#include "base/clock.h"
#include "base/cpu.h"

Test(cpu, names_round_trip) {
    for (int isa = 0; isa < TD_ISA_COUNT; isa++) {
        td_isa back;
        cr_assert_eq(td_isa_parse(td_isa_name((td_isa)isa), &back), TD_OK);
        cr_assert_eq((int)back, isa);
    }
}

Test(cpu, unknown_isa_is_an_error_with_the_list) {
    td_isa isa;
    setenv("TANDEM_ISA", "sse9", 1);
    cr_assert_eq(td_isa_active(&isa), TD_EUSAGE);
    cr_assert_neq(strstr(td_error(), "sse9"), NULL);
    cr_assert_neq(strstr(td_error(), "portable avx2 avx512"), NULL);
}

Test(cpu, tandem_isa_restricts) {
    td_isa isa;
    setenv("TANDEM_ISA", "portable", 1);
    cr_assert_eq(td_isa_active(&isa), TD_OK);
    cr_assert_eq(isa, TD_ISA_PORTABLE);
}

Test(cpu, a_level_above_the_cpu_is_refused_with_the_list) {
    for (int native = 0; native < TD_ISA_COUNT; native++) {
        for (int asked = 0; asked < TD_ISA_COUNT; asked++) {
            td_isa isa = TD_ISA_COUNT;
            td_status status = td_isa_choose(td_isa_name((td_isa)asked), (td_isa)native, &isa);
            cr_expect_eq(status, asked > native ? TD_EUSAGE : TD_OK);
            cr_expect_eq((int)isa, asked > native ? TD_ISA_COUNT : asked);
        }
    }
    td_isa isa;
    cr_assert_eq(td_isa_choose("avx512", TD_ISA_AVX2, &isa), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "this CPU offers avx2 at most"), "%s", td_error());
    cr_expect_not_null(strstr(td_error(), "portable avx2 avx512 avx512_bf16"), "%s", td_error());
    cr_assert_eq(td_isa_choose(NULL, TD_ISA_AVX2, &isa), TD_OK);
    cr_expect_eq(isa, TD_ISA_AVX2);
}

/* The kernel's own reading of the same CPU is the independent answer. */
Test(cpu, features_agree_with_the_kernel) {
    static const struct {
        const char *ours, *kernel;
    } rows[] = {{"avx2", " avx2 "},
                {"fma", " fma "},
                {"avx512f", " avx512f "},
                {"bmi2", " bmi2 "},
                {"avx512_bf16", " avx512_bf16 "},
                {"amx_bf16", " amx_bf16 "},
                {"f16c", " f16c "},
                {"vpclmulqdq", " vpclmulqdq "}};
    static char line[8192];
    FILE *file = fopen("/proc/cpuinfo", "r");
    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file) != NULL && strncmp(line, "flags", 5) != 0) {
    }
    fclose(file);
    cr_assert_eq(strncmp(line, "flags", 5), 0);
    *strchr(line, '\n') = ' ';
    td_cpu_info info;
    td_cpu_info_read(&info);
    char features[sizeof info.features + 2];
    snprintf(features, sizeof features, " %s ", info.features);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char ours[32];
        snprintf(ours, sizeof ours, " %s ", rows[i].ours);
        cr_assert_eq(strstr(features, ours) != NULL, strstr(line, rows[i].kernel) != NULL, "%s",
                     rows[i].ours);
    }
}

Test(cpu, flushing_denormals_flushes) {
    td_cpu_flush_denormals();
    float tiny[1] = {0x1p-126f};
    __asm__ volatile("" : "+m"(tiny)); /* hides the value, so the product happens here */
    cr_assert_eq(tiny[0] * 0.5f, 0.0f);
}

Test(cpu, clocks_advance_and_agree) {
    int64_t start_ns = td_now_ns();
    uint64_t start = td_tsc();
    double hz = td_tsc_hz();
    cr_assert_gt(hz, 1e8);
    while (td_now_ns() < start_ns + 30000000) {
    }
    double by_tsc = (double)(td_tsc() - start) / hz * 1e9;
    double by_clock = (double)(td_now_ns() - start_ns);
    cr_assert_float_eq(by_tsc / by_clock, 1.0, 0.05);
}
