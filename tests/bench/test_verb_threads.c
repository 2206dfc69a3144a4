/* SPDX-License-Identifier: Apache-2.0
 * `tandem threads` as a user has it: what it prints and how it ends, of programs that know nothing
 * of it.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "tests/bench/run_program.h"

#define THREADS(out, ...)                                                                          \
    run_program((const char *const[]){TD_TANDEM, "threads", __VA_ARGS__, NULL}, NULL, NULL, out)

/* A program with a planted deadlock that is about to close, or has; pid as a word. */
static pid_t plant(const char *kind, const char *members, char *pid_word) {
    pid_t pid = plant_program((const char *const[]){TD_PLANTED_DEADLOCK, kind, members, NULL});
    sprintf(pid_word, "%d", pid);
    return pid;
}

typedef struct plot {
    char kind[16], members[4];
} plot;

ParameterizedTestParameters(verb_threads, watch_finds_what_is_planted) {
    static plot plots[] = {{"normal", "1"},     {"normal", "2"},     {"normal", "3"},
                           {"normal", "5"},     {"recursive", "2"},  {"recursive", "4"},
                           {"adaptive", "2"},   {"adaptive", "5"},   {"checking", "2"},
                           {"checking", "3"},   {"lasting", "2"},    {"lasting", "4"},
                           {"inheriting", "2"}, {"inheriting", "3"}, {"inheriting", "5"},
                           {"rwlock", "2"},     {"rwlock", "3"},     {"rwlock", "5"},
                           {"join", "2"},       {"join", "3"},       {"join", "5"}};
    return cr_make_param_array(plot, plots, sizeof plots / sizeof plots[0]);
}

ParameterizedTest(plot *p, verb_threads, watch_finds_what_is_planted) {
    char pid_word[16], members[32];
    td_text out;
    pid_t pid = plant(p->kind, p->members, pid_word);
    /* The bound is there to fail rather than hang. */
    cr_expect_eq(THREADS(&out, "watch", pid_word, "--count", "20000"), 1, "%s", out.data);
    EXPECT_SAYS(&out, "Found a deadlock");
    snprintf(members, sizeof members, "threads: %s, deadlocks: 1", p->members);
    EXPECT_SAYS(&out, members);
    int lines = 0;
    for (const char *at = out.data; (at = strstr(at, " waits for ")) != NULL; at++) {
        lines++;
    }
    cr_expect_eq(lines, p->members[0] - '0', "%s", out.data);
    cr_expect_eq(strstr(out.data, "the kernel refused") != NULL, p->kind[0] == 'i');
    td_text_destroy(&out);
    uproot_program(pid);
}

/* Processes that share locks, named together. */
Test(verb_threads, deadlocks_are_found_across_processes) {
    char word[16], path[64], pids[256] = "";
    td_text out;
    pid_t pid = plant("processes", "3", word);
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file);
    char children[128] = "";
    cr_assert_not_null(fgets(children, sizeof children, file));
    fclose(file);
    snprintf(pids, sizeof pids, "%s,%s", word, children);
    pids[strlen(pids) - 1] = '\0'; /* a blank follows each */
    *strchr(pids, ' ') = ',';
    cr_expect_eq(THREADS(&out, "watch", pids, "--count", "20000"), 1, "%s", out.data);
    EXPECT_SAYS(&out, "threads: 3, deadlocks: 1");
    td_text_destroy(&out);
    cr_expect_eq(THREADS(&out, "deadlocks", pids), 1);
    EXPECT_SAYS(&out, "Found a deadlock");
    td_text_destroy(&out);
    uproot_program(pid);
}

static json_t *parse(const td_text *out) {
    json_error_t error;
    /* The reason for the exit code follows on standard error. */
    json_t *root = json_loads(out->data, JSON_DISABLE_EOF_CHECK, &error);
    cr_assert_not_null(root, "%s: %s", error.text, out->data);
    return root;
}

Test(verb_threads, dump_locks_and_tree_tell_the_same) {
    char word[16];
    td_text out;
    pid_t pid = plant("normal", "3", word);
    cr_assert_eq(THREADS(&out, "watch", word, "--count", "20000"), 1);
    td_text_destroy(&out);

    cr_expect_eq(THREADS(&out, "dump", word), 1);
    EXPECT_SAYS(&out, "state: BLOCKED in futex");
    EXPECT_SAYS(&out, "waiting to lock <0x");
    EXPECT_SAYS(&out, "threads: 3, deadlocks: 1");
    td_text_destroy(&out);

    cr_expect_eq(THREADS(&out, "dump", word, "--json"), 1);
    json_t *root = parse(&out);
    cr_expect_eq(json_array_size(json_object_get(root, "threads")), 3);
    json_decref(root);
    td_text_destroy(&out);

    cr_expect_eq(THREADS(&out, "locks", word), 1);
    EXPECT_SAYS(&out, ", 1 waiting");
    td_text_destroy(&out);

    cr_expect_eq(THREADS(&out, "locks", word, "--json"), 1);
    root = parse(&out);
    cr_expect_eq(json_array_size(json_object_get(root, "locks")), 3, "%s", out.data);
    json_decref(root);
    td_text_destroy(&out);

    cr_expect_eq(THREADS(&out, "tree", word), 0);
    EXPECT_SAYS(&out, "planted_deadloc: 3 threads");
    EXPECT_SAYS(&out, "processes: 1, threads: 3");
    td_text_destroy(&out);

    cr_expect_eq(THREADS(&out, "tree", word, "--json"), 0);
    root = parse(&out);
    const json_t *process = json_array_get(json_object_get(root, "processes"), 0);
    cr_expect_eq(json_array_size(json_object_get(process, "threads")), 3);
    cr_expect_eq(json_integer_value(json_object_get(process, "pid")), pid);
    json_decref(root);
    td_text_destroy(&out);
    uproot_program(pid);
}

Test(verb_threads, stacks_name_the_functions) {
    char word[16];
    td_text out;
    pid_t pid = plant("normal", "2", word);
    cr_assert_eq(THREADS(&out, "watch", word, "--count", "20000"), 1);
    td_text_destroy(&out);
    int code = THREADS(&out, "dump", word, "--stacks", "--depth", "8");
    if (code == 3 && strstr(out.data, "libdw") != NULL) {
        td_text_destroy(&out);
        uproot_program(pid);
        cr_skip_test("built without libdw");
    }
    cr_expect_eq(code, 1);
    EXPECT_SAYS(&out, "at member+0x");
    EXPECT_SAYS(&out, "at main+0x");
    td_text_destroy(&out);
    cr_expect_eq(THREADS(&out, "dump", word, "--stacks", "--depth", "1"), 1);
    cr_expect_null(strstr(out.data, "at member+0x"), "one frame is not that deep: %s", out.data);
    td_text_destroy(&out);
    uproot_program(pid);
}

Test(verb_threads, top_prints_as_many_tables_as_asked_for) {
    char word[16];
    td_text out;
    pid_t pid = plant("normal", "2", word);
    cr_expect_eq(THREADS(&out, "top", word, "--interval-ms", "10", "--count", "3"), 0, "%s",
                 out.data);
    int tables = 0;
    for (const char *at = out.data; (at = strstr(at, "line%")) != NULL; at++) {
        tables++;
    }
    cr_expect_eq(tables, 3, "%s", out.data);
    td_text_destroy(&out);
    uproot_program(pid);
    cr_expect_eq(THREADS(&out, "top", word, "--count", "1"), 3);
    td_text_destroy(&out);
}

/* A program that keeps a census answers; another is said not to. */
Test(verb_threads, exec_counts_and_contention_asks) {
    char word[16];
    td_text out;
    pid_t pid = plant_program((const char *const[]){TD_TANDEM, "threads", "exec",
                                                    TD_PLANTED_DEADLOCK, "normal", "3", NULL});
    snprintf(word, sizeof word, "%d", pid);
    cr_expect_eq(THREADS(&out, "contention", word), 0, "%s", out.data);
    EXPECT_SAYS(&out, "monitoring off, threads: 3 live, 3 peak, 3 started");
    td_text_destroy(&out);
    cr_expect_eq(THREADS(&out, "contention", word, "on"), 0);
    EXPECT_SAYS(&out, "monitoring on");
    td_text_destroy(&out);
    cr_expect_eq(THREADS(&out, "contention", word, "maybe"), 2);
    EXPECT_SAYS(&out, "expected on, off or reset-peak");
    td_text_destroy(&out);
    uproot_program(pid);
    cr_expect_eq(THREADS(&out, "contention", word), 3);
    td_text_destroy(&out);
    pid = plant("normal", "2", word);
    cr_expect_eq(THREADS(&out, "contention", word), 3, "%s", out.data);
    td_text_destroy(&out);
    uproot_program(pid);
}

/* No deadlock: watch ends by count, or with the process, and says which. */
Test(verb_threads, watch_ends_without_a_deadlock) {
    char word[16];
    int output;
    td_text out;
    pid_t pid = start_program((const char *const[]){"/bin/cat", NULL}, NULL, NULL, false, &output);
    snprintf(word, sizeof word, "%d", pid);
    cr_expect_eq(THREADS(&out, "watch", word, "--count", "3"), 0, "%s", out.data);
    EXPECT_SAYS(&out, "3 looks in ");
    EXPECT_SAYS(&out, "0 deadlocks");
    td_text_destroy(&out);
    uproot_program(pid);
    close(output);
    pid =
        start_program((const char *const[]){"/bin/sleep", "0.2", NULL}, NULL, NULL, false, &output);
    snprintf(word, sizeof word, "%d", pid);
    cr_expect_eq(THREADS(&out, "watch", word), 0, "%s", out.data);
    EXPECT_SAYS(&out, " has ended");
    td_text_destroy(&out);
    uproot_program(pid);
    close(output);
}

static void become_nobody(const void *arg) {
    (void)arg;
    if (setgid(65534) != 0 || setuid(65534) != 0) {
        _exit(126);
    }
}

/* Whoever may not look is told why, and where there is nothing to look at, that. */
Test(verb_threads, a_stranger_is_refused_with_the_reason) {
    if (geteuid() != 0 || access(TD_TANDEM, X_OK) != 0) {
        cr_skip_test("only root can become another");
    }
    static const char *const actions[] = {"dump",  "deadlocks",  "locks", "top",
                                          "watch", "contention", "tree"};
    char word[16];
    pid_t pid = plant("normal", "2", word);
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        td_text out;
        const char *const words[] = {TD_TANDEM, "threads", actions[i], word, NULL};
        int code = run_program(words, become_nobody, NULL, &out);
        cr_expect(code == 3 || code == 127, "%s: %s", actions[i], out.data);
        if (code == 3) { /* 127: nobody may not start what lies in this folder */
            EXPECT_SAYS(&out, "it is another user's");
        }
        td_text_destroy(&out);
    }
    uproot_program(pid);
}

/* What has ended and was not asked for has one thread, which does nothing. */
Test(verb_threads, a_dead_process_is_shown_as_that) {
    int output;
    char word[16];
    td_text out;
    siginfo_t info;
    pid_t pid = start_program((const char *const[]){"/bin/true", NULL}, NULL, NULL, false, &output);
    close(output);
    cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    snprintf(word, sizeof word, "%d", pid);
    cr_expect_eq(THREADS(&out, "dump", word), 0, "%s", out.data);
    EXPECT_SAYS(&out, "TERMINATED");
    td_text_destroy(&out);
    uproot_program(pid);
    cr_expect_eq(THREADS(&out, "contention", word), 3);
    EXPECT_SAYS(&out, "is not there");
    td_text_destroy(&out);
}

typedef struct mistake {
    char words[4][24], says[64];
    int code;
} mistake;

ParameterizedTestParameters(verb_threads, mistakes_are_told) {
    static mistake rows[] = {{{"dump"}, "expected a process id", 2},
                             {{"dump", "x"}, "process id", 2},
                             {{"dump", "1", "2"}, "unexpected \"2\"", 2},
                             {{"dump", "4194303"}, "is not there", 3},
                             {{"watch", "4194303"}, "is not there", 3},
                             {{"deadlocks", "4194303"}, "is not there", 3},
                             {{"tree", "4194303"}, "is not there", 3},
                             {{"top", "1", "--json"}, "prints no JSON", 2},
                             {{"watch", "1", "--json"}, "prints no JSON", 2},
                             {{"exec"}, "expected a program", 2},
                             {{"exec", "/nowhere"}, "/nowhere", 3},
                             {{"run", "nothing-so"}, "no experiment matches", 2},
                             {{"list", "nothing-so"}, "no experiment matches", 2},
                             {{"doze"}, "expected list, run, dump", 2}};
    return cr_make_param_array(mistake, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(mistake *m, verb_threads, mistakes_are_told) {
    td_text out;
    const char *words[7] = {TD_TANDEM, "threads"};
    for (int i = 0; i < 4 && m->words[i][0] != '\0'; i++) {
        words[2 + i] = m->words[i];
    }
    cr_expect_eq(run_program(words, NULL, NULL, &out), m->code, "%s", out.data);
    EXPECT_SAYS(&out, m->says);
    td_text_destroy(&out);
}
