/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct cradle {
    _Atomic uint32_t word;
    _Atomic int awake;
} cradle;

static void sleep_until(td_lab *lab, void *arg) {
    (void)lab;
    cradle *c = arg;
    while (c->word == 0) {
        syscall(SYS_futex, &c->word, FUTEX_WAIT, 0, NULL, NULL, 0);
    }
    atomic_store(&c->awake, 1);
}

void td_concept_futex_between_processes(td_lab *lab) {
    cradle *c = td_lab_shared(lab, sizeof *c);
    pid_t pid = td_lab_fork(lab, sleep_until, c);
    td_lab_must(lab, td_lab_await_blocked(pid, pid, SYS_futex), "sleep in a child");
    c->word = 1;
    long woken = syscall(SYS_futex, &c->word, lab->mutant ? FUTEX_WAKE_PRIVATE : FUTEX_WAKE, 1,
                         NULL, NULL, 0);
    td_lab_check(lab, woken == 1, "a word in shared memory woke %ld process", woken);
    if (woken == 1) {
        td_lab_check(lab, td_lab_wait(lab, pid) == 0 && c->awake, "which read the new value");
    } else {
        kill(pid, SIGKILL);
    }
}
