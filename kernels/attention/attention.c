/* SPDX-License-Identifier: Apache-2.0
 * Forward attention of one head: K transposed once, then strips of query rows whose scores never
 * leave the strip. Scores stay unnormalised; 1 / sum is applied to the output row.
 */
#include "kernels/attention/probe.h"
#include "kernels/attention/softmax_rows.h"
#include "kernels/kernel.h"

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
        td_ahead_spread(&ahead, td_strip_tile_steps(&one, 2));
        td_ahead_begin(&ahead, scratch);
        forward_head(one, scratch, &ahead);
    }
}
