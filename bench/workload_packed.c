/* SPDX-License-Identifier: Apache-2.0
 * Few rows times weights that are packed once and used again: a step multiplies by other weights in
 * turn, 64 MiB of them, so that none is in L2 when its turn comes. The same products from weights
 * as they are stored, packing, and libraries are timed in alternation.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/gemm_shapes.h"
#include "bench/ways.h"
#include "kernels/gemm/gemm_plan.h"
#include "kernels/provider.h"

enum { ROTATED_BYTES = 64 << 20, MOST_WEIGHTS = 48, MOST_LIBRARIES = TD_COMPANIONS - 3 };

typedef struct packed_row {
    const char *name;
    int64_t m, n, k;
    bool b_trans; /* forward; else the gradient of its input */
} packed_row;

/* The MLP of vit-b-32 and its gradients, and the narrowest model's, at the rows of a small batch;
 * at those of vit-b-32's batch of 32 in four parts and whole; and its pooled rows, likewise. */
static const packed_row rows[] = {
    {"fc1.fwd", 64, 3072, 768, true},   {"fc1.dx", 64, 768, 3072, false},
    {"fc2.fwd", 64, 768, 3072, true},   {"fc2.dx", 64, 3072, 768, false},
    {"fc1.fwd", 64, 1536, 384, true},   {"fc1.dx", 64, 384, 1536, false},
    {"fc1.fwd", 400, 3072, 768, true},  {"fc1.dx", 400, 768, 3072, false},
    {"fc1.fwd", 1600, 3072, 768, true}, {"fc1.dx", 1600, 768, 3072, false},
    {"fc1.fwd", 8, 3072, 768, true},    {"fc1.dx", 8, 768, 3072, false},
    {"fc1.fwd", 32, 3072, 768, true},   {"fc1.dx", 32, 768, 3072, false},
};

enum { STORED, PACKING, N_WAYS, ROOF = N_WAYS, N_BESIDE };

typedef struct packed_state {
    const packed_row *row;
    td_arena arena;
    int64_t weights;
    float *c, *kept;
    td_gemm_f32_args packed[MOST_WEIGHTS], stored[MOST_WEIGHTS];
    td_gemm_pack_f32_args pack[MOST_WEIGHTS];
    td_way_op packed_ops[MOST_WEIGHTS], stored_ops[MOST_WEIGHTS], pack_ops[MOST_WEIGHTS];
    td_way way, ways[N_WAYS];
    const td_provider *libraries[TD_COMPANIONS]; /* by companion */
} packed_state;

static td_status list_packed(const td_workload *self, td_case_list *list) {
    const char *isa = td_kernel_selected(TD_OP_gemm_f32)->name;
    for (int64_t i = 0; i < (int64_t)(sizeof rows / sizeof rows[0]); i++) {
        const packed_row *r = &rows[i];
        td_case *added = td_case_add(list, self, "kernel/gemm_packed/%s/%s-m%lld-n%lld-k%lld", isa,
                                     r->name, (long long)r->m, (long long)r->n, (long long)r->k);
        added->param[0] = i;
        added->seconds = r->m > 400 ? 12 : 4;
    }
    return TD_OK;
}

/* One weight's three operations; b and packed are its own, a and c shared. */
static void add_weight(packed_state *s, int64_t i, const float *a, float *b, float *packed) {
    const packed_row *r = s->row;
    s->stored[i] = (td_gemm_f32_args){.m = r->m,
                                      .n = r->n,
                                      .k = r->k,
                                      .k_blocks = 1,
                                      .a = a,
                                      .lda = r->k,
                                      .b = b,
                                      .ldb = r->b_trans ? r->k : r->n,
                                      .b_trans = r->b_trans,
                                      .c = s->c + i * r->m * r->n,
                                      .ldc = r->n};
    s->packed[i] = s->stored[i];
    s->packed[i].packed = packed;
    s->pack[i] = (td_gemm_pack_f32_args){.n = r->n,
                                         .k = r->k,
                                         .b = b,
                                         .ldb = s->stored[i].ldb,
                                         .b_trans = r->b_trans,
                                         .packed = packed};
    s->stored_ops[i] = (td_way_op){TD_OP_gemm_f32, &s->stored[i]};
    s->packed_ops[i] = (td_way_op){TD_OP_gemm_f32, &s->packed[i]};
    s->pack_ops[i] = (td_way_op){TD_OP_gemm_pack_f32, &s->pack[i]};
}

static td_status open_operands(packed_state *s) {
    const packed_row *r = s->row;
    const int64_t size = r->n * r->k, packed_size = td_gemm_packed_floats(r->n, r->k);
    s->weights = ROTATED_BYTES / (size * (int64_t)sizeof(float)) + 1;
    TD_ASSERT(s->weights <= MOST_WEIGHTS);
    td_plan plan = {0};
    float *a = NULL, *b = NULL, *packed = NULL;
    for (int pass = 0; pass < 2; pass++) {
        plan.used_bytes = 0;
        a = TD_PLAN_ARRAY(&plan, float, r->m * r->k);
        b = TD_PLAN_ARRAY(&plan, float, s->weights *size);
        packed = TD_PLAN_ARRAY(&plan, float, s->weights *packed_size);
        s->c = TD_PLAN_ARRAY(&plan, float, s->weights * r->m * r->n);
        s->kept = TD_PLAN_ARRAY(&plan, float, s->weights * r->m * r->n);
        if (pass == 0) {
            TD_TRY(td_arena_create(plan.used_bytes, &s->arena));
            plan.base = s->arena.base;
        }
    }
    td_gemm_fill(a, r->m * r->k, 1);
    td_gemm_fill(b, s->weights * size, 2);
    for (int64_t i = 0; i < s->weights; i++) {
        add_weight(s, i, a, b + i * size, packed + i * packed_size);
    }
    return TD_OK;
}

/* Beside one worker only: libraries' threads would need CPUs that the team has. */
static td_status open_libraries(td_bench *bench, packed_state *s) {
    td_isa isa;
    TD_TRY(td_isa_active(&isa));
    for (const char *const *name = td_provider_names(); *name && bench->rank->workers == 1;
         name++) {
        int at = bench->outcome->n_companions++;
        TD_ASSERT(at < N_BESIDE + MOST_LIBRARIES);
        td_companion *library = &bench->outcome->companions[at];
        snprintf(library->name, sizeof library->name, "%s", *name);
        library->library = true;
        if (td_provider_open(*name, isa, &s->libraries[at]) != TD_OK) {
            library->state = TD_OUTCOME_SKIPPED;
            snprintf(library->reason, sizeof library->reason, "%.159s", td_error());
            continue;
        }
        const td_provider *opened = s->libraries[at];
        library->state = TD_OUTCOME_OK;
        td_provider_set_threads(opened, 1);
        snprintf(library->version, sizeof library->version, "%s %s", opened->version, opened->core);
    }
    return TD_OK;
}

static td_status setup_packed(td_bench *bench) {
    packed_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (!s) {
        return td_fail(TD_ENOMEM, "a packed product's case");
    }
    s->row = &rows[bench->subject->param[0]];
    TD_TRY(open_operands(s));
    s->way = (td_way){"packed", s->weights, s->packed_ops};
    s->ways[STORED] = (td_way){"stored", s->weights, s->stored_ops};
    s->ways[PACKING] = (td_way){"packing", s->weights, s->pack_ops};
    int64_t packed = td_way_scratch(&s->way), stored = td_way_scratch(&s->ways[STORED]);
    bench->scratch_bytes = packed > stored ? packed : stored;
    for (int i = 0; i < N_WAYS; i++) {
        td_way_beside(bench, &s->ways[i]);
    }
    td_way_beside(bench, &(td_way){.name = "roof"});
    return open_libraries(bench, s);
}

static void teardown_packed(td_bench *bench) {
    packed_state *s = bench->state;
    td_arena_destroy(&s->arena);
    td_free(s);
}

static void run_packed(td_bench *bench, td_worker *worker) {
    const packed_state *s = bench->state;
    td_way_region(&s->way, worker);
}

static bool run_library(const packed_state *s, int companion) {
    bool done = true;
    for (int64_t i = 0; i < s->weights; i++) {
        done = td_provider_gemm_f32(s->libraries[companion], &s->stored[i]) && done;
    }
    return done;
}

static td_status beside_packed(td_bench *bench, int companion, int64_t repeat, double *ns) {
    const packed_state *s = bench->state;
    if (companion == ROOF) {
        *ns = td_roof_time(bench->team, TD_PEAK_FMA, td_kernel_selected(TD_OP_gemm_f32)->isa,
                           bench->rank->workers, td_way_flops(&s->way));
        return TD_OK;
    }
    if (companion < N_WAYS) {
        *ns = td_way_time(bench->team, &s->ways[companion], repeat);
        return TD_OK;
    }
    int64_t start = td_now_ns();
    for (int64_t i = 0; i < repeat; i++) {
        run_library(s, companion);
    }
    *ns = (double)(td_now_ns() - start) / (double)repeat;
    return TD_OK;
}

/* Libraries' products, whose order of sums is their own, against ours. */
static td_status check_library(const packed_state *s) {
    const int64_t count = s->weights * s->row->m * s->row->n;
    const double bound = (double)s->row->k * 0x1p-24 * (double)s->row->k;
    for (int64_t i = 0; i < count; i++) {
        double gap = fabs((double)s->c[i] - (double)s->kept[i]);
        if (!(gap <= bound)) {
            return td_fail(TD_ECHECK, "element %lld is %.9g, ours %.9g", (long long)i,
                           (double)s->c[i], (double)s->kept[i]);
        }
    }
    return TD_OK;
}

static td_status verify_packed(td_bench *bench) {
    packed_state *s = bench->state;
    td_outcome *out = bench->outcome;
    const size_t bytes = (size_t)(s->weights * s->row->m * s->row->n) * sizeof(float);
    memset(s->c, 0xFF, bytes);
    td_way_time(bench->team, &s->ways[STORED], 1);
    memcpy(s->kept, s->c, bytes);
    memset(s->c, 0xFF, bytes);
    td_way_time(bench->team, &s->ways[PACKING], 1);
    td_way_time(bench->team, &s->way, 1);
    if (memcmp(s->c, s->kept, bytes) != 0) {
        return td_fail(TD_ECHECK, "products of packed weights differ from those of stored ones");
    }
    for (int i = N_BESIDE; i < out->n_companions; i++) {
        td_companion *library = &out->companions[i];
        memset(s->c, 0xFF, bytes);
        if (library->state == TD_OUTCOME_OK && !run_library(s, i)) {
            library->state = TD_OUTCOME_SKIPPED;
            snprintf(library->reason, sizeof library->reason, "leaves this product to another");
        } else if (library->state == TD_OUTCOME_OK && check_library(s) != TD_OK) {
            library->state = TD_OUTCOME_FAILED;
            snprintf(library->reason, sizeof library->reason, "%.159s", td_error());
        }
        snprintf(library->method, sizeof library->method, "bound of the sum, all elements");
    }
    snprintf(out->method, sizeof out->method, "memcmp:products of stored weights, %lld weights",
             (long long)s->weights);
    out->max_ulp = 0;
    return TD_OK;
}

static void cost_packed(const td_bench *bench, td_cost *out) {
    const packed_state *s = bench->state;
    *out = (td_cost){.value = TD_VALUE_FLOPS,
                     .flops = td_way_flops(&s->way),
                     .bytes = td_way_bytes(&s->way),
                     .working_set = td_way_bytes(&s->way),
                     .isa = (int)td_kernel_selected(TD_OP_gemm_f32)->isa};
}

/* Libraries multiply weights as they are stored. packing: of a product's time. */
static void finish_packed(td_bench *bench) {
    td_outcome *out = bench->outcome;
    td_way_compare(out, STORED, false, "times_stored");
    td_way_compare(out, PACKING, false, "packing");
    td_roof_compare(out, ROOF);
    td_libraries_compare(out, N_BESIDE, out->n_companions);
}

const td_workload td_workload_packed = {
    .name = "packed",
    .list = list_packed,
    .fits = td_case_fits_one_rank,
    .setup = setup_packed,
    .verify = verify_packed,
    .region = run_packed,
    .beside = beside_packed,
    .cost = cost_packed,
    .finish = finish_packed,
    .teardown = teardown_packed,
};
