/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <xmmintrin.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "tests/threads/fail_create.h"
#include "threads/bind.h"
#include "threads/layout.h"
#include "threads/numa.h"
#include "threads/procfs.h"
#include "threads/team.h"
#include "threads/wait.h"

enum { CPUS_MAX = 4096 };

/* PUs this process may use, in ascending order. */
static int allowed_pus(int *pu, int most) {
    td_cpu_mask mask;
    td_bind_get(&mask);
    int count = 0;
    for (int i = 0; i < CPUS_MAX && count < most; i++) {
        if (mask.bits[i / 64] >> i % 64 & 1) {
            pu[count++] = i;
        }
    }
    return count;
}

/* A team of `workers` on the PUs there are, round robin. */
static td_team *make_team(int workers, int64_t scratch_bytes) {
    int pu[TD_MAX_PUS], spread[64];
    int count = allowed_pus(pu, TD_MAX_PUS);
    cr_assert_leq(workers, 64);
    for (int i = 0; i < workers; i++) {
        spread[i] = pu[i % count];
    }
    td_team_options options = {.workers = workers,
                               .pu = spread,
                               .scratch_bytes = scratch_bytes,
                               .shares_cpus = workers > count};
    td_team *team = NULL;
    cr_assert_eq(td_team_create(&options, &team), TD_OK, "%s", td_error());
    return team;
}

typedef struct tiles {
    int64_t n, chunk;
    td_ticket ticket;
    _Atomic unsigned char *hits;
    _Atomic int errors;
} tiles;

static void share_tiles(void *arg, td_worker *worker) {
    tiles *t = arg;
    int64_t first, last;
    td_worker_share(worker, t->n, &first, &last);
    for (int64_t i = first; i < last; i++) {
        atomic_fetch_add_explicit(&t->hits[i], 1, memory_order_relaxed);
    }
}

static void claim_tiles(void *arg, td_worker *worker) {
    tiles *t = arg;
    for (int round = 0; round < 2; round++) {
        if (worker->id == 0) {
            td_ticket_reset(&t->ticket);
        }
        td_team_barrier(worker);
        for (int64_t first, last; td_ticket_take(&t->ticket, t->n, t->chunk, &first, &last);) {
            t->errors += !(first < last && last - first <= t->chunk);
            for (int64_t i = first; i < last; i++) {
                atomic_fetch_add_explicit(&t->hits[i], 1, memory_order_relaxed);
            }
        }
        td_team_barrier(worker);
    }
}

ParameterizedTestParameters(team, every_tile_once) {
    static int workers[] = {1, 2, 3, 5, 8, 17};
    return cr_make_param_array(int, workers, sizeof workers / sizeof workers[0]);
}

ParameterizedTest(int *workers, team, every_tile_once) {
    static const int64_t counts[] = {0, 1, 2, 7, 8, 9, 63, 64, 65, 1009};
    static _Atomic unsigned char hits[1009];
    int w = *workers;
    td_team *team = make_team(w, 0);
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        tiles t = {.n = counts[c], .hits = hits};
        memset((void *)hits, 0, sizeof hits);
        td_team_run(team, share_tiles, &t);
        for (int64_t i = 0; i < (int64_t)sizeof hits; i++) {
            cr_assert_eq(hits[i], i < t.n, "share: n %ld, W %d, tile %ld: %d times", (long)t.n, w,
                         (long)i, hits[i]);
        }
        for (t.chunk = 1; t.chunk <= 16; t.chunk += 5) {
            memset((void *)hits, 0, sizeof hits);
            td_team_run(team, claim_tiles, &t);
            for (int64_t i = 0; i < (int64_t)sizeof hits; i++) {
                cr_assert_eq(hits[i], i < t.n ? 2 : 0, "ticket: n %ld, W %d, chunk %ld, tile %ld",
                             (long)t.n, w, (long)t.chunk, (long)i);
            }
            cr_assert_eq(t.errors, 0, "a claim is empty or larger than a chunk");
        }
    }
    td_team_destroy(team);
}

Test(team, shares_differ_by_one_at_most) {
    for (int count = 1; count <= 9; count++) {
        for (int64_t n = 0; n < 40; n++) {
            int64_t next = 0;
            for (int id = 0; id < count; id++) {
                td_worker worker = {.id = id, .count = count};
                int64_t first, last;
                td_worker_share(&worker, n, &first, &last);
                cr_assert(first == next && last - first >= n / count &&
                          last - first <= (n + count - 1) / count);
                next = last;
            }
            cr_assert_eq(next, n);
        }
    }
}

typedef struct episodes {
    int rounds;
    int64_t seen[64]; /* plain memory: only the barriers order it */
    _Atomic int errors;
} episodes;

/* After the k-th barrier everybody must have written k, and nobody k + 1. */
static void meet_often(void *arg, td_worker *worker) {
    episodes *e = arg;
    td_rng rng = td_rng_make(7, TD_PURPOSE_TEST, (uint64_t)worker->id);
    for (int round = 1; round <= e->rounds; round++) {
        for (uint64_t spin = td_rng_below(&rng, 64); spin > 0; spin--) {
            _mm_pause();
        }
        if (td_rng_below(&rng, 16) == 0) {
            sched_yield();
        }
        e->seen[worker->id] = round;
        td_team_barrier(worker);
        for (int i = 0; i < worker->count; i++) {
            e->errors += e->seen[i] != round;
        }
        td_team_barrier(worker);
    }
}

ParameterizedTestParameters(team, barrier_episodes) {
    static int workers[] = {2, 3, 8, 9, 33, 64};
    return cr_make_param_array(int, workers, sizeof workers / sizeof workers[0]);
}

ParameterizedTest(int *workers, team, barrier_episodes) {
    td_team *team = make_team(*workers, 0);
    episodes e = {.rounds = *workers > 8 ? 100 : 1000};
    td_team_run(team, meet_often, &e);
    cr_assert_eq(e.errors, 0, "W %d: %d stale or early values", *workers, e.errors);
    td_team_destroy(team);
}

static void add_id(void *arg, td_worker *worker) {
    int64_t *sums = arg;
    sums[worker->id * 8] += worker->id + 1;
}

Test(team, regions_join_everybody_each_time) {
    td_team *team = make_team(4, 0);
    int64_t sums[4 * 8] = {0};
    for (int region = 1; region <= 3000; region++) {
        td_team_run(team, add_id, sums);
        for (int i = 0; i < 4; i++) {
            cr_assert_eq(sums[i * 8], (int64_t)region * (i + 1), "region %d, worker %d", region, i);
        }
    }
    td_team_destroy(team);
}

typedef struct facts {
    int count, unbound[64];
    unsigned csr[64];
    bool scratch_ok[64];
    const int *pu;
} facts;

static void look_around(void *arg, td_worker *worker) {
    facts *f = arg;
    int i = worker->id;
    td_cpu_mask mask;
    td_bind_get(&mask);
    td_cpu_mask wanted = {0};
    wanted.bits[f->pu[i] / 64] = 1UL << f->pu[i] % 64;
    f->unbound[i] = memcmp(&mask, &wanted, sizeof mask) != 0 || sched_getcpu() != f->pu[i];
    f->csr[i] = _mm_getcsr() & 0x8040;
    f->count = worker->count;
    unsigned char *scratch = worker->scratch;
    f->scratch_ok[i] = worker->scratch_bytes == 100000 && (uintptr_t)scratch % 64 == 0;
    memset(scratch, i + 1, (size_t)worker->scratch_bytes);
    td_team_barrier(worker);
    for (int64_t at = 0; at < worker->scratch_bytes; at++) {
        f->scratch_ok[i] = f->scratch_ok[i] && scratch[at] == i + 1;
    }
}

Test(team, workers_are_bound_and_own_their_scratch) {
    int pu[TD_MAX_PUS];
    int count = allowed_pus(pu, 4);
    int spread[4] = {pu[0], pu[1 % count], pu[2 % count], pu[3 % count]};
    facts f = {.pu = spread};
    td_cpu_mask before, after;
    td_bind_get(&before);
    _mm_setcsr(_mm_getcsr() & ~0x8040u);
    td_team_options options = {
        .workers = 4, .pu = spread, .scratch_bytes = 100000, .shares_cpus = true};
    td_team *team = NULL;
    cr_assert_eq(td_team_create(&options, &team), TD_OK, "%s", td_error());
    cr_assert_eq(td_team_bound(team), 4, "%s", td_team_note(team));
    cr_assert_null(td_team_note(team));
    td_team_run(team, look_around, &f);
    for (int i = 0; i < 4; i++) {
        cr_assert(!f.unbound[i], "worker %d is not where it was bound", i);
        cr_assert_eq(f.csr[i], 0x8040, "worker %d keeps denormals", i);
        cr_assert(f.scratch_ok[i], "scratch of worker %d", i);
    }
    td_team_destroy(team);
    td_bind_get(&after);
    cr_assert_arr_eq(&before, &after, sizeof before, "destroy gives the caller its mask back");
}

static void do_nothing(void *arg, td_worker *worker) {
    (void)arg;
    (void)worker;
}

Test(team, refused_binding_is_a_note) {
    int pu[2] = {TD_MAX_PUS - 1,
                 TD_MAX_PUS}; /* one that no machine here has, one beyond any mask */
    td_team_options options = {.workers = 2, .pu = pu, .shares_cpus = true};
    td_team *team = NULL;
    cr_assert_eq(td_team_create(&options, &team), TD_OK);
    cr_assert_eq(td_team_bound(team), 0);
    cr_assert_str_eq(td_team_note(team), "worker 0 is not bound to PU 4095: Invalid argument");
    td_team_run(team, do_nothing, NULL);
    td_worker_stats stats[2];
    td_team_stats(team, stats, false);
    cr_assert(!stats[0].bound && !stats[1].bound);
    td_team_destroy(team);
}

static void wait_for_worker_1(void *arg, td_worker *worker) {
    (void)arg;
    if (worker->id == 1) {
        for (int64_t until = td_now_ns() + 20000000; td_now_ns() < until;) {
            _mm_pause();
        }
    }
    td_team_barrier(worker);
}

Test(team, statistics_add_up) {
    td_team *team = make_team(3, 0);
    td_worker_stats stats[3];
    td_team_stats(team, stats, true);
    int64_t start_ns = td_now_ns();
    td_team_run(team, wait_for_worker_1, NULL);
    td_team_run(team, do_nothing, NULL);
    int64_t total_ns = td_now_ns() - start_ns;
    td_team_stats(team, stats, true);
    for (int i = 0; i < 3; i++) {
        cr_assert(stats[i].regions == 2 && stats[i].barriers == 1 && stats[i].bound);
        cr_assert(stats[i].cpu >= 0 && stats[i].busy_ns >= 0 && stats[i].wait_ns >= 0);
        /* Calibration of the time stamp counter is good to well under a percent. */
        cr_assert_leq(stats[i].busy_ns + stats[i].wait_ns, total_ns + total_ns / 50);
    }
    cr_assert_geq(stats[1].busy_ns, 19000000);
    cr_assert_geq(stats[0].wait_ns, 19000000 - stats[0].busy_ns);
    cr_assert(stats[0].parks + stats[2].parks > 0, "20 ms are longer than any spin");
    td_team_stats(team, stats, false);
    cr_assert(stats[1].regions == 0 && stats[1].busy_ns == 0 && stats[1].wait_ns == 0);
    td_team_destroy(team);
}

Test(team, create_and_destroy_200_times) {
    int64_t sums[5 * 8] = {0};
    for (int round = 0; round < 200; round++) {
        td_team *team = make_team(1 + round % 5, round % 3 == 0 ? 4096 : 0);
        td_team_run(team, add_id, sums);
        td_team_destroy(team);
    }
    cr_assert_eq(td_test_unjoined_threads(), 0);
    cr_assert_eq(sums[0], 200);
    cr_assert_eq(sums[4 * 8], 40 * 5);
}

Test(team, refused_thread_unwinds) {
    for (int allowed = 0; allowed < 4; allowed++) {
        td_team_options options = {.workers = 5, .scratch_bytes = 8192, .shares_cpus = true};
        td_team *team = NULL;
        td_test_allow_threads(allowed);
        cr_assert_eq(td_team_create(&options, &team), TD_ESYS);
        td_test_allow_threads(-1);
        char expected[96];
        snprintf(expected, sizeof expected, "create thread %d of 4: %s", allowed + 1,
                 strerror(EAGAIN));
        cr_assert_str_eq(td_error(), expected);
        cr_assert_eq(td_test_unjoined_threads(), 0, "a worker was left behind");
        cr_assert_null(team);
    }
}

Test(team, impossible_requests_are_refused) {
    td_team *team = NULL;
    td_team_options none = {.workers = 0};
    cr_assert_eq(td_team_create(&none, &team), TD_EUSAGE);
    td_team_options many = {.workers = TD_MAX_WORKERS + 1};
    cr_assert_eq(td_team_create(&many, &team), TD_EUSAGE);
    cr_assert_str_eq(td_error(), "a team of 1025 workers; expected 1 to 1024");
    td_team_options large = {.workers = 3, .scratch_bytes = INT64_C(1) << 60, .shares_cpus = true};
    cr_assert_eq(td_team_create(&large, &team), TD_ENOMEM);
    cr_assert_not_null(strstr(td_error(), "worker 0: map 1152921504606846976 bytes"), "%s",
                       td_error());
    cr_assert_null(team);
}

static void nest(void *arg, td_worker *worker) {
    (void)arg;
    if (worker->id == 0) {
        td_team_run(worker->team, do_nothing, NULL);
    }
}

Test(team, nested_region_is_refused, .signal = SIGABRT) {
    td_team_run(make_team(2, 0), nest, NULL);
}

static void *advance_later(void *arg) {
    td_event *event = arg;
    td_wait_rule rule = td_wait_rule_make(true, false);
    while (atomic_load(&event->parked) == 0) { /* until the other side sleeps */
        sched_yield();
    }
    td_event_advance(event, &rule);
    return NULL;
}

Test(wait, ladder_reaches_each_stage) {
    td_event event = {0};
    td_wait_rule rule = td_wait_rule_make(true, false);
    td_wait_counts counts = {0};
    cr_assert(td_event_wait(&event, 0, &rule, 0, &counts));
    cr_assert(counts.yields == 0 && counts.parks == 0, "reached at once");
    cr_assert(!td_event_wait(&event, 1, &rule, 1000000, &counts));
    /* A yield that takes long is the last: others have work of their own. */
    cr_assert(counts.yields >= 1 && counts.yields <= rule.yields && counts.parks == 1,
              "nobody came");
    cr_assert_eq(event.parked, 0);
    pthread_t helper;
    cr_assert_eq(pthread_create(&helper, NULL, advance_later, &event), 0);
    cr_assert(td_event_wait(&event, 1, &rule, 0, &counts));
    cr_assert_eq(counts.parks, 2);
    pthread_join(helper, NULL);
    /* The counter wraps around. */
    td_event old = {.value = UINT32_MAX};
    cr_assert(td_event_reached(&old, UINT32_MAX) && !td_event_reached(&old, 0));
    cr_assert_eq(td_event_advance(&old, &rule), 0);
    cr_assert(td_event_reached(&old, 0) && td_event_reached(&old, UINT32_MAX));
}

Test(wait, who_woke_spins_longer_unless_it_shares_its_cpu) {
    td_wait_rule rule = td_wait_rule_make(false, false), woken = td_wait_rule_woken(&rule);
    uint64_t most = (uint64_t)(rule.ticks_per_us * 200);
    cr_expect(woken.spin_ticks > rule.spin_ticks || woken.spin_ticks == most);
    cr_expect_leq(woken.spin_ticks, most);
    cr_expect_eq(woken.yields, rule.yields);
    rule = td_wait_rule_make(true, false);
    woken = td_wait_rule_woken(&rule);
    cr_expect_eq(woken.spin_ticks, rule.spin_ticks);
}

/* A wait of turns yields at first and naps then: a nap is a voluntary switch, a yield is none. */
Test(wait, a_long_wait_of_turns_naps) {
    enum { YIELDS = 1000, NAPS = 50 };
    int turns = 0, me = gettid();
    int64_t before = td_proc_switches_read(me, me).voluntary;
    for (int i = 0; i < YIELDS; i++) {
        td_wait_turn(&turns);
    }
    int64_t yielded = td_proc_switches_read(me, me).voluntary;
    cr_expect_lt(yielded - before, YIELDS / 2);
    for (int i = 0; i < NAPS; i++) {
        td_wait_turn(&turns);
    }
    cr_expect_geq(td_proc_switches_read(me, me).voluntary - yielded, NAPS);
    cr_expect_eq(turns, YIELDS, "turns do not grow on");
}

Test(numa, first_touch_is_visible_to_the_kernel) {
    int64_t pages[64], untouched;
    td_arena arena;
    cr_assert_eq(td_arena_create(1 << 22, &arena), TD_OK);
    int nodes = td_numa_nodes();
    cr_assert(nodes >= 1 && nodes <= 64);
    td_status status = td_numa_histogram(arena.base, arena.bytes, pages, nodes, &untouched);
    if (status == TD_ESKIP) {
        cr_skip("%s", td_error());
    }
    cr_assert_eq(status, TD_OK);
    int64_t total = untouched;
    for (int i = 0; i < nodes; i++) {
        total += pages[i];
    }
    cr_assert_eq(total, (int64_t)arena.bytes / 4096);
    cr_assert_eq(td_numa_first_touch(arena.base, arena.bytes), TD_OK);
    cr_assert_eq(td_numa_histogram(arena.base, arena.bytes, pages, nodes, &untouched), TD_OK);
    cr_assert_eq(untouched, 0, "%ld pages are not there", (long)untouched);
    cr_assert_eq(td_numa_node_of_pu(0), 0);
    td_arena_destroy(&arena);
    if (nodes == 1) {
        cr_assert_eq(td_arena_create(1 << 22, &arena), TD_OK);
        cr_assert_eq(td_numa_interleave(arena.base, arena.bytes), TD_ESKIP);
        cr_assert_str_eq(td_error(), "one NUMA node here: nothing to interleave");
        td_arena_destroy(&arena);
    }
}

Test(numa, a_policy_means_nodes) {
    static int distance[64 * 64];
    static const struct {
        td_numa_policy policy;
        int home;
        uint64_t memory, nodes;
    } rows[] = {{TD_NUMA_LOCAL, 0, 0xf, 1},      {TD_NUMA_LOCAL, 2, 0xf, 4},
                {TD_NUMA_LOCAL, 2, 0xb, 0}, /* no memory there */
                {TD_NUMA_REMOTE, 0, 0xf, 4},     {TD_NUMA_REMOTE, 1, 0xf, 4},
                {TD_NUMA_REMOTE, 3, 0x9, 1},     {TD_NUMA_REMOTE, 0, 0x1, 0},
                {TD_NUMA_INTERLEAVE, 0, 0xb, 0xb}, {TD_NUMA_INTERLEAVE, 0, 0x2, 0}};
    /* Two packages of two nodes: 10 at home, 12 in the package, 21 beyond; 22 of 1 to 2. */
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 4; k++) {
            distance[i * 64 + k] = i == k ? 10 : i / 2 == k / 2 ? 12 : 21;
        }
    }
    distance[1 * 64 + 2] = 22;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t nodes =
            td_numa_policy_nodes(rows[i].policy, rows[i].home, rows[i].memory, distance);
        cr_expect_eq(nodes, rows[i].nodes, "row %zu: %#lx", i, (unsigned long)nodes);
    }
}

/* What is measured is a cost, spinning is bounded by it, and nothing is left behind. */
Test(team, waits_are_calibrated) {
    td_cpu_mask before, after;
    td_wait_costs costs = td_wait_calibrated();
    cr_assert_not(costs.measured);
    cr_assert_eq(costs.spin_ns, 100000);
    td_bind_get(&before);
    cr_assert_eq(td_wait_calibrate(), TD_OK, "%s", td_error());
    costs = td_wait_calibrated();
    cr_assert(costs.measured && costs.wake_call_ns > 0 && costs.wake_ns > 0 && costs.yield_ns > 0);
    int64_t sum = costs.wake_call_ns + costs.wake_ns;
    int64_t expected = sum < 5000 ? 5000 : sum > 200000 ? 200000 : sum;
    cr_assert_eq(costs.spin_ns, expected);
    td_wait_rule rule = td_wait_rule_make(false, false);
    cr_assert_float_eq((double)rule.spin_ticks / rule.ticks_per_us, (double)expected * 1e-3, 1);
    rule = td_wait_rule_make(true, false);
    cr_assert_float_eq((double)rule.spin_ticks / rule.ticks_per_us, 0.2, 0.01);
    td_bind_get(&after);
    cr_assert_eq(memcmp(&before, &after, sizeof before), 0, "the affinity was changed");
    cr_assert_eq(td_wait_calibrate(), TD_OK);
    cr_assert_eq(td_wait_calibrated().wake_ns, costs.wake_ns, "it was measured twice");
}
