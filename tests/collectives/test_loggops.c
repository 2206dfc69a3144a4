/* SPDX-License-Identifier: Apache-2.0
 * The cost model against closed forms, on networks where there are such, and what must hold on any.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "collectives/loggops.h"

static const double L = 700, o = 110, G = 0.25, BYTES = 1 << 20, ADD = 0.5;

static td_network flat(void) {
    return (td_network){.levels = 1,
                        .level = {{.name = "rank", .units = 16384, .L = L, .o = o, .G = G}},
                        .reduce = ADD};
}

static td_simulation simulate(const td_network *network, const char *operation,
                              const char *algorithm, int ranks, double bytes) {
    td_simulation result = {0};
    td_status status =
        td_simulate(network, td_collective_find(operation, algorithm), ranks, bytes, &result);
    cr_assert_eq(status, TD_OK, "%s/%s: %s", operation, algorithm, td_error());
    return result;
}

static void expect_ns(const td_network *network, const char *operation, const char *algorithm,
                      int ranks, double bytes, double expected) {
    double ns = simulate(network, operation, algorithm, ranks, bytes).ns;
    cr_expect(fabs(ns - expected) <= 1e-9 * expected, "%s/%s on %d ranks: %.6f, expected %.6f",
              operation, algorithm, ranks, ns, expected);
}

Test(loggops, flat_networks_have_the_closed_forms_of_the_literature) {
    td_network network = flat();
    static const int all[] = {2, 3, 4, 7, 8, 16, 33, 64, 1000};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        double p = all[i], q = td_log2_up(all[i]), message = L + 2 * o;
        expect_ns(&network, "reduce_scatter", "ring", all[i], BYTES,
                  (p - 1) * (message + BYTES / p * (G + ADD)));
        expect_ns(&network, "allreduce", "ring", all[i], BYTES,
                  (p - 1) * (2 * message + BYTES / p * (2 * G + ADD)));
        expect_ns(&network, "allgather", "ring", all[i], BYTES,
                  (p - 1) * (message + BYTES / p * G));
        expect_ns(&network, "barrier", "dissemination", all[i], 0, q * message);
        expect_ns(&network, "allgather", "bruck", all[i], BYTES,
                  q * message + (p - 1) / p * BYTES * G);
        /* All send at once, and wait for the one link of the root. */
        expect_ns(&network, "gather", "linear", all[i], BYTES, message + (p - 1) * BYTES / p * G);
        if ((all[i] & (all[i] - 1)) == 0) {
            expect_ns(&network, "broadcast", "binomial", all[i], BYTES, q * (message + BYTES * G));
            expect_ns(&network, "allreduce", "recursive_doubling", all[i], BYTES,
                      q * (message + BYTES * (G + ADD)));
            expect_ns(&network, "allreduce", "rabenseifner", all[i], BYTES,
                      2 * q * message + (p - 1) / p * BYTES * (2 * G + ADD));
        }
    }
}

/* Every parameter has its place: two ranks, one message, its time by hand. */
Test(loggops, one_message_takes_its_parameters) {
    td_network network = flat();
    double n = 1000;
    expect_ns(&network, "shift", "direct", 2, n, L + 2 * o + n * G);
    network.level[0].O = 0.01;
    expect_ns(&network, "shift", "direct", 2, n, L + 2 * o + n * (G + 0.02));
    network.S = 999; /* there, back, there again */
    expect_ns(&network, "shift", "direct", 2, n, 3 * L + 4 * o + n * (G + 0.02));
    network.S = 1000;
    expect_ns(&network, "shift", "direct", 2, n, L + 2 * o + n * (G + 0.02));
    /* The second message of the root waits for the gap of the first; it is smaller than n G. */
    network = flat();
    network.level[0].g = 5000;
    expect_ns(&network, "broadcast", "linear", 3, 8, L + 2 * o + 8 * G + 5000);
}

/* Two nodes of two: rings within share nothing, and a shared card makes the second message of a
 * node wait. */
/* The root sends to two at once: in turns one has all of it early and passes it on, shared evenly
 * both have it late. Where nobody sends two at once nothing is different. */
Test(loggops, links_can_be_shared_evenly) {
    td_network turns = {.levels = 1, .level = {{.name = "rank", .units = 64, .L = L, .G = G}}};
    td_network fair = turns, gap = turns;
    fair.fair = gap.fair = true;
    expect_ns(&turns, "broadcast", "binomial", 4, BYTES, 2 * L + 2 * G * BYTES);
    expect_ns(&fair, "broadcast", "binomial", 4, BYTES, 2 * L + 3 * G * BYTES);
    expect_ns(&fair, "gather", "linear", 4, 4 * BYTES, L + 3 * G * BYTES);
    static const char *const alike[][2] = {{"reduce_scatter", "ring"},
                                           {"allgather", "bruck"},
                                           {"allreduce", "recursive_doubling"},
                                           {"alltoall", "bruck"}};
    for (int i = 0; i < 4; i++) {
        double ns = simulate(&turns, alike[i][0], alike[i][1], 64, BYTES).ns;
        expect_ns(&fair, alike[i][0], alike[i][1], 64, BYTES, ns);
    }
    td_simulation none;
    gap.S = 1;
    cr_expect_eq(td_simulate(&gap, td_collective_find("barrier", "tree"), 4, 0, &none), TD_EUSAGE);
    gap.S = 0;
    gap.level[0].g = 1;
    cr_expect_eq(td_simulate(&gap, td_collective_find("barrier", "tree"), 4, 0, &none), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "expected --rendezvous 0"), "%s", td_error());
}

Test(loggops, levels_have_their_own_parameters) {
    td_network network;
    cr_assert_eq(td_network_parse("node:2/L=5000,G=2 core:2/L=100,G=0.5", &network), TD_OK);
    expect_ns(&network, "shift", "direct", 2, 1000, 100 + 500);   /* both in the first node */
    expect_ns(&network, "shift", "direct", 4, 1000, 5000 + 2000); /* 1 to 2, 3 to 0 */
    expect_ns(&network, "alltoall", "pairwise", 4, 4000, 3 * (5000 + 2000));
    cr_assert_eq(td_network_parse("node:2/L=5000,G=2,shared core:2/L=100,G=0.5", &network), TD_OK);
    expect_ns(&network, "shift", "direct", 4, 1000, 5000 + 2000);
    /* First within the nodes, then both ranks of a node with one of the other. */
    expect_ns(&network, "allreduce", "recursive_doubling", 4, 1000, 600 + 5000 + 2 * 2000);
    network.level[0].shared = false;
    expect_ns(&network, "allreduce", "recursive_doubling", 4, 1000, 600 + 5000 + 2000);
}

/* More latency, slower links, more bytes never make anything faster. */
Test(loggops, times_grow_with_parameters_and_sizes) {
    td_network base;
    int n;
    const td_collective *rows = td_collectives(&n);
    cr_assert_eq(td_network_parse(
                     "node:8/L=900,o=90,g=20,G=0.2,shared core:8/L=90,o=30,G=0.1,O=0.01", &base),
                 TD_OK);
    base.copy = base.reduce = 0.2;
    for (int i = 0; i < n; i++) {
        static const int ranks[] = {2, 8, 16, 64};
        for (int k = 0; k < 4 && rows[i].direct == NULL; k++) {
            td_simulation at, more;
            cr_assert_eq(td_simulate(&base, &rows[i], ranks[k], 65536, &at), TD_OK);
            double *parameters[5];
            td_network slower = base;
            parameters[0] = &slower.level[0].L;
            parameters[1] = &slower.level[1].G;
            parameters[2] = &slower.level[1].o;
            parameters[3] = &slower.level[0].g;
            parameters[4] = &slower.reduce;
            for (int j = 0; j < 5; j++) {
                slower = base;
                *parameters[j] *= 1.5;
                cr_assert_eq(td_simulate(&slower, &rows[i], ranks[k], 65536, &more), TD_OK);
                cr_expect_geq(more.ns, at.ns, "%s/%s on %d", rows[i].operation, rows[i].algorithm,
                              ranks[k]);
            }
            if (rows[i].id != TD_COLL_barrier) { /* below the size at which segments begin */
                cr_assert_eq(td_simulate(&base, &rows[i], ranks[k], 100000, &more), TD_OK);
                cr_expect_gt(more.ns, at.ns, "%s/%s on %d", rows[i].operation, rows[i].algorithm,
                             ranks[k]);
            }
        }
    }
}

/* The messages are those of the schedule that runs: as many, and as large. */
Test(loggops, messages_are_those_of_the_executors_schedule) {
    td_network network = flat();
    int n;
    const td_collective *rows = td_collectives(&n);
    for (int i = 0; i < n; i++) {
        for (int p = 2; p <= 24 && rows[i].direct == NULL; p++) {
            if (!rows[i].fits(p)) {
                continue;
            }
            td_moves schedule;
            cr_assert_eq(td_collective_schedule(&rows[i], p, 0, 1, false, &schedule), TD_OK);
            int64_t remote = 0, chunks = 0;
            for (int m = 0; m < schedule.n_moves; m++) {
                const td_move *move = &schedule.moves[m], *last = m > 0 ? move - 1 : NULL;
                if (move->peer != move->rank) {
                    remote += last == NULL || last->rank != move->rank ||
                              last->peer != move->peer || last->round != move->round;
                    chunks += schedule.moves[m].chunks;
                }
            }
            td_simulation got =
                simulate(&network, rows[i].operation, rows[i].algorithm, p, 4096.0 * p);
            cr_expect_eq(got.messages, remote, "%s/%s on %d", rows[i].operation, rows[i].algorithm,
                         p);
            cr_expect_float_eq(got.bytes, 4096.0 * p * (double)chunks / td_chunks(&schedule), 1e-3);
            td_schedule_destroy(&schedule);
        }
    }
}

/* Rails across slow cards: why there is a hierarchical row. */
Test(loggops, sixteen_thousand_ranks) {
    td_network network;
    cr_assert_eq(td_network_parse("node:128/L=1500,o=300,g=50,G=0.08,shared core:128/L=100,G=0.05",
                                  &network),
                 TD_OK);
    static const char *const names[] = {
        "recursive_doubling", "rabenseifner", "circulant", "double_tree",
        "binomial",           "hierarchical", "torus"};
    double ns[7];
    for (int i = 0; i < 7; i++) {
        ns[i] = simulate(&network, "allreduce", names[i], 16384, 1 << 20).ns;
    }
    cr_expect_lt(ns[5], ns[0], "hierarchical %g, recursive doubling %g", ns[5], ns[0]);
    cr_expect_eq(simulate(&network, "barrier", "dissemination", 16384, 0).rounds, 14);
}

Test(loggops, what_cannot_be_simulated_is_refused) {
    td_network network = flat();
    td_simulation result;
    const td_collective *ring = td_collective_find("allreduce", "ring");
    cr_expect_eq(td_simulate(&network, td_collective_find("allreduce", "tree"), 4, 8, &result),
                 TD_EUSAGE);
    cr_expect_eq(td_simulate(&network, ring, 16385, 8, &result), TD_EUSAGE);
    network.level[0].units = 7;
    cr_expect_eq(td_simulate(&network, ring, 8, 8, &result), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "place for 7"), "%s", td_error());
    static const char *const wrong[] = {
        "",           "node",        "node:0",   ":4",
        "node:4/Q=3", "node:4/L=-1", "node:4/L", "a:2 b:2 c:2 d:2 e:2 f:2 g:2"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_expect_eq(td_network_parse(wrong[i], &network), TD_EUSAGE, "\"%s\"", wrong[i]);
        cr_expect_not_null(strstr(td_error(), "expected"), "\"%s\": %s", wrong[i], td_error());
    }
}
