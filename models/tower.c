/* SPDX-License-Identifier: Apache-2.0 */
#include "models/tower.h"

#include <stddef.h>

#include "base/rng.h"
#include "models/block.h"
#include "models/layer.h"

/* The pooled rows (clip's vision, both texts): norm, projection, l2 normalisation. A pruned stack
 * gives them already. */
static int head_forward(const td_build *build, td_tower *tower, int phase, td_role post,
                        td_role proj, float *z) {
    int64_t width = tower->shape->width, embed = build->config->embed, b = build->rows;
    td_layer at = {build, tower->tag, -1, NULL};
    tower->normed = TD_PLAN_ARRAY(build->plan, float, b *width);
    tower->mean_post = TD_PLAN_ARRAY(build->plan, float, b);
    tower->rstd_post = TD_PLAN_ARRAY(build->plan, float, b);
    tower->feature = TD_PLAN_ARRAY(build->plan, float, b *embed);
    if (!tower->pruned) {
        tower->pooled = TD_PLAN_ARRAY(build->plan, float, b *width);
        phase = td_layer_pool(&at, phase, "pool", tower, tower->out, tower->pooled);
    }
    phase = td_layer_norm(&at, phase, "post", b, width, tower->pooled, post, td_f32(tower->normed),
                          tower->mean_post, tower->rstd_post);
    if (td_layer_stored_in_out(build, proj)) {
        phase = td_layer_project(&at, phase, "proj", b, width, embed, tower->normed, proj,
                                 tower->feature);
    } else {
        phase = td_layer_linear(&at, phase, "proj", b, width, embed, td_f32(tower->normed), proj,
                                &(td_linear_extra){.y = td_f32(tower->feature)});
    }
    return td_layer_l2norm(&at, phase, tower, z);
}

static int head_backward(const td_build *build, td_tower *tower, int phase, td_role post,
                         td_role proj, const float *dz) {
    int64_t width = tower->shape->width, embed = build->config->embed, b = build->rows;
    td_layer at = {build, tower->tag, -1, NULL};
    tower->dnormed = TD_PLAN_ARRAY(build->plan, float, b *width);
    tower->dpooled = TD_PLAN_ARRAY(build->plan, float, b *width);
    phase = td_layer_l2norm_grad(&at, phase, tower, dz);
    if (td_layer_stored_in_out(build, proj)) {
        phase = td_layer_project_grad(&at, phase, "proj", b, width, embed, tower->normed,
                                      tower->dfeature, proj, tower->dnormed);
    } else {
        td_layer_linear_grad_w(&at, phase, "proj", b, width, embed, td_f32(tower->normed),
                               td_f32(tower->dfeature), proj);
        phase = td_layer_linear_grad_x(&at, phase, "proj", b, width, embed, td_f32(tower->dfeature),
                                       proj, td_f32(tower->dnormed), TD_ACT_NONE, (td_operand){0});
    }
    td_layer_update(&at, phase, "proj", proj, 2);
    phase = td_layer_norm_grad(&at, phase, "post", b, width, tower->dnormed, tower->pooled,
                               tower->mean_post, tower->rstd_post, post, NULL, tower->dpooled);
    td_layer_update(&at, phase, "post", post, 2);
    return tower->pruned
               ? phase
               : td_layer_unpool(&at, phase, "unpool", tower, tower->dpooled, tower->dx, width);
}

/* Attention pooling: one learned probe asks all tokens; then a perceptron on its answer. */
static int map_forward(const td_build *build, td_tower *tower, int phase, float *z) {
    int64_t width = tower->shape->width, mlp = tower->shape->mlp, heads = tower->shape->heads;
    int64_t b = build->rows, n = tower->tokens, m = b * n;
    td_plan *plan = build->plan;
    td_layer at = {build, tower->tag, -1, NULL};
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
                    td_f32(td_layer_weight(build, TD_ROLE_v_probe, 0)), TD_ROLE_v_map_q_w,
                    &(td_linear_extra){.y = td_f32(tower->map.q)});
    phase = td_layer_norm(&at, phase, "post", m, width, tower->out, TD_ROLE_v_post_w,
                          td_f32(tower->normed), tower->mean_post, tower->rstd_post);
    phase = td_layer_linear(&at, phase, "map.kv", m, width, 2 * width, td_f32(tower->normed),
                            TD_ROLE_v_map_kv_w, &(td_linear_extra){.y = td_f32(tower->map.kv)});
    td_attention_f32_args attention = td_layer_map_attention(build, tower);
    phase = td_layer_op(&at, phase, td_precision_attention(build->precision), &attention,
                        "attention", "map.attention");
    phase = td_layer_linear(&at, phase, "map.out", b, width, width, td_f32(tower->map.o),
                            TD_ROLE_v_map_out_w, &(td_linear_extra){.y = td_f32(tower->map.y)});
    phase = td_layer_norm(&at, phase, "map.ln", b, width, tower->map.y, TD_ROLE_v_map_ln_w,
                          td_f32(tower->map.h), tower->map.mean, tower->map.rstd);
    phase = td_layer_linear(&at, phase, "map.fc1", b, width, mlp, td_f32(tower->map.h),
                            TD_ROLE_v_map_fc1_w,
                            &(td_linear_extra){.y = td_f32(tower->map.act),
                                               .act = tower->shape->act,
                                               .preact = td_f32(tower->map.pre)});
    phase = td_layer_linear(
        &at, phase, "map.fc2", b, mlp, width, td_f32(tower->map.act), TD_ROLE_v_map_fc2_w,
        &(td_linear_extra){.y = td_f32(tower->feature), .residual = tower->map.y});
    return td_layer_l2norm(&at, phase, tower, z);
}

/* The probe and its projection serve every sample, so their gradients are sums over samples like
 * any other: the query's gradient is kept per sample, and the probe stands in for a batch of equal
 * inputs. */
static int map_probe_backward(const td_build *build, td_tower *tower, int phase, float *dq) {
    int64_t width = tower->shape->width, b = build->rows;
    td_layer at = {build, tower->tag, -1, NULL};
    float *dprobes = TD_PLAN_ARRAY(build->plan, float, b *width);
    td_layer_linear_grad_w(&at, phase, "map.q", b, width, width, td_f32(tower->map.probes),
                           td_f32(dq), TD_ROLE_v_map_q_w);
    phase =
        td_layer_linear_grad_x(&at, phase, "map.q", b, width, width, td_f32(dq), TD_ROLE_v_map_q_w,
                               td_f32(dprobes), TD_ACT_NONE, (td_operand){0});
    td_layer_update(&at, phase, "map.q", TD_ROLE_v_map_q_w, 2);
    phase = td_layer_colsum(&at, phase, "map.probe.db", b, width, width, dprobes, TD_ROLE_v_probe);
    return td_layer_update(&at, phase, "map.probe", TD_ROLE_v_probe, 1);
}

static int map_backward(const td_build *build, td_tower *tower, int phase, const float *dz) {
    int64_t width = tower->shape->width, mlp = tower->shape->mlp, b = build->rows,
            m = b * tower->tokens;
    td_plan *plan = build->plan;
    td_layer at = {build, tower->tag, -1, NULL};
    float *dact = TD_PLAN_ARRAY(plan, float, b *mlp), *dh = TD_PLAN_ARRAY(plan, float, b *width);
    float *dy = TD_PLAN_ARRAY(plan, float, b *width), *d_o = TD_PLAN_ARRAY(plan, float, b *width);
    float *dq = TD_PLAN_ARRAY(plan, float, b *width), *dkv = tower->wide;
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
    td_layer_linear_grad_w(&at, phase, "map.fc2", b, mlp, width, td_f32(tower->map.act),
                           td_f32(tower->dfeature), TD_ROLE_v_map_fc2_w);
    phase = td_layer_linear_grad_x(&at, phase, "map.fc2", b, mlp, width, td_f32(tower->dfeature),
                                   TD_ROLE_v_map_fc2_w, td_f32(dact), tower->shape->act,
                                   td_f32(tower->map.pre));
    td_layer_update(&at, phase, "map.fc2", TD_ROLE_v_map_fc2_w, 2);
    td_layer_linear_grad_w(&at, phase, "map.fc1", b, width, mlp, td_f32(tower->map.h), td_f32(dact),
                           TD_ROLE_v_map_fc1_w);
    phase = td_layer_linear_grad_x(&at, phase, "map.fc1", b, width, mlp, td_f32(dact),
                                   TD_ROLE_v_map_fc1_w, td_f32(dh), TD_ACT_NONE, (td_operand){0});
    td_layer_update(&at, phase, "map.fc1", TD_ROLE_v_map_fc1_w, 2);
    phase = td_layer_norm_grad(&at, phase, "map.ln", b, width, dh, tower->map.y, tower->map.mean,
                               tower->map.rstd, TD_ROLE_v_map_ln_w, tower->dfeature, dy);
    td_layer_update(&at, phase, "map.ln", TD_ROLE_v_map_ln_w, 2);
    td_layer_linear_grad_w(&at, phase, "map.out", b, width, width, td_f32(tower->map.o), td_f32(dy),
                           TD_ROLE_v_map_out_w);
    phase = td_layer_linear_grad_x(&at, phase, "map.out", b, width, width, td_f32(dy),
                                   TD_ROLE_v_map_out_w, td_f32(d_o), TD_ACT_NONE, (td_operand){0});
    td_layer_update(&at, phase, "map.out", TD_ROLE_v_map_out_w, 2);
    td_attention_grad_f32_args attention = {.forward = td_layer_map_attention(build, tower),
                                            .d_o = d_o,
                                            .dq = dq,
                                            .dk = dkv,
                                            .dv = td_at(dkv, width),
                                            .dq_seq = width,
                                            .dq_row = width,
                                            .dkv_seq = tower->tokens * 2 * width,
                                            .dkv_row = 2 * width};
    phase = td_layer_op(&at, phase, td_precision_attention_grad(build->precision), &attention,
                        "attention", "map.attention.grad");
    map_probe_backward(build, tower, phase, dq);
    td_layer_attention_in_grad_w(&at, phase, "map.kv", m, width, (td_parts){2, 0, 2},
                                 td_f32(tower->normed), dkv, 2 * width, TD_ROLE_v_map_kv_w);
    phase =
        td_layer_linear_grad_x(&at, phase, "map.kv", m, width, 2 * width, td_f32(dkv),
                               TD_ROLE_v_map_kv_w, td_f32(tower->dh), TD_ACT_NONE, (td_operand){0});
    td_layer_update(&at, phase, "map.kv", TD_ROLE_v_map_kv_w, 2);
    phase =
        td_layer_norm_grad(&at, phase, "post", m, width, tower->dh, tower->out, tower->mean_post,
                           tower->rstd_post, TD_ROLE_v_post_w, NULL, tower->dx);
    td_layer_update(&at, phase, "post", TD_ROLE_v_post_w, 2);
    return phase;
}

/* What both towers start with: token rows of equal length, which text may change before a run. */
static void plan_rows(const td_build *build, td_tower *tower, td_plan *inputs) {
    int64_t b = build->rows, n = tower->tokens;
    tower->samples = b;
    tower->n_blocks = build->blocks;
    tower->position = TD_PLAN_ARRAY(inputs, int32_t, b * n);
    tower->pos_order = TD_PLAN_ARRAY(inputs, int32_t, b * n);
    tower->pos_start = TD_PLAN_ARRAY(inputs, int32_t, tower->positions + 1);
    tower->seq.starts = TD_PLAN_ARRAY(inputs, int64_t, b + 1);
    tower->seq.pooled = TD_PLAN_ARRAY(inputs, int64_t, b);
    tower->seq.rows = b * n;
    tower->seq.hidden = b * n * tower->shape->mlp;
    for (int64_t block = 0; block <= build->blocks; block++) {
        tower->seq.blocks[block] = b * n / build->blocks * block;
    }
    for (int64_t s = 0; s <= b && tower->seq.starts != NULL; s++) {
        tower->seq.starts[s] = s * n;
    }
    for (int64_t s = 0; s < b && tower->seq.starts != NULL; s++) {
        tower->seq.pooled[s] = s * n;
        for (int64_t t = 0; t < n; t++) {
            tower->position[s * n + t] = (int32_t)t;
        }
    }
}

/* Rows by position, for the gradient of the positional embedding: a position is an id of a small
 * table. */
static void sort_positions(const td_build *build, const td_tower *tower, int phase) {
    td_layer at = td_layer_of(build, tower, -1);
    td_embedding_sort_i32_args sort = {.n = build->rows * tower->tokens,
                                       .vocab = tower->positions,
                                       .ids = tower->position,
                                       .order = tower->pos_order,
                                       .start = tower->pos_start};
    td_layer_op(&at, phase, TD_OP_embedding_sort_i32, &sort, "embedding", "pos.sort");
    if (at.seq != NULL) {
        td_program_vary(build->program, offsetof(td_embedding_sort_i32_args, n), &at.seq->rows);
    }
}

/* table (vocab, width): gradient of an embedding whose rows went to the rows of dx; compact: of
 * those of its rows that occur. */
static int embedding_grad(const td_build *build, const td_tower *tower, int phase, const char *name,
                          int64_t vocab, const int32_t *order, const int32_t *start,
                          const float *dx, float *dtable, bool compact) {
    td_layer at = td_layer_of(build, tower, -1);
    td_embedding_grad_f32_args args = {.n = build->rows * tower->tokens,
                                       .vocab = vocab,
                                       .width = tower->shape->width,
                                       .blocks = build->blocks,
                                       .starts = at.seq != NULL ? at.seq->blocks : NULL,
                                       .order = order,
                                       .start = start,
                                       .dx = dx,
                                       .dtable = dtable,
                                       .compact = compact};
    phase = td_layer_op(&at, phase, TD_OP_embedding_grad_f32, &args, "embedding", name);
    if (at.seq != NULL) {
        td_program_vary(build->program, offsetof(td_embedding_grad_f32_args, n), &at.seq->rows);
    }
    return phase;
}

static int position_grad(const td_build *build, const td_tower *tower, int phase, const float *dx,
                         td_role pos) {
    td_layer at = {build, tower->tag, -1, NULL};
    phase = embedding_grad(build, tower, phase, "pos.dw", tower->positions, tower->pos_order,
                           tower->pos_start, dx, td_layer_grad(build, pos, 0), false);
    return td_layer_update(&at, phase, "pos", pos, 1);
}

void td_vision_plan(const td_build *build, td_tower *tower, td_plan *inputs) {
    const td_model_config *config = build->config;
    bool clip = config->family == TD_FAMILY_CLIP;
    int64_t patches = td_model_patches(config);
    *tower = (td_tower){.shape = &config->vision,
                        .tag = 'v',
                        .ln1 = TD_ROLE_v_ln1_w,
                        .n_patches = patches,
                        .kept = build->kept > 0 ? build->kept : patches,
                        .pruned = clip && build->prune};
    tower->positions = td_model_vision_tokens(config);
    tower->tokens = tower->kept + tower->positions - patches;
    plan_rows(build, tower, inputs);
    if (tower->kept < patches) {
        tower->keep = TD_PLAN_ARRAY(inputs, int32_t, build->rows * tower->kept);
    }
}

/* The patches of all images as a matrix, in memory that the blocks use otherwise. */
static int patchify(const td_build *build, const td_tower *tower, int phase, const char *name) {
    td_layer at = {build, 'v', -1, NULL};
    td_im2col_f32_args im2col = {.batch = build->rows,
                                 .size = build->config->image_size,
                                 .patch = build->config->patch,
                                 .kept = tower->kept,
                                 .keep = tower->kept == tower->n_patches ? NULL : tower->keep,
                                 .patches = tower->wide};
    phase = td_layer_op(&at, phase, TD_OP_im2col_f32, &im2col, "patchify", name);
    td_program_vary(build->program, offsetof(td_im2col_f32_args, images), &tower->images);
    return phase;
}

/* The patches; their product; with class token and positions as rows of tokens_in. */
static int patch_forward(const td_build *build, td_tower *tower, int phase) {
    const td_model_config *config = build->config;
    bool clip = config->family == TD_FAMILY_CLIP, all = tower->kept == tower->n_patches;
    int64_t column = 3 * config->patch * config->patch, b = build->rows;
    td_layer at = {build, 'v', -1, NULL};
    td_tokens_assemble_f32_args assemble = {.batch = b,
                                            .tokens = tower->tokens,
                                            .width = tower->shape->width,
                                            .position = all ? NULL : tower->position,
                                            .patches = tower->h,
                                            .cls = clip ? td_layer_weight(build, TD_ROLE_v_class, 0)
                                                        : NULL,
                                            .pos = td_layer_weight(build, TD_ROLE_v_pos, 0),
                                            .x = tower->tokens_in};
    phase = patchify(build, tower, phase, "im2col");
    phase = td_layer_linear(&at, phase, "patch", b * tower->kept, column, tower->shape->width,
                            td_f32(tower->wide), TD_ROLE_v_patch_w,
                            &(td_linear_extra){.y = td_f32(tower->h)});
    return td_layer_op(&at, phase, TD_OP_tokens_assemble_f32, &assemble, "patchify", "assemble");
}

int td_vision_forward(const td_build *build, td_tower *tower, int phase, float *z) {
    const td_model_config *config = build->config;
    int64_t width = config->vision.width, b = build->rows, m = b * tower->tokens;
    int64_t column = 3 * config->patch * config->patch;
    bool clip = config->family == TD_FAMILY_CLIP;
    td_layer at = {build, 'v', -1, NULL};
    float *x = TD_PLAN_ARRAY(build->plan, float, m *width);
    tower->tokens_in = clip ? TD_PLAN_ARRAY(build->plan, float, m *width) : x;
    td_stack_plan(build, tower, x, b * tower->kept * column);
    if (build->training) {
        sort_positions(build, tower, phase);
    }
    phase = patch_forward(build, tower, phase);
    if (clip) {
        tower->mean_pre = TD_PLAN_ARRAY(build->plan, float, m);
        tower->rstd_pre = TD_PLAN_ARRAY(build->plan, float, m);
        phase = td_layer_norm(&at, phase, "pre", m, width, tower->tokens_in, TD_ROLE_v_pre_w,
                              td_f32(x), tower->mean_pre, tower->rstd_pre);
    }
    phase = td_stack_forward(build, tower, phase);
    return clip ? head_forward(build, tower, phase, TD_ROLE_v_post_w, TD_ROLE_v_proj, z)
                : map_forward(build, tower, phase, z);
}

/* From the gradient of the token rows to those of the positions, the class token and the patch
 * embedding, which saw no class token: its rows are gathered into one dense matrix. The patches are
 * made again, in the phase before, where no block needs `wide` any more: kept, they would be as
 * large as the images. */
static int patch_backward(const td_build *build, td_tower *tower, int phase, float *dtokens) {
    const td_model_config *config = build->config;
    int64_t width = config->vision.width, b = build->rows;
    int64_t column = 3 * config->patch * config->patch;
    td_layer at = {build, 'v', -1, NULL};
    patchify(build, tower, phase - 1, "im2col.again");
    int after = position_grad(build, tower, phase, dtokens, TD_ROLE_v_pos);
    if (config->family == TD_FAMILY_CLIP) {
        td_rows_copy_f32_args gather = {.groups = b,
                                        .rows = tower->kept,
                                        .cols = width,
                                        .from = dtokens == NULL ? NULL : dtokens + width,
                                        .from_group = tower->tokens * width,
                                        .from_ld = width,
                                        .to = tower->dx,
                                        .to_group = tower->kept * width,
                                        .to_ld = width};
        after = td_layer_colsum(&at, phase, "class.dw", b, width, tower->tokens * width, dtokens,
                                TD_ROLE_v_class);
        td_layer_update(&at, after, "class", TD_ROLE_v_class, 1);
        phase = td_layer_op(&at, phase, TD_OP_rows_copy_f32, &gather, "patchify", "patch.gather");
        dtokens = tower->dx;
    }
    phase = td_layer_linear_grad_w(&at, phase, "patch", b * tower->kept, column, width,
                                   td_f32(tower->wide), td_f32(dtokens), TD_ROLE_v_patch_w);
    phase = td_layer_update(&at, phase, "patch", TD_ROLE_v_patch_w, 2);
    return after > phase ? after : phase;
}

int td_vision_backward(const td_build *build, td_tower *tower, int phase, const float *dz) {
    int64_t width = tower->shape->width, m = build->rows * tower->tokens;
    td_layer at = {build, 'v', -1, NULL};
    if (build->config->family == TD_FAMILY_SIGLIP) {
        phase = map_backward(build, tower, phase, dz);
        phase = td_stack_backward(build, tower, phase);
        return patch_backward(build, tower, phase, tower->dx);
    }
    phase = head_backward(build, tower, phase, TD_ROLE_v_post_w, TD_ROLE_v_proj, dz);
    phase = td_stack_backward(build, tower, phase);
    phase = td_layer_norm_grad(&at, phase, "pre", m, width, tower->dx, tower->tokens_in,
                               tower->mean_pre, tower->rstd_pre, TD_ROLE_v_pre_w, NULL, tower->dh);
    td_layer_update(&at, phase, "pre", TD_ROLE_v_pre_w, 2);
    return patch_backward(build, tower, phase, tower->dh);
}

/* Which patches a sample keeps: the first of a shuffle that is drawn only as far as it is needed,
 * then in ascending order, so that positions ascend. */
static void choose_patches(int32_t *keep, int64_t kept, int64_t n, td_rng *rng) {
    uint64_t taken[(TD_MODEL_MAX_PATCHES + 63) / 64] = {0};
    for (int64_t i = 0; i < kept; i++) {
        /* Floyd's sampling: one draw for each, no retries. */
        uint64_t last = (uint64_t)(n - kept + i), pick = td_rng_below(rng, last + 1);
        pick = taken[pick / 64] >> pick % 64 & 1 ? last : pick;
        taken[pick / 64] |= UINT64_C(1) << pick % 64;
    }
    for (int64_t p = 0; p < n; p++) {
        if (taken[p / 64] >> p % 64 & 1) {
            *keep++ = (int32_t)p;
        }
    }
}

void td_vision_set_patches(td_tower *tower, uint64_t seed, int64_t step, int64_t first_sample) {
    int64_t kept = tower->kept, lead = tower->tokens - kept;
    for (int64_t s = 0; s < tower->samples && kept < tower->n_patches; s++) {
        int32_t *keep = tower->keep + s * kept, *position = tower->position + s * tower->tokens;
        /* A batch has at most 2^20 samples. */
        td_rng rng = td_rng_make(seed, TD_PURPOSE_PATCHES,
                                 (uint64_t)step << 20 | (uint64_t)(first_sample + s));
        choose_patches(keep, kept, tower->n_patches, &rng);
        for (int64_t i = 0; i < kept; i++) {
            position[lead + i] = keep[i] + (int32_t)lead;
        }
    }
}

/* CLIP's text is pooled at its end token, the largest id; SigLIP's at the last position. */
static bool pools_end_token(const td_model_config *config) {
    return config->family == TD_FAMILY_CLIP;
}

void td_text_plan(const td_build *build, td_tower *tower, td_plan *inputs) {
    const td_model_config *config = build->config;
    *tower = (td_tower){.shape = &config->text,
                        .tag = 't',
                        .ln1 = TD_ROLE_t_ln1_w,
                        .tokens = config->context,
                        .positions = config->context,
                        .causal = config->causal,
                        .packed = build->pack && config->causal && pools_end_token(config),
                        .end_token = pools_end_token(config),
                        .pruned = build->prune};
    plan_rows(build, tower, inputs);
    int64_t most = build->rows * tower->tokens;
    tower->ids = TD_PLAN_ARRAY(inputs, int32_t, most);
    tower->order = TD_PLAN_ARRAY(inputs, int32_t, most);
    tower->start = TD_PLAN_ARRAY(inputs, int32_t, config->vocab + 1);
    if (tower->causal && !tower->packed) {
        tower->seq.seen = TD_PLAN_ARRAY(inputs, int64_t, build->rows);
    }
    for (int64_t i = 0; i < most && tower->ids != NULL; i++) {
        tower->ids[i] = 0;
    }
    for (int64_t s = 0; s < build->rows && tower->seq.seen != NULL; s++) {
        tower->seq.seen[s] = tower->tokens;
    }
}

/* The first position of the largest id: the end-of-text token has the largest id of a vocabulary.
 */
static int64_t end_of_text(const int32_t *tokens, int64_t n) {
    int64_t best = 0;
    for (int64_t t = 1; t < n; t++) {
        best = tokens[t] > tokens[best] ? t : best;
    }
    return best;
}

void td_text_set_tokens(td_tower *tower, const int32_t *tokens) {
    td_sequences *seq = &tower->seq;
    int64_t n = tower->tokens, row = 0;
    for (int64_t s = 0; s < tower->samples; s++, tokens += n) {
        int64_t pooled = tower->end_token ? end_of_text(tokens, n) : n - 1;
        int64_t length = tower->packed ? pooled + 1 : n;
        if (s % (tower->samples / tower->n_blocks) == 0) {
            seq->blocks[s / (tower->samples / tower->n_blocks)] = row;
        }
        seq->starts[s] = row;
        seq->pooled[s] = row + pooled;
        if (seq->seen != NULL) {
            seq->seen[s] = pooled + 1;
        }
        for (int64_t t = 0; t < length; t++, row++) {
            tower->ids[row] = tokens[t];
            tower->position[row] = (int32_t)t;
        }
    }
    seq->starts[tower->samples] = seq->blocks[tower->n_blocks] = seq->rows = row;
    seq->hidden = row * tower->shape->mlp;
}

int td_text_forward(const td_build *build, td_tower *tower, int phase, float *z) {
    const td_model_config *config = build->config;
    int64_t width = config->text.width, most = build->rows * tower->tokens;
    td_layer at = td_layer_of(build, tower, -1);
    float *x = TD_PLAN_ARRAY(build->plan, float, most *width);
    td_embedding_f32_args embed = {.n = most,
                                   .width = width,
                                   .vocab = config->vocab,
                                   .positions = tower->positions,
                                   .ids = tower->ids,
                                   .position = tower->position,
                                   .table = td_layer_weight(build, TD_ROLE_t_embed, 0),
                                   .pos = td_layer_weight(build, TD_ROLE_t_pos, 0),
                                   .x = x};
    if (build->training) {
        td_embedding_sort_i32_args sort = {.n = most,
                                           .vocab = config->vocab,
                                           .ids = tower->ids,
                                           .order = tower->order,
                                           .start = tower->start};
        td_layer_op(&at, phase, TD_OP_embedding_sort_i32, &sort, "embedding", "sort");
        if (at.seq != NULL) {
            td_program_vary(build->program, offsetof(td_embedding_sort_i32_args, n), &at.seq->rows);
        }
        sort_positions(build, tower, phase);
    }
    phase = td_layer_op(&at, phase, TD_OP_embedding_f32, &embed, "embedding", "embed");
    if (at.seq != NULL) {
        td_program_vary(build->program, offsetof(td_embedding_f32_args, n), &at.seq->rows);
    }
    td_stack_plan(build, tower, x, 0);
    phase = td_stack_forward(build, tower, phase);
    return head_forward(build, tower, phase, TD_ROLE_t_post_w, TD_ROLE_t_proj, z);
}

int td_text_backward(const td_build *build, td_tower *tower, int phase, const float *dz) {
    phase = head_backward(build, tower, phase, TD_ROLE_t_post_w, TD_ROLE_t_proj, dz);
    phase = td_stack_backward(build, tower, phase);
    bool early = build->update->early;
    float *dtable = early ? tower->dh : td_layer_grad(build, TD_ROLE_t_embed, 0);
    int after = embedding_grad(build, tower, phase, "embed.dw", build->config->vocab, tower->order,
                               tower->start, tower->dx, dtable, early);
    td_update_tensors(build->update, build->program, after, TD_ROLE_t_embed, 1, 0, dtable,
                      (td_compact_rows){tower->shape->width, tower->start}, "t.embed.update");
    return position_grad(build, tower, phase, tower->dx, TD_ROLE_t_pos); /* the same phases */
}

td_status td_tower_forward_bytes(const td_build *like, bool image, int64_t *out) {
    td_build build = *like;
    td_plan inputs = {0}, activations = {0};
    td_tower *tower = td_alloc_zero(sizeof(*tower));
    TD_TRY(td_program_create(&build.program));
    if (tower == NULL) {
        td_program_destroy(build.program);
        return td_fail(TD_ENOMEM, "no memory to plan a tower");
    }
    build.plan = &activations;
    build.params = build.grads = NULL;
    build.training = false;
    (image ? td_vision_plan : td_text_plan)(&build, tower, &inputs);
    (void)(image ? td_vision_forward : td_text_forward)(&build, tower, 0, NULL);
    *out = (int64_t)activations.used_bytes;
    td_status status = td_program_finish(build.program, 1);
    td_program_destroy(build.program);
    td_free(tower);
    return status;
}
