/* SPDX-License-Identifier: Apache-2.0
 * The contrastive losses as ops of a program, over all ranks. Each way leaves gradients of this
 * rank's normalised features, and sums per logical block of loss and scalar gradients that every
 * rank adds in the same tree.
 *
 * By block pairs, which is how training computes them: a Latin square over the logical blocks, in
 * phase p image block i meets text block i + p. A phase touches every text block once, so the
 * accumulators, which lie with the block's owner, need no lock, and the order of additions into
 * each is the same on every layout. The softmax loss takes two such squares, one for the running
 * log-sum-exps of rows and columns and one for the gradients of both. The other ways are what other
 * programs do, to be measured beside these (docs/losses.md).
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

/* How a loss is computed. Letters: B batch, b rows of a rank, E embed. GEMM units are products of
 * the size b B E that a rank executes. */
typedef enum td_way {
    TD_WAY_BEST,    /* the plan chooses. Softmax: TWO_WAY where blocks have less than 16 rows, else
                       STORED up to 32 MiB of scores, else TILED; sigmoid: TILED */
    TD_WAY_TILED,   /* block pairs, memory O(b): softmax 4 units, sigmoid 3 */
    TD_WAY_STORED,  /* softmax: as TILED, (b, B) scores kept for the second pass: 3 units */
    TD_WAY_FULL,    /* softmax: every rank the whole (B, B) of STORED: 3 units a rank's share, on
                       each of them; sigmoid: (b, B) scores by GEMM: 3 units */
    TD_WAY_LOCAL,   /* softmax: (b, B) scores by GEMM for either direction, partial gradients of all
                       features reduced and scattered: 6 units */
    TD_WAY_TWO_WAY, /* softmax: rows in strips of 64, either direction twice: 6 units */
    TD_WAY_RING,    /* sigmoid: as TILED, texts and their gradients move from rank to rank and no
                       rank holds all of them: 3 units */
} td_way;

/* Refused above: scores that one rank keeps. */
#define TD_OBJECTIVE_STORED_MOST (INT64_C(1) << 30)

/* One direction's features: gathered from `slots` (ranks, most rows, embed) into `all` (batch,
 * embed), which is the same memory when every rank has as many. Members that the way does not need
 * are NULL. */
typedef struct td_features {
    float *slots, *own, *all;
    float *d_own;                            /* gradient of own rows */
    float *d_all;                            /* of all: FULL (batch), LOCAL (slots) */
    float *sums_slots, *sums_own, *sums_all; /* (rows, 2), each row's maximum and sum: TWO_WAY */
    float *loss, *dscale, *dbias;            /* per row: FULL sigmoid, LOCAL, TWO_WAY */
    double *state;                           /* (rows, 2): block pairs of softmax */
    float *ring, *d_ring;                    /* RING: (most blocks + 1, rows, embed) */
} td_features;

/* What one run takes, of this rank. */
typedef struct td_objective_cost {
    double products;        /* multiply-adds of products of features and gradients */
    double exchanged_bytes; /* loaded from or stored to memory of other ranks */
    int64_t feature_bytes;  /* planned: features, own and gathered, and gradients of own */
    int64_t loss_bytes;     /* planned: everything else; scratch of the program comes on top */
} td_objective_cost;

typedef struct td_objective {
    td_loss kind;
    td_way way; /* BEST: until planned */
    td_split split;
    int64_t embed;
    td_rank *rank;
    td_comm *comm; /* NULL while sizing */
    td_features image, text;
    const float *scale, *bias; /* exp(logit_scale); the bias itself */
    float *scores[2];          /* (own rows, batch), FULL softmax (batch, batch); or NULL */
    bool keeps_scores;         /* block pairs of softmax */
    float *pair_slots;         /* sigmoid by pairs: (phases, blocks, 3) */
    double *joint_slots;       /* softmax by pairs: (phases, blocks, 2) */
    td_block_sums *sums;       /* (ranks, most blocks), in the segment: gathered */
    td_objective_cost cost;    /* set by plan and build */
} td_objective;

/* Whether the loss knows the way, and scores that would be kept are at most
 * TD_OBJECTIVE_STORED_MOST bytes in a rank: TD_ESKIP says how many there would be. */
td_status td_objective_check(const td_objective *objective);

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
