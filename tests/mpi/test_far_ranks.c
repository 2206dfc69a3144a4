/* SPDX-License-Identifier: Apache-2.0
 * A rank among others on several hosts, whose clocks, names and ends are made up (fake_mpi.h): what
 * hosts of one machine cannot show, because they have one clock and one boot.
 */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sha256.h"
#include "bench/coll_hosts.h"
#include "bench/fingerprint.h"
#include "fake_mpi.h"
#include "threads/group.h"
#include "threads/mpi_ranks.h"

/* As mpi_ranks.c and group_apart.c send them. */
enum { TAG_EXCHANGE = 1 };

typedef struct whereabouts {
    char name[64], boot[40];
} whereabouts;

typedef struct notice {
    uint32_t arrivals;
    int32_t ended, waits_for, status;
    uint32_t sent[TD_MAX_RANKS], asked[TD_MAX_RANKS];
    char text[1024];
} notice;

static td_fake_world *world;

static void nothing(void *data, int64_t bytes, int from, int tag) {
    (void)from, (void)tag;
    memset(data, 0, (size_t)bytes);
}

/* Every rank but this one is on a host of its own when `answer` says where nobody is. */
static void be(int rank, int ranks, void (*where)(void *data, int64_t bytes, int from, int tag)) {
    char text[16];
    void *module = dlopen(TD_FAKE_MPI, RTLD_NOW | RTLD_GLOBAL);
    cr_assert_not_null(module, "%s", dlerror());
    world = dlsym(module, "td_fake_world_here");
    cr_assert_not_null(world);
    *world = (td_fake_world){.rank = rank, .ranks = ranks, .answer = where};
    setenv("TANDEM_MPI", TD_FAKE_MPI, 1);
    snprintf(text, sizeof text, "%d", rank);
    setenv("OMPI_COMM_WORLD_RANK", text, 1);
    snprintf(text, sizeof text, "%d", ranks);
    setenv("OMPI_COMM_WORLD_SIZE", text, 1);
    cr_assert_eq(td_mpi_start(), TD_OK, "%s", td_error());
    world->answer = nothing;
}

/* ---- hosts ---- */

/* Ranks 2 and 4 have this host's name, or nearly, and another boot; 3 its boot and another name. */
static void five_places(void *data, int64_t bytes, int from, int tag) {
    whereabouts *out = data;
    cr_assert_eq((size_t)bytes, sizeof *out);
    cr_assert_eq(tag, TAG_EXCHANGE);
    memset(out, 0, sizeof *out);
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    cr_assert_not_null(file);
    cr_assert_gt(fread(out->boot, 1, sizeof out->boot - 1, file), 0);
    fclose(file);
    gethostname(out->name, sizeof out->name - 1);
    if (from == 2 || from == 4) {
        out->boot[0] = out->boot[0] == 'x' ? 'y' : 'x';
    } else if (from == 3) {
        snprintf(out->name, sizeof out->name, "elsewhere");
    }
}

Test(far_ranks, a_host_is_a_name_and_a_boot) {
    static const int map[] = {0, 0, 1, 2, 1};
    be(0, 5, five_places);
    cr_assert_eq(td_mpi_hosts(), 3);
    cr_expect_arr_eq(td_mpi_host_map(), map, sizeof map);
    for (int rank = 0; rank < 5; rank++) {
        cr_expect_eq(td_mpi_host_of(rank), map[rank]);
    }
    cr_expect_str_eq(td_mpi_host_name(3), "elsewhere");
    cr_expect_str_eq(td_mpi_host_name(2), td_mpi_host_name(0));
    json_t *hosts = td_fingerprint_hosts();
    char *text = json_dumps(hosts, JSON_COMPACT);
    cr_assert_not_null(text);
    cr_expect_not_null(strstr(text, "\"ranks\":[0,1]},{"), "%s", text);
    cr_expect_not_null(strstr(text, "\"ranks\":[2,4]},{\"name\":\"elsewhere\",\"ranks\":[3]}]"),
                       "%s", text);
    free(text);
    json_decref(hosts);
}

/* ---- clocks ---- */

static const double AHEAD_NS = 1e9, SLOW_NS = 2e7, OTHER_ERROR_NS = 3e9;
enum { SLOW_TRIPS = 3, TRIPS = 12 };

static int n_trips;
static double done_at_ns, own_error_ns;

static double now_ns(void) {
    return (double)td_tsc() / (td_tsc_hz() * 1e-9);
}

static bool is_done(int list) {
    (void)list;
    return now_ns() >= done_at_ns;
}

/* The answer of rank 0, whose clock is ahead: trips that are not slow take their time on the way
 * there, slow ones on the way back. */
static void give_time(void *data, int64_t bytes, int from, int tag) {
    (void)from;
    if (tag == TAG_EXCHANGE) {
        *(double *)data = from == 2 ? OTHER_ERROR_NS : 0;
        done_at_ns = 0;
        return;
    }
    cr_assert_eq((size_t)bytes, sizeof(double));
    bool slow = n_trips++ % 4 < SLOW_TRIPS;
    double there_ns = slow ? 0 : 2e5, back_ns = slow ? SLOW_NS : 0, at_ns = now_ns() + there_ns;
    *(double *)data = at_ns + AHEAD_NS;
    done_at_ns = at_ns + back_ns;
}

static void learn_error(const void *data, int64_t bytes, int to, int tag) {
    (void)to;
    if (tag == TAG_EXCHANGE) {
        cr_assert_eq((size_t)bytes, sizeof(double));
        own_error_ns = *(const double *)data;
    }
}

/* The shortest trip decides, and is wrong by half of it at most; the error is the worst of all. */
Test(far_ranks, a_clock_is_set_by_the_shortest_trip) {
    td_coll_clock clock;
    be(1, 3, nothing);
    world->answer = give_time;
    world->heard = learn_error;
    world->done = is_done;
    cr_assert_eq(td_coll_clock_set(&clock), TD_OK, "%s", td_error());
    cr_expect_eq(n_trips, TRIPS);
    cr_expect_lt(own_error_ns, SLOW_NS / 2);
    cr_expect_geq(own_error_ns, 1e5, "half of the way there: %g", own_error_ns);
    cr_expect_leq(fabs(clock.ahead_ns - AHEAD_NS), own_error_ns + 1, "%g ahead, wrong by %g",
                  clock.ahead_ns, own_error_ns);
    cr_expect_eq(clock.error_ns, OTHER_ERROR_NS);
}

static double asked_at_ns, least_late_ns = INFINITY;

static void ask_late(void *data, int64_t bytes, int from, int tag) {
    nothing(data, bytes, from, tag);
    done_at_ns = asked_at_ns = tag == TAG_EXCHANGE ? 0 : now_ns() + 1e6;
}

static void take_time(const void *data, int64_t bytes, int to, int tag) {
    (void)to, (void)bytes;
    if (tag != TAG_EXCHANGE) {
        double late_ns = *(const double *)data - asked_at_ns;
        least_late_ns = late_ns < least_late_ns ? late_ns : least_late_ns;
    }
}

/* Rank 0 gives the time at which it was asked, not that at which it began to wait. */
Test(far_ranks, the_time_that_is_given_is_of_now) {
    td_coll_clock clock;
    be(0, 2, nothing);
    world->answer = ask_late;
    world->heard = take_time;
    world->done = is_done;
    cr_assert_eq(td_coll_clock_set(&clock), TD_OK, "%s", td_error());
    cr_expect_geq(least_late_ns, -1, "%g", least_late_ns);
    cr_expect_eq(clock.ahead_ns, 0);
}

static double last_ns, told_ns;

static void come_later(void *data, int64_t bytes, int from, int tag) {
    cr_assert_eq((size_t)bytes, sizeof(double));
    cr_assert_eq(tag, TAG_EXCHANGE);
    *(double *)data = from == 2 ? last_ns : 0;
}

static void keep_arrival(const void *data, int64_t bytes, int to, int tag) {
    (void)bytes, (void)to, (void)tag;
    told_ns = *(const double *)data;
}

/* All start half a millisecond after the last, each by its own clock. */
Test(far_ranks, a_start_is_agreed_by_the_clock_of_rank_0) {
    td_coll_clock clock = {.ticks_per_ns = td_tsc_hz() * 1e-9, .ahead_ns = AHEAD_NS};
    uint64_t go;
    be(1, 3, nothing);
    world->answer = come_later;
    world->heard = keep_arrival;
    double before_ns = now_ns() + AHEAD_NS;
    last_ns = before_ns + 1e9;
    cr_assert_eq(td_coll_hosts_meet(&clock, &go), TD_OK, "%s", td_error());
    cr_expect(told_ns > before_ns - 2 && told_ns < now_ns() + AHEAD_NS + 2,
              "others hear by the clock of rank 0 when this one came");
    cr_expect_leq(fabs((double)go / clock.ticks_per_ns - (last_ns + 5e5 - AHEAD_NS)), 2);
}

static void give_times(void *data, int64_t bytes, int from, int tag) {
    (void)tag;
    double *start = data, *end = start + TD_COLL_CALLS;
    cr_assert_eq((size_t)bytes, 2 * TD_COLL_CALLS * sizeof(double));
    memset(data, 0, (size_t)bytes);
    for (int call = 0; call < 2; call++) {
        start[call] = 2e9 + 1000 * call + 10 * from;
        end[call] = start[call] + 500;
    }
}

/* Stamps of this rank come onto the clock of rank 0, where those of others are. */
Test(far_ranks, times_are_compared_by_the_clock_of_rank_0) {
    static td_coll_board board;
    td_coll_clock clock = {.ticks_per_ns = 2, .ahead_ns = AHEAD_NS};
    td_coll_round round = {.rank = 1, .ranks = 3, .calls = 2, .ticks_per_ns = 2};
    double ns[2];
    be(1, 3, nothing);
    world->answer = give_times;
    for (int call = 0; call < 2; call++) {
        board.rank[1].start[call] = (uint64_t)(2 * (1e9 + 1000 * call + 100));
        board.rank[1].end[call] = (uint64_t)(2 * (1e9 + 1000 * call + 400 + 200 * call));
    }
    cr_assert_eq(td_coll_hosts_times(&clock, &round, &board), TD_OK, "%s", td_error());
    round.mode = TD_COLL_ISOLATED;
    td_coll_round_times(&round, &board, ns);
    /* Rank 1 calls last, at 100; rank 2 returns last, at 520, and then rank 1, at 600. */
    cr_expect_eq(ns[0], 420, "%g", ns[0]);
    cr_expect_eq(ns[1], 500, "%g", ns[1]);
}

/* ---- results ---- */

static char theirs[3][TD_SHA256_HEX];

static void give_hash(void *data, int64_t bytes, int from, int tag) {
    (void)tag;
    cr_assert_eq((size_t)bytes, sizeof theirs[0]);
    memcpy(data, theirs[from], sizeof theirs[0]);
}

static void hash_of(const void *data, size_t bytes, char hex[TD_SHA256_HEX]) {
    td_sha256 *sha;
    cr_assert_eq(td_sha256_create(&sha), TD_OK);
    td_sha256_add(sha, data, bytes);
    td_sha256_finish(sha, hex);
}

Test(far_ranks, results_are_the_same_when_all_hashes_are) {
    float mine[8] = {1, 2, 3, 4, 5, 6, 7, 8}, other[8];
    bool same = false;
    be(0, 3, nothing);
    world->answer = give_hash;
    memcpy(other, mine, sizeof other);
    other[7] = 9;
    hash_of(mine, sizeof mine, theirs[1]);
    hash_of(mine, sizeof mine, theirs[2]);
    cr_assert_eq(td_coll_hosts_compare(mine, sizeof mine, &same), TD_OK);
    cr_expect(same);
    hash_of(other, sizeof other, theirs[2]);
    cr_assert_eq(td_coll_hosts_compare(mine, sizeof mine, &same), TD_OK);
    cr_expect_not(same, "the last element of rank 2 differs");
}

/* ---- notices ---- */

enum { NOTICES = 8 };

/* What others tell in this order; from 0: nothing for once. */
static struct {
    int from;
    notice what;
} notices[NOTICES];
static notice told;
static int n_notices, n_taken, tag_of_notices;

static void add_notice(int from, notice what) {
    cr_assert_lt(n_notices, NOTICES);
    notices[n_notices].from = from;
    notices[n_notices++].what = what;
}

static void give_notice(void *data, int64_t bytes, int from, int tag) {
    nothing(data, bytes, from, tag);
    if (tag != TAG_EXCHANGE) {
        cr_assert_eq((size_t)bytes, sizeof(notice));
        memcpy(data, &notices[n_taken++].what, sizeof(notice));
    }
}

static int has_notice(int tag) {
    tag_of_notices = tag;
    if (n_taken < n_notices && notices[n_taken].from > 0) {
        return notices[n_taken].from;
    }
    n_taken += n_taken < n_notices;
    return -1;
}

static void keep_notice(const void *data, int64_t bytes, int to, int tag) {
    (void)to;
    if (tag == tag_of_notices) {
        cr_assert_leq((size_t)bytes, sizeof told);
        memset(&told, 0, sizeof told);
        memcpy(&told, data, (size_t)bytes);
    }
}

static td_status run_beside(int others, td_rank_fn *fn) {
    td_group_options options = {.deadline_ns = 20000000000};
    cr_assert_eq(td_layout_parse(others == 1 ? "p2xt1:mpi" : "p3xt1:mpi", &options.layout), TD_OK);
    be(0, 1 + others, nothing); /* the others have no name: another host */
    world->answer = give_notice;
    world->heard = keep_notice;
    world->arrived = has_notice;
    for (int rank = 1; rank <= others; rank++) {
        add_notice(rank, (notice){.arrivals = 1}); /* it is here */
    }
    return td_group_run(&options, fn, NULL);
}

/* The notice of rank 1's end comes before the last of its messages. */
static td_status wait_for_more(td_rank *rank, void *arg) {
    (void)arg;
    add_notice(1, (notice){.arrivals = 1, .ended = 1, .sent = {2}, .asked = {1}});
    td_rank_count_message(rank, 1, true);
    td_rank_count_message(rank, 1, false);
    td_rank_count_message(rank, 1, false);
    td_rank_listen(rank, 1, 0);
    cr_assert_not(td_rank_failed(rank), "what was sent is on its way");
    td_rank_count_message(rank, 1, false);
    td_rank_listen(rank, -1, 0);
    cr_assert_not(td_rank_failed(rank), "nobody is waited for");
    td_rank_listen(rank, 1, 0);
    cr_assert(td_rank_failed(rank));
    return td_rank_barrier(rank);
}

Test(far_ranks, a_message_on_its_way_is_waited_for) {
    cr_expect_eq(run_beside(1, wait_for_more), TD_EPEER);
    cr_expect_str_eq(td_error(), "rank 1 on  returned while others wait for it");
    cr_expect(told.status == TD_EPEER && told.ended && told.asked[1] == 3 && told.sent[1] == 1);
}

static td_status send_more(td_rank *rank, void *arg) {
    (void)arg;
    add_notice(1, (notice){.arrivals = 1, .ended = 1, .asked = {1}});
    td_rank_count_message(rank, 1, true);
    td_rank_listen(rank, 1, 0);
    cr_assert_not(td_rank_failed(rank), "it has asked for this one");
    td_rank_count_message(rank, 1, true);
    td_rank_listen(rank, 1, 0);
    cr_assert(td_rank_failed(rank));
    return td_rank_barrier(rank);
}

Test(far_ranks, a_message_that_nobody_takes_is_noticed) {
    cr_expect_eq(run_beside(1, send_more), TD_EPEER);
    cr_expect_str_eq(td_error(), "rank 1 on  returned while others wait for it");
}

/* Rank 1 has ended over what another has told it: that is passed on, and it has not left. */
static td_status hear_of_failure(td_rank *rank, void *arg) {
    (void)arg;
    add_notice(1,
               (notice){.arrivals = 1, .ended = 1, .status = TD_ECHECK, .text = "rank 7: wrong"});
    td_rank_count_message(rank, 1, false);
    td_rank_listen(rank, 1, 0);
    cr_assert(td_rank_failed(rank));
    return td_rank_barrier(rank);
}

Test(far_ranks, a_failure_that_was_heard_of_is_passed_on) {
    cr_expect_eq(run_beside(1, hear_of_failure), TD_ECHECK);
    cr_expect_str_eq(td_error(), "rank 7: wrong");
    cr_expect_eq(told.status, TD_ECHECK);
    cr_expect_str_eq(told.text, "rank 7: wrong");
}

static td_status meet_nobody(td_rank *rank, void *arg) {
    (void)arg;
    add_notice(1, (notice){.arrivals = 1, .ended = 1});
    return td_rank_barrier(rank);
}

Test(far_ranks, who_has_ended_comes_to_no_barrier) {
    cr_expect_eq(run_beside(1, meet_nobody), TD_EPEER);
    cr_expect_str_eq(td_error(), "rank 1 on  returned while others wait at a barrier");
}

/* Rank 1 came to the second barrier before it ended, and rank 2 comes after that. */
static td_status meet_once_more(td_rank *rank, void *arg) {
    (void)arg;
    add_notice(1, (notice){.arrivals = 2});
    add_notice(1, (notice){.arrivals = 2, .ended = 1});
    add_notice(0, (notice){.arrivals = 0});
    add_notice(2, (notice){.arrivals = 2});
    add_notice(2, (notice){.arrivals = 2, .ended = 1});
    return td_rank_barrier(rank);
}

Test(far_ranks, who_came_first_may_end_first) {
    cr_expect_eq(run_beside(2, meet_once_more), TD_OK, "%s", td_error());
    cr_expect(told.ended && told.arrivals == 2 && told.status == TD_OK);
}
