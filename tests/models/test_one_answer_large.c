/* SPDX-License-Identifier: Apache-2.0
 * One answer of a model that is used, vit-s-32-alt: the same weights after two steps, whatever is
 * left out, however the batch is cut, on every layout and instruction set. The suite full_* takes
 * minutes and is part of `make test-full` only; one_answer_large is its sample.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "train_case.h"

enum { STEPS = 2 };

typedef struct form {
    bool keep_padding, keep_last_block;
    int64_t accum;
} form;

static td_train_options model_options(const form *f) {
    td_train_options options = td_case_options("vit-s-32-alt", TD_LOSS_SOFTMAX);
    options.batch = 8;
    options.keep_padding = f->keep_padding;
    options.keep_last_block = f->keep_last_block;
    options.accum = f->accum;
    return options;
}

static void answer(const form *f, const char *layout, int64_t steps, td_case_result *out) {
    td_train_options options = model_options(f);
    *out = (td_case_result){0};
    td_case_ok(td_case_run(&options, layout, steps, out));
}

static td_isa native(void) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
    return isa;
}

static const form whole = {true, true, 1}, least = {false, false, 2};

static void expect_same(const form *f, const char *layout, td_isa isa,
                        const td_case_result *reference) {
    td_case_result other;
    td_case_ok(td_kernels_select(isa));
    answer(f, layout, STEPS, &other);
    cr_expect_str_eq(other.sha256, reference->sha256,
                     "%s, %s, padding %d, whole last block %d, %d micro-batches: another answer",
                     layout, td_isa_name(isa), f->keep_padding, f->keep_last_block, (int)f->accum);
    cr_expect_arr_eq(other.loss, reference->loss, STEPS * sizeof(double), "%s: other losses",
                     layout);
}

Test(one_answer_large, nothing_left_out_and_everything) {
    td_case_result reference, other;
    native();
    answer(&whole, "p1xt1", 1, &reference);
    answer(&least, "p2xt1:process", 1, &other);
    cr_assert_str_eq(other.sha256, reference.sha256);
    cr_assert_arr_eq(other.loss, reference.loss, sizeof(double));
}

Test(full_one_answer, every_form) {
    td_case_result reference;
    td_isa isa = native();
    answer(&whole, "p1xt1", STEPS, &reference);
    for (int bits = 0; bits < 4; bits++) {
        for (int64_t accum = 1; accum <= 4; accum *= 2) {
            expect_same(&(form){bits & 1, bits >> 1, accum}, "p1xt2", isa, &reference);
        }
    }
}

Test(full_one_answer, every_layout) {
    static const char *const layouts[] = {"p1xt2",        "p1xt3",         "p1xt7",
                                          "p2xt1:thread", "p2xt1:process", "p4xt1:process"};
    td_case_result reference;
    td_isa isa = native();
    answer(&whole, "p1xt1", STEPS, &reference);
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        expect_same(&least, layouts[i], isa, &reference);
    }
}

Test(full_one_answer, every_instruction_set) {
    td_case_result reference;
    td_isa highest = native();
    answer(&whole, "p1xt1", STEPS, &reference);
    for (td_isa isa = TD_ISA_PORTABLE; isa <= highest; isa++) {
        expect_same(&(form){false, false, 1}, "p1xt2", isa, &reference);
    }
}
