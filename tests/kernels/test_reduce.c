/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "kernel_oracles.h"

void oracle_colsum(const void *before, const void *after) {
    const td_colsum_f32_args *args = before;
    const float *got = ((const td_colsum_f32_args *)after)->out;
    float partials[64];
    cr_assert_leq(args->blocks, 64);
    for (int64_t c = 0; c < args->cols; c++) {
        double sum = 0, size = 0;
        for (int64_t b = 0; b < args->blocks; b++) {
            partials[b] = 0;
            int64_t first = twin_block(args->starts, args->rows, args->blocks, b);
            int64_t end = twin_block(args->starts, args->rows, args->blocks, b + 1);
            for (int64_t r = first; r < end; r++) {
                float x = args->x[r * args->ldx + c];
                partials[b] += x;
                sum += (double)x;
                size += fabs((double)x);
            }
        }
        twin_same("out", c, got[c], twin_tree(partials, args->blocks));
        twin_near("out", c, (double)got[c], sum,
                  (double)(args->rows + args->blocks) * TWIN_U * size);
    }
}

Test(colsum, order_and_bound) {
    twin_each_case(TD_OP_colsum_f32, oracle_colsum);
}

/* Every number of blocks up to 33, so that the stack of partials is left at every depth. */
Test(colsum, any_number_of_blocks) {
    enum { COLS = 21, PER_BLOCK = 3, MOST = 33 };
    float *x = twin_floats(COLS * PER_BLOCK * MOST, 1, 1), out[COLS];
    for (int64_t blocks = 1; blocks <= MOST; blocks++) {
        td_colsum_f32_args args = {.rows = PER_BLOCK * blocks,
                                   .cols = COLS,
                                   .blocks = blocks,
                                   .x = x,
                                   .ldx = COLS,
                                   .out = out};
        twin_each_row(TD_OP_colsum_f32, &args, oracle_colsum);
    }
    td_free(x);
}

/* A rank that owns an aligned quarter of the blocks computes exactly a subtree of the whole. */
static void check_nothing(const void *before, const void *after) {
    (void)before;
    (void)after;
}

Test(colsum, ranks_compute_subtrees) {
    enum { COLS = 37, ROWS = 48, BLOCKS = 8, RANKS = 4 };
    float *x = twin_floats(COLS * ROWS, 2, 1), whole[COLS], part[RANKS][COLS], ranks[RANKS];
    td_colsum_f32_args args = {
        .rows = ROWS, .cols = COLS, .blocks = BLOCKS, .x = x, .ldx = COLS, .out = whole};
    twin_each_row(TD_OP_colsum_f32, &args, check_nothing);
    for (int64_t r = 0; r < RANKS; r++) {
        args = (td_colsum_f32_args){.rows = ROWS / RANKS,
                                    .cols = COLS,
                                    .blocks = BLOCKS / RANKS,
                                    .x = x + r * (ROWS / RANKS) * COLS,
                                    .ldx = COLS,
                                    .out = part[r]};
        twin_each_row(TD_OP_colsum_f32, &args, check_nothing);
    }
    for (int64_t c = 0; c < COLS; c++) {
        for (int64_t r = 0; r < RANKS; r++) {
            ranks[r] = part[r][c];
        }
        twin_same("whole", c, whole[c], twin_tree(ranks, RANKS));
    }
    td_free(x);
}

static double tree_of_16(const double *lanes) {
    double sum[16];
    memcpy(sum, lanes, sizeof sum);
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) {
            sum[i] += sum[i + width];
        }
    }
    return sum[0];
}

void oracle_sumsq(const void *before, const void *after) {
    const td_sumsq_f32_args *args = before;
    const double *slots = ((const td_sumsq_f32_args *)after)->slots;
    for (int64_t first = 0; first < args->n; first += 16384) {
        double lanes[16] = {0}, exact = 0;
        for (int64_t i = first; i < args->n && i < first + 16384; i++) {
            float square = args->x[i] * args->x[i];
            lanes[i % 16] += (double)square;
            exact += (double)args->x[i] * (double)args->x[i];
        }
        double got = slots[first / 16384], want = tree_of_16(lanes);
        int64_t bits[2];
        memcpy(&bits[0], &got, sizeof got);
        memcpy(&bits[1], &want, sizeof want);
        twin_equal("bits of slots", first / 16384, bits[0], bits[1]);
        twin_near("slots", first / 16384, got, exact, 1.01 * TWIN_U * exact);
    }
}

Test(sumsq, order_and_bound) {
    twin_each_case(TD_OP_sumsq_f32, oracle_sumsq);
}

static void check_sumsq_nan(const void *before, const void *after) {
    (void)before;
    const double *slots = ((const td_sumsq_f32_args *)after)->slots;
    cr_expect(isnan(slots[0]) != 0, "%s", twin_row());
    cr_expect(isinf(slots[1]) != 0, "%s", twin_row());
}

Test(sumsq, nan_and_overflow_show) {
    enum { N = 16384 + 5 };
    float *x = twin_floats(N, 3, 1);
    double slots[2];
    x[16383] = NAN;
    x[16386] = 1e20f;
    td_sumsq_f32_args args = {.n = N, .x = x, .slots = slots};
    twin_each_row(TD_OP_sumsq_f32, &args, check_sumsq_nan);
    td_free(x);
}
