/* SPDX-License-Identifier: Apache-2.0
 * The arguments of every operation: shapes, meaning, aliasing. Pointers borrow. Leading dimensions
 * (ld*) are in elements. Buffers are f32 unless said, need 4-byte alignment only, and must not
 * overlap unless said. A `blocks` argument splits rows into that many equal consecutive blocks
 * (rows % blocks == 0), or, where `starts` (blocks + 1) is not NULL, into rows [starts[b], starts[b
 * + 1]) with starts[blocks] = rows; see kernel.h for order. Leaving rows of zeros out of a block
 * changes no bit of its sum.
 */
#ifndef TD_KERNELS_ARGS_H
#define TD_KERNELS_ARGS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum td_act { TD_ACT_NONE, TD_ACT_GELU_ERF, TD_ACT_GELU_TANH, TD_ACT_GELU_QUICK } td_act;

/* C (m, n) = A (m, k) B (k, n), then, in this order, each where its pointer or field is set:
 *   accumulate: the chain starts at the old C (k_blocks must be 1)
 *   bias[n] is added; preact (m, n) receives the value so far; act is applied; residual (m, n) is
 * added; act_grad_of (m, n): the value is multiplied by act'(act_grad_of) instead of applying act
 * (the dgrad of an activation). residual may be c itself, and act_grad_of,
 * unless accumulate is set. a_trans: A is stored (k, m); b_trans: B
 * is stored (n, k). k_starts (k_blocks + 1): the blocks of k, equal when NULL. NN is forward of a
 * projection stored (in, out), NT a linear layer with weight (out, in), TN a weight gradient.
 * packed: B as gemm_pack_f32 leaves it, read instead of b; NULL in gemm_bf16 and gemm_amx. Tiles:
 * 2-D grid over C, columns outermost, so a worker's contiguous share packs each part of B once. */
typedef struct td_gemm_f32_args {
    int64_t m, n, k;
    const float *a, *b;
    float *c;
    int64_t lda, ldb, ldc;
    bool a_trans, b_trans, accumulate;
    int64_t k_blocks;
    const int64_t *k_starts;
    const float *bias;
    float *preact;
    int64_t ldpreact;
    td_act act;
    const float *residual;
    int64_t ldresidual;
    const float *act_grad_of;
    int64_t ldact_grad_of;
    const uint16_t *a_bf16, *b_bf16, *act_grad_of_bf16; /* of gemm_bf16 and gemm_amx only */
    uint16_t *c_bf16, *preact_bf16;
    const float *packed;
} td_gemm_f32_args;

/* B (k, n), stored (n, k) with b_trans, in the order in which products read it on every ISA: panel
 * after panel of 16 columns, each (k, 16), zero beyond n. For a matrix that many products share,
 * like a weight with few rows to multiply. packed: td_gemm_packed_floats(n, k) of gemm_plan.h,
 * aligned to 64 bytes. Tile: 128 columns. */
typedef struct td_gemm_pack_f32_args {
    int64_t n, k;
    const float *b;
    int64_t ldb;
    bool b_trans;
    float *packed;
} td_gemm_pack_f32_args;

/* As gemm_f32, with A and B rounded to bf16 (nearest even, denormals to zero) before they are
 * multiplied. Products are joined in pairs, see kernel.h; everything behind the sums is f32. Memory
 * is f32 too, but where a_bf16, b_bf16, c_bf16 and so on is set in place of a, b or c: an operand
 * that is rounded already, or a result that is rounded last of all (accumulate must be false). act
 * is applied to what preact_bf16 receives. */
typedef td_gemm_f32_args td_gemm_bf16_args;

/* As gemm_bf16, with products joined by 32 of k, see kernel.h. Tiles: 32 rows of a strip of
 * columns, strips outermost. */
typedef td_gemm_f32_args td_gemm_amx_args;

/* images (batch, 3, size, size), already normalised -> patches (batch * P, 3 * patch * patch), P =
 * (size/patch)^2, row order (y, x) of patches, column order (channel, y, x). With keep (batch,
 * kept): only those patches of each image, in ascending order, and P = kept. Tile: one image. */
typedef struct td_im2col_f32_args {
    int64_t batch, size, patch, kept;
    const int32_t *keep;
    const float *images;
    float *patches;
} td_im2col_f32_args;

/* x (batch, tokens, width): token 0 = cls + pos[0] when cls is not NULL, then patch rows + their
 * positions. patches (batch * P, width), P = tokens - (cls ? 1 : 0); pos (tokens, width), or with
 * position (batch, tokens) the rows that it names. Tile: one sequence. */
typedef struct td_tokens_assemble_f32_args {
    int64_t batch, tokens, width;
    const int32_t *position;
    const float *patches, *cls, *pos;
    float *x;
} td_tokens_assemble_f32_args;

/* for g in groups, r in rows: to[(g * to_group + r * to_ld) + c] = from[(g * from_group + r *
 * from_ld) + c], c < cols. add: adds to `to` instead. Tile: one group. */
typedef struct td_rows_copy_f32_args {
    int64_t groups, rows, cols;
    const float *from;
    int64_t from_group, from_ld;
    float *to;
    int64_t to_group, to_ld;
    bool add;
} td_rows_copy_f32_args;

/* x (n, width) = table[ids] + pos[position]: n tokens of any number of sequences, ids in [0, vocab)
 * and positions in [0, positions) checked by the caller. Tile: 64 tokens. */
typedef struct td_embedding_f32_args {
    int64_t n, width, vocab, positions;
    const int32_t *ids, *position;
    const float *table, *pos;
    float *x;
} td_embedding_f32_args;

/* order (n): tokens 0..n-1 sorted by (ids[token], token); start (vocab + 1): the first place in
 * order of each id. One tile. */
typedef struct td_embedding_sort_i32_args {
    int64_t n, vocab;
    const int32_t *ids;
    int32_t *order, *start;
} td_embedding_sort_i32_args;

/* Rows of a table that some ids of a batch have: row v lies at row start[v], and is absent where
 * start[v] = start[v + 1]. start, as td_embedding_sort_i32_args, NULL: all rows are there, each at
 * its own place, and width does not matter. */
typedef struct td_compact_rows {
    int64_t width;
    const int32_t *start;
} td_compact_rows;

/* dtable (vocab, width): every row is written; row v = sum of dx rows of the tokens with id v: per
 * block of tokens in ascending order from zero, blocks by the tree (an absent block counts as
 * zero). compact: dtable (n, width) gets only the rows of ids that occur, as td_compact_rows has
 * them, and other rows of it stay. Serves positions as well: they are ids of another table. Tile:
 * 16 ids. */
typedef struct td_embedding_grad_f32_args {
    int64_t n, vocab, width, blocks;
    const int64_t *starts;
    const int32_t *order, *start;
    const float *dx;
    float *dtable;
    bool compact;
} td_embedding_grad_f32_args;

/* Bags of ids: y (rows, width; ldy apart) row r = sum over i in [offsets[r], offsets[r + 1]) of f_i
 * * table[ids[i]], f_i = coefficients[i] * s; an element is one chain of FMAs in ascending i, from
 * zero or, with accumulate, from the old y. s: with max_norm > 0, what takes the norm of the
 * table's row down to max_norm (max_norm / norm, 1 for shorter rows), else 1. n = offsets[rows] ids
 * in all, in [0, vocab), checked by the caller. Tile: 64 rows. */
typedef struct td_embedding_bag_f32_args {
    int64_t rows, width, vocab, n;
    const int32_t *offsets, *ids;
    const float *coefficients, *table;
    float max_norm;
    bool accumulate;
    float *y;
    int64_t ldy;
} td_embedding_bag_f32_args;

/* dx (n, width): for i of row r, what it adds to the gradient of the table's row e = table[ids[i]]:
 * coefficients[i] * dy[r], and where max_norm shortened the row, f_i * (dy[r] - k e), k = <e,
 * dy[r]> / <e, e>. embedding_grad_f32 sums them by id. Tile: 64 rows. */
typedef struct td_embedding_bag_grad_f32_args {
    int64_t rows, width, vocab, n;
    const int32_t *offsets, *ids;
    const float *coefficients, *table;
    float max_norm;
    const float *dy;
    int64_t lddy;
    float *dx;
} td_embedding_bag_grad_f32_args;

/* y (rows, cols) from x (rows, cols): two-pass mean and centred variance (biased); eps inside the
 * root. mean, rstd (rows) are saved for the gradient; NULL when not wanted. y may be x. y_bf16 in
 * place of y: the same, rounded last of all. Tile: 64 rows. */
typedef struct td_layernorm_f32_args {
    int64_t rows, cols;
    const float *x;
    int64_t ldx;
    float *y;
    uint16_t *y_bf16;
    int64_t ldy;
    const float *gamma, *beta;
    float eps;
    float *mean, *rstd;
} td_layernorm_f32_args;

/* dx = rstd * (h - mean(h) - xhat * mean(h * xhat)), h = dy * gamma; plus residual (rows, cols)
 * when not NULL. dx may be dy or residual. Tile: 64 rows. */
typedef struct td_layernorm_grad_x_f32_args {
    int64_t rows, cols;
    const float *dy, *x, *gamma, *mean, *rstd;
    int64_t lddy, ldx;
    const float *residual;
    int64_t ldresidual;
    float *dx;
    int64_t lddx;
} td_layernorm_grad_x_f32_args;

/* dgamma[c] = sum over rows of dy * xhat, dbeta[c] = sum of dy; by blocks. Tile: 64 columns. */
typedef struct td_layernorm_grad_w_f32_args {
    int64_t rows, cols, blocks;
    const int64_t *starts;
    const float *dy, *x, *mean, *rstd;
    int64_t lddy, ldx;
    float *dgamma, *dbeta;
} td_layernorm_grad_w_f32_args;

/* out[c] = sum over rows of x[r * ldx + c], by blocks. x_bf16 in place of x: x is rounded already.
 * Tile: 64 columns. */
typedef struct td_colsum_f32_args {
    int64_t rows, cols, blocks;
    const int64_t *starts;
    const float *x;
    const uint16_t *x_bf16;
    int64_t ldx;
    float *out;
} td_colsum_f32_args;

/* y = softmax(x) per row; y may be x. NaN in a row makes the row NaN; a row of -inf gives NaN.
 * Tile: 64 rows. */
typedef struct td_softmax_f32_args {
    int64_t rows, cols;
    const float *x;
    float *y;
} td_softmax_f32_args;

/* y = act(x), or with dy: y = dy * act'(x). Flat; y may be x or dy. y_bf16 in place of y: the
 * same, rounded; x_bf16 in place of x: x is rounded already. Tile: 16,384 elements. */
typedef struct td_gelu_f32_args {
    int64_t n;
    td_act act;
    const float *x, *dy;
    const uint16_t *x_bf16;
    float *y;
    uint16_t *y_bf16;
} td_gelu_f32_args;

/* The functions of vmath.h, as kernels compute them inside.
 *    name             what it is of x */
/* clang-format off */
#define TD_VMATH_MAP(X)                                    \
    X(exp,             "exp(x)")                           \
    X(log,             "log(x)")                           \
    X(rsqrt,           "1 / sqrt(x), each rounded once")   \
    X(sigmoid,         "1 / (1 + exp(-x))")                \
    X(softplus,        "log(1 + exp(x))")                  \
    X(gelu_erf,        "x Phi(x)")                         \
    X(gelu_tanh,       "x sigmoid(1.5958 (x + 0.0447 x^3))") \
    X(gelu_quick,      "x sigmoid(1.702 x)")               \
    X(gelu_erf_grad,   "its derivative")                   \
    X(gelu_tanh_grad,  "its derivative")                   \
    X(gelu_quick_grad, "its derivative")
/* clang-format on */

typedef enum td_vmath_function {
#define TD_VMATH_ENUM(name, doc) TD_VMATH_##name,
    TD_VMATH_MAP(TD_VMATH_ENUM)
#undef TD_VMATH_ENUM
        TD_VMATH_COUNT
} td_vmath_function;

/* y = function(x), element by element; y may be x. Bounds are vmath.h's. Tile: 16,384 elements. */
typedef struct td_vmath_f32_args {
    int64_t n;
    td_vmath_function function;
    const float *x;
    float *y;
} td_vmath_f32_args;

/* Element d of head h of row i of sequence s of q is q[s * q_seq + i * q_row + h * head + d]; the
 * same for k, v, o and their gradients. Packed qkv (batch, n, 3W): q_row = 3W, q = base, k = base +
 * W, v = base + 2W. A shared probe (MAP pooling): q_seq = 0. causal: row i sees k rows <= i (as
 * many q rows as k rows). lse (seqs, heads, n_q).
 * Sequences of different lengths: with q_starts (seqs + 1) the queries of s (and rows of o and lse)
 * are rows [q_starts[s], q_starts[s + 1]) of one matrix, at most n_q, and the *_seq strides are not
 * used; with kv_starts the same holds for k and v, at most n_k. kv_seen (seqs): queries of s see
 * only its first kv_seen[s] >= 1 keys. Tile: one (sequence, head), index s * heads + h. */
typedef struct td_attention_f32_args {
    int64_t seqs, heads, head, n_q, n_k;
    bool causal;
    const int64_t *q_starts, *kv_starts, *kv_seen;
    const float *q, *k, *v;
    const uint16_t *q_bf16, *k_bf16, *v_bf16; /* of attention_bf16 only */
    int64_t q_seq, q_row, kv_seq, kv_row;
    float *o;
    int64_t o_seq, o_row;
    float *lse;
} td_attention_f32_args;

/* do has o's strides, dq its own, dk and dv one pair; starts hold for gradients too. All of dq, dk,
 * dv of a head are written (not added), those of unseen keys with zeros. dq is per sequence even
 * when q is shared. Tile as above. */
typedef struct td_attention_grad_f32_args {
    td_attention_f32_args forward; /* o and lse as the forward pass left them */
    const float *d_o;
    float *dq, *dk, *dv;
    int64_t dq_seq, dq_row, dkv_seq, dkv_row;
} td_attention_grad_f32_args;

/* As attention_f32, with the operands of all products rounded to bf16 (as gemm_bf16): Q, K, V, dO,
 * and the strips of P (before it is divided by its sum, forward) and of dS. Products are joined in
 * pairs along the head, the keys or the queries, from the first of each, see kernel.h; scores,
 * softmax, its sums and D are f32. Memory is f32, but where q_bf16, k_bf16 and v_bf16 are set in
 * place of q, k and v: operands that are rounded already. */
typedef td_attention_f32_args td_attention_bf16_args;
typedef td_attention_grad_f32_args td_attention_grad_bf16_args;

/* y (batch, width): row index[b] of x, or, with index NULL, the mean of rows [b * tokens, (b + 1) *
 * tokens): summed in ascending order, then divided. Tile: one sequence. */
typedef struct td_pool_f32_args {
    int64_t batch, tokens, width;
    const int64_t *index;
    const float *x;
    int64_t ldx;
    float *y;
} td_pool_f32_args;

/* dx (batch * tokens, width), or (starts[batch], width) where starts (batch + 1) tells the rows of
 * each sequence, is written whole: zero but for row index[b], which is dy's row b, or the mean's
 * share in every row. Tile: one sequence. */
typedef struct td_pool_grad_f32_args {
    int64_t batch, tokens, width;
    const int64_t *index, *starts;
    const float *dy;
    float *dx;
    int64_t lddx;
} td_pool_grad_f32_args;

/* z = x / max(norm, eps), inv_norm (rows) = 1 / max(norm, eps). Tile: 64 rows. */
typedef struct td_l2norm_f32_args {
    int64_t rows, cols;
    const float *x;
    float *z, *inv_norm;
    float eps;
} td_l2norm_f32_args;

/* dx = (dz - z * <z, dz>) * inv_norm. Tile: 64 rows. */
typedef struct td_l2norm_grad_f32_args {
    int64_t rows, cols;
    const float *dz, *z, *inv_norm;
    float *dx;
} td_l2norm_grad_f32_args;

/* Softmax loss, first pass. S_ij = scale * <x_i, y_j>; x (rows, dim) are own rows of the batch, y
 * (batch, dim). state (rows, 2): the maximum of S_i and the sum
 * of exp(S_ij - maximum) over j, in lanes. (Their log-sum-exp as one float would be rounded at the
 * size of the scores, and with it every probability of the row.) scale points to one float:
 * exp(logit_scale). O(64 * batch) scratch. Tile: 64 rows. */
typedef struct td_contrastive_lse_f32_args {
    int64_t rows, batch, dim;
    const float *x, *y, *scale;
    float *state;
} td_contrastive_lse_f32_args;

/* Softmax loss, second pass, for one direction. G_ij = (p_ij + q_ij - 2 [j = own]) / (2 batch),
 * p_ij = exp(S_ij - maximum) / sum by the state of row i, q_ij by that of column j; row i is sample
 * `offset + i` of the batch. dx (rows, dim) =
 * scale * G y, chains of 256 in ascending j added up; row_loss[i] = -log(p_ii) / (2 batch);
 * row_dscale[i] = sum_j G_ij S_ij (lanes), which is this direction's share of d loss / d
 * logit_scale when only the image direction's are summed. row_state (rows, 2): of own rows;
 * col_state (batch, 2): the other direction's, gathered. Tile: 64 rows. */
typedef struct td_contrastive_grad_f32_args {
    int64_t rows, batch, dim, offset;
    const float *x, *y, *scale, *row_state, *col_state;
    float *dx, *row_loss, *row_dscale;
} td_contrastive_grad_f32_args;

/* Softmax loss of both directions by block pairs, first pass. `pairs` independent pairs, one tile
 * each: pair q takes x rows [x_first[q], + rows) and y rows [y_first[q], + rows); no two pairs of a
 * call share a block of x or of y. x_state[q] and y_state[q] (rows, 2) hold, for each row of the
 * pair's blocks, the maximum of the scores met so far and the sum of exp(score - maximum), and are
 * brought up to date; they start at (-inf, 0). Tiles of 64 x 64 inside a pair, texts outermost:
 * sums of a tile in f32 (rows in lanes, columns as chains over rows), over tiles in f64 in their
 * order. scores, when not NULL: scores[q] (rows, ld_scores) receives the pair's scores for the
 * second pass. Scratch O(tile). */
typedef struct td_contrastive_pairs_lse_f32_args {
    int64_t pairs, rows, dim;
    const int64_t *x_first, *y_first;
    const float *x, *y, *scale;
    double *const *x_state;
    double *const *y_state; /* may lie in another rank's segment */
    float *const *scores;
    int64_t ld_scores;
} td_contrastive_pairs_lse_f32_args;

/* Second pass, with the states of the whole batch: g_ij = (exp(S_ij - row) + exp(S_ij - column) - 2
 * [same sample]) / (2 batch); dx += scale * g y, dy += scale * g^T x, each tile's chain added to
 * what is stored; slots[q] gets the loss of the pair's positives and sum g * S (d logit_scale).
 * x_sample, y_sample: global index of the first sample of each block. scores: as the first pass
 * left them, or NULL: they are computed again, to the same bits. Pairs and tiles as above. */
typedef struct td_contrastive_pairs_grad_f32_args {
    int64_t pairs, rows, dim, batch;
    const int64_t *x_first, *y_first;
    const int64_t *x_sample, *y_sample;
    const float *x, *y, *scale;
    const double *const *x_state;
    const double *const *y_state;
    const float *const *scores;
    int64_t ld_scores;
    float *const *dx;
    float *const *dy; /* per pair: may lie in another rank's segment */
    double *slots;    /* (pairs, 2) */
} td_contrastive_pairs_grad_f32_args;

/* One direction of the softmax loss on stored products. scores (rows, ld_scores, batch of them
 * used), in place: products <x_i, y_j> to scale * g_ij, g_ij = (exp(S_ij - lse_i) - [j = offset +
 * i]) / (2 batch), S = scale * product; row_loss[i] = (lse_i - S_own) / (2 batch); row_dscale[i] =
 * sum_j g_ij S_ij. Sums in lanes. Tile: 64 rows. */
typedef struct td_scores_softmax_f32_args {
    int64_t rows, batch, offset, ld_scores;
    float *scores;
    const float *scale;
    float *row_loss, *row_dscale;
} td_scores_softmax_f32_args;

/* The same for the sigmoid loss: scale * g_ij, g_ij = (sigmoid(l_ij) - [j = offset + i]) / batch, l
 * = S + bias; row_loss[i] = sum_j softplus(-label * l_ij) / batch; row_dscale and row_dbias are the
 * sums of g S and g. Tile: 64 rows. */
typedef struct td_scores_sigmoid_f32_args {
    int64_t rows, batch, offset, ld_scores;
    float *scores;
    const float *scale, *bias;
    float *row_loss, *row_dscale, *row_dbias;
} td_scores_sigmoid_f32_args;

/* Softmax cross-entropy with one label a row. logits (rows, cols; ld apart), in place, to scale *
 * (p - [c = label]), p = softmax of the row; row_loss[r] = scale * (log-sum-exp - the label's
 * logit); row_hit[r] = 1 where the label's logit is the first of the largest, else 0. labels in [0,
 * cols), checked by the caller. Sums in lanes. A NaN makes its row and the row's loss NaN. Tile: 64
 * rows. */
typedef struct td_cross_entropy_f32_args {
    int64_t rows, cols, ld;
    float *logits;
    const int32_t *labels;
    float scale;
    float *row_loss, *row_hit;
} td_cross_entropy_f32_args;

/* Sigmoid loss of image rows against text rows: l_ij = scale * <x_i, y_j> + bias, label +1 where
 * x_offset + i == y_offset + j, else -1; loss = sum softplus(-label * l) / batch; g_ij =
 * (sigmoid(l_ij) - [label = 1]) / batch. `pairs` independent block pairs are done by one call, one
 * tile each: pair q takes x rows [x_first[q], + rows) and y rows [y_first[q], + rows); no two pairs
 * of a call share an x or a y block, so dx and dy are updated without races. dx += scale * g y
 * and dy += scale * g^T x, each tile's chain added to what is stored; slots[q] gets loss, sum g * S
 * (d logit_scale) and sum g (d bias) of the pair, f32, in that order. Tiles of 64 x 64 inside a
 * pair, texts outermost; scratch O(tile). */
typedef struct td_sigmoid_loss_f32_args {
    int64_t pairs, rows, dim, batch;
    const int64_t *x_first, *y_first;   /* rows of x, dx and of y, dy */
    const int64_t *x_sample, *y_sample; /* global sample index of the first row of each */
    const float *x, *y, *scale, *bias;
    float *const *dx; /* per pair: the block's accumulator, (rows, dim) */
    float *const *dy; /* per pair: may lie in another rank's segment */
    float *slots;     /* (pairs, 3) */
} td_sigmoid_loss_f32_args;

/* slots[t] = sum of squares of x[t * 16384 .. ] (16 lanes in f32 products widened to f64, fixed
 * tree). Tile: one chunk of 16,384 elements. */
typedef struct td_sumsq_f32_args {
    int64_t n;
    const float *x;
    double *slots; /* ceil(n / 16384) */
} td_sumsq_f32_args;

/* torch's AdamW, one flat pass. g' = grad_scale * g; m = fma(beta1, m, (1-beta1) g'); v =
 * fma(beta2, v, ((1-beta2) g') g'); d = sqrt(v) * rsqrt_bc2 + eps; p = fma(-lr_bc1, m / d, p *
 * decay). decay is 1 - lr * weight_decay where element i lies in a decayed range, 1 elsewhere:
 * ranges are ascending, disjoint [first, last). An absent row of g_rows is a gradient of zeros. The
 * scalars live in *step, so that a program built once can be run with new values. Tile: 16,384
 * elements. */
typedef struct td_adamw_step {
    float beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
    float lr_bc1;     /* lr / (1 - beta1^t) */
    float rsqrt_bc2;  /* 1 / sqrt(1 - beta2^t) */
    float decay;      /* 1 - lr * weight_decay */
    float grad_scale; /* 1, or the clip factor */
} td_adamw_step;
typedef struct td_adamw_f32_args {
    int64_t n;
    float *p, *m, *v;
    const float *g;
    td_compact_rows g_rows;
    const td_adamw_step *step;
    const int64_t (*ranges)[2];
    int64_t n_ranges;
} td_adamw_f32_args;

/* Lion (Chen et al., 2023), one pass over flat buffers; per element, every operation as written:
 *   g' = grad_scale * g
 *   c = fma(beta1, m, one_minus_beta1 * g')
 *   p = fma(-lr, sign(c), p * decay), sign(c) being 1, -1, or c where that is a zero or NaN
 *   m = fma(beta2, m, one_minus_beta2 * g')
 * decay, ranges, g_rows and *step as for AdamW. Tile: 16,384 elements. */
typedef struct td_lion_step {
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float lr;
    float decay;      /* 1 - lr * weight_decay */
    float grad_scale; /* 1, or the clip factor */
} td_lion_step;
typedef struct td_lion_f32_args {
    int64_t n;
    float *p, *m;
    const float *g;
    td_compact_rows g_rows;
    const td_lion_step *step;
    const int64_t (*ranges)[2];
    int64_t n_ranges;
} td_lion_f32_args;

/* ema = fma(weight, p - ema, ema), flat; weight points to 1 - decay. Tile: 16,384 elements. */
typedef struct td_ema_f32_args {
    int64_t n;
    const float *p, *weight;
    float *ema;
} td_ema_f32_args;

/* Flat. Tile: 65,536 elements. */
typedef struct td_f32_to_bf16_args {
    int64_t n;
    const float *x;
    uint16_t *y;
} td_f32_to_bf16_args;
typedef struct td_bf16_to_f32_args {
    int64_t n;
    const uint16_t *x;
    float *y;
} td_bf16_to_f32_args;

#endif
