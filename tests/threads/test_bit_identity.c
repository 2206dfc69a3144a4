/* SPDX-License-Identifier: Apache-2.0
 * One hash of all results, whoever computed what: 1 to 8 workers, four ways to share out tiles,
 * ranks as threads and as processes, delays drawn from 100 seeds, and whatever floating-point mode
 * the workers had before. Another hash when one input is one bit off or the mode is another.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <sched.h>
#include <string.h>
#include <xmmintrin.h>

#include "base/rng.h"
#include "base/sha256.h"
#include "threads/group.h"
#include "threads/team.h"

enum { TILES = 97, WIDTH = 16, DEEP = 24, SEEDS = 100, INPUTS = TILES * WIDTH * DEEP };

typedef enum schedule { SHARED, STOLEN, CLAIMED, OPEN, SCHEDULES } schedule;

/* Rounding toward zero or down, and denormals kept or flushed, change these results. */
static const unsigned modes[] = {0x1f80, 0x1f80 | 0x8040, 0x1f80 | 0x6000, 0x1f80 | 0x2000};
enum { N_MODES = sizeof modes / sizeof modes[0] };

typedef struct results {
    float y[TILES][WIDTH];
    float sum[WIDTH];
} results;

typedef struct job {
    const float *x;
    results *out;
    int64_t first, tiles; /* of this rank */
    uint64_t seed;
    schedule how;
    td_ticket ticket;
    td_site site;
} job;

static float input[INPUTS];

/* Sums that cancel, and some that are denormal. */
static void draw_inputs(void) {
    td_rng rng = td_rng_make(3, TD_PURPOSE_TEST, 0);
    for (int i = 0; i < INPUTS; i++) {
        float scale = i % 3 == 0 || i % DEEP == DEEP - 1 ? 1e7F : i % 3 == 1 ? 1 : 1e-38F;
        input[i] = (float)td_rng_normal(&rng) * scale;
    }
    for (int i = 0; i < INPUTS; i += 3 * DEEP) { /* only small ones in a third of the sums */
        for (int k = 0; k < DEEP && i + k < INPUTS; k++) {
            input[i + k] = (float)td_rng_normal(&rng) * 1e-39F;
        }
    }
}

static void delay(uint64_t seed, int64_t tile) {
    td_rng rng = td_rng_make(seed, TD_PURPOSE_TEST, (uint64_t)tile);
    uint64_t what = td_rng_below(&rng, 16);
    if (what == 0) {
        sched_yield();
    }
    for (uint64_t i = what < 4 ? td_rng_below(&rng, 200) : 0; i > 0; i--) {
        _mm_pause();
    }
}

static void compute(job *j, int64_t first, int64_t last) {
    for (int64_t tile = j->first + first; tile < j->first + last; tile++) {
        if (j->seed != 0) {
            delay(j->seed, tile);
        }
        for (int64_t w = 0; w < WIDTH; w++) {
            const float *x = j->x + (tile * WIDTH + w) * DEEP;
            float sum = 0;
            for (int k = 0; k < DEEP; k++) {
                sum += x[k];
            }
            j->out->y[tile][w] = sum;
        }
    }
}

static void compute_share(void *arg, int64_t first, int64_t last, td_worker *worker) {
    (void)worker;
    compute(arg, first, last);
}

static td_status compute_tiles(void *arg, int64_t first, int64_t last, td_worker *worker) {
    compute_share(arg, first, last, worker);
    return TD_OK;
}

static void compute_in_region(void *arg, td_worker *worker) {
    job *j = arg;
    int64_t first, last, chunk = 1 + (int64_t)(j->seed % 7);
    if (j->how == SHARED) {
        td_worker_share(worker, j->tiles, &first, &last);
        compute(j, first, last);
    } else if (j->how == STOLEN) {
        td_worker_tiles(worker, j->tiles, chunk, compute_share, j);
    } else {
        while (td_ticket_take(&j->ticket, j->tiles, chunk, &first, &last)) {
            compute(j, first, last);
        }
    }
}

static void run_job(td_team *team, job *j) {
    td_ticket_reset(&j->ticket);
    if (j->how == OPEN) {
        cr_assert_eq(td_team_tiles(team, &j->site, j->tiles, 1 + (int64_t)(j->seed % 5),
                                   compute_tiles, j),
                     TD_OK);
        j->site.tile_ns = j->seed % 2 == 0 ? 1e6 : 0; /* with and without waking sleepers */
    } else {
        td_team_run(team, compute_in_region, j);
    }
}

static void nothing(void *arg, td_worker *worker) {
    (void)arg;
    (void)worker;
}

/* In a mode, by workers that had another until then. */
static void run_in_mode(td_team *team, job *j, int mode) {
    _mm_setcsr(modes[(mode + 1) % N_MODES]);
    td_team_run(team, nothing, NULL);
    _mm_setcsr(modes[mode]);
    run_job(team, j);
}

static void add_row(void *into, const void *from) {
    for (int w = 0; w < WIDTH; w++) {
        ((float *)into)[w] += ((const float *)from)[w];
    }
}

static void combine(results *r) {
    float partial[TILES][WIDTH];
    memcpy(partial, r->y, sizeof partial);
    td_tree_combine(partial, TILES, sizeof partial[0], add_row);
    memcpy(r->sum, partial[0], sizeof r->sum);
}

static void hash_results(const results *r, char hex[TD_SHA256_HEX]) {
    td_sha256 *sha = NULL;
    cr_assert_eq(td_sha256_create(&sha), TD_OK);
    td_sha256_add(sha, r, sizeof *r);
    td_sha256_finish(sha, hex);
}

/* By the calling thread alone, with plain loops. */
static void expected_hash(const float *x, unsigned mode, char hex[TD_SHA256_HEX]) {
    static results r;
    unsigned before = _mm_getcsr();
    job j = {.x = x, .out = &r};
    memset(&r, 0xff, sizeof r);
    _mm_setcsr(mode);
    compute(&j, 0, TILES);
    combine(&r);
    _mm_setcsr(before);
    hash_results(&r, hex);
}

static td_team *make_team(int workers) {
    td_team *team = NULL;
    td_team_options options = {.workers = workers, .shares_cpus = workers > 1};
    cr_assert_eq(td_team_create(&options, &team), TD_OK, "%s", td_error());
    return team;
}

ParameterizedTestParameters(bit_identity, workers_and_schedules) {
    static int workers[] = {1, 2, 3, 4, 7, 8};
    return cr_make_param_array(int, workers, sizeof workers / sizeof workers[0]);
}

ParameterizedTest(int *workers, bit_identity, workers_and_schedules, .timeout = 300) {
    static results r;
    draw_inputs();
    unsigned before = _mm_getcsr();
    td_team *team = make_team(*workers);
    for (int m = 0; m < N_MODES; m++) {
        char expected[TD_SHA256_HEX], hex[TD_SHA256_HEX];
        expected_hash(input, modes[m], expected);
        for (int run = 0; run < SEEDS * SCHEDULES; run++) {
            job j = {.x = input,
                     .out = &r,
                     .tiles = TILES,
                     .seed = (uint64_t)(run / SCHEDULES),
                     .how = (schedule)(run % SCHEDULES)};
            memset(&r, 0xff, sizeof r);
            run_in_mode(team, &j, m);
            combine(&r);
            _mm_setcsr(before);
            hash_results(&r, hex);
            cr_assert_str_eq(hex, expected, "W %d, schedule %d, seed %d, mode %#x", *workers,
                             (int)j.how, run / SCHEDULES, modes[m]);
        }
    }
    td_team_destroy(team);
}

typedef struct rank_job {
    int mode;
    char expected[TD_SHA256_HEX];
} rank_job;

/* Each rank computes its part of the tiles with a team of its own; rank 0 puts them together. */
static td_status compute_in_rank(td_rank *rank, void *arg) {
    const rank_job *job_of = arg;
    results *mine = (results *)(void *)rank->segment;
    td_team *team = NULL;
    td_team_options options = {.workers = rank->workers, .shares_cpus = true};
    TD_TRY(td_team_create(&options, &team));
    td_status status = TD_OK;
    for (int run = 0; run < SEEDS * SCHEDULES && status == TD_OK; run++) {
        job j = {.x = input,
                 .out = mine,
                 .first = TILES * rank->rank / rank->count,
                 .seed = (uint64_t)(run / SCHEDULES),
                 .how = (schedule)(run % SCHEDULES)};
        j.tiles = TILES * (rank->rank + 1) / rank->count - j.first;
        memset(mine, 0xff, sizeof *mine);
        run_in_mode(team, &j, job_of->mode);
        TD_TRY(td_rank_barrier(rank));
        if (rank->rank == 0) {
            char hex[TD_SHA256_HEX];
            for (int peer = 1; peer < rank->count; peer++) {
                const results *theirs = td_rank_peer(rank, peer, mine);
                int64_t first = TILES * peer / rank->count;
                int64_t last = TILES * (peer + 1) / rank->count;
                memcpy(mine->y[first], theirs->y[first],
                       (size_t)(last - first) * sizeof mine->y[0]);
            }
            combine(mine);
            hash_results(mine, hex);
            if (strcmp(hex, job_of->expected) != 0) {
                status = td_fail(TD_ECHECK, "schedule %d, seed %d, mode %#x", (int)j.how,
                                 run / SCHEDULES, modes[job_of->mode]);
            }
        }
        TD_TRY(td_rank_barrier(rank));
    }
    td_team_destroy(team);
    return status;
}

ParameterizedTestParameters(bit_identity, ranks_of_both_kinds) {
    static char layouts[][24] = {"p1xt2+over",         "p2xt1:thread+over", "p2xt2:thread+over",
                                 "p2xt1:process+over", "p2xt2:process+over"};
    return cr_make_param_array(char[24], layouts, sizeof layouts / sizeof layouts[0]);
}

ParameterizedTest(char (*layout)[24], bit_identity, ranks_of_both_kinds, .timeout = 300) {
    draw_inputs();
    for (int m = 0; m < N_MODES; m++) {
        rank_job job_of = {.mode = m};
        td_group_options group = {.segment_bytes = sizeof(results),
                                  .deadline_ns = INT64_C(100000000000)};
        cr_assert_eq(td_layout_parse(*layout, &group.layout), TD_OK, "%s", td_error());
        expected_hash(input, modes[m], job_of.expected);
        cr_assert_eq(td_group_run(&group, compute_in_rank, &job_of), TD_OK, "%s: %s", *layout,
                     td_error());
    }
}

Test(bit_identity, the_hash_sees_every_input_and_mode) {
    char plain[TD_SHA256_HEX], other[TD_SHA256_HEX];
    draw_inputs();
    expected_hash(input, modes[0], plain);
    for (int m = 1; m < N_MODES; m++) {
        expected_hash(input, modes[m], other);
        cr_expect_str_neq(other, plain, "mode %#x", modes[m]);
    }
    static results r;
    job j = {.x = input, .out = &r};
    compute(&j, 0, TILES);
    int flipped = 0;
    for (int i = 0; i < TILES * WIDTH; i++) {
        /* The last that was added, where it is twice the result: then its last bit is above the
         * result's, and no rounding can hide it. */
        float *last = &input[i * DEEP + DEEP - 1], kept = *last;
        if (fabsf(kept) < 2 * fabsf(r.y[i / WIDTH][i % WIDTH])) {
            continue;
        }
        *last = nextafterf(kept, INFINITY);
        expected_hash(input, modes[0], other);
        cr_expect_str_neq(other, plain, "input %d is one bit off: %a in a sum of %a",
                          i * DEEP + DEEP - 1, (double)kept, (double)r.y[i / WIDTH][i % WIDTH]);
        *last = kept;
        flipped++;
    }
    cr_expect_gt(flipped, 50, "%d inputs", flipped);
    expected_hash(input, modes[0], other);
    cr_expect_str_eq(other, plain);
}
