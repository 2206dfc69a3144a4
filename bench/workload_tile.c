/* SPDX-License-Identifier: Apache-2.0
 * The register tiles of gemm_f32 alone, panels in L1 and L2, the FMA peak in alternation: what the
 * loops around them can reach at most. One case a tile and depth.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "bench/case.h"
#include "bench/ways.h"
#include "kernels/gemm/gemm_micro.h"

enum { PARAM_ISA, PARAM_SHAPE, PARAM_PACKED, PARAM_K };
enum { LANES = 16, MOST_ROWS = 16, MOST_COLS = 64, MOST_K = 512 };

/* FLOP of a step: some 0.2 ms, long against the barrier behind it. */
static const double STEP_FLOPS = 3e7;

static const struct {
    td_isa isa;
    const char *name;
    td_gemm_micro_fn *run;
} families[] = {{TD_ISA_AVX512, "avx512", td_gemm_micro__avx512},
                {TD_ISA_AVX2, "avx2", td_gemm_micro__avx2},
                {TD_ISA_PORTABLE, "portable", td_gemm_micro__portable}};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

/* The operands of one worker, on pages of its own. */
typedef struct operands {
    float *a, *b, *c;
} operands;

typedef struct tile_state {
    td_gemm_micro micro; /* without operands */
    td_gemm_micro_fn *run;
    td_isa isa;
    td_arena arena;
    operands own[TD_MAX_WORKERS];
    bool wrong[TD_MAX_WORKERS];
} tile_state;

static td_status list_family(const td_workload *self, td_case_list *list, int family) {
    td_gemm_micro_size most = families[family].run(NULL);
    static const int64_t depths[] = {256, 512};
    for (int rows = most.rows; rows > 0; rows--) {
        for (int vectors = most.vectors; vectors > 0; vectors--) {
            for (int variant = 0; variant < 4; variant++) {
                bool packed = variant % 2 == 0;
                int64_t k = depths[variant / 2];
                td_case *added = td_case_add(list, self, "kernel/gemm_tile_f32/%s%s/%dx%d-k%lld",
                                             families[family].name, packed ? "_packed" : "", rows,
                                             vectors * LANES, (long long)k);
                added->param[PARAM_ISA] = family;
                added->param[PARAM_SHAPE] = rows * 8 + vectors;
                added->param[PARAM_PACKED] = packed;
                added->param[PARAM_K] = k;
                added->seconds = 0.6;
                added->quick = rows == most.rows && vectors == most.vectors && k == depths[0] &&
                               families[family].isa != TD_ISA_PORTABLE;
            }
        }
    }
    return TD_OK;
}

static td_status list_tiles(const td_workload *self, td_case_list *list) {
    for (int family = 0; family < N_FAMILIES; family++) {
        if (families[family].isa <= td_isa_native()) {
            TD_TRY(list_family(self, list, family));
        }
    }
    return TD_OK;
}

static td_status setup_tile(td_bench *bench) {
    const int64_t *param = bench->subject->param;
    tile_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (!s) {
        return td_fail(TD_ENOMEM, "a register tile's case");
    }
    s->run = families[param[PARAM_ISA]].run;
    s->isa = families[param[PARAM_ISA]].isa;
    s->micro = (td_gemm_micro){.rows = (int)(param[PARAM_SHAPE] / 8),
                               .vectors = (int)(param[PARAM_SHAPE] % 8),
                               .packed = param[PARAM_PACKED] != 0,
                               .k = param[PARAM_K],
                               .lda = param[PARAM_K]};
    double flops = 2.0 * s->micro.rows * s->micro.vectors * LANES * (double)s->micro.k;
    s->micro.repeat = (int64_t)ceil(STEP_FLOPS / flops);
    td_plan plan = {0};
    for (int pass = 0; pass < 2; pass++) {
        plan.used_bytes = 0;
        for (int w = 0; w < bench->rank->workers; w++) {
            s->own[w].a = TD_PLAN_ARRAY(&plan, float, MOST_ROWS *(MOST_K + LANES));
            s->own[w].b = TD_PLAN_ARRAY(&plan, float, MOST_COLS *MOST_K);
            s->own[w].c = TD_PLAN_ARRAY(&plan, float, MOST_ROWS *MOST_COLS);
        }
        if (pass == 0) {
            TD_TRY(td_arena_create(plan.used_bytes, &s->arena));
            plan.base = s->arena.base;
        }
    }
    td_companion *roof = &bench->outcome->companions[bench->outcome->n_companions++];
    snprintf(roof->name, sizeof roof->name, "roof");
    roof->state = TD_OUTCOME_OK;
    return TD_OK;
}

static void teardown_tile(td_bench *bench) {
    tile_state *s = bench->state;
    td_arena_destroy(&s->arena);
    td_free(s);
}

static void run_tile(td_bench *bench, td_worker *worker) {
    const tile_state *s = bench->state;
    td_gemm_micro micro = s->micro;
    micro.a = s->own[worker->id].a;
    micro.b = s->own[worker->id].b;
    micro.c = s->own[worker->id].c;
    s->run(&micro);
}

/* Every element is one chain of FMAs in ascending k. */
static bool tile_is_right(const tile_state *s, const operands *own) {
    const td_gemm_micro *m = &s->micro;
    for (int i = 0; i < m->rows; i++) {
        for (int j = 0; j < m->vectors * LANES; j++) {
            float sum = 0;
            for (int64_t k = 0; k < m->k; k++) {
                float a = own->a[m->packed ? k * m->rows + i : i * m->lda + k];
                sum = fmaf(a, own->b[(j / LANES * m->k + k) * LANES + j % LANES], sum);
            }
            if (memcmp(&sum, &own->c[i * m->vectors * LANES + j], sizeof sum) != 0) {
                return false;
            }
        }
    }
    return true;
}

static void prove(void *arg, td_worker *worker) {
    td_bench *bench = arg;
    tile_state *s = bench->state;
    const operands *own = &s->own[worker->id];
    td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, (uint64_t)worker->id);
    for (int64_t i = 0; i < MOST_ROWS * MOST_K; i++) {
        own->a[i] = (float)(td_rng_uniform(&rng) * 2 - 1);
    }
    for (int64_t i = 0; i < MOST_COLS * MOST_K; i++) {
        own->b[i] = (float)(td_rng_uniform(&rng) * 2 - 1);
    }
    memset(own->c, 0xFF, MOST_ROWS * MOST_COLS * sizeof *own->c);
    run_tile(bench, worker);
    s->wrong[worker->id] = !tile_is_right(s, own);
}

static td_status verify_tile(td_bench *bench) {
    const tile_state *s = bench->state;
    td_team_run(bench->team, prove, bench);
    for (int w = 0; w < bench->rank->workers; w++) {
        if (s->wrong[w]) {
            return td_fail(TD_ECHECK, "the tile of worker %d is not its chain of FMAs", w);
        }
    }
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "memcmp:fmaf");
    bench->outcome->max_ulp = 0;
    return TD_OK;
}

static double step_flops(const td_bench *bench) {
    const tile_state *s = bench->state;
    const td_gemm_micro *m = &s->micro;
    return 2.0 * m->rows * m->vectors * LANES * (double)m->k * (double)m->repeat *
           bench->rank->workers;
}

/* Nanoseconds of as many FLOPs at the peak. */
static td_status beside_tile(td_bench *bench, int companion, int64_t repeat, double *ns) {
    const tile_state *s = bench->state;
    (void)companion;
    (void)repeat;
    *ns = td_roof_time(bench->team, TD_PEAK_FMA, s->isa, bench->rank->workers, step_flops(bench));
    return TD_OK;
}

static void cost_tile(const td_bench *bench, td_cost *out) {
    const tile_state *s = bench->state;
    *out = (td_cost){.value = TD_VALUE_FLOPS, .flops = step_flops(bench), .isa = (int)s->isa};
}

static void finish_tile(td_bench *bench) {
    td_roof_compare(bench->outcome, 0);
}

const td_workload td_workload_tile = {
    .name = "tile",
    .list = list_tiles,
    .fits = td_case_fits_one_rank,
    .setup = setup_tile,
    .verify = verify_tile,
    .region = run_tile,
    .beside = beside_tile,
    .cost = cost_tile,
    .finish = finish_tile,
    .teardown = teardown_tile,
};
