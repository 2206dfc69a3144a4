/* SPDX-License-Identifier: Apache-2.0 */
#include "models/layer.h"

#include <stddef.h>
#include <stdio.h>

float *td_layer_weight(const td_build *build, td_role role, int64_t block) {
    if (build->params == NULL || !td_tensors_has(build->tensors, role)) {
        return NULL;
    }
    return build->params + td_tensors_at(build->tensors, role, block)->offset;
}

float *td_layer_grad(const td_build *build, td_role role, int64_t block) {
    if (build->grads == NULL || !td_tensors_has(build->tensors, role)) {
        return NULL;
    }
    return td_update_grad(build->update, build->grads, role, block);
}

static int64_t block_of(const td_layer *at) {
    return at->block < 0 ? 0 : at->block;
}

static float *weight_of(const td_layer *at, td_role weight) {
    return td_layer_weight(at->build, weight, block_of(at));
}

/* The role of a bias is the one after its weight's; NULL when the family has none. */
static float *bias_of(const td_layer *at, td_role weight) {
    return td_layer_weight(at->build, (td_role)(weight + 1), block_of(at));
}

static float *weight_grad_of(const td_layer *at, td_role weight) {
    return td_layer_grad(at->build, weight, block_of(at));
}

static float *bias_grad_of(const td_layer *at, td_role weight) {
    return td_layer_grad(at->build, (td_role)(weight + 1), block_of(at));
}

/* The op added last has as many rows as the token matrix, in the member at `offset`. */
static void vary_rows(const td_layer *at, size_t offset) {
    if (at->seq != NULL) {
        td_program_vary(at->build->program, offset, &at->seq->rows);
    }
}

static const int64_t *row_blocks(const td_layer *at) {
    return at->seq == NULL ? NULL : at->seq->blocks;
}

/* How many FMA chains a product over k features is made of. In a narrow tower few features average
 * each other's rounding, and AdamW's first steps, which are nearly signs, make much of the rest:
 * with one chain each, losses of a tower 64 wide were 2e-6 from those of f64 arithmetic after a few
 * steps, and gradients 2.3e-6. Chains of 32 halve that. They cost 8 % of a step at a width of 384.
 * Wide towers, whose errors are smaller, begin a new chain every 384 features: with one chain a
 * loss of vit-b-16 was 2e-6 from PyTorch's after a few steps, with these 6e-7, at no cost that
 * could be told from noise (docs/verify.md). */
enum { NARROW = 192, CHAIN = 32, LONG_CHAIN = 384 };

int64_t td_layer_chains(int64_t width, td_precision precision, int64_t k) {
    if (precision != TD_PRECISION_F32) {
        return 1; /* operands are rounded to 8 bits: that of a chain is not seen beside it */
    }
    int64_t chain = width > NARROW ? LONG_CHAIN : CHAIN;
    return (k + chain - 1) / chain;
}

static int64_t chains(const td_layer *at, int64_t k) {
    const td_model_config *config = at->build->config;
    int64_t width = at->tag == 'v' ? config->vision.width : config->text.width;
    return td_layer_chains(width, at->build->precision, k);
}

/* The product for a weight. Pixels are never rounded: what an image shows is in small differences
 * between them. */
static td_op_id product_of(const td_layer *at, td_role weight) {
    return weight == TD_ROLE_v_patch_w ? TD_OP_gemm_f32
                                       : td_precision_product(at->build->precision);
}

/* "v.3.fc1.dw" of "fc1" and ".dw". */
static void full_name(const td_layer *at, const char *name, const char *suffix,
                      char full[TD_NODE_NAME]) {
    if (at->block >= 0) {
        snprintf(full, TD_NODE_NAME, "%c.%d.%.16s%.8s", at->tag,
                 (int)(at->block % TD_MODEL_MAX_LAYERS), name, suffix);
    } else {
        snprintf(full, TD_NODE_NAME, "%c.%.24s%.8s", at->tag, name, suffix);
    }
}

static int suffixed_op(const td_layer *at, int phase, td_op_id op, const void *args,
                       const char *family, const char *name, const char *suffix) {
    char full[TD_NODE_NAME];
    full_name(at, name, suffix, full);
    return td_program_kernel(at->build->program, phase, op, args, family, full);
}

int td_layer_op(const td_layer *at, int phase, td_op_id op, const void *args, const char *family,
                const char *name) {
    return suffixed_op(at, phase, op, args, family, name, "");
}

int td_layer_linear(const td_layer *at, int phase, const char *name, int64_t m, int64_t k,
                    int64_t n, td_operand x, td_role weight, const td_linear_extra *extra) {
    td_gemm_f32_args gemm = {.m = m,
                             .n = n,
                             .k = k,
                             .a = x.f32,
                             .a_bf16 = x.bf16,
                             .lda = k,
                             .b = td_at(weight_of(at, weight), extra->first * k),
                             .ldb = k,
                             .b_trans = true,
                             .c = extra->y.f32,
                             .c_bf16 = extra->y.bf16,
                             .ldc = n,
                             .k_blocks = chains(at, k),
                             .bias = td_at(bias_of(at, weight), extra->first),
                             .preact = extra->preact.f32,
                             .preact_bf16 = extra->preact.bf16,
                             .ldpreact = n,
                             .act = extra->act,
                             .residual = extra->residual,
                             .ldresidual = n};
    phase = td_layer_op(at, phase, product_of(at, weight), &gemm, "gemm", name);
    vary_rows(at, offsetof(td_gemm_f32_args, m));
    return phase;
}

/* Of the weight's output features [first, first + n), which are columns of dy (m, lddy). */
static int weight_grad(const td_layer *at, int phase, const char *name, int64_t m, int64_t k,
                       int64_t first, int64_t n, td_operand x, td_operand dy, int64_t lddy,
                       td_role weight) {
    td_gemm_f32_args gemm = {.m = n,
                             .n = k,
                             .k = m,
                             .a = dy.f32,
                             .a_bf16 = dy.bf16,
                             .lda = lddy,
                             .a_trans = true,
                             .b = x.f32,
                             .b_bf16 = x.bf16,
                             .ldb = k,
                             .c = td_at(weight_grad_of(at, weight), first * k),
                             .ldc = k,
                             .k_blocks = at->build->blocks,
                             .k_starts = row_blocks(at)};
    phase = suffixed_op(at, phase, product_of(at, weight), &gemm, "gemm", name, ".dw");
    vary_rows(at, offsetof(td_gemm_f32_args, k));
    return phase;
}

static void sum_rows(const td_layer *at, int phase, const char *name, int64_t m, int64_t cols,
                     td_operand x, int64_t ldx, float *out) {
    td_colsum_f32_args sum = {.rows = m,
                              .cols = cols,
                              .blocks = at->build->blocks,
                              .starts = row_blocks(at),
                              .x = x.f32,
                              .x_bf16 = x.bf16,
                              .ldx = ldx,
                              .out = out};
    suffixed_op(at, phase, TD_OP_colsum_f32, &sum, "reduce", name, ".db");
    vary_rows(at, offsetof(td_colsum_f32_args, rows));
}

/* A sum of no rows. */
static void sum_nothing(const td_layer *at, int phase, const char *name, int64_t cols, float *out) {
    td_colsum_f32_args none = {.cols = cols, .blocks = 1, .ldx = cols, .out = out};
    suffixed_op(at, phase, TD_OP_colsum_f32, &none, "reduce", name, ".db");
}

int td_layer_linear_grad_w(const td_layer *at, int phase, const char *name, int64_t m, int64_t k,
                           int64_t n, td_operand x, td_operand dy, td_role weight) {
    if (td_tensors_has(at->build->tensors, (td_role)(weight + 1))) {
        sum_rows(at, phase, name, m, n, dy, n, bias_grad_of(at, weight));
    }
    return weight_grad(at, phase, name, m, k, 0, n, x, dy, n, weight);
}

int td_layer_attention_in_grad_w(const td_layer *at, int phase, const char *name, int64_t m,
                                 int64_t width, td_parts parts, td_operand x, float *dy,
                                 int64_t lddy, td_role weight) {
    for (int64_t i = 0; i < parts.count; i++) {
        int64_t part = parts.first + i;
        float *db = td_at(bias_grad_of(at, weight), part * width);
        if (part == parts.all - 2) {
            sum_nothing(at, phase, name, width, db);
        } else {
            sum_rows(at, phase, name, m, width, td_operand_at(td_f32(dy), i * width), lddy, db);
        }
    }
    return weight_grad(at, phase, name, m, width, parts.first * width, parts.count * width, x,
                       td_f32(dy), lddy, weight);
}

int td_layer_linear_grad_x(const td_layer *at, int phase, const char *name, int64_t m, int64_t k,
                           int64_t n, td_operand dy, td_role weight, td_operand dx, td_act act,
                           td_operand preact) {
    td_gemm_f32_args gemm = {.m = m,
                             .n = k,
                             .k = n,
                             .a = dy.f32,
                             .a_bf16 = dy.bf16,
                             .lda = n,
                             .b = weight_of(at, weight),
                             .ldb = k,
                             .c = dx.f32,
                             .c_bf16 = dx.bf16,
                             .ldc = k,
                             .k_blocks = chains(at, n),
                             .act = act,
                             .act_grad_of = preact.f32,
                             .act_grad_of_bf16 = preact.bf16,
                             .ldact_grad_of = k};
    phase = suffixed_op(at, phase, product_of(at, weight), &gemm, "gemm", name, ".dx");
    vary_rows(at, offsetof(td_gemm_f32_args, m));
    return phase;
}

bool td_layer_stored_in_out(const td_build *build, td_role weight) {
    TD_ASSERT(weight == TD_ROLE_v_proj || weight == TD_ROLE_t_proj);
    return build->config->family == TD_FAMILY_CLIP;
}

int td_layer_project(const td_layer *at, int phase, const char *name, int64_t m, int64_t k,
                     int64_t n, const float *x, td_role weight, float *y) {
    td_gemm_f32_args gemm = {.m = m,
                             .n = n,
                             .k = k,
                             .a = x,
                             .lda = k,
                             .b = weight_of(at, weight),
                             .ldb = n,
                             .c = y,
                             .ldc = n,
                             .k_blocks = chains(at, k)};
    return td_layer_op(at, phase, product_of(at, weight), &gemm, "gemm", name);
}

int td_layer_project_grad(const td_layer *at, int phase, const char *name, int64_t m, int64_t k,
                          int64_t n, const float *x, const float *dy, td_role weight, float *dx) {
    td_gemm_f32_args dw = {.m = k,
                           .n = n,
                           .k = m,
                           .a = x,
                           .lda = k,
                           .a_trans = true,
                           .b = dy,
                           .ldb = n,
                           .c = weight_grad_of(at, weight),
                           .ldc = n,
                           .k_blocks = at->build->blocks};
    suffixed_op(at, phase, product_of(at, weight), &dw, "gemm", name, ".dw");
    td_gemm_f32_args gemm = {.m = m,
                             .n = k,
                             .k = n,
                             .a = dy,
                             .lda = n,
                             .b = weight_of(at, weight),
                             .ldb = n,
                             .b_trans = true,
                             .c = dx,
                             .ldc = k,
                             .k_blocks = chains(at, n)};
    return suffixed_op(at, phase, product_of(at, weight), &gemm, "gemm", name, ".dx");
}

int td_layer_act(const td_layer *at, int phase, const char *name, int64_t n, td_act act,
                 td_operand x, td_operand y) {
    td_gelu_f32_args args = {
        .n = n, .act = act, .x = x.f32, .x_bf16 = x.bf16, .y = y.f32, .y_bf16 = y.bf16};
    phase = td_layer_op(at, phase, TD_OP_gelu_f32, &args, "activation", name);
    if (at->seq != NULL) {
        td_program_vary(at->build->program, offsetof(td_gelu_f32_args, n), &at->seq->hidden);
    }
    return phase;
}

int td_layer_norm(const td_layer *at, int phase, const char *name, int64_t rows, int64_t cols,
                  const float *x, td_role weight, td_operand y, float *mean, float *rstd) {
    const td_model_config *config = at->build->config;
    td_layernorm_f32_args norm = {.rows = rows,
                                  .cols = cols,
                                  .x = x,
                                  .ldx = cols,
                                  .y = y.f32,
                                  .y_bf16 = y.bf16,
                                  .ldy = cols,
                                  .gamma = weight_of(at, weight),
                                  .beta = bias_of(at, weight),
                                  .eps = at->tag == 'v' ? config->vision.norm_eps
                                                        : config->text.norm_eps,
                                  .mean = mean,
                                  .rstd = rstd};
    phase = td_layer_op(at, phase, TD_OP_layernorm_f32, &norm, "layernorm", name);
    vary_rows(at, offsetof(td_layernorm_f32_args, rows));
    return phase;
}

int td_layer_norm_grad(const td_layer *at, int phase, const char *name, int64_t rows, int64_t cols,
                       const float *dy, const float *x, const float *mean, const float *rstd,
                       td_role weight, const float *residual, float *dx) {
    td_layernorm_grad_w_f32_args dw = {.rows = rows,
                                       .cols = cols,
                                       .blocks = at->build->blocks,
                                       .starts = row_blocks(at),
                                       .dy = dy,
                                       .x = x,
                                       .mean = mean,
                                       .rstd = rstd,
                                       .lddy = cols,
                                       .ldx = cols,
                                       .dgamma = weight_grad_of(at, weight),
                                       .dbeta = bias_grad_of(at, weight)};
    suffixed_op(at, phase, TD_OP_layernorm_grad_w_f32, &dw, "layernorm", name, ".dw");
    vary_rows(at, offsetof(td_layernorm_grad_w_f32_args, rows));
    td_layernorm_grad_x_f32_args norm = {.rows = rows,
                                         .cols = cols,
                                         .dy = dy,
                                         .x = x,
                                         .mean = mean,
                                         .rstd = rstd,
                                         .gamma = weight_of(at, weight),
                                         .lddy = cols,
                                         .ldx = cols,
                                         .residual = residual,
                                         .ldresidual = cols,
                                         .dx = dx,
                                         .lddx = cols};
    phase = suffixed_op(at, phase, TD_OP_layernorm_grad_x_f32, &norm, "layernorm", name, ".dx");
    vary_rows(at, offsetof(td_layernorm_grad_x_f32_args, rows));
    return phase;
}

int td_layer_update(const td_layer *at, int phase, const char *name, td_role weight, int count) {
    const td_update *update = at->build->update;
    if (!update->early) {
        return phase;
    }
    char full[TD_NODE_NAME];
    full_name(at, name, ".update", full);
    td_update_tensors(update, at->build->program, phase, weight, count, block_of(at),
                      td_layer_grad(at->build, weight, block_of(at)), (td_compact_rows){0}, full);
    return phase + 1;
}

int td_layer_colsum(const td_layer *at, int phase, const char *name, int64_t rows, int64_t cols,
                    int64_t ldx, const float *x, td_role role) {
    td_colsum_f32_args sum = {.rows = rows,
                              .cols = cols,
                              .blocks = at->build->blocks,
                              .x = x,
                              .ldx = ldx,
                              .out = td_layer_grad(at->build, role, 0)};
    return td_layer_op(at, phase, TD_OP_colsum_f32, &sum, "reduce", name);
}

int td_layer_pool(const td_layer *at, int phase, const char *name, const td_tower *tower,
                  const float *x, float *y) {
    td_pool_f32_args args = {.batch = at->build->rows,
                             .tokens = tower->tokens,
                             .width = tower->shape->width,
                             .index = tower->seq.pooled,
                             .x = x,
                             .ldx = tower->shape->width,
                             .y = y};
    return td_layer_op(at, phase, TD_OP_pool_f32, &args, "pool", name);
}

int td_layer_unpool(const td_layer *at, int phase, const char *name, const td_tower *tower,
                    const float *dy, float *dx, int64_t lddx) {
    td_pool_grad_f32_args args = {.batch = at->build->rows,
                                  .tokens = tower->tokens,
                                  .width = tower->shape->width,
                                  .index = tower->seq.pooled,
                                  .starts = tower->packed ? tower->seq.starts : NULL,
                                  .dy = dy,
                                  .dx = dx,
                                  .lddx = lddx};
    phase = td_layer_op(at, phase, TD_OP_pool_grad_f32, &args, "pool", name);
    if (tower->packed) { /* its traffic follows from what the bounds say */
        td_program_vary(at->build->program, offsetof(td_pool_grad_f32_args, starts),
                        &tower->seq.starts);
    }
    return phase;
}

/* As torch's normalize: the norm is held above 1e-12. */
int td_layer_l2norm(const td_layer *at, int phase, td_tower *tower, float *z) {
    tower->inv_norm = TD_PLAN_ARRAY(at->build->plan, float, at->build->rows);
    tower->z = z;
    td_l2norm_f32_args args = {.rows = at->build->rows,
                               .cols = at->build->config->embed,
                               .x = tower->feature,
                               .z = z,
                               .inv_norm = tower->inv_norm,
                               .eps = 1e-12F};
    return td_layer_op(at, phase, TD_OP_l2norm_f32, &args, "loss", "l2norm");
}

int td_layer_l2norm_grad(const td_layer *at, int phase, td_tower *tower, const float *dz) {
    int64_t embed = at->build->config->embed;
    tower->dfeature = TD_PLAN_ARRAY(at->build->plan, float, at->build->rows *embed);
    td_l2norm_grad_f32_args args = {.rows = at->build->rows,
                                    .cols = embed,
                                    .dz = dz,
                                    .z = tower->z,
                                    .inv_norm = tower->inv_norm,
                                    .dx = tower->dfeature};
    return td_layer_op(at, phase, TD_OP_l2norm_grad_f32, &args, "loss", "l2norm.dx");
}

td_attention_f32_args td_layer_map_attention(const td_build *build, const td_tower *tower) {
    int64_t width = tower->shape->width;
    return (td_attention_f32_args){.seqs = build->rows,
                                   .heads = tower->shape->heads,
                                   .head = width / tower->shape->heads,
                                   .n_q = 1,
                                   .n_k = tower->tokens,
                                   .q = tower->map.q,
                                   .k = tower->map.kv,
                                   .v = td_at(tower->map.kv, width),
                                   .q_seq = 0,
                                   .q_row = width,
                                   .kv_seq = tower->tokens * 2 * width,
                                   .kv_row = 2 * width,
                                   .o = tower->map.o,
                                   .o_seq = width,
                                   .o_row = width,
                                   .lse = tower->map.lse};
}
