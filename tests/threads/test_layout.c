/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "threads/layout.h"

typedef struct parse_case {
    char text[48], printed[48];
} parse_case;

static parse_case good_texts[] = {
    {"p1xt1", "p1xt1"},
    {"p1xt1:thread", "p1xt1"},
    {"p1xt1:process", "p1xt1:process"},
    {"p2xt1", "p2xt1:process"},
    {"p2xt4:thread", "p2xt4:thread"},
    {"p2xt4:mpi", "p2xt4:mpi"},
    {"p2xt4@package:core", "p2xt4:process@package:core"},
    {"p2xt4:process@machine:core:close", "p2xt4:process"},
    {"p2xt4@machine:core:spread", "p2xt4:process@machine:core:spread"},
    {"p4xt2:thread@numa:pu:scatter+over", "p4xt2:thread@numa:pu:scatter+over"},
    {"p1xt8+smt=2", "p1xt8+smt=2"},
    {"p1xt8+smt=1+mem=local", "p1xt8"},
    {"p1xt8+mem=interleave+over", "p1xt8+over+mem=interleave"},
    {"p64xt16", "p64xt16:process"},
    {"p1xt4@cpus{0,2,4,6}", "p1xt4@cpus{0,2,4,6}"},
    {"p2xt2:thread@cpus{0-3}", "p2xt2:thread@cpus{0-3}"},
    {"p1xt4@cpus{8-14:2}+over", "p1xt4@cpus{8,10,12,14}+over"},
    {"p1xt4@cpus{3,2,1,0}", "p1xt4@cpus{3,2,1,0}"},
    {"p2xt1@none", "p2xt1:process@none"},
    {"p1xt2@none+mem=interleave", "p1xt2@none+mem=interleave"},
};

ParameterizedTestParameters(layout, canonical) {
    return cr_make_param_array(parse_case, good_texts, sizeof(good_texts) / sizeof(good_texts[0]));
}

ParameterizedTest(parse_case *c, layout, canonical) {
    td_layout layout;
    char printed[TD_LAYOUT_TEXT], again[TD_LAYOUT_TEXT];
    cr_assert_eq(td_layout_parse(c->text, &layout), TD_OK, "%s", td_error());
    td_layout_print(&layout, printed);
    cr_assert_str_eq(printed, c->printed);
    cr_assert_eq(td_layout_parse(printed, &layout), TD_OK, "%s", td_error());
    td_layout_print(&layout, again);
    cr_assert_str_eq(again, printed);
}

typedef struct bad_case {
    char text[48], says[32];
} bad_case;

static bad_case bad_texts[] = {
    {"", "p<ranks>xt<workers>"},
    {"2x4", "p<ranks>xt<workers>"},
    {"p2x4", "p<ranks>xt<workers>"},
    {"p 2xt4", "p<ranks>xt<workers>"},
    {"p-1xt4", "p<ranks>xt<workers>"},
    {"p+1xt4", "p<ranks>xt<workers>"},
    {"p1xt", "p<ranks>xt<workers>"},
    {"p99999999999xt1", "p<ranks>xt<workers>"},
    {"p0xt4", "ranks must be"},
    {"p65xt1", "ranks must be"},
    {"p1xt0", "workers must be"},
    {"p64xt17", "workers must be"},
    {"p2xt4:proc", "thread, process or mpi"},
    {"p2xt4:", "thread, process or mpi"},
    {"p2xt4@socket:core", "scope \"socket\""},
    {"p2xt4@cpus{0-3", "has no end"},
    {"p2xt4@cpus{}", "a list of 0 CPUs"},
    {"p2xt4@cpus{0-x}", "numbers below 4096"},
    {"p2xt4@cpus{5-2}", "numbers below 4096"},
    {"p2xt4@cpus{4096}", "numbers below 4096"},
    {"p2xt4@cpus{0}:core", "left over"},
    {"p2xt4@nowhere", "scope \"nowhere\""},
    {"p2xt4@none:core", "left over"},
    {"p2xt4@package", "a unit must follow"},
    {"p2xt4@package:hwthread", "unit \"hwthread\""},
    {"p2xt4@core:package", "larger than"},
    {"p2xt4@package:core:far", "order \"far\""},
    {"p2xt4+smt=9", "option \"smt=9\""},
    {"p2xt4+smt=", "option \"smt=\""},
    {"p2xt4+smt=2x", "option \"smt=2x\""},
    {"p2xt4+fast", "option \"fast\""},
    {"p2xt4 ", "left over"},
    {"p2xt4@package:core:close:x", "left over"},
};

ParameterizedTestParameters(layout, refused) {
    return cr_make_param_array(bad_case, bad_texts, sizeof(bad_texts) / sizeof(bad_texts[0]));
}

ParameterizedTest(bad_case *c, layout, refused) {
    td_layout layout;
    cr_assert_eq(td_layout_parse(c->text, &layout), TD_EUSAGE, "\"%s\" was accepted", c->text);
    cr_assert(strstr(td_error(), c->says), "\"%s\": %s", c->text, td_error());
}

typedef struct place_case {
    char levels[48], layout[48], pus[160];
} place_case;

/* Worked out by hand from the machine; where hwloc's distribution is part of the contract (spread),
 * from its documentation of hwloc_distrib. */
static place_case places[] = {
    {"pack:2 numa:1 l3:1 core:8 pu:2", "p1xt4", "0 2 4 6"},
    {"pack:2 numa:1 l3:1 core:8 pu:2", "p2xt4", "0 2 4 6 16 18 20 22"},
    {"pack:2 numa:1 l3:1 core:8 pu:2", "p2xt2@package:core", "0 2 16 18"},
    {"pack:2 numa:1 l3:1 core:8 pu:2", "p2xt2@machine:pu", "0 1 16 17"},
    {"pack:2 numa:1 l3:1 core:8 pu:2", "p1xt4+smt=2", "0 1 2 3"},
    {"pack:2 numa:1 l3:1 core:8 pu:2", "p4xt2@package:core", "0 2 8 10 16 18 24 26"},
    {"pack:2 numa:1 l3:1 core:8 pu:2", "p4xt2@package:core:scatter", "0 2 16 18 8 10 24 26"},
    {"pack:2 numa:1 l3:1 core:8 pu:2", "p1xt4@machine:core:spread", "0 8 16 24"},
    {"pack:2 numa:1 l3:1 core:8 pu:2", "p2xt1@machine:core:spread", "0 16"},
    {"pack:2 numa:1 l3:1 core:8 pu:2", "p4xt1@machine:core:spread", "0 8 16 24"},
    {"pack:2 numa:1 l3:1 core:8 pu:2", "p3xt1@machine:pu:spread", "0 8 16"},
    {"pack:1 numa:1 l3:2 core:4 pu:2", "p2xt4@l3:core", "0 2 4 6 8 10 12 14"},
    {"pack:1 numa:1 l3:2 core:4 pu:2", "p1xt8@l3:core", "0 2 4 6 8 10 12 14"},
    {"pack:1 numa:1 l3:2 core:4 pu:2", "p1xt2@l3:l3", "0 8"},
    {"pack:2 numa:2 die:1 core:3 pu:2", "p4xt3@numa:core", "0 2 4 6 8 10 12 14 16 18 20 22"},
    {"pack:3 core:3 pu:1", "p2xt3", "0 1 2 4 5 6"},
    {"pack:3 core:3 pu:1", "p2xt3@package:core", "0 1 2 3 4 5"},
    {"pack:2 core:4 pu:1(indexes=0,2,4,6,1,3,5,7)", "p2xt2@package:core", "0 2 1 3"},
    {"core:2 pu:1", "p1xt4+over", "0 1 0 1"},
    {"core:2 pu:1", "p4xt1+over", "0 0 1 1"},
    {"core:2 pu:1", "p2xt2+over", "0 0 1 1"},
    {"core:1 pu:1", "p8xt1+over", "0 0 0 0 0 0 0 0"},
    {"pack:2 core:1 pu:1", "p5xt1@package:core:scatter+over", "0 1 0 1 0"},
    {"core:65 pu:2", "p1xt3@machine:core:spread", "0 42 86"},
    {"core:8 pu:1", "p2xt2@cpus{7,5,0-1}", "7 5 0 1"},
    {"core:8 pu:1", "p2xt2@cpus{7,5}+over", "7 5 7 5"},
    {"core:8 pu:1", "p2xt2@none", "-1 -1 -1 -1"},
};

ParameterizedTestParameters(layout, resolved) {
    return cr_make_param_array(place_case, places, sizeof(places) / sizeof(places[0]));
}

ParameterizedTest(place_case *c, layout, resolved) {
    td_topology *topology;
    td_layout layout;
    int pu[TD_MAX_WORKERS];
    char text[160] = "";
    cr_assert_eq(td_topology_create(c->levels, &topology), TD_OK, "%s", td_error());
    cr_assert_eq(td_layout_parse(c->layout, &layout), TD_OK, "%s", td_error());
    cr_assert_eq(td_layout_resolve(&layout, topology, pu), TD_OK, "%s", td_error());
    for (int i = 0, used = 0; i < layout.ranks * layout.workers; i++) {
        used += snprintf(text + used, sizeof(text) - (size_t)used, "%s%d", i ? " " : "", pu[i]);
    }
    cr_assert_str_eq(text, c->pus, "%s on %s: %s, expected %s", c->layout, c->levels, text, c->pus);
    td_topology_destroy(topology);
}

static place_case too_many[] = {
    {"core:2 pu:1", "p1xt3", "3 workers, this machine has 2 cores"},
    {"core:2 pu:2", "p1xt3", "use the unit pu"},
    {"core:2 pu:1", "p2xt2", "4 workers, this machine has 2 cores"},
    {"core:8 pu:1", "p1xt3@cpus{0,1}", "3 workers and a list of 2 CPUs; add +over"},
    {"core:8 pu:1", "p1xt1@cpus{0,1}", "1 workers and a list of 2 CPUs"},
    {"core:8 pu:1", "p1xt3@cpus{0,1,0}", "lists PU 0 twice"},
    {"core:8 pu:1", "p1xt3@cpus{0,1,8}", "no PU 8 is usable"},
    {"pack:2 core:2 pu:1", "p3xt1@die:core", "no die level"},
    {"pack:2 core:2 pu:1", "p3xt1@numa:l3", "no l3 level"},
    /* Enough cores in all, but three ranks on two packages leave one package with two ranks. */
    {"pack:2 core:3 pu:1", "p3xt2@package:core", "its share of the package scope has 1"},
};

ParameterizedTestParameters(layout, does_not_fit) {
    return cr_make_param_array(place_case, too_many, sizeof(too_many) / sizeof(too_many[0]));
}

ParameterizedTest(place_case *c, layout, does_not_fit) {
    td_topology *topology;
    td_layout layout;
    int pu[TD_MAX_WORKERS];
    cr_assert_eq(td_topology_create(c->levels, &topology), TD_OK, "%s", td_error());
    cr_assert_eq(td_layout_parse(c->layout, &layout), TD_OK, "%s", td_error());
    cr_assert_eq(td_layout_resolve(&layout, topology, pu), TD_EUSAGE);
    cr_assert(strstr(td_error(), c->pus), "%s: %s", c->layout, td_error());
    td_topology_destroy(topology);
}

/* Over machines and layouts: without `over` no PU is given twice, and every rank's PUs lie in the
 * machine. */
Test(layout, no_pu_is_shared_without_over) {
    static const char *const orders[] = {"close", "spread", "scatter"};
    int resolved = 0;
    for (int packages = 1; packages <= 4; packages++) {
        for (int cores = 1; cores <= 9; cores++) {
            char levels[64];
            snprintf(levels, sizeof(levels), "pack:%d core:%d pu:2", packages, cores);
            td_topology *topology;
            cr_assert_eq(td_topology_create(levels, &topology), TD_OK);
            for (int ranks = 1; ranks <= 5; ranks++) {
                for (int workers = 1; workers <= 9; workers++) {
                    for (int order = 0; order < 3; order++) {
                        char text[64];
                        snprintf(text, sizeof(text), "p%dxt%d@package:core:%s", ranks, workers,
                                 orders[order]);
                        td_layout layout;
                        int pu[TD_MAX_WORKERS];
                        cr_assert_eq(td_layout_parse(text, &layout), TD_OK);
                        if (td_layout_resolve(&layout, topology, pu) != TD_OK) {
                            continue;
                        }
                        bool taken[128] = {false};
                        for (int i = 0; i < ranks * workers; i++) {
                            cr_assert(pu[i] >= 0 && pu[i] < 2 * packages * cores);
                            cr_assert_not(taken[pu[i]], "%s on %s gives PU %d twice", text, levels,
                                          pu[i]);
                            taken[pu[i]] = true;
                        }
                        resolved++;
                    }
                }
            }
            td_topology_destroy(topology);
        }
    }
    cr_assert_gt(resolved, 1000);
}
