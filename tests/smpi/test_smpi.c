/* SPDX-License-Identifier: Apache-2.0
 * Schedules over messages as SimGrid's SMPI runs them, exact in every element, against the cost
 * model on the same machine: within 5 % for up to 256 ranks. Without SimGrid there is nothing to
 * run, and the tests say so.
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

static const td_network machine = {
    .levels = 1,
    .level = {{.name = "rank", .units = 256, .L = 1500, .o = 300, .G = 0.08, .O = 0.01}},
    .descriptors = true};

/* Rows in which SimGrid shares a link evenly between messages that the model lets through one after
 * the other: a rank sends to several, or several rounds ahead, and who gets the first one early
 * goes on early. few: where that shows with messages of a few bytes already. */
static const struct {
    const char *row;
    bool few;
} shared_links[] = {
    {"broadcast/binomial", false},
    {"broadcast/knomial", false},
    {"broadcast/chain", false},
    {"broadcast/scatter_ring", false},
    {"reduce/linear", true},
    {"reduce/chain", false},
    {"gather/linear", true},
    {"scatter/binomial", false},
    {"allreduce/linear", true},
    {"allreduce/binomial", false},
    {"allreduce/chain", false},
    {"allreduce/recursive_multiplying", true},
    {"scan/recursive_doubling", false},
    {"exscan/recursive_doubling", false},
    {"exchange/direct", false},
};
enum { SHARED_LINKS = sizeof shared_links / sizeof shared_links[0] };

static bool is_alike(const char *name, bool few) {
    for (int i = 0; i < SHARED_LINKS; i++) {
        if (strcmp(name, shared_links[i].row) == 0) {
            return few && !shared_links[i].few;
        }
    }
    return true;
}

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

static void write_machine(char directory[LINE]) {
    if (strcmp(TD_SMPI_RUNNER, "") == 0) {
        cr_skip_test("not built: no SimGrid (Debian: libsimgrid-dev), or a build with sanitizers");
    }
    const char *tmp = getenv("TMPDIR");
    snprintf(directory, LINE, "%s/tandem-smpi-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(td_simgrid_write(&machine, directory), TD_OK, "%s", td_error());
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

static void compare(const char *directory, const td_collective *row, int ranks, int64_t bytes) {
    char output[OUTPUT], what[LINE];
    double ns = 0;
    td_simulation model;
    snprintf(what, sizeof what, "%s %s %lld", row->operation, row->algorithm, (long long)bytes);
    int code = run(directory, ranks, what, output);
    const char *at = strstr(output, " ns ");
    bool told = at != NULL && sscanf(at, " ns %lf", &ns) == 1;
    cr_assert(code == 0 && told, "%s on %d ranks: exit %d: %s", what, ranks, code, output);
    double of_model = row->id == TD_COLL_barrier ? 0 : (double)bytes;
    cr_assert_eq(td_simulate(&machine, row, ranks, of_model, &model), TD_OK, "%s", td_error());
    cr_expect(fabs(model.ns - ns) <= 0.05 * ns, "%s on %d ranks: SMPI %.1f ns, the model %.1f",
              what, ranks, ns, model.ns);
}

typedef struct setting {
    int ranks;
    int64_t bytes;
    char rows[8][40]; /* none: all */
} setting;

ParameterizedTestParameters(smpi, the_model_agrees_with_what_smpi_runs) {
    static setting settings[] = {
        {.ranks = 2, .bytes = 4096},
        {.ranks = 7, .bytes = 7 * 28},
        {.ranks = 8, .bytes = 262144},
        {.ranks = 33,
         .bytes = 33 * 1024,
         .rows = {"barrier/tree", "reduce_scatter/circulant", "allreduce/double_tree",
                  "allgather/ring", "scan/linear"}},
        {.ranks = 256,
         .bytes = 65536,
         .rows = {"barrier/dissemination", "reduce_scatter/recursive_halving", "allgather/bruck",
                  "allreduce/recursive_doubling", "allreduce/circulant"}},
    };
    return cr_make_param_array(setting, settings, sizeof settings / sizeof settings[0]);
}

static bool is_chosen(const setting *s, const char *name) {
    bool chosen = s->rows[0][0] == '\0' && is_alike(name, s->bytes <= 4096);
    for (int i = 0; i < 8; i++) {
        chosen = chosen || strcmp(name, s->rows[i]) == 0;
    }
    return chosen;
}

ParameterizedTest(setting *s, smpi, the_model_agrees_with_what_smpi_runs, .timeout = 900) {
    char directory[LINE];
    int n, tried = 0, wanted = 0;
    const td_collective *rows = td_collectives(&n);
    write_machine(directory);
    for (int i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s/%s", rows[i].operation, rows[i].algorithm);
        if (rows[i].direct == NULL && rows[i].fits(s->ranks) && is_chosen(s, name)) {
            compare(directory, &rows[i], s->ranks, s->bytes);
            tried++;
        }
    }
    for (int i = 0; i < 8; i++) {
        wanted += s->rows[i][0] != '\0';
    }
    cr_expect(wanted > 0 ? tried == wanted : tried > 20, "%d rows", tried);
    remove_machine(directory);
}

/* What SimGrid cannot express is refused, and what the program cannot run. */
Test(smpi, what_cannot_be_run_is_said) {
    td_network other = machine;
    other.level[0].g = 5;
    cr_expect_eq(td_simgrid_write(&other, "/nowhere"), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "expected one level with L, o, O and G"), "%s",
                       td_error());
    cr_expect_eq(td_simgrid_write(&machine, "/nowhere/at/all"), TD_EIO);
    char directory[LINE], output[OUTPUT];
    write_machine(directory);
    cr_expect_neq(run(directory, 3, "allgather neighbor 12", output), 0);
    cr_expect_not_null(strstr(output, "allgather/neighbor is no schedule for 3 ranks"), "%s",
                       output);
    cr_expect_neq(run(directory, 3, "alltoall pairwise 16", output), 0);
    cr_expect_not_null(strstr(output, "expected a multiple of 12"), "%s", output);
    remove_machine(directory);
}
