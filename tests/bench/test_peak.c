/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "bench/ceiling.h"
#include "bench/peak.h"
#include "bench/row_choice.h"

enum { BYTES = 8192 };

static td_arena arena;
static uint64_t *from, *to;

static void fill(void) {
    cr_assert_eq(td_arena_create(4 * BYTES, &arena), TD_OK);
    from = (uint64_t *)(void *)(arena.base + 512);
    to = (uint64_t *)(void *)(arena.base + 2 * BYTES + 512);
    td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, 7);
    for (size_t i = 0; i < 4 * BYTES / 8; i++) {
        ((uint64_t *)(void *)arena.base)[i] = td_rng_u64(&rng);
    }
}

static void release(void) {
    td_arena_destroy(&arena);
}

TestSuite(peak, .init = fill, .fini = release);

Test(peak, reading_is_the_exclusive_or_of_exactly_the_bytes) {
    for (td_isa isa = TD_ISA_PORTABLE; isa <= td_isa_native(); isa++) {
        for (int64_t bytes = 512; bytes <= BYTES; bytes += 512) {
            uint64_t expected = 0;
            for (int64_t i = 0; i < bytes / 8; i++) {
                expected ^= from[i];
            }
            cr_assert_eq(td_peak_read(isa, from, bytes), expected, "%s, %ld bytes",
                         td_isa_name(isa), (long)bytes);
        }
    }
}

Test(peak, copying_adding_and_swapping_write_exactly_the_bytes) {
    static uint64_t before[4 * BYTES / 8];
    for (td_isa isa = TD_ISA_PORTABLE; isa <= td_isa_native(); isa++) {
        for (int mode = 0; mode < 4; mode++) {
            memcpy(before, arena.base, sizeof before);
            if (mode < 2) {
                td_peak_copy(isa, to, from, 1024, mode == 1);
            } else if (mode == 2) {
                td_peak_add(isa, to, from, 1024);
            } else {
                td_peak_swap(isa, to, from, 1024);
            }
            for (size_t i = 0; i < sizeof before / 8; i++) {
                uint64_t *word = (uint64_t *)(void *)arena.base + i;
                bool inside = word >= to && word < to + 128;
                bool given = mode == 3 && word >= from && word < from + 128;
                const uint64_t *first = (const uint64_t *)(const void *)arena.base;
                uint64_t source = inside  ? before[from + (word - to) - first]
                                  : given ? before[to + (word - from) - first]
                                          : 0;
                uint64_t expected = !inside && !given ? before[i]
                                    : mode == 2       ? before[i] + source
                                                      : source;
                cr_assert_eq(*word, expected, "%s, mode %d, word %zu", td_isa_name(isa), mode, i);
            }
        }
    }
}

Test(peak, loops_compute_what_they_claim) {
    for (td_isa isa = TD_ISA_PORTABLE; isa <= td_isa_native(); isa++) {
        cr_assert(td_peak_fma(isa, 1), "%s", td_isa_name(isa));
        cr_assert(td_peak_fma(isa, 1000), "%s", td_isa_name(isa));
        cr_assert_leq(td_peak_loop_find(isa)->isa, isa);
    }
    if (td_isa_native() >= TD_ISA_AVX512_BF16) {
        cr_assert(td_peak_dot(1));
        cr_assert(td_peak_dot(1000));
    }
    if (td_isa_native() >= TD_ISA_AMX_BF16) {
        cr_assert(td_peak_tiles(1));
        cr_assert(td_peak_tiles(1000));
    }
    cr_assert_eq(td_peak_adds(3), UINT64_C(3) * TD_PEAK_ADDS);
}

Test(peak, a_rate_is_a_whole_number_of_pipes_or_half_a_pipe_of_dot_products) {
    const td_peak_loop *zmm = td_peak_loop_find(TD_ISA_AVX512), *dot = td_peak_loop_dot();
    const double fits[] = {31.1, 32, 32.9, 62.1, 64, 65.9}, wrong[] = {28, 33.1, 58.72, 62, 66, 96};
    for (size_t i = 0; i < sizeof fits / sizeof fits[0]; i++) {
        cr_assert(td_peak_rate_fits(zmm, fits[i]) && td_peak_rate_fits(dot, fits[i]), "%g",
                  fits[i]);
        cr_assert(!td_peak_rate_fits(zmm, wrong[i]) && !td_peak_rate_fits(dot, wrong[i]), "%g",
                  wrong[i]);
    }
    cr_assert(td_peak_rate_fits(dot, 128) && !td_peak_rate_fits(zmm, 128));
    cr_assert(!td_peak_rate_fits(zmm, NAN) && !td_peak_rate_fits(zmm, 0));
    const td_peak_loop *mixed = td_peak_loop_find(TD_ISA_PORTABLE);
    cr_assert(td_peak_rate_fits(mixed, 9.7) && !td_peak_rate_fits(mixed, 17));
}

/* A slice between chains that disagree does not count, however fast it seems, and a worker that
 * mostly had no clock to itself says so. */
Test(peak, only_slices_of_one_clock_count) {
    double loop, chain;
    const double loops[] = {50, 90, 100, 400}, chains[] = {10, 20, 20.2, 20, 20.4};
    cr_assert(td_peak_fastest_slice(loops, chains, 4, &loop, &chain));
    cr_assert_eq(loop, 90, "%g", loop);
    cr_assert_float_eq(chain, 20.1, 1e-9);
    const double jumping[] = {10, 20, 10, 20, 10};
    cr_assert(!td_peak_fastest_slice(loops, jumping, 4, &loop, &chain));
    cr_assert_eq(loop, 50);
}

/* No figure is compared: only that a ceiling is there, is checked, and is remembered. */
Test(ceiling, is_measured_once_and_kept) {
    const td_peak *first, *second;
    cr_assert_eq(td_ceiling_get(TD_PEAK_READ, TD_ISA_PORTABLE, 1, 1 << 16, false, &first), TD_OK);
    cr_assert(first->ok, "%s", first->reason);
    cr_assert(first->value > 0 && first->n >= 8);
    cr_assert_eq(td_ceiling_get(TD_PEAK_READ, TD_ISA_PORTABLE, 1, 1 << 16, false, &second), TD_OK);
    cr_assert_eq(first, second);
    double kept = first->value;
    cr_assert_eq(td_ceiling_get(TD_PEAK_READ, TD_ISA_PORTABLE, 1, 1 << 16, true, &second), TD_OK);
    cr_assert(second->value >= kept, "measuring again never lowers a ceiling");
    for (td_peak_kind kind = TD_PEAK_COPY; kind < TD_PEAK_COUNT; kind++) {
        cr_assert_eq(td_ceiling_get(kind, TD_ISA_PORTABLE, 2, 1 << 16, false, &first), TD_OK);
        cr_assert(first->ok, "%s", first->reason);
    }
    cr_assert_gt(td_ceiling_gflops(TD_PRECISION_F32, 1), 0);
}

/* bf16 products have roofs of their own only where the CPU has their instructions. */
Test(ceiling, bf16_code_is_held_against_its_own_peak) {
    static const struct {
        td_peak_kind kind;
        td_precision precision;
        td_isa isa;
    } rows[] = {{TD_PEAK_DOT, TD_PRECISION_BF16, TD_ISA_AVX512_BF16},
                {TD_PEAK_AMX, TD_PRECISION_BF16_AMX, TD_ISA_AMX_BF16}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_assert_eq(td_peak_of_code(rows[i].isa, rows[i].precision), rows[i].kind);
        cr_assert_eq(td_peak_of_code(rows[i].isa, TD_PRECISION_F32), TD_PEAK_FMA);
        cr_assert_eq(td_peak_of_code(TD_ISA_AVX512, rows[i].precision), TD_PEAK_FMA);
        const td_peak *peak;
        td_status status = td_ceiling_get(rows[i].kind, rows[i].isa, 1, 0, false, &peak);
        if (td_isa_native() < rows[i].isa) {
            cr_assert_eq(status, TD_ESKIP);
            cr_assert(strstr(td_error(), td_isa_name(rows[i].isa)) != NULL, "%s", td_error());
            continue;
        }
        cr_assert_eq(status, TD_OK, "%s", td_error());
        cr_assert(peak->value > 0 && peak->isa == rows[i].isa);
    }
}

/* The choice is that of the peaks, said with both; a named level is taken at its word. */
Test(rows, chosen_by_measured_peaks) {
    char text[TD_ROW_CHOICE_TEXT];
    td_isa isa;
    cr_assert_eq(td_isa_active(&isa), TD_OK);
    cr_assert_eq(td_kernels_select(isa), TD_OK);
    cr_assert_eq(td_rows_choose(TD_PRECISION_F32, text), TD_OK);
    cr_assert_str_empty(text);
    if (isa < TD_ISA_AVX512_BF16 || getenv("TANDEM_ISA") != NULL) {
        cr_skip_test("no choice here");
    }
    cr_assert_eq(td_rows_choose(TD_PRECISION_BF16, text), TD_OK, "%s", td_error());
    const td_peak *fma, *dot;
    cr_assert_eq(td_ceiling_get(TD_PEAK_FMA, TD_ISA_AVX512, 1, 0, false, &fma), TD_OK);
    cr_assert_eq(td_ceiling_get(TD_PEAK_DOT, isa, 1, 0, false, &dot), TD_OK);
    td_isa faster = dot->value >= fma->value ? TD_ISA_AVX512_BF16 : TD_ISA_AVX512;
    cr_expect_eq(td_kernel_selected(TD_OP_gemm_bf16)->isa, faster, "%s", text);
    cr_expect_not_null(strstr(text, td_isa_name(faster)), "%s", text);
    setenv("TANDEM_ISA", td_isa_name(isa), 1);
    cr_assert_eq(td_kernels_select(isa), TD_OK);
    cr_assert_eq(td_rows_choose(TD_PRECISION_BF16, text), TD_OK);
    cr_expect_str_empty(text);
    cr_expect_eq(td_kernel_selected(TD_OP_gemm_bf16)->isa, TD_ISA_AVX512_BF16);
}
