/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <stdint.h>
#include <string.h>

#include "base/aligned.h"
#include "base/memory.h"

static void plan_three(td_plan *plan, float **a, double **b, char **c) {
    *a = TD_PLAN_ARRAY(plan, float, 5);
    *b = TD_PLAN_ARRAY(plan, double, 0);
    *c = TD_PLAN_ARRAY(plan, char, 129);
}

Test(memory, plan_sizes_and_then_hands_out_the_same_layout) {
    float *a;
    double *b;
    char *c;
    td_plan sizes = {0};
    plan_three(&sizes, &a, &b, &c);
    cr_assert_null(a);
    td_arena arena;
    cr_assert_eq(td_arena_create(sizes.used_bytes, &arena), TD_OK);
    td_plan plan = {.base = arena.base};
    plan_three(&plan, &a, &b, &c);
    cr_assert_eq(plan.used_bytes, sizes.used_bytes);
    cr_assert_eq((uintptr_t)a % TD_ALIGN, 0);
    cr_assert_geq((char *)b - (char *)(a + 5), 64, "each block is followed by 64 bytes of slack");
    cr_assert_geq(c - (char *)b, 64);
    cr_assert_leq((unsigned char *)c + 129 + 64, arena.base + arena.bytes);
    c[128] = 1;
    td_arena_destroy(&arena);
    cr_assert_null(arena.base);
}

Test(memory, arena_is_aligned_and_counts_as_an_allocation) {
    uint64_t before = td_alloc_count();
    td_arena arena, empty;
    cr_assert_eq(td_arena_create(3 << 20, &arena), TD_OK);
    cr_assert_eq(td_arena_create(0, &empty), TD_OK);
    cr_assert_eq((uintptr_t)arena.base % (2 << 20), 0);
    cr_assert_eq(arena.bytes, 4 << 20);
    cr_assert_eq(td_alloc_count() - before, 2);
    td_arena_destroy(&arena);
    td_arena_destroy(&empty);
}

Test(memory, aligned_blocks_are_aligned_and_zero) {
    for (size_t align = 64; align <= 4096; align *= 2) {
        for (size_t bytes = 0; bytes <= 2 * align + 1; bytes += align / 2 + 1) {
            uint64_t before = td_alloc_count();
            unsigned char *block = td_alloc_aligned(align, bytes);
            cr_assert_not_null(block);
            cr_expect_eq(td_alloc_count(), before + 1);
            cr_expect_eq((uintptr_t)block % align, 0);
            for (size_t i = 0; i < bytes; i++) {
                cr_assert_eq(block[i], 0);
            }
            memset(block, 0xff, bytes); /* the next one may be the same memory */
            td_free(block);
        }
    }
    cr_expect_null(td_alloc_aligned(128, SIZE_MAX));
}

Test(memory, an_impossible_arena_is_an_error_that_names_its_size) {
    td_arena arena;
    cr_assert_eq(td_arena_create((size_t)1 << 50, &arena), TD_ENOMEM);
    cr_assert_neq(strstr(td_error(), "1125899906842624"), NULL);
}
