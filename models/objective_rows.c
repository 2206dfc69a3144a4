/* SPDX-License-Identifier: Apache-2.0
 * Losses by own rows against the whole batch: strips that are computed twice, or scores that are
 * stored between GEMMs.
 */
#include <string.h>

#include "kernels/contrastive/contrastive_plan.h"
#include "models/layer.h"
#include "models/objective_build.h"

/* Samples in order inside a block, image direction before text direction of each. The two-way
 * gradient has both directions' terms in either, so one of them has the whole d logit_scale. */
static void sum_rows(void *arg) {
    td_objective *o = arg;
    int64_t per_block = o->split.batch / o->split.blocks;
    bool text = o->way != TD_WAY_FULL, sigmoid = o->kind == TD_LOSS_SIGMOID;
    for (int64_t b = 0; b < td_split_n_blocks(&o->split, o->split.rank); b++) {
        td_block_sums *sums = &td_objective_sums(o)[b];
        sums->loss = sums->dscale = sums->dbias = 0;
        for (int64_t i = b * per_block; i < (b + 1) * per_block; i++) {
            sums->loss += (double)o->image.loss[i] + (text ? (double)o->text.loss[i] : 0);
            sums->dscale += (double)o->image.dscale[i];
            sums->dscale += o->way == TD_WAY_LOCAL ? (double)o->text.dscale[i] : 0;
            sums->dbias += sigmoid ? (double)o->image.dbias[i] : 0;
        }
    }
}

static void count_product(td_objective *o, int64_t rows) {
    o->cost.products += (double)rows * (double)o->split.batch * (double)o->embed;
}

static int strip_pass(td_objective *o, td_program *program, int phase, td_features *x,
                      const td_features *y, bool gradient, const char *name) {
    const td_split *s = &o->split;
    int64_t rows = td_split_rows(s, s->rank);
    count_product(o, rows);
    if (gradient) {
        count_product(o, rows);
        return TD_PROGRAM_ADD(program, phase, contrastive_grad_f32, "loss", name, .rows = rows,
                              .batch = s->batch, .dim = o->embed, .x = x->own,
                              .offset = td_split_first_row(s, s->rank), .y = y->all,
                              .scale = o->scale, .row_state = x->sums_own, .col_state = y->sums_all,
                              .dx = x->d_own, .row_loss = x->loss, .row_dscale = x->dscale);
    }
    return TD_PROGRAM_ADD(program, phase, contrastive_lse_f32, "loss", name, .rows = rows,
                          .batch = s->batch, .dim = o->embed, .x = x->own, .y = y->all,
                          .scale = o->scale, .state = x->sums_own);
}

static int build_two_way(td_objective *o, td_program *program, int phase) {
    strip_pass(o, program, phase, &o->image, &o->text, false, "loss.lse.image");
    phase = strip_pass(o, program, phase, &o->text, &o->image, false, "loss.lse.text");
    phase = td_objective_gather(o, program, phase, o->image.sums_slots, o->image.sums_all, 2,
                                "loss.gather.lse.image");
    phase = td_objective_gather(o, program, phase, o->text.sums_slots, o->text.sums_all, 2,
                                "loss.gather.lse.text");
    strip_pass(o, program, phase, &o->image, &o->text, true, "loss.grad.image");
    return strip_pass(o, program, phase, &o->text, &o->image, true, "loss.grad.text");
}

/* scores = x y^T of own x and all y, then their gradient in place. */
static int stored_scores(td_objective *o, td_program *program, int phase, td_features *x,
                         const td_features *y, float *scores) {
    const td_split *s = &o->split;
    int64_t rows = td_split_rows(s, s->rank), offset = td_split_first_row(s, s->rank);
    count_product(o, rows);
    phase = TD_PROGRAM_ADD(program, phase, gemm_f32, "gemm", "loss.scores", .m = rows,
                           .n = s->batch, .k = o->embed, .a = x->own, .lda = o->embed, .b = y->all,
                           .ldb = o->embed, .b_trans = true, .c = scores, .ldc = s->batch,
                           .k_blocks = (o->embed + TD_SCORE_CHAIN - 1) / TD_SCORE_CHAIN);
    if (o->kind == TD_LOSS_SOFTMAX) {
        return TD_PROGRAM_ADD(program, phase, scores_softmax_f32, "loss", "loss.rows", .rows = rows,
                              .batch = s->batch, .offset = offset, .ld_scores = s->batch,
                              .scores = scores, .scale = o->scale, .row_loss = x->loss,
                              .row_dscale = x->dscale);
    }
    return TD_PROGRAM_ADD(program, phase, scores_sigmoid_f32, "loss", "loss.rows", .rows = rows,
                          .batch = s->batch, .offset = offset, .ld_scores = s->batch,
                          .scores = scores, .scale = o->scale, .bias = o->bias, .row_loss = x->loss,
                          .row_dscale = x->dscale, .row_dbias = x->dbias);
}

/* Chains of k terms by parts of at least 256, as long sums lose digits (contrastive_plan.h). */
static int64_t parts_of(int64_t k) {
    int64_t parts = 1;
    while (k % (2 * parts) == 0 && k / (2 * parts) >= 256) {
        parts *= 2;
    }
    return parts;
}

/* dx of own rows = g y; add: to what is there. */
static int stored_own(td_objective *o, td_program *program, int phase, td_features *x,
                      const td_features *y, const float *g, bool add) {
    int64_t rows = td_split_rows(&o->split, o->split.rank);
    count_product(o, rows);
    return TD_PROGRAM_ADD(program, phase, gemm_f32, "gemm", "loss.dx", .m = rows, .n = o->embed,
                          .k = o->split.batch, .a = g, .lda = o->split.batch, .b = y->all,
                          .ldb = o->embed, .c = x->d_own, .ldc = o->embed,
                          .residual = add ? x->d_own : NULL, .ldresidual = o->embed,
                          .k_blocks = parts_of(o->split.batch));
}

/* This rank's share of the gradients of all y, in their owners' slots: g^T x. */
static int stored_partial(td_objective *o, td_program *program, int phase, const td_features *x,
                          td_features *y, const float *g) {
    const td_split *s = &o->split;
    int64_t rows = td_split_rows(s, s->rank), next = phase;
    int64_t slot = td_split_most_blocks(s) * (s->batch / s->blocks) * o->embed;
    count_product(o, rows);
    for (int r = 0; r < s->ranks; r++) {
        next = TD_PROGRAM_ADD(
            program, phase, gemm_f32, "gemm", "loss.dy", .m = td_split_rows(s, r), .n = o->embed,
            .k = rows, .a = g == NULL ? NULL : g + td_split_first_row(s, r), .lda = s->batch,
            .a_trans = true, .b = x->own, .ldb = o->embed, .c = td_at(y->d_all, r * slot),
            .ldc = o->embed, .k_blocks = parts_of(rows));
    }
    return (int)next;
}

static int scatter(td_objective *o, td_program *program, int phase, td_features *f,
                   const char *name) {
    const td_split *s = &o->split;
    if (s->ranks == 1) {
        return phase;
    }
    int64_t slot = td_split_most_blocks(s) * (s->batch / s->blocks) * o->embed;
    o->cost.exchanged_bytes += (double)((s->ranks - 1) * slot) * sizeof(float);
    return td_program_collective(program, phase, td_collective_find("reduce_scatter", "ring"),
                                 o->comm, f->d_all, s->ranks * slot, name);
}

static int build_stored(td_objective *o, td_program *program, int phase) {
    td_features *image = &o->image, *text = &o->text;
    bool both = o->way == TD_WAY_LOCAL;
    int after = stored_scores(o, program, phase, image, text, o->scores[0]);
    if (both) {
        after = stored_scores(o, program, phase, text, image, o->scores[1]);
    }
    phase = stored_partial(o, program, after, image, text, o->scores[0]);
    if (!both) {
        stored_own(o, program, after, image, text, o->scores[0], false);
        return scatter(o, program, phase, text, "loss.scatter.text");
    }
    stored_partial(o, program, after, text, image, o->scores[1]);
    after = phase;
    stored_own(o, program, after, image, text, o->scores[0], true);
    phase = stored_own(o, program, after, text, image, o->scores[1], true);
    phase = scatter(o, program, phase, image, "loss.scatter.image");
    return scatter(o, program, phase, text, "loss.scatter.text");
}

int td_objective_build_rows(td_objective *o, td_program *program, int phase) {
    if (o->way != TD_WAY_FULL) {
        phase = td_objective_gather_features(o, program, phase, &o->image);
    }
    phase = td_objective_gather_features(o, program, phase, &o->text);
    phase = o->way == TD_WAY_TWO_WAY ? build_two_way(o, program, phase)
                                     : build_stored(o, program, phase);
    return td_program_call(program, phase, sum_rows, o, "loss.sum");
}
