/* SPDX-License-Identifier: Apache-2.0
 * Forward attention of one head: K transposed once, then strips of query rows whose scores never
 * leave the strip. Scores stay unnormalised; 1 / sum is applied to the output row.
 */
#include "kernels/attention/probe.h"
#include "kernels/attention/strip.h"
#include "kernels/kernel.h"
#include "kernels/vmath.h"

/* The largest of the first `seen` scores that fall into each lane. A NaN may get lost here, never
 * in the sum. */
TD_SIMD td_v16 row_top(const float *row, int64_t seen) {
    int64_t whole = seen / TD_LANES * TD_LANES;
    td_v16 top = td_v16_set1(-INFINITY);
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        top = td_v16_max(top, td_v16_load(row + c));
    }
    if (whole < seen) {
        td_m16 part = td_m16_first(seen - whole);
        top = td_v16_max(top, td_v16_select(part, td_v16_load(row + whole), top));
    }
    return top;
}

/* In place: scores to exp(score * scale - shift). Returns the sums of lanes over the first `seen`;
 * what lies behind them is not read again. */
TD_SIMD td_v16 row_exp(float *row, int64_t seen, td_v16 scale, td_v16 shift) {
    int64_t whole = seen / TD_LANES * TD_LANES;
    td_v16 sum = td_v16_zero();
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        td_v16 e = td_v16_exp_below(td_v16_fms(td_v16_load(row + c), scale, shift));
        td_v16_store(row + c, e);
        sum = td_v16_add(sum, e);
    }
    if (whole < seen) {
        td_m16 part = td_m16_first(seen - whole);
        td_v16 e = td_v16_exp_below(td_v16_fms(td_v16_load(row + whole), scale, shift));
        td_v16_store(row + whole, e);
        sum = td_v16_add(sum, td_v16_select(part, e, td_v16_zero()));
    }
    return sum;
}

/* Rows [i, i + rows) of the head, at most 16, whose scores are at `strip`: to unnormalised
 * probabilities; inverse (16) gets 1 / sum, lse is saved. Reductions across lanes are done for 16
 * rows at once: one by one their latency would cost as much as the exponentials. */
TD_SIMD void group_softmax(const td_attention_f32_args *args, float *strip, int64_t ld, int64_t i,
                           int64_t rows, float *inverse) {
    td_v16 lanes[TD_LANES], scale = td_v16_set1(td_attention_scale(args));
    float shifts[TD_LANES];
    for (int64_t r = 0; r < TD_LANES; r++) {
        lanes[r] = r < rows ? row_top(strip + r * ld, td_row_keys(args, i + r)) : td_v16_zero();
    }
    td_v16 max = td_v16_mul(td_v16_max_rows(lanes), scale);
    td_v16_store(shifts, max);
    for (int64_t r = 0; r < rows; r++) {
        lanes[r] = row_exp(strip + r * ld, td_row_keys(args, i + r), scale, td_v16_set1(shifts[r]));
    }
    td_v16 sum = td_v16_sum_rows(lanes);
    td_v16_store(inverse, td_v16_div(td_v16_set1(1.0f), sum));
    td_v16_store_part(args->lse + i, td_v16_add(max, td_v16_log(sum)), rows);
}

static void forward_strip(const td_attention_f32_args *args, const float *kt, float *strip,
                          int64_t i, int64_t rows, td_ahead *ahead) {
    int64_t ld = td_attention_pad(args->n_k);
    float inverse[TD_STRIP_MOST];
    td_strip_scores(args, args->q + i * args->q_row, args->q_row, i, rows, kt, strip, ahead);
    for (int64_t r = 0; r < rows; r += TD_LANES) {
        group_softmax(args, strip + r * ld, ld, i + r, rows - r < TD_LANES ? rows - r : TD_LANES,
                      inverse + r);
    }
    td_product product = {.m = rows,
                          .n = args->head,
                          .k = td_strip_keys(args, i, rows),
                          .a = strip,
                          .a_row = ld,
                          .a_col = 1,
                          .b = args->v,
                          .ldb = args->kv_row,
                          .c = args->o + i * args->o_row,
                          .ldc = args->o_row,
                          .diagonal = i,
                          .row_factor = inverse,
                          .ahead = ahead};
    if (args->causal) {
        td_strip_lower(&product);
    } else {
        td_strip_whole(&product);
    }
}

/* args: of one head. */
static void forward_head(td_attention_f32_args args, float *scratch, td_ahead *ahead) {
    int64_t ld = td_attention_pad(args.n_k), step = td_strip_rows(&args);
    int64_t head = td_attention_pad(args.head);
    float *kt = scratch, *v = kt + head * ld, *strip = v + head * ld;
    bool packs = td_strip_packs(&args);
    td_product_transpose(kt, ld, args.k, args.kv_row, args.n_k, args.head);
    if (packs) {
        td_strip_pack(v, args.v, args.kv_row, args.n_k, args.head);
        args.v = v;
        args.kv_row = head;
    }
    for (int64_t i = 0; i < args.n_q; i += step) {
        forward_strip(&args, kt, strip, i, args.n_q - i < step ? args.n_q - i : step, ahead);
    }
}

/* Heads [first, last) of sequence s, one query each: the heads are the rows of the softmax. */
static void probe_heads(const td_attention_f32_args *all, int64_t s, int64_t first, int64_t last,
                        float *scratch) {
    td_attention_f32_args args = td_attention_one(all, s, first);
    int64_t ld = td_attention_pad(args.n_k), heads = last - first, head = args.head;
    float *scores = scratch, *inverse = scores + heads * ld;
    float *block = inverse + td_attention_pad(heads);
    for (int64_t j = 0; j < args.n_k * args.n_q; j += TD_LANES) {
        for (int64_t h = 0; h < heads; h++) {
            td_probe_products(args.q + h * head, args.k + j * args.kv_row + h * head, args.kv_row,
                              td_probe_keys(&args, j), head, block, scores + h * ld + j);
        }
    }
    for (int64_t h = 0; h < heads * args.n_q; h += TD_LANES) {
        group_softmax(&args, scores + h * ld, ld, h, heads - h < TD_LANES ? heads - h : TD_LANES,
                      inverse + h);
    }
    for (int64_t j = 0; j < args.n_k * args.n_q; j += TD_LANES) {
        int64_t n = td_probe_keys(&args, j);
        for (int64_t h = 0; h < heads; h++) {
            td_product_run(&(td_product){.m = 1,
                                         .n = head,
                                         .k = n,
                                         .a = scores + h * ld + j,
                                         .a_col = 1,
                                         .b = args.v + j * args.kv_row + h * head,
                                         .ldb = args.kv_row,
                                         .c = args.o + h * head,
                                         .accumulate = j > 0,
                                         .row_factor = j + n == args.n_k ? inverse + h : NULL});
        }
    }
}

static void probe_tiles(const td_attention_f32_args *args, int64_t first, int64_t last,
                        float *scratch) {
    for (int64_t tile = first; tile < last;) {
        int64_t end = td_probe_end(args, tile, last), s = tile / args->heads;
        probe_heads(args, s, tile - s * args->heads, end - s * args->heads, scratch);
        tile = end;
    }
}

void TD_FN(attention_f32)(const td_attention_f32_args *args, int64_t first, int64_t last,
                          void *scratch) {
    if (td_attention_probes(args)) {
        probe_tiles(args, first, last, scratch);
        return;
    }
    td_attention_f32_args one, next;
    for (int64_t tile = first; tile < last; tile++) {
        one = tile == first ? td_attention_one(args, tile / args->heads, tile % args->heads) : next;
        td_ahead ahead = {0};
        if (tile + 1 < last) {
            next = td_attention_one(args, (tile + 1) / args->heads, (tile + 1) % args->heads);
            td_ahead_add(&ahead, next.k, next.kv_row, next.n_k, next.head);
            td_ahead_add(&ahead, next.v, next.kv_row, next.n_k, next.head);
            td_ahead_add(&ahead, next.q, next.q_row, next.n_q, next.head);
            td_ahead_add(&ahead, next.o, next.o_row, next.n_q, next.head);
        }
        td_ahead_begin(&ahead, scratch);
        forward_head(one, scratch, &ahead);
    }
}
