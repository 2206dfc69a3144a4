/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "collectives/algorithms.h"

/* ---- what the closed forms of collectives.inc are written with ---- */

static bool is_power(double p) {
    int n = (int)p;
    return (n & (n - 1)) == 0;
}

/* Levels of four, three children each; the top level has as many as there are ranks for. */
static double knomial_rounds(double p) {
    int top = 1, rounds = 0;
    for (; top * 4 < (int)p; top *= 4) {
        rounds += 3;
    }
    return rounds + ((int)p + top - 1) / top - 1;
}

/* Recursive doubling over a power of two, and two rounds for the ranks beyond it. */
static double folded(double p) {
    return td_log2_down((int)p) + (is_power(p) ? 0 : 2);
}

/* The largest power of four up to p: its exponent, and how many ranks beyond hand in to one. */
static double radix4_steps(double p) {
    return td_log2_down((int)p) / 2;
}

static double radix4_extras(double p) {
    int members = 1 << 2 * (int)radix4_steps(p);
    return ((int)p - 1) / members;
}

/* Vectors that go up two trees of halves: two children a level, the root's one, and the last level
 * below it has one where there is one rank more than a power of two. */
static double double_tree_volume(double p, double q) {
    return q - 1 + 0.5 - (q >= 2 && (int)p == (1 << ((int)q - 1)) + 1 ? 0.5 : 0);
}

/* Bits that are set in 1 to p - 1. */
static double bits_below(double p) {
    int bits = 0;
    for (int i = 1; i < (int)p; i++) {
        bits += __builtin_popcount((unsigned)i);
    }
    return bits;
}

/* Rounds in which the rank next to the root has a segment of either phase of allreduce/chain. */
static double chain_overlap(double p, double k) {
    return p > 2 && k > 2 ? k - 1 : 0;
}

#define TD_SCHEDULE(operation, algorithm, blocks, segmented, fits, rounds, volume, doc)            \
    static bool can_##operation##_##algorithm(int ranks) {                                         \
        const double p = ranks;                                                                    \
        (void)p;                                                                                   \
        return (fits);                                                                             \
    }                                                                                              \
    static int blocks_of_##operation##_##algorithm(int p) {                                        \
        (void)p;                                                                                   \
        return (blocks);                                                                           \
    }                                                                                              \
    static void form_of_##operation##_##algorithm(int ranks, int segments, double *out_rounds,     \
                                                  double *out_volume) {                            \
        const double p = ranks, k = segments;                                                      \
        const double q = td_log2_up(ranks), f = td_log2_down(ranks), w = td_torus_width(ranks);    \
        (void)p, (void)k, (void)q, (void)f, (void)w;                                               \
        *out_rounds = ranks > 1 ? (rounds) : 0;                                                    \
        *out_volume = ranks > 1 ? (volume) : 0;                                                    \
    }
#define TD_DIRECT(operation, algorithm, fits, traffic, cells, apart, waits, shared, doc)           \
    static bool can_##operation##_##algorithm(int ranks) {                                         \
        const double p = ranks;                                                                    \
        (void)p;                                                                                   \
        return (fits);                                                                             \
    }                                                                                              \
    static td_direct_form direct_form_of_##operation##_##algorithm(int ranks) {                    \
        const double p = ranks;                                                                    \
        (void)p;                                                                                   \
        return ranks > 1 ? (td_direct_form){traffic, cells, apart, waits, shared}                  \
                         : (td_direct_form){0};                                                    \
    }
#include "collectives/collectives.inc"
#undef TD_SCHEDULE
#undef TD_DIRECT

#define TD_OPERATION(id, blocks, rooted, sums, busbw, least, doc)                                  \
    static double busbw_of_##id(int ranks) {                                                       \
        const double p = ranks;                                                                    \
        (void)p;                                                                                   \
        return ranks > 1 ? (busbw) : 0;                                                            \
    }                                                                                              \
    static double least_of_##id(int ranks) {                                                       \
        const double p = ranks;                                                                    \
        (void)p;                                                                                   \
        return ranks > 1 ? (least) : 0;                                                            \
    }
#include "collectives/operations.inc"
#undef TD_OPERATION

static const td_operation operations[] = {
#define TD_OPERATION(id, blocks, rooted, sums, busbw, least, doc)                                  \
    {#id, doc, TD_BLOCKS_##blocks, rooted, sums, busbw_of_##id, least_of_##id},
#include "collectives/operations.inc"
#undef TD_OPERATION
};

const td_operation *td_operation_of(td_operation_id id) {
    return &operations[id];
}

static const td_collective rows[] = {
#define TD_SCHEDULE(op, alg, blocks_, segmented_, fits_, rounds_, volume_, doc_)                   \
    {.operation = #op,                                                                             \
     .algorithm = #alg,                                                                            \
     .id = TD_COLL_##op,                                                                           \
     .doc = doc_,                                                                                  \
     .fits = can_##op##_##alg,                                                                     \
     .generate = td_##op##__##alg,                                                                 \
     .blocks = blocks_of_##op##_##alg,                                                             \
     .form = form_of_##op##_##alg,                                                                 \
     .segmented = segmented_},
#define TD_DIRECT(op, alg, fits_, traffic_, cells_, apart_, waits_, shared_, doc_)                 \
    {.operation = #op,                                                                             \
     .algorithm = #alg,                                                                            \
     .id = TD_COLL_##op,                                                                           \
     .doc = doc_,                                                                                  \
     .fits = can_##op##_##alg,                                                                     \
     .direct = td_##op##__##alg,                                                                   \
     .direct_form = direct_form_of_##op##_##alg},
#include "collectives/collectives.inc"
#undef TD_SCHEDULE
#undef TD_DIRECT
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

const td_collective *td_collectives(int *count) {
    *count = N_ROWS;
    return rows;
}

const td_collective *td_collective_find(const char *operation, const char *algorithm) {
    for (int i = 0; i < N_ROWS; i++) {
        if (strcmp(rows[i].operation, operation) == 0 &&
            strcmp(rows[i].algorithm, algorithm) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

const char *td_dtype_name(td_dtype dtype) {
    static const char *const names[] = {
#define TD_DTYPE_NAME(id, name, bytes, partial) #name,
        TD_DTYPE_MAP(TD_DTYPE_NAME)
#undef TD_DTYPE_NAME
    };
    return names[dtype];
}

const char *td_reduce_name(td_reduce reduce) {
    static const char *const names[] = {
#define TD_REDUCE_NAME(id, name) #name,
        TD_REDUCE_MAP(TD_REDUCE_NAME)
#undef TD_REDUCE_NAME
    };
    return names[reduce];
}

/* Segments of a pipeline: 64 KiB each, so that copying one takes far longer than the signal for it,
 * and no more than keep a schedule small. */
enum { SEGMENT_BYTES = 64 << 10, MAX_SEGMENTS = 64 };

int td_collective_segments(const td_collective *row, int64_t bytes) {
    if (!row->segmented || bytes < 2 * SEGMENT_BYTES) {
        return 1;
    }
    return bytes / SEGMENT_BYTES < MAX_SEGMENTS ? (int)(bytes / SEGMENT_BYTES) : MAX_SEGMENTS;
}

static void copy_alone(td_moves *s) {
    td_copy(s, 0, 0, td_at(TD_BUFFER_OUT, 0), 0, td_at(TD_BUFFER_IN, 0), td_chunks(s));
}

td_status td_collective_moves(const td_collective *row, const td_schedule_options *options,
                              td_moves *out) {
    td_schedule_options all = *options;
    td_generate_fn *alone = row->id == TD_COLL_barrier ? NULL : copy_alone;
    all.blocks = row->blocks(all.ranks);
    return td_schedule_create(&all, all.ranks == 1 ? alone : row->generate, out);
}

td_status td_collective_schedule(const td_collective *row, int ranks, int root, int segments,
                                 bool in_place, td_moves *out) {
    return td_collective_moves(
        row,
        &(td_schedule_options){
            .ranks = ranks, .root = root, .segments = segments, .in_place = in_place},
        out);
}
