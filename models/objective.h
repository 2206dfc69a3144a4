/* SPDX-License-Identifier: Apache-2.0
 * The contrastive losses as ops of a program, over all ranks. Both gather normalised features,
 * compute the gradient of this rank's rows, and leave per-block sums of loss and scalar gradients
 * that every rank adds in the same tree.
 *
 *   softmax   each rank takes its own image rows against all texts and its own text rows against
 * all images; the two vectors of log-sum-exp are gathered in between, so no gradient has to cross
 * ranks. sigmoid   a Latin square over the logical blocks: in phase p image block i meets text
 * block i + p. A phase touches every text block once, so the accumulators, which lie with the
 * block's owner, need no lock, and the order of additions into each is the same on every layout.
 */
#ifndef TD_MODELS_OBJECTIVE_H
#define TD_MODELS_OBJECTIVE_H

#include "models/tower.h"
#include "threads/group.h"

/* How the samples of a global batch are split: over logical blocks, and those over ranks. Rank r
 * owns blocks [blocks * r / ranks, blocks * (r + 1) / ranks). */
typedef struct td_split {
    int64_t batch, blocks;
    int rank, ranks;
} td_split;

/* batch must be a multiple of blocks, blocks a power of two up to TD_MAX_BLOCKS, ranks at most
 * blocks; TD_EUSAGE says what would fit. */
td_status td_split_check(const td_split *split);
static inline int64_t td_split_first_block(const td_split *s, int rank) {
    return s->blocks * rank / s->ranks;
}
static inline int64_t td_split_n_blocks(const td_split *s, int rank) {
    return td_split_first_block(s, rank + 1) - td_split_first_block(s, rank);
}
static inline int64_t td_split_first_row(const td_split *s, int rank) {
    return td_split_first_block(s, rank) * (s->batch / s->blocks);
}
static inline int64_t td_split_rows(const td_split *s, int rank) {
    return td_split_n_blocks(s, rank) * (s->batch / s->blocks);
}
/* Rows and blocks of the rank that owns most: the size of a slot in buffers that are gathered. */
int64_t td_split_most_blocks(const td_split *split);
/* Every rank owns the same number of blocks: then the sums are those of one rank, bit for bit. */
static inline bool td_split_even(const td_split *s) {
    return s->blocks % s->ranks == 0;
}

/* Sums over one block of samples, and whether its owner was asked to stop. */
typedef struct td_block_sums {
    double loss, dscale, dbias, stop;
} td_block_sums;

/* One direction's features: gathered from `slots` (ranks, most rows, embed) into `all` (batch,
 * embed), which is the same memory when every rank has as many. */
typedef struct td_features {
    float *slots, *own, *all;
    float *d_own;                                                /* gradient of own rows */
    float *lse_slots, *lse_own, *lse_all, *diag, *loss, *dscale; /* softmax only */
} td_features;

typedef struct td_objective {
    td_loss kind;
    td_split split;
    int64_t embed;
    td_rank *rank;
    td_comm *comm; /* NULL while sizing */
    td_features image, text;
    const float *scale, *bias; /* exp(logit_scale); the bias itself */
    float *pair_slots;         /* sigmoid: (phases, own blocks, 3) */
    td_block_sums *sums;       /* (ranks, most blocks), in the segment: gathered */
} td_objective;

/* Plans buffers: those that other ranks read or write in `segment`, the same layout in every rank.
 */
void td_objective_plan(td_objective *objective, td_plan *segment, td_plan *arena);

/* Ops from features (image.own, text.own written before `phase`) to gradients (d_own of both) and
 * gathered sums. */
int td_objective_build(td_objective *objective, td_program *program, td_plan *arena, int phase);

/* The total over all blocks, after a run: the balanced tree over blocks. stop: any rank asked. */
td_block_sums td_objective_total(const td_objective *objective);

/* What this rank adds to `stop` of its sums. */
void td_objective_ask_stop(td_objective *objective, bool stop);

#endif
