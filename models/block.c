/* SPDX-License-Identifier: Apache-2.0 */
#include "models/block.h"

#include <stddef.h>

#include "models/layer.h"

/* Roles of a block, counted from its first. */
enum { LN1_W, LN1_B, QKV_W, QKV_B, OUT_W, OUT_B, LN2_W, LN2_B, FC1_W, FC1_B, FC2_W, FC2_B };

static td_role block_role(const td_tower *tower, int k) {
    return (td_role)((int)tower->ln1 + k);
}

static bool is_pruned(const td_tower *tower, int64_t i) {
    return tower->pruned && i + 1 == tower->shape->layers;
}

/* Products that round their operands are given those that nothing else reads in bf16. The last
 * block of a pruned tower keeps f32: its few rows are also pooled and spread. */
static bool is_rounded(const td_build *build, const td_tower *tower, int64_t i) {
    return build->precision != TD_PRECISION_F32 && !is_pruned(tower, i);
}

static td_operand plan_operand(td_plan *plan, bool rounded, int64_t count) {
    return rounded ? (td_operand){.bf16 = TD_PLAN_ARRAY(plan, uint16_t, count)}
                   : (td_operand){.f32 = TD_PLAN_ARRAY(plan, float, count)};
}

/* Memory of floats, of which bf16 takes the first half. */
static td_operand operand_in(float *memory, bool rounded) {
    return rounded ? (td_operand){.bf16 = (uint16_t *)(void *)memory} : td_f32(memory);
}

/* The part of a block behind its attention has `m` rows: pooled ones when it is pruned. */
static void plan_second_half(const td_build *build, const td_tower *tower, td_block_state *s,
                             int64_t m, bool rounded) {
    int64_t width = tower->shape->width, mlp = tower->shape->mlp;
    td_plan *plan = build->plan;
    s->o = TD_PLAN_ARRAY(plan, float, m *width);
    s->x2 = TD_PLAN_ARRAY(plan, float, m *width);
    /* What is activated is the rounded value, also where no backward pass will read it. */
    if (build->training || rounded) {
        s->pre = plan_operand(plan, rounded, m * mlp);
    }
    if (build->training) {
        s->mean2 = TD_PLAN_ARRAY(plan, float, m);
        s->rstd2 = TD_PLAN_ARRAY(plan, float, m);
    }
}

static void plan_first_half(const td_build *build, const td_tower *tower, td_block_state *s,
                            int64_t parts, bool rounded) {
    int64_t m = build->rows * tower->tokens, width = tower->shape->width;
    td_plan *plan = build->plan;
    s->qkv = plan_operand(plan, rounded, m * parts * width);
    s->lse = TD_PLAN_ARRAY(plan, float, m * tower->shape->heads);
    if (build->training) {
        s->mean1 = TD_PLAN_ARRAY(plan, float, m);
        s->rstd1 = TD_PLAN_ARRAY(plan, float, m);
    }
}

static void plan_pruned(const td_build *build, td_tower *tower, td_block_state *s) {
    int64_t b = build->rows, width = tower->shape->width, mlp = tower->shape->mlp;
    plan_first_half(build, tower, s, 2, false);
    plan_second_half(build, tower, s, b, false);
    s->h2 = plan_operand(build->plan, false, b * width);
    s->act = plan_operand(build->plan, false, b * mlp);
    tower->last.x = TD_PLAN_ARRAY(build->plan, float, b *width);
    tower->last.h1 = TD_PLAN_ARRAY(build->plan, float, b *width);
    tower->last.q = TD_PLAN_ARRAY(build->plan, float, b *width);
    tower->last.dq = build->training ? TD_PLAN_ARRAY(build->plan, float, b *width) : NULL;
}

/* Without training, or when blocks are run again, the first block's buffers serve all. */
static void plan_block(const td_build *build, td_tower *tower, int64_t i) {
    td_block_state *s = &tower->blocks[i];
    float *x = s->x; /* set by whoever computes it */
    if ((!build->training || build->recompute) && i > 0 && !is_pruned(tower, i)) {
        *s = tower->blocks[0];
        s->x = x;
        return;
    }
    const bool rounded = is_rounded(build, tower, i);
    const td_operand h = operand_in(tower->h, rounded);
    *s = (td_block_state){.x = x, .h1 = h, .h2 = h, .act = operand_in(tower->wide, rounded)};
    if (is_pruned(tower, i)) {
        plan_pruned(build, tower, s);
        return;
    }
    plan_first_half(build, tower, s, 3, rounded);
    plan_second_half(build, tower, s, build->rows * tower->tokens, rounded);
}

void td_stack_plan(const td_build *build, td_tower *tower, float *x, int64_t patches) {
    int64_t m = build->rows * tower->tokens, width = tower->shape->width, mlp = tower->shape->mlp;
    tower->h = TD_PLAN_ARRAY(build->plan, float, m *width);
    int64_t wide = m * (3 * width > mlp ? 3 * width : mlp);
    tower->wide = TD_PLAN_ARRAY(build->plan, float, wide > patches ? wide : patches);
    for (int64_t i = 0; i < tower->shape->layers; i++) {
        tower->blocks[i].x =
            i == 0 || !build->training ? x : TD_PLAN_ARRAY(build->plan, float, m *width);
        plan_block(build, tower, i);
    }
    if (tower->pruned) {
        tower->pooled = TD_PLAN_ARRAY(build->plan, float, build->rows *width);
    } else {
        tower->out = build->training ? TD_PLAN_ARRAY(build->plan, float, m *width) : x;
    }
    if (build->training) {
        tower->dx = TD_PLAN_ARRAY(build->plan, float, m *width);
        tower->dh = TD_PLAN_ARRAY(build->plan, float, m *width);
    }
}

/* The work of attention over packed rows, or of pooled rows that see a part, follows from bounds.
 */
static int attention_op(const td_layer *at, int phase, const td_tower *tower,
                        const td_attention_f32_args *args) {
    const td_op_id op = td_precision_attention(at->build->precision);
    phase = td_layer_op(at, phase, op, args, "attention", "attention");
    if (tower->packed) {
        td_program_vary(at->build->program, offsetof(td_attention_f32_args, kv_starts),
                        &tower->seq.starts);
    } else if (args->kv_seen != NULL) {
        td_program_vary(at->build->program, offsetof(td_attention_f32_args, kv_seen),
                        &tower->seq.seen);
    }
    return phase;
}

static int attention_grad_op(const td_layer *at, int phase, const td_tower *tower,
                             const td_attention_grad_f32_args *args) {
    const td_op_id op = td_precision_attention_grad(at->build->precision);
    phase = td_layer_op(at, phase, op, args, "attention", "attention.grad");
    if (tower->packed) {
        td_program_vary(at->build->program, offsetof(td_attention_grad_f32_args, forward.kv_starts),
                        &tower->seq.starts);
    } else if (args->forward.kv_seen != NULL) {
        td_program_vary(at->build->program, offsetof(td_attention_grad_f32_args, forward.kv_seen),
                        &tower->seq.seen);
    }
    return phase;
}

static td_attention_f32_args block_attention(const td_build *build, const td_tower *tower,
                                             const td_block_state *s) {
    const int64_t width = tower->shape->width;
    const td_operand k = td_operand_at(s->qkv, width), v = td_operand_at(s->qkv, 2 * width);
    return (td_attention_f32_args){.seqs = build->rows,
                                   .heads = tower->shape->heads,
                                   .head = width / tower->shape->heads,
                                   .n_q = tower->tokens,
                                   .n_k = tower->tokens,
                                   .causal = tower->causal,
                                   .q_starts = tower->packed ? tower->seq.starts : NULL,
                                   .kv_starts = tower->packed ? tower->seq.starts : NULL,
                                   .q = s->qkv.f32,
                                   .k = k.f32,
                                   .v = v.f32,
                                   .q_bf16 = s->qkv.bf16,
                                   .k_bf16 = k.bf16,
                                   .v_bf16 = v.bf16,
                                   .q_seq = tower->tokens * 3 * width,
                                   .q_row = 3 * width,
                                   .kv_seq = tower->tokens * 3 * width,
                                   .kv_row = 3 * width,
                                   .o = s->o,
                                   .o_seq = tower->tokens * width,
                                   .o_row = width,
                                   .lse = s->lse};
}

/* Up to the hidden layer of the perceptron: what the backward pass needs. */
static int block_hidden(const td_build *build, td_tower *tower, int phase, int64_t i) {
    td_block_state *s = &tower->blocks[i];
    int64_t m = build->rows * tower->tokens, width = tower->shape->width, mlp = tower->shape->mlp;
    td_layer at = td_layer_of(build, tower, i);
    phase = td_layer_norm(&at, phase, "ln1", m, width, s->x, block_role(tower, LN1_W), s->h1,
                          s->mean1, s->rstd1);
    phase = td_layer_linear(&at, phase, "qkv", m, width, 3 * width, s->h1, block_role(tower, QKV_W),
                            &(td_linear_extra){.y = s->qkv});
    td_attention_f32_args attention = block_attention(build, tower, s);
    phase = attention_op(&at, phase, tower, &attention);
    phase =
        td_layer_linear(&at, phase, "out", m, width, width, td_f32(s->o), block_role(tower, OUT_W),
                        &(td_linear_extra){.y = td_f32(s->x2), .residual = s->x});
    phase = td_layer_norm(&at, phase, "ln2", m, width, s->x2, block_role(tower, LN2_W), s->h2,
                          s->mean2, s->rstd2);
    return td_layer_linear(
        &at, phase, "fc1", m, width, mlp, s->h2, block_role(tower, FC1_W),
        &(td_linear_extra){.y = s->act, .act = tower->shape->act, .preact = s->pre});
}

static int block_forward(const td_build *build, td_tower *tower, int phase, int64_t i, float *out) {
    td_block_state *s = &tower->blocks[i];
    int64_t m = build->rows * tower->tokens, width = tower->shape->width, mlp = tower->shape->mlp;
    td_layer at = td_layer_of(build, tower, i);
    phase = block_hidden(build, tower, phase, i);
    return td_layer_linear(&at, phase, "fc2", m, mlp, width, s->act, block_role(tower, FC2_W),
                           &(td_linear_extra){.y = td_f32(out), .residual = s->x2});
}

/* Outputs of norms and of the perceptron's activation are not kept but computed again from their
 * inputs, which are: six sixteenths less memory for activations, for one more pass over them.
 */
static void hidden_again(const td_build *build, td_tower *tower, int phase, int64_t i) {
    td_block_state *s = &tower->blocks[i];
    int64_t m = build->rows * tower->tokens, width = tower->shape->width;
    td_layer at = td_layer_of(build, tower, i);
    td_layer_act(&at, phase, "act.again", m * tower->shape->mlp, tower->shape->act, s->pre, s->act);
    td_layer_norm(&at, phase, "ln2.again", m, width, s->x2, block_role(tower, LN2_W), s->h2,
                  s->mean2, s->rstd2);
}

/* tower->dx holds the gradient of the block's output, then of the sum behind attention, then of the
 * block's input: a norm adds its own to what goes around it, row by row. dh carries the gradient
 * of each norm's output and of the attention's. That of the perceptron's hidden layer takes the
 * place of what it is the gradient of; that of qkv lies where the hidden layer was. */
static int block_backward(const td_build *build, td_tower *tower, int phase, int64_t i) {
    td_block_state *s = &tower->blocks[i];
    int64_t m = build->rows * tower->tokens, width = tower->shape->width, mlp = tower->shape->mlp;
    td_layer at = td_layer_of(build, tower, i);
    phase = td_layer_linear_grad_x(&at, phase, "fc2", m, mlp, width, td_f32(tower->dx),
                                   block_role(tower, FC2_W), s->pre, tower->shape->act, s->pre);
    td_layer_linear_grad_w(&at, phase, "fc2", m, mlp, width, s->act, td_f32(tower->dx),
                           block_role(tower, FC2_W));
    td_layer_linear_grad_w(&at, phase, "fc1", m, width, mlp, s->h2, s->pre,
                           block_role(tower, FC1_W));
    phase =
        td_layer_linear_grad_x(&at, phase, "fc1", m, width, mlp, s->pre, block_role(tower, FC1_W),
                               td_f32(tower->dh), TD_ACT_NONE, (td_operand){0});
    td_layer_update(&at, phase, "fc2", block_role(tower, FC2_W), 2);
    td_layer_update(&at, phase, "fc1", block_role(tower, FC1_W), 2);
    td_layer_norm(&at, phase, "ln1.again", m, width, s->x, block_role(tower, LN1_W), s->h1,
                  s->mean1, s->rstd1);
    phase = td_layer_norm_grad(&at, phase, "ln2", m, width, tower->dh, s->x2, s->mean2, s->rstd2,
                               block_role(tower, LN2_W), tower->dx, tower->dx);
    td_layer_update(&at, phase, "ln2", block_role(tower, LN2_W), 2);
    td_layer_linear_grad_w(&at, phase, "out", m, width, width, td_f32(s->o), td_f32(tower->dx),
                           block_role(tower, OUT_W));
    phase = td_layer_linear_grad_x(&at, phase, "out", m, width, width, td_f32(tower->dx),
                                   block_role(tower, OUT_W), td_f32(tower->dh), TD_ACT_NONE,
                                   (td_operand){0});
    td_layer_update(&at, phase, "out", block_role(tower, OUT_W), 2);
    td_attention_grad_f32_args attention = {.forward = block_attention(build, tower, s),
                                            .d_o = tower->dh,
                                            .dq = tower->wide,
                                            .dk = td_at(tower->wide, width),
                                            .dv = td_at(tower->wide, 2 * width),
                                            .dq_seq = tower->tokens * 3 * width,
                                            .dq_row = 3 * width,
                                            .dkv_seq = tower->tokens * 3 * width,
                                            .dkv_row = 3 * width};
    phase = attention_grad_op(&at, phase, tower, &attention);
    td_layer_attention_in_grad_w(&at, phase, "qkv", m, width, (td_parts){3, 0, 3}, s->h1,
                                 tower->wide, 3 * width, block_role(tower, QKV_W));
    phase = td_layer_linear_grad_x(&at, phase, "qkv", m, width, 3 * width, td_f32(tower->wide),
                                   block_role(tower, QKV_W), td_f32(tower->dh), TD_ACT_NONE,
                                   (td_operand){0});
    td_layer_update(&at, phase, "qkv", block_role(tower, QKV_W), 2);
    phase = td_layer_norm_grad(&at, phase, "ln1", m, width, tower->dh, s->x, s->mean1, s->rstd1,
                               block_role(tower, LN1_W), tower->dx, tower->dx);
    td_layer_update(&at, phase, "ln1", block_role(tower, LN1_W), 2);
    return phase;
}

/* One query a sample, over keys and values of its rows. */
static td_attention_f32_args pooled_attention(const td_build *build, const td_tower *tower,
                                              const td_block_state *s) {
    int64_t width = tower->shape->width;
    return (td_attention_f32_args){.seqs = build->rows,
                                   .heads = tower->shape->heads,
                                   .head = width / tower->shape->heads,
                                   .n_q = 1,
                                   .n_k = tower->tokens,
                                   .kv_starts = tower->packed ? tower->seq.starts : NULL,
                                   .kv_seen = tower->seq.seen,
                                   .q = tower->last.q,
                                   .k = s->qkv.f32,
                                   .v = td_at(s->qkv.f32, width),
                                   .q_seq = width,
                                   .q_row = width,
                                   .kv_seq = tower->tokens * 2 * width,
                                   .kv_row = 2 * width,
                                   .o = s->o,
                                   .o_seq = width,
                                   .o_row = width,
                                   .lse = s->lse};
}

/* The last block where one row of a sample is pooled: keys and values of all rows, everything else
 * of pooled rows only. */
static int pruned_forward(const td_build *build, td_tower *tower, int phase, int64_t i) {
    td_block_state *s = &tower->blocks[i];
    int64_t b = build->rows, m = b * tower->tokens;
    int64_t width = tower->shape->width, mlp = tower->shape->mlp;
    td_layer all = td_layer_of(build, tower, i), one = {build, tower->tag, i, NULL};
    phase = td_layer_norm(&all, phase, "ln1", m, width, s->x, block_role(tower, LN1_W), s->h1,
                          s->mean1, s->rstd1);
    td_layer_linear(&all, phase, "kv", m, width, 2 * width, s->h1, block_role(tower, QKV_W),
                    &(td_linear_extra){.y = s->qkv, .first = width});
    td_layer_pool(&one, phase, "pool.x", tower, s->x, tower->last.x);
    phase = td_layer_pool(&one, phase, "pool.h1", tower, s->h1.f32, tower->last.h1);
    phase =
        td_layer_linear(&one, phase, "q", b, width, width, td_f32(tower->last.h1),
                        block_role(tower, QKV_W), &(td_linear_extra){.y = td_f32(tower->last.q)});
    td_attention_f32_args attention = pooled_attention(build, tower, s);
    phase = attention_op(&one, phase, tower, &attention);
    phase =
        td_layer_linear(&one, phase, "out", b, width, width, td_f32(s->o), block_role(tower, OUT_W),
                        &(td_linear_extra){.y = td_f32(s->x2), .residual = tower->last.x});
    phase = td_layer_norm(&one, phase, "ln2", b, width, s->x2, block_role(tower, LN2_W), s->h2,
                          s->mean2, s->rstd2);
    phase = td_layer_linear(
        &one, phase, "fc1", b, width, mlp, s->h2, block_role(tower, FC1_W),
        &(td_linear_extra){.y = s->act, .act = tower->shape->act, .preact = s->pre});
    return td_layer_linear(&one, phase, "fc2", b, mlp, width, s->act, block_role(tower, FC2_W),
                           &(td_linear_extra){.y = td_f32(tower->pooled), .residual = s->x2});
}

/* From tower->dpooled to the gradient of pooled rows before attention in the same place, of
 * attention's queries in last.dq, and of all keys and values in wide behind room for the queries'.
 */
static int pruned_second_half(const td_build *build, td_tower *tower, int phase, int64_t i) {
    td_block_state *s = &tower->blocks[i];
    int64_t b = build->rows, width = tower->shape->width, mlp = tower->shape->mlp;
    td_layer one = {build, tower->tag, i, NULL};
    td_layer_linear_grad_w(&one, phase, "fc2", b, mlp, width, s->act, td_f32(tower->dpooled),
                           block_role(tower, FC2_W));
    phase = td_layer_linear_grad_x(&one, phase, "fc2", b, mlp, width, td_f32(tower->dpooled),
                                   block_role(tower, FC2_W), s->pre, tower->shape->act, s->pre);
    td_layer_update(&one, phase, "fc2", block_role(tower, FC2_W), 2);
    td_layer_linear_grad_w(&one, phase, "fc1", b, width, mlp, s->h2, s->pre,
                           block_role(tower, FC1_W));
    phase =
        td_layer_linear_grad_x(&one, phase, "fc1", b, width, mlp, s->pre, block_role(tower, FC1_W),
                               td_f32(tower->dh), TD_ACT_NONE, (td_operand){0});
    td_layer_update(&one, phase, "fc1", block_role(tower, FC1_W), 2);
    phase = td_layer_norm_grad(&one, phase, "ln2", b, width, tower->dh, s->x2, s->mean2, s->rstd2,
                               block_role(tower, LN2_W), tower->dpooled, tower->dpooled);
    td_layer_update(&one, phase, "ln2", block_role(tower, LN2_W), 2);
    td_layer_linear_grad_w(&one, phase, "out", b, width, width, td_f32(s->o),
                           td_f32(tower->dpooled), block_role(tower, OUT_W));
    phase = td_layer_linear_grad_x(&one, phase, "out", b, width, width, td_f32(tower->dpooled),
                                   block_role(tower, OUT_W), td_f32(tower->dh), TD_ACT_NONE,
                                   (td_operand){0});
    td_layer_update(&one, phase, "out", block_role(tower, OUT_W), 2);
    td_attention_grad_f32_args attention = {.forward = pooled_attention(build, tower, s),
                                            .d_o = tower->dh,
                                            .dq = tower->last.dq,
                                            .dk = td_at(tower->wide, width),
                                            .dv = td_at(tower->wide, 2 * width),
                                            .dq_seq = width,
                                            .dq_row = width,
                                            .dkv_seq = tower->tokens * 3 * width,
                                            .dkv_row = 3 * width};
    return attention_grad_op(&one, phase, tower, &attention);
}

/* The product of wide with the whole input projection keeps the order of the unpruned one, where
 * rows that were not pooled have queries without gradient: their zeros are written out, which costs
 * a thirty-sixth of a block. */
static int pruned_backward(const td_build *build, td_tower *tower, int phase, int64_t i) {
    td_block_state *s = &tower->blocks[i];
    int64_t b = build->rows, m = b * tower->tokens, width = tower->shape->width;
    td_layer all = td_layer_of(build, tower, i), one = {build, tower->tag, i, NULL};
    phase = pruned_second_half(build, tower, phase, i);
    td_layer_attention_in_grad_w(&one, phase, "q", b, width, (td_parts){3, 0, 1},
                                 td_f32(tower->last.h1), tower->last.dq, width,
                                 block_role(tower, QKV_W));
    td_layer_attention_in_grad_w(&all, phase, "kv", m, width, (td_parts){3, 1, 2}, s->h1,
                                 td_at(tower->wide, width), 3 * width, block_role(tower, QKV_W));
    td_layer_unpool(&one, phase, "unpool.dx", tower, tower->dpooled, tower->dx, width);
    phase =
        td_layer_unpool(&one, phase, "unpool.dq", tower, tower->last.dq, tower->wide, 3 * width);
    phase = td_layer_linear_grad_x(&all, phase, "qkv", m, width, 3 * width, td_f32(tower->wide),
                                   block_role(tower, QKV_W), td_f32(tower->dh), TD_ACT_NONE,
                                   (td_operand){0});
    td_layer_update(&all, phase, "qkv", block_role(tower, QKV_W), 2);
    phase = td_layer_norm_grad(&all, phase, "ln1", m, width, tower->dh, s->x, s->mean1, s->rstd1,
                               block_role(tower, LN1_W), tower->dx, tower->dx);
    td_layer_update(&all, phase, "ln1", block_role(tower, LN1_W), 2);
    return phase;
}

int td_stack_forward(const td_build *build, td_tower *tower, int phase) {
    for (int64_t i = 0; i < tower->shape->layers; i++) {
        bool last = i + 1 == tower->shape->layers;
        phase = is_pruned(tower, i) ? pruned_forward(build, tower, phase, i)
                                    : block_forward(build, tower, phase, i,
                                                    last ? tower->out : tower->blocks[i + 1].x);
    }
    return phase;
}

int td_stack_backward(const td_build *build, td_tower *tower, int phase) {
    for (int64_t i = tower->shape->layers - 1; i >= 0; i--) {
        if (is_pruned(tower, i)) {
            phase = pruned_backward(build, tower, phase, i);
            continue;
        }
        if (build->recompute && i + (tower->pruned ? 2 : 1) < tower->shape->layers) {
            phase = block_hidden(build, tower, phase, i);
        } else {
            /* In the phase before, which has no use for what is shared. With recomputation the
             * block that ran last still has the rest. */
            hidden_again(build, tower, phase - 1, i);
        }
        phase = block_backward(build, tower, phase, i);
    }
    return phase;
}
