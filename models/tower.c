/* SPDX-License-Identifier: Apache-2.0 */
#include "models/tower.h"

#include <stdio.h>

#include "models/layer.h"

/* Roles of a block, counted from its first. */
enum { LN1_W, LN1_B, QKV_W, QKV_B, OUT_W, OUT_B, LN2_W, LN2_B, FC1_W, FC1_B, FC2_W, FC2_B };

static td_role block_role(const td_tower *tower, int k) {
    return (td_role)((int)tower->ln1 + k);
}

/* Buffers of one block; without training only the first block has its own. */
static void plan_block(const td_build *build, td_tower *tower, int64_t i) {
    td_block_state *s = &tower->blocks[i];
    if (!build->training && i > 0) {
        *s = tower->blocks[0];
        return;
    }
    int64_t m = build->rows * tower->tokens, width = tower->shape->width, mlp = tower->shape->mlp;
    td_plan *plan = build->plan;
    float *x = s->x; /* set by whoever computes it */
    *s = (td_block_state){.x = x};
    s->h1 = TD_PLAN_ARRAY(plan, float, m *width);
    s->qkv = TD_PLAN_ARRAY(plan, float, m * 3 * width);
    s->o = TD_PLAN_ARRAY(plan, float, m *width);
    s->lse = TD_PLAN_ARRAY(plan, float, m * tower->shape->heads);
    s->x2 = TD_PLAN_ARRAY(plan, float, m *width);
    s->h2 = TD_PLAN_ARRAY(plan, float, m *width);
    s->act = TD_PLAN_ARRAY(plan, float, m *mlp);
    if (build->training) {
        s->pre = TD_PLAN_ARRAY(plan, float, m *mlp);
        s->mean1 = TD_PLAN_ARRAY(plan, float, m);
        s->rstd1 = TD_PLAN_ARRAY(plan, float, m);
        s->mean2 = TD_PLAN_ARRAY(plan, float, m);
        s->rstd2 = TD_PLAN_ARRAY(plan, float, m);
    }
}

static td_attention_f32_args block_attention(const td_build *build, const td_tower *tower,
                                             const td_block_state *s) {
    int64_t width = tower->shape->width;
    return (td_attention_f32_args){.seqs = build->rows,
                                   .heads = tower->shape->heads,
                                   .head = width / tower->shape->heads,
                                   .n_q = tower->tokens,
                                   .n_k = tower->tokens,
                                   .causal = tower->causal,
                                   .q = s->qkv,
                                   .k = td_at(s->qkv, width),
                                   .v = td_at(s->qkv, 2 * width),
                                   .q_seq = tower->tokens * 3 * width,
                                   .q_row = 3 * width,
                                   .kv_seq = tower->tokens * 3 * width,
                                   .kv_row = 3 * width,
                                   .o = s->o,
                                   .o_seq = tower->tokens * width,
                                   .o_row = width,
                                   .lse = s->lse};
}

static int block_forward(const td_build *build, td_tower *tower, int phase, int64_t i, float *out) {
    td_block_state *s = &tower->blocks[i];
    int64_t m = build->rows * tower->tokens, width = tower->shape->width, mlp = tower->shape->mlp;
    td_layer at = {build, tower->tag, i};
    phase = td_layer_norm(&at, phase, "ln1", m, width, s->x, block_role(tower, LN1_W), s->h1,
                          s->mean1, s->rstd1);
    phase = td_layer_linear(&at, phase, "qkv", m, width, 3 * width, s->h1, block_role(tower, QKV_W),
                            &(td_linear_extra){.y = s->qkv});
    td_attention_f32_args attention = block_attention(build, tower, s);
    phase = td_layer_op(&at, phase, TD_OP_attention_f32, &attention, "attention", "attention");
    phase = td_layer_linear(&at, phase, "out", m, width, width, s->o, block_role(tower, OUT_W),
                            &(td_linear_extra){.y = s->x2, .residual = s->x});
    phase = td_layer_norm(&at, phase, "ln2", m, width, s->x2, block_role(tower, LN2_W), s->h2,
                          s->mean2, s->rstd2);
    phase = td_layer_linear(
        &at, phase, "fc1", m, width, mlp, s->h2, block_role(tower, FC1_W),
        &(td_linear_extra){.y = s->act, .act = build->config->act, .preact = s->pre});
    return td_layer_linear(&at, phase, "fc2", m, mlp, width, s->act, block_role(tower, FC2_W),
                           &(td_linear_extra){.y = out, .residual = s->x2});
}

/* tower->dx holds the gradient of the block's output, and of its input afterwards. dh carries the
 * gradient of each norm's output and of the attention's; dwide first that of the perceptron's
 * hidden layer, then that of qkv. */
static int block_backward(const td_build *build, td_tower *tower, int phase, int64_t i) {
    td_block_state *s = &tower->blocks[i];
    int64_t m = build->rows * tower->tokens, width = tower->shape->width, mlp = tower->shape->mlp;
    td_layer at = {build, tower->tag, i};
    td_layer_linear_grad_w(&at, phase, "fc2", m, mlp, width, s->act, tower->dx,
                           block_role(tower, FC2_W));
    phase =
        td_layer_linear_grad_x(&at, phase, "fc2", m, mlp, width, tower->dx,
                               block_role(tower, FC2_W), tower->dwide, build->config->act, s->pre);
    td_layer_linear_grad_w(&at, phase, "fc1", m, width, mlp, s->h2, tower->dwide,
                           block_role(tower, FC1_W));
    phase = td_layer_linear_grad_x(&at, phase, "fc1", m, width, mlp, tower->dwide,
                                   block_role(tower, FC1_W), tower->dh, TD_ACT_NONE, NULL);
    phase = td_layer_norm_grad(&at, phase, "ln2", m, width, tower->dh, s->x2, s->mean2, s->rstd2,
                               block_role(tower, LN2_W), tower->dx, tower->dx2);
    td_layer_linear_grad_w(&at, phase, "out", m, width, width, s->o, tower->dx2,
                           block_role(tower, OUT_W));
    phase = td_layer_linear_grad_x(&at, phase, "out", m, width, width, tower->dx2,
                                   block_role(tower, OUT_W), tower->dh, TD_ACT_NONE, NULL);
    td_attention_grad_f32_args attention = {.forward = block_attention(build, tower, s),
                                            .d_o = tower->dh,
                                            .dq = tower->dwide,
                                            .dk = td_at(tower->dwide, width),
                                            .dv = td_at(tower->dwide, 2 * width),
                                            .dq_seq = tower->tokens * 3 * width,
                                            .dq_row = 3 * width,
                                            .dkv_seq = tower->tokens * 3 * width,
                                            .dkv_row = 3 * width};
    phase = td_layer_op(&at, phase, TD_OP_attention_grad_f32, &attention, "attention",
                        "attention.grad");
    td_layer_attention_in_grad_w(&at, phase, "qkv", m, width, 3, s->h1, tower->dwide,
                                 block_role(tower, QKV_W));
    phase = td_layer_linear_grad_x(&at, phase, "qkv", m, width, 3 * width, tower->dwide,
                                   block_role(tower, QKV_W), tower->dh, TD_ACT_NONE, NULL);
    return td_layer_norm_grad(&at, phase, "ln1", m, width, tower->dh, s->x, s->mean1, s->rstd1,
                              block_role(tower, LN1_W), tower->dx2, tower->dx);
}

/* Plans the stack's buffers; the first block's input is x. */
static void plan_stack(const td_build *build, td_tower *tower, float *x) {
    int64_t m = build->rows * tower->tokens, width = tower->shape->width, mlp = tower->shape->mlp;
    for (int64_t i = 0; i < tower->shape->layers; i++) {
        tower->blocks[i].x =
            i == 0 || !build->training ? x : TD_PLAN_ARRAY(build->plan, float, m *width);
        plan_block(build, tower, i);
    }
    tower->out = build->training ? TD_PLAN_ARRAY(build->plan, float, m *width) : x;
    if (build->training) {
        int64_t wide = 3 * width > mlp ? 3 * width : mlp;
        tower->dx = TD_PLAN_ARRAY(build->plan, float, m *width);
        tower->dh = TD_PLAN_ARRAY(build->plan, float, m *width);
        tower->dx2 = TD_PLAN_ARRAY(build->plan, float, m *width);
        tower->dwide = TD_PLAN_ARRAY(build->plan, float, m *wide);
    }
}

static int stack_forward(const td_build *build, td_tower *tower, int phase) {
    for (int64_t i = 0; i < tower->shape->layers; i++) {
        bool last = i + 1 == tower->shape->layers;
        phase = block_forward(build, tower, phase, i, last ? tower->out : tower->blocks[i + 1].x);
    }
    return phase;
}

static int stack_backward(const td_build *build, td_tower *tower, int phase) {
    for (int64_t i = tower->shape->layers - 1; i >= 0; i--) {
        phase = block_backward(build, tower, phase, i);
    }
    return phase;
}

/* From pooled rows (clip's vision, both texts): norm, projection, l2 normalisation. */
static int head_forward(const td_build *build, td_tower *tower, int phase, td_role post,
                        td_role proj, float *z) {
    int64_t width = tower->shape->width, embed = build->config->embed, b = build->rows;
    td_layer at = {build, tower->tag, -1};
    tower->normed = TD_PLAN_ARRAY(build->plan, float, b *width);
    tower->mean_post = TD_PLAN_ARRAY(build->plan, float, b);
    tower->rstd_post = TD_PLAN_ARRAY(build->plan, float, b);
    tower->feature = TD_PLAN_ARRAY(build->plan, float, b *embed);
    phase = td_layer_norm(&at, phase, "post", b, width, tower->pooled, post, tower->normed,
                          tower->mean_post, tower->rstd_post);
    if (td_layer_stored_in_out(build, proj)) {
        phase = td_layer_project(&at, phase, "proj", b, width, embed, tower->normed, proj,
                                 tower->feature);
    } else {
        phase = td_layer_linear(&at, phase, "proj", b, width, embed, tower->normed, proj,
                                &(td_linear_extra){.y = tower->feature});
    }
    return td_layer_l2norm(&at, phase, tower, z);
}

static int head_backward(const td_build *build, td_tower *tower, int phase, td_role post,
                         td_role proj, const float *dz) {
    int64_t width = tower->shape->width, embed = build->config->embed, b = build->rows;
    td_layer at = {build, tower->tag, -1};
    tower->dnormed = TD_PLAN_ARRAY(build->plan, float, b *width);
    tower->dpooled = TD_PLAN_ARRAY(build->plan, float, b *width);
    phase = td_layer_l2norm_grad(&at, phase, tower, dz);
    if (td_layer_stored_in_out(build, proj)) {
        phase = td_layer_project_grad(&at, phase, "proj", b, width, embed, tower->normed,
                                      tower->dfeature, proj, tower->dnormed);
    } else {
        td_layer_linear_grad_w(&at, phase, "proj", b, width, embed, tower->normed, tower->dfeature,
                               proj);
        phase = td_layer_linear_grad_x(&at, phase, "proj", b, width, embed, tower->dfeature, proj,
                                       tower->dnormed, TD_ACT_NONE, NULL);
    }
    return td_layer_norm_grad(&at, phase, "post", b, width, tower->dnormed, tower->pooled,
                              tower->mean_post, tower->rstd_post, post, NULL, tower->dpooled);
}

/* Attention pooling: one learned probe asks all tokens; then a perceptron on its answer. */
static int map_forward(const td_build *build, td_tower *tower, int phase, float *z) {
    int64_t width = tower->shape->width, mlp = tower->shape->mlp, heads = tower->shape->heads;
    int64_t b = build->rows, n = tower->tokens, m = b * n;
    td_plan *plan = build->plan;
    td_layer at = {build, tower->tag, -1};
    tower->normed = TD_PLAN_ARRAY(plan, float, m *width);
    tower->mean_post = TD_PLAN_ARRAY(plan, float, m);
    tower->rstd_post = TD_PLAN_ARRAY(plan, float, m);
    tower->map.q = TD_PLAN_ARRAY(plan, float, width);
    tower->map.kv = TD_PLAN_ARRAY(plan, float, m * 2 * width);
    tower->map.o = TD_PLAN_ARRAY(plan, float, b *width);
    tower->map.lse = TD_PLAN_ARRAY(plan, float, b *heads);
    tower->map.y = TD_PLAN_ARRAY(plan, float, b *width);
    tower->map.mean = TD_PLAN_ARRAY(plan, float, b);
    tower->map.rstd = TD_PLAN_ARRAY(plan, float, b);
    tower->map.h = TD_PLAN_ARRAY(plan, float, b *width);
    tower->map.pre = TD_PLAN_ARRAY(plan, float, b *mlp);
    tower->map.act = TD_PLAN_ARRAY(plan, float, b *mlp);
    tower->feature = TD_PLAN_ARRAY(plan, float, b *width);
    td_layer_linear(&at, phase, "map.q", 1, width, width,
                    td_layer_weight(build, TD_ROLE_v_probe, 0), TD_ROLE_v_map_q_w,
                    &(td_linear_extra){.y = tower->map.q});
    phase = td_layer_norm(&at, phase, "post", m, width, tower->out, TD_ROLE_v_post_w, tower->normed,
                          tower->mean_post, tower->rstd_post);
    phase = td_layer_linear(&at, phase, "map.kv", m, width, 2 * width, tower->normed,
                            TD_ROLE_v_map_kv_w, &(td_linear_extra){.y = tower->map.kv});
    td_attention_f32_args attention = td_layer_map_attention(build, tower);
    phase = td_layer_op(&at, phase, TD_OP_attention_f32, &attention, "attention", "map.attention");
    phase = td_layer_linear(&at, phase, "map.out", b, width, width, tower->map.o,
                            TD_ROLE_v_map_out_w, &(td_linear_extra){.y = tower->map.y});
    phase = td_layer_norm(&at, phase, "map.ln", b, width, tower->map.y, TD_ROLE_v_map_ln_w,
                          tower->map.h, tower->map.mean, tower->map.rstd);
    phase = td_layer_linear(&at, phase, "map.fc1", b, width, mlp, tower->map.h, TD_ROLE_v_map_fc1_w,
                            &(td_linear_extra){.y = tower->map.act,
                                               .act = build->config->act,
                                               .preact = tower->map.pre});
    phase =
        td_layer_linear(&at, phase, "map.fc2", b, mlp, width, tower->map.act, TD_ROLE_v_map_fc2_w,
                        &(td_linear_extra){.y = tower->feature, .residual = tower->map.y});
    return td_layer_l2norm(&at, phase, tower, z);
}

/* The probe and its projection serve every sample, so their gradients are sums over samples like
 * any other: the query's gradient is kept per sample, and the probe stands in for a batch of equal
 * inputs. */
static int map_probe_backward(const td_build *build, td_tower *tower, int phase, const float *dq) {
    int64_t width = tower->shape->width, b = build->rows;
    td_layer at = {build, tower->tag, -1};
    float *dprobes = TD_PLAN_ARRAY(build->plan, float, b *width);
    td_layer_linear_grad_w(&at, phase, "map.q", b, width, width, tower->map.probes, dq,
                           TD_ROLE_v_map_q_w);
    phase = td_layer_linear_grad_x(&at, phase, "map.q", b, width, width, dq, TD_ROLE_v_map_q_w,
                                   dprobes, TD_ACT_NONE, NULL);
    return td_layer_colsum(&at, phase, "map.probe.db", b, width, width, dprobes, TD_ROLE_v_probe);
}

static int map_backward(const td_build *build, td_tower *tower, int phase, const float *dz) {
    int64_t width = tower->shape->width, mlp = tower->shape->mlp, b = build->rows,
            m = b * tower->tokens;
    td_plan *plan = build->plan;
    td_layer at = {build, tower->tag, -1};
    float *dact = TD_PLAN_ARRAY(plan, float, b *mlp), *dh = TD_PLAN_ARRAY(plan, float, b *width);
    float *dy = TD_PLAN_ARRAY(plan, float, b *width), *d_o = TD_PLAN_ARRAY(plan, float, b *width);
    float *dq = TD_PLAN_ARRAY(plan, float, b *width), *dkv = tower->dwide;
    tower->map.probes = TD_PLAN_ARRAY(plan, float, b *width);
    td_rows_copy_f32_args repeat = {.groups = b,
                                    .rows = 1,
                                    .cols = width,
                                    .from = td_layer_weight(build, TD_ROLE_v_probe, 0),
                                    .from_group = 0,
                                    .from_ld = width,
                                    .to = tower->map.probes,
                                    .to_group = width,
                                    .to_ld = width};
    td_layer_op(&at, phase, TD_OP_rows_copy_f32, &repeat, "pool", "map.probes");
    phase = td_layer_l2norm_grad(&at, phase, tower, dz);
    td_layer_linear_grad_w(&at, phase, "map.fc2", b, mlp, width, tower->map.act, tower->dfeature,
                           TD_ROLE_v_map_fc2_w);
    phase = td_layer_linear_grad_x(&at, phase, "map.fc2", b, mlp, width, tower->dfeature,
                                   TD_ROLE_v_map_fc2_w, dact, build->config->act, tower->map.pre);
    td_layer_linear_grad_w(&at, phase, "map.fc1", b, width, mlp, tower->map.h, dact,
                           TD_ROLE_v_map_fc1_w);
    phase = td_layer_linear_grad_x(&at, phase, "map.fc1", b, width, mlp, dact, TD_ROLE_v_map_fc1_w,
                                   dh, TD_ACT_NONE, NULL);
    phase = td_layer_norm_grad(&at, phase, "map.ln", b, width, dh, tower->map.y, tower->map.mean,
                               tower->map.rstd, TD_ROLE_v_map_ln_w, tower->dfeature, dy);
    td_layer_linear_grad_w(&at, phase, "map.out", b, width, width, tower->map.o, dy,
                           TD_ROLE_v_map_out_w);
    phase = td_layer_linear_grad_x(&at, phase, "map.out", b, width, width, dy, TD_ROLE_v_map_out_w,
                                   d_o, TD_ACT_NONE, NULL);
    td_attention_grad_f32_args attention = {.forward = td_layer_map_attention(build, tower),
                                            .d_o = d_o,
                                            .dq = dq,
                                            .dk = dkv,
                                            .dv = td_at(dkv, width),
                                            .dq_seq = width,
                                            .dq_row = width,
                                            .dkv_seq = tower->tokens * 2 * width,
                                            .dkv_row = 2 * width};
    phase = td_layer_op(&at, phase, TD_OP_attention_grad_f32, &attention, "attention",
                        "map.attention.grad");
    map_probe_backward(build, tower, phase, dq);
    td_layer_attention_in_grad_w(&at, phase, "map.kv", m, width, 2, tower->normed, dkv,
                                 TD_ROLE_v_map_kv_w);
    phase = td_layer_linear_grad_x(&at, phase, "map.kv", m, width, 2 * width, dkv,
                                   TD_ROLE_v_map_kv_w, tower->dh, TD_ACT_NONE, NULL);
    return td_layer_norm_grad(&at, phase, "post", m, width, tower->dh, tower->out, tower->mean_post,
                              tower->rstd_post, TD_ROLE_v_post_w, NULL, tower->dx);
}

int td_vision_forward(const td_build *build, td_tower *tower, int phase, float *z) {
    const td_model_config *config = build->config;
    int64_t width = config->vision.width, patches = td_model_patches(config), b = build->rows;
    int64_t column = 3 * config->patch * config->patch;
    bool clip = config->family == TD_FAMILY_CLIP;
    *tower = (td_tower){.shape = &config->vision,
                        .tag = 'v',
                        .ln1 = TD_ROLE_v_ln1_w,
                        .tokens = td_model_vision_tokens(config)};
    int64_t m = b * tower->tokens;
    td_layer at = {build, 'v', -1};
    tower->patches = TD_PLAN_ARRAY(build->plan, float, b *patches *column);
    tower->embedded = TD_PLAN_ARRAY(build->plan, float, b *patches *width);
    float *x = TD_PLAN_ARRAY(build->plan, float, m *width);
    td_im2col_f32_args im2col = {
        .batch = b, .size = config->image_size, .patch = config->patch, .patches = tower->patches};
    phase = td_layer_op(&at, phase, TD_OP_im2col_f32, &im2col, "patchify", "im2col");
    phase = td_layer_linear(&at, phase, "patch", b * patches, column, width, tower->patches,
                            TD_ROLE_v_patch_w, &(td_linear_extra){.y = tower->embedded});
    tower->tokens_in = clip ? TD_PLAN_ARRAY(build->plan, float, m *width) : x;
    td_tokens_assemble_f32_args assemble = {.batch = b,
                                            .tokens = tower->tokens,
                                            .width = width,
                                            .patches = tower->embedded,
                                            .cls = clip ? td_layer_weight(build, TD_ROLE_v_class, 0)
                                                        : NULL,
                                            .pos = td_layer_weight(build, TD_ROLE_v_pos, 0),
                                            .x = tower->tokens_in};
    phase = td_layer_op(&at, phase, TD_OP_tokens_assemble_f32, &assemble, "patchify", "assemble");
    if (clip) {
        tower->mean_pre = TD_PLAN_ARRAY(build->plan, float, m);
        tower->rstd_pre = TD_PLAN_ARRAY(build->plan, float, m);
        phase = td_layer_norm(&at, phase, "pre", m, width, tower->tokens_in, TD_ROLE_v_pre_w, x,
                              tower->mean_pre, tower->rstd_pre);
    }
    plan_stack(build, tower, x);
    phase = stack_forward(build, tower, phase);
    if (!clip) {
        return map_forward(build, tower, phase, z);
    }
    phase = td_layer_pool(&at, phase, tower, TD_POOL_TOKEN, 0);
    return head_forward(build, tower, phase, TD_ROLE_v_post_w, TD_ROLE_v_proj, z);
}

int td_vision_backward(const td_build *build, td_tower *tower, int phase, const float *dz) {
    const td_model_config *config = build->config;
    int64_t width = config->vision.width, patches = td_model_patches(config), b = build->rows;
    int64_t m = b * tower->tokens, column = 3 * config->patch * config->patch;
    td_layer at = {build, 'v', -1};
    const float *dpatches = tower->dx;
    if (config->family == TD_FAMILY_SIGLIP) {
        phase = map_backward(build, tower, phase, dz);
        phase = stack_backward(build, tower, phase);
    } else {
        phase = head_backward(build, tower, phase, TD_ROLE_v_post_w, TD_ROLE_v_proj, dz);
        phase = td_layer_pool_grad(&at, phase, tower, TD_POOL_TOKEN, 0);
        phase = stack_backward(build, tower, phase);
        phase =
            td_layer_norm_grad(&at, phase, "pre", m, width, tower->dx, tower->tokens_in,
                               tower->mean_pre, tower->rstd_pre, TD_ROLE_v_pre_w, NULL, tower->dx2);
        td_layer_colsum(&at, phase, "class.dw", b, width, tower->tokens * width, tower->dx2,
                        TD_ROLE_v_class);
        td_layer_colsum(&at, phase, "pos.dw", b, tower->tokens * width, tower->tokens * width,
                        tower->dx2, TD_ROLE_v_pos);
        /* The patch embedding saw no class token: its gradient rows are gathered into one dense
         * matrix. */
        td_rows_copy_f32_args gather = {.groups = b,
                                        .rows = patches,
                                        .cols = width,
                                        .from = td_at(tower->dx2, width),
                                        .from_group = tower->tokens * width,
                                        .from_ld = width,
                                        .to = tower->dh,
                                        .to_group = patches * width,
                                        .to_ld = width};
        phase = td_layer_op(&at, phase, TD_OP_rows_copy_f32, &gather, "patchify", "patch.gather");
        dpatches = tower->dh;
    }
    if (config->family == TD_FAMILY_SIGLIP) {
        td_layer_colsum(&at, phase, "pos.dw", b, tower->tokens * width, tower->tokens * width,
                        tower->dx, TD_ROLE_v_pos);
    }
    return td_layer_linear_grad_w(&at, phase, "patch", b * patches, column, width, tower->patches,
                                  dpatches, TD_ROLE_v_patch_w);
}

/* CLIP's text is pooled at its end token, the largest id; SigLIP's at the last position. */
static td_pool text_pool(const td_model_config *config) {
    return config->family == TD_FAMILY_CLIP ? TD_POOL_EOT : TD_POOL_TOKEN;
}

int td_text_forward(const td_build *build, td_tower *tower, int phase, const int32_t *ids,
                    float *z) {
    const td_model_config *config = build->config;
    int64_t width = config->text.width, b = build->rows;
    *tower = (td_tower){.shape = &config->text,
                        .tag = 't',
                        .ln1 = TD_ROLE_t_ln1_w,
                        .tokens = config->context,
                        .causal = config->causal,
                        .ids = ids};
    td_layer at = {build, 't', -1};
    float *x = TD_PLAN_ARRAY(build->plan, float, b * tower->tokens * width);
    td_embedding_f32_args embed = {.batch = b,
                                   .tokens = tower->tokens,
                                   .width = width,
                                   .vocab = config->vocab,
                                   .ids = ids,
                                   .table = td_layer_weight(build, TD_ROLE_t_embed, 0),
                                   .pos = td_layer_weight(build, TD_ROLE_t_pos, 0),
                                   .x = x};
    if (build->training) {
        tower->order = TD_PLAN_ARRAY(build->plan, int32_t, b * tower->tokens);
        tower->start = TD_PLAN_ARRAY(build->plan, int32_t, config->vocab + 1);
        td_embedding_sort_i32_args sort = {.n = b * tower->tokens,
                                           .vocab = config->vocab,
                                           .ids = ids,
                                           .order = tower->order,
                                           .start = tower->start};
        td_layer_op(&at, phase, TD_OP_embedding_sort_i32, &sort, "embedding", "sort");
    }
    phase = td_layer_op(&at, phase, TD_OP_embedding_f32, &embed, "embedding", "embed");
    plan_stack(build, tower, x);
    phase = stack_forward(build, tower, phase);
    phase = td_layer_pool(&at, phase, tower, text_pool(config), tower->tokens - 1);
    return head_forward(build, tower, phase, TD_ROLE_t_post_w, TD_ROLE_t_proj, z);
}

int td_text_backward(const td_build *build, td_tower *tower, int phase, const float *dz) {
    const td_model_config *config = build->config;
    int64_t width = config->text.width, b = build->rows;
    td_layer at = {build, 't', -1};
    phase = head_backward(build, tower, phase, TD_ROLE_t_post_w, TD_ROLE_t_proj, dz);
    phase = td_layer_pool_grad(&at, phase, tower, text_pool(config), tower->tokens - 1);
    phase = stack_backward(build, tower, phase);
    td_embedding_grad_f32_args table = {.n = b * tower->tokens,
                                        .vocab = config->vocab,
                                        .width = width,
                                        .blocks = build->blocks,
                                        .order = tower->order,
                                        .start = tower->start,
                                        .dx = tower->dx,
                                        .dtable = td_layer_grad(build, TD_ROLE_t_embed, 0)};
    td_layer_op(&at, phase, TD_OP_embedding_grad_f32, &table, "embedding", "embed.dw");
    return td_layer_colsum(&at, phase, "pos.dw", b, tower->tokens * width, tower->tokens * width,
                           tower->dx, TD_ROLE_t_pos);
}
