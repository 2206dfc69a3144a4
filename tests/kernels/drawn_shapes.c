/* SPDX-License-Identifier: Apache-2.0 */
#include "drawn_shapes.h"

#include "base/rng.h"

/* A range: sizes are 1 .. most, choices 0 .. most - 1. Sizes of 70 take the levels below, others
 * and choices the level's number modulo `most`. */
typedef struct range {
    bool size;
    int most;
} range;

#define S(most)                                                                                    \
    { true, most }
#define C(most)                                                                                    \
    { false, most }
#define SIZE S(70)

enum { LAST_COLUMNS = 2 }; /* placement and parts come behind the numbers */

static const int levels[TD_DRAWN_LEVELS] = {1,  2,  3,  5,  7,  13, 15, 16, 17,
                                            31, 32, 33, 47, 48, 61, 65, 70};
static const int64_t part_counts[] = {1, 2, 3, 7};
static const int64_t block_counts[] = {1, 2, 3, 5, 8};
static const int64_t flat_factors[] = {1, 17, 241, 941};

/* In kernel_example_cases.c: accumulate, bias, preact, residual, act_grad, erf, tanh, quick,
 * uneven, packed are bits 0 to 9, the last one of gemm_f32 alone. */
static const int64_t gemm_flags[] = {0,       1,       2,          2 | 32,  2 | 4 | 128,    1 | 8,
                                     16 | 32, 2 | 8,   2 | 4 | 64, 16 | 64, 2 | 4 | 8 | 32, 1 | 2,
                                     256,     256 | 8, 16 | 128,   512,     512 | 2 | 32};
enum { GEMM_FLAGS = sizeof gemm_flags / sizeof gemm_flags[0], PACKED_FLAGS = 2 };

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Equal blocks need a multiple of their number. */
static void fit_blocks(int64_t *rows, int64_t *blocks, bool uneven) {
    *blocks = block_counts[*blocks];
    if (!uneven) {
        *rows = most(1, *rows / *blocks) * *blocks;
    }
}

static void fit_gemm(int64_t *d) {
    int64_t flags = gemm_flags[d[5]];
    fit_blocks(&d[2], &d[4], (flags & 256) != 0);
    if (d[4] > 1) {
        flags &= ~INT64_C(1); /* blocks start from zero */
    }
    d[5] = flags;
    d[7] = d[7] && flags & 8 && !(flags & 1); /* in place: the residual is C */
}

static void fit_im2col(int64_t *d) {
    d[2] = d[2] > d[1] ? d[1] : d[2];
    int64_t side = d[1] / d[2];
    d[3] = d[3] > side * side ? side * side : d[3];
}

static void fit_tokens(int64_t *d) {
    d[1] = most(d[1], d[3] + 1);
}

static void fit_embedding_grad(int64_t *d) {
    fit_blocks(&d[0], &d[3], d[4] != 0);
}

static void fit_blocked_rows(int64_t *d) {
    fit_blocks(&d[0], &d[2], d[4] != 0);
}

static void fit_flat(int64_t *d) {
    d[0] *= flat_factors[d[7]];
    d[7] = 0;
}

/* Half of the buffers are tables, whose rows are whole. */
static void fit_optimizer(int64_t *d) {
    fit_flat(d);
    d[3] = d[3] > 40 ? 0 : d[3];
    d[0] += d[3] > 0 ? d[3] - 1 - (d[0] - 1) % d[3] : 0;
}

static void fit_gelu(int64_t *d) {
    fit_flat(d);
    d[2] = d[2] || d[3] == 2; /* y is dy */
}

/* Kinds: even, causal, shared probe, packed, packed and causal, one query over packed keys, some
 * keys unseen. */
static void fit_attention(int64_t *d) {
    int64_t kind = d[5];
    bool own = kind == 1 || kind == 3 || kind == 4; /* as many queries as keys */
    d[3] = own ? d[4] : kind == 5 ? 1 : d[3];
    d[5] = kind == 1 || kind == 4;
    d[6] = kind == 2;
    d[7] = kind == 3 || kind == 4 ? 1 : kind == 5 ? 2 : kind == 6 ? 3 : 0;
}

static void fit_own_rows(int64_t *d) {
    d[1] = most(d[0], d[1]);
    d[3] %= d[1] - d[0] + 1;
}

static void fit_scores(int64_t *d) {
    d[1] = most(d[0], d[1]);
    d[2] %= d[1] - d[0] + 1;
    d[3] += d[1];
}

static const struct {
    range ranges[TD_EXAMPLE_DIMS];
    void (*fit)(int64_t *d);
} domains[TD_OP_COUNT] = {
#define GEMM(flags)                                                                                \
    { {SIZE, SIZE, SIZE, C(3), C(5), C(flags), C(6), C(2)}, fit_gemm }
    [TD_OP_gemm_f32] = GEMM(GEMM_FLAGS),
    [TD_OP_gemm_pack_f32] = {{SIZE, SIZE, C(2), C(6)}, NULL},
    [TD_OP_gemm_bf16] = GEMM(GEMM_FLAGS - PACKED_FLAGS),
    [TD_OP_gemm_amx] = GEMM(GEMM_FLAGS - PACKED_FLAGS),
    [TD_OP_im2col_f32] = {{S(3), SIZE, S(17), C(6)}, fit_im2col},
    [TD_OP_tokens_assemble_f32] = {{S(4), S(17), SIZE, C(2), C(2)}, fit_tokens},
    [TD_OP_rows_copy_f32] = {{S(4), S(17), SIZE, C(6), C(2)}, NULL},
    [TD_OP_embedding_f32] = {{SIZE, SIZE, SIZE, SIZE}, NULL},
    [TD_OP_embedding_sort_i32] = {{SIZE, SIZE}, NULL},
    [TD_OP_embedding_grad_f32] = {{SIZE, SIZE, SIZE, C(5), C(2), C(1), C(2)}, fit_embedding_grad},
    [TD_OP_embedding_bag_f32] = {{SIZE, SIZE, SIZE, SIZE, C(2), C(2), C(6)}, NULL},
    [TD_OP_embedding_bag_grad_f32] = {{SIZE, SIZE, SIZE, SIZE, C(2), C(6)}, NULL},
    [TD_OP_layernorm_f32] = {{SIZE, SIZE, C(6), C(2), C(2)}, NULL},
    [TD_OP_layernorm_grad_x_f32] = {{SIZE, SIZE, C(6), C(4)}, NULL},
    [TD_OP_layernorm_grad_w_f32] = {{SIZE, SIZE, C(5), C(6), C(2)}, fit_blocked_rows},
    [TD_OP_colsum_f32] = {{SIZE, SIZE, C(5), C(6), C(2)}, fit_blocked_rows},
    [TD_OP_softmax_f32] = {{SIZE, SIZE, C(2)}, NULL},
    [TD_OP_gelu_f32] = {{SIZE, C(4), C(2), C(3), C(1), C(1), C(1), C(3)}, fit_gelu},
#define ATTENTION                                                                                  \
    { {S(3), S(3), SIZE, SIZE, SIZE, C(7)}, fit_attention }
    [TD_OP_attention_f32] = ATTENTION,
    [TD_OP_attention_grad_f32] = ATTENTION,
    [TD_OP_attention_bf16] = ATTENTION,
    [TD_OP_attention_grad_bf16] = ATTENTION,
    [TD_OP_pool_f32] = {{S(4), S(17), SIZE, C(2), C(6)}, NULL},
    [TD_OP_pool_grad_f32] = {{S(4), S(17), SIZE, C(2), C(6)}, NULL},
    [TD_OP_l2norm_f32] = {{SIZE, SIZE}, NULL},
    [TD_OP_l2norm_grad_f32] = {{SIZE, SIZE}, NULL},
    [TD_OP_contrastive_lse_f32] = {{SIZE, SIZE, SIZE}, NULL},
    [TD_OP_contrastive_grad_f32] = {{SIZE, SIZE, SIZE, C(17)}, fit_own_rows},
    [TD_OP_contrastive_pairs_lse_f32] = {{S(3), SIZE, SIZE, C(2)}, NULL},
    [TD_OP_contrastive_pairs_grad_f32] = {{S(3), SIZE, SIZE, C(2)}, NULL},
    [TD_OP_scores_softmax_f32] = {{SIZE, SIZE, C(17), C(6)}, fit_scores},
    [TD_OP_scores_sigmoid_f32] = {{SIZE, SIZE, C(17), C(6)}, fit_scores},
    [TD_OP_sigmoid_loss_f32] = {{S(3), SIZE, SIZE}, NULL},
    [TD_OP_cross_entropy_f32] = {{SIZE, SIZE, C(6)}, NULL},
    [TD_OP_vmath_f32] = {{SIZE, C(TD_VMATH_COUNT), C(2), C(1), C(1), C(1), C(1), C(3)}, fit_flat},
    [TD_OP_sumsq_f32] = {{SIZE, C(1), C(1), C(1), C(1), C(1), C(1), C(3)}, fit_flat},
    [TD_OP_adamw_f32] = {{SIZE, C(6), C(1), C(80), C(1), C(1), C(1), C(3)}, fit_optimizer},
    [TD_OP_lion_f32] = {{SIZE, C(6), C(1), C(80), C(1), C(1), C(1), C(3)}, fit_optimizer},
    [TD_OP_ema_f32] = {{SIZE, C(1), C(1), C(1), C(1), C(1), C(1), C(3)}, fit_flat},
    [TD_OP_f32_to_bf16] = {{SIZE, C(1), C(1), C(1), C(1), C(1), C(1), C(4)}, fit_flat},
    [TD_OP_bf16_to_f32] = {{SIZE, C(1), C(1), C(1), C(1), C(1), C(1), C(4)}, fit_flat},
#undef GEMM
};

/* Column `column` of row `row`: the first is a = row / 17, the others b + (column - 1) a modulo 17,
 * b = row % 17. 17 is a prime, so any two columns hold every pair once. */
static int covering(int64_t row, int column) {
    int64_t a = row / TD_DRAWN_LEVELS, b = row % TD_DRAWN_LEVELS;
    return (int)(column == 0 ? a : (b + (column - 1) * a) % TD_DRAWN_LEVELS);
}

static int64_t value_of(range r, bool covers, int level, uint64_t any) {
    if (r.most == 0) {
        return 0;
    }
    if (!covers) {
        return (int64_t)(any % (uint64_t)r.most) + r.size;
    }
    return r.size && r.most == 70 ? levels[level] : level % r.most + r.size;
}

bool draw_shape(td_op_id op, int64_t draw, drawn_shape *out) {
    enum { PARTS = sizeof part_counts / sizeof part_counts[0] };
    static const range placement = C(TD_EXAMPLE_PLACEMENTS), parts = C(PARTS);
    if (domains[op].ranges[0].most == 0) {
        return false;
    }
    bool covers = draw < TD_DRAWN_COVERING;
    td_rng rng = td_rng_make(23, TD_PURPOSE_TEST, (uint64_t)draw * TD_OP_COUNT + (uint64_t)op);
    int64_t all[TD_EXAMPLE_DIMS + LAST_COLUMNS];
    for (int i = 0; i < TD_EXAMPLE_DIMS + LAST_COLUMNS; i++) {
        range r = i < TD_EXAMPLE_DIMS    ? domains[op].ranges[i]
                  : i == TD_EXAMPLE_DIMS ? placement
                                         : parts;
        all[i] = value_of(r, covers, covering(draw, i), td_rng_u32(&rng));
    }
    if (domains[op].fit != NULL) {
        domains[op].fit(all);
    }
    for (int i = 0; i < TD_EXAMPLE_DIMS; i++) {
        out->numbers[i] = all[i];
    }
    out->placement = (td_kernel_example_placement)all[TD_EXAMPLE_DIMS];
    out->parts = part_counts[all[TD_EXAMPLE_DIMS + 1]];
    return true;
}
