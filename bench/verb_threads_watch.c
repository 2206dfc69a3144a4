/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "bench/verb_threads.h"
#include "threads/watch.h"

enum { LOOKS_AT_ONCE = 10 }; /* an interrupt is seen between them */

static int64_t cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

td_status td_threads_watch(const td_threads_options *options, const char *word) {
    int pid[TD_MOST_PIDS], count = 0;
    td_watch *watch = NULL;
    td_thread_list found = {0};
    if (options->json) {
        return td_fail(TD_EUSAGE, "threads watch prints no JSON; deadlocks does");
    }
    TD_TRY(td_threads_parse_pids(word, pid, &count));
    td_interrupt_install();
    TD_TRY(td_watch_open(pid, count, &watch));
    int64_t start_ns = td_now_ns(), start_cpu_ns = cpu_ns();
    int64_t interval_ns = (options->interval_ms == 0 ? 1 : options->interval_ms) * 1000000;
    int64_t left = options->count == 0 ? INT64_MAX : options->count;
    td_status status = TD_OK;
    while (left > 0 && status == TD_OK && found.deadlocks == 0 && !td_interrupted()) {
        int64_t looks = left < LOOKS_AT_ONCE ? left : LOOKS_AT_ONCE;
        status = td_watch_run(watch, looks, interval_ns, &found);
        left -= looks;
    }
    td_watch_counts c = td_watch_count(watch);
    if (c.ended) {
        status = TD_OK;
    }
    double seconds = (double)(td_now_ns() - start_ns) * 1e-9;
    if (status == TD_OK) {
        if (found.deadlocks > 0) {
            td_threads_print_deadlocks(&found);
        } else if (c.ended) {
            printf("%s\n", td_error());
        }
        printf("%lld looks in %.3f s, %.1f us of a CPU each; %lld suspicions, %d deadlocks\n",
               (long long)c.looks, seconds,
               (double)(cpu_ns() - start_cpu_ns) * 1e-3 / (double)c.looks, (long long)c.suspected,
               found.deadlocks);
        status = found.deadlocks > 0 ? td_fail(TD_ECHECK, "%d deadlock%s", found.deadlocks,
                                               found.deadlocks == 1 ? "" : "s")
                                     : TD_OK;
    }
    td_thread_list_destroy(&found);
    td_watch_close(watch);
    return status;
}
