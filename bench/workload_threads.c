/* SPDX-License-Identifier: Apache-2.0
 * What it costs to meet: an empty parallel region, the barrier of workers inside one, and the
 * barrier of ranks; and to reach a kernel through the table.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "base/memory.h"
#include "bench/case.h"
#include "kernels/kernel_example.h"

typedef enum meeting { MEETING_REGION, MEETING_WORKERS, MEETING_RANKS, MEETING_KERNELS } meeting;

enum { ROUNDS = 2000 };

typedef struct threads_state {
    _Atomic int64_t arrivals, wrong;
    td_bench *bench;
    td_kernel_example *examples[TD_OP_COUNT];
} threads_state;

static td_status list_region(const td_workload *self, td_case_list *list) {
    static const struct {
        const char *id;
        meeting kind;
    } rows[] = {{"threads/region/empty", MEETING_REGION},
                {"threads/barrier/workers", MEETING_WORKERS},
                {"threads/barrier/ranks", MEETING_RANKS},
                {"threads/dispatch/kernel", MEETING_KERNELS}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        td_case *added = td_case_add(list, self, "%s", rows[i].id);
        added->param[0] = rows[i].kind;
        added->quick = true;
    }
    return TD_OK;
}

static bool fits_meeting(const td_case *subject, const td_layout *layout) {
    switch ((meeting)subject->param[0]) {
    case MEETING_RANKS:
        return layout->ranks > 1;
    case MEETING_KERNELS:
        return layout->ranks == 1 && layout->workers == 1;
    case MEETING_REGION:
    case MEETING_WORKERS:
        break;
    }
    return layout->ranks == 1;
}

/* An example of every operation, smaller than any that is timed elsewhere. */
static td_status open_kernels(td_bench *bench, threads_state *s) {
    for (int op = 0; op < TD_OP_COUNT; op++) {
        TD_TRY(td_kernel_example_create((td_op_id)op, TD_EXAMPLE_EDGE, 1, 1, &s->examples[op]));
        int64_t scratch = td_ops[op].scratch(td_kernel_example_args(s->examples[op]));
        bench->scratch_bytes = scratch > bench->scratch_bytes ? scratch : bench->scratch_bytes;
    }
    return TD_OK;
}

static td_status setup_threads(td_bench *bench) {
    threads_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (!s) {
        return td_fail(TD_ENOMEM, "a threads case");
    }
    s->bench = bench;
    return bench->subject->param[0] == MEETING_KERNELS ? open_kernels(bench, s) : TD_OK;
}

static void teardown_threads(td_bench *bench) {
    threads_state *s = bench->state;
    for (int op = 0; op < TD_OP_COUNT; op++) {
        td_kernel_example_destroy(s->examples[op]);
    }
    td_free(s);
}

static void nothing(void *arg, td_worker *worker) {
    (void)arg;
    (void)worker;
}

static void arrive(void *arg, td_worker *worker) {
    (void)worker;
    atomic_fetch_add_explicit(&((threads_state *)arg)->arrivals, 1, memory_order_relaxed);
}

/* Between two barriers everybody has arrived as often as the round says: one that lets a worker
 * through early shows. */
static void arrive_in_rounds(void *arg, td_worker *worker) {
    threads_state *s = arg;
    for (int64_t round = 1; round <= ROUNDS; round++) {
        atomic_fetch_add_explicit(&s->arrivals, 1, memory_order_relaxed);
        td_team_barrier(worker);
        if (atomic_load_explicit(&s->arrivals, memory_order_relaxed) != round * worker->count) {
            atomic_store_explicit(&s->wrong, round, memory_order_relaxed);
        }
        td_team_barrier(worker);
    }
}

static td_status verify_ranks(const td_bench *bench) {
    td_rank *rank = bench->rank;
    _Atomic int64_t *mine = (_Atomic int64_t *)(void *)rank->segment;
    for (int64_t round = 1; round <= ROUNDS; round++) {
        atomic_store_explicit(mine, round, memory_order_relaxed);
        TD_TRY(td_rank_barrier(rank));
        for (int r = 0; r < rank->count; r++) {
            _Atomic int64_t *theirs = td_rank_peer(rank, r, mine);
            if (atomic_load_explicit(theirs, memory_order_relaxed) != round) {
                return td_fail(TD_ECHECK, "rank %d is not in round %lld", r, (long long)round);
            }
        }
        TD_TRY(td_rank_barrier(rank));
    }
    return TD_OK;
}

static void run_whole(void *arg, td_worker *worker) {
    const threads_state *s = arg;
    for (int op = 0; op < TD_OP_COUNT; op++) {
        const void *args = td_kernel_example_args(s->examples[op]);
        td_ops[op].run(args, 0, td_ops[op].tiles(args), worker->scratch);
    }
}

/* Through the table and by the portable row: the same bits, so the calls that are timed lead to the
 * kernels they name. */
static td_status verify_kernels(td_bench *bench, threads_state *s) {
    td_team_run(bench->team, run_whole, s);
    for (int op = 0; op < TD_OP_COUNT; op++) {
        td_kernel_example *example = s->examples[op];
        TD_TRY(td_kernel_example_keep(example));
        td_kernel_example_reset(example);
        td_kernel_example_run(example, td_kernel_example_portable((td_op_id)op), 1);
        TD_TRY(td_kernel_example_check(example, example));
    }
    snprintf(bench->outcome->method, sizeof bench->outcome->method,
             "memcmp:portable, %d operations", TD_OP_COUNT);
    return TD_OK;
}

static td_status verify_threads(td_bench *bench) {
    threads_state *s = bench->state;
    int64_t kind = bench->subject->param[0];
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "arrivals counted, %d rounds",
             ROUNDS);
    if (kind == MEETING_RANKS) {
        return verify_ranks(bench);
    }
    if (kind == MEETING_KERNELS) {
        return verify_kernels(bench, s);
    }
    if (kind == MEETING_WORKERS) {
        td_team_run(bench->team, arrive_in_rounds, s);
    } else {
        for (int i = 0; i < ROUNDS; i++) {
            td_team_run(bench->team, arrive, s);
        }
    }
    int64_t all = (int64_t)ROUNDS * bench->rank->workers;
    return s->arrivals == all && s->wrong == 0
               ? TD_OK
               : td_fail(TD_ECHECK, "%lld arrivals, expected %lld; first early round %lld",
                         (long long)s->arrivals, (long long)all, (long long)s->wrong);
}

/* The inner rounds of a worker barrier lie inside one region, so that its own cost is not counted.
 */
enum { INNER = 64 };

static void meet(void *arg, td_worker *worker) {
    (void)arg;
    for (int i = 0; i < INNER; i++) {
        td_team_barrier(worker);
    }
}

/* Tiles counted from the shape, a share of none of them taken, the row called. */
static void call_kernels(const threads_state *s) {
    for (int i = 0; i < INNER; i++) {
        for (int op = 0; op < TD_OP_COUNT; op++) {
            const void *args = td_kernel_example_args(s->examples[op]);
            int64_t none = td_ops[op].tiles(args);
            td_ops[op].run(args, none, none, NULL);
        }
    }
}

static td_status step_threads(td_bench *bench) {
    switch ((meeting)bench->subject->param[0]) {
    case MEETING_REGION:
        td_team_run(bench->team, nothing, NULL);
        return TD_OK;
    case MEETING_WORKERS:
        td_team_run(bench->team, meet, NULL);
        return TD_OK;
    case MEETING_RANKS:
        return td_rank_barrier(bench->rank);
    case MEETING_KERNELS:
        call_kernels(bench->state);
        return TD_OK;
    }
    return TD_OK;
}

static void cost_threads(const td_bench *bench, td_cost *out) {
    static const double items[] = {[MEETING_REGION] = 1,
                                   [MEETING_WORKERS] = INNER,
                                   [MEETING_RANKS] = 1,
                                   [MEETING_KERNELS] = INNER * TD_OP_COUNT};
    *out = (td_cost){.value = TD_VALUE_TIME, .items = items[bench->subject->param[0]]};
}

const td_workload td_workload_threads = {
    .name = "threads",
    .list = list_region,
    .fits = fits_meeting,
    .setup = setup_threads,
    .verify = verify_threads,
    .step = step_threads,
    .cost = cost_threads,
    .teardown = teardown_threads,
};
