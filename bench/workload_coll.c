/* SPDX-License-Identifier: Apache-2.0
 * Every row of the collectives table over message sizes: calls in rounds (coll_round.h), those of
 * MPI libraries in alternation.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/ceiling.h"
#include "bench/coll_hosts.h"
#include "bench/coll_blocks.h"
#include "bench/coll_cases.h"
#include "bench/mpi_peer.h"
#include "bench/selection_file.h"
#include "bench/stats.h"
#include "collectives/comm.h"
#include "threads/mpi_ranks.h"

enum {
    BOARD_AT = 4096,
    PAGE = 4096,
    BUFFER_AT = (BOARD_AT + sizeof(td_coll_board) + 4095) / PAGE * PAGE
};

_Static_assert((int)TD_COLL_CALLS >= (int)TD_ROUND_CALLS,
               "a round has room for the calls asked for");

typedef struct coll_state {
    const td_collective *row;
    td_comm *comm;
    td_dtype dtype;
    int64_t count, elements, bytes;
    td_coll_how how;
    td_coll_round round;
    td_coll_board *board; /* in the segment of rank 0; on several hosts in that of each */
    td_coll_clock clock;  /* of several hosts */
    _Atomic int status;   /* of the first call that failed */
    td_bench *bench;
    td_mpi_peer *peers[TD_MPI_PEERS]; /* by companion */
    int library; /* the companion that is the collective of the MPI that started us; -1: none */
    int64_t rounds;
    double library_ns[TD_ROUND_CALLS];           /* rank 0: of its last round */
    int64_t counts[TD_MAX_RANKS * TD_MAX_RANKS]; /* uneven: as of td_call */
    td_mpi_blocks blocks;                        /* the same for a library: of this rank */
} coll_state;

/* A row of the table, or, behind its end, an operation whose row is chosen (selection.h). */
static td_operation_id operation_of(const td_case *subject) {
    int n;
    const td_collective *rows = td_collectives(&n);
    int64_t row = subject->param[TD_COLL_PARAM_ROW];
    return row < n ? rows[row].id : (td_operation_id)(row - n);
}

static bool is_chosen(const td_case *subject) {
    int n;
    td_collectives(&n);
    return subject->param[TD_COLL_PARAM_ROW] >= n;
}

static const td_collective *row_of(const td_case *subject, const td_layout *layout) {
    int n;
    const td_collective *rows = td_collectives(&n);
    return is_chosen(subject) ? td_selection_find(td_selection_in_use(), operation_of(subject),
                                                  layout, subject->param[TD_COLL_PARAM_BYTES])
                              : &rows[subject->param[TD_COLL_PARAM_ROW]];
}

static bool has_pairs(const td_case *subject) {
    return td_operation_of(operation_of(subject))->blocks == TD_BLOCKS_PAIRS;
}

/* The count of the call: of the vector, or for even pairs of a block, so that the vector has the
 * size, or, uneven, nearly. */
static int64_t case_count(const td_case *subject, int ranks) {
    td_dtype dtype = (td_dtype)subject->param[TD_COLL_PARAM_DTYPE];
    int64_t count = subject->param[TD_COLL_PARAM_BYTES] / td_dtype_bytes(dtype);
    if (td_coll_how_of(subject).uneven) {
        return td_coll_uneven_elements(count, ranks);
    }
    return has_pairs(subject) ? count / ranks : count;
}

/* Blocks of nothing are no case: a library returns at once. */
static bool fits_ranks(const td_case *subject, const td_layout *layout) {
    const td_collective *row = row_of(subject, layout);
    bool counted = !td_coll_how_of(subject).uneven || layout->ranks <= TD_MAX_RANKS;
    return layout->ranks > 1 && row != NULL && row->fits(layout->ranks) && counted &&
           (subject->param[TD_COLL_PARAM_BYTES] == 0 || case_count(subject, layout->ranks) > 0);
}

/* Bytes of the buffers that a call reads, and as many that it writes where that is apart. */
static int64_t buffer_bytes(const td_case *subject) {
    int64_t bytes = subject->param[TD_COLL_PARAM_BYTES];
    return (td_coll_copies(td_coll_how_of(subject).state, bytes) * td_coll_stride(bytes) + PAGE -
            1) /
           PAGE * PAGE;
}

static int64_t staging_at(const td_case *subject) {
    return BUFFER_AT + buffer_bytes(subject) * (td_coll_how_of(subject).apart ? 2 : 1);
}

static td_status segment_coll(const td_case *subject, const td_layout *layout, int64_t *bytes) {
    const td_collective *row = row_of(subject, layout);
    if (row->direct != NULL && layout->kind == TD_RANK_MPI && td_mpi_hosts() > 1) {
        return td_fail(TD_ESKIP, "%s/%s works in memory in common; its ranks are on %d hosts",
                       row->operation, row->algorithm, td_mpi_hosts());
    }
    *bytes = staging_at(subject) +
             td_collective_staging_bytes(row, layout->ranks, case_count(subject, layout->ranks),
                                         (td_dtype)subject->param[TD_COLL_PARAM_DTYPE]);
    return TD_OK;
}

static void keep(coll_state *s, td_status status) {
    int none = TD_OK;
    if (status != TD_OK) {
        atomic_compare_exchange_strong(&s->status, &none, (int)status);
    }
}

/* ---- what a round asks for ---- */

/* The worker that runs a round or a call. */
static _Thread_local td_worker *here;

static void call_coll(void *arg, int worker, void *in, void *out) {
    coll_state *s = arg;
    (void)worker;
    td_call call = {.in = in,
                    .out = out,
                    .count = s->count,
                    .dtype = s->dtype,
                    .counts = s->how.uneven ? s->counts : NULL};
    keep(s, td_collective_run(s->row, s->comm, here, &call));
}

static void meet_coll(void *arg, int worker) {
    (void)arg, (void)worker;
    td_team_barrier(here);
}

static bool given_up(void *arg) {
    const coll_state *s = arg;
    return td_rank_failed(s->bench->rank);
}

static uint64_t meet_hosts(void *arg) {
    coll_state *s = arg;
    uint64_t go = 0;
    keep(s, td_coll_hosts_meet(&s->clock, &go));
    return go;
}

static void round_region(void *arg, td_worker *worker) {
    coll_state *s = arg;
    here = worker;
    td_coll_round_run(&s->round, s->board, worker->id);
}

static void call_region(void *arg, td_worker *worker) {
    coll_state *s = arg;
    here = worker;
    call_coll(s, worker->id, s->round.in, s->round.out);
}

/* ---- set-up ---- */

static bool deals_in_pairs(const coll_state *s) {
    return td_operation_of(s->row->id)->blocks == TD_BLOCKS_PAIRS;
}

/* Where a block starts, of those that rank `from` has. */
static int64_t first_of(const coll_state *s, int from, int block) {
    int p = s->bench->rank->count;
    if (s->how.uneven) {
        return td_coll_uneven_first(s->elements, p, deals_in_pairs(s), from, block);
    }
    return deals_in_pairs(s) ? block * s->count : td_chunk_first(s->count, block, p);
}

static void count_blocks(coll_state *s) {
    int p = s->bench->rank->count, me = s->bench->rank->rank, rows = deals_in_pairs(s) ? p : 1;
    for (int from = 0; from < rows; from++) {
        for (int to = 0; to < p; to++) {
            s->counts[from * p + to] = first_of(s, from, to + 1) - first_of(s, from, to);
        }
    }
    for (int block = 0; block < p; block++) {
        s->blocks.counts[block] = (int)(first_of(s, me, block + 1) - first_of(s, me, block));
        s->blocks.firsts[block] = (int)first_of(s, me, block);
    }
}

static const char NO_SUCH_CALL[] = "MPI has no such call of these numbers in even blocks";

/* MPI has it, for these numbers in these blocks. */
static bool mpi_has_it(const coll_state *s) {
    bool fits = td_operation_of(s->row->id)->blocks == TD_BLOCKS_WHOLE || s->how.uneven ||
                s->elements % s->bench->rank->count == 0;
    return td_mpi_operation_find(s->row->operation) != TD_MPI_OPERATIONS && s->dtype == TD_F32 &&
           fits;
}

/* In every rank: beside ranks that MPI has started stands its own collective, called by them. */
static void add_library(td_bench *bench, coll_state *s) {
    td_outcome *out = bench->outcome;
    s->library = -1;
    if (bench->rank->kind != TD_RANK_MPI || out->n_companions == TD_COMPANIONS) {
        return;
    }
    s->library = out->n_companions++;
    td_companion *peer = &out->companions[s->library];
    snprintf(peer->name, sizeof peer->name, "mpi");
    snprintf(peer->version, sizeof peer->version, "%.63s", td_mpi_library());
    snprintf(peer->method, sizeof peer->method, "exact sums, every element");
    peer->library = true;
    peer->state = mpi_has_it(s) ? TD_OUTCOME_OK : TD_OUTCOME_SKIPPED;
    if (peer->state == TD_OUTCOME_SKIPPED) {
        snprintf(peer->reason, sizeof peer->reason, "%s", NO_SUCH_CALL);
    }
}

static td_status start_peers(td_bench *bench, coll_state *s) {
    td_outcome *out = bench->outcome;
    char names[TD_MPI_PEERS][TD_MPI_NAME];
    int count;
    const char *directory = bench->settings->mpi;
    if (directory == NULL || bench->rank->rank != 0) {
        return TD_OK;
    }
    TD_TRY(td_mpi_peers(directory, names, &count));
    for (int i = 0; i < count; i++) {
        td_companion *peer = &out->companions[out->n_companions++];
        snprintf(peer->name, sizeof peer->name, "mpi-%.19s", names[i]);
        peer->library = true;
        td_status status = TD_OK;
        if (!mpi_has_it(s)) {
            status = td_fail(TD_ESKIP, "%s", NO_SUCH_CALL);
        } else {
            status = td_mpi_peer_start(directory, names[i], bench->rank, &s->peers[i]);
        }
        peer->state = status == TD_OK ? TD_OUTCOME_OK : TD_OUTCOME_SKIPPED;
        if (status == TD_OK) {
            snprintf(peer->version, sizeof peer->version, "%.63s",
                     td_mpi_peer_version(s->peers[i]));
        } else {
            snprintf(peer->reason, sizeof peer->reason, "%.159s", td_error());
        }
    }
    return TD_OK;
}

static td_status setup_coll(td_bench *bench) {
    coll_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (!s) {
        return td_fail(TD_ENOMEM, "a collective case");
    }
    const td_case *subject = bench->subject;
    td_rank *rank = bench->rank;
    s->bench = bench;
    s->row = row_of(
        subject, &(td_layout){.ranks = rank->count, .workers = rank->workers, .kind = rank->kind});
    s->dtype = (td_dtype)subject->param[TD_COLL_PARAM_DTYPE];
    s->how = td_coll_how_of(subject);
    s->count = case_count(subject, rank->count);
    s->elements = deals_in_pairs(s) && !s->how.uneven ? s->count * rank->count : s->count;
    s->bytes = s->elements * td_dtype_bytes(s->dtype);
    if (s->how.uneven) {
        count_blocks(s);
    }
    s->board = td_rank_peer(rank, rank->apart ? rank->rank : 0, rank->segment + BOARD_AT);
    unsigned char *in = rank->segment + BUFFER_AT;
    s->round = (td_coll_round){.rank = rank->rank,
                               .ranks = rank->count,
                               .workers = rank->workers,
                               .shares_cpus = rank->shares_cpus,
                               .mode = s->how.mode,
                               .state = s->how.state,
                               .in = in,
                               .out = s->how.apart ? in + buffer_bytes(subject) : in,
                               .bytes = s->bytes,
                               .element_bytes = td_dtype_bytes(s->dtype),
                               .ticks_per_ns = td_tsc_hz() * 1e-9,
                               .arg = s,
                               .call = call_coll,
                               .meet = meet_coll,
                               .given_up = given_up,
                               .meet_ranks = rank->apart ? meet_hosts : NULL};
    TD_TRY(start_peers(bench, s));
    add_library(bench, s);
    int64_t staging = staging_at(subject);
    return td_comm_create(rank, rank->segment + staging, (int64_t)rank->segment_bytes - staging,
                          &s->comm);
}

static void teardown_coll(td_bench *bench) {
    coll_state *s = bench->state;
    for (int i = 0; i < TD_MPI_PEERS; i++) {
        td_mpi_peer_end(s->peers[i]);
    }
    td_comm_destroy(s->comm);
    td_free(s);
}

static td_status status_of(coll_state *s) {
    return s->status == TD_OK ? TD_OK : td_fail((td_status)s->status, "%s", td_error());
}

/* ---- proof ---- */

static double read_element(const coll_state *s, const void *buffer, int64_t i) {
    float value;
    uint32_t bits;
    if (s->dtype == TD_F32) {
        return (double)((const float *)buffer)[i];
    }
    bits = (uint32_t)((const uint16_t *)buffer)[i] << 16;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

/* Of element i in the blocks that rank `from` has. */
static int owner_of(const coll_state *s, int from, int64_t i) {
    int owner = 0;
    while (first_of(s, from, owner + 1) <= i) {
        owner++;
    }
    return owner;
}

static int sum_below(int64_t i, int ranks) {
    int sum = 0;
    for (int r = 0; r < ranks; r++) {
        sum += td_coll_value(r, i);
    }
    return sum;
}

/* What element i of this rank must be; false: undefined. */
static bool expected(const coll_state *s, int64_t i, const td_rank *rank, int *out) {
    int p = rank->count, me = rank->rank, from;
    switch (s->row->id) {
    case TD_COLL_allreduce:
        *out = sum_below(i, p);
        return true;
    case TD_COLL_reduce:
        *out = sum_below(i, p);
        return me == 0;
    case TD_COLL_reduce_scatter:
        *out = sum_below(i, p);
        return owner_of(s, me, i) == me;
    case TD_COLL_scan:
        *out = sum_below(i, me + 1);
        return true;
    case TD_COLL_exscan:
        *out = sum_below(i, me);
        return me > 0;
    case TD_COLL_broadcast:
        *out = td_coll_value(0, i);
        return true;
    case TD_COLL_scatter:
        *out = td_coll_value(0, i);
        return owner_of(s, me, i) == me;
    case TD_COLL_allgather:
        *out = td_coll_value(owner_of(s, me, i), i);
        return true;
    case TD_COLL_gather:
        *out = td_coll_value(owner_of(s, me, i), i);
        return me == 0;
    case TD_COLL_alltoall:
        from = owner_of(s, me, i);
        *out = td_coll_value(from, first_of(s, from, me) + i - first_of(s, me, from));
        return true;
    case TD_COLL_shift:
        *out = td_coll_value((me + p - 1) % p, i);
        return true;
    case TD_COLL_exchange:
        *out = td_coll_value(i < s->count / 2 ? (me + p - 1) % p : (me + 1) % p, i);
        return true;
    default:
        return false;
    }
}

/* Elements that are compared after rounds, evenly spread. */
enum { COMPARED = 1 << 16 };

static td_status check_result(const coll_state *s, const void *out, int64_t most) {
    const td_rank *rank = s->bench->rank;
    int64_t step = s->elements > most ? s->elements / most | 1 : 1;
    for (int64_t i = 0; i < s->elements; i += step) {
        int right;
        /* As bits: a zero of the wrong sign is wrong. */
        double found = read_element(s, out, i);
        if (expected(s, i, rank, &right) &&
            (!(found == (double)right) || signbit(found) != (right < 0))) {
            return td_fail(TD_ECHECK, "rank %d of %d: element %lld is %g, not %d", rank->rank,
                           rank->count, (long long)i, found, right);
        }
    }
    return TD_OK;
}

/* A number of [0.5, 1), of all bits a type has: what sums round, without cancellation. */
static double rough(const coll_state *s, int rank, int64_t i) {
    uint64_t hash = ((uint64_t)i * 64 + (uint64_t)rank + 1) * UINT64_C(0x9E3779B97F4A7C15);
    hash ^= hash >> 29;
    hash *= UINT64_C(0xBF58476D1CE4E5B9);
    int bits = s->dtype == TD_F32 ? 23 : 7;
    return 0.5 + (double)(hash >> (64 - bits)) / (double)(UINT64_C(2) << bits);
}

static void write_rough(const coll_state *s) {
    for (int64_t i = 0; i < s->elements; i++) {
        float value = (float)rough(s, s->bench->rank->rank, i);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        if (s->dtype == TD_F32) {
            ((float *)s->round.in)[i] = value;
        } else {
            ((uint16_t *)s->round.in)[i] = (uint16_t)(bits >> 16);
        }
    }
}

/* Whether all ranks have the same bits; asked in every rank, known in rank 0. */
static td_status compare_ranks(const coll_state *s, bool *same) {
    const td_rank *rank = s->bench->rank;
    if (rank->apart) {
        return td_coll_hosts_compare(s->round.out, s->bytes, same);
    }
    *same = true;
    for (int peer = 1; rank->rank == 0 && peer < rank->count; peer++) {
        *same = *same &&
                memcmp(td_rank_peer(rank, peer, s->round.out), s->round.out, (size_t)s->bytes) == 0;
    }
    return TD_OK;
}

/* Units in the last place of the type by which results differ from sums in f64. */
static void note_rounding(coll_state *s, bool same) {
    td_outcome *out = s->bench->outcome;
    const td_rank *rank = s->bench->rank;
    int bits = s->dtype == TD_F32 ? 24 : 8, exponent;
    double most = 0;
    for (int64_t i = 0; i < s->elements; i++) {
        double sum = 0;
        for (int r = 0; r < rank->count; r++) {
            sum += rough(s, r, i);
        }
        frexp(sum, &exponent);
        double ulps = fabs(read_element(s, s->round.out, i) - sum) / ldexp(1, exponent - bits);
        most = ulps > most ? ulps : most;
    }
    out->max_ulp = most;
    td_outcome_number(out, "rank_identical", same);
}

static td_status verify_rounding(td_bench *bench) {
    coll_state *s = bench->state;
    if (s->row->id != TD_COLL_allreduce) {
        return TD_OK;
    }
    write_rough(s);
    td_team_run(bench->team, call_region, s);
    TD_TRY(status_of(s));
    TD_TRY(td_rank_barrier(bench->rank));
    bool same;
    TD_TRY(compare_ranks(s, &same));
    if (bench->rank->rank == 0) {
        note_rounding(s, same);
    }
    return td_rank_barrier(bench->rank);
}

static td_mpi_command command_of(const coll_state *s) {
    return (td_mpi_command){.operation = td_mpi_operation_find(s->row->operation),
                            .mode = s->how.mode,
                            .state = s->how.state,
                            .in_place = !s->how.apart,
                            .uneven = s->how.uneven,
                            .count = s->elements};
}

static void set_aside(td_companion *peer, td_status status) {
    peer->state = status == TD_ECHECK ? TD_OUTCOME_FAILED : TD_OUTCOME_SKIPPED;
    snprintf(peer->reason, sizeof peer->reason, "%.159s", td_error());
}

static void verify_peers(td_bench *bench) {
    coll_state *s = bench->state;
    for (int i = 0; i < bench->outcome->n_companions; i++) {
        td_companion *peer = &bench->outcome->companions[i];
        td_mpi_command command = command_of(s);
        command.check = true;
        if (peer->state != TD_OUTCOME_OK || i == s->library) {
            continue;
        }
        snprintf(peer->method, sizeof peer->method, "exact sums, every element");
        td_status status = td_mpi_peer_run(s->peers[i], &command, NULL);
        if (status != TD_OK) {
            set_aside(peer, status);
        }
    }
}

static void call_library(void *arg, int worker, void *in, void *out) {
    coll_state *s = arg;
    const td_mpi_call call = {td_mpi_operation_find(s->row->operation), in, out, s->elements,
                              s->how.uneven ? &s->blocks : NULL};
    if (worker == 0) {
        int error = td_mpi_messages()->collective(&call);
        keep(s, error == 0 ? TD_OK : td_mpi_failed(error, s->row->operation));
    }
}

static bool has_library(const coll_state *s) {
    return s->library >= 0 && s->bench->outcome->companions[s->library].state == TD_OUTCOME_OK;
}

/* One call of the library's, compared in all ranks. */
static td_status verify_library(td_bench *bench) {
    coll_state *s = bench->state;
    const td_rank *rank = bench->rank;
    if (!has_library(s)) {
        return TD_OK;
    }
    td_coll_write(s->round.in, rank->rank, 0, s->elements, s->round.element_bytes);
    call_library(s, 0, s->round.in, s->round.out);
    if (s->row->id == TD_COLL_reduce_scatter && !s->how.apart) {
        int64_t first = first_of(s, rank->rank, rank->rank);
        int64_t n = first_of(s, rank->rank, rank->rank + 1) - first;
        memmove(s->round.out + first * s->round.element_bytes, s->round.out,
                (size_t)(n * s->round.element_bytes));
    }
    td_status status = status_of(s);
    status = status == TD_OK ? check_result(s, s->round.out, s->elements) : status;
    status = td_mpi_agree(status);
    if (status == TD_ECHECK) {
        set_aside(&bench->outcome->companions[s->library], status);
    }
    return status == TD_ECHECK ? TD_OK : status;
}

static td_status verify_coll(td_bench *bench) {
    coll_state *s = bench->state;
    td_coll_write(s->round.in, bench->rank->rank, 0, s->elements, s->round.element_bytes);
    td_team_run(bench->team, call_region, s);
    TD_TRY(status_of(s));
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "%s%s%s",
             s->count ? "memcmp:exact sums" : "every rank returned",
             is_chosen(bench->subject) ? "; chosen: " : "",
             is_chosen(bench->subject) ? s->row->algorithm : "");
    td_status status = check_result(s, s->round.out, s->elements);
    if (status == TD_OK && s->count > 0) {
        TD_TRY(verify_rounding(bench));
    }
    if (bench->rank->rank == 0) {
        verify_peers(bench);
    }
    if (status == TD_OK) {
        TD_TRY(verify_library(bench));
    }
    /* All zero from here on: sums of sums would overflow after some hundred calls. */
    memset(s->round.in, 0, (size_t)buffer_bytes(bench->subject));
    return status;
}

/* ---- measuring ---- */

static void library_region(void *arg, td_worker *worker) {
    coll_state *s = arg;
    td_coll_round round = s->round;
    round.call = call_library;
    here = worker;
    td_coll_round_run(&round, s->board, worker->id);
}

/* All workers of all ranks; nanoseconds of each call, in rank 0. */
static td_status time_round(td_bench *bench, td_region_fn *region, int64_t calls, double *ns) {
    coll_state *s = bench->state;
    s->round.calls = calls;
    if (bench->rank->apart) {
        TD_TRY(td_coll_clock_set(&s->clock));
    }
    td_team_run(bench->team, region, s);
    TD_TRY(status_of(s));
    if (td_rank_failed(bench->rank)) {
        return td_rank_barrier(bench->rank); /* says why */
    }
    if (bench->rank->apart) {
        TD_TRY(td_coll_hosts_times(&s->clock, &s->round, s->board));
    }
    if (bench->rank->rank == 0) {
        td_coll_round_times(&s->round, s->board, ns);
    }
    return TD_OK;
}

/* The library's round, as ours, by the same ranks on the same buffers. */
static td_status time_library(td_bench *bench, int64_t calls) {
    coll_state *s = bench->state;
    return time_round(bench, library_region, calls, s->library_ns);
}

static td_status time_own(td_bench *bench, int64_t calls, double *ns) {
    coll_state *s = bench->state;
    TD_TRY(time_round(bench, round_region, calls, ns));
    /* What the last call wrote is looked at, not only that it came back. */
    return s->how.state == TD_COLL_WRITTEN ? check_result(s, s->round.out, COMPARED) : TD_OK;
}

/* Now the one first, now the other. */
static td_status rounds_coll(td_bench *bench, int64_t calls, double *ns) {
    coll_state *s = bench->state;
    bool first = s->rounds++ % 2 != 0;
    if (first && has_library(s)) {
        TD_TRY(time_library(bench, calls));
    }
    TD_TRY(time_own(bench, calls, ns));
    return !first && has_library(s) ? time_library(bench, calls) : TD_OK;
}

static td_status beside_coll(td_bench *bench, int companion, int64_t calls, double *ns) {
    coll_state *s = bench->state;
    if (companion == s->library) {
        memcpy(ns, s->library_ns, (size_t)calls * sizeof *ns); /* timed by all ranks just now */
        return TD_OK;
    }
    td_mpi_command command = command_of(s);
    command.calls = calls;
    td_status status = td_mpi_peer_run(s->peers[companion], &command, ns);
    if (status != TD_OK) {
        set_aside(&bench->outcome->companions[companion], status);
    }
    return TD_OK;
}

/* How many times our median the libraries' is: above 1 we are faster; the best of them last, with
 * bounds, which are those of both medians at their worst and at their best for us. */
static void compare_libraries(td_outcome *out) {
    td_stats own, of, best = {.p50 = INFINITY};
    if (td_stats_compute(out->samples_ns, out->n_samples, &own) != TD_OK) {
        return;
    }
    for (int i = 0; i < out->n_companions; i++) {
        const td_companion *peer = &out->companions[i];
        char name[TD_CASE_PROVIDER + 8];
        if (peer->n > 0 && peer->state == TD_OUTCOME_OK &&
            td_stats_compute(peer->samples_ns, peer->n, &of) == TD_OK) {
            snprintf(name, sizeof name, "times_%.17s", peer->name);
            td_outcome_number(out, name, of.p50 / own.p50);
            best = of.p50 < best.p50 ? of : best;
        }
    }
    if (isfinite(best.p50)) {
        td_outcome_number(out, "times_best", best.p50 / own.p50);
        td_outcome_number(out, "times_best_low", best.low / own.high);
        td_outcome_number(out, "times_best_high", best.high / own.low);
    }
}

static void finish_coll(td_bench *bench) {
    td_outcome *out = bench->outcome;
    if (bench->rank->rank != 0 || out->n_samples == 0) {
        return;
    }
    if (bench->rank->apart) {
        const coll_state *s = bench->state;
        td_outcome_number(out, "hosts", td_mpi_hosts());
        td_outcome_number(out, "clock_error_ns", s->clock.error_ns);
    }
    compare_libraries(out);
}

static void note_pages(const td_bench *bench) {
    td_pages pages = {0};
    const td_rank *rank = bench->rank;
    if (td_pages_add(rank->segment, rank->segment_bytes, &pages) == TD_OK &&
        pages.resident_bytes > 0) {
        td_outcome_number(bench->outcome, "huge_page_share",
                          (double)pages.huge_bytes / (double)pages.resident_bytes);
    }
}

/* An allreduce loads and stores as many bytes: in place, every line that it has loaded; apart,
 * other ones, and past the caches where a copy does so. */
static int like_peak(const coll_state *s) {
    if (s->row->id != TD_COLL_allreduce) {
        return 0;
    }
    return s->how.apart ? TD_PEAK_COPY : TD_PEAK_SWAP;
}

static void cost_coll(const td_bench *bench, td_cost *out) {
    const coll_state *s = bench->state;
    int ranks = bench->rank->count;
    double bytes = (double)s->bytes;
    const td_operation *operation = td_operation_of(s->row->id);
    if (s->count == 0) {
        *out = (td_cost){.value = TD_VALUE_TIME};
        return;
    }
    /* In place, the block of pairs that a rank has for itself is not touched. */
    bool stays = operation->blocks == TD_BLOCKS_PAIRS && !s->how.apart;
    double touched = stays ? (ranks - 1) * bytes : ranks * bytes;
    *out = (td_cost){.value = TD_VALUE_BUS,
                     .bytes = bytes,
                     .working_set = bench->rank->apart ? 0 : touched * (s->how.apart ? 2 : 1),
                     .bus_factor = operation->busbw_factor(ranks),
                     .roof_bytes = operation->least_traffic(ranks) * bytes,
                     .like = like_peak(s)};
    td_outcome_number(bench->outcome, "message_bytes", bytes);
    td_outcome_number(bench->outcome, "wrong", 0); /* a case with one would have failed */
    td_outcome_number(bench->outcome, "traffic_bytes",
                      td_collective_traffic(s->row, ranks,
                                            deals_in_pairs(s) ? s->elements / ranks : s->count,
                                            s->dtype));
    note_pages(bench);
}

const td_workload td_workload_coll = {
    .name = "coll",
    .apart = true,
    .list = td_coll_list,
    .fits = fits_ranks,
    .segment = segment_coll,
    .setup = setup_coll,
    .verify = verify_coll,
    .rounds = rounds_coll,
    .beside = beside_coll,
    .cost = cost_coll,
    .finish = finish_coll,
    .teardown = teardown_coll,
};
