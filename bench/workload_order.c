/* SPDX-License-Identifier: Apache-2.0
 * What the canonical order of sums costs a training step: all products of one block of each tower,
 * forward and backward, weight gradients in blocks of the batch joined by a tree, others in chains
 * of 384 features, against the same products in one chain each. Alternation is product by product:
 * a machine that others use changes within the half second that all of them take.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "bench/gemm_shapes.h"
#include "bench/ways.h"

enum { MOST_PRODUCTS = 24 };

typedef struct order_state {
    td_arena arena;
    int64_t n, most; /* products, elements of the largest result */
    float *a, *b, *c, *kept;
    td_gemm_f32_args blocks[MOST_PRODUCTS], chain[MOST_PRODUCTS];
    td_way_op block_ops[MOST_PRODUCTS], chain_ops[MOST_PRODUCTS];
    td_way way;
    int64_t n_costs;
    double costs[TD_COMPANION_SAMPLES]; /* of all products, in one alternation */
    double fastest[2][MOST_PRODUCTS];   /* ns of each product: in blocks, in one chain */
} order_state;

static td_status list_order(const td_workload *self, td_case_list *list) {
    const char *isa = td_kernel_selected(TD_OP_gemm_f32)->name;
    for (int model = 0; td_gemm_block_model(model) != NULL; model++) {
        td_case *added =
            td_case_add(list, self, "kernel/gemm_order/%s/%s", isa, td_gemm_block_model(model));
        added->param[0] = model;
        added->seconds = 15;
    }
    return TD_OK;
}

/* Products share their operands' memory, which no cache holds between two of them. */
static void add_product(order_state *s, const td_gemm_shape *h) {
    const int64_t i = s->n++;
    s->blocks[i] = td_gemm_shape_args(h, s->a, s->b, s->c);
    s->chain[i] = s->blocks[i];
    s->chain[i].k_blocks = 1;
    s->block_ops[i] = (td_way_op){TD_OP_gemm_f32, &s->blocks[i]};
    s->chain_ops[i] = (td_way_op){TD_OP_gemm_f32, &s->chain[i]};
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static td_status open_products(order_state *s, int model) {
    td_gemm_shape shape;
    td_plan plan = {0};
    int64_t a = 0, b = 0;
    for (int64_t i = 0; td_gemm_block_shape_at(model, i, &shape); i++) {
        a = larger(a, shape.m * shape.k);
        b = larger(b, shape.n * shape.k);
        s->most = larger(s->most, shape.m * shape.n);
    }
    for (int pass = 0; pass < 2; pass++) {
        plan.used_bytes = 0;
        s->a = TD_PLAN_ARRAY(&plan, float, a);
        s->b = TD_PLAN_ARRAY(&plan, float, b);
        s->c = TD_PLAN_ARRAY(&plan, float, s->most);
        s->kept = TD_PLAN_ARRAY(&plan, float, s->most);
        if (pass == 0) {
            TD_TRY(td_arena_create(plan.used_bytes, &s->arena));
            plan.base = s->arena.base;
        }
    }
    td_gemm_fill(s->a, a, 1);
    td_gemm_fill(s->b, b, 2);
    for (int64_t i = 0; td_gemm_block_shape_at(model, i, &shape); i++) {
        TD_ASSERT(i < MOST_PRODUCTS);
        add_product(s, &shape);
    }
    return TD_OK;
}

static td_status setup_order(td_bench *bench) {
    order_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (!s) {
        return td_fail(TD_ENOMEM, "a case of the order of sums");
    }
    TD_TRY(open_products(s, (int)bench->subject->param[0]));
    s->way = (td_way){"canonical", s->n, s->block_ops};
    const td_way free = {"free", s->n, s->chain_ops};
    bench->scratch_bytes = larger(td_way_scratch(&s->way), td_way_scratch(&free));
    for (int64_t i = 0; i < s->n; i++) {
        s->fastest[0][i] = s->fastest[1][i] = INFINITY;
    }
    td_way_beside(bench, &free);
    return TD_OK;
}

static void teardown_order(td_bench *bench) {
    order_state *s = bench->state;
    td_arena_destroy(&s->arena);
    td_free(s);
}

static void run_order(td_bench *bench, td_worker *worker) {
    const order_state *s = bench->state;
    td_way_region(&s->way, worker);
}

/* Each product in both orders, the first one in turn. */
static td_status beside_order(td_bench *bench, int companion, int64_t repeat, double *ns) {
    order_state *s = bench->state;
    double sum[2] = {0, 0};
    (void)companion;
    for (int64_t i = 0; i < s->n; i++) {
        for (int64_t j = 0; j < 2; j++) {
            const int64_t free = (i + j + s->n_costs) % 2;
            const td_way one = {"one", 1, free ? &s->chain_ops[i] : &s->block_ops[i]};
            double took = td_way_time(bench->team, &one, repeat);
            s->fastest[free][i] = fmin(s->fastest[free][i], took);
            sum[free] += took;
        }
    }
    TD_ASSERT(s->n_costs < TD_COMPANION_SAMPLES);
    s->costs[s->n_costs++] = sum[0] / sum[1] - 1;
    *ns = sum[1];
    return TD_OK;
}

/* Each product in both orders: factors are at most 1, so either is within k (k + 2) u of the exact
 * sum. That the bits are the canonical order's is proved by the cases of the products. */
static td_status verify_order(td_bench *bench) {
    order_state *s = bench->state;
    for (int64_t i = 0; i < s->n; i++) {
        const td_gemm_f32_args *g = &s->blocks[i];
        const double bound = 2 * (double)g->k * (double)(g->k + 2) * 0x1p-24;
        memset(s->c, 0xFF, (size_t)s->most * sizeof(float));
        td_way_time(bench->team, &(td_way){"one", 1, &s->block_ops[i]}, 1);
        memcpy(s->kept, s->c, (size_t)s->most * sizeof(float));
        memset(s->c, 0xFF, (size_t)s->most * sizeof(float));
        td_way_time(bench->team, &(td_way){"one", 1, &s->chain_ops[i]}, 1);
        for (int64_t j = 0; j < g->m * g->n; j++) {
            if (!(fabs((double)s->c[j] - (double)s->kept[j]) <= bound)) {
                return td_fail(TD_ECHECK, "element %lld of product %lld is %.9g, in one chain %.9g",
                               (long long)j, (long long)i, (double)s->kept[j], (double)s->c[j]);
            }
        }
    }
    snprintf(bench->outcome->method, sizeof bench->outcome->method,
             "bound of the sums of %lld products, both orders, all elements", (long long)s->n);
    return TD_OK;
}

static void cost_order(const td_bench *bench, td_cost *out) {
    const order_state *s = bench->state;
    *out = (td_cost){.value = TD_VALUE_FLOPS,
                     .flops = td_way_flops(&s->way),
                     .bytes = td_way_bytes(&s->way),
                     .working_set = td_way_bytes(&s->way),
                     .isa = (int)td_kernel_selected(TD_OP_gemm_f32)->isa};
}

/* Of all products' time; a step, which does more than multiply, pays a smaller share. order_cost:
 * the median alternation, with its bounds; fastest: of each product's fastest run in either order.
 */
static void finish_order(td_bench *bench) {
    order_state *s = bench->state;
    td_outcome *out = bench->outcome;
    double sum[2] = {0, 0};
    if (s->n_costs == 0) {
        return;
    }
    for (int64_t i = 0; i < s->n; i++) {
        sum[0] += s->fastest[0][i];
        sum[1] += s->fastest[1][i];
    }
    td_outcome_median(out, "order_cost", s->costs, s->n_costs);
    td_outcome_number(out, "order_cost_fastest", sum[0] / sum[1] - 1);
}

const td_workload td_workload_order = {
    .name = "order",
    .list = list_order,
    .fits = td_case_fits_one_rank,
    .setup = setup_order,
    .verify = verify_order,
    .region = run_order,
    .beside = beside_order,
    .cost = cost_order,
    .finish = finish_order,
    .teardown = teardown_order,
};
