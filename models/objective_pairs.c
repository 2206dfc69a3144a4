/* SPDX-License-Identifier: Apache-2.0
 * Losses by pairs of logical blocks in a Latin square.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/layer.h"
#include "models/objective_build.h"

/* The image blocks that this rank takes and where their gradients go. alone: all of them, with
 * accumulators for all texts of its own. */
typedef struct extent {
    int64_t first, n;
    const float *x;
    float *dx, *dy;
    double *x_state, *y_state;
    bool alone;
} extent;

static extent extent_of(const td_objective *o) {
    const td_split *s = &o->split;
    bool alone = o->kind == TD_LOSS_SOFTMAX && o->way == TD_WAY_FULL;
    return (extent){.first = alone ? 0 : td_split_first_block(s, s->rank),
                    .n = alone ? s->blocks : td_split_n_blocks(s, s->rank),
                    .x = alone ? o->image.all : o->image.own,
                    .dx = alone ? o->image.d_all : o->image.d_own,
                    .dy = alone ? o->text.d_all : o->text.d_own,
                    .x_state = o->image.state,
                    .y_state = o->text.state,
                    .alone = alone};
}

static int64_t block_rows(const td_objective *o) {
    return o->split.batch / o->split.blocks;
}

static void clear(void *arg) {
    td_objective *o = arg;
    const extent at = extent_of(o);
    int64_t rows = at.n * block_rows(o);
    size_t bytes = (size_t)(rows * o->embed) * sizeof(float);
    memset(at.dx, 0, bytes);
    if (o->way == TD_WAY_RING) {
        memset(o->text.d_ring, 0, bytes + (size_t)(block_rows(o) * o->embed) * sizeof(float));
    } else {
        memset(at.dy, 0, bytes);
    }
    for (int64_t i = 0; i < rows && o->kind == TD_LOSS_SOFTMAX; i++) {
        at.x_state[2 * i] = at.y_state[2 * i] = -INFINITY;
        at.x_state[2 * i + 1] = at.y_state[2 * i + 1] = 0;
    }
}

static int owner_of(const td_split *split, int64_t block) {
    int rank = 0;
    while (td_split_first_block(split, rank + 1) <= block) {
        rank++;
    }
    return rank;
}

/* The pairs of one phase: image block i of the extent with text block (i + p) mod blocks. */
typedef struct block_pairs {
    int64_t *x_first, *y_first, *x_sample, *y_sample;
    float **dx, **dy, **scores;
    double **x_state, **y_state;
} block_pairs;

static block_pairs take_pairs(td_plan *arena, int64_t n) {
    block_pairs pairs = {.x_first = TD_PLAN_ARRAY(arena, int64_t, n),
                         .y_first = TD_PLAN_ARRAY(arena, int64_t, n),
                         .x_sample = TD_PLAN_ARRAY(arena, int64_t, n),
                         .y_sample = TD_PLAN_ARRAY(arena, int64_t, n),
                         .dx = TD_PLAN_ARRAY(arena, float *, n),
                         .dy = TD_PLAN_ARRAY(arena, float *, n),
                         .scores = TD_PLAN_ARRAY(arena, float *, n),
                         .x_state = TD_PLAN_ARRAY(arena, double *, n),
                         .y_state = TD_PLAN_ARRAY(arena, double *, n)};
    return pairs;
}

/* Where the text side of a pair lies: with the block's owner. */
static void place_text(const td_objective *o, const extent *at, const block_pairs *pairs, int64_t i,
                       int64_t text) {
    const td_split *s = &o->split;
    int owner = at->alone ? s->rank : owner_of(s, text);
    int64_t row = (text - (at->alone ? 0 : td_split_first_block(s, owner))) * block_rows(o);
    pairs->y_first[i] = text * block_rows(o);
    pairs->dy[i] = td_rank_peer(o->rank, owner, at->dy + row * o->embed);
    if (at->y_state != NULL) {
        pairs->y_state[i] = td_rank_peer(o->rank, owner, at->y_state + 2 * row);
    }
}

/* In a ring they are where the blocks have moved to. */
static void place_in_ring(const td_objective *o, const extent *at, const block_pairs *pairs,
                          int64_t i, int64_t p) {
    int64_t slot = (i + p) % (at->n + 1);
    pairs->y_first[i] = slot * block_rows(o);
    pairs->dy[i] = o->text.d_ring + slot * block_rows(o) * o->embed;
}

static block_pairs pairs_of_phase(td_objective *o, td_plan *arena, const extent *at, int64_t p) {
    block_pairs pairs = take_pairs(arena, at->n);
    int64_t rows = block_rows(o);
    for (int64_t i = 0; i < at->n && pairs.x_first != NULL; i++) {
        int64_t image = at->first + i, text = (image + p) % o->split.blocks;
        pairs.x_first[i] = i * rows;
        pairs.x_sample[i] = image * rows;
        pairs.y_sample[i] = text * rows;
        pairs.dx[i] = at->dx + i * rows * o->embed;
        if (o->way == TD_WAY_RING) {
            place_in_ring(o, at, &pairs, i, p);
            continue;
        }
        place_text(o, at, &pairs, i, text);
        if (at->x_state != NULL) {
            pairs.x_state[i] = at->x_state + 2 * i * rows;
        }
        pairs.scores[i] = td_at(o->scores[0], i * rows * o->split.batch + text * rows);
    }
    return pairs;
}

/* Bytes of each text row that pairs with other ranks' texts load and store there. */
static void count_pairs(td_objective *o, const extent *at, int64_t p, int products,
                        int64_t row_bytes) {
    for (int64_t i = 0; i < at->n; i++) {
        int64_t text = (at->first + i + p) % o->split.blocks;
        bool away =
            !at->alone && o->way != TD_WAY_RING && owner_of(&o->split, text) != o->split.rank;
        double rows = (double)block_rows(o);
        o->cost.products += products * rows * rows * (double)o->embed;
        o->cost.exchanged_bytes += away ? rows * (double)row_bytes : 0;
    }
}

static int meet(td_objective *o, td_program *program, int phase, const extent *at) {
    bool apart = o->split.ranks > 1 && !at->alone;
    return apart ? td_program_barrier(program, phase, o->comm, "loss.barrier") : phase;
}

/* The phases of one image block in order. */
static void sum_joint(void *arg) {
    td_objective *o = arg;
    const extent at = extent_of(o);
    int64_t skipped = td_split_first_block(&o->split, o->split.rank) - at.first;
    for (int64_t b = 0; b < td_split_n_blocks(&o->split, o->split.rank); b++) {
        td_block_sums *sums = &td_objective_sums(o)[b];
        sums->loss = sums->dscale = sums->dbias = 0;
        for (int64_t p = 0; p < o->split.blocks; p++) {
            const double *slot = o->joint_slots + (p * at.n + skipped + b) * 2;
            sums->loss += slot[0];
            sums->dscale += slot[1];
        }
    }
}

static int joint_phase(td_objective *o, td_program *program, int phase, const extent *at,
                       const block_pairs *pairs, int64_t p, bool gradient) {
    bool kept = o->keeps_scores;
    char name[TD_NODE_NAME];
    snprintf(name, sizeof(name), "loss.%s.%" PRId64, gradient ? "pairs" : "lse", p);
    /* A state is 16 bytes: updated by the first pass, read by the second. */
    int64_t row = gradient ? 8 * o->embed + 16 : 32;
    count_pairs(o, at, p, !gradient ? 1 : kept ? 2 : 3, row);
    float **scores = kept ? pairs->scores : NULL;
    if (!gradient) {
        return TD_PROGRAM_ADD(program, phase, contrastive_pairs_lse_f32, "loss", name,
                              .pairs = at->n, .rows = block_rows(o), .dim = o->embed,
                              .x_first = pairs->x_first, .y_first = pairs->y_first, .x = at->x,
                              .y = o->text.all, .scale = o->scale, .x_state = pairs->x_state,
                              .y_state = pairs->y_state, .scores = scores,
                              .ld_scores = o->split.batch);
    }
    double *slots = o->joint_slots == NULL ? NULL : o->joint_slots + p * at->n * 2;
    return TD_PROGRAM_ADD(
        program, phase, contrastive_pairs_grad_f32, "loss", name, .pairs = at->n,
        .rows = block_rows(o), .dim = o->embed, .batch = o->split.batch, .x_first = pairs->x_first,
        .y_first = pairs->y_first, .x_sample = pairs->x_sample, .y_sample = pairs->y_sample,
        .x = at->x, .y = o->text.all, .scale = o->scale,
        .x_state = (const double *const *)pairs->x_state,
        .y_state = (const double *const *)pairs->y_state, .scores = (const float *const *)scores,
        .ld_scores = o->split.batch, .dx = pairs->dx, .dy = pairs->dy, .slots = slots);
}

static int build_joint(td_objective *o, td_program *program, td_plan *arena, int phase) {
    const extent at = extent_of(o);
    block_pairs pairs[TD_MAX_BLOCKS];
    for (int64_t p = 0; p < o->split.blocks; p++) {
        pairs[p] = pairs_of_phase(o, arena, &at, p);
    }
    if (at.alone) {
        phase = td_objective_gather_features(o, program, phase, &o->image);
    }
    phase = td_objective_gather_features(o, program, phase, &o->text);
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t p = 0; p < o->split.blocks; p++) {
            phase = joint_phase(o, program, phase, &at, &pairs[p], p, pass == 1);
            phase = meet(o, program, phase, &at);
        }
    }
    return td_program_call(program, phase, sum_joint, o, "loss.sum");
}

static void sum_sigmoid(void *arg) {
    td_objective *o = arg;
    int64_t own = td_split_n_blocks(&o->split, o->split.rank);
    for (int64_t b = 0; b < own; b++) {
        td_block_sums *sums = &td_objective_sums(o)[b];
        sums->loss = sums->dscale = sums->dbias = 0;
        for (int64_t p = 0; p < o->split.blocks; p++) {
            const float *slot = o->pair_slots + (p * own + b) * 3;
            sums->loss += (double)slot[0];
            sums->dscale += (double)slot[1];
            sums->dbias += (double)slot[2];
        }
    }
}

static int sigmoid_phase(td_objective *o, td_program *program, td_plan *arena, int phase,
                         int64_t p) {
    const extent at = extent_of(o);
    const block_pairs pairs = pairs_of_phase(o, arena, &at, p);
    char name[TD_NODE_NAME];
    snprintf(name, sizeof(name), "loss.pairs.%" PRId64, p);
    count_pairs(o, &at, p, 3, 8 * o->embed);
    phase = TD_PROGRAM_ADD(
        program, phase, sigmoid_loss_f32, "loss", name, .pairs = at.n, .rows = block_rows(o),
        .dim = o->embed, .batch = o->split.batch, .x_first = pairs.x_first,
        .y_first = pairs.y_first, .x_sample = pairs.x_sample, .y_sample = pairs.y_sample, .x = at.x,
        .y = o->way == TD_WAY_RING ? o->text.ring : o->text.all, .scale = o->scale, .bias = o->bias,
        .dx = pairs.dx, .dy = pairs.dy, .slots = td_at(o->pair_slots, p * at.n * 3));
    return meet(o, program, phase, &at);
}

static int copy_block(td_objective *o, td_program *program, int phase, const float *from, float *to,
                      const char *name) {
    return TD_PROGRAM_ADD(program, phase, rows_copy_f32, "loss", name, .groups = block_rows(o),
                          .rows = 1, .cols = o->embed, .from = from, .from_group = o->embed,
                          .from_ld = o->embed, .to = to, .to_group = o->embed, .to_ld = o->embed);
}

static float *ring_slot(const td_objective *o, float *ring, int64_t slot) {
    return td_at(ring, slot * block_rows(o) * o->embed);
}

/* After phase p the first text block of the next rank's window becomes the last of this one's. A
 * window of n blocks lies in n + 1 slots, so the block is copied into the slot that is free, while
 * the rank before copies from another. last: only the gradient is still needed, by its owner. */
static int shift_ring(td_objective *o, td_program *program, int phase, int64_t p, bool last) {
    const td_split *s = &o->split;
    int next = (s->rank + 1) % s->ranks;
    int64_t from = p % (td_split_n_blocks(s, next) + 1), n = td_split_n_blocks(s, s->rank);
    int64_t to = (n + p) % (n + 1);
    float *const rings[] = {o->text.d_ring, o->text.ring};
    int after = phase;
    for (int i = 0; i < (last ? 1 : 2); i++) {
        float *theirs = rings[i];
        if (theirs != NULL) {
            theirs = td_rank_peer(o->rank, next, ring_slot(o, rings[i], from));
        }
        after = copy_block(o, program, phase, theirs, ring_slot(o, rings[i], to), "loss.ring");
        o->cost.exchanged_bytes += s->ranks > 1 ? (double)(block_rows(o) * o->embed * 4) : 0;
    }
    return after;
}

static int build_ring(td_objective *o, td_program *program, td_plan *arena, int phase) {
    const td_split *s = &o->split;
    int64_t n = td_split_n_blocks(s, s->rank), block = block_rows(o) * o->embed;
    int after = phase;
    for (int64_t i = 0; i < n; i++) {
        after = copy_block(o, program, phase, td_at(o->text.own, i * block),
                           ring_slot(o, o->text.ring, i), "loss.ring.start");
    }
    phase = after;
    for (int64_t p = 0; p < s->blocks; p++) {
        phase = sigmoid_phase(o, program, arena, phase, p);
        phase = shift_ring(o, program, phase, p, p + 1 == s->blocks);
    }
    after = phase;
    for (int64_t i = 0; i < n; i++) {
        after =
            copy_block(o, program, phase, ring_slot(o, o->text.d_ring, (i + s->blocks) % (n + 1)),
                       td_at(o->text.d_own, i * block), "loss.ring.end");
    }
    return after;
}

int td_objective_build_pairs(td_objective *o, td_program *program, td_plan *arena, int phase) {
    /* Cleared before the gather: its barriers then keep other ranks from adding too early. A ring
     * is touched by its own rank only, until the barrier of its first phase. */
    phase = td_program_call(program, phase, clear, o, "loss.clear");
    if (o->kind == TD_LOSS_SOFTMAX) {
        return build_joint(o, program, arena, phase);
    }
    if (o->way == TD_WAY_RING) {
        phase = build_ring(o, program, arena, phase);
    } else {
        phase = td_objective_gather_features(o, program, phase, &o->text);
        for (int64_t p = 0; p < o->split.blocks; p++) {
            phase = sigmoid_phase(o, program, arena, phase, p);
        }
    }
    return td_program_call(program, phase, sum_sigmoid, o, "loss.sum");
}
