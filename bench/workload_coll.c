/* SPDX-License-Identifier: Apache-2.0
 * Every row of the collectives table over message sizes.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "bench/case.h"
#include "collectives/comm.h"

enum { PARAM_ROW, PARAM_BYTES, PARAM_DTYPE };
enum { BUFFER_AT = 4096 };

static const int64_t quick_sizes[] = {4 << 10, 64 << 10, 1 << 20, 8 << 20, 64 << 20};
static const int64_t full_sizes[] = {64,        256,     1 << 10,  16 << 10,
                                     256 << 10, 4 << 20, 16 << 20, 256 << 20};

static const int64_t other_sizes[] = {1 << 10, 64 << 10, 4 << 20};

typedef struct coll_state {
    const td_collective *row;
    td_comm *comm;
    td_dtype dtype;
    int64_t count, elements;
    void *buffer;
    _Atomic int status; /* of the first call that failed */
    td_bench *bench;
} coll_state;

static void list_size(const td_workload *self, td_case_list *list, int row, int64_t bytes,
                      td_dtype dtype, bool quick) {
    int n;
    const td_collective *c = &td_collectives(&n)[row];
    char size[24];
    if (bytes >= 1 << 20) {
        snprintf(size, sizeof size, "%lldMiB", (long long)(bytes >> 20));
    } else if (bytes >= 1 << 10) {
        snprintf(size, sizeof size, "%lldKiB", (long long)(bytes >> 10));
    } else {
        snprintf(size, sizeof size, "%lldB", (long long)bytes);
    }
    td_case *added = bytes == 0 ? td_case_add(list, self, "coll/%s/%s", c->operation, c->algorithm)
                                : td_case_add(list, self, "coll/%s/%s/%s-%s", c->operation,
                                              c->algorithm, dtype == TD_F32 ? "f32" : "bf16", size);
    added->param[PARAM_ROW] = row;
    added->param[PARAM_BYTES] = bytes;
    added->param[PARAM_DTYPE] = dtype;
    added->quick = quick;
}

/* The rows that the quick suite measures: what training uses, and what shows the difference. */
static bool is_quick(const td_collective *row) {
    static const char *const names[][2] = {{"barrier", "dissemination"},
                                           {"allreduce", "tree"},
                                           {"allreduce", "ring"},
                                           {"reduce_scatter", "ring"},
                                           {"allgather", "ring"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (row == td_collective_find(names[i][0], names[i][1])) {
            return true;
        }
    }
    return false;
}

static td_status list_coll(const td_workload *self, td_case_list *list) {
    int n;
    const td_collective *rows = td_collectives(&n);
    for (int row = 0; row < n; row++) {
        if (rows[row].id == TD_COLL_barrier) {
            list_size(self, list, row, 0, TD_F32, is_quick(&rows[row]));
            continue;
        }
        if (!is_quick(&rows[row])) {
            for (size_t i = 0; i < sizeof other_sizes / sizeof other_sizes[0]; i++) {
                list_size(self, list, row, other_sizes[i], TD_F32, false);
            }
            continue;
        }
        for (size_t i = 0; i < sizeof quick_sizes / sizeof quick_sizes[0]; i++) {
            list_size(self, list, row, quick_sizes[i], TD_F32, true);
            list_size(self, list, row, quick_sizes[i], TD_BF16, false);
        }
        for (size_t i = 0; i < sizeof full_sizes / sizeof full_sizes[0]; i++) {
            list_size(self, list, row, full_sizes[i], TD_F32, false);
        }
    }
    return TD_OK;
}

static bool fits_ranks(const td_case *subject, const td_layout *layout) {
    int n;
    return layout->ranks > 1 && td_collectives(&n)[subject->param[PARAM_ROW]].fits(layout->ranks);
}

/* The count of the call: of the vector, or for pairs of a block, so that the vector has the size.
 */
static int64_t case_count(const td_case *subject, int ranks) {
    int n;
    const td_collective *row = &td_collectives(&n)[subject->param[PARAM_ROW]];
    int64_t count =
        subject->param[PARAM_BYTES] / td_dtype_bytes((td_dtype)subject->param[PARAM_DTYPE]);
    return td_operation_of(row->id)->blocks == TD_BLOCKS_PAIRS ? count / ranks : count;
}

static int64_t staging_at(const td_case *subject) {
    return (BUFFER_AT + subject->param[PARAM_BYTES] + 4095) / 4096 * 4096;
}

static td_status segment_coll(const td_case *subject, const td_layout *layout, int64_t *bytes) {
    int n;
    *bytes = staging_at(subject) +
             td_collective_staging_bytes(&td_collectives(&n)[subject->param[PARAM_ROW]],
                                         layout->ranks, case_count(subject, layout->ranks),
                                         (td_dtype)subject->param[PARAM_DTYPE]);
    return TD_OK;
}

static td_status setup_coll(td_bench *bench) {
    coll_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (!s) {
        return td_fail(TD_ENOMEM, "a collective case");
    }
    const td_case *subject = bench->subject;
    td_rank *rank = bench->rank;
    int n;
    s->bench = bench;
    s->row = &td_collectives(&n)[subject->param[PARAM_ROW]];
    s->dtype = (td_dtype)subject->param[PARAM_DTYPE];
    s->count = case_count(subject, rank->count);
    s->elements =
        td_operation_of(s->row->id)->blocks == TD_BLOCKS_PAIRS ? s->count * rank->count : s->count;
    s->buffer = rank->segment + BUFFER_AT;
    int64_t staging = staging_at(subject);
    return td_comm_create(rank, rank->segment + staging, (int64_t)rank->segment_bytes - staging,
                          &s->comm);
}

static void teardown_coll(td_bench *bench) {
    coll_state *s = bench->state;
    td_comm_destroy(s->comm);
    td_free(s);
}

static void run_coll(td_bench *bench, td_worker *worker) {
    coll_state *s = bench->state;
    td_status status =
        td_collective_in_place(s->row, s->comm, worker, s->buffer, s->count, s->dtype);
    int none = TD_OK;
    if (status != TD_OK) {
        atomic_compare_exchange_strong(&s->status, &none, (int)status);
    }
}

static void run_once(void *arg, td_worker *worker) {
    run_coll(((coll_state *)arg)->bench, worker);
}

/* Small integers: every partial sum over up to 16 ranks is exact in bf16 too (at most 256), so any
 * order of additions gives these bits. */
static int value_of(int rank, int64_t i) {
    return (int)((i * 7 + rank * 13) % 31) - 15;
}

static void store(const coll_state *s, int64_t i, int value) {
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (s->dtype == TD_F32) {
        ((float *)s->buffer)[i] = f;
    } else {
        ((uint16_t *)s->buffer)[i] = (uint16_t)(bits >> 16);
    }
}

static bool holds(const coll_state *s, int64_t i, int value) {
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (s->dtype == TD_F32) {
        return memcmp((float *)s->buffer + i, &f, sizeof f) == 0;
    }
    return ((uint16_t *)s->buffer)[i] == (uint16_t)(bits >> 16);
}

static int owner_of(const coll_state *s, int64_t i, int ranks) {
    int owner = 0;
    while (td_chunk_first(s->count, owner + 1, ranks) <= i) {
        owner++;
    }
    return owner;
}

static int sum_below(int64_t i, int ranks) {
    int sum = 0;
    for (int r = 0; r < ranks; r++) {
        sum += value_of(r, i);
    }
    return sum;
}

/* What element i of this rank must be; false: undefined. */
static bool expected(const coll_state *s, int64_t i, const td_rank *rank, int *out) {
    int p = rank->count, me = rank->rank;
    switch (s->row->id) {
    case TD_COLL_allreduce:
        *out = sum_below(i, p);
        return true;
    case TD_COLL_reduce:
        *out = sum_below(i, p);
        return me == 0;
    case TD_COLL_reduce_scatter:
        *out = sum_below(i, p);
        return owner_of(s, i, p) == me;
    case TD_COLL_scan:
        *out = sum_below(i, me + 1);
        return true;
    case TD_COLL_exscan:
        *out = sum_below(i, me);
        return me > 0;
    case TD_COLL_broadcast:
        *out = value_of(0, i);
        return true;
    case TD_COLL_scatter:
        *out = value_of(0, i);
        return owner_of(s, i, p) == me;
    case TD_COLL_allgather:
        *out = value_of(owner_of(s, i, p), i);
        return true;
    case TD_COLL_gather:
        *out = value_of(owner_of(s, i, p), i);
        return me == 0;
    case TD_COLL_alltoall:
        *out = value_of((int)(i / s->count), me * s->count + i % s->count);
        return true;
    case TD_COLL_shift:
        *out = value_of((me + p - 1) % p, i);
        return true;
    case TD_COLL_exchange:
        *out = value_of(i < s->count / 2 ? (me + p - 1) % p : (me + 1) % p, i);
        return true;
    default:
        return false;
    }
}

static td_status check_result(const coll_state *s, const td_rank *rank) {
    for (int64_t i = 0; i < s->elements; i++) {
        int right;
        if (expected(s, i, rank, &right) && !holds(s, i, right)) {
            return td_fail(TD_ECHECK, "rank %d of %d: element %lld is not %d", rank->rank,
                           rank->count, (long long)i, right);
        }
    }
    return TD_OK;
}

static td_status verify_coll(td_bench *bench) {
    coll_state *s = bench->state;
    for (int64_t i = 0; i < s->elements; i++) {
        store(s, i, value_of(bench->rank->rank, i));
    }
    td_team_run(bench->team, run_once, s);
    if (s->status != TD_OK) {
        return td_fail((td_status)s->status, "%s", td_error());
    }
    td_status status = check_result(s, bench->rank);
    snprintf(bench->outcome->method, sizeof bench->outcome->method,
             s->count ? "memcmp:exact sums" : "every rank returned");
    /* All zero from here on: sums of sums would overflow after some hundred steps. */
    memset(s->buffer, 0, (size_t)(s->elements * td_dtype_bytes(s->dtype)));
    return status;
}

static void cost_coll(const td_bench *bench, td_cost *out) {
    const coll_state *s = bench->state;
    int ranks = bench->rank->count;
    double bytes = (double)(s->elements * td_dtype_bytes(s->dtype));
    const td_operation *operation = td_operation_of(s->row->id);
    if (s->count == 0) {
        *out = (td_cost){.value = TD_VALUE_TIME};
        return;
    }
    *out = (td_cost){.value = TD_VALUE_BUS,
                     .bytes = bytes,
                     .working_set = ranks * bytes,
                     .bus_factor = operation->busbw_factor(ranks),
                     .roof_bytes = operation->least_traffic(ranks) * bytes};
    td_outcome_number(bench->outcome, "message_bytes", bytes);
    td_outcome_number(bench->outcome, "traffic_bytes",
                      td_collective_traffic(s->row, ranks, s->count, s->dtype));
}

const td_workload td_workload_coll = {
    .name = "coll",
    .self_ordered = true,
    .list = list_coll,
    .fits = fits_ranks,
    .segment = segment_coll,
    .setup = setup_coll,
    .verify = verify_coll,
    .region = run_coll,
    .cost = cost_coll,
    .teardown = teardown_coll,
};
