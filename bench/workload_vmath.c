/* SPDX-License-Identifier: Apache-2.0
 * Elementary functions: cycles an element takes in L1, the clock being taken in alternation from a
 * chain of additions, and the largest error over a sample of all floats.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "bench/case.h"
#include "bench/peak.h"
#include "bench/stats.h"
#include "bench/vmath_oracle.h"
#include "kernels/kernel.h"
#include "kernels/kernel_example.h"

/* 16 KiB in and 16 KiB out: half to two thirds of an L1 cache. Errors are looked for at every
 * 499th float. */
enum { N = 4096, STRIDE = 499, CHAIN_ITERATIONS = 64 };

enum { PARAM_ROW, PARAM_FUNCTION };

typedef struct vmath_state {
    const td_kernel *row;
    td_vmath_function function;
    td_vmath_finding found;
    float x[N], y[N], wide[N], expected[N];
    double exact[N];
} vmath_state;

static const td_kernel *row_at(int64_t index) {
    int count;
    return &td_kernels(&count)[index];
}

/* What the losses, the towers and attention spend most on. */
static bool is_common(td_vmath_function f) {
    return f == TD_VMATH_exp || f == TD_VMATH_sigmoid || f == TD_VMATH_softplus ||
           f == TD_VMATH_gelu_erf || f == TD_VMATH_gelu_erf_grad;
}

static td_status list_vmath(const td_workload *self, td_case_list *list) {
    int count;
    const td_kernel *rows = td_kernels(&count);
    for (int i = 0; i < count; i++) {
        for (int f = 0; f < TD_VMATH_COUNT && rows[i].op == TD_OP_vmath_f32; f++) {
            td_case *added = td_case_add(list, self, "kernel/vmath_f32/%s/%s-n%d", rows[i].name,
                                         td_vmath_bound_of((td_vmath_function)f)->name, N);
            added->param[PARAM_ROW] = i;
            added->param[PARAM_FUNCTION] = f;
            added->quick = rows[i].isa != TD_ISA_PORTABLE && is_common((td_vmath_function)f);
            added->seconds = 0.8;
        }
    }
    return TD_OK;
}

static bool fits_one_worker(const td_case *subject, const td_layout *layout) {
    (void)subject;
    return layout->ranks == 1 && layout->workers == 1;
}

static td_status setup_vmath(td_bench *bench) {
    vmath_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (!s) {
        return td_fail(TD_ENOMEM, "a case of an elementary function");
    }
    s->row = row_at(bench->subject->param[PARAM_ROW]);
    s->function = (td_vmath_function)bench->subject->param[PARAM_FUNCTION];
    if (s->row->isa > td_isa_native()) {
        return td_fail(TD_ESKIP, "needs %s, this CPU has %s", td_isa_name(s->row->isa),
                       td_isa_name(td_isa_native()));
    }
    td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, 1);
    bool positive = s->function == TD_VMATH_log || s->function == TD_VMATH_rsqrt;
    for (int i = 0; i < N; i++) {
        s->x[i] = (float)(td_rng_uniform(&rng) * 16 - (positive ? 0 : 8));
    }
    td_companion *clock = &bench->outcome->companions[bench->outcome->n_companions++];
    snprintf(clock->name, sizeof clock->name, "clock");
    clock->state = TD_OUTCOME_OK;
    return TD_OK;
}

static void teardown_vmath(td_bench *bench) {
    td_free(bench->state);
}

static void run_row(const vmath_state *s, const td_kernel *row, const float *x, float *y) {
    td_vmath_f32_args args = {.n = N, .function = s->function, .x = x, .y = y};
    row->run(&args, 0, 1, NULL);
}

static void run_vmath(td_bench *bench, td_worker *worker) {
    vmath_state *s = bench->state;
    (void)worker;
    run_row(s, s->row, s->x, s->y);
}

static td_status same_as_portable(vmath_state *s, const float *x) {
    run_row(s, s->row, x, s->y);
    run_row(s, td_kernel_example_portable(TD_OP_vmath_f32), x, s->expected);
    for (int i = 0; i < N; i++) {
        if (memcmp(&s->y[i], &s->expected[i], sizeof s->y[i]) != 0 &&
            !(isnan(s->y[i]) && isnan(s->expected[i]))) {
            return td_fail(TD_ECHECK, "%s and the portable row differ at %a: %a, %a", s->row->name,
                           (double)x[i], (double)s->y[i], (double)s->expected[i]);
        }
    }
    return TD_OK;
}

/* Ranks flush denormals, so the oracle sees zeros where the row does. */
static td_status sweep(vmath_state *s) {
    const td_vmath_bound *bound = td_vmath_bound_of(s->function);
    for (uint64_t first = 0; first <= UINT32_MAX; first += (uint64_t)N * STRIDE) {
        for (uint64_t i = 0; i < N; i++) {
            uint32_t bits = (uint32_t)(first + i * STRIDE);
            memcpy(&s->wide[i], &bits, sizeof bits);
        }
        run_row(s, s->row, s->wide, s->y);
        td_vmath_exact(s->function, N, s->wide, s->exact);
        td_vmath_compare(bound, N, s->wide, s->exact, s->y, true, &s->found);
        if (first % ((uint64_t)N * STRIDE * 64) == 0) {
            TD_TRY(same_as_portable(s, s->wide));
        }
    }
    if (!(s->found.worst <= 1)) {
        return td_fail(TD_ECHECK, "%s is %.4g of its bound at %a", bound->name, s->found.worst,
                       (double)s->found.worst_at);
    }
    return TD_OK;
}

static td_status verify_vmath(td_bench *bench) {
    vmath_state *s = bench->state;
    TD_TRY(same_as_portable(s, s->x));
    TD_TRY(sweep(s));
    if (td_vmath_bound_of(s->function)->ulp > 0) {
        bench->outcome->max_ulp = s->found.ulp;
    }
    snprintf(bench->outcome->method, sizeof bench->outcome->method,
             "memcmp:portable on a sample, bound:f64 on every %dth float", STRIDE);
    return TD_OK;
}

/* Nanoseconds of one cycle, at the frequency that the code just timed has set. */
static td_status beside_vmath(td_bench *bench, int companion, int64_t repeat, double *ns) {
    (void)bench;
    (void)companion;
    (void)repeat;
    int64_t start = td_now_ns();
    uint64_t adds = td_peak_adds(CHAIN_ITERATIONS);
    *ns = (double)(td_now_ns() - start) / (double)adds;
    return TD_OK;
}

static void cost_vmath(const td_bench *bench, td_cost *out) {
    const vmath_state *s = bench->state;
    *out = (td_cost){
        .value = TD_VALUE_CYCLES, .items = N, .unit = "clk/elem", .isa = (int)s->row->isa};
}

static void finish_vmath(td_bench *bench) {
    const vmath_state *s = bench->state;
    td_outcome *out = bench->outcome;
    td_companion *clock = &out->companions[0];
    double cycle = clock->n > 0 ? td_stats_median(clock->samples_ns, clock->n) : 0;
    out->cost.clock_ghz = cycle > 0 ? 1 / cycle : 0;
    td_outcome_number(out, "clock_ghz", out->cost.clock_ghz);
    td_outcome_number(out, "max_absolute", s->found.absolute);
}

const td_workload td_workload_vmath = {
    .name = "vmath",
    .list = list_vmath,
    .fits = fits_one_worker,
    .setup = setup_vmath,
    .verify = verify_vmath,
    .region = run_vmath,
    .beside = beside_vmath,
    .cost = cost_vmath,
    .finish = finish_vmath,
    .teardown = teardown_vmath,
};
