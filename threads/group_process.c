/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/group_state.h"

/* How often the supervisor looks even though nothing woke it, and when it waits for a deadline or
 * has no pidfds. */
enum { IDLE_MS = 250, BUSY_MS = 20 };

static const int interrupt_signals[] = {SIGINT, SIGTERM};

/* In a rank: where the parent counts interrupts, how many were taken from there, what to call. */
static const td_group_control *listened_to;
static int taken;
static void (*count_interrupt)(int);

/* A terminal sends Ctrl-C to parent and ranks alike, kill to one of them. A rank believes its
 * parent only, which writes down what it got and then signals: so every rank counts each interrupt
 * once, and the second one, which ends the program, is the second one for all. The sender of the
 * signal says nothing, because two that are pending become one. */
static void on_interrupt(int number) {
    while (taken < atomic_load_explicit(&listened_to->interrupts, memory_order_acquire)) {
        taken++;
        count_interrupt(number);
    }
}

static void listen_to_parent(const td_group_control *control) {
    listened_to = control;
    struct sigaction action, installed;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof interrupt_signals / sizeof interrupt_signals[0]; i++) {
        sigaddset(&action.sa_mask, interrupt_signals[i]);
    }
    for (size_t i = 0; i < sizeof interrupt_signals / sizeof interrupt_signals[0]; i++) {
        sigaction(interrupt_signals[i], NULL, &installed);
        count_interrupt = installed.sa_handler;
        sigaction(interrupt_signals[i], &action, NULL);
    }
}

static void child_main(td_rank *rank, pid_t parent, const sigset_t *mask) {
    /* The parent may be gone already, and then no signal will come. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
        _exit(td_exit_code(TD_EPEER));
    }
    char name[16];
    snprintf(name, sizeof name, "rank-%d", rank->rank);
    prctl(PR_SET_NAME, name);
    listen_to_parent(rank->group->control);
    sigprocmask(SIG_SETMASK, mask, NULL);
    td_status status = td_group_run_rank(rank);
    fflush(NULL);
    /* Not exit(): handlers registered by the parent's program are the parent's business. */
    _exit(td_exit_code(status));
}

/* Forks all ranks. A fork that fails is recorded as the group's failure. */
static void start_processes(td_group *group, const sigset_t *mask) {
    pid_t parent = getpid();
    fflush(NULL); /* or every rank would write what is buffered here once more */
    for (int i = 0; i < group->count; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            child_main(&group->ranks[i], parent, mask);
        }
        if (pid < 0) {
            td_group_fail(group, TD_CLAIM_SUPERVISOR, TD_ESYS, "fork rank %d of %d: %s", i,
                          group->count, strerror(errno));
            return;
        }
        group->pids[i] = pid;
    }
}

/* Records why a rank ended, if it did not end well. */
static void judge(td_group *group, int rank, const siginfo_t *info) {
    int what = info->si_status;
    if (info->si_code == CLD_EXITED) {
        if (!atomic_load_explicit(&group->control->slots[rank].ended, memory_order_acquire)) {
            td_group_fail_dead(group, rank, "rank %d exited with code %d before it returned", rank,
                               what);
        }
        return;
    }
    const char *name = sigabbrev_np(what);
    td_group_fail_dead(group, rank, "rank %d was killed by signal %d (SIG%s)", rank, what,
                       name == NULL ? "?" : name);
}

/* Collects the ranks that have ended; returns how many are left. */
static int reap(td_group *group, int *pidfds) {
    int left = 0;
    for (int i = 0; i < group->count; i++) {
        siginfo_t info = {0};
        if (group->pids[i] == 0) {
            continue;
        }
        int result = waitid(P_PID, (id_t)group->pids[i], &info, WEXITED | WNOHANG);
        if (result == 0 && info.si_pid == 0) {
            left++;
            continue;
        }
        if (result != 0) {
            td_group_fail_dead(group, i, "rank %d cannot be waited for: %s", i, strerror(errno));
        } else {
            judge(group, i, &info);
        }
        group->pids[i] = 0;
        if (pidfds[i] >= 0) {
            close(pidfds[i]);
            pidfds[i] = -1;
        }
    }
    return left;
}

static void signal_all(const td_group *group, int number) {
    for (int i = 0; i < group->count; i++) {
        if (group->pids[i] > 0) {
            kill(group->pids[i], number);
        }
    }
}

/* Waits until a rank ends, a signal comes in, or it is time to look again. */
static void wait_for_news(const td_group *group, const int *pidfds, bool hurry,
                          const sigset_t *mask) {
    struct pollfd polled[TD_MAX_RANKS];
    for (int i = 0; i < group->count; i++) {
        polled[i] = (struct pollfd){.fd = pidfds[i], .events = POLLIN};
        hurry = hurry || (group->pids[i] > 0 && pidfds[i] < 0);
    }
    struct timespec most = {.tv_nsec = (hurry ? BUSY_MS : IDLE_MS) * 1000000L};
    ppoll(polled, (nfds_t)group->count, &most, mask);
}

/* Until all ranks are gone. Signals are delivered inside the poll only, so none is missed between
 * look and sleep. */
static void supervise(td_group *group, const sigset_t *mask) {
    int pidfds[TD_MAX_RANKS], seen = td_interrupted();
    int64_t waited_ns = 0, last_ns = 0, grace_ns = 0, grace_last_ns = 0;
    bool killed = false;
    for (int i = 0; i < group->count; i++) {
        pidfds[i] = group->pids[i] > 0 ? pidfd_open(group->pids[i], 0) : -1;
    }
    while (reap(group, pidfds) > 0) {
        td_group_check_end(group, BUSY_MS * INT64_C(1000000), &waited_ns, &last_ns);
        bool failed = td_group_failed(group);
        if (td_group_grace_over(group, BUSY_MS * INT64_C(1000000), &grace_ns, &grace_last_ns) &&
            !killed) {
            signal_all(group, SIGKILL);
            killed = true;
        }
        wait_for_news(group, pidfds, failed || last_ns > 0, mask);
        int now = td_interrupted();
        if (now > seen) {
            atomic_fetch_add_explicit(&group->control->interrupts, now - seen,
                                      memory_order_release);
            seen = now;
            signal_all(group, SIGINT);
        }
    }
}

td_status td_group_run_processes(td_group *group) {
    sigset_t interrupts, mask;
    struct sigaction before[sizeof interrupt_signals / sizeof interrupt_signals[0]];
    size_t n_signals = sizeof before / sizeof before[0];
    sigemptyset(&interrupts);
    for (size_t i = 0; i < n_signals; i++) {
        sigaddset(&interrupts, interrupt_signals[i]);
        sigaction(interrupt_signals[i], NULL, &before[i]);
    }
    sigprocmask(SIG_BLOCK, &interrupts, &mask);
    td_interrupt_install();
    start_processes(group, &mask);
    supervise(group, &mask);
    for (size_t i = 0; i < n_signals; i++) {
        sigaction(interrupt_signals[i], &before[i], NULL);
    }
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return TD_OK;
}
