/* SPDX-License-Identifier: Apache-2.0 */
#include "models/objective.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "models/layer.h"

td_status td_split_check(const td_split *split) {
    int64_t blocks = split->blocks;
    if (blocks < 1 || blocks > TD_MAX_BLOCKS || (blocks & (blocks - 1)) != 0) {
        return td_fail(TD_EUSAGE, "%" PRId64 " logical blocks; expected a power of two up to %d",
                       blocks, TD_MAX_BLOCKS);
    }
    if (split->batch % blocks != 0 || split->batch < blocks) {
        int64_t fits = blocks;
        while (fits > 1 && split->batch % fits != 0) {
            fits /= 2;
        }
        int64_t up = (split->batch + blocks - 1) / blocks * blocks;
        return td_fail(TD_EUSAGE,
                       "a batch of %" PRId64 " does not split into %" PRId64
                       " logical blocks; expected --batch %" PRId64 " or --blocks %" PRId64,
                       split->batch, blocks, up < blocks ? blocks : up, fits);
    }
    if (split->ranks > blocks) {
        return td_fail(TD_EUSAGE,
                       "%d ranks share %" PRId64 " logical blocks; expected at most %" PRId64
                       " ranks, or --blocks %d or more",
                       split->ranks, blocks, blocks, split->ranks);
    }
    return TD_OK;
}

int64_t td_split_most_blocks(const td_split *split) {
    return (split->blocks + split->ranks - 1) / split->ranks;
}

static void plan_features(const td_objective *o, td_features *f, td_plan *segment, td_plan *arena) {
    const td_split *s = &o->split;
    int64_t most = td_split_most_blocks(s) * (s->batch / s->blocks);
    f->slots = TD_PLAN_ARRAY(segment, float, s->ranks *most * o->embed);
    f->own = td_at(f->slots, s->rank * most * o->embed);
    f->all = td_split_even(s) ? f->slots : TD_PLAN_ARRAY(arena, float, s->batch * o->embed);
    /* In the segment for the sigmoid loss: other ranks add to the gradients of this rank's texts.
     */
    f->d_own = TD_PLAN_ARRAY(segment, float, most * o->embed);
    if (o->kind == TD_LOSS_SOFTMAX) {
        f->lse_slots = TD_PLAN_ARRAY(segment, float, s->ranks *most);
        f->lse_own = td_at(f->lse_slots, s->rank * most);
        f->lse_all = td_split_even(s) ? f->lse_slots : TD_PLAN_ARRAY(arena, float, s->batch);
        f->diag = TD_PLAN_ARRAY(arena, float, most);
        f->loss = TD_PLAN_ARRAY(arena, float, most);
        f->dscale = TD_PLAN_ARRAY(arena, float, most);
    }
}

void td_objective_plan(td_objective *o, td_plan *segment, td_plan *arena) {
    plan_features(o, &o->image, segment, arena);
    plan_features(o, &o->text, segment, arena);
    o->sums =
        TD_PLAN_ARRAY(segment, td_block_sums, o->split.ranks * td_split_most_blocks(&o->split));
    if (o->kind == TD_LOSS_SIGMOID) {
        int64_t own = td_split_n_blocks(&o->split, o->split.rank);
        o->pair_slots = TD_PLAN_ARRAY(arena, float, o->split.blocks *own * 3);
    }
}

/* Slots of equal size are gathered; when ranks own different numbers of rows they are then moved
 * together. */
static int gather(td_objective *o, td_program *program, int phase, float *slots, float *all,
                  int64_t row, const char *name) {
    const td_split *s = &o->split;
    if (s->ranks == 1) {
        return phase;
    }
    int64_t most = td_split_most_blocks(s) * (s->batch / s->blocks);
    phase = td_program_collective(program, phase, td_collective_find("allgather", "ring"), o->comm,
                                  slots, s->ranks * most * row, name);
    if (slots == all) {
        return phase;
    }
    int next = phase;
    for (int r = 0; r < s->ranks; r++) {
        int64_t rows = td_split_rows(s, r);
        next = TD_PROGRAM_ADD(
            program, phase, rows_copy_f32, "loss", name, .groups = rows, .rows = 1, .cols = row,
            .from = td_at(slots, r * most * row), .from_group = row, .from_ld = row,
            .to = td_at(all, td_split_first_row(s, r) * row), .to_group = row, .to_ld = row);
    }
    return next;
}

static td_block_sums *own_sums(const td_objective *o) {
    return o->sums + o->split.rank * td_split_most_blocks(&o->split);
}

/* Samples in order inside a block, image direction before text direction of each. */
static void sum_softmax(void *arg) {
    td_objective *o = arg;
    int64_t per_block = o->split.batch / o->split.blocks;
    for (int64_t b = 0; b < td_split_n_blocks(&o->split, o->split.rank); b++) {
        td_block_sums *sums = &own_sums(o)[b];
        sums->loss = sums->dscale = sums->dbias = 0;
        for (int64_t i = b * per_block; i < (b + 1) * per_block; i++) {
            sums->loss += (double)o->image.loss[i];
            sums->loss += (double)o->text.loss[i];
            sums->dscale += (double)o->image.dscale[i];
        }
    }
}

static int softmax_pass(td_objective *o, td_program *program, int phase, td_features *x,
                        const td_features *y, bool gradient, const char *name) {
    const td_split *s = &o->split;
    int64_t rows = td_split_rows(s, s->rank), offset = td_split_first_row(s, s->rank);
    if (gradient) {
        return TD_PROGRAM_ADD(program, phase, contrastive_grad_f32, "loss", name, .rows = rows,
                              .batch = s->batch, .dim = o->embed, .offset = offset, .x = x->own,
                              .y = y->all, .scale = o->scale, .row_lse = x->lse_own,
                              .col_lse = y->lse_all, .dx = x->d_own, .row_loss = x->loss,
                              .row_dscale = x->dscale);
    }
    return TD_PROGRAM_ADD(program, phase, contrastive_lse_f32, "loss", name, .rows = rows,
                          .batch = s->batch, .dim = o->embed, .offset = offset, .x = x->own,
                          .y = y->all, .scale = o->scale, .lse = x->lse_own, .diag = x->diag);
}

static int build_softmax(td_objective *o, td_program *program, int phase) {
    phase = gather(o, program, phase, o->image.slots, o->image.all, o->embed, "loss.gather.image");
    phase = gather(o, program, phase, o->text.slots, o->text.all, o->embed, "loss.gather.text");
    softmax_pass(o, program, phase, &o->image, &o->text, false, "loss.lse.image");
    phase = softmax_pass(o, program, phase, &o->text, &o->image, false, "loss.lse.text");
    phase =
        gather(o, program, phase, o->image.lse_slots, o->image.lse_all, 1, "loss.gather.lse.image");
    phase =
        gather(o, program, phase, o->text.lse_slots, o->text.lse_all, 1, "loss.gather.lse.text");
    softmax_pass(o, program, phase, &o->image, &o->text, true, "loss.grad.image");
    phase = softmax_pass(o, program, phase, &o->text, &o->image, true, "loss.grad.text");
    return td_program_call(program, phase, sum_softmax, o, "loss.sum");
}

static void clear_sigmoid(void *arg) {
    td_objective *o = arg;
    size_t bytes = (size_t)(td_split_rows(&o->split, o->split.rank) * o->embed) * sizeof(float);
    memset(o->image.d_own, 0, bytes);
    memset(o->text.d_own, 0, bytes);
}

/* The phases of one image block in order. */
static void sum_sigmoid(void *arg) {
    td_objective *o = arg;
    int64_t own = td_split_n_blocks(&o->split, o->split.rank);
    for (int64_t b = 0; b < own; b++) {
        td_block_sums *sums = &own_sums(o)[b];
        sums->loss = sums->dscale = sums->dbias = 0;
        for (int64_t p = 0; p < o->split.blocks; p++) {
            const float *slot = o->pair_slots + (p * own + b) * 3;
            sums->loss += (double)slot[0];
            sums->dscale += (double)slot[1];
            sums->dbias += (double)slot[2];
        }
    }
}

static int owner_of(const td_split *split, int64_t block) {
    int rank = 0;
    while (td_split_first_block(split, rank + 1) <= block) {
        rank++;
    }
    return rank;
}

/* The pairs of one phase of the Latin square: own image block i with text block (i + p) mod blocks.
 */
static int sigmoid_phase(td_objective *o, td_program *program, td_plan *arena, int phase,
                         int64_t p) {
    const td_split *s = &o->split;
    int64_t own = td_split_n_blocks(s, s->rank), rows = s->batch / s->blocks;
    int64_t *places = TD_PLAN_ARRAY(arena, int64_t, 4 * own);
    float **d = TD_PLAN_ARRAY(arena, float *, 2 * own);
    for (int64_t i = 0; i < own && places != NULL; i++) {
        int64_t image = td_split_first_block(s, s->rank) + i, text = (image + p) % s->blocks;
        int owner = owner_of(s, text);
        float *accumulator =
            o->text.d_own + (text - td_split_first_block(s, owner)) * rows * o->embed;
        places[i] = i * rows;
        places[own + i] = text * rows;
        places[2 * own + i] = image * rows;
        places[3 * own + i] = text * rows;
        d[i] = o->image.d_own + i * rows * o->embed;
        d[own + i] = td_rank_peer(o->rank, owner, accumulator);
    }
    bool real = places != NULL;
    char name[TD_NODE_NAME];
    snprintf(name, sizeof(name), "loss.pairs.%" PRId64, p);
    return TD_PROGRAM_ADD(
        program, phase, sigmoid_loss_f32, "loss", name, .pairs = own, .rows = rows, .dim = o->embed,
        .batch = s->batch, .x_first = places, .y_first = real ? places + own : NULL,
        .x_sample = real ? places + 2 * own : NULL, .y_sample = real ? places + 3 * own : NULL,
        .x = o->image.own, .y = o->text.all, .scale = o->scale, .bias = o->bias, .dx = d,
        .dy = real ? d + own : NULL, .slots = td_at(o->pair_slots, p * own * 3));
}

static int build_sigmoid(td_objective *o, td_program *program, td_plan *arena, int phase) {
    /* Cleared before the gather: its barriers then keep other ranks from adding too early. */
    phase = td_program_call(program, phase, clear_sigmoid, o, "loss.clear");
    phase = gather(o, program, phase, o->text.slots, o->text.all, o->embed, "loss.gather.text");
    for (int64_t p = 0; p < o->split.blocks; p++) {
        phase = sigmoid_phase(o, program, arena, phase, p);
        if (o->split.ranks > 1) {
            phase = td_program_barrier(program, phase, o->comm, "loss.barrier");
        }
    }
    return td_program_call(program, phase, sum_sigmoid, o, "loss.sum");
}

int td_objective_build(td_objective *o, td_program *program, td_plan *arena, int phase) {
    phase = o->kind == TD_LOSS_SOFTMAX ? build_softmax(o, program, phase)
                                       : build_sigmoid(o, program, arena, phase);
    if (o->split.ranks > 1) {
        int64_t floats = (int64_t)(sizeof(td_block_sums) / sizeof(float));
        phase = td_program_collective(
            program, phase, td_collective_find("allgather", "ring"), o->comm, o->sums,
            o->split.ranks * td_split_most_blocks(&o->split) * floats, "loss.gather.sums");
    }
    return phase;
}

td_block_sums td_objective_total(const td_objective *o) {
    td_block_sums tree[TD_MAX_BLOCKS];
    int64_t most = td_split_most_blocks(&o->split), n = 0;
    for (int r = 0; r < o->split.ranks; r++) {
        for (int64_t b = 0; b < td_split_n_blocks(&o->split, r); b++) {
            tree[n++] = o->sums[r * most + b];
        }
    }
    for (; n > 1; n /= 2) {
        for (int64_t i = 0; i < n / 2; i++) {
            const td_block_sums *a = &tree[2 * i], *b = &tree[2 * i + 1];
            tree[i] = (td_block_sums){a->loss + b->loss, a->dscale + b->dscale, a->dbias + b->dbias,
                                      a->stop + b->stop};
        }
    }
    return tree[0];
}

void td_objective_ask_stop(td_objective *o, bool stop) {
    own_sums(o)[0].stop = stop ? 1 : 0;
}
