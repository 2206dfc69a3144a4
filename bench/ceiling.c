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

enum { MAX_KNOWN = 256, MIN_SAMPLES = 8, MIN_KEPT = 3, MAX_TRIES = 5 };
static const int64_t SAMPLE_NS = 4000000, CACHED_SAMPLE_NS = 1000000, SMALLEST_BYTES = 16 << 10;
static const double AWAY = 0.03;        /* the share of a sample of memory that a worker may lose */
static const double FEWER_PIPES = 0.75; /* of a rate: one pipe of two, or two of three */

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

/* Arithmetic is timed in slices, and between them runs a chain of additions, one a cycle, which is
 * the clock: a core that computes with wide vectors may run slower than one that adds integers, and
 * takes about half a millisecond to change, so a slice of an eighth of one finds both at the same
 * frequency. Where a chain starts and ends is known to 100 cycles, 0.3 % of it. */
enum { SLICES = 32, CHAIN_ITERATIONS = 32 };

/* What one worker found in a sample, on cache lines of its own: chain i is before slice i, chain
 * i + 1 behind it. */
typedef struct beat {
    _Alignas(64) double loop_ticks[SLICES];
    double chain_ticks[SLICES + 1];
    double away; /* of memory: the share of the sample that its CPU ran something else */
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

static double chain_ticks(bool *good) {
    uint64_t start = td_tsc();
    *good = td_peak_adds(CHAIN_ITERATIONS) == (uint64_t)CHAIN_ITERATIONS * TD_PEAK_ADDS && *good;
    return (double)(td_tsc() - start);
}

/* `repeat` iterations in slices. */
static void compute(job *j, const td_worker *worker) {
    const td_peak *peak = j->peak;
    beat *own = &beats[worker->id];
    int64_t iterations = j->repeat / SLICES;
    bool good = true;
    own->chain_ticks[0] = chain_ticks(&good);
    for (int slice = 0; slice < SLICES; slice++) {
        uint64_t start = td_tsc();
        good = td_peak_compute(peak->kind, peak->isa, iterations) && good;
        own->loop_ticks[slice] = (double)(td_tsc() - start);
        own->chain_ticks[slice + 1] = chain_ticks(&good);
    }
    if (!good) {
        atomic_store_explicit(&j->wrong, 1, memory_order_relaxed);
    }
}

static void move(job *j, const td_worker *worker) {
    const td_peak *peak = j->peak;
    int64_t part = worker->id * j->part_bytes;
    int64_t start = td_now_ns(), cpu = td_thread_cpu_ns();
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
    cpu = td_thread_cpu_ns() - cpu;
    beats[worker->id].away = 1 - (double)cpu / (double)(td_now_ns() - start);
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

static double sample_work(const job *j) {
    const td_peak *peak = j->peak;
    double each = td_peak_computes(peak->kind)
                      ? (double)td_peak_loop_of(peak->kind, peak->isa)->flops
                      : (double)j->part_bytes * td_peak_row_of(peak->kind)->traffic;
    return each * (double)j->repeat * peak->workers;
}

/* One sample. per_cycle, clock_ghz: of one worker, 0 for memory. good: it may stand for the
 * machine.
 */
typedef struct reading {
    double ns, per_cycle, clock_ghz;
    bool good;
} reading;

/* Workers with a CPU each: the sum of their rates. Workers that share CPUs: the whole work in the
 * time of the one that took longest, chains left out. */
static reading read_arithmetic(const job *j) {
    const td_peak *peak = j->peak;
    double ticks_per_ns = td_tsc_hz() * 1e-9, slice = sample_work(j) / SLICES / peak->workers;
    double rate = 0, clock = 0, longest = 0;
    reading out = {.good = true};
    for (int w = 0; w < peak->workers; w++) {
        double loop, chain, all = 0;
        out.good = td_peak_fastest_slice(beats[w].loop_ticks, beats[w].chain_ticks, SLICES, &loop,
                                         &chain) &&
                   out.good;
        rate += slice / loop * ticks_per_ns;
        clock += (double)CHAIN_ITERATIONS * TD_PEAK_ADDS / chain * ticks_per_ns;
        for (int i = 0; i < SLICES; i++) {
            all += beats[w].loop_ticks[i];
        }
        longest = fmax(longest, all / ticks_per_ns);
    }
    out.ns = peak->shared ? longest : sample_work(j) / rate;
    out.clock_ghz = clock / peak->workers;
    out.per_cycle = sample_work(j) / out.ns / peak->workers / out.clock_ghz;
    out.good =
        peak->shared ||
        (out.good && td_peak_rate_fits(td_peak_loop_of(peak->kind, peak->isa), out.per_cycle));
    return out;
}

static reading read_memory(const job *j) {
    reading out = {.ns = (double)(j->end_ns - j->start_ns), .good = true};
    for (int w = 0; w < j->peak->workers && !j->peak->shared; w++) {
        out.good = out.good && beats[w].away <= AWAY;
    }
    return out;
}

static reading take_sample(job *j, td_team *team) {
    td_team_run(team, sample_region, j);
    return td_peak_computes(j->peak->kind) ? read_arithmetic(j) : read_memory(j);
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

static void explain_disturbance(td_peak *peak, const reading *best) {
    int taken = peak->n + peak->discarded;
    if (td_peak_computes(peak->kind)) {
        snprintf(peak->reason, sizeof peak->reason,
                 "%d of %d samples had one clock and a whole number of pipes, expected %d; the "
                 "fastest of the rest %.1f FLOP a cycle at %.2f GHz",
                 peak->n, taken, MIN_KEPT, best->per_cycle, best->clock_ghz);
    } else {
        snprintf(peak->reason, sizeof peak->reason,
                 "in %d of %d samples the workers had their CPUs to themselves, expected %d",
                 peak->n, taken, MIN_KEPT);
    }
}

/* Samples that are not good are repeated, up to three for one that is wanted. When too few are good
 * the best of all is the value, and is called disturbed. */
static void measure(job *j, td_team *team) {
    td_peak *peak = j->peak;
    bool cached = !td_peak_computes(peak->kind) && peak->bytes < td_ceiling_memory_bytes();
    calibrate(j, team, cached ? CACHED_SAMPLE_NS : SAMPLE_NS);
    reading fastest = {.ns = INFINITY}, fastest_bad = fastest;
    double bad_ns[TD_PEAK_SAMPLES];
    int64_t budget = 50 * SAMPLE_NS, begin = td_now_ns(), spent = 0;
    peak->n = peak->discarded = 0;
    while (peak->n < TD_PEAK_SAMPLES && peak->discarded < 2 * TD_PEAK_SAMPLES &&
           (peak->n < MIN_SAMPLES || spent < budget) &&
           (peak->n + peak->discarded < MIN_SAMPLES || spent < 3 * budget)) {
        reading now = take_sample(j, team);
        reading *best = now.good ? &fastest : &fastest_bad;
        *best = now.ns < best->ns ? now : *best;
        if (now.good) {
            peak->samples_ns[peak->n++] = now.ns;
        } else {
            bad_ns[peak->discarded++ % TD_PEAK_SAMPLES] = now.ns;
        }
        spent = td_now_ns() - begin;
    }
    peak->disturbed = peak->n < MIN_KEPT;
    if (peak->disturbed) {
        explain_disturbance(peak, &fastest_bad);
        fastest = fastest_bad.ns < fastest.ns ? fastest_bad : fastest;
        for (int i = 0; i < peak->discarded && peak->n < TD_PEAK_SAMPLES; i++) {
            peak->samples_ns[peak->n++] = bad_ns[i];
        }
    }
    peak->work = sample_work(j);
    peak->value = peak->work / fastest.ns;
    peak->clock_ghz = fastest.clock_ghz;
    peak->per_cycle = fastest.per_cycle;
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
    for (int part = 0; j->to && part < peak->workers; part++) {
        if (!part_is_right(j, part)) {
            atomic_store_explicit(&j->wrong, 1, memory_order_relaxed);
        }
    }
    if (atomic_load_explicit(&j->wrong, memory_order_relaxed)) {
        peak->ok = false;
        snprintf(peak->reason, sizeof peak->reason, "the loop gave a wrong result");
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
    measure(j, team);
    check(j);
    td_arena_destroy(&arena);
    return TD_OK;
}

static td_status measure_new(td_peak *peak) {
    td_topology *topology;
    TD_TRY(td_topology_create_here(&topology));
    int pu[TD_MAX_WORKERS];
    char text[TD_LAYOUT_TEXT];
    td_layout layout;
    snprintf(text, sizeof text, "p1xt%d@machine:pu:spread+over", peak->workers);
    td_status status = td_layout_parse(text, &layout);
    if (status == TD_OK) {
        status = td_layout_resolve(&layout, topology, pu);
    }
    peak->shared = td_topology_get_info(topology)->effective_cpus < peak->workers;
    td_topology_destroy(topology);
    td_team *team = NULL;
    if (status == TD_OK) {
        status = td_team_create(
            &(td_team_options){.workers = peak->workers, .pu = pu, .shares_cpus = peak->shared},
            &team);
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

const td_peak_loop *td_peak_loop_of(td_peak_kind kind, td_isa isa) {
    return kind == TD_PEAK_AMX   ? td_peak_loop_tiles()
           : kind == TD_PEAK_DOT ? td_peak_loop_dot()
                                 : td_peak_loop_find(isa);
}

bool td_peak_compute(td_peak_kind kind, td_isa isa, int64_t iterations) {
    return kind == TD_PEAK_AMX   ? td_peak_tiles(iterations)
           : kind == TD_PEAK_DOT ? td_peak_dot(iterations)
                                 : td_peak_fma(isa, iterations);
}

/* Of the loop where the kind has one only, else PORTABLE. */
static td_isa isa_needed(td_peak_kind kind) {
    return kind == TD_PEAK_AMX   ? td_peak_loop_tiles()->isa
           : kind == TD_PEAK_DOT ? td_peak_loop_dot()->isa
                                 : TD_ISA_PORTABLE;
}

/* Whether two peaks, each measured well, must have the same rate. */
static bool has_rate_of(const td_peak *a, const td_peak *b) {
    return a->kind == b->kind && a->isa == b->isa && td_peak_computes(a->kind) && a->ok &&
           !a->disturbed && !a->shared && !td_peak_loop_of(a->kind, a->isa)->mixed;
}

/* A core that has once done an operation at some rate has the pipes for it. A whole number of fewer
 * pipes means that another thread of the core, perhaps of another virtual machine, had the rest. */
static void compare_rates(const td_peak *with) {
    double most = 0;
    for (int i = 0; i < n_known; i++) {
        most = has_rate_of(&known[i], with) ? fmax(most, known[i].per_cycle) : most;
    }
    for (int i = 0; i < n_known; i++) {
        td_peak *peak = &known[i];
        if (has_rate_of(peak, with) && peak->per_cycle < most * FEWER_PIPES) {
            peak->disturbed = true;
            snprintf(peak->reason, sizeof peak->reason,
                     "%.1f FLOP a cycle, but a core of this machine has done %.1f", peak->per_cycle,
                     most);
        }
    }
}

/* Which of two measurements of the same is to be kept: a value of whole pipes, then the larger. */
static bool better(const td_peak *fresh, const td_peak *old) {
    if (!fresh->ok || !old->ok) {
        return fresh->ok;
    }
    return fresh->disturbed != old->disturbed ? old->disturbed : fresh->value > old->value;
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
    if (at && !remeasure && !(at->disturbed && at->tries < MAX_TRIES)) {
        *out = at;
        return TD_OK;
    }
    td_peak fresh = {
        .kind = kind, .isa = isa, .workers = workers, .bytes = bytes, .tries = at ? at->tries : 0};
    TD_TRY(measure_new(&fresh));
    int tries = fresh.tries + 1;
    if (!at) {
        if (n_known == MAX_KNOWN) {
            return td_fail(TD_ENOMEM, "more than %d ceilings", MAX_KNOWN);
        }
        at = &known[n_known++];
        *at = fresh;
    } else if (better(&fresh, at)) {
        *at = fresh;
    }
    at->tries = tries;
    compare_rates(at);
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
    if (td_topology_create_here(&topology) == TD_OK) {
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
    if (td_isa_active(&isa) != TD_OK) {
        return 0;
    }
    isa = precision == TD_PRECISION_F32 ? isa
                                        : td_kernel_selected(td_precision_product(precision))->isa;
    if (td_ceiling_get(td_peak_of_code(isa, precision), isa, workers, 0, false, &peak) != TD_OK) {
        return 0;
    }
    return peak->value;
}
