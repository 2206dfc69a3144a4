/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verb_threads.h"

#include <stdio.h>
#include <string.h>

#include "bench/load.h"
#include "bench/verbs.h"

static const td_verb_help verb_help = {
    "tandem threads list|run [GLOB] | tree [PID] | dump|deadlocks|locks|top|watch PID[,PID...]\n"
    "       | exec PROGRAM [ARGUMENT...] | contention PID[,PID...] [on|off|reset-peak]\n"
    "       [--options]",
    "Processes and threads. `list` shows the experiments; `run` runs them and gives an account of "
    "each: the claim, what was done, what was seen, and the verdict PASS, FAIL or not applicable "
    "with its reason. With --mutants each claim is also broken on purpose, which must be FAIL.\n"
    "`dump` shows the threads of any process of the user, without stopping it: state, times, what "
    "each waits for and who holds it; with --stacks also where it is, for which each thread stands "
    "still for some 50 us and a system call of it may end with EINTR. `deadlocks` shows only "
    "threads that wait for each other, within a process or across several that share locks. "
    "`locks` shows every mutex that threads wait for, its owner and them. `tree` shows a process, "
    "its descendants and the threads of each; without PID all processes. `top` shows again and "
    "again who used the CPUs since the last look, who stood in line for one, and switches; it ends "
    "with an interrupt, after --count tables, or when a process is gone. `watch` looks for "
    "deadlocks every millisecond until there is one, a process is gone, an interrupt or --count "
    "looks.\n"
    "`exec` starts a program that counts the threads it starts and, once `contention` has turned "
    "that on, how often and how long each was blocked for a lock or waited; `dump` shows it.\n"
    "Exit codes: 0 good, 1 a claim failed, a mutant was not caught or there is a deadlock, 2 "
    "usage, 3 nothing could run or the process is not there.",
    "  tandem threads run 'kcmp'\n"
    "  tandem threads run 'identity/*' --mutants\n"
    "  tandem threads run --mutants --repeat 50 --hogs 4\n"
    "  tandem threads dump 8412 --stacks\n"};

static const td_option options_table[] = {
    {"mutants", TD_OPTION_FLAG, offsetof(td_threads_options, mutants), 0, 0, NULL, NULL,
     "run: break each claim on purpose too"},
    {"brief", TD_OPTION_FLAG, offsetof(td_threads_options, brief), 0, 0, NULL, NULL,
     "run: one line an experiment"},
    {"json", TD_OPTION_FLAG, offsetof(td_threads_options, json), 0, 0, NULL, NULL,
     "dump, deadlocks, locks, tree: print JSON"},
    {"stacks", TD_OPTION_FLAG, offsetof(td_threads_options, stacks), 0, 0, NULL, NULL,
     "dump: stop each thread for a moment and show its stack"},
    {"depth", TD_OPTION_INT, offsetof(td_threads_options, depth), 1, 256, NULL, "N",
     "dump: at most N frames of a stack"},
    {"interval-ms", TD_OPTION_INT, offsetof(td_threads_options, interval_ms), 0, 60000, NULL, "N",
     "top, watch: time between two looks; 0: 1000 for top, 1 for watch"},
    {"count", TD_OPTION_INT, offsetof(td_threads_options, count), 0, 1000000, NULL, "N",
     "top, watch: end after N tables or looks; 0: never"},
    {"repeat", TD_OPTION_INT, offsetof(td_threads_options, repeat), 1, 10000, NULL, "N",
     "run: everything N times, with a table of how often each passed in place of the accounts"},
    {"hogs", TD_OPTION_INT, offsetof(td_threads_options, hogs), 0, TD_MOST_HOGS, NULL, "N",
     "run: as --repeat, beside N processes that never wait"},
};
enum { N_OPTIONS = sizeof(options_table) / sizeof(options_table[0]) };

static const struct {
    const char *name;
    td_status (*run)(const td_threads_options *options, const char *word);
} actions[] = {{"list", td_threads_list},
             {"run", td_threads_run},
             {"dump", td_threads_dump},
             {"deadlocks", td_threads_deadlocks},
             {"locks", td_threads_locks},
             {"tree", td_threads_tree},
             {"top", td_threads_top},
             {"watch", td_threads_watch},
             {"contention", td_threads_contention}};
enum { N_ACTIONS = sizeof actions / sizeof actions[0] };

td_status td_verb_threads(int argc, char **argv) {
    td_threads_options options = {.repeat = 1, .depth = 64};
    const char *words[3] = {NULL, NULL, NULL};
    size_t n_words = 0;
    int help = 0;
    if (argc > 1 && strcmp(argv[1], "exec") == 0) {
        return td_threads_exec(argv + 2); /* what follows is not ours to read */
    }
    TD_TRY(td_options_parse(options_table, N_OPTIONS, argc, argv, &options, words, 3, &n_words,
                            &help));
    if (help) {
        td_options_help(stdout, &verb_help, options_table, N_OPTIONS, &options);
        return TD_OK;
    }
    options.setting = words[2];
    for (int i = 0; i < N_ACTIONS && n_words > 0; i++) {
        if (strcmp(words[0], actions[i].name) == 0) {
            if (words[2] != NULL && actions[i].run != td_threads_contention) {
                return td_fail(TD_EUSAGE, "threads %s: unexpected \"%s\"", words[0], words[2]);
            }
            return actions[i].run(&options, words[1]);
        }
    }
    return td_fail(TD_EUSAGE, "threads %s: expected list, run, dump, deadlocks, locks, tree, top, "
                              "watch, exec or contention",
                   n_words > 0 ? words[0] : "");
}
