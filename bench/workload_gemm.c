/* SPDX-License-Identifier: Apache-2.0
 * Plain f32 products, the ones every library has: squares, and what the model configurations
 * multiply. Installed libraries, the FMA peak, and for a weight gradient the same product in one
 * chain, are timed in alternation with ours.
 */
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/case.h"
#include "bench/gemm_shapes.h"
#include "bench/ways.h"
#include "kernels/kernel.h"
#include "kernels/kernel_example.h"
#include "kernels/provider.h"

enum { MAX_PROVIDERS = TD_COMPANIONS - 2, FIT_SIZE = 1024, FIT_TRIES = 6 };

/* A library below this share of the FMA peak on a 1,024 cube is not at its best here, and being
 * faster than it means nothing. */
static const double FIT_SHARE = 0.6;

/* Threads of a library may still spin when ours are to run, and ours when its are: each sample
 * waits until they sleep. A step shorter than WARM_NS is preceded by one that wakes them again. */
static const int64_t SETTLE_NS = 200000, WARM_NS = 10000000;

/* What the portable row may spend on checking, at some 0.5 GFLOP/s. */
static const double CHECK_FLOPS = 4e8;

typedef struct gemm_state {
    td_gemm_shape shape;
    const td_kernel *row, *portable;
    td_gemm_f32_args args, chain; /* chain: the same in one chain over all of k */
    td_arena arena;
    float *fit[3], *kept;
    const td_provider *providers[MAX_PROVIDERS]; /* by companion */
    int n_libraries, roof, free;                 /* companions; -1: none */
    const td_gemm_f32_args *running;
    int64_t repeat, checked[2]; /* tiles */
    int64_t start_ns, end_ns;
    cpu_set_t everywhere; /* what this process may use, from before worker 0 was bound */
} gemm_state;

static td_status list_gemm(const td_workload *self, td_case_list *list) {
    const td_kernel *row = td_kernel_selected(TD_OP_gemm_f32);
    td_gemm_shape shape;
    for (int64_t i = 0; td_gemm_shape_at(i, &shape); i++) {
        td_case *added = td_case_add(list, self, "kernel/gemm_f32/%s/%s", row->name, shape.name);
        added->param[0] = i;
        added->quick = shape.quick;
        added->summed = shape.linear;
        double flops = 2.0 * (double)shape.m * (double)shape.n * (double)shape.k;
        added->seconds = 1.5 + 60 * flops * 1e-11;
    }
    return TD_OK;
}

static td_status open_operands(gemm_state *s) {
    const td_gemm_shape *h = &s->shape;
    td_plan plan = {0};
    float *a = NULL, *b = NULL, *c = NULL;
    for (int pass = 0; pass < 2; pass++) {
        plan.used_bytes = 0;
        a = TD_PLAN_ARRAY(&plan, float, h->m * h->k);
        b = TD_PLAN_ARRAY(&plan, float, h->n * h->k);
        c = TD_PLAN_ARRAY(&plan, float, h->m * h->n);
        s->kept = TD_PLAN_ARRAY(&plan, float, h->m * h->n);
        for (int i = 0; i < 3; i++) {
            s->fit[i] = TD_PLAN_ARRAY(&plan, float, FIT_SIZE *FIT_SIZE);
        }
        if (pass == 0) {
            TD_TRY(td_arena_create(plan.used_bytes, &s->arena));
            plan.base = s->arena.base;
        }
    }
    td_gemm_fill(a, h->m * h->k, 1);
    td_gemm_fill(b, h->n * h->k, 2);
    td_gemm_fill(s->fit[0], FIT_SIZE * FIT_SIZE, 3);
    td_gemm_fill(s->fit[1], FIT_SIZE * FIT_SIZE, 4);
    s->args = td_gemm_shape_args(h, a, b, c);
    s->chain = s->args;
    s->chain.k_blocks = 1;
    return TD_OK;
}

static td_companion *add_companion(td_bench *bench, const char *name) {
    td_companion *companion = &bench->outcome->companions[bench->outcome->n_companions++];
    snprintf(companion->name, sizeof companion->name, "%s", name);
    companion->state = TD_OUTCOME_OK;
    return companion;
}

static void set_aside(td_companion *companion, td_outcome_state state) {
    companion->state = (int)state;
    snprintf(companion->reason, sizeof companion->reason, "%.159s", td_error());
}

static td_status open_companions(td_bench *bench, gemm_state *s) {
    td_isa isa;
    TD_TRY(td_isa_active(&isa));
    for (const char *const *name = td_provider_names(); *name; name++) {
        TD_ASSERT(s->n_libraries < MAX_PROVIDERS);
        td_companion *library = add_companion(bench, *name);
        const td_provider **provider = &s->providers[s->n_libraries++];
        library->library = true;
        if (td_provider_open(*name, isa, provider) != TD_OK) {
            set_aside(library, TD_OUTCOME_SKIPPED);
            continue;
        }
        td_provider_set_threads(*provider, bench->rank->workers);
        snprintf(library->version, sizeof library->version, "%s %s", (*provider)->version,
                 (*provider)->core);
    }
    s->roof = bench->outcome->n_companions;
    add_companion(bench, "roof");
    s->free = -1;
    if (s->args.k_blocks > 1) {
        s->free = bench->outcome->n_companions;
        add_companion(bench, "one chain");
    }
    return TD_OK;
}

static td_status setup_gemm(td_bench *bench) {
    gemm_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (!s) {
        return td_fail(TD_ENOMEM, "a product's case");
    }
    bool there = td_gemm_shape_at(bench->subject->param[0], &s->shape);
    TD_ASSERT(there);
    s->row = td_kernel_selected(TD_OP_gemm_f32);
    s->portable = td_kernel_example_portable(TD_OP_gemm_f32);
    CPU_ZERO(&s->everywhere);
    sched_getaffinity(0, sizeof s->everywhere, &s->everywhere);
    TD_TRY(open_operands(s));
    s->running = &s->args;
    int64_t blocks = td_gemm_f32_scratch(&s->args), chain = td_gemm_f32_scratch(&s->chain);
    bench->scratch_bytes = blocks > chain ? blocks : chain;
    return open_companions(bench, s);
}

static void teardown_gemm(td_bench *bench) {
    gemm_state *s = bench->state;
    td_arena_destroy(&s->arena);
    td_free(s);
}

static void run_share(td_bench *bench, td_worker *worker) {
    const gemm_state *s = bench->state;
    td_op_region(s->row->op, s->row->run, s->running, worker);
}

static void run_once(void *arg, td_worker *worker) {
    run_share(arg, worker);
}

static void run_checked(void *arg, td_worker *worker) {
    const gemm_state *s = ((td_bench *)arg)->state;
    for (int i = 0; worker->id == 0 && i < 2; i++) {
        if (s->checked[i] >= 0) {
            s->portable->run(&s->args, s->checked[i], s->checked[i] + 1, worker->scratch);
        }
    }
}

/* ---- what runs beside ---- */

static void timed_region(void *arg, td_worker *worker) {
    td_bench *bench = arg;
    gemm_state *s = bench->state;
    td_team_barrier(worker);
    if (worker->id == 0) {
        s->start_ns = td_now_ns();
    }
    for (int64_t i = 0; i < s->repeat; i++) {
        run_share(bench, worker);
        td_team_barrier(worker);
    }
    if (worker->id == 0) {
        s->end_ns = td_now_ns();
    }
}

static double time_roof(const td_bench *bench) {
    const gemm_state *s = bench->state;
    return td_roof_time(bench->team, TD_PEAK_FMA, s->row->isa, bench->rank->workers,
                        td_gemm_f32_flops(&s->args));
}

static void settle(void) {
    for (int64_t until = td_now_ns() + SETTLE_NS; td_now_ns() < until;) {
    }
}

/* Threads of a library begin with the affinity of the thread that calls it, which is worker 0 and
 * bound: it is let loose for the call, or all of them would share its CPU. Negative: the library
 * leaves the product to another one. */
static double time_library(const td_bench *bench, const td_provider *provider,
                           const td_gemm_f32_args *args, int64_t repeat, bool wake) {
    const gemm_state *s = bench->state;
    const bool loose = bench->rank->workers > 1;
    cpu_set_t bound;
    if (loose) {
        sched_getaffinity(0, sizeof bound, &bound);
        sched_setaffinity(0, sizeof s->everywhere, &s->everywhere);
    }
    settle();
    if (wake) {
        td_provider_gemm_f32(provider, args);
    }
    int64_t start = td_now_ns();
    bool done = true;
    for (int64_t i = 0; i < repeat; i++) {
        done = td_provider_gemm_f32(provider, args) && done;
    }
    double ns = (double)(td_now_ns() - start) / (double)repeat;
    if (loose) {
        sched_setaffinity(0, sizeof bound, &bound);
    }
    settle();
    return done ? ns : -1;
}

static td_status beside_gemm(td_bench *bench, int companion, int64_t repeat, double *ns) {
    gemm_state *s = bench->state;
    if (companion == s->roof) {
        *ns = time_roof(bench);
    } else if (companion == s->free) {
        s->running = &s->chain;
        s->repeat = repeat;
        td_team_run(bench->team, timed_region, bench);
        s->running = &s->args;
        *ns = (double)(s->end_ns - s->start_ns) / (double)repeat;
    } else {
        const td_outcome *out = bench->outcome;
        bool wake = out->n_samples > 0 && out->samples_ns[0] < (double)WARM_NS;
        *ns = time_library(bench, s->providers[companion], &s->chain, repeat, wake);
    }
    return TD_OK;
}

/* ---- proof ---- */

/* One element in float64, and how far any order of f32 sums may be from it. */
static td_status check_element(const td_gemm_f32_args *g, int64_t i, int64_t j) {
    double sum = 0, size = 0;
    for (int64_t p = 0; p < g->k; p++) {
        double a = (double)(g->a_trans ? g->a[p * g->lda + i] : g->a[i * g->lda + p]);
        double b = (double)(g->b_trans ? g->b[j * g->ldb + p] : g->b[p * g->ldb + j]);
        sum += a * b;
        size += fabs(a * b);
    }
    double found = (double)g->c[i * g->ldc + j];
    double bound = (double)(g->k + 2) * 0x1p-24 * size;
    if (!(fabs(found - sum) <= bound)) {
        return td_fail(TD_ECHECK, "c[%lld][%lld] is %.9g, expected %.9g within %.3g", (long long)i,
                       (long long)j, found, sum, bound);
    }
    return TD_OK;
}

enum { SAMPLED = 16 };

static td_status check_sampled(const td_gemm_f32_args *g) {
    for (int64_t i = 0; i < SAMPLED; i++) {
        for (int64_t j = 0; j < SAMPLED; j++) {
            TD_TRY(
                check_element(g, (g->m - 1) * i / (SAMPLED - 1), (g->n - 1) * j / (SAMPLED - 1)));
        }
    }
    return TD_OK;
}

/* Every bit of the tiles that the portable row computes over must stay. */
static td_status verify_own(td_bench *bench) {
    gemm_state *s = bench->state;
    size_t bytes = (size_t)(s->args.m * s->args.n) * sizeof(float);
    int64_t tiles = td_gemm_f32_tiles(&s->args);
    double flops = td_gemm_f32_flops(&s->args) / (double)tiles;
    memset(s->args.c, 0xFF, bytes);
    td_team_run(bench->team, run_once, bench);
    memcpy(s->kept, s->args.c, bytes);
    s->checked[0] = tiles - 1;
    s->checked[1] = tiles > 1 && 2 * flops <= CHECK_FLOPS ? 0 : -1;
    td_team_run(bench->team, run_checked, bench);
    if (memcmp(s->kept, s->args.c, bytes) != 0) {
        return td_fail(TD_ECHECK, "%s and the portable row differ", s->row->name);
    }
    TD_TRY(check_sampled(&s->args));
    snprintf(bench->outcome->method, sizeof bench->outcome->method,
             "memcmp:portable on %d of %lld tiles, bound:f64 on %d elements",
             s->checked[1] < 0 ? 1 : 2, (long long)tiles, SAMPLED * SAMPLED);
    bench->outcome->max_ulp = 0;
    return TD_OK;
}

/* The library's best share of the peak on a cube, the peak taken right beside. */
static td_status check_fit(td_bench *bench, const td_provider *provider) {
    const gemm_state *s = bench->state;
    const td_gemm_f32_args cube = {.m = FIT_SIZE,
                                   .n = FIT_SIZE,
                                   .k = FIT_SIZE,
                                   .a = s->fit[0],
                                   .b = s->fit[1],
                                   .c = s->fit[2],
                                   .lda = FIT_SIZE,
                                   .ldb = FIT_SIZE,
                                   .ldc = FIT_SIZE,
                                   .k_blocks = 1};
    double best = 0, scale = td_gemm_f32_flops(&cube) / td_gemm_f32_flops(&s->args);
    for (int i = 0; i < FIT_TRIES && best < FIT_SHARE; i++) {
        double ns = time_library(bench, provider, &cube, 1, true);
        best = fmax(best, time_roof(bench) * scale / ns);
    }
    if (best < FIT_SHARE) {
        return td_fail(TD_ESKIP,
                       "unfit: %.0f %% of the FMA peak on a 1024 cube, expected %.0f %% of a "
                       "library at its best",
                       100 * best, 100 * FIT_SHARE);
    }
    return TD_OK;
}

static td_status verify_gemm(td_bench *bench) {
    gemm_state *s = bench->state;
    TD_TRY(verify_own(bench));
    for (int i = 0; i < s->n_libraries; i++) {
        td_companion *library = &bench->outcome->companions[i];
        if (library->state != TD_OUTCOME_OK) {
            continue;
        }
        memset(s->args.c, 0xFF, (size_t)(s->args.m * s->args.n) * sizeof(float));
        if (time_library(bench, s->providers[i], &s->chain, 1, false) < 0) {
            td_fail(TD_ESKIP, "%s leaves this product to another library", library->name);
            set_aside(library, TD_OUTCOME_SKIPPED);
            continue;
        }
        snprintf(library->method, sizeof library->method, "bound:f64 on %d elements",
                 SAMPLED * SAMPLED);
        if (check_sampled(&s->args) != TD_OK) {
            set_aside(library, TD_OUTCOME_FAILED);
        } else if (check_fit(bench, s->providers[i]) != TD_OK) {
            set_aside(library, TD_OUTCOME_SKIPPED);
        }
    }
    return TD_OK;
}

static void cost_gemm(const td_bench *bench, td_cost *out) {
    const gemm_state *s = bench->state;
    double bytes = td_gemm_f32_bytes(&s->args);
    *out = (td_cost){.value = TD_VALUE_FLOPS,
                     .flops = td_gemm_f32_flops(&s->args),
                     .bytes = bytes,
                     .working_set = bytes,
                     .isa = (int)s->row->isa};
}

static void finish_gemm(td_bench *bench) {
    const gemm_state *s = bench->state;
    td_outcome *out = bench->outcome;
    td_libraries_compare(out, 0, s->n_libraries);
    td_roof_compare(out, s->roof);
    if (s->free >= 0) {
        td_way_compare(out, s->free, true, "order_cost");
    }
}

const td_workload td_workload_gemm = {
    .name = "gemm",
    .list = list_gemm,
    .fits = td_case_fits_one_rank,
    .setup = setup_gemm,
    .verify = verify_gemm,
    .region = run_share,
    .beside = beside_gemm,
    .cost = cost_gemm,
    .finish = finish_gemm,
    .teardown = teardown_gemm,
};
