/* SPDX-License-Identifier: Apache-2.0
 * `tandem threads exec` and `contention`: programs that count their threads and waits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/verb_threads.h"
#include "threads/census.h"

td_status td_threads_exec(char **program) {
    const char *library = NULL, *before = getenv("LD_PRELOAD");
    if (program[0] == NULL) {
        return td_fail(TD_EUSAGE, "threads exec: expected a program and its arguments");
    }
    TD_TRY(td_census_library(&library));
    char list[4096];
    int length = snprintf(list, sizeof list, "%s%s%s", library, before != NULL ? ":" : "",
                          before != NULL ? before : "");
    if (length >= (int)sizeof list || setenv("LD_PRELOAD", list, 1) != 0) {
        return td_fail(TD_ESYS, "LD_PRELOAD cannot be set");
    }
    execvp(program[0], program);
    return td_fail(TD_ESYS, "%s: %s", program[0], strerror(errno));
}

static td_status set(td_census *census, const char *setting) {
    if (setting == NULL) {
        return TD_OK;
    }
    if (strcmp(setting, "reset-peak") == 0) {
        td_census_reset_peak(census);
        return TD_OK;
    }
    bool on = strcmp(setting, "on") == 0;
    if (!on && strcmp(setting, "off") != 0) {
        return td_fail(TD_EUSAGE, "threads contention: \"%s\"; expected on, off or reset-peak",
                       setting);
    }
    td_census_contention(census, on);
    return TD_OK;
}

td_status td_threads_contention(const td_threads_options *options, const char *word) {
    int pid[TD_MOST_PIDS], count = 0;
    TD_TRY(td_threads_parse_pids(word, pid, &count));
    for (int i = 0; i < count; i++) {
        td_census *census = NULL;
        TD_TRY(td_census_open(pid[i], &census));
        td_status status = set(census, options->setting);
        if (status == TD_OK) {
            td_census_counts c = td_census_read(census);
            printf("process %d: contention monitoring %s, threads: %lld live, %lld peak, %lld "
                   "started\n",
                   pid[i], c.contention ? "on" : "off", (long long)c.live, (long long)c.peak,
                   (long long)c.started);
        }
        td_census_close(census);
        TD_TRY(status);
    }
    return TD_OK;
}
