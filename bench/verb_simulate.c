/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verbs.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/options.h"
#include "bench/case.h"
#include "bench/coll_records.h"
#include "collectives/simgrid.h"
#include "collectives/loggops.h"

enum { MOST_VALUES = 32, MOST_RESULTS = 4096 };

typedef struct simulate_cli {
    const char *ranks, *sizes, *machine, *calibrate, *simgrid, *sharing;
    double S, copy, reduce;
    bool descriptors, json;
} simulate_cli;

#define AT(field) offsetof(simulate_cli, field)
static const td_option options_table[] = {
    {"ranks", TD_OPTION_TEXT, AT(ranks), 0, 0, NULL, "LIST", "numbers of ranks, as 16,1024,16384"},
    {"sizes", TD_OPTION_TEXT, AT(sizes), 0, 0, NULL, "LIST",
     "bytes of the vector, as 8,64Ki,16Mi; of alltoall, of all blocks of a rank"},
    {"machine", TD_OPTION_TEXT, AT(machine), 0, 0, NULL, "LEVELS",
     "levels from the outside in, NAME:UNITS/PARAMETERS: L=, o=, g= in ns, G=, O= in ns a byte, "
     "shared where all ranks of a unit have one link"},
    {"rendezvous", TD_OPTION_REAL, AT(S), 0, 1e12, NULL, "BYTES",
     "beyond which sender and receiver meet first; 0: never"},
    {"copy", TD_OPTION_REAL, AT(copy), 0, 1e6, NULL, "NS", "a byte that is copied within a rank"},
    {"reduce", TD_OPTION_REAL, AT(reduce), 0, 1e6, NULL, "NS", "a byte that is added"},
    {"calibrate", TD_OPTION_TEXT, AT(calibrate), 0, 0, NULL, "DIR",
     "innermost level, --copy and --reduce as measured here: DIR has records of "
     "coll/shift/direct/* and coll/allreduce/recursive_doubling/* on two ranks (docs/at-scale.md)"},
    {"descriptors", TD_OPTION_FLAG, AT(descriptors), 0, 0, NULL, NULL,
     "every move is a message, and before a rank's first one to another go the 64 bytes of its "
     "call, as over MPI"},
    {"sharing", TD_OPTION_TEXT, AT(sharing), 0, 0, NULL, "turns|fair",
     "a link takes messages one after the other, or all at once, each with its share of it"},
    {"simgrid", TD_OPTION_TEXT, AT(simgrid), 0, 0, NULL, "DIR",
     "write the machine for SimGrid's smpirun instead, to run tandem_smpi.so on "
     "(docs/at-scale.md)"},
    {"json", TD_OPTION_FLAG, AT(json), 0, 0, NULL, NULL, "print JSON instead"},
};
enum { N_OPTIONS = sizeof(options_table) / sizeof(options_table[0]) };

static const td_verb_help verb_help = {
    "tandem simulate [GLOB] [--options]",
    "What the schedules of the collectives would take on another machine, by the LogGOPS model "
    "(docs/at-scale.md). GLOB chooses operation/algorithm. The moves are those that the executor "
    "runs; rows that are no schedules, because they work in shared memory, are left out.",
    "  tandem simulate 'allreduce/*' --ranks 16,1024 --sizes 8,64Ki,16Mi\n"
    "  tandem simulate 'allreduce/*' --ranks 4096 --machine 'node:64/L=1500,G=0.08,shared "
    "core:64/L=100,G=0.1'\n"};

typedef struct simulated {
    const td_collective *row;
    int ranks;
    double bytes;
    td_simulation what;
    double times_best; /* of the rows of its operation, at these ranks and bytes */
} simulated;

typedef struct simulation_list {
    simulated *at;
    int n;
} simulation_list;

static td_status parse_list(const char *text, const char *what, double max, int64_t *values,
                            int *n) {
    char copy[256], *rest = NULL;
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy) {
        return td_fail(TD_EUSAGE, "--%s: more than %zu characters", what, sizeof copy - 1);
    }
    *n = 0;
    for (char *at = strtok_r(copy, ",", &rest); at != NULL; at = strtok_r(NULL, ",", &rest)) {
        long long value;
        if (*n == MOST_VALUES) {
            return td_fail(TD_EUSAGE, "--%s: more than %d values", what, MOST_VALUES);
        }
        TD_TRY(td_parse_int(at, what, 1, max, &value));
        values[(*n)++] = value;
    }
    return *n > 0 ? TD_OK : td_fail(TD_EUSAGE, "--%s: no value", what);
}

static void compare(simulation_list *list, int first) {
    for (int i = first; i < list->n; i++) {
        double best = INFINITY;
        for (int j = first; j < list->n; j++) {
            best =
                list->at[j].row->id == list->at[i].row->id ? fmin(best, list->at[j].what.ns) : best;
        }
        list->at[i].times_best = best > 0 ? list->at[i].what.ns / best : 1;
    }
}

/* All rows that glob selects, at one number of ranks and one size. */
static td_status simulate_rows(const td_network *network, const char *glob, int ranks, double bytes,
                               simulation_list *list) {
    int n, first = list->n;
    const td_collective *rows = td_collectives(&n);
    for (int i = 0; i < n; i++) {
        char name[TD_CASE_ID];
        snprintf(name, sizeof name, "%s/%s", rows[i].operation, rows[i].algorithm);
        bool sized = rows[i].id != TD_COLL_barrier;
        if ((glob != NULL && !td_case_matches(glob, name)) || rows[i].direct != NULL ||
            !rows[i].fits(ranks)) {
            continue;
        }
        if (list->n == MOST_RESULTS) {
            return td_fail(TD_EUSAGE, "more than %d results; expected fewer ranks or sizes",
                           MOST_RESULTS);
        }
        simulated *s = &list->at[list->n];
        *s = (simulated){.row = &rows[i], .ranks = ranks, .bytes = sized ? bytes : 0};
        td_status status = td_simulate(network, &rows[i], ranks, s->bytes, &s->what);
        if (status == TD_ESKIP) {
            fprintf(stderr, "tandem: left out: %s\n", td_error());
            continue;
        }
        TD_TRY(status);
        list->n++;
    }
    compare(list, first);
    return TD_OK;
}

static td_status simulate_all(const td_network *network, const char *glob, const simulate_cli *cli,
                              simulation_list *list) {
    int64_t ranks[MOST_VALUES], sizes[MOST_VALUES];
    int n_ranks, n_sizes;
    TD_TRY(parse_list(cli->ranks, "ranks", TD_SIMULATED_RANKS, ranks, &n_ranks));
    TD_TRY(parse_list(cli->sizes, "sizes", 1e15, sizes, &n_sizes));
    for (int i = 0; i < n_ranks; i++) {
        for (int j = 0; j < n_sizes; j++) {
            TD_TRY(simulate_rows(network, glob, (int)ranks[i], (double)sizes[j], list));
        }
    }
    if (list->n == 0) {
        return td_fail(
            TD_EUSAGE,
            "\"%s\" matches no schedule for these ranks; expected OPERATION/ALGORITHM as "
            "tandem list has them",
            glob == NULL ? "*" : glob);
    }
    return TD_OK;
}

static double bandwidth(const simulated *s) {
    return s->what.ns > 0 ? s->bytes / s->what.ns : 0;
}

static void print_text(const simulation_list *list) {
    printf("%-32s %7s %13s %7s %12s %14s %9s %7s\n", "collective", "ranks", "bytes", "rounds",
           "messages", "us", "GB/s", "x best");
    for (int i = 0; i < list->n; i++) {
        const simulated *s = &list->at[i];
        char name[TD_CASE_ID];
        snprintf(name, sizeof name, "%s/%s", s->row->operation, s->row->algorithm);
        printf("%-32s %7d %13.0f %7d %12lld %14.3f %9.3f %7.2f\n", name, s->ranks, s->bytes,
               s->what.rounds, (long long)s->what.messages, s->what.ns * 1e-3, bandwidth(s),
               s->times_best);
    }
}

static json_t *network_json(const td_network *network) {
    json_t *levels = json_array();
    for (int i = 0; i < network->levels; i++) {
        const td_network_level *l = &network->level[i];
        json_array_append_new(levels,
                              json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:b}", "name", l->name,
                                        "units", l->units, "L", l->L, "o", l->o, "g", l->g, "G",
                                        l->G, "O", l->O, "shared", (int)l->shared));
    }
    return json_pack("{s:o, s:f, s:f, s:f, s:b, s:s}", "levels", levels, "rendezvous_bytes",
                     network->S, "copy_ns_per_byte", network->copy, "reduce_ns_per_byte",
                     network->reduce, "descriptors", (int)network->descriptors, "sharing",
                     network->fair ? "fair" : "turns");
}

static td_status print_json(const td_network *network, const simulation_list *list) {
    json_t *results = json_array();
    for (int i = 0; i < list->n; i++) {
        const simulated *s = &list->at[i];
        json_array_append_new(
            results, json_pack("{s:s, s:s, s:i, s:f, s:i, s:I, s:f, s:f, s:f}", "operation",
                               s->row->operation, "algorithm", s->row->algorithm, "ranks", s->ranks,
                               "bytes", s->bytes, "rounds", s->what.rounds, "messages",
                               (json_int_t)s->what.messages, "message_bytes", s->what.bytes, "ns",
                               s->what.ns, "times_best", s->times_best));
    }
    json_t *all = json_pack("{s:i, s:o, s:o}", "schema", 1, "machine", network_json(network),
                            "results", results);
    int written =
        all == NULL ? -1 : json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    json_decref(all);
    putchar('\n');
    return written == 0 ? TD_OK : td_fail(TD_ENOMEM, "the results as JSON");
}

/* A byte that is added costs what brings the model of an allreduce on two ranks to what was
 * measured. Not reduce/linear: on hot buffers the root has the others' numbers in its own cache
 * after the first call, and adds faster than any message comes in. */
static td_status calibrate_reduce(const char *directory, td_network *network) {
    const double bytes = 1 << 22;
    td_simulation free_adds, priced;
    td_coll_fit fit;
    td_network flat = *network;
    const td_collective *row = td_collective_find("allreduce", "recursive_doubling");
    TD_TRY(td_coll_records_fit(directory, row->operation, row->algorithm, 2, &fit));
    flat.level[0] = network->level[network->levels - 1];
    flat.level[0].units = 2;
    flat.levels = 1;
    flat.reduce = 0;
    TD_TRY(td_simulate(&flat, row, 2, bytes, &free_adds));
    flat.reduce = 1;
    TD_TRY(td_simulate(&flat, row, 2, bytes, &priced));
    double measured = fit.ns + fit.ns_per_byte * bytes;
    network->reduce = fmax(0, (measured - free_adds.ns) / (priced.ns - free_adds.ns));
    return TD_OK;
}

/* A message of n bytes between two ranks of this machine takes a + n b. It costs the sender no
 * time: ranks of one machine fetch what they need. */
static td_status calibrate(const char *directory, td_network *network) {
    td_coll_fit copy;
    TD_TRY(td_coll_records_fit(directory, "shift", "direct", 2, &copy));
    td_network_level *level = &network->level[network->levels - 1];
    *level = (td_network_level){.units = level->units, .L = copy.ns, .G = copy.ns_per_byte};
    snprintf(level->name, sizeof level->name, "measured");
    network->copy = copy.ns_per_byte;
    return calibrate_reduce(directory, network);
}

static td_status run(const char *glob, const simulate_cli *cli) {
    td_network network;
    TD_TRY(td_network_parse(cli->machine, &network));
    network.S = cli->S;
    network.copy = cli->copy;
    network.reduce = cli->reduce;
    network.descriptors = cli->descriptors;
    network.fair = strcmp(cli->sharing, "fair") == 0;
    if (!network.fair && strcmp(cli->sharing, "turns") != 0) {
        return td_fail(TD_EUSAGE, "--sharing %s; expected turns or fair", cli->sharing);
    }
    if (cli->calibrate != NULL) {
        TD_TRY(calibrate(cli->calibrate, &network));
    }
    if (cli->simgrid != NULL) {
        return td_simgrid_write(&network, cli->simgrid);
    }
    simulation_list list = {.at = td_alloc(MOST_RESULTS * sizeof *list.at)};
    if (list.at == NULL) {
        return td_fail(TD_ENOMEM, "room for %d results", MOST_RESULTS);
    }
    td_status status = simulate_all(&network, glob, cli, &list);
    if (status == TD_OK && cli->json) {
        status = print_json(&network, &list);
    } else if (status == TD_OK) {
        print_text(&list);
    }
    td_free(list.at);
    return status;
}

td_status td_verb_simulate(int argc, char **argv) {
    simulate_cli cli = {.ranks = "16,256",
                        .sizes = "8,64Ki,16Mi",
                        .machine = "node:512/L=1500,o=300,g=50,G=0.08,shared "
                                   "package:2/L=300,o=100,G=0.05 core:16/L=100,o=50,G=0.1",
                        .sharing = "turns",
                        .S = 65536,
                        .copy = 0.1,
                        .reduce = 0.1};
    const char *words[1];
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(options_table, N_OPTIONS, argc, argv, &cli, words, 1, &n_words, &help));
    if (help) {
        td_options_help(stdout, &verb_help, options_table, N_OPTIONS, &cli);
        return TD_OK;
    }
    return run(n_words > 0 ? words[0] : NULL, &cli);
}
