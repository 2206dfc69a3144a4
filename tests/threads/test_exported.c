/* SPDX-License-Identifier: Apache-2.0
 * The lines of `tandem topo --export`, run: each thread must be where the layout says.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "threads/bind.h"
#include "threads/layout_foreign.h"
#include "threads/topology.h"

enum { MOST_RANKS = 8, LINE_BYTES = 512, LIST_BYTES = 256 };

/* The program that carries out a form of export, and what must end well for it to be here. */
static const struct {
    const char *form, *word, *program, *probe;
    bool by_mask; /* binds a rank as a whole: any of its threads may be on any of its PUs */
} tools[] = {{"omp", "COMMAND", "COMMAND", "true", false},
             {"hwloc-bind", "hwloc-bind", "hwloc-bind", "command -v hwloc-bind", true},
             {"mpirun", "mpirun", "mpirun.openmpi", "command -v mpirun.openmpi", false},
             {"mpirun", "mpirun", "mpirun.mpich", "command -v mpirun.mpich", false},
             {"srun", "srun", "timeout 60 salloc --quiet --immediate=20 --nodes=1 --exclusive srun",
              "salloc --quiet --immediate=2 --nodes=1 true", false}};
enum { N_TOOLS = sizeof tools / sizeof tools[0] };

static const char *const layouts[] = {"p1xt1@machine:pu", "p1xt2@machine:pu", "p2xt1@machine:pu",
                                      "p2xt2@machine:pu+over", "p2xt2@none"};
enum { N_LAYOUTS = sizeof layouts / sizeof layouts[0] };

typedef struct lines {
    char at[MOST_RANKS][LINE_BYTES];
    int count;
} lines;

static int alphabetic(const void *a, const void *b) {
    return strcmp(a, b);
}

static void sort(lines *l) {
    qsort(l->at, (size_t)l->count, sizeof l->at[0], alphabetic);
}

/* What the threads of the ranks should print. */
static void expect(const td_layout *layout, const int *pu, bool by_mask, lines *out) {
    char list[LIST_BYTES];
    td_cpu_mask mask;
    *out = (lines){.count = layout->ranks};
    for (int rank = 0; rank < layout->ranks; rank++) {
        const int *own = pu + rank * layout->workers;
        td_bind_get(&mask);
        if (!layout->unbound && by_mask) {
            mask = (td_cpu_mask){0};
            for (int w = 0; w < layout->workers; w++) {
                td_cpu_mask_add(&mask, own[w]);
            }
        }
        for (int w = 0, used = 0; w < layout->workers; w++) {
            if (!layout->unbound && !by_mask) {
                mask = (td_cpu_mask){0};
                td_cpu_mask_add(&mask, own[w]);
            }
            int length = 0;
            for (int cpu = 0; cpu < TD_MAX_PUS && length < LIST_BYTES - 8; cpu++) {
                if (td_cpu_mask_has(&mask, cpu)) {
                    length += snprintf(list + length, (size_t)(LIST_BYTES - length), "%s%d",
                                       length ? "," : "", cpu);
                }
            }
            used += snprintf(out->at[rank] + used, (size_t)(LINE_BYTES - used), "%s%s",
                             w ? "/" : "", list);
        }
    }
    sort(out);
}

/* Puts `with` where `what` stands. */
static void replace(char *text, size_t bytes, const char *what, const char *with) {
    char result[8192];
    size_t used = 0;
    for (const char *at = text; *at != '\0';) {
        bool here = strncmp(at, what, strlen(what)) == 0;
        used += (size_t)snprintf(result + used, sizeof result - used, "%.*s", here ? 256 : 1,
                                 here ? with : at);
        at += here ? strlen(what) : 1;
    }
    result[used] = '\0';
    cr_assert_lt(used, bytes);
    memcpy(text, result, used + 1);
}

/* Runs commands, one a line, and appends what they print. */
static void run(const char *commands, const td_layout *layout, lines *out) {
    char script[16384];
    snprintf(script, sizeof script,
             "exec </dev/null; export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
             "OMPI_MCA_rmaps_base_oversubscribe=1 OMP_NUM_THREADS=%d OMP_DYNAMIC=false\n%s",
             layout->workers, commands);
    FILE *pipe = popen(script, "re");
    cr_assert_not_null(pipe);
    *out = (lines){.count = 0};
    while (out->count < MOST_RANKS && fgets(out->at[out->count], LINE_BYTES, pipe)) {
        out->at[out->count][strcspn(out->at[out->count], "\n")] = '\0';
        out->count++;
    }
    int status = pclose(pipe);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: %x", script, (unsigned)status);
    sort(out);
}

static bool is_here(int tool) {
    char command[128];
    snprintf(command, sizeof command, "%s >/dev/null 2>&1", tools[tool].probe);
    FILE *pipe = popen(command, "re");
    return TD_PLANTED_PLACES[0] != '\0' && pipe != NULL && pclose(pipe) == 0;
}

ParameterizedTestParameters(exported, threads_are_where_a_line_says) {
    static int rows[N_TOOLS];
    for (int i = 0; i < N_TOOLS; i++) {
        rows[i] = i;
    }
    return cr_make_param_array(int, rows, N_TOOLS);
}

ParameterizedTest(int *row, exported, threads_are_where_a_line_says, .timeout = 300) {
    td_topology *topology;
    int checked = 0;
    if (!is_here(*row)) {
        cr_skip("no %s, or no compiler of OpenMP, here", tools[*row].program);
    }
    cr_assert_eq(td_topology_create(NULL, &topology), TD_OK, "%s", td_error());
    for (int i = 0; i < N_LAYOUTS; i++) {
        td_layout layout;
        td_text text = {0};
        int pu[TD_MAX_WORKERS];
        char commands[8192];
        lines wanted, seen;
        cr_assert_eq(td_layout_parse(layouts[i], &layout), TD_OK, "%s", td_error());
        if (td_layout_resolve(&layout, topology, pu) != TD_OK) {
            continue; /* one PU here */
        }
        cr_assert_eq(td_layout_export(tools[*row].form, &layout, topology, &text), TD_OK);
        snprintf(commands, sizeof commands, "%s", text.data);
        replace(commands, sizeof commands, tools[*row].word, tools[*row].program);
        replace(commands, sizeof commands, "COMMAND", TD_PLANTED_PLACES);
        td_text_destroy(&text);
        expect(&layout, pu, tools[*row].by_mask, &wanted);
        run(commands, &layout, &seen);
        cr_assert_eq(seen.count, wanted.count, "%s: %d lines of %d", commands, seen.count,
                     wanted.count);
        for (int k = 0; k < seen.count; k++) {
            cr_expect_str_eq(seen.at[k], wanted.at[k], "%s: \"%s\" instead of \"%s\"", commands,
                             seen.at[k], wanted.at[k]);
        }
        checked++;
    }
    cr_expect_geq(checked, 2);
    td_topology_destroy(topology);
}
