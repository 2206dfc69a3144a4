/* SPDX-License-Identifier: Apache-2.0
 * Every row of every operation against its portable row, bit for bit: all edge cases, tiles cut
 * into 1, 2, 3 and 7 calls, buffers aligned, one element off, and ending at a page without access.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "kernels/kernel_example.h"
#include "kernels/kernel_example_build.h"
#include "stand_ins.h"

enum { MAX_ROWS = 256, SEED = 20 };

static const int64_t parts[] = {1, 2, 3, 7};

static int n_wrong;

/* Runs one case as placed, cut every way or once, and compares with what `kept` holds. */
static void run_placed(const td_kernel *row, int64_t index, td_kernel_example_placement placement,
                       bool once, const td_kernel_example *kept) {
    td_kernel_example *example;
    cr_assert_eq(
        td_kernel_example_create_at(row->op, TD_EXAMPLE_EDGE, index, SEED, placement, &example),
        TD_OK, "%s", td_error());
    for (size_t i = once ? 2 : 0; i < (once ? 3 : sizeof parts / sizeof parts[0]); i++) {
        td_kernel_example_reset(example);
        td_kernel_example_run(example, row, parts[i]);
        td_status status = td_kernel_example_check(example, kept);
        n_wrong += status != TD_OK;
        cr_expect_eq(status, TD_OK, "%s, placement %d, %d parts: %s", row->name, (int)placement,
                     (int)parts[i], status == TD_OK ? "" : td_error());
    }
    td_kernel_example_destroy(example);
}

ParameterizedTestParameters(kernel_rows, equal_portable) {
    static int indices[MAX_ROWS];
    int count;
    td_kernels(&count);
    for (int i = 0; i < count; i++) {
        indices[i] = i;
    }
    return cr_make_param_array(int, indices, (size_t)count);
}

/* All edge cases of a row; the number of tiles run, and a hash over all results. A stand-in is
 * slow: it runs at the guard pages only, cut once. */
static int64_t run_cases(const td_kernel *row, bool stands_in, uint64_t *hash) {
    int64_t cases = td_kernel_example_cases(row->op, TD_EXAMPLE_EDGE), tiles = 0;
    *hash = 0;
    for (int64_t i = 0; i < cases; i++) {
        td_kernel_example *reference;
        cr_assert_eq(td_kernel_example_create(row->op, TD_EXAMPLE_EDGE, i, SEED, &reference), TD_OK,
                     "%s", td_error());
        tiles += td_ops[row->op].tiles(td_kernel_example_args(reference));
        td_kernel_example_run(reference, td_kernel_example_portable(row->op), 1);
        cr_assert_eq(td_kernel_example_keep(reference), TD_OK, "%s", td_error());
        for (int placement = stands_in ? TD_EXAMPLE_GUARDED : TD_EXAMPLE_ALIGNED;
             placement <= TD_EXAMPLE_GUARDED; placement++) {
            run_placed(row, i, (td_kernel_example_placement)placement, stands_in, reference);
        }
        *hash = *hash * 31 + td_kernel_example_hash(reference);
        td_kernel_example_destroy(reference);
    }
    return tiles;
}

/* One line of this run's part of the ledger (tools/kernel_ledger.py), written when a row is done:
 * appended by one write, because tests are processes that run side by side. */
static void enter(const td_kernel *row, const char *how, uint64_t hash) {
    int count;
    char line[512];
    td_cpu_info cpu;
    td_kernels(&count);
    td_cpu_info_read(&cpu);
    int size =
        snprintf(line, sizeof line,
                 "{\"op\": \"%s\", \"row\": \"%s\", \"needs\": \"%s\", \"how\": \"%s\", "
                 "\"hash\": \"%016llx\", \"rows\": %d, \"cpu\": \"%s %d/%d/%d\"}\n",
                 td_ops[row->op].name, row->name, td_isa_name(row->isa), how,
                 (unsigned long long)hash, count, cpu.vendor, cpu.family, cpu.model, cpu.stepping);
    int file = open(TD_KERNEL_ROWS_FILE, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    cr_assert(file >= 0 && write(file, line, (size_t)size) == size, "%s", TD_KERNEL_ROWS_FILE);
    close(file);
}

/* A row runs as it is where the level in use allows it, by its stand-in elsewhere. Whatever fails
 * ends the test before it enters the ledger. */
ParameterizedTest(int *index, kernel_rows, equal_portable) {
    int count;
    const td_kernel *row = &td_kernels(&count)[*index];
    td_kernel stand_in;
    td_isa active;
    uint64_t hash;
    cr_assert_leq(count, MAX_ROWS);
    cr_assert_eq(td_isa_active(&active), TD_OK, "%s", td_error());
    bool native = row->isa <= active;
    if (!native && !stand_in_for(row, &stand_in)) {
        enter(row, "skipped", 0);
        cr_skip_test("td_%s__%s needs %s", td_ops[row->op].name, row->name, td_isa_name(row->isa));
    }
    n_wrong = 0;
    cr_assert_gt(run_cases(native ? row : &stand_in, !native, &hash), 0, "was never run");
    cr_assert_eq(n_wrong, 0);
    enter(row, native ? "native" : "emulated", hash);
}

/* Stand-ins are put to the test on every CPU, or they would be wrong when one is needed. */
Test(kernel_rows, stand_ins_equal_portable) {
    int count;
    const td_kernel *rows = td_kernels(&count);
    td_kernel stand_in;
    uint64_t hash;
    for (int i = 0; i < count; i++) {
        bool twice = i > 0 && rows[i - 1].op == rows[i].op && rows[i].isa == TD_ISA_AVX512 &&
                     rows[i - 1].isa > TD_ISA_AVX512; /* one stand-in for both */
        if (!twice && stand_in_for(&rows[i], &stand_in)) {
            run_cases(&stand_in, true, &hash);
        }
    }
}

/* The shape of a case, without its data. */
static void shape_of(td_op_id op, int size, int64_t index, char shape[EXAMPLE_SHAPE]) {
    td_kernel_example *outline;
    cr_assert_eq(td_kernel_example_outline(op, size, index, &outline), TD_OK, "%s", td_error());
    memcpy(shape, td_kernel_example_shape(outline), EXAMPLE_SHAPE);
    td_kernel_example_destroy(outline);
}

/* Shapes are parts of case ids: unique over all sizes, and never cut. */
Test(kernel_examples, every_operation_has_cases_with_shapes_of_their_own) {
    enum { MOST = 64 };
    for (int op = 0; op < TD_OP_COUNT; op++) {
        char shapes[MOST][EXAMPLE_SHAPE];
        int64_t n = 0;
        for (int size = 0; size < TD_EXAMPLE_SIZES; size++) {
            int64_t cases = td_kernel_example_cases((td_op_id)op, size);
            cr_expect_geq(cases, size == TD_EXAMPLE_EDGE ? 4 : 1, "%s", td_ops[op].name);
            for (int64_t i = 0; i < cases; i++, n++) {
                cr_assert_lt(n, MOST);
                shape_of((td_op_id)op, size, i, shapes[n]);
                cr_expect_lt(strlen(shapes[n]), EXAMPLE_SHAPE - 1);
                for (int64_t j = 0; j < n; j++) {
                    cr_expect_str_neq(shapes[n], shapes[j], "%s", td_ops[op].name);
                }
            }
        }
    }
}

/* The checker itself: each way of being wrong is rejected. */
static td_kernel_example *checked_layernorm(void) {
    td_kernel_example *example;
    cr_assert_eq(td_kernel_example_create(TD_OP_layernorm_f32, TD_EXAMPLE_EDGE, 2, SEED, &example),
                 TD_OK);
    td_kernel_example_run(example, td_kernel_example_portable(TD_OP_layernorm_f32), 1);
    cr_assert_eq(td_kernel_example_keep(example), TD_OK);
    cr_assert_eq(td_kernel_example_check(example, example), TD_OK, "%s", td_error());
    return example;
}

static void expect_rejected(td_kernel_example *example, const char *word) {
    cr_expect_eq(td_kernel_example_check(example, example), TD_ECHECK, "%s", word);
    cr_expect(strstr(td_error(), word) != NULL, "%s", td_error());
}

Test(kernel_examples, checker_rejects_wrong_results) {
    td_kernel_example *example = checked_layernorm();
    const td_layernorm_f32_args *args = td_kernel_example_args(example);
    float *y = args->y, first = y[0];
    uint32_t bits;
    memcpy(&bits, &first, sizeof bits);
    bits ^= 1;
    memcpy(y, &bits, sizeof bits);
    expect_rejected(example, "y[0][0]");
    y[0] = -first;
    expect_rejected(example, "y[0][0]");
    y[0] = first;
    y[args->ldy * 3 + 2] = NAN;
    expect_rejected(example, "y[3][2]");
    td_kernel_example_reset(example);
    expect_rejected(example, "y[0][0]");
    td_kernel_example_run(example, td_kernel_example_portable(TD_OP_layernorm_f32), 1);
    float *gamma = (float *)args->gamma, kept = gamma[1];
    gamma[1] = gamma[0];
    expect_rejected(example, "input gamma was changed");
    gamma[1] = kept;
    args->mean[args->rows] = 0; /* one element behind */
    expect_rejected(example, "outside of mean");
    args->mean[args->rows] = args->mean[args->rows + 1];
    y[args->cols] = 0; /* between two rows */
    expect_rejected(example, "outside of y");
    td_kernel_example_destroy(example);
}

Test(kernel_examples, checker_rejects_what_nobody_wrote) {
    td_kernel_example *example;
    cr_assert_eq(td_kernel_example_create(TD_OP_colsum_f32, TD_EXAMPLE_EDGE, 1, SEED, &example),
                 TD_OK);
    cr_assert_eq(td_kernel_example_keep(example), TD_OK);
    expect_rejected(example, "was not written");
    td_kernel_example_destroy(example);
}

Test(kernel_examples, equal_seeds_give_equal_inputs) {
    td_kernel_example *a, *b;
    cr_assert_eq(td_kernel_example_create(TD_OP_adamw_f32, TD_EXAMPLE_EDGE, 3, SEED, &a), TD_OK);
    cr_assert_eq(td_kernel_example_create_at(TD_OP_adamw_f32, TD_EXAMPLE_EDGE, 3, SEED,
                                             TD_EXAMPLE_OFFSET, &b),
                 TD_OK);
    const td_adamw_f32_args *x = td_kernel_example_args(a), *y = td_kernel_example_args(b);
    cr_expect_eq(memcmp(x->g, y->g, (size_t)x->n * sizeof(float)), 0);
    cr_expect_eq((uintptr_t)x->g % TD_ALIGN, 0);
    cr_expect_eq((uintptr_t)y->g % TD_ALIGN, sizeof(float));
    td_kernel_example_destroy(b);
    cr_assert_eq(td_kernel_example_create(TD_OP_adamw_f32, TD_EXAMPLE_EDGE, 3, SEED + 1, &b),
                 TD_OK);
    y = td_kernel_example_args(b);
    cr_expect_neq(memcmp(x->g, y->g, (size_t)x->n * sizeof(float)), 0);
    td_kernel_example_destroy(a);
    td_kernel_example_destroy(b);
}

Test(kernel_examples, a_case_that_is_not_there_is_named) {
    td_kernel_example *example;
    cr_expect_eq(td_kernel_example_create(TD_OP_colsum_f32, TD_EXAMPLE_EDGE, 1000, SEED, &example),
                 TD_EUSAGE);
    cr_expect(strstr(td_error(), "colsum_f32") != NULL, "%s", td_error());
}
