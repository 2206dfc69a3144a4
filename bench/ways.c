/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/ways.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "bench/peak.h"
#include "bench/stats.h"
#include "kernels/grain.h"

int64_t td_way_scratch(const td_way *way) {
    int64_t most = 0;
    for (int64_t i = 0; i < way->n; i++) {
        int64_t bytes = td_ops[way->ops[i].op].scratch(way->ops[i].args);
        most = bytes > most ? bytes : most;
    }
    return most;
}

double td_way_flops(const td_way *way) {
    double sum = 0;
    for (int64_t i = 0; i < way->n; i++) {
        sum += td_ops[way->ops[i].op].flops(way->ops[i].args);
    }
    return sum;
}

double td_way_bytes(const td_way *way) {
    double sum = 0;
    for (int64_t i = 0; i < way->n; i++) {
        sum += td_ops[way->ops[i].op].bytes(way->ops[i].args);
    }
    return sum;
}

typedef struct op_call {
    td_kernel_fn *run;
    const void *args;
} op_call;

static void run_tiles(void *arg, int64_t first, int64_t last, td_worker *worker) {
    const op_call *call = arg;
    call->run(call->args, first, last, worker->scratch);
}

void td_op_region(td_op_id op, td_kernel_fn *run, const void *args, td_worker *worker) {
    op_call call = {run, args};
    td_worker_tiles(worker, td_ops[op].tiles(args), td_kernel_grain(op, args), run_tiles, &call);
}

void td_way_region(const td_way *way, td_worker *worker) {
    for (int64_t i = 0; i < way->n; i++) {
        const td_way_op *op = &way->ops[i];
        if (i > 0) {
            td_team_barrier(worker);
        }
        td_op_region(op->op, td_ops[op->op].run, op->args, worker);
    }
}

typedef struct timing {
    const td_way *way;
    int64_t repeat, start_ns, end_ns;
} timing;

static void time_region(void *arg, td_worker *worker) {
    timing *t = arg;
    td_team_barrier(worker);
    if (worker->id == 0) {
        t->start_ns = td_now_ns();
    }
    for (int64_t i = 0; i < t->repeat; i++) {
        td_way_region(t->way, worker);
        td_team_barrier(worker);
    }
    if (worker->id == 0) {
        t->end_ns = td_now_ns();
    }
}

double td_way_time(td_team *team, const td_way *way, int64_t repeat) {
    timing t = {.way = way, .repeat = repeat};
    td_team_run(team, time_region, &t);
    return (double)(t.end_ns - t.start_ns) / (double)repeat;
}

enum { ROOF_FLOPS = 300000000, MIN_KEPT = 5 }; /* of a worker */
static const double UNDISTURBED = 0.05;

typedef struct roof_timing {
    td_peak_kind kind;
    td_isa isa;
    int64_t iterations, start_ns, end_ns;
} roof_timing;

static void roof_region(void *arg, td_worker *worker) {
    roof_timing *t = arg;
    td_team_barrier(worker);
    if (worker->id == 0) {
        t->start_ns = td_now_ns();
    }
    td_peak_compute(t->kind, t->isa, t->iterations);
    td_team_barrier(worker);
    if (worker->id == 0) {
        t->end_ns = td_now_ns();
    }
}

double td_roof_time(td_team *team, td_peak_kind kind, td_isa isa, int workers, double flops) {
    int64_t each = td_peak_loop_of(kind, isa)->flops;
    roof_timing t = {.kind = kind, .isa = isa, .iterations = ROOF_FLOPS / each + 1};
    td_team_run(team, roof_region, &t);
    double done = (double)(each * t.iterations) * workers;
    return (double)(t.end_ns - t.start_ns) * flops / done;
}

void td_outcome_median(td_outcome *out, const char *name, double *samples, int64_t n) {
    char bound[24];
    int64_t i;
    td_outcome_number(out, name, td_stats_median(samples, n));
    td_stats_median_interval(n, &i);
    snprintf(bound, sizeof bound, "%.18s_low", name);
    td_outcome_number(out, bound, samples[i]);
    snprintf(bound, sizeof bound, "%.18s_high", name);
    td_outcome_number(out, bound, samples[n - 1 - i]);
}

void td_roof_compare(td_outcome *out, int companion) {
    const td_companion *roof = &out->companions[companion];
    const double *ns = roof->samples_ns;
    double ratios[TD_COMPANION_SAMPLES];
    int64_t kept = 0;
    double fastest = INFINITY;
    for (int64_t i = 0; i < roof->n; i++) {
        fastest = fmin(fastest, ns[i]);
    }
    for (int64_t i = 1; i < roof->n; i++) {
        if (fmax(ns[i], ns[i - 1]) <= (1 + UNDISTURBED) * fastest) {
            ratios[kept++] = (ns[i - 1] + ns[i]) / 2 / out->samples_ns[i];
        }
    }
    if (roof->n == 0) {
        return;
    }
    td_outcome_number(out, "share_kept", (double)kept / (double)roof->n);
    if (kept < MIN_KEPT) { /* a machine without quiet moments: all there is */
        for (kept = 0; kept < roof->n; kept++) {
            ratios[kept] = ns[kept] / out->samples_ns[kept];
        }
    }
    td_outcome_median(out, "share_beside", ratios, kept);
}

int td_way_beside(td_bench *bench, const td_way *way) {
    int index = bench->outcome->n_companions++;
    TD_ASSERT(index < TD_COMPANIONS);
    td_companion *companion = &bench->outcome->companions[index];
    snprintf(companion->name, sizeof companion->name, "%s", way->name);
    companion->state = TD_OUTCOME_OK;
    return index;
}

/* How many times faster than a companion we are, sample by sample. Returns their number. */
static int64_t times_faster(const td_outcome *out, int companion, double *ratios) {
    const td_companion *beside = &out->companions[companion];
    for (int64_t i = 0; i < beside->n; i++) {
        ratios[i] = beside->samples_ns[i] / out->samples_ns[i];
    }
    return beside->n;
}

void td_way_compare(td_outcome *out, int companion, bool over, const char *name) {
    double ratios[TD_COMPANION_SAMPLES];
    int64_t n = times_faster(out, companion, ratios);
    for (int64_t i = 0; i < n && over; i++) {
        ratios[i] = 1 / ratios[i] - 1;
    }
    if (n > 0) {
        td_outcome_median(out, name, ratios, n);
    }
}

void td_libraries_compare(td_outcome *out, int first, int end) {
    double ratios[TD_COMPANION_SAMPLES], least = INFINITY;
    int best = -1;
    for (int i = first; i < end; i++) {
        char name[TD_CASE_PROVIDER + 8];
        int64_t n = times_faster(out, i, ratios);
        if (n == 0) {
            continue;
        }
        double times = td_stats_median(ratios, n);
        snprintf(name, sizeof name, "times_%.16s", out->companions[i].name);
        td_outcome_number(out, name, times);
        best = times < least ? i : best;
        least = fmin(least, times);
    }
    if (best >= 0) {
        td_way_compare(out, best, false, "times_best");
    }
}
