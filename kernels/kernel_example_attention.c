/* SPDX-License-Identifier: Apache-2.0
 * Buffers of the attention cases.
 */
#include "kernels/kernel_example_build.h"

/* d[7]: what is ragged. PACKED: sequences of different lengths without padding, queries as keys;
 * PROBED: one query a sequence over packed keys; SEEN: padded keys, some of them unseen; CAPTIONS:
 * packed, of the lengths that captions have. */
enum { EVEN, PACKED, PROBED, SEEN, CAPTIONS };

/* Tokens of openclipart's 7,987 captions, start and end included: the middles of 32 equal parts of
 * all of them in order. Their mean is 13.2. */
static const int64_t caption_tokens[] = {5,  5,  6,  7,  7,  8,  8,  9,  9,  10, 10,
                                         11, 12, 12, 13, 13, 13, 13, 14, 14, 15, 16,
                                         17, 18, 18, 18, 18, 18, 18, 18, 21, 28};
enum { N_CAPTIONS = sizeof caption_tokens / sizeof caption_tokens[0] };

static int64_t ragged_length(const int64_t *d, int64_t s) {
    return d[7] == CAPTIONS ? caption_tokens[s * 13 % N_CAPTIONS] : 1 + (s * 5 + 2) % d[4];
}

static bool is_packed(const int64_t *d) {
    return d[7] == PACKED || d[7] == CAPTIONS;
}

/* Rows of all keys, of all queries. */
static int64_t key_rows(const int64_t *d) {
    int64_t rows = 0;
    for (int64_t s = 0; s < d[0]; s++) {
        rows += is_packed(d) || d[7] == PROBED ? ragged_length(d, s) : d[4];
    }
    return rows;
}

static int64_t query_rows(const int64_t *d) {
    return is_packed(d) ? key_rows(d) : d[0] * d[3];
}

static bool is_self_attention(const int64_t *d) {
    return d[3] == d[4] && !d[6] && d[7] != PROBED;
}

/* q, k and v of one buffer for self-attention, q apart from k and v otherwise. */
static void build_attention_inputs(td_kernel_example *example, td_attention_f32_args *args,
                                   const int64_t *d) {
    static const char *const kinds[] = {"", "-packed", "-probed", "-seen", "-captions"};
    int64_t width = d[1] * d[2];
    *args = (td_attention_f32_args){.seqs = d[0],
                                    .heads = d[1],
                                    .head = d[2],
                                    .n_q = d[3],
                                    .n_k = d[4],
                                    .causal = d[5] != 0,
                                    .o_row = width,
                                    .o_seq = d[3] * width};
    if (is_self_attention(d)) {
        int qkv = example_in(example, "qkv", query_rows(d), 3 * width, 3 * width, &args->q);
        example_point(example, &args->k, qkv, width);
        example_point(example, &args->v, qkv, 2 * width);
        args->q_row = args->kv_row = 3 * width;
        args->q_seq = args->kv_seq = d[3] * 3 * width;
    } else {
        example_in(example, "q", (d[6] ? 1 : d[0]) * d[3], width, width, &args->q);
        int kv = example_in(example, "kv", key_rows(d), 2 * width, 2 * width, &args->k);
        example_point(example, &args->v, kv, width);
        args->q_row = width;
        args->q_seq = d[6] ? 0 : d[3] * width;
        args->kv_row = 2 * width;
        args->kv_seq = d[4] * 2 * width;
    }
    if (is_packed(d) || d[7] == PROBED) {
        int bounds = example_starts(example, d[0], &args->kv_starts);
        if (is_packed(d)) {
            example_point(example, &args->q_starts, bounds, 0);
        }
    } else if (d[7] == SEEN) {
        example_add_bytes(example, "seen", TD_EXAMPLE_IN, d[0], sizeof(int64_t), FILL_LATER, 0,
                          &args->kv_seen);
    }
    example_shape(example, "s%lld-h%lld-d%lld-q%lld-k%lld%s%s%s", (long long)d[0], (long long)d[1],
                  (long long)d[2], (long long)d[3], (long long)d[4], d[5] ? "-causal" : "",
                  d[6] ? "-probe" : "", kinds[d[7]]);
}

td_status example_finish_attention(td_kernel_example *example) {
    const int64_t *d = example->spec.d;
    const example_buffer *bounds = example_buffer_named(example, "starts");
    const example_buffer *seen = example_buffer_named(example, "seen");
    int64_t row = 0;
    for (int64_t s = 0; s < d[0]; s++) {
        if (bounds != NULL) {
            ((int64_t *)bounds->shown.data)[s] = row;
            row += ragged_length(d, s);
            ((int64_t *)bounds->shown.data)[s + 1] = row;
        } else if (seen != NULL) {
            ((int64_t *)seen->shown.data)[s] = ragged_length(d, s);
        }
    }
    return TD_OK;
}

/* Rows of lse that no query has stay as they are. */
void example_build_attention(td_kernel_example *example, const int64_t *d) {
    td_attention_f32_args *args = &example->args.attention_f32;
    build_attention_inputs(example, args, d);
    example_out(example, "o", query_rows(d), args->o_row, args->o_row, &args->o);
    if (is_packed(d)) {
        example_inout(example, "lse", d[0] * d[1], d[3], d[3], &args->lse);
    } else {
        example_out(example, "lse", d[0] * d[1], d[3], d[3], &args->lse);
    }
}

void example_build_attention_grad(td_kernel_example *example, const int64_t *d) {
    td_attention_grad_f32_args *args = &example->args.attention_grad_f32;
    build_attention_inputs(example, &args->forward, d);
    int64_t width = d[1] * d[2], queries = query_rows(d);
    example_in(example, "o", queries, width, width, &args->forward.o);
    example_in(example, "lse", d[0] * d[1], d[3], d[3], &args->forward.lse);
    example_in(example, "do", queries, width, width, &args->d_o);
    if (is_self_attention(d)) {
        int dqkv = example_out(example, "dqkv", queries, 3 * width, 3 * width, &args->dq);
        example_point(example, &args->dk, dqkv, width);
        example_point(example, &args->dv, dqkv, 2 * width);
        args->dq_row = args->dkv_row = 3 * width;
        args->dq_seq = args->dkv_seq = d[3] * 3 * width;
    } else {
        example_out(example, "dq", queries, width, width, &args->dq);
        int dkv = example_out(example, "dkv", key_rows(d), 2 * width, 2 * width, &args->dk);
        example_point(example, &args->dv, dkv, width);
        args->dq_row = width;
        args->dq_seq = d[3] * width;
        args->dkv_row = 2 * width;
        args->dkv_seq = d[4] * 2 * width;
    }
}

td_status example_finish_attention_grad(td_kernel_example *example) {
    const bool f32 = example->op == TD_OP_attention_grad_f32;
    TD_TRY(example_finish_attention(example));
    return example_compute(f32 ? TD_OP_attention_f32 : TD_OP_attention_bf16,
                           &example->args.attention_grad_f32.forward);
}
