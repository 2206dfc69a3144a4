/* SPDX-License-Identifier: Apache-2.0
 * Every implementation row of the kernels table on every example shape. A new row or shape needs
 * nothing here. Plain f32 products on the row in use are workload_gemm.c's, elementary functions
 * workload_vmath.c's.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/attention_peer.h"
#include "bench/case.h"
#include "bench/ceiling.h"
#include "bench/stats.h"
#include "bench/ways.h"
#include "kernels/kernel_example.h"
#include "kernels/provider.h"

/* A check may spend about this much in the portable row, which does some 0.5 GFLOP/s. */
static const double CHECK_FLOPS = 2e8, CHECK_BYTES = 2e8;
enum { SEED = 1, MIN_CHECKED_TILES = 2 };

/* Elements by which workers divide the streams of a roof: whole cache lines of every width. */
enum { ROOF_GRAIN = 1024, ROOF_SKEW = 3, ROOF_TRIES = 5 };
_Static_assert(ROOF_GRAIN % TD_MIX_STEP == 0, "a part is whole steps");

/* What a case's parameters are. */
enum { PARAM_ROW, PARAM_SIZE, PARAM_INDEX };

typedef struct kernel_state {
    const td_kernel *row, *portable;
    td_kernel_example *example;
    const void *args;
    int64_t tiles;
    int64_t checked; /* tiles that the portable row computes in a mixed run; 0: none */
    double working_set;
    td_mix_pass roof; /* the same streams without the arithmetic; n is 0: not measured beside */
    int64_t start_ns, end_ns;
    td_attention_peer *peer; /* of attention in f32 */
} kernel_state;

typedef struct listing {
    const td_workload *self;
    td_case_list *list;
    const td_kernel *row;
    int row_index, size;
    int64_t index;
} listing;

static double example_working_set(const td_kernel_example *example) {
    double bytes = 0;
    int count;
    const td_kernel_example_buffer *buffers = td_kernel_example_buffers(example, &count);
    for (int i = 0; i < count; i++) {
        const td_kernel_example_buffer *b = &buffers[i];
        if (b->role != TD_EXAMPLE_SCRATCH) {
            bytes += (double)b->rows * (double)b->cols * (double)b->element_bytes;
        }
    }
    return bytes;
}

static bool is_gemm(td_op_id op) {
    return td_precision_product(td_precision_of_op(op)) == op;
}

static bool is_attention(td_op_id op) {
    return op == TD_OP_attention_f32 || op == TD_OP_attention_grad_f32 ||
           op == TD_OP_attention_bf16 || op == TD_OP_attention_grad_bf16;
}

/* Quick: the rows in use; of GEMM all shapes, of the others the first, which is a training step's.
 * A lower ISA's GEMM row on the first shape shows what the level gives. */
static bool is_quick(const listing *l) {
    bool first = l->index == 0, gemm = is_gemm(l->row->op);
    bool used = td_kernel_selected(l->row->op) == l->row;
    bool lower = l->row->op == TD_OP_gemm_f32 && first && l->row->isa != TD_ISA_PORTABLE;
    return l->size == TD_EXAMPLE_QUICK && ((used && (gemm || first)) || lower);
}

static void list_one(const td_kernel_example *example, const listing *l) {
    if (l->row->op == TD_OP_vmath_f32 || (l->row == td_kernel_selected(TD_OP_gemm_f32) &&
                                          td_provider_gemm_fits(td_kernel_example_args(example)))) {
        return;
    }
    td_case *added = td_case_add(l->list, l->self, "kernel/%s/%s/%s", td_ops[l->row->op].name,
                                 l->row->name, td_kernel_example_shape(example));
    added->param[PARAM_ROW] = l->row_index;
    added->param[PARAM_SIZE] = l->size;
    added->param[PARAM_INDEX] = l->index;
    added->quick = is_quick(l);
    added->seconds = is_attention(l->row->op) ? 2.5 : is_gemm(l->row->op) ? 1.0 : 0.6;
}

static td_status list_row(listing *l) {
    for (l->size = TD_EXAMPLE_QUICK; l->size <= TD_EXAMPLE_FULL; l->size++) {
        int64_t cases = td_kernel_example_cases(l->row->op, l->size);
        for (l->index = 0; l->index < cases; l->index++) {
            td_kernel_example *outline;
            TD_TRY(td_kernel_example_outline(l->row->op, l->size, l->index, &outline));
            list_one(outline, l);
            td_kernel_example_destroy(outline);
        }
    }
    return TD_OK;
}

static td_status list_kernels(const td_workload *self, td_case_list *list) {
    int count;
    const td_kernel *rows = td_kernels(&count);
    for (int i = 0; i < count; i++) {
        TD_TRY(list_row(&(listing){.self = self, .list = list, .row = &rows[i], .row_index = i}));
    }
    return TD_OK;
}

/* From memory the roof runs beside the kernel, on its own buffers: what in-place loops leave there
 * is what was there, and what others overwrite has been checked. */
static void open_roof(td_bench *bench, kernel_state *s) {
    if (td_ops[s->row->op].mix == TD_MIX_NONE || s->working_set < td_ceiling_memory_bytes()) {
        return;
    }
    td_mix_pass roof;
    roof.mix = td_kernel_example_mix(s->example, &roof);
    if (roof.mix != TD_MIX_NONE) {
        s->roof = roof;
        td_companion *companion = &bench->outcome->companions[bench->outcome->n_companions++];
        snprintf(companion->name, sizeof companion->name, "%s", td_mixes[roof.mix].name);
        companion->state = TD_OUTCOME_OK;
    }
}

static td_status open_example(td_bench *bench, kernel_state *s) {
    const td_case *subject = bench->subject;
    int count;
    s->row = &td_kernels(&count)[subject->param[PARAM_ROW]];
    s->portable = td_kernel_example_portable(s->row->op);
    if (s->row->isa > td_isa_native()) {
        return td_fail(TD_ESKIP, "needs %s, this CPU has %s", td_isa_name(s->row->isa),
                       td_isa_name(td_isa_native()));
    }
    TD_TRY(td_kernel_example_create(s->row->op, (int)subject->param[PARAM_SIZE],
                                    subject->param[PARAM_INDEX], SEED, &s->example));
    s->args = td_kernel_example_args(s->example);
    s->tiles = td_ops[s->row->op].tiles(s->args);
    s->working_set = example_working_set(s->example);
    bench->scratch_bytes = td_ops[s->row->op].scratch(s->args);
    if (!is_attention(s->row->op)) {
        open_roof(bench, s);
        return TD_OK;
    }
    const td_attention_f32_args *forward = s->row->op == TD_OP_attention_f32 ? s->args : NULL;
    return td_attention_peer_create(bench, s->row, td_ops[s->row->op].flops(s->args), forward,
                                    &s->peer);
}

static td_status setup_kernel(td_bench *bench) {
    kernel_state *s = bench->state = td_alloc_zero(sizeof *s);
    return s ? open_example(bench, s) : td_fail(TD_ENOMEM, "a kernel case");
}

static void teardown_kernel(td_bench *bench) {
    kernel_state *s = bench->state;
    td_attention_peer_destroy(s->peer);
    td_kernel_example_destroy(s->example);
    td_free(s);
}

static void run_share(td_bench *bench, td_worker *worker) {
    const kernel_state *s = bench->state;
    td_op_region(s->row->op, s->row->run, s->args, worker);
}

static void run_all(void *arg, td_worker *worker) {
    run_share(arg, worker);
}

/* Whether tile t is one of the `checked` tiles, which are spread evenly from first to last. */
static bool is_checked(const kernel_state *s, int64_t t) {
    if (s->checked < 2) {
        return s->checked == 1 && t == 0;
    }
    int64_t nearest = (t * (s->checked - 1) + (s->tiles - 1) / 2) / (s->tiles - 1);
    return nearest * (s->tiles - 1) / (s->checked - 1) == t;
}

static void run_mixed(void *arg, td_worker *worker) {
    const kernel_state *s = ((td_bench *)arg)->state;
    int64_t first, last;
    td_worker_share(worker, s->tiles, &first, &last);
    for (int64_t t = first; t < last; t++) {
        (is_checked(s, t) ? s->portable : s->row)->run(s->args, t, t + 1, worker->scratch);
    }
}

static int64_t affordable_tiles(const kernel_state *s) {
    double flops = td_ops[s->row->op].flops(s->args), bytes = td_ops[s->row->op].bytes(s->args);
    double cost = fmax(flops / CHECK_FLOPS, bytes / CHECK_BYTES);
    if (cost <= 1) {
        return s->tiles;
    }
    int64_t tiles = (int64_t)((double)s->tiles / cost);
    tiles = tiles < MIN_CHECKED_TILES ? MIN_CHECKED_TILES : tiles;
    return tiles < s->tiles ? tiles : s->tiles;
}

/* ---- the roof beside ---- */

/* A worker's part of a stream of n elements, a little less than its share: parts that begin a power
 * of two apart meet in banks of memory. */
static int64_t roof_part(const kernel_state *s, const td_bench *bench) {
    int64_t grains = s->roof.n / bench->rank->workers / ROOF_GRAIN;
    return (bench->rank->workers > 1 ? grains - ROOF_SKEW : grains) * ROOF_GRAIN;
}

static void run_roof(void *arg, td_worker *worker) {
    td_bench *bench = arg;
    kernel_state *s = bench->state;
    const td_mix_row *row = &td_mixes[s->roof.mix];
    td_mix_pass pass = s->roof;
    pass.n = roof_part(s, bench);
    for (int k = 0; k < TD_MIX_STREAMS && pass.stream[k]; k++) {
        pass.stream[k] +=
            pass.n * worker->id * (k < row->loads ? row->load_bytes : row->store_bytes);
    }
    td_team_barrier(worker);
    if (worker->id == 0) {
        s->start_ns = td_now_ns();
    }
    td_mix_run(s->row->isa, &pass);
    td_team_barrier(worker);
    if (worker->id == 0) {
        s->end_ns = td_now_ns();
    }
}

/* Nanoseconds in which the mix would move the kernel's bytes. */
static double time_roof(td_bench *bench) {
    kernel_state *s = bench->state;
    td_team_run(bench->team, run_roof, bench);
    td_mix_pass pass = s->roof;
    pass.n = roof_part(s, bench) * bench->rank->workers;
    return (double)(s->end_ns - s->start_ns) * td_ops[s->row->op].bytes(s->args) /
           td_mix_bytes(&pass);
}

/* The fastest way to move the mix is the roof: by the median of passes in turn, because a single
 * lucky one had chosen a way that is slower than the kernel. */
static void choose_way(td_bench *bench) {
    kernel_state *s = bench->state;
    const int ways = td_mix_ways(s->roof.mix);
    double ns[TD_MIX_WAYS][ROOF_TRIES], least = INFINITY;
    td_mix_way best = TD_MIX_PLAIN;
    for (int i = 0; i < ROOF_TRIES * ways; i++) {
        s->roof.way = (td_mix_way)(i % ways);
        ns[i % ways][i / ways] = time_roof(bench);
    }
    for (int way = 0; way < ways; way++) {
        double median = td_stats_median(ns[way], ROOF_TRIES);
        best = median < least ? (td_mix_way)way : best;
        least = fmin(least, median);
    }
    s->roof.way = best;
}

static td_status beside_kernel(td_bench *bench, int companion, int64_t repeat, double *ns) {
    const kernel_state *s = bench->state;
    /* Of the roof, one pass over memory is long enough. */
    *ns = s->peer != NULL ? td_attention_peer_time(bench, s->peer, companion, repeat)
                          : time_roof(bench);
    return TD_OK;
}

static void finish_kernel(td_bench *bench) {
    const kernel_state *s = bench->state;
    td_outcome *out = bench->outcome;
    const td_companion *roof = &out->companions[0];
    double fastest = INFINITY;
    if (s->peer != NULL) {
        td_attention_peer_finish(bench, s->peer);
    }
    if (s->roof.n == 0 || roof->n == 0) {
        return;
    }
    for (int64_t i = 0; i < roof->n; i++) {
        fastest = fmin(fastest, roof->samples_ns[i]);
    }
    td_way_compare(out, 0, false, "share_beside");
    out->cost.mix_gbps = td_ops[s->row->op].bytes(s->args) / fastest;
}

/* The row runs on the team as it will be timed. Then it runs again with some tiles, or all that can
 * be afforded, computed by the portable row: every bit of the outputs must stay. */
static td_status verify_kernel(td_bench *bench) {
    kernel_state *s = bench->state;
    td_kernel_example_reset(s->example);
    td_team_run(bench->team, run_all, bench);
    TD_TRY(td_kernel_example_keep(s->example));
    s->checked = affordable_tiles(s);
    td_kernel_example_reset(s->example);
    td_team_run(bench->team, run_mixed, bench);
    TD_TRY(td_kernel_example_check(s->example, s->example));
    char *method = bench->outcome->method;
    size_t size = sizeof bench->outcome->method;
    if (s->checked == s->tiles) {
        snprintf(method, size, "memcmp:portable");
    } else {
        snprintf(method, size, "memcmp:portable on %lld of %lld tiles", (long long)s->checked,
                 (long long)s->tiles);
    }
    bench->outcome->max_ulp = 0;
    if (s->roof.n > 0) {
        choose_way(bench);
    }
    return s->peer != NULL ? td_attention_peer_verify(bench, s->peer) : TD_OK;
}

/* Not every byte of a buffer is touched (an embedding's table), but no more than the traffic is.
 * The unit of an operation is fixed by its intensity, not by this machine, so that runs compare:
 * above 8 FLOP a byte no machine's memory is the limit. */
static void cost_kernel(const td_bench *bench, td_cost *out) {
    const kernel_state *s = bench->state;
    const td_op *op = &td_ops[s->row->op];
    *out = (td_cost){.flops = op->flops(s->args),
                     .bytes = op->bytes(s->args),
                     .working_set = fmin(s->working_set, op->bytes(s->args)),
                     .isa = (int)s->row->isa,
                     .precision = td_precision_of_op(s->row->op)};
    if (s->roof.n > 0) {
        snprintf(out->mix, sizeof out->mix, "%s", td_mixes[s->roof.mix].name);
    }
    out->value = out->flops > 8 * out->bytes ? TD_VALUE_FLOPS : TD_VALUE_BYTES;
}

const td_workload td_workload_kernel = {
    .name = "kernel",
    .list = list_kernels,
    .fits = td_case_fits_one_rank,
    .setup = setup_kernel,
    .verify = verify_kernel,
    .region = run_share,
    .beside = beside_kernel,
    .cost = cost_kernel,
    .finish = finish_kernel,
    .teardown = teardown_kernel,
};
