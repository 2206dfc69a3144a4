/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/census.h"
#include "threads/monitor.h"

static int to_program, from_program;

static pid_t plant(bool counted) {
    const char *library = NULL;
    int in[2], out[2];
    cr_assert_eq(td_census_library(&library), TD_OK, "%s", td_error());
    cr_assert(pipe(in) == 0 && pipe(out) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (counted) {
            setenv("LD_PRELOAD", library, 1);
        }
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        close(out[0]);
        execl(TD_PLANTED_CENSUS, TD_PLANTED_CENSUS, NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    to_program = in[1];
    from_program = out[0];
    return pid;
}

static void expect_phase(char wanted) {
    char phase = 0;
    cr_assert_eq(read(from_program, &phase, 1), 1);
    cr_assert_eq(phase, wanted, "phase %c, expected %c", phase, wanted);
}

static void go_on(void) {
    cr_assert_eq(write(to_program, "", 1), 1);
}

static void expect_counts(const td_census *census, int64_t started, int64_t live, int64_t peak) {
    td_census_counts c = td_census_read(census);
    int64_t end = td_now_ns() + INT64_C(20000000000);
    /* A thread that was joined may still have to take itself off the list. */
    while (c.live != live && td_now_ns() < end) {
        sched_yield();
        c = td_census_read(census);
    }
    cr_expect(c.started == started && c.live == live && c.peak == peak,
              "%ld started, %ld live, %ld peak; expected %ld, %ld, %ld", (long)c.started,
              (long)c.live, (long)c.peak, (long)started, (long)live, (long)peak);
}

/* The other thread of the program, once it is in a state. */
static int await_state(int pid, td_thread_state state) {
    int64_t end = td_now_ns() + INT64_C(20000000000);
    while (td_now_ns() < end) {
        td_thread_list list;
        int tid = 0;
        cr_assert_eq(td_monitor_list(&pid, 1, &list), TD_OK, "%s", td_error());
        for (int i = 0; i < list.count; i++) {
            tid = list.at[i].tid != pid && list.at[i].state == state ? list.at[i].tid : tid;
        }
        td_thread_list_destroy(&list);
        if (tid != 0) {
            return tid;
        }
    }
    cr_assert_fail("no other thread is %s", td_thread_state_name(state));
    return 0;
}

static int child_of(int pid) {
    td_thread_list list;
    cr_assert_eq(td_monitor_tree(pid, &list), TD_OK, "%s", td_error());
    int child = list.at[list.count - 1].pid;
    td_thread_list_destroy(&list);
    return child;
}

Test(census, births_peak_and_waits_are_counted, .timeout = 60) {
    td_census *census = NULL, *of_child = NULL;
    td_census_waits waits;
    pid_t pid = plant(true);
    expect_phase('a');
    cr_assert_eq(td_census_open(pid, &census), TD_OK, "%s", td_error());
    expect_counts(census, 1, 1, 1);
    cr_expect_not(td_census_read(census).contention, "off at first");
    go_on();
    expect_phase('b');
    expect_counts(census, 7, 1, 4);
    cr_assert(td_census_of(census, pid, &waits));
    cr_expect(waits.waited == 0 && waits.blocked == 0, "counted while it is off");
    td_census_reset_peak(census);
    expect_counts(census, 7, 1, 1);
    cr_expect_not(td_census_contention(census, true));
    go_on();
    expect_phase('c');
    int tid = await_state(pid, TD_THREAD_BLOCKED);
    int64_t blocked_from = td_now_ns();
    while (td_now_ns() < blocked_from + 2000000) { /* it is blocked for 2 ms at least */
    }
    go_on();
    expect_phase('d');
    cr_assert(td_census_of(census, tid, &waits));
    cr_expect_eq(waits.blocked, 1, "blocked %ld times", (long)waits.blocked);
    cr_expect_geq(waits.blocked_ns, 2000000);
    cr_expect_geq(waits.waited, 2, "waited %ld times", (long)waits.waited);
    cr_expect_gt(waits.waited_ns, 0);
    cr_expect(td_census_contention(census, false));
    expect_counts(census, 8, 2, 2);
    go_on();
    expect_phase('e');
    int child = child_of(pid);
    cr_assert_neq(child, pid);
    cr_assert_eq(td_census_open(child, &of_child), TD_OK, "%s", td_error());
    expect_counts(of_child, 2, 1, 2);
    expect_counts(census, 8, 1, 2);
    go_on();
    expect_phase('f');
    go_on();
    int status;
    waitpid(pid, &status, 0);
    cr_expect_eq(status, 0);
    td_census_close(census);
    td_census_close(of_child);
}

Test(census, a_program_that_keeps_none_is_told, .timeout = 60) {
    td_census *census = NULL;
    pid_t pid = plant(false);
    expect_phase('a');
    cr_expect_eq(td_census_open(pid, &census), TD_ESKIP);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
