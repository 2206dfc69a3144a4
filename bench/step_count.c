/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/step_count.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_STEPS = 1000000 };

static void await(pid_t pid, int *how) {
    while (waitpid(pid, how, __WALL) < 0 && errno == EINTR) {
    }
}

/* Of so many calls, and what a process does before and behind. */
static int64_t count_calls(td_step_fn *fn, void *arg, int calls) {
    int how = 0;
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(1);
        }
        raise(SIGSTOP);
        for (int i = 0; i < calls; i++) {
            fn(arg);
        }
        _exit(0);
    }
    if (pid < 0) {
        return -1;
    }
    await(pid, &how);
    int64_t steps = 0;
    while (WIFSTOPPED(how) && steps < MOST_STEPS &&
           ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0) {
        await(pid, &how);
        steps++;
    }
    if (!WIFEXITED(how)) {
        kill(pid, SIGKILL);
        await(pid, &how);
        return -1;
    }
    return WEXITSTATUS(how) == 0 ? steps : -1;
}

int64_t td_step_count(td_step_fn *fn, void *arg) {
    enum { WARM = 2 };
    int64_t before = count_calls(fn, arg, WARM), after = count_calls(fn, arg, WARM + 1);
    return before < 0 || after < 0 ? -1 : after - before;
}
