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

/* A thread that never waits is either on a CPU or in line for one, so the two add up to the time
 * that passed, beside however many others. */
void td_concept_run_delay(td_lab *lab) {
    td_proc_sched before, after;
    int tid = (int)syscall(SYS_gettid);
    if (!td_proc_sched_read(getpid(), tid, &before)) {
        td_lab_skip(lab, "the kernel keeps no schedstat");
    }
    sched_yield(); /* brings the account up to date */
    td_proc_sched_read(getpid(), tid, &before);
    int64_t start = td_now_ns(), end = start + 40000000;
    while (td_now_ns() < end) {
    }
    if (lab->mutant) {
        sleep_a_third_of_the_time(start);
    }
    sched_yield();
    td_proc_sched_read(getpid(), tid, &after);
    double wall = (double)(td_now_ns() - start) * 1e-6;
    double run = (double)(after.run_ns - before.run_ns) * 1e-6;
    double delay = (double)(after.delay_ns - before.delay_ns) * 1e-6;
    td_lab_number(lab, "run_ms", run);
    td_lab_number(lab, "in_line_ms", delay);
    td_lab_check(lab, run + delay > 0.85 * wall - 4 && run + delay < 1.1 * wall + 4,
                 "of %.1f ms the thread was on a CPU for %.1f and in line for %.1f", wall, run,
                 delay);
    td_lab_saw(lab, "in that time it was given a CPU %lld times",
               (long long)(after.slices - before.slices));
}
