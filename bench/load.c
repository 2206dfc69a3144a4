/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/load.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "threads/bind.h"

unsigned td_load_work(unsigned seed, int64_t units) {
    unsigned x = seed;
    for (int64_t i = 0; i < units; i++) {
        x = x * 1664525U + 1013904223U;
        __asm__ __volatile__("" : "+r"(x));
    }
    return x | 1U;
}

static bool shares_with_earlier(const int *pu, int worker) {
    for (int i = 0; i < worker && pu[worker] >= 0; i++) {
        if (pu[i] == pu[worker]) {
            return true;
        }
    }
    return false;
}

td_status td_hogs_start(const td_rank *rank, td_hogs *out) {
    out->count = 0;
    if (sched_getscheduler(0) == SCHED_FIFO || sched_getscheduler(0) == SCHED_RR) {
        return td_fail(TD_ESKIP, "work beside busy processes needs their fair share, and this "
                                 "program has real-time priority");
    }
    for (int i = 0; i < rank->workers && out->count < TD_MOST_HOGS; i++) {
        if (shares_with_earlier(rank->pu, i)) {
            continue;
        }
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (rank->pu[i] >= 0) {
                td_bind_pu(rank->pu[i]);
            }
            for (;;) {
                __asm__ __volatile__("");
            }
        }
        if (pid > 0) {
            out->pid[out->count++] = pid;
        }
    }
    return TD_OK;
}

void td_hogs_rest(const td_hogs *hogs, bool rest) {
    for (int i = 0; i < hogs->count; i++) {
        kill(hogs->pid[i], rest ? SIGSTOP : SIGCONT);
    }
}

void td_hogs_end(td_hogs *hogs) {
    for (int i = 0; i < hogs->count; i++) {
        kill(hogs->pid[i], SIGKILL);
        waitpid(hogs->pid[i], NULL, 0);
    }
    hogs->count = 0;
}
