/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

extern char **environ;

enum { ROUNDS = 25, STACK = 65536 };

static void *nothing(void *arg) {
    return arg;
}

static int nothing_clone(void *arg) {
    (void)arg;
    return 0;
}

static unsigned char stack[STACK];

static void by_thread(td_lab *lab) {
    pthread_join(td_lab_thread(lab, nothing, NULL), NULL);
}

static void reap(td_lab *lab, pid_t pid) {
    td_lab_must(lab, pid > 0, "create a process");
    if (!lab->mutant) {
        td_lab_wait(lab, pid);
    }
}

static void by_clone(td_lab *lab) {
    pid_t pid = clone(nothing_clone, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    td_lab_must(lab, pid > 0, "clone");
    td_lab_wait(lab, pid);
}

static void by_fork(td_lab *lab) {
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    reap(lab, pid);
}

static void by_spawn(td_lab *lab) {
    char *const argv[] = {"true", NULL};
    pid_t pid = 0;
    errno = posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ);
    reap(lab, errno == 0 ? pid : -1);
}

void td_concept_creation_ladder(td_lab *lab) {
    static const struct {
        const char *name, *number;
        void (*create)(td_lab *lab);
    } rows[] = {{"pthread_create and join", "thread_us", by_thread},
                {"clone(VM) and wait", "clone_vm_us", by_clone},
                {"fork and wait", "fork_us", by_fork},
                {"posix_spawn of /bin/true and wait", "spawn_us", by_spawn}};
    enum { N = sizeof rows / sizeof rows[0] };
    double fastest[N];
    td_lab_pin(lab, lab->cpu[0]);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) {
            int64_t start = td_now_ns();
            rows[i].create(lab);
            double took = (double)(td_now_ns() - start);
            fastest[i] = round == 0 || took < fastest[i] ? took : fastest[i];
            if (i == 0) {
                td_lab_sample(lab, took);
            }
        }
    }
    td_lab_sampled(lab, "pthread_create and join");
    for (int i = 0; i < N; i++) {
        td_lab_saw(lab, "%-34s %8.1f us, %5.1f times a thread", rows[i].name, fastest[i] * 1e-3,
                   fastest[i] / fastest[0]);
        td_lab_number(lab, rows[i].number, fastest[i] * 1e-3);
    }
    int how, left = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &how, __WALL)) > 0) {
        left++;
    }
    td_lab_check(lab, left == 0 && errno == ECHILD,
                 "%d processes were created and %d of them not waited for", 3 * ROUNDS, left);
}
