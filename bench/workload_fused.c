/* SPDX-License-Identifier: Apache-2.0
 * What an epilogue costs: a linear layer's product with what follows it, against the product alone
 * and against product and pass one after the other, all three timed in alternation.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "bench/ways.h"

enum { PREACT = 1, RESIDUAL = 2, GRAD = 4 };

typedef struct fused_row {
    const char *name;
    int64_t m, n, k;
    int does; /* besides adding a bias, which only a gradient does not */
    td_act act;
} fused_row;

/* The layers of vit-b-32 at batch 32, and the narrowest model's, where less work hides more. */
static const fused_row rows[] = {
    {"bias-pre-gelu", 1600, 3072, 768, PREACT, TD_ACT_GELU_ERF},
    {"bias-pre-quick", 1600, 3072, 768, PREACT, TD_ACT_GELU_QUICK},
    {"bias-pre-tanh", 1600, 3072, 768, PREACT, TD_ACT_GELU_TANH},
    {"bias-res", 1600, 768, 3072, RESIDUAL, TD_ACT_NONE},
    {"bias-res", 1600, 768, 768, RESIDUAL, TD_ACT_NONE},
    {"dgelu", 1600, 3072, 768, GRAD, TD_ACT_GELU_ERF},
    {"bias-pre-gelu", 3200, 1536, 384, PREACT, TD_ACT_GELU_ERF},
    {"bias-res", 3200, 384, 1536, RESIDUAL, TD_ACT_NONE},
};

enum { PLAIN, APART, N_WAYS };

typedef struct fused_state {
    const fused_row *row;
    td_arena arena;
    float *c, *preact, *kept_c, *kept_preact, *product;
    td_gemm_f32_args fused, plain, before; /* before: what comes before the pass */
    td_gelu_f32_args act;
    td_rows_copy_f32_args add;
    td_way_op fused_op, plain_op, apart_ops[2];
    td_way way, ways[N_WAYS];
    int companion[N_WAYS];
} fused_state;

static td_status list_fused(const td_workload *self, td_case_list *list) {
    const char *isa = td_kernel_selected(TD_OP_gemm_f32)->name;
    for (int64_t i = 0; i < (int64_t)(sizeof rows / sizeof rows[0]); i++) {
        const fused_row *r = &rows[i];
        td_case *added = td_case_add(list, self, "kernel/gemm_fused/%s/%s-m%lld-n%lld-k%lld", isa,
                                     r->name, (long long)r->m, (long long)r->n, (long long)r->k);
        added->param[0] = i;
        added->seconds = 4;
    }
    return TD_OK;
}

static void fill(float *x, int64_t n, double size, uint64_t stream) {
    td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, stream);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)((td_rng_uniform(&rng) * 2 - 1) * size);
    }
}

/* Sums of about normal size 1.2, where a GELU is neither zero nor its argument. */
static td_status open_operands(fused_state *s) {
    const fused_row *r = s->row;
    int64_t area = r->m * r->n;
    td_plan plan = {0};
    float *a = NULL, *b = NULL, *bias = NULL, *other = NULL;
    for (int pass = 0; pass < 2; pass++) {
        plan.used_bytes = 0;
        a = TD_PLAN_ARRAY(&plan, float, r->m * r->k);
        b = TD_PLAN_ARRAY(&plan, float, r->n * r->k);
        bias = TD_PLAN_ARRAY(&plan, float, r->n);
        other = TD_PLAN_ARRAY(&plan, float, area);
        s->c = TD_PLAN_ARRAY(&plan, float, area);
        s->preact = TD_PLAN_ARRAY(&plan, float, area);
        s->kept_c = TD_PLAN_ARRAY(&plan, float, area);
        s->kept_preact = TD_PLAN_ARRAY(&plan, float, area);
        s->product = TD_PLAN_ARRAY(&plan, float, area);
        if (pass == 0) {
            TD_TRY(td_arena_create(plan.used_bytes, &s->arena));
            plan.base = s->arena.base;
        }
    }
    fill(a, r->m * r->k, 1, 1);
    fill(b, r->n * r->k, 3.5 / sqrt((double)r->k), 2);
    fill(bias, r->n, 1, 3);
    fill(other, area, 3, 4);
    bool grad = (r->does & GRAD) != 0;
    s->plain = (td_gemm_f32_args){.m = r->m,
                                  .n = r->n,
                                  .k = r->k,
                                  .k_blocks = 1,
                                  .a = a,
                                  .lda = r->k,
                                  .b = b,
                                  .ldb = grad ? r->n : r->k,
                                  .b_trans = !grad,
                                  .c = s->c,
                                  .ldc = r->n};
    s->before = s->plain;
    s->before.bias = grad ? NULL : bias;
    s->fused = s->before;
    s->fused.act = r->act;
    if (grad) {
        s->fused.act_grad_of = other;
        s->fused.ldact_grad_of = r->n;
        s->act = (td_gelu_f32_args){.n = area, .act = r->act, .x = other, .dy = s->c, .y = s->c};
    } else if (r->does & PREACT) {
        s->fused.preact = s->before.c = s->preact;
        s->fused.ldpreact = r->n;
        s->act = (td_gelu_f32_args){.n = area, .act = r->act, .x = s->preact, .y = s->c};
    } else {
        s->fused.residual = other;
        s->fused.ldresidual = r->n;
        s->add = (td_rows_copy_f32_args){.groups = r->m,
                                         .rows = 1,
                                         .cols = r->n,
                                         .from = other,
                                         .from_group = r->n,
                                         .from_ld = r->n,
                                         .to = s->c,
                                         .to_group = r->n,
                                         .to_ld = r->n,
                                         .add = true};
    }
    return TD_OK;
}

static void open_ways(td_bench *bench, fused_state *s) {
    bool adds = (s->row->does & RESIDUAL) != 0;
    s->fused_op = (td_way_op){TD_OP_gemm_f32, &s->fused};
    s->plain_op = (td_way_op){TD_OP_gemm_f32, &s->plain};
    s->apart_ops[0] = (td_way_op){TD_OP_gemm_f32, &s->before};
    s->apart_ops[1] =
        adds ? (td_way_op){TD_OP_rows_copy_f32, &s->add} : (td_way_op){TD_OP_gelu_f32, &s->act};
    s->way = (td_way){"fused", 1, &s->fused_op};
    s->ways[PLAIN] = (td_way){"plain", 1, &s->plain_op};
    s->ways[APART] = (td_way){"apart", 2, s->apart_ops};
    bench->scratch_bytes = td_way_scratch(&s->way);
    for (int i = 0; i < N_WAYS; i++) {
        int64_t bytes = td_way_scratch(&s->ways[i]);
        bench->scratch_bytes = bytes > bench->scratch_bytes ? bytes : bench->scratch_bytes;
        s->companion[i] = td_way_beside(bench, &s->ways[i]);
    }
}

static td_status setup_fused(td_bench *bench) {
    fused_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (!s) {
        return td_fail(TD_ENOMEM, "a fused product's case");
    }
    s->row = &rows[bench->subject->param[0]];
    TD_TRY(open_operands(s));
    open_ways(bench, s);
    return TD_OK;
}

static void teardown_fused(td_bench *bench) {
    fused_state *s = bench->state;
    td_arena_destroy(&s->arena);
    td_free(s);
}

static void run_fused(td_bench *bench, td_worker *worker) {
    const fused_state *s = bench->state;
    td_way_region(&s->way, worker);
}

static td_status beside_fused(td_bench *bench, int companion, int64_t repeat, double *ns) {
    const fused_state *s = bench->state;
    for (int i = 0; i < N_WAYS; i++) {
        if (s->companion[i] == companion) {
            *ns = td_way_time(bench->team, &s->ways[i], repeat);
        }
    }
    return TD_OK;
}

/* ---- proof ---- */

static double exact(td_act act, double x) {
    if (act == TD_ACT_GELU_ERF) {
        return 0.5 * x * erfc(-x * M_SQRT1_2);
    }
    double t =
        act == TD_ACT_GELU_QUICK ? 1.702 * x : 2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
    return x / (1 + exp(-t));
}

/* Fourth-order central difference: its own error is below 1e-11. */
static double exact_grad(td_act act, double x) {
    const double h = 1e-3;
    double near = exact(act, x + h) - exact(act, x - h);
    double far = exact(act, x + 2 * h) - exact(act, x - 2 * h);
    return (8 * near - far) / (12 * h);
}

/* Our own bounds of vmath.h: units in the last place, or for a gradient its absolute error. */
static td_status check_element(const fused_state *s, int64_t i, double *worst) {
    const td_act act = s->row->act;
    double found = (double)s->kept_c[i], want, gap, most;
    if (s->row->does & GRAD) {
        double scale = (double)s->product[i];
        want = scale * exact_grad(act, (double)s->fused.act_grad_of[i]);
        gap = fabs(found - want);
        most = 5e-7 * fabs(scale) + 0x1p-24 * fabs(want);
    } else {
        int exponent;
        want = exact(act, (double)s->kept_preact[i]);
        frexp(want, &exponent);
        gap = fabs(found - want) / fmax(ldexp(1, exponent - 24), 0x1p-146);
        /* quick reaches 4.5 on sums, though vmath finds 4 on its grid */
        most = act == TD_ACT_GELU_ERF ? 8 : act == TD_ACT_GELU_QUICK ? 5 : 4;
        *worst = fmax(*worst, gap);
    }
    if (!(gap <= most)) {
        return td_fail(TD_ECHECK, "element %lld is %.9g, expected %.9g: %.3g, allowed %.3g",
                       (long long)i, found, want, gap, most);
    }
    return TD_OK;
}

/* From the product alone, whose own bits are those of the portable row elsewhere: additions one by
 * one, activations in float64. */
static td_status check_from_product(td_bench *bench) {
    const fused_state *s = bench->state;
    const fused_row *r = s->row;
    double worst = 0;
    for (int64_t i = 0; i < r->m * r->n; i++) {
        float sum = s->product[i];
        sum = s->fused.bias != NULL ? sum + s->fused.bias[i % r->n] : sum;
        float stored = (r->does & PREACT) ? s->kept_preact[i] : s->kept_c[i];
        sum = (r->does & RESIDUAL) ? sum + s->fused.residual[i] : sum;
        if (!(r->does & GRAD) && memcmp(&sum, &stored, sizeof sum) != 0) {
            return td_fail(TD_ECHECK, "element %lld is %.9g, expected %.9g", (long long)i,
                           (double)stored, (double)sum);
        }
        if (r->act != TD_ACT_NONE) {
            TD_TRY(check_element(s, i, &worst));
        }
    }
    bench->outcome->max_ulp = worst;
    return TD_OK;
}

static td_status verify_fused(td_bench *bench) {
    fused_state *s = bench->state;
    size_t bytes = (size_t)(s->row->m * s->row->n) * sizeof(float);
    memset(s->c, 0xFF, bytes);
    memset(s->preact, 0xFF, bytes);
    td_way_time(bench->team, &s->way, 1);
    memcpy(s->kept_c, s->c, bytes);
    memcpy(s->kept_preact, s->preact, bytes);
    memset(s->c, 0xFF, bytes);
    td_way_time(bench->team, &s->ways[APART], 1);
    if (memcmp(s->c, s->kept_c, bytes) != 0 || memcmp(s->preact, s->kept_preact, bytes) != 0) {
        return td_fail(TD_ECHECK, "the fused product differs from product and pass");
    }
    td_way_time(bench->team, &s->ways[PLAIN], 1);
    memcpy(s->product, s->c, bytes);
    TD_TRY(check_from_product(bench));
    snprintf(bench->outcome->method, sizeof bench->outcome->method,
             "memcmp:product and pass; %s of the product alone, all elements",
             s->row->act == TD_ACT_NONE   ? "memcmp:sums"
             : (s->row->does & GRAD) != 0 ? "bound:f64 gradient"
                                          : "ULP:f64 activation");
    return TD_OK;
}

static void cost_fused(const td_bench *bench, td_cost *out) {
    const fused_state *s = bench->state;
    double bytes = td_way_bytes(&s->way);
    *out = (td_cost){.value = TD_VALUE_FLOPS,
                     .flops = td_way_flops(&s->way),
                     .bytes = bytes,
                     .working_set = bytes,
                     .isa = (int)td_kernel_selected(TD_OP_gemm_f32)->isa};
}

static void finish_fused(td_bench *bench) {
    const fused_state *s = bench->state;
    td_way_compare(bench->outcome, s->companion[PLAIN], true, "over_plain");
    td_way_compare(bench->outcome, s->companion[APART], false, "times_apart");
}

const td_workload td_workload_fused = {
    .name = "fused",
    .list = list_fused,
    .fits = td_case_fits_one_rank,
    .setup = setup_fused,
    .verify = verify_fused,
    .region = run_fused,
    .beside = beside_fused,
    .cost = cost_fused,
    .finish = finish_fused,
    .teardown = teardown_fused,
};
