/* SPDX-License-Identifier: Apache-2.0
 * Ranks that add up their gradients beside processes that never wait, one on the CPU of each rank:
 * what is left of the calls they do alone. The hogs rest in every other window.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/case.h"
#include "bench/coll_round.h"
#include "bench/load.h"
#include "collectives/comm.h"

enum { WINDOWS = 4, PAGE = 4096, AT = PAGE, WARM = 8 };
static const int64_t WINDOW_NS = 500000000;
static const struct {
    const char *name;
    int64_t bytes;
} sizes[] = {{"64KiB", 64 << 10}, {"1MiB", 1 << 20}};

/* Element 0 of a sum is 1 once rank 0 wants to end the window, so all ranks end it with the same
 * call. */
typedef struct crowd_state {
    td_bench *bench;
    td_comm *comm;
    const td_collective *row;
    int64_t count;
    float *in, *out;
    td_status status;
} crowd_state;

static int64_t bytes_of(const td_case *subject) {
    return sizes[subject->param[0]].bytes;
}

static td_status list_crowds(const td_workload *self, td_case_list *list) {
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        td_case *added =
            td_case_add(list, self, "threads/allreduce/ring/%s-in-turn", sizes[i].name);
        added->param[0] = (int64_t)i;
        added->seconds = 4;
    }
    return TD_OK;
}

static bool fits_crowds(const td_case *subject, const td_layout *layout) {
    (void)subject;
    return layout->ranks > 1 && layout->workers == 1 && layout->kind != TD_RANK_MPI;
}

static td_status segment_crowd(const td_case *subject, const td_layout *layout, int64_t *bytes) {
    const td_collective *row = td_collective_find("allreduce", "ring");
    int64_t size = bytes_of(subject);
    *bytes = AT + 2 * size +
             td_collective_staging_bytes(row, layout->ranks, size / (int64_t)sizeof(float), TD_F32);
    return TD_OK;
}

static td_status setup_crowd(td_bench *bench) {
    crowd_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (s == NULL) {
        return td_fail(TD_ENOMEM, "ranks beside busy processes");
    }
    int64_t size = bytes_of(bench->subject), staging = AT + 2 * size;
    td_rank *rank = bench->rank;
    s->bench = bench;
    s->row = td_collective_find("allreduce", "ring");
    s->count = size / (int64_t)sizeof(float);
    s->in = (float *)(rank->segment + AT);
    s->out = (float *)(rank->segment + AT + size);
    td_coll_write(rank->segment + AT, rank->rank, 0, s->count, sizeof(float));
    return td_comm_create(rank, rank->segment + staging, (int64_t)rank->segment_bytes - staging,
                          &s->comm);
}

static void teardown_crowd(td_bench *bench) {
    crowd_state *s = bench->state;
    td_comm_destroy(s->comm);
    td_free(s);
}

static void add_up(void *arg, td_worker *worker) {
    crowd_state *s = arg;
    td_call call = {.in = s->in, .out = s->out, .count = s->count, .dtype = TD_F32};
    s->status = td_collective_run(s->row, s->comm, worker, &call);
}

static td_status check_sums(const crowd_state *s) {
    const td_rank *rank = s->bench->rank;
    for (int64_t i = 1; i < s->count; i++) {
        int sum = 0;
        for (int r = 0; r < rank->count; r++) {
            sum += td_coll_value(r, i);
        }
        if (!(s->out[i] == (float)sum)) {
            return td_fail(TD_ECHECK, "rank %d: element %lld is %g, not %d", rank->rank,
                           (long long)i, (double)s->out[i], sum);
        }
    }
    return TD_OK;
}

/* One call; *last when rank 0 had wanted it to be the last one of its window. */
static td_status call_once(crowd_state *s, bool end, double *ns, bool *last) {
    int64_t start = td_now_ns();
    s->in[0] = s->bench->rank->rank == 0 && end ? 1 : 0;
    td_team_run(s->bench->team, add_up, s);
    *ns = (double)(td_now_ns() - start);
    *last = s->out[0] > 0;
    return s->status;
}

/* Samples are of calls beside the hogs. */
static td_status play_window(crowd_state *s, bool beside, double *calls, double *seconds) {
    td_outcome *out = s->bench->outcome;
    TD_TRY(td_rank_barrier(s->bench->rank));
    int64_t start = td_now_ns(), now = start;
    double ns;
    for (bool last = false; !last; now = td_now_ns()) {
        TD_TRY(call_once(s, now - start > WINDOW_NS || td_interrupted(), &ns, &last));
        ++*calls;
        if (beside && s->bench->rank->rank == 0 && out->n_samples < TD_OUTCOME_SAMPLES) {
            out->samples_ns[out->n_samples++] = ns;
        }
    }
    *seconds += (double)(now - start) * 1e-9;
    return check_sums(s);
}

static td_status play_windows(crowd_state *s, const td_hogs *hogs) {
    double calls[2] = {0}, seconds[2] = {0}, ns;
    bool last;
    for (int i = 0; i < WARM; i++) {
        TD_TRY(call_once(s, false, &ns, &last));
    }
    for (int window = 0; window < 2 * WINDOWS; window++) {
        bool beside = window % 2 == 1;
        td_hogs_rest(hogs, !beside);
        TD_TRY(play_window(s, beside, &calls[beside], &seconds[beside]));
    }
    if (s->bench->rank->rank == 0) {
        td_outcome *out = s->bench->outcome;
        double idle = calls[0] / seconds[0];
        out->repeat = 1;
        td_outcome_number(out, "idle_calls_per_s", idle);
        td_outcome_number(out, "share_of_idle", calls[1] / seconds[1] / idle);
        snprintf(out->method, sizeof out->method, "exact sums after each window");
    }
    return TD_OK;
}

static td_status verify_crowd(td_bench *bench) {
    td_hogs hogs;
    TD_TRY(td_hogs_start(bench->rank, &hogs));
    td_status status = play_windows(bench->state, &hogs);
    td_hogs_end(&hogs);
    return status;
}

static void cost_crowd(const td_bench *bench, td_cost *out) {
    (void)bench;
    *out = (td_cost){.value = TD_VALUE_TIME};
}

const td_workload td_workload_crowd = {
    .name = "crowd",
    .observes = true,
    .list = list_crowds,
    .fits = fits_crowds,
    .segment = segment_crowd,
    .setup = setup_crowd,
    .verify = verify_crowd,
    .cost = cost_crowd,
    .teardown = teardown_crowd,
};
