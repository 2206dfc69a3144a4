/* SPDX-License-Identifier: Apache-2.0
 * Leaving rows of zeros out changes nothing: every kernel that takes sequences or blocks of
 * different lengths gives the bits that it gives on padded ones. Packing of captions and pruning of
 * the last block rest on this.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "kernel_twin.h"

enum { SEQS = 6, TOKENS = 19, BLOCKS = 3, WIDTH = 35, COLS = 49 };
static const int64_t lengths[SEQS] = {3, 19, 7, 2, 11, 5};
enum { PACKED = 47 };

/* Rows of a padded matrix that count are kept, the others cleared; returns the packed copy. */
static float *pack(float *padded, int64_t cols) {
    float *packed = td_alloc((size_t)(PACKED * cols) * sizeof *packed), *to = packed;
    for (int64_t s = 0; s < SEQS; s++) {
        float *from = padded + s * TOKENS * cols;
        memcpy(to, from, (size_t)(lengths[s] * cols) * sizeof *to);
        memset(from + lengths[s] * cols, 0, (size_t)((TOKENS - lengths[s]) * cols) * sizeof *from);
        to += lengths[s] * cols;
    }
    return packed;
}

static void bounds(int64_t seq[SEQS + 1], int64_t block[BLOCKS + 1]) {
    seq[0] = block[0] = 0;
    for (int64_t s = 0; s < SEQS; s++) {
        seq[s + 1] = seq[s] + lengths[s];
        block[s * BLOCKS / SEQS + 1] = seq[s + 1];
    }
}

static void same(const char *what, const float *packed, const float *padded, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        twin_same(what, i, packed[i], padded[i]);
    }
}

static void nothing(const void *before, const void *after) {
    (void)before;
    (void)after;
}

static float padded_result[WIDTH * COLS];

static void check_gemm(const void *before, const void *after) {
    (void)before;
    same("c", ((const td_gemm_f32_args *)after)->c, padded_result, WIDTH * COLS);
}

Test(ragged, weight_gradient_of_packed_tokens) {
    float *dy = twin_floats(SEQS * TOKENS * WIDTH, 1, 1), *dy_packed = pack(dy, WIDTH);
    float *x = twin_floats(SEQS * TOKENS * COLS, 2, 1), *x_packed = pack(x, COLS);
    float *x_full = twin_floats(SEQS * TOKENS * COLS, 2, 1), c[WIDTH * COLS];
    int64_t seq[SEQS + 1], block[BLOCKS + 1];
    bounds(seq, block);
    td_gemm_f32_args args = {.m = WIDTH,
                             .n = COLS,
                             .k = SEQS * TOKENS,
                             .a = dy,
                             .lda = WIDTH,
                             .a_trans = true,
                             .b = x_full, /* padding may hold anything: its gradient is zero */
                             .ldb = COLS,
                             .c = padded_result,
                             .ldc = COLS,
                             .k_blocks = BLOCKS};
    twin_each_row(TD_OP_gemm_f32, &args, nothing);
    args.k = PACKED;
    args.k_starts = block;
    args.a = dy_packed;
    args.b = x_packed;
    args.c = c;
    twin_each_row(TD_OP_gemm_f32, &args, check_gemm);
    float *const all[] = {dy, dy_packed, x, x_packed, x_full};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        td_free(all[i]);
    }
}

static void check_colsum(const void *before, const void *after) {
    (void)before;
    same("out", ((const td_colsum_f32_args *)after)->out, padded_result, COLS);
}

Test(ragged, column_sums_of_packed_tokens) {
    float *x = twin_floats(SEQS * TOKENS * COLS, 3, 1), *packed = pack(x, COLS), out[COLS];
    int64_t seq[SEQS + 1], block[BLOCKS + 1];
    bounds(seq, block);
    td_colsum_f32_args args = {.rows = SEQS * TOKENS,
                               .cols = COLS,
                               .blocks = BLOCKS,
                               .x = x,
                               .ldx = COLS,
                               .out = padded_result};
    twin_each_row(TD_OP_colsum_f32, &args, nothing);
    args.rows = PACKED;
    args.starts = block;
    args.x = packed;
    args.out = out;
    twin_each_row(TD_OP_colsum_f32, &args, check_colsum);
    td_free(x);
    td_free(packed);
}

/* Self-attention, two heads of 8, q k v in one matrix. */
enum { HEADS = 2, HEAD = 8, SIZE = HEADS * HEAD };

typedef struct attention {
    float *qkv, *o, *lse, *d_o, *dqkv;
    td_attention_grad_f32_args args;
} attention;

static attention attention_make(float *qkv, float *d_o, int64_t rows) {
    attention a = {.qkv = qkv, .d_o = d_o};
    a.o = twin_floats(rows * SIZE, 4, 1);
    a.dqkv = twin_floats(rows * 3 * SIZE, 5, 1);
    a.lse = twin_floats(SEQS * HEADS * TOKENS, 6, 1);
    a.args = (td_attention_grad_f32_args){.forward = {.seqs = SEQS,
                                                      .heads = HEADS,
                                                      .head = HEAD,
                                                      .n_q = TOKENS,
                                                      .n_k = TOKENS,
                                                      .causal = true,
                                                      .q = qkv,
                                                      .k = qkv + SIZE,
                                                      .v = qkv + 2 * SIZE,
                                                      .q_seq = TOKENS * 3 * SIZE,
                                                      .q_row = 3 * SIZE,
                                                      .kv_seq = TOKENS * 3 * SIZE,
                                                      .kv_row = 3 * SIZE,
                                                      .o = a.o,
                                                      .o_seq = TOKENS * SIZE,
                                                      .o_row = SIZE,
                                                      .lse = a.lse},
                                          .d_o = d_o,
                                          .dq = a.dqkv,
                                          .dk = a.dqkv + SIZE,
                                          .dv = a.dqkv + 2 * SIZE,
                                          .dq_seq = TOKENS * 3 * SIZE,
                                          .dq_row = 3 * SIZE,
                                          .dkv_seq = TOKENS * 3 * SIZE,
                                          .dkv_row = 3 * SIZE};
    return a;
}

static void attention_free(attention *a) {
    float *const all[] = {a->qkv, a->o, a->lse, a->d_o, a->dqkv};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        td_free(all[i]);
    }
}

/* Padding holds numbers, as it would after a forward pass: only its output's gradient is zero. */
static void check_packed(td_op_id forward, td_op_id backward) {
    enum { ALL = SEQS * TOKENS };
    float *qkv = twin_floats(ALL * 3 * SIZE, 7, 1), *cleared = twin_floats(ALL * 3 * SIZE, 7, 1);
    float *packed_qkv = pack(cleared, 3 * SIZE), *d_o = twin_floats(ALL * SIZE, 8, 1);
    float *packed_d_o = pack(d_o, SIZE);
    attention padded = attention_make(qkv, d_o, ALL);
    attention packed = attention_make(packed_qkv, packed_d_o, PACKED);
    int64_t seq[SEQS + 1], block[BLOCKS + 1];
    bounds(seq, block);
    packed.args.forward.q_starts = packed.args.forward.kv_starts = seq;
    attention *both[] = {&padded, &packed};
    for (int i = 0; i < 2; i++) {
        twin_each_row(forward, &both[i]->args.forward, nothing);
        twin_each_row(backward, &both[i]->args, nothing);
    }
    for (int64_t s = 0; s < SEQS; s++) {
        same("o", packed.o + seq[s] * SIZE, padded.o + s * TOKENS * SIZE, lengths[s] * SIZE);
        same("dqkv", packed.dqkv + seq[s] * 3 * SIZE, padded.dqkv + s * TOKENS * 3 * SIZE,
             lengths[s] * 3 * SIZE);
    }
    attention_free(&padded);
    attention_free(&packed);
    td_free(cleared);
}

Test(ragged, causal_attention_of_packed_sequences) {
    check_packed(TD_OP_attention_f32, TD_OP_attention_grad_f32);
    /* Pairs begin in each sequence, so the bits are those of padded ones. */
    check_packed(TD_OP_attention_bf16, TD_OP_attention_grad_bf16);
}

/* The last query of each sequence alone, over packed keys or over padded ones of which it sees a
 * part, gives what it gives among all queries when only it has a gradient. */
Test(ragged, attention_of_one_query) {
    enum { ALL = SEQS * TOKENS };
    float *qkv = twin_floats(ALL * 3 * SIZE, 7, 1), *d_o = twin_floats(ALL * SIZE, 8, 1);
    attention whole = attention_make(qkv, d_o, ALL);
    float q[SEQS * SIZE], pooled_d_o[SEQS * SIZE], o[SEQS * SIZE], dq[SEQS * SIZE];
    for (int64_t s = 0; s < SEQS; s++) {
        int64_t last = s * TOKENS + lengths[s] - 1;
        memcpy(q + s * SIZE, qkv + last * 3 * SIZE, sizeof(float) * SIZE);
        memcpy(pooled_d_o + s * SIZE, d_o + last * SIZE, sizeof(float) * SIZE);
    }
    memset(d_o, 0, sizeof(float) * ALL * SIZE);
    for (int64_t s = 0; s < SEQS; s++) {
        memcpy(d_o + (s * TOKENS + lengths[s] - 1) * SIZE, pooled_d_o + s * SIZE,
               sizeof(float) * SIZE);
    }
    attention one = attention_make(twin_floats(ALL * 3 * SIZE, 7, 1), NULL, ALL);
    td_attention_f32_args *f = &one.args.forward;
    f->n_q = 1;
    f->causal = false;
    f->kv_seen = lengths;
    f->q = q;
    f->q_seq = f->q_row = f->o_seq = f->o_row = SIZE;
    f->o = o;
    one.args.d_o = pooled_d_o;
    one.args.dq = dq;
    one.args.dq_seq = one.args.dq_row = SIZE;
    twin_each_row(TD_OP_attention_f32, &whole.args.forward, nothing);
    twin_each_row(TD_OP_attention_grad_f32, &whole.args, nothing);
    twin_each_row(TD_OP_attention_f32, f, nothing);
    twin_each_row(TD_OP_attention_grad_f32, &one.args, nothing);
    for (int64_t s = 0; s < SEQS; s++) {
        int64_t last = s * TOKENS + lengths[s] - 1;
        same("o", o + s * SIZE, whole.o + last * SIZE, SIZE);
        same("dq", dq + s * SIZE, whole.dqkv + last * 3 * SIZE, SIZE);
        for (int64_t t = 0; t < TOKENS; t++) {
            const float *got = one.dqkv + (s * TOKENS + t) * 3 * SIZE;
            same("dk dv", got + SIZE, whole.dqkv + (s * TOKENS + t) * 3 * SIZE + SIZE, 2 * SIZE);
        }
    }
    attention_free(&whole);
    attention_free(&one);
}
