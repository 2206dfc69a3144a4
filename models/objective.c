/* SPDX-License-Identifier: Apache-2.0 */
#include "models/objective.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "models/layer.h"
#include "models/objective_build.h"

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

static int64_t own_rows(const td_objective *o) {
    return td_split_rows(&o->split, o->split.rank);
}

static int64_t most_rows(const td_objective *o) {
    return td_split_most_blocks(&o->split) * (o->split.batch / o->split.blocks);
}

bool td_objective_by_pairs(const td_objective *o) {
    return o->kind == TD_LOSS_SOFTMAX ? o->way != TD_WAY_LOCAL && o->way != TD_WAY_TWO_WAY
                                      : o->way != TD_WAY_FULL;
}

/* Bytes of scores that the rank with most rows keeps. */
static int64_t stored_bytes(const td_objective *o) {
    int64_t row = o->split.batch * (int64_t)sizeof(float);
    switch (o->way) {
    case TD_WAY_FULL:
        return row * (o->kind == TD_LOSS_SOFTMAX ? o->split.batch : most_rows(o));
    case TD_WAY_LOCAL:
        return 2 * row * most_rows(o);
    case TD_WAY_STORED:
        return row * most_rows(o);
    default:
        return 0;
    }
}

td_status td_objective_check(const td_objective *o) {
    TD_TRY(td_split_check(&o->split));
    bool softmax_only =
        o->way == TD_WAY_STORED || o->way == TD_WAY_LOCAL || o->way == TD_WAY_TWO_WAY;
    if (o->kind == TD_LOSS_SOFTMAX ? o->way == TD_WAY_RING : softmax_only) {
        return td_fail(TD_EUSAGE, "the %s loss is not computed that way",
                       o->kind == TD_LOSS_SOFTMAX ? "softmax" : "sigmoid");
    }
    if (stored_bytes(o) > TD_OBJECTIVE_STORED_MOST) {
        return td_fail(TD_ESKIP,
                       "a rank would keep %.3g GB of scores for a batch of %" PRId64
                       "; expected at most %.3g GB (the tiled ways keep none)",
                       (double)stored_bytes(o) * 1e-9, o->split.batch,
                       (double)TD_OBJECTIVE_STORED_MOST * 1e-9);
    }
    return TD_OK;
}

static float *take_features(td_objective *o, td_plan *plan, int64_t rows) {
    size_t before = plan->used_bytes;
    float *at = TD_PLAN_ARRAY(plan, float, rows * o->embed);
    o->cost.feature_bytes += (int64_t)(plan->used_bytes - before);
    return at;
}

static void plan_slots(td_objective *o, td_features *f, td_plan *segment, td_plan *arena) {
    const td_split *s = &o->split;
    int64_t most = most_rows(o);
    if (o->way == TD_WAY_RING) {
        f->own = take_features(o, segment, most);
        return;
    }
    f->slots = take_features(o, segment, s->ranks * most);
    f->own = td_at(f->slots, s->rank * most * o->embed);
    f->all = td_split_even(s) ? f->slots : take_features(o, arena, s->batch);
}

static void plan_gradients(td_objective *o, td_features *f, td_plan *segment) {
    const td_split *s = &o->split;
    if (o->kind == TD_LOSS_SOFTMAX && o->way == TD_WAY_FULL) {
        f->d_all = TD_PLAN_ARRAY(segment, float, s->batch * o->embed);
        f->d_own = td_at(f->d_all, td_split_first_row(s, s->rank) * o->embed);
    } else if (o->way == TD_WAY_LOCAL || (o->way == TD_WAY_FULL && f == &o->text)) {
        f->d_all = TD_PLAN_ARRAY(segment, float, s->ranks *most_rows(o) * o->embed);
        f->d_own = td_at(f->d_all, s->rank * most_rows(o) * o->embed);
    } else {
        /* In the segment: other ranks add to the gradients of this rank's texts. */
        f->d_own = take_features(o, segment, most_rows(o));
    }
}

/* What a way needs for each row. */
static void plan_rows(const td_objective *o, td_features *f, td_plan *segment, td_plan *arena) {
    const td_split *s = &o->split;
    int64_t most = most_rows(o);
    if (o->way == TD_WAY_TWO_WAY) {
        f->sums_slots = TD_PLAN_ARRAY(segment, float, s->ranks * 2 * most);
        f->sums_own = td_at(f->sums_slots, s->rank * 2 * most);
        f->sums_all = td_split_even(s) ? f->sums_slots : TD_PLAN_ARRAY(arena, float, 2 * s->batch);
    }
    if (!td_objective_by_pairs(o)) {
        f->loss = TD_PLAN_ARRAY(arena, float, most);
        f->dscale = TD_PLAN_ARRAY(arena, float, most);
        f->dbias = TD_PLAN_ARRAY(arena, float, most);
    } else if (o->kind == TD_LOSS_SOFTMAX) {
        int64_t rows = o->way == TD_WAY_FULL ? s->batch : most;
        f->state = TD_PLAN_ARRAY(segment, double, 2 * rows);
    }
    if (o->way == TD_WAY_RING && f == &o->text) {
        int64_t floats = (most + s->batch / s->blocks) * o->embed;
        f->ring = TD_PLAN_ARRAY(segment, float, floats);
        f->d_ring = TD_PLAN_ARRAY(segment, float, floats);
    }
}

/* From the shape alone, except that scores may be kept by the ranks of one layout and not of
 * another: the bits are the same. Tiles of pairs of 8 rows take twice the time of strips of 64, of
 * 32 rows 0.6 (512 columns, AVX-512). */
static td_way best_way(const td_objective *o) {
    enum { LEAST_ROWS = 16 };
    const int64_t kept_most = INT64_C(32) << 20;
    if (o->kind == TD_LOSS_SIGMOID) {
        return TD_WAY_TILED;
    }
    if (o->split.batch / o->split.blocks < LEAST_ROWS) {
        return TD_WAY_TWO_WAY;
    }
    int64_t scores = most_rows(o) * o->split.batch * (int64_t)sizeof(float);
    return scores <= kept_most ? TD_WAY_STORED : TD_WAY_TILED;
}

void td_objective_plan(td_objective *o, td_plan *segment, td_plan *arena) {
    o->way = o->way == TD_WAY_BEST ? best_way(o) : o->way;
    size_t before = segment->used_bytes + arena->used_bytes;
    td_features *const both[] = {&o->image, &o->text};
    o->cost = (td_objective_cost){0};
    for (int i = 0; i < 2; i++) {
        plan_slots(o, both[i], segment, arena);
        plan_gradients(o, both[i], segment);
        plan_rows(o, both[i], segment, arena);
    }
    int64_t rows = own_rows(o), batch = o->split.batch, blocks = o->split.blocks;
    o->sums =
        TD_PLAN_ARRAY(segment, td_block_sums, o->split.ranks * td_split_most_blocks(&o->split));
    if (o->kind == TD_LOSS_SOFTMAX && td_objective_by_pairs(o)) {
        bool full = o->way == TD_WAY_FULL;
        o->keeps_scores = full || o->way == TD_WAY_STORED;
        o->joint_slots = TD_PLAN_ARRAY(arena, double, blocks *blocks * 2);
        if (o->keeps_scores) {
            o->scores[0] = TD_PLAN_ARRAY(arena, float, (full ? batch : rows) * batch);
        }
    } else if (td_objective_by_pairs(o)) {
        int64_t own = td_split_n_blocks(&o->split, o->split.rank);
        o->pair_slots = TD_PLAN_ARRAY(arena, float, blocks *own * 3);
    } else {
        for (int i = 0; i < 2 && stored_bytes(o) > 0; i++) {
            bool needed = i == 0 || o->way == TD_WAY_LOCAL;
            o->scores[i] = needed ? TD_PLAN_ARRAY(arena, float, rows *batch) : NULL;
        }
    }
    o->cost.loss_bytes =
        (int64_t)(segment->used_bytes + arena->used_bytes - before) - o->cost.feature_bytes;
}

/* Slots of equal size are gathered; when ranks own different numbers of rows they are then moved
 * together. */
int td_objective_gather(td_objective *o, td_program *program, int phase, float *slots, float *all,
                        int64_t row, const char *name) {
    const td_split *s = &o->split;
    if (s->ranks == 1) {
        return phase;
    }
    int64_t most = most_rows(o);
    o->cost.exchanged_bytes += (double)((s->ranks - 1) * most * row) * sizeof(float);
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

int td_objective_gather_features(td_objective *o, td_program *program, int phase, td_features *f) {
    return td_objective_gather(o, program, phase, f->slots, f->all, o->embed,
                               f == &o->image ? "loss.gather.image" : "loss.gather.text");
}

td_block_sums *td_objective_sums(const td_objective *o) {
    return o->sums + o->split.rank * td_split_most_blocks(&o->split);
}

int td_objective_build(td_objective *o, td_program *program, td_plan *arena, int phase) {
    size_t before = arena->used_bytes;
    o->cost.products = o->cost.exchanged_bytes = 0;
    if (td_objective_by_pairs(o)) {
        phase = td_objective_build_pairs(o, program, arena, phase);
    } else {
        phase = td_objective_build_rows(o, program, phase);
    }
    if (o->split.ranks > 1) {
        int64_t most = td_split_most_blocks(&o->split) * (int64_t)sizeof(td_block_sums);
        o->cost.exchanged_bytes += (double)((o->split.ranks - 1) * most);
        phase = td_program_collective(
            program, phase, td_collective_find("allgather", "ring"), o->comm, o->sums,
            o->split.ranks * most / (int64_t)sizeof(float), "loss.gather.sums");
    }
    o->cost.loss_bytes += (int64_t)(arena->used_bytes - before);
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
    td_objective_sums(o)[0].stop = stop ? 1 : 0;
}
