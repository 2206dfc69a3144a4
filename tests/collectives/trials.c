/* SPDX-License-Identifier: Apache-2.0 */
#include "trials.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "collectives/comm.h"
#include "reference.h"
#include "threads/mpi_ranks.h"

enum {
    MAX_COUNT = 20011,
    GUARD = 64,
    MAX_P = TD_TRIAL_RANKS,
    AREA_BYTES = MAX_COUNT * 8 + 2 * GUARD
};

/* One call and what must come of it; worker 0 prepares and judges. */
typedef struct trial {
    const td_collective *row;
    td_comm *comm;
    td_rank *rank;
    unsigned char *in_area, *out_area; /* guard, vector, guard */
    int64_t counts[MAX_P * MAX_P];
    td_call call;
    td_pattern kind;
    int64_t elements;
    int every;
    bool direct;
    td_sha256 *results;     /* of all calls so far, where they are defined */
    unsigned char *defined; /* of one call */
    td_status status;       /* of all calls so far, and the first message */
    char text[512];
} trial;

static void complain(trial *t, const char *what, int64_t where) {
    if (t->status == TD_OK) {
        snprintf(t->text, sizeof t->text,
                 "%s/%s p%d rank %d, %lld %s %s, root %d, %s%s, pattern %d: %s at %lld",
                 t->row->operation, t->row->algorithm, t->rank->count, t->rank->rank,
                 (long long)t->call.count, td_dtype_name(t->call.dtype),
                 td_reduce_name(t->call.reduce), t->call.root,
                 t->call.in == t->call.out ? "in place" : "out of place",
                 t->call.counts ? ", counted" : "", (int)t->kind, what, (long long)where);
        t->status = TD_ECHECK;
    }
}

static td_reference reference_of(const trial *t) {
    return (td_reference){.row = t->row,
                          .call = &t->call,
                          .ranks = t->rank->count,
                          .elements = t->elements,
                          .kind = t->kind};
}

static void prepare(trial *t) {
    td_reference reference = reference_of(t);
    memset(t->in_area, 0xA5, AREA_BYTES);
    memset(t->out_area, 0xA5, AREA_BYTES);
    for (int64_t i = 0; i < t->elements; i++) {
        td_reference_store(t->in_area + GUARD, i, td_reference_input(&reference, t->rank->rank, i),
                           t->call.dtype);
    }
}

static void judge_guards(trial *t, const unsigned char *area) {
    int64_t bytes = t->elements * td_dtype_bytes(t->call.dtype);
    for (int64_t i = 0; i < GUARD; i++) {
        if (area[i] != 0xA5 || area[GUARD + bytes + i] != 0xA5) {
            complain(t, "a write outside the buffer", i);
        }
    }
}

static void judge(trial *t) {
    td_reference reference = reference_of(t);
    int64_t bytes = td_dtype_bytes(t->call.dtype);
    const unsigned char *out = t->call.out;
    int64_t n_defined = 0;
    for (int64_t i = 0; i < t->elements && t->row->id != TD_COLL_barrier; i++) {
        unsigned char right[8] = {0};
        if (!td_reference_wanted(&reference, t->rank->rank, i, right)) {
            continue;
        }
        memcpy(t->defined + n_defined++ * bytes, out + i * bytes, (size_t)bytes);
        if (t->kind == TD_PATTERN_WHOLE
                ? memcmp(out + i * bytes, right, (size_t)bytes) != 0
                : !td_reference_near(&reference, t->rank->rank, i, out + i * bytes)) {
            complain(t, "a wrong value", i);
            break;
        }
    }
    td_sha256_add(t->results, t->defined, (size_t)(n_defined * bytes));
    for (int64_t i = 0; i < t->elements && t->call.in != t->call.out; i++) {
        unsigned char kept[8] = {0};
        td_reference_store(kept, 0, td_reference_input(&reference, t->rank->rank, i),
                           t->call.dtype);
        if (memcmp(t->in_area + GUARD + i * bytes, kept, (size_t)bytes) != 0) {
            complain(t, "the input was changed", i);
            break;
        }
    }
    judge_guards(t, t->in_area);
    judge_guards(t, t->out_area);
    /* One answer: the bits of rank 0. */
    if (t->row->id == TD_COLL_allreduce && !t->rank->apart &&
        memcmp(out, td_rank_peer(t->rank, 0, out), (size_t)(t->elements * bytes)) != 0) {
        complain(t, "other bits than rank 0", 0);
    }
}

static void run_trial(trial *t, td_worker *worker) {
    if (worker->id == 0) {
        prepare(t);
    }
    td_status status = td_collective_run(t->row, t->comm, worker, &t->call);
    if (status == TD_OK) {
        status = td_barrier(t->comm, worker);
    }
    if (worker->id == 0) {
        if (status != TD_OK && t->status == TD_OK) {
            t->status = status;
            snprintf(t->text, sizeof t->text, "%s", td_error());
        }
        judge(t);
    }
    td_barrier(t->comm, worker);
}

/* Blocks of different sizes, some empty. */
static void count_blocks(trial *t, int64_t count) {
    int p = t->rank->count;
    bool pairs = td_operation_of(t->row->id)->blocks == TD_BLOCKS_PAIRS;
    int64_t total = 0, most = 0;
    for (int i = 0; i < p; i++) {
        int64_t from = 0, to = 0;
        for (int j = 0; j < p; j++) {
            t->counts[i * p + j] = (i * 3 + j * 5) % 4 * (count / (3 * p + 1));
        }
        for (int j = 0; j < p; j++) {
            from += t->counts[i * p + j];
            to += (j * 3 + i * 5) % 4 * (count / (3 * p + 1));
        }
        most = from > most ? from : most;
        most = to > most ? to : most;
        total += t->counts[i];
    }
    if (!pairs) {
        total = 0;
        for (int i = 0; i < p; i++) {
            t->counts[i] = i % 3 == 1 ? 0 : (i + 1) * (count / (p * p));
            total += t->counts[i];
        }
    }
    t->call.counts = t->counts;
    t->call.count = pairs ? most : total;
}

static void choose(trial *t, const td_collective *row, int64_t count, int variant) {
    int p = t->rank->count;
    const td_operation *operation = td_operation_of(row->id);
    bool pairs = operation->blocks == TD_BLOCKS_PAIRS;
    bool scans = row->id == TD_COLL_scan || row->id == TD_COLL_exscan;
    t->row = row;
    t->kind = variant % 3 == 2 ? TD_PATTERN_REAL : TD_PATTERN_WHOLE;
    t->call = (td_call){.in = t->in_area + GUARD,
                        .count = pairs ? count / p : count,
                        .dtype = (td_dtype)((variant + count) % TD_DTYPE_COUNT),
                        .reduce = (td_reduce)((variant / 2 + count / 3) % TD_REDUCE_COUNT),
                        .root = operation->rooted ? (int)((variant + count) % p) : 0};
    if (t->kind == TD_PATTERN_REAL) {
        t->call.dtype = (td_dtype)(variant / 3 % 3); /* f32, bf16, f64 */
        t->call.reduce = TD_SUM;
    }
    if (t->call.reduce == TD_AVG && scans) {
        t->call.reduce = TD_SUM;
    }
    bool in_place = variant % 2 == 1;
    t->call.out = (in_place ? t->in_area : t->out_area) + GUARD;
    /* Counted blocks in place, or, of the row that refuses that, out of place. */
    bool apart = row->id == TD_COLL_alltoall && row->direct != NULL;
    bool counted = variant % 4 == (apart ? 2 : 1) && operation->blocks != TD_BLOCKS_WHOLE &&
                   strcmp(row->algorithm, "bruck") != 0;
    if (counted) {
        count_blocks(t, count);
    }
    t->elements = t->call.counts == NULL && pairs ? t->call.count * p : t->call.count;
}

static void run_all(void *arg, td_worker *worker) {
    trial *t = arg;
    int rows, p = td_comm_size(t->comm);
    const td_collective *table = td_collectives(&rows);
    const int64_t counts[] = {0, 1, p - 1, p + 1, 64 * p + 1, p <= 3 ? MAX_COUNT : 1009};
    for (int row = 0; row < rows; row++) {
        if (table[row].direct != NULL && !t->direct) {
            continue;
        }
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            for (int variant = 0; variant < 6 && table[row].fits(p); variant++) {
                if ((row + (int)c + variant) % t->every != 0) {
                    continue;
                }
                td_team_barrier(worker);
                if (worker->id == 0) {
                    choose(t, &table[row], counts[c], variant + (int)c);
                }
                td_team_barrier(worker);
                run_trial(t, worker);
            }
        }
    }
}

static int64_t staging_bytes(int ranks) {
    return td_comm_bytes(ranks, MAX_COUNT, TD_F64) + 3 * (MAX_COUNT * 8 + 64);
}

/* What all ranks have seen, in the first bytes of every segment. */
static td_status join_results(trial *t) {
    td_rank *rank = t->rank;
    unsigned char *mine = rank->segment;
    char all[TD_SHA256_HEX];
    TD_TRY(td_rank_barrier(rank));
    td_sha256_finish(t->results, (char *)mine);
    TD_TRY(td_rank_barrier(rank));
    td_sha256 *joined;
    TD_TRY(td_sha256_create(&joined));
    char each[TD_MAX_RANKS][TD_SHA256_HEX];
    if (rank->apart) {
        TD_TRY(td_mpi_exchange(mine, each, TD_SHA256_HEX));
    }
    for (int peer = 0; peer < rank->count; peer++) {
        td_sha256_add(joined, rank->apart ? each[peer] : td_rank_peer(rank, peer, mine),
                      TD_SHA256_HEX);
    }
    td_sha256_finish(joined, all);
    TD_TRY(td_rank_barrier(rank));
    memcpy(mine, all, sizeof all);
    return TD_OK;
}

typedef struct plan {
    int every;
    bool direct;
} plan;

static td_status all_rows(td_rank *rank, void *arg) {
    const plan *wanted = arg;
    td_team_options options = {
        .workers = rank->workers, .pu = rank->pu, .shares_cpus = rank->shares_cpus};
    int64_t staging = staging_bytes(rank->count) / 64 * 64;
    trial t = {.every = wanted->every,
               .direct = wanted->direct,
               .rank = rank,
               .in_area = rank->segment + staging};
    t.out_area = t.in_area + (AREA_BYTES + 63) / 64 * 64;
    td_team *team = NULL;
    t.defined = td_alloc(AREA_BYTES);
    TD_TRY(t.defined == NULL ? TD_ENOMEM : td_sha256_create(&t.results));
    TD_TRY(td_comm_create(rank, rank->segment, staging, &t.comm));
    TD_TRY(td_team_create(&options, &team));
    td_team_run(team, run_all, &t);
    td_team_destroy(team);
    td_comm_destroy(t.comm);
    td_free(t.defined);
    return t.status == TD_OK ? join_results(&t) : td_fail(t.status, "%s", t.text);
}

td_status td_trial_rows(const td_layout *layout, int every, bool direct,
                        char sha256[TD_SHA256_HEX]) {
    plan wanted = {every, direct};
    td_group_options options = {.layout = *layout,
                                .segment_bytes = (size_t)staging_bytes(layout->ranks) +
                                                 2 * AREA_BYTES + (1 << 12),
                                .deadline_ns = INT64_C(20000000000)};
    return td_group_run_result(&options, all_rows, &wanted, sha256, TD_SHA256_HEX);
}
