/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>

#include "base/memory.h"
#include "kernel_oracles.h"

void oracle_embedding(const void *before, const void *after) {
    const td_embedding_f32_args *args = before;
    const float *got = ((const td_embedding_f32_args *)after)->x;
    for (int64_t i = 0; i < args->n * args->width; i++) {
        int64_t c = i % args->width, place = i / args->width;
        float want = args->table[args->ids[place] * args->width + c] +
                     args->pos[args->position[place] * args->width + c];
        twin_same("x", i, got[i], want);
    }
}

Test(embedding, rows_of_the_table_plus_positions) {
    twin_each_case(TD_OP_embedding_f32, oracle_embedding);
}

void oracle_embedding_sort(const void *before, const void *after) {
    const td_embedding_sort_i32_args *args = before;
    const td_embedding_sort_i32_args *done = after;
    int64_t n = 0;
    for (int32_t v = 0; v < args->vocab; v++) {
        twin_equal("start", v, done->start[v], n);
        for (int32_t i = 0; i < args->n; i++) {
            if (args->ids[i] == v) {
                twin_equal("order", n, done->order[n], i);
                n++;
            }
        }
    }
    twin_equal("start", args->vocab, done->start[args->vocab], args->n);
}

Test(embedding, sort_is_stable_and_complete) {
    twin_each_case(TD_OP_embedding_sort_i32, oracle_embedding_sort);
}

/* Serially, from the definition: per block from zero in ascending order, then the tree over all
 * blocks. */
static void check_sums(const td_embedding_grad_f32_args *args, int64_t v, const float *got) {
    float partials[16];
    for (int64_t c = 0; c < args->width; c++) {
        double sum = 0, size = 0;
        for (int64_t b = 0; b < args->blocks; b++) {
            partials[b] = 0;
        }
        for (int32_t i = args->start[v]; i < args->start[v + 1]; i++) {
            float x = args->dx[args->order[i] * args->width + c];
            int64_t b = 0;
            while (twin_block(args->starts, args->n, args->blocks, b + 1) <= args->order[i]) {
                b++;
            }
            partials[b] += x;
            sum += (double)x;
            size += fabs((double)x);
        }
        twin_same("dtable", v * args->width + c, got[c], twin_tree(partials, args->blocks));
        twin_near("dtable", v * args->width + c, (double)got[c], sum,
                  (double)(args->n + args->blocks) * TWIN_U * size);
    }
}

void oracle_embedding_grad(const void *before, const void *after) {
    const td_embedding_grad_f32_args *args = before;
    const float *got = ((const td_embedding_grad_f32_args *)after)->dtable;
    cr_assert_leq(args->blocks, 16);
    for (int64_t v = 0; v < args->vocab; v++) {
        const int32_t from = args->start[v], to = args->start[v + 1];
        if (!args->compact) {
            check_sums(args, v, got + v * args->width);
            continue;
        }
        if (from < to) {
            check_sums(args, v, got + from * args->width);
        }
        for (int64_t i = (from + 1) * args->width; i < to * args->width; i++) {
            twin_same("a row that stays", i, got[i], args->dtable[i]);
        }
    }
}

Test(embedding, gradient_is_the_serial_sum_bit_for_bit) {
    twin_each_case(TD_OP_embedding_grad_f32, oracle_embedding_grad);
}

/* One id everywhere; one id nowhere; a gradient of -0, which a block without positions turns into
 * +0. */
Test(embedding, gradient_of_one_id_and_of_none) {
    enum { N = 32, WIDTH = 19, VOCAB = 3 };
    float *dx = twin_floats(N * WIDTH, 1, 1), dtable[VOCAB * WIDTH];
    int32_t order[N], start[VOCAB + 1] = {0, 31, 31, 32};
    for (int32_t i = 0; i < N; i++) {
        order[i] = i;
    }
    for (int64_t c = 0; c < WIDTH; c++) {
        dx[31 * WIDTH + c] = -0.0f;
    }
    td_embedding_grad_f32_args args = {.n = N,
                                       .vocab = VOCAB,
                                       .width = WIDTH,
                                       .blocks = 8,
                                       .order = order,
                                       .start = start,
                                       .dx = dx,
                                       .dtable = dtable};
    twin_each_row(TD_OP_embedding_grad_f32, &args, oracle_embedding_grad);
    td_free(dx);
}
