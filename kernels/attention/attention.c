/* SPDX-License-Identifier: Apache-2.0
 * Forward attention of one head: K transposed once, then strips of query rows whose scores never
 * leave the strip. Scores stay unnormalised; 1 / sum is applied to the output row.
 */
#include "base/math.h"
#include "kernels/attention/strip.h"
#include "kernels/kernel.h"
#include "kernels/vmath.h"

/* In place: scores to exp(score * scale - max), zero from `seen` to the end of the strip's last
 * vector. Returns the sum, and log-sum-exp through lse. A NaN may get lost in the maximum, never in
 * the sum. */
TD_SIMD float row_softmax(float *row, int64_t seen, int64_t width, float scale, float *lse) {
    td_v16 factor = td_v16_set1(scale), max = td_v16_set1(-INFINITY), sum = td_v16_zero();
    for (int64_t c = 0; c < seen; c += TD_LANES) {
        td_v16 s = td_v16_mul(td_v16_load(row + c), factor);
        if (seen - c < TD_LANES) {
            s = td_v16_select(td_m16_first(seen - c), s, td_v16_set1(-INFINITY));
        }
        td_v16_store(row + c, s);
        max = td_v16_max(max, s);
    }
    float top = td_v16_reduce_max(max);
    for (int64_t c = 0; c < seen; c += TD_LANES) {
        td_v16 e = td_v16_exp(td_v16_sub(td_v16_load(row + c), td_v16_set1(top)));
        if (seen - c < TD_LANES) {
            e = td_v16_select(td_m16_first(seen - c), e, td_v16_zero());
        }
        td_v16_store(row + c, e);
        sum = td_v16_add(sum, e);
    }
    for (int64_t c = td_attention_pad(seen); c < width; c += TD_LANES) {
        td_v16_store(row + c, td_v16_zero());
    }
    float total = td_v16_sum(sum);
    *lse = top + (float)td_log((double)total);
    return total;
}

TD_SIMD void scale_row(float *row, int64_t n, float factor) {
    td_v16 by = td_v16_set1(factor);
    int64_t c = 0;
    for (; c + TD_LANES <= n; c += TD_LANES) {
        td_v16_store(row + c, td_v16_mul(td_v16_load(row + c), by));
    }
    if (c < n) {
        td_v16_store_part(row + c, td_v16_mul(td_v16_load_part(row + c, n - c, 0), by), n - c);
    }
}

static void forward_head(const td_attention_f32_args *args, int64_t s, int64_t h, float *scratch) {
    int64_t ld = td_attention_pad(args->n_k);
    float *kt = scratch, *strip = kt + args->head * ld;
    const float *q = args->q + s * args->q_seq + h * args->head;
    const float *k = args->k + s * args->kv_seq + h * args->head;
    const float *v = args->v + s * args->kv_seq + h * args->head;
    float *o = args->o + s * args->o_seq + h * args->head;
    float *lse = args->lse + (s * args->heads + h) * args->n_q, scale = td_attention_scale(args);
    td_product_transpose(kt, ld, k, args->kv_row, args->n_k, args->head);
    for (int64_t i = 0; i < args->n_q; i += TD_STRIP_ROWS) {
        int64_t rows = args->n_q - i < TD_STRIP_ROWS ? args->n_q - i : TD_STRIP_ROWS;
        int64_t keys = td_strip_keys(args, i, rows), width = td_attention_pad(keys);
        float sums[TD_STRIP_ROWS];
        td_strip_scores(args, q + i * args->q_row, args->q_row, rows, keys, kt, strip);
        for (int64_t r = 0; r < rows; r++) {
            sums[r] =
                row_softmax(strip + r * ld, td_row_keys(args, i + r), width, scale, &lse[i + r]);
        }
        td_product_run(&(td_product){.m = rows,
                                     .n = args->head,
                                     .k = keys,
                                     .a = strip,
                                     .a_row = ld,
                                     .a_col = 1,
                                     .b = v,
                                     .ldb = args->kv_row,
                                     .c = o + i * args->o_row,
                                     .ldc = args->o_row});
        for (int64_t r = 0; r < rows; r++) {
            scale_row(o + (i + r) * args->o_row, args->head, 1.0f / sums[r]);
        }
    }
}

void TD_FN(attention_f32)(const td_attention_f32_args *args, int64_t first, int64_t last,
                          void *scratch) {
    for (int64_t tile = first; tile < last; tile++) {
        forward_head(args, tile / args->heads, tile % args->heads, scratch);
    }
}
