/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/attention_peer.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/peak.h"
#include "bench/ways.h"
#include "kernels/attention/attention_plan.h"
#include "kernels/provider.h"

enum { MAX_PROVIDERS = TD_COMPANIONS - 1 };

struct td_attention_peer {
    td_isa isa;
    td_peak_kind peak;
    double flops;
    const td_attention_f32_args *forward;
    const td_provider *providers[MAX_PROVIDERS]; /* by companion */
    int n_libraries, roof;                       /* roof: a companion */
    float *q, *o; /* queries, times 1 / sqrt(head) as a product's factor would do it, and results;
                     both in the layout of forward's o */
    int64_t o_floats, repeat, start_ns, end_ns;
    const td_provider *running;
    const td_kernel *softmax;
    _Atomic int left; /* the library left a product to another one */
};

static int64_t queries_of(const td_attention_f32_args *args) {
    return args->q_starts != NULL ? args->q_starts[args->seqs] : args->seqs * args->n_q;
}

/* The peer's own copy of the queries costs it nothing when it is timed. */
static void scale_queries(td_attention_peer *peer) {
    const td_attention_f32_args *args = peer->forward;
    float scale = 1.0f / sqrtf((float)args->head);
    for (int64_t s = 0; s < args->seqs; s++) {
        td_attention_place at = td_attention_place_of(args, s);
        for (int64_t i = 0; i < at.n_q; i++) {
            for (int64_t c = 0; c < args->heads * args->head; c++) {
                peer->q[at.o + i * args->o_row + c] = args->q[at.q + i * args->q_row + c] * scale;
            }
        }
    }
}

/* Of the level that the attention beside it has. */
static const td_kernel *softmax_row(td_isa isa) {
    int count, i = 0;
    const td_kernel *rows = td_kernels(&count);
    while (rows[i].op != TD_OP_softmax_f32 || rows[i].isa > isa) {
        i++;
    }
    return &rows[i];
}

static td_status open_libraries(td_bench *bench, td_attention_peer *peer) {
    for (const char *const *name = td_provider_names(); *name; name++) {
        TD_ASSERT(peer->n_libraries < MAX_PROVIDERS);
        td_companion *library = &bench->outcome->companions[bench->outcome->n_companions++];
        const td_provider **provider = &peer->providers[peer->n_libraries++];
        *library = (td_companion){.library = true, .state = TD_OUTCOME_OK};
        snprintf(library->name, sizeof library->name, "%s", *name);
        if (td_provider_open(*name, peer->isa, provider) != TD_OK) {
            library->state = TD_OUTCOME_SKIPPED;
            snprintf(library->reason, sizeof library->reason, "%.159s", td_error());
            continue;
        }
        snprintf(library->version, sizeof library->version, "%.20s %.16s, sgemm softmax sgemm",
                 (*provider)->version, (*provider)->core);
    }
    const td_attention_f32_args *args = peer->forward;
    int64_t scores = args->n_q * args->n_k * (int64_t)sizeof(float);
    bench->scratch_bytes = scores > bench->scratch_bytes ? scores : bench->scratch_bytes;
    peer->o_floats = queries_of(args) * args->o_row;
    peer->q = td_alloc((size_t)peer->o_floats * sizeof *peer->q);
    peer->o = td_alloc((size_t)peer->o_floats * sizeof *peer->o);
    if (peer->q == NULL || peer->o == NULL) {
        return td_fail(TD_ENOMEM, "a composition's queries and output");
    }
    peer->softmax = softmax_row(peer->isa);
    scale_queries(peer);
    return TD_OK;
}

td_status td_attention_peer_create(td_bench *bench, const td_kernel *row, double flops,
                                   const td_attention_f32_args *forward, td_attention_peer **out) {
    td_attention_peer *peer = *out = td_alloc_zero(sizeof *peer);
    if (peer == NULL) {
        return td_fail(TD_ENOMEM, "what attention is timed beside");
    }
    peer->isa = row->isa;
    peer->peak = td_peak_of_code(row->isa, td_precision_of_op(row->op));
    peer->flops = flops;
    peer->forward = forward;
    if (forward != NULL) {
        TD_TRY(open_libraries(bench, peer));
    }
    peer->roof = bench->outcome->n_companions++;
    td_companion *roof = &bench->outcome->companions[peer->roof];
    *roof = (td_companion){.name = "roof", .state = TD_OUTCOME_OK};
    return TD_OK;
}

void td_attention_peer_destroy(td_attention_peer *peer) {
    if (peer != NULL) {
        td_free(peer->q);
        td_free(peer->o);
        td_free(peer);
    }
}

static void softmax_rows(const td_attention_peer *peer, float *scores, int64_t rows, int64_t keys) {
    if (!peer->forward->causal) {
        td_softmax_f32_args all = {.rows = rows, .cols = keys, .x = scores, .y = scores};
        peer->softmax->run(&all, 0, td_softmax_f32_tiles(&all), NULL);
        return;
    }
    for (int64_t i = 0; i < rows; i++) {
        float *row = scores + i * keys;
        td_softmax_f32_args one = {.rows = 1, .cols = i + 1, .x = row, .y = row};
        peer->softmax->run(&one, 0, 1, NULL);
        memset(row + i + 1, 0, (size_t)(keys - i - 1) * sizeof *row);
    }
}

static bool compose_head(const td_attention_peer *peer, int64_t s, int64_t h, float *scores) {
    const td_attention_f32_args *args = peer->forward;
    td_attention_place at = td_attention_place_of(args, s);
    int64_t column = h * args->head;
    const td_gemm_f32_args score = {.m = at.n_q,
                                    .n = at.seen,
                                    .k = args->head,
                                    .a = peer->q + at.o + column,
                                    .lda = args->o_row,
                                    .b = args->k + at.kv + column,
                                    .ldb = args->kv_row,
                                    .b_trans = true,
                                    .c = scores,
                                    .ldc = at.seen,
                                    .k_blocks = 1};
    const td_gemm_f32_args value = {.m = at.n_q,
                                    .n = args->head,
                                    .k = at.seen,
                                    .a = scores,
                                    .lda = at.seen,
                                    .b = args->v + at.kv + column,
                                    .ldb = args->kv_row,
                                    .c = peer->o + at.o + column,
                                    .ldc = args->o_row,
                                    .k_blocks = 1};
    if (!td_provider_gemm_f32(peer->running, &score)) {
        return false;
    }
    softmax_rows(peer, scores, at.n_q, at.seen);
    return td_provider_gemm_f32(peer->running, &value);
}

static void run_tiles(void *arg, int64_t first, int64_t last, td_worker *worker) {
    td_attention_peer *peer = arg;
    const td_attention_f32_args *args = peer->forward;
    bool done = true;
    for (int64_t t = first; t < last; t++) {
        done = compose_head(peer, t / args->heads, t % args->heads, worker->scratch) && done;
    }
    if (!done) {
        atomic_store_explicit(&peer->left, 1, memory_order_relaxed);
    }
}

static void run_once(td_attention_peer *peer, td_worker *worker) {
    td_worker_tiles(worker, td_attention_f32_tiles(peer->forward), 1, run_tiles, peer);
}

static void time_region(void *arg, td_worker *worker) {
    td_attention_peer *peer = arg;
    td_provider_set_threads(peer->running, 1); /* of this worker's own calls */
    td_team_barrier(worker);
    if (worker->id == 0) {
        peer->start_ns = td_now_ns();
    }
    for (int64_t i = 0; i < peer->repeat; i++) {
        run_once(peer, worker);
        td_team_barrier(worker);
    }
    if (worker->id == 0) {
        peer->end_ns = td_now_ns();
    }
}

double td_attention_peer_time(td_bench *bench, td_attention_peer *peer, int companion,
                              int64_t repeat) {
    if (companion == peer->roof) {
        return td_roof_time(bench->team, peer->peak, peer->isa, bench->rank->workers, peer->flops);
    }
    peer->running = peer->providers[companion];
    peer->repeat = repeat;
    td_team_run(bench->team, time_region, peer);
    return (double)(peer->end_ns - peer->start_ns) / (double)repeat;
}

/* The largest norm of a row of one head. */
static double largest_norm(const float *rows, int64_t ld, int64_t n, int64_t head) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t c = 0; c < head; c++) {
            sum += (double)rows[i * ld + c] * (double)rows[i * ld + c];
        }
        largest = fmax(largest, sqrt(sum));
    }
    return largest;
}

/* Two orders of f32 sums differ by at most twice what either loses: a score head + 4 roundings of
 * its magnitudes, which bounds the relative error of its exponential and of the sum; an output
 * another seen + 16, of the largest value. */
static td_status check_head(const td_attention_peer *peer, int64_t s, int64_t h) {
    const td_attention_f32_args *args = peer->forward;
    td_attention_place at = td_attention_place_of(args, s);
    int64_t column = h * args->head;
    double score = largest_norm(peer->q + at.o + column, args->o_row, at.n_q, args->head) *
                   largest_norm(args->k + at.kv + column, args->kv_row, at.seen, args->head);
    double value = largest_norm(args->v + at.kv + column, args->kv_row, at.seen, args->head);
    double lost = 2 * ((double)args->head + 4) * score + (double)at.seen + 16;
    double bound = 2 * 0x1p-24 * value * lost;
    for (int64_t i = 0; i < at.n_q * args->head; i++) {
        int64_t place = at.o + i / args->head * args->o_row + column + i % args->head;
        double found = (double)peer->o[place], want = (double)args->o[place];
        if (!(fabs(found - want) <= bound)) {
            return td_fail(
                TD_ECHECK, "sequence %lld, head %lld, row %lld: %.9g, expected %.9g within %.3g",
                (long long)s, (long long)h, (long long)(i / args->head), found, want, bound);
        }
    }
    return TD_OK;
}

static td_status check_library(td_bench *bench, td_attention_peer *peer, int companion) {
    const td_attention_f32_args *args = peer->forward;
    memset(peer->o, 0xFF, (size_t)peer->o_floats * sizeof *peer->o);
    atomic_store(&peer->left, 0);
    td_attention_peer_time(bench, peer, companion, 1);
    if (atomic_load(&peer->left)) {
        return td_fail(TD_ESKIP, "%s leaves these products to another library",
                       bench->outcome->companions[companion].name);
    }
    for (int64_t s = 0; s < args->seqs; s++) {
        for (int64_t h = 0; h < args->heads; h++) {
            TD_TRY(check_head(peer, s, h));
        }
    }
    return TD_OK;
}

td_status td_attention_peer_verify(td_bench *bench, td_attention_peer *peer) {
    for (int i = 0; i < peer->n_libraries; i++) {
        td_companion *library = &bench->outcome->companions[i];
        if (library->state != TD_OUTCOME_OK) {
            continue;
        }
        snprintf(library->method, sizeof library->method, "bound:f32 of tandem's output");
        td_status status = check_library(bench, peer, i);
        if (status != TD_OK) {
            library->state = status == TD_ESKIP ? TD_OUTCOME_SKIPPED : TD_OUTCOME_FAILED;
            snprintf(library->reason, sizeof library->reason, "%.159s", td_error());
        }
    }
    return TD_OK;
}

void td_attention_peer_finish(td_bench *bench, const td_attention_peer *peer) {
    td_outcome *out = bench->outcome;
    td_way_compare(out, peer->roof, false, "share_beside");
    td_libraries_compare(out, 0, peer->n_libraries);
}
