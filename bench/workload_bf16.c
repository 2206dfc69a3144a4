/* SPDX-License-Identifier: Apache-2.0
 * Products of operands that are stored as bf16: squares, and what the model configurations
 * multiply. The peak of the row's own instruction, the same product in f32, and libraries that
 * multiply bf16 are timed in alternation.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "bench/ceiling.h"
#include "bench/gemm_shapes.h"
#include "bench/peak.h"
#include "bench/ways.h"
#include "kernels/provider.h"

enum { F32, ROOF, N_BESIDE, MOST_LIBRARIES = TD_COMPANIONS - N_BESIDE };
enum { PARAM_SHAPE, PARAM_ROW };

typedef struct bf16_state {
    td_gemm_shape shape;
    const td_kernel *row;
    td_peak_kind peak;
    td_arena arena;
    td_gemm_f32_args stored, f32, chain; /* chain: stored, without blocks of k */
    td_way_op f32_op;
    td_way f32_way;
    const td_provider *libraries[TD_COMPANIONS]; /* by companion */
} bf16_state;

/* The rows in use, and those that have an instruction of their own for it. */
static bool is_listed(const td_kernel *row) {
    bool bf16 = row->op == TD_OP_gemm_bf16 || row->op == TD_OP_gemm_amx;
    return bf16 && row->isa <= td_isa_native() &&
           (row == td_kernel_selected(row->op) || row->isa > TD_ISA_AVX512);
}

static td_status list_bf16(const td_workload *self, td_case_list *list) {
    int count;
    const td_kernel *rows = td_kernels(&count);
    td_gemm_shape shape;
    for (int r = 0; r < count; r++) {
        for (int64_t i = 0; is_listed(&rows[r]) && td_gemm_shape_at(i, &shape); i++) {
            td_case *added = td_case_add(list, self, "kernel/%s/%s/stored-%s",
                                         td_ops[rows[r].op].name, rows[r].name, shape.name);
            added->param[PARAM_SHAPE] = i;
            added->param[PARAM_ROW] = r;
            double flops = 2.0 * (double)shape.m * (double)shape.n * (double)shape.k;
            added->seconds = 1 + 40 * flops * 1e-11;
        }
    }
    return TD_OK;
}

/* Uniform in [-1, 1), rounded: the same numbers as bf16 and as f32. */
static void fill(float *x, uint16_t *stored, int64_t n, uint64_t stream) {
    td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, stream);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(td_rng_uniform(&rng) * 2 - 1);
    }
    const td_f32_to_bf16_args to = {.n = n, .x = x, .y = stored};
    const td_bf16_to_f32_args back = {.n = n, .x = stored, .y = x};
    td_ops[TD_OP_f32_to_bf16].run(&to, 0, td_f32_to_bf16_tiles(&to), NULL);
    td_ops[TD_OP_bf16_to_f32].run(&back, 0, td_bf16_to_f32_tiles(&back), NULL);
}

static td_status open_operands(bf16_state *s) {
    const td_gemm_shape *h = &s->shape;
    td_plan plan = {0};
    float *a = NULL, *b = NULL, *c = NULL;
    uint16_t *a_bf16 = NULL, *b_bf16 = NULL;
    for (int pass = 0; pass < 2; pass++) {
        plan.used_bytes = 0;
        a = TD_PLAN_ARRAY(&plan, float, h->m * h->k);
        b = TD_PLAN_ARRAY(&plan, float, h->n * h->k);
        c = TD_PLAN_ARRAY(&plan, float, h->m * h->n);
        a_bf16 = TD_PLAN_ARRAY(&plan, uint16_t, h->m * h->k);
        b_bf16 = TD_PLAN_ARRAY(&plan, uint16_t, h->n * h->k);
        if (pass == 0) {
            TD_TRY(td_arena_create(plan.used_bytes, &s->arena));
            plan.base = s->arena.base;
        }
    }
    fill(a, a_bf16, h->m * h->k, 1);
    fill(b, b_bf16, h->n * h->k, 2);
    s->f32 = td_gemm_shape_args(h, a, b, c);
    s->stored = s->f32;
    s->stored.a = s->stored.b = NULL;
    s->stored.a_bf16 = a_bf16;
    s->stored.b_bf16 = b_bf16;
    s->chain = s->stored;
    s->chain.k_blocks = 1;
    return TD_OK;
}

/* Beside one worker only: libraries' threads would need CPUs that the team has. */
static td_status open_libraries(td_bench *bench, bf16_state *s) {
    td_isa isa;
    TD_TRY(td_isa_active(&isa));
    for (const char *const *name = td_provider_names(); *name && bench->rank->workers == 1;
         name++) {
        const td_provider *opened;
        td_status status = td_provider_open(*name, isa, &opened);
        if (status == TD_OK && !td_provider_has_bf16(opened)) {
            continue;
        }
        int at = bench->outcome->n_companions++;
        TD_ASSERT(at < N_BESIDE + MOST_LIBRARIES);
        td_companion *library = &bench->outcome->companions[at];
        snprintf(library->name, sizeof library->name, "%s", *name);
        library->library = true;
        library->state = status == TD_OK ? TD_OUTCOME_OK : TD_OUTCOME_SKIPPED;
        if (status != TD_OK) {
            snprintf(library->reason, sizeof library->reason, "%.159s", td_error());
            continue;
        }
        s->libraries[at] = opened;
        td_provider_set_threads(opened, 1);
        snprintf(library->version, sizeof library->version, "%s %s", opened->version, opened->core);
    }
    return TD_OK;
}

static td_status setup_bf16(td_bench *bench) {
    int count;
    bf16_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (!s) {
        return td_fail(TD_ENOMEM, "a bf16 product's case");
    }
    bool there = td_gemm_shape_at(bench->subject->param[PARAM_SHAPE], &s->shape);
    TD_ASSERT(there);
    s->row = &td_kernels(&count)[bench->subject->param[PARAM_ROW]];
    s->peak = td_peak_of_code(s->row->isa, td_precision_of_op(s->row->op));
    TD_TRY(open_operands(s));
    s->f32_op = (td_way_op){TD_OP_gemm_f32, &s->f32};
    s->f32_way = (td_way){"f32", 1, &s->f32_op};
    int64_t own = td_ops[s->row->op].scratch(&s->stored), f32 = td_way_scratch(&s->f32_way);
    bench->scratch_bytes = own > f32 ? own : f32;
    td_way_beside(bench, &s->f32_way);
    td_way_beside(bench, &(td_way){.name = "roof"});
    return open_libraries(bench, s);
}

static void teardown_bf16(td_bench *bench) {
    bf16_state *s = bench->state;
    td_arena_destroy(&s->arena);
    td_free(s);
}

static void run_share(td_bench *bench, td_worker *worker) {
    const bf16_state *s = bench->state;
    td_op_region(s->row->op, s->row->run, &s->stored, worker);
}

static void run_once(void *arg, td_worker *worker) {
    run_share(arg, worker);
}

static td_status beside_bf16(td_bench *bench, int companion, int64_t repeat, double *ns) {
    bf16_state *s = bench->state;
    if (companion == ROOF) {
        *ns = td_roof_time(bench->team, s->peak, s->row->isa, bench->rank->workers,
                           td_gemm_f32_flops(&s->stored));
        return TD_OK;
    }
    if (companion == F32) {
        *ns = td_way_time(bench->team, &s->f32_way, repeat);
        return TD_OK;
    }
    int64_t start = td_now_ns();
    for (int64_t i = 0; i < repeat; i++) {
        td_provider_gemm_bf16(s->libraries[companion], &s->chain);
    }
    *ns = (double)(td_now_ns() - start) / (double)repeat;
    return TD_OK;
}

/* One element in float64, and how far any order of f32 sums may be from it, every product and
 * every addition rounded. */
static td_status check_element(const td_gemm_f32_args *g, int64_t i, int64_t j) {
    double sum = 0, size = 0;
    for (int64_t p = 0; p < g->k; p++) {
        double a = (double)(g->a_trans ? g->a[p * g->lda + i] : g->a[i * g->lda + p]);
        double b = (double)(g->b_trans ? g->b[j * g->ldb + p] : g->b[p * g->ldb + j]);
        sum += a * b;
        size += fabs(a * b);
    }
    double found = (double)g->c[i * g->ldc + j], bound = (double)(2 * g->k + 2) * 0x1p-24 * size;
    if (!(fabs(found - sum) <= bound)) {
        return td_fail(TD_ECHECK, "c[%lld][%lld] is %.9g, expected %.9g within %.3g", (long long)i,
                       (long long)j, found, sum, bound);
    }
    return TD_OK;
}

enum { SAMPLED = 16 };

static td_status check_sampled(const td_gemm_f32_args *g) {
    for (int64_t i = 0; i < SAMPLED * SAMPLED; i++) {
        TD_TRY(check_element(g, (g->m - 1) * (i / SAMPLED) / (SAMPLED - 1),
                             (g->n - 1) * (i % SAMPLED) / (SAMPLED - 1)));
    }
    return TD_OK;
}

static td_status verify_bf16(td_bench *bench) {
    bf16_state *s = bench->state;
    td_outcome *out = bench->outcome;
    const size_t bytes = (size_t)(s->f32.m * s->f32.n) * sizeof(float);
    memset(s->f32.c, 0xFF, bytes);
    td_team_run(bench->team, run_once, bench);
    TD_TRY(check_sampled(&s->f32));
    snprintf(out->method, sizeof out->method, "bound:f64 on %d elements", SAMPLED * SAMPLED);
    for (int i = N_BESIDE; i < out->n_companions; i++) {
        td_companion *library = &out->companions[i];
        if (library->state != TD_OUTCOME_OK) {
            continue;
        }
        memset(s->f32.c, 0xFF, bytes);
        bool done = td_provider_gemm_bf16(s->libraries[i], &s->chain);
        if (!done || check_sampled(&s->f32) != TD_OK) {
            library->state = done ? TD_OUTCOME_FAILED : TD_OUTCOME_SKIPPED;
            snprintf(library->reason, sizeof library->reason, "%.159s",
                     done ? td_error() : "it reports an error");
        }
        snprintf(library->method, sizeof library->method, "bound:f64 on %d elements",
                 SAMPLED * SAMPLED);
    }
    return TD_OK;
}

static void cost_bf16(const td_bench *bench, td_cost *out) {
    const bf16_state *s = bench->state;
    double bytes = td_gemm_f32_bytes(&s->stored);
    *out = (td_cost){.value = TD_VALUE_FLOPS,
                     .flops = td_gemm_f32_flops(&s->stored),
                     .bytes = bytes,
                     .working_set = bytes,
                     .isa = (int)s->row->isa,
                     .precision = td_precision_of_op(s->row->op)};
}

static void finish_bf16(td_bench *bench) {
    td_outcome *out = bench->outcome;
    td_roof_compare(out, ROOF);
    td_way_compare(out, F32, false, "times_f32");
    td_libraries_compare(out, N_BESIDE, out->n_companions);
}

const td_workload td_workload_bf16 = {
    .name = "bf16",
    .list = list_bf16,
    .fits = td_case_fits_one_rank,
    .setup = setup_bf16,
    .verify = verify_bf16,
    .region = run_share,
    .beside = beside_bf16,
    .cost = cost_bf16,
    .finish = finish_bf16,
    .teardown = teardown_bf16,
};
