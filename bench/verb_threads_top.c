/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/verb_threads.h"
#include "threads/monitor.h"

/* At most `most` threads; on a terminal over the table before. */
static void print_table(const td_thread_rate *rates, int count, int most, bool terminal) {
    printf(terminal ? "\x1b[H\x1b[J" : "");
    printf("%8s %8s %7s %7s %4s %9s %9s  %-15s %s\n", "pid", "tid", "cpu%", "line%", "cpu",
           "voluntary", "forced", "state", "name");
    for (int i = 0; i < count && i < most; i++) {
        const td_thread_rate *r = &rates[i];
        printf("%8d %8d %7.1f %7.1f %4d %9lld %9lld  %-15s %s\n", r->now->pid, r->now->tid,
               100 * r->cpu, 100 * r->line, r->now->stat.cpu, (long long)r->voluntary,
               (long long)r->involuntary, td_thread_state_name(r->now->state), r->now->stat.comm);
    }
    if (count > most) {
        printf("and %d more\n", count - most);
    } else if (!terminal) {
        printf("\n");
    }
    fflush(stdout);
}

static td_status show_rates(const td_thread_list *before, const td_thread_list *now,
                            int64_t elapsed_ns) {
    struct winsize window = {0};
    bool terminal = isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0;
    td_thread_rate *rates = td_alloc((size_t)now->count * sizeof *rates);
    if (rates == NULL) {
        return td_fail(TD_ENOMEM, "the rates of %d threads", now->count);
    }
    td_monitor_rates(before, now, elapsed_ns, rates);
    /* The header, the line of those left out and the one that the cursor is on. */
    int rows = terminal && window.ws_row > 4 ? window.ws_row - 3 : now->count;
    print_table(rates, now->count, rows, terminal);
    td_free(rates);
    return TD_OK;
}

td_status td_threads_top(const td_threads_options *options, const char *word) {
    int pid[TD_MOST_PIDS], count = 0;
    td_thread_list before, now;
    if (options->json) {
        return td_fail(TD_EUSAGE, "threads top prints no JSON; dump does");
    }
    TD_TRY(td_threads_parse_pids(word, pid, &count));
    int64_t interval_ms = options->interval_ms == 0 ? 1000 : options->interval_ms;
    td_interrupt_install();
    int64_t before_ns = td_now_ns();
    TD_TRY(td_monitor_list(pid, count, &before));
    td_proc_sched sched;
    td_status status = TD_OK;
    if (!td_proc_sched_read(getpid(), getpid(), &sched)) {
        status = td_fail(TD_ESYS, "this kernel keeps no schedstat of threads");
    }
    for (int64_t n = 0; status == TD_OK && (options->count == 0 || n < options->count); n++) {
        struct timespec nap = {.tv_sec = interval_ms / 1000,
                               .tv_nsec = interval_ms % 1000 * 1000000};
        /* An interrupt just before the nap is seen after it. */
        if (td_interrupted() || nanosleep(&nap, NULL) != 0 || td_interrupted()) {
            break;
        }
        int64_t now_ns = td_now_ns();
        status = td_monitor_list(pid, count, &now);
        if (status == TD_OK) {
            status = show_rates(&before, &now, now_ns - before_ns);
            td_thread_list_destroy(&before);
            before = now;
            before_ns = now_ns;
        }
    }
    td_thread_list_destroy(&before);
    return status;
}
