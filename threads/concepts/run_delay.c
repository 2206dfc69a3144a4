/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/procfs.h"

/* However long it stood in line in between. */
static void sleep_a_third_of_the_time(int64_t start) {
    int64_t slept = 0;
    for (int64_t passed; (passed = td_now_ns() - start) > 3 * slept; slept += passed) {
        struct timespec nap = {.tv_sec = passed / 1000000000, .tv_nsec = passed % 1000000000};
        nanosleep(&nap, NULL);
    }
}

typedef struct account {
    double wall_ms, run_ms, delay_ms;
    int64_t slices;
} account;

static account be_busy(bool sleeps) {
    enum { BUSY_NS = 40000000 };
    td_proc_sched before, after;
    const int pid = getpid(), tid = (int)syscall(SYS_gettid);
    sched_yield(); /* brings the account up to date */
    td_proc_sched_read(pid, tid, &before);
    const int64_t start = td_now_ns();
    while (td_now_ns() - start < BUSY_NS) {
    }
    if (sleeps) {
        sleep_a_third_of_the_time(start);
    }
    sched_yield();
    td_proc_sched_read(pid, tid, &after);
    return (account){.wall_ms = (double)(td_now_ns() - start) * 1e-6,
                     .run_ms = (double)(after.run_ns - before.run_ns) * 1e-6,
                     .delay_ms = (double)(after.delay_ns - before.delay_ns) * 1e-6,
                     .slices = after.slices - before.slices};
}

/* A thread that never waits is either on a CPU or in line for one, so the two add up to the time
 * that passed, beside however many others. What a host takes is neither: such a round is done
 * again.
 */
void td_concept_run_delay(td_lab *lab) {
    enum { ROUNDS = 40 };
    td_proc_sched probe;
    if (!td_proc_sched_read(getpid(), (int)syscall(SYS_gettid), &probe)) {
        td_lab_skip(lab, "the kernel keeps no schedstat");
    }
    account busy;
    int stolen = 0;
    for (int again = 0; again == stolen && stolen < ROUNDS; again++) {
        const int64_t before = td_proc_ticks_read().stolen;
        busy = be_busy(lab->mutant);
        stolen += td_proc_ticks_read().stolen != before;
    }
    const double sum_ms = busy.run_ms + busy.delay_ms;
    td_lab_number(lab, "run_ms", busy.run_ms);
    td_lab_number(lab, "in_line_ms", busy.delay_ms);
    td_lab_check(lab, sum_ms > 0.85 * busy.wall_ms - 4 && sum_ms < 1.1 * busy.wall_ms + 4,
                 "of %.1f ms the thread was on a CPU for %.1f and in line for %.1f", busy.wall_ms,
                 busy.run_ms, busy.delay_ms);
    td_lab_saw(lab, "in that time it was given a CPU %lld times; a host took one in %d rounds",
               (long long)busy.slices, stolen);
}
