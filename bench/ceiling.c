/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/ceiling.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/peak.h"
#include "bench/stats.h"
#include "threads/layout.h"
#include "threads/team.h"

enum { MAX_KNOWN = 96, MIN_SAMPLES = 8 };
static const int64_t SAMPLE_NS = 4000000, CACHED_SAMPLE_NS = 1000000, SMALLEST_BYTES = 16 << 10;

static td_peak known[MAX_KNOWN];
static int n_known;

const td_peak_row *td_peak_row_of(td_peak_kind kind) {
    static const td_peak_row rows[TD_PEAK_COUNT] = {
#define TD_PEAK_ROW(kind, ...) [kind] = {__VA_ARGS__},
        TD_PEAK_MAP(TD_PEAK_ROW)
#undef TD_PEAK_ROW
    };
    return &rows[kind];
}

/* Arithmetic is timed in slices, and after each comes a chain of additions, one a cycle, which is
 * the clock: a core that computes with wide vectors may run slower than one that adds integers, and
 * takes about half a millisecond to change, so a slice of an eighth of one finds both at the same
 * frequency. Where a chain starts and ends is known to 100 cycles, 0.3 % of it. */
enum { SLICES = 32, CHAIN_ITERATIONS = 32 };

/* What one worker found in a sample of arithmetic, on cache lines of its own. */
typedef struct beat {
    _Alignas(64) double loop_ticks; /* of all slices */
    double chain_ticks[SLICES];
} beat;

static beat beats[TD_MAX_WORKERS];

/* What the workers of one measurement share. */
typedef struct job {
    td_peak *peak;
    unsigned char *from, *to;
    int64_t part_bytes; /* of one worker, one buffer */
    int64_t repeat;
    uint64_t expected; /* exclusive or of a part */
    uint64_t passes;   /* done so far: what ADD has added up, where SWAP left the words */
    _Atomic int wrong;
    int64_t start_ns, end_ns;
} job;

/* The words that every part is filled with. */
static uint64_t next_word(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state;
}

static const uint64_t FIRST_STATE = 0x9E3779B97F4A7C15u;

static void fill_region(void *arg, td_worker *worker) {
    job *j = arg;
    uint64_t *words = (uint64_t *)(j->from + worker->id * j->part_bytes);
    uint64_t state = FIRST_STATE;
    for (int64_t i = 0; i < j->part_bytes / 8; i++) {
        words[i] = next_word(&state);
    }
    if (j->to) {
        memset(j->to + worker->id * j->part_bytes, 0, (size_t)j->part_bytes);
    }
}

/* `repeat` iterations in slices. */
static void compute(job *j, const td_worker *worker) {
    const td_peak *peak = j->peak;
    beat *own = &beats[worker->id];
    bool good = true;
    own->loop_ticks = 0;
    for (int slice = 0; slice < SLICES; slice++) {
        int64_t iterations = j->repeat / SLICES;
        uint64_t start = td_tsc();
        good = (peak->kind == TD_PEAK_AMX   ? td_peak_tiles(iterations)
                : peak->kind == TD_PEAK_DOT ? td_peak_dot(iterations)
                                            : td_peak_fma(peak->isa, iterations)) &&
               good;
        uint64_t between = td_tsc();
        uint64_t adds = td_peak_adds(CHAIN_ITERATIONS);
        own->loop_ticks += (double)(between - start);
        own->chain_ticks[slice] = (double)(td_tsc() - between);
        good = good && adds == (uint64_t)CHAIN_ITERATIONS * TD_PEAK_ADDS;
    }
    if (!good) {
        atomic_store_explicit(&j->wrong, 1, memory_order_relaxed);
    }
}

static void move(job *j, const td_worker *worker) {
    const td_peak *peak = j->peak;
    int64_t part = worker->id * j->part_bytes;
    bool good = true;
    for (int64_t r = 0; peak->kind == TD_PEAK_READ && r < j->repeat; r++) {
        good = good && td_peak_read(peak->isa, j->from + part, j->part_bytes) == j->expected;
    }
    for (int64_t r = 0; peak->kind == TD_PEAK_COPY && r < j->repeat; r++) {
        td_peak_copy(peak->isa, j->to + part, j->from + part, j->part_bytes,
                     peak->bytes >= td_ceiling_memory_bytes());
    }
    for (int64_t r = 0; peak->kind == TD_PEAK_ADD && r < j->repeat; r++) {
        td_peak_add(peak->isa, j->to + part, j->from + part, j->part_bytes);
    }
    for (int64_t r = 0; peak->kind == TD_PEAK_SWAP && r < j->repeat; r++) {
        td_peak_swap(peak->isa, j->to + part, j->from + part, j->part_bytes);
    }
    if (worker->id == 0) {
        j->passes += (uint64_t)j->repeat;
    }
    if (!good) {
        atomic_store_explicit(&j->wrong, 1, memory_order_relaxed);
    }
}

static void sample_region(void *arg, td_worker *worker) {
    job *j = arg;
    td_team_barrier(worker);
    if (worker->id == 0) {
        j->start_ns = td_now_ns();
    }
    if (td_peak_computes(j->peak->kind)) {
        compute(j, worker);
    } else {
        move(j, worker);
    }
    td_team_barrier(worker);
    if (worker->id == 0) {
        j->end_ns = td_now_ns();
    }
}

/* Nanoseconds of a sample, chains left out, of the worker that took longest; and its clock. */
static double sample_ns(const job *j, double *clock_ghz) {
    if (!td_peak_computes(j->peak->kind)) {
        return (double)(j->end_ns - j->start_ns);
    }
    beat *slowest = &beats[0];
    for (int w = 1; w < j->peak->workers; w++) {
        slowest = beats[w].loop_ticks > slowest->loop_ticks ? &beats[w] : slowest;
    }
    double ghz = td_tsc_hz() * 1e-9, ticks = td_stats_median(slowest->chain_ticks, SLICES);
    *clock_ghz = (double)CHAIN_ITERATIONS * TD_PEAK_ADDS / ticks * ghz;
    return slowest->loop_ticks / ghz;
}

static const td_peak_loop *loop_of(const td_peak *peak) {
    return peak->kind == TD_PEAK_AMX   ? td_peak_loop_tiles()
           : peak->kind == TD_PEAK_DOT ? td_peak_loop_dot()
                                       : td_peak_loop_find(peak->isa);
}

static double sample_work(const job *j) {
    const td_peak *peak = j->peak;
    double each = td_peak_computes(peak->kind)
                      ? (double)loop_of(peak)->flops
                      : (double)j->part_bytes * td_peak_row_of(peak->kind)->traffic;
    return each * (double)j->repeat * peak->workers;
}

/* Doubles the repetitions until a sample is long enough to time. */
static void calibrate(job *j, td_team *team, int64_t sample_ns) {
    j->repeat = td_peak_computes(j->peak->kind) ? 1000 * SLICES : 1;
    for (;;) {
        td_team_run(team, sample_region, j);
        int64_t took = j->end_ns - j->start_ns;
        if (took >= sample_ns / 2 || j->repeat > (INT64_C(1) << 40)) {
            return;
        }
        j->repeat *= took > sample_ns / 16 ? 2 : 4;
    }
}

static void measure(job *j, td_team *team) {
    td_peak *peak = j->peak;
    bool cached = !td_peak_computes(peak->kind) && peak->bytes < td_ceiling_memory_bytes();
    calibrate(j, team, cached ? CACHED_SAMPLE_NS : SAMPLE_NS);
    double fastest = INFINITY;
    int64_t begin = td_now_ns();
    peak->n = 0;
    for (int i = 0; i < TD_PEAK_SAMPLES; i++) {
        td_team_run(team, sample_region, j);
        double clock_ghz = 0, took = sample_ns(j, &clock_ghz);
        peak->samples_ns[peak->n++] = took;
        if (took < fastest) {
            fastest = took;
            peak->clock_ghz = clock_ghz;
        }
        if (peak->n >= MIN_SAMPLES && td_now_ns() - begin > 50 * SAMPLE_NS) {
            break;
        }
    }
    peak->work = sample_work(j);
    peak->value = peak->work / fastest;
}

/* A peak of arithmetic must be a whole number of pipes times the clock; what is not was disturbed,
 * or is not what the loop claims. */
static void check_clock(td_peak *peak) {
    double per_cycle = peak->value / peak->workers / peak->clock_ghz;
    if (td_peak_rate_fits(loop_of(peak), per_cycle)) {
        return;
    }
    peak->ok = false;
    snprintf(peak->reason, sizeof peak->reason,
             "%.2f FLOP a cycle at %.2f GHz is not within 3 %% of a whole number of pipes",
             per_cycle, peak->clock_ghz);
}

/* `to` began as zeros, `from` as the words. */
static bool part_is_right(const job *j, int part) {
    const uint64_t *from = (const uint64_t *)(j->from + part * j->part_bytes);
    const uint64_t *to = (const uint64_t *)(j->to + part * j->part_bytes);
    bool swapped = j->peak->kind == TD_PEAK_SWAP && j->passes % 2 == 1;
    uint64_t factor = j->peak->kind == TD_PEAK_ADD    ? j->passes
                      : j->peak->kind == TD_PEAK_SWAP ? swapped
                                                      : 1;
    uint64_t state = FIRST_STATE;
    for (int64_t i = 0; i < j->part_bytes / 8; i++) {
        uint64_t word = next_word(&state);
        if (from[i] != (swapped ? 0 : word) || to[i] != word * factor) {
            return false;
        }
    }
    return true;
}

static void check(job *j) {
    td_peak *peak = j->peak;
    snprintf(peak->method, sizeof peak->method, "%s", td_peak_row_of(peak->kind)->method);
    peak->ok = true;
    peak->reason[0] = '\0';
    for (int part = 0; j->to && part < peak->workers; part++) {
        if (!part_is_right(j, part)) {
            atomic_store_explicit(&j->wrong, 1, memory_order_relaxed);
        }
    }
    if (atomic_load_explicit(&j->wrong, memory_order_relaxed)) {
        peak->ok = false;
        snprintf(peak->reason, sizeof peak->reason, "the loop gave a wrong result");
    } else if (td_peak_computes(peak->kind)) {
        check_clock(peak);
    }
}

static td_status run_job(job *j, td_team *team) {
    td_arena arena = {0};
    td_peak *peak = j->peak;
    if (!td_peak_computes(peak->kind)) {
        int buffers = td_peak_row_of(peak->kind)->buffers;
        j->part_bytes = peak->bytes / buffers / peak->workers / 512 * 512;
        size_t all = (size_t)(j->part_bytes * peak->workers);
        TD_TRY(td_arena_create(all * (size_t)buffers, &arena));
        j->from = arena.base;
        j->to = buffers == 2 ? arena.base + all : NULL;
        td_team_run(team, fill_region, j);
        j->expected = 0;
        for (int64_t i = 0; i < j->part_bytes / 8; i++) {
            j->expected ^= ((const uint64_t *)j->from)[i];
        }
    }
    /* A neighbour on the core spoils the clock or the loop, rarely both alike: try again. */
    for (int attempt = 0; attempt < 3; attempt++) {
        measure(j, team);
        check(j);
        if (peak->ok) {
            break;
        }
    }
    td_arena_destroy(&arena);
    return TD_OK;
}

static td_status measure_new(td_peak *peak) {
    td_topology *topology;
    TD_TRY(td_topology_create(NULL, &topology));
    int pu[TD_MAX_WORKERS];
    char text[TD_LAYOUT_TEXT];
    td_layout layout;
    snprintf(text, sizeof text, "p1xt%d@machine:pu:spread+over", peak->workers);
    td_status status = td_layout_parse(text, &layout);
    if (status == TD_OK) {
        status = td_layout_resolve(&layout, topology, pu);
    }
    bool shared = td_topology_get_info(topology)->effective_cpus < peak->workers;
    td_topology_destroy(topology);
    td_team *team = NULL;
    if (status == TD_OK) {
        status = td_team_create(
            &(td_team_options){.workers = peak->workers, .pu = pu, .shares_cpus = shared}, &team);
    }
    if (status == TD_OK) {
        job j = {.peak = peak};
        status = run_job(&j, team);
        td_team_destroy(team);
    }
    return status;
}

td_peak_kind td_peak_of_code(td_isa isa, td_precision precision) {
    return precision == TD_PRECISION_BF16_AMX && isa >= TD_ISA_AMX_BF16  ? TD_PEAK_AMX
           : precision == TD_PRECISION_BF16 && isa >= TD_ISA_AVX512_BF16 ? TD_PEAK_DOT
                                                                         : TD_PEAK_FMA;
}

/* Of the loop where the kind has one only, else PORTABLE. */
static td_isa isa_needed(td_peak_kind kind) {
    return kind == TD_PEAK_AMX   ? td_peak_loop_tiles()->isa
           : kind == TD_PEAK_DOT ? td_peak_loop_dot()->isa
                                 : TD_ISA_PORTABLE;
}

td_status td_ceiling_get(td_peak_kind kind, td_isa isa, int workers, int64_t bytes, bool remeasure,
                         const td_peak **out) {
    td_isa needed = isa_needed(kind);
    if (needed > td_isa_native()) {
        return td_fail(TD_ESKIP, "the %s needs %s, this CPU has %s", td_peak_row_of(kind)->doing,
                       td_isa_name(needed), td_isa_name(td_isa_native()));
    }
    isa = needed > TD_ISA_PORTABLE ? needed : isa > TD_ISA_AVX512 ? TD_ISA_AVX512 : isa;
    td_peak *at = NULL;
    for (int i = 0; i < n_known && !at; i++) {
        td_peak *peak = &known[i];
        if (peak->kind == kind && peak->isa == isa && peak->workers == workers &&
            peak->bytes == bytes) {
            at = peak;
        }
    }
    if (at && !remeasure) {
        *out = at;
        return TD_OK;
    }
    td_peak fresh = {.kind = kind, .isa = isa, .workers = workers, .bytes = bytes};
    TD_TRY(measure_new(&fresh));
    if (!at) {
        if (n_known == MAX_KNOWN) {
            return td_fail(TD_ENOMEM, "more than %d ceilings", MAX_KNOWN);
        }
        at = &known[n_known++];
        *at = fresh;
    } else if (fresh.ok && (!at->ok || fresh.value > at->value)) {
        *at = fresh;
    }
    *out = at;
    return TD_OK;
}

int64_t td_ceiling_memory_bytes(void) {
    static int64_t bytes;
    if (bytes) {
        return bytes;
    }
    int64_t caches = 0, memory = INT64_C(1) << 32;
    td_topology *topology;
    if (td_topology_create(NULL, &topology) == TD_OK) {
        const td_topology_info *info = td_topology_get_info(topology);
        for (int i = 0; i < info->n_caches; i++) {
            caches += info->caches[i].clamped_bytes * info->caches[i].count;
        }
        memory = info->memory_bytes;
        td_topology_destroy(topology);
    }
    bytes = INT64_C(256) << 20;
    while (bytes < 4 * caches && bytes < memory / 16) {
        bytes *= 2;
    }
    return bytes;
}

td_status td_ceiling_bandwidth(int workers, double working_set, bool remeasure,
                               const td_peak **out) {
    int64_t bytes = SMALLEST_BYTES * workers, most = td_ceiling_memory_bytes();
    while ((double)bytes * 4 <= working_set && bytes < most) {
        bytes *= 4;
    }
    bytes = bytes < most ? bytes : most;
    td_isa isa;
    TD_TRY(td_isa_active(&isa));
    const td_peak *best = NULL;
    for (td_peak_kind kind = TD_PEAK_READ; kind < TD_PEAK_COUNT; kind++) {
        const td_peak *peak;
        TD_TRY(td_ceiling_get(kind, isa, workers, bytes, remeasure, &peak));
        best = !best || peak->value > best->value ? peak : best;
    }
    *out = best;
    return TD_OK;
}

double td_ceiling_gflops(td_precision precision, int workers) {
    td_isa isa;
    const td_peak *peak;
    if (td_isa_active(&isa) != TD_OK ||
        td_ceiling_get(td_peak_of_code(isa, precision), isa, workers, 0, false, &peak) != TD_OK) {
        return 0;
    }
    return peak->value;
}
