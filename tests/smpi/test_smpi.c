/* SPDX-License-Identifier: Apache-2.0
 * Schedules over messages as SimGrid's SMPI runs them, exact in every element, against the cost
 * model on the same machine: every row within 5 %, for up to 256 ranks, some on 1,024. Without
 * SimGrid there is nothing to run, and the tests say so.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collectives/simgrid.h"

enum { OUTPUT = 8192, LINE = 1024 };

/* A flat network, and nodes with one card each, of packages with one link each, of cores. */
enum { FLAT, NODES, MACHINES };
static const td_network machines[MACHINES] = {
    [FLAT] = {.levels = 1,
              .level = {{.name = "rank", .units = 1024, .L = 1500, .o = 300, .G = 0.08, .O = 0.01}},
              .descriptors = true,
              .fair = true},
    [NODES] = {.levels = 3,
               .level = {{"node", .units = 4, .L = 1500, .o = 300, .G = 0.08, .shared = true},
                         {"package", .units = 2, .L = 600, .o = 300, .G = 0.05, .shared = true},
                         {"core", .units = 4, .L = 200, .o = 300, .G = 0.02}},
               .descriptors = true,
               .fair = true},
};

/* Exit code; what the run and SimGrid said. */
static int run(const char *directory, int ranks, const char *what, char output[OUTPUT]) {
    char line[LINE];
    snprintf(line, sizeof line,
             "timeout -k 5 300 smpirun -platform %s/platform.xml -hostfile %s/hosts -np %d "
             "$(cat %s/options) %s %s 2>&1",
             directory, directory, ranks, directory, TD_SMPI_RUNNER, what);
    FILE *pipe = popen(line, "r");
    cr_assert_not_null(pipe);
    size_t used = fread(output, 1, OUTPUT - 1, pipe);
    output[used] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void write_machine(int which, char directory[LINE]) {
    if (strcmp(TD_SMPI_RUNNER, "") == 0) {
        cr_skip_test("not built: no SimGrid (Debian: libsimgrid-dev), or a build with sanitizers");
    }
    const char *tmp = getenv("TMPDIR");
    snprintf(directory, LINE, "%s/tandem-smpi-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(td_simgrid_write(&machines[which], directory), TD_OK, "%s", td_error());
}

static void remove_machine(const char *directory) {
    static const char *const names[] = {"platform.xml", "hosts", "options"};
    char path[LINE + 32];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    rmdir(directory);
}

static void compare(const char *directory, const td_network *machine, const td_collective *row,
                    int ranks, int64_t bytes) {
    char output[OUTPUT], what[LINE];
    double ns = 0;
    td_simulation model;
    snprintf(what, sizeof what, "%s %s %lld", row->operation, row->algorithm, (long long)bytes);
    int code = run(directory, ranks, what, output);
    const char *at = strstr(output, " ns ");
    bool told = at != NULL && sscanf(at, " ns %lf", &ns) == 1;
    cr_assert(code == 0 && told, "%s on %d ranks: exit %d: %s", what, ranks, code, output);
    double of_model = row->id == TD_COLL_barrier ? 0 : (double)bytes;
    cr_assert_eq(td_simulate(machine, row, ranks, of_model, &model), TD_OK, "%s", td_error());
    cr_expect(fabs(model.ns - ns) <= 0.05 * ns, "%s on %d ranks: SMPI %.1f ns, the model %.1f",
              what, ranks, ns, model.ns);
}

typedef struct setting {
    int machine, ranks;
    int64_t bytes;
    char rows[8][40]; /* none: all */
} setting;

static bool is_chosen(const setting *s, const char *name) {
    bool chosen = s->rows[0][0] == '\0';
    for (int i = 0; i < 8; i++) {
        chosen = chosen || strcmp(name, s->rows[i]) == 0;
    }
    return chosen;
}

static void compare_rows(const setting *s) {
    char directory[LINE];
    int n, tried = 0, wanted = 0;
    const td_collective *rows = td_collectives(&n);
    write_machine(s->machine, directory);
    for (int i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s/%s", rows[i].operation, rows[i].algorithm);
        if (rows[i].direct == NULL && rows[i].fits(s->ranks) && is_chosen(s, name)) {
            compare(directory, &machines[s->machine], &rows[i], s->ranks, s->bytes);
            tried++;
        }
    }
    for (int i = 0; i < 8; i++) {
        wanted += s->rows[i][0] != '\0';
    }
    cr_expect(wanted > 0 ? tried == wanted : tried >= 40, "%d rows", tried);
    remove_machine(directory);
}

ParameterizedTestParameters(smpi, the_model_agrees_with_what_smpi_runs) {
    static setting settings[] = {
        {.ranks = 2, .bytes = 4096},
        {.ranks = 7, .bytes = 7 * 28},
        {.ranks = 7, .bytes = 7 * 37452},
        {.ranks = 8, .bytes = 262144},
        {.machine = NODES, .ranks = 12, .bytes = 65568},
        {.machine = NODES, .ranks = 32, .bytes = 1024},
        {.machine = NODES,
         .ranks = 32,
         .bytes = 262144,
         .rows = {"allreduce/hierarchical", "allreduce/ring", "allreduce/recursive_doubling",
                  "exchange/direct", "allreduce/torus", "allgather/linear"}},
        {.machine = NODES,
         .ranks = 32,
         .bytes = 196608,
         .rows = {"allreduce/torus", "allgather/linear"}},
        {.ranks = 33,
         .bytes = 33 * 1024,
         .rows = {"barrier/tree", "reduce_scatter/circulant", "allreduce/double_tree",
                  "allgather/ring", "scan/linear", "allreduce/rabenseifner",
                  "allreduce/recursive_multiplying", "gather/linear"}},
        {.ranks = 256,
         .bytes = 65536,
         .rows = {"barrier/dissemination", "reduce_scatter/recursive_halving", "allgather/bruck",
                  "allreduce/recursive_doubling", "allreduce/circulant", "scatter/binomial",
                  "broadcast/knomial", "allreduce/hierarchical"}},
        {.ranks = 1024,
         .bytes = 65536,
         .rows = {"broadcast/binomial", "reduce/binomial", "reduce_scatter/circulant"}},
    };
    return cr_make_param_array(setting, settings, sizeof settings / sizeof settings[0]);
}

ParameterizedTest(setting *s, smpi, the_model_agrees_with_what_smpi_runs, .timeout = 900) {
    compare_rows(s);
}

/* A minute or two each of simulated processes. */
ParameterizedTestParameters(full_smpi, the_model_agrees_on_many_ranks) {
    static setting settings[] = {
        {.ranks = 1024, .bytes = 65536, .rows = {"allreduce/recursive_doubling"}},
        {.ranks = 64, .bytes = 1 << 20},
        {.machine = NODES, .ranks = 16, .bytes = 1 << 20},
        {.machine = NODES, .ranks = 32, .bytes = 131072},
    };
    return cr_make_param_array(setting, settings, sizeof settings / sizeof settings[0]);
}

ParameterizedTest(setting *s, full_smpi, the_model_agrees_on_many_ranks, .timeout = 1800) {
    compare_rows(s);
}

/* What SimGrid cannot express is refused, and what the program cannot run. */
Test(smpi, what_cannot_be_run_is_said) {
    td_network other[4];
    for (int i = 0; i < 4; i++) {
        other[i] = machines[NODES];
    }
    other[0].level[0].g = 5;
    other[1].level[1].o = 299;
    other[2].fair = false;
    other[3].copy = 0.1;
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(td_simgrid_write(&other[i], "/nowhere"), TD_EUSAGE);
        cr_expect_not_null(strstr(td_error(), "expected L, G, and the same o and O"), "%s",
                           td_error());
    }
    other[0] = machines[NODES];
    other[0].level[0].units = 33;
    cr_expect_eq(td_simgrid_write(&other[0], "/nowhere"), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "264 ranks; expected 256 at most"), "%s", td_error());
    cr_expect_eq(td_simgrid_write(&machines[FLAT], "/nowhere/at/all"), TD_EIO);
    char directory[LINE], output[OUTPUT];
    write_machine(FLAT, directory);
    cr_expect_neq(run(directory, 3, "allgather neighbor 12", output), 0);
    cr_expect_not_null(strstr(output, "allgather/neighbor is no schedule for 3 ranks"), "%s",
                       output);
    cr_expect_neq(run(directory, 3, "alltoall pairwise 16", output), 0);
    cr_expect_not_null(strstr(output, "expected a multiple of 12"), "%s", output);
    remove_machine(directory);
}
