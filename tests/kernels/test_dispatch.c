/* SPDX-License-Identifier: Apache-2.0
 * The table and what is chosen from it.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/grain.h"
#include "kernels/kernel.h"
#include "kernels/kernel_example.h"

/* What the order of the table means, told independently of td_kernels_select. */
static const td_kernel *first_fit(td_op_id op, td_isa isa) {
    int count;
    const td_kernel *rows = td_kernels(&count);
    for (int i = 0; i < count; i++) {
        if (rows[i].op == op && rows[i].isa <= isa) {
            return &rows[i];
        }
    }
    return NULL;
}

Test(dispatch, each_level_takes_the_first_row_that_fits) {
    for (int isa = TD_ISA_PORTABLE; isa <= (int)td_isa_native(); isa++) {
        cr_assert_eq(td_kernels_select((td_isa)isa), TD_OK, "%s", td_error());
        for (int op = 0; op < TD_OP_COUNT; op++) {
            cr_expect_eq(td_kernel_selected((td_op_id)op), first_fit((td_op_id)op, (td_isa)isa),
                         "%s at %s", td_ops[op].name, td_isa_name((td_isa)isa));
        }
    }
}

/* A worker that gets none of an operation's tiles calls its row all the same, and may have no
 * scratch. */
Test(dispatch, a_call_without_tiles_needs_no_scratch) {
    int count, called = 0;
    const td_kernel *rows = td_kernels(&count);
    for (int op = 0; op < TD_OP_COUNT; op++) {
        td_kernel_example *example;
        cr_assert_eq(td_kernel_example_create((td_op_id)op, TD_EXAMPLE_EDGE, 1, 1, &example), TD_OK,
                     "%s", td_error());
        for (int i = 0; i < count; i++) {
            if (rows[i].op == (td_op_id)op && rows[i].isa <= td_isa_native()) {
                rows[i].run(td_kernel_example_args(example), 0, 0, NULL);
                called++;
            }
        }
        td_kernel_example_destroy(example);
    }
    cr_expect_geq(called, (int)TD_OP_COUNT);
}

/* Rates decide among the rows that the selection allowed, and among no others. */
Test(dispatch, a_table_of_rates_chooses_the_row) {
    for (int isa = TD_ISA_PORTABLE; isa <= (int)td_isa_native(); isa++) {
        for (int fastest = TD_ISA_PORTABLE; fastest < TD_ISA_COUNT; fastest++) {
            double rate[TD_ISA_COUNT] = {0};
            rate[fastest] = 2;
            rate[TD_ISA_AVX2] = fastest == TD_ISA_AVX2 ? 2 : 1;
            cr_assert_eq(td_kernels_select((td_isa)isa), TD_OK);
            td_kernel_choose(TD_OP_gemm_bf16, rate);
            td_isa chosen = td_kernel_selected(TD_OP_gemm_bf16)->isa;
            const td_kernel *has = first_fit(TD_OP_gemm_bf16, (td_isa)fastest);
            td_isa wanted = fastest <= isa && has->isa == (td_isa)fastest ? (td_isa)fastest
                            : isa >= TD_ISA_AVX2                          ? TD_ISA_AVX2
                                                                          : TD_ISA_PORTABLE;
            cr_expect_eq(chosen, wanted, "at %s, %s fastest: %s instead of %s",
                         td_isa_name((td_isa)isa), td_isa_name((td_isa)fastest),
                         td_isa_name(chosen), td_isa_name(wanted));
            cr_expect_eq(td_kernel_selected(TD_OP_gemm_f32),
                         first_fit(TD_OP_gemm_f32, (td_isa)isa));
        }
    }
}

Test(dispatch, equal_rates_leave_the_order_of_the_table) {
    const double equal[TD_ISA_COUNT] = {1, 1, 1, 1, 1}, none[TD_ISA_COUNT] = {0};
    cr_assert_eq(td_kernels_select(td_isa_native()), TD_OK);
    td_kernel_choose(TD_OP_gemm_bf16, equal);
    cr_expect_eq(td_kernel_selected(TD_OP_gemm_bf16), first_fit(TD_OP_gemm_bf16, td_isa_native()));
    td_kernel_choose(TD_OP_gemm_bf16, none);
    cr_expect_eq(td_kernel_selected(TD_OP_gemm_bf16), first_fit(TD_OP_gemm_bf16, td_isa_native()));
}

Test(dispatch, tandem_isa_lowers_the_level) {
    td_isa isa;
    setenv("TANDEM_ISA", "portable", 1);
    cr_assert_eq(td_isa_active(&isa), TD_OK);
    cr_assert_eq(td_kernels_select(isa), TD_OK);
    for (int op = 0; op < TD_OP_COUNT; op++) {
        cr_expect_str_eq(td_kernel_selected((td_op_id)op)->name, "portable");
    }
}

Test(dispatch, a_level_above_the_cpu_is_refused) {
    if (td_isa_native() + 1 == TD_ISA_COUNT) {
        cr_skip_test("this CPU has every level");
    }
    cr_expect_eq(td_kernels_select((td_isa)(td_isa_native() + 1)), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "this CPU offers"));
}

/* Counted once more, row by row, for every level a CPU may offer. */
Test(dispatch, the_description_counts_rows_by_level) {
    int count;
    const td_kernel *rows = td_kernels(&count);
    for (int native = 0; native < TD_ISA_COUNT; native++) {
        int runnable = 0, of_native = 0;
        char want[64];
        td_text text = {0};
        for (int i = 0; i < count; i++) {
            runnable += (int)rows[i].isa <= native;
            of_native += (int)rows[i].isa == native;
        }
        td_kernels_describe((td_isa)native, TD_ISA_PORTABLE, &text);
        snprintf(want, sizeof want, "on this host: %d of %d (portable ", runnable, count);
        cr_expect_not_null(strstr(text.data, want), "%s in %s", want, text.data);
        snprintf(want, sizeof want, "%s %d of %d", td_isa_name((td_isa)native), of_native,
                 of_native);
        cr_expect_not_null(strstr(text.data, want), "%s in %s", want, text.data);
        const char *next = native + 1 < TD_ISA_COUNT ? td_isa_name((td_isa)(native + 1)) : NULL;
        snprintf(want, sizeof want, " %s 0 of ", next == NULL ? "" : next);
        cr_expect(next == NULL || strstr(text.data, want) != NULL, "%s in %s", want, text.data);
        bool left_out = strstr(text.data, "TANDEM_ISA=portable leaves out") != NULL;
        cr_expect_eq(left_out, native > 0, "%s", text.data);
        td_text_destroy(&text);
    }
}

/* Rows of an operation are consecutive in falling order of level and end with a portable one, so
 * that every CPU finds a row. Names and levels belong together. */
Test(dispatch, the_table_is_in_order_and_complete) {
    int count;
    const td_kernel *rows = td_kernels(&count);
    for (int op = 0, i = 0; op < TD_OP_COUNT; op++) {
        cr_expect_gt(td_ops[op].args_bytes, 0);
        cr_expect_gt(strlen(td_ops[op].doc), 0);
        cr_assert_lt(i, count);
        for (; i < count && (int)rows[i].op == op; i++) {
            const char *level = td_isa_name(rows[i].isa);
            cr_expect_eq(strncmp(rows[i].name, level, strlen(level)), 0, "%s", rows[i].name);
            bool more = i + 1 < count && rows[i + 1].op == rows[i].op;
            cr_expect(!more || rows[i + 1].isa <= rows[i].isa, "%s", td_ops[op].name);
        }
        cr_expect_eq((int)rows[i - 1].op, op, "rows of %s", td_ops[op].name);
        cr_expect_eq(rows[i - 1].isa, TD_ISA_PORTABLE, "%s", td_ops[op].name);
    }
}

/* td_ops[op].run reaches the chosen row: the result is the portable row's, at every level. */
Test(dispatch, every_operation_runs_at_every_level) {
    for (int op = 0; op < TD_OP_COUNT; op++) {
        td_kernel_example *example;
        cr_assert_eq(td_kernel_example_create((td_op_id)op, TD_EXAMPLE_EDGE, 1, 5, &example), TD_OK,
                     "%s", td_error());
        td_kernel_example_run(example, td_kernel_example_portable((td_op_id)op), 1);
        cr_assert_eq(td_kernel_example_keep(example), TD_OK);
        for (int isa = TD_ISA_PORTABLE; isa <= (int)td_isa_native(); isa++) {
            cr_assert_eq(td_kernels_select((td_isa)isa), TD_OK);
            td_kernel through_ops = *td_kernel_selected((td_op_id)op);
            through_ops.run = td_ops[op].run;
            td_kernel_example_reset(example);
            td_kernel_example_run(example, &through_ops, 2);
            cr_expect_eq(td_kernel_example_check(example, example), TD_OK, "%s at %s: %s",
                         td_ops[op].name, td_isa_name((td_isa)isa), td_error());
        }
        td_kernel_example_destroy(example);
    }
}

/* Every strip of a product's columns has as many tiles: 3,200 rows are 50 of 64. */
Test(dispatch, tiles_of_a_strip_of_a_product_share_what_is_packed) {
    static const td_op_id products[] = {TD_OP_gemm_f32, TD_OP_gemm_bf16, TD_OP_gemm_amx};
    td_gemm_f32_args args = {.m = 3200, .n = 1152, .k = 384, .k_blocks = 1};
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
        int64_t grain = td_kernel_grain(products[i], &args);
        td_gemm_f32_args first = args; /* as few columns as any strip has */
        first.n = 32;
        cr_expect_eq(grain, td_ops[products[i]].tiles(&first));
        cr_expect(grain > 1 && td_ops[products[i]].tiles(&args) % grain == 0);
    }
    args.m = 0;
    cr_expect_eq(td_kernel_grain(TD_OP_gemm_f32, &args), 1);
    /* Whole rows, so that no two workers write to one row. */
    args = (td_gemm_f32_args){.m = 768, .n = 768, .k = 32, .a_trans = true, .k_blocks = 8};
    cr_expect_eq(td_ops[TD_OP_gemm_f32].tiles(&args), td_kernel_grain(TD_OP_gemm_f32, &args));
    cr_expect_eq(td_kernel_grain(TD_OP_gelu_f32, &(td_gelu_f32_args){.n = 100000}), 1);
}

/* 768 columns are 12 tiles: in halves of halves a worker would sweep through the matrix for 768,
 * 512 and 256 bytes of each row. */
Test(dispatch, a_worker_sums_all_its_columns_in_one_sweep) {
    const td_layernorm_grad_w_f32_args norm = {.rows = 100, .cols = 768, .blocks = 8};
    const td_colsum_f32_args sum = {.rows = 100, .cols = 768, .blocks = 8};
    cr_expect_eq(td_kernel_grain(TD_OP_layernorm_grad_w_f32, &norm), 12);
    cr_expect_eq(td_kernel_grain(TD_OP_colsum_f32, &sum), 12);
}
