/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { N_KINDS = 4 };
static const int kinds[N_KINDS] = {KCMP_VM, KCMP_FILES, KCMP_FS, KCMP_SIGHAND};
static const char *const kind_names[N_KINDS] = {"memory", "descriptors", "directory", "handlers"};

typedef struct subject {
    _Atomic int tid, done;
} subject;

static void stay(subject *s) {
    atomic_store(&s->tid, (int)syscall(SYS_gettid));
    td_lab_await(&s->done, 1);
}

static void *stay_thread(void *arg) {
    stay(arg);
    return NULL;
}

static int stay_clone(void *arg) {
    stay(arg);
    return 0;
}

static void stay_fork(td_lab *lab, void *arg) {
    (void)lab;
    stay(arg);
}

/* Compares the live child `tid` with this process and ends it. */
static void compare(td_lab *lab, const char *how, subject *s, const char *expected) {
    char seen[N_KINDS + 1] = "";
    td_lab_must(lab, td_lab_await(&s->tid, 1), "start a child");
    for (int i = 0; i < N_KINDS; i++) {
        long same = syscall(SYS_kcmp, getpid(), atomic_load(&s->tid), kinds[i], 0, 0);
        if (same < 0) {
            int error = errno;
            atomic_store(&s->done, 1);
            td_lab_skip(lab, "kcmp is refused: %s", strerror(error));
        }
        seen[i] = same == 0 ? 's' : '-';
    }
    atomic_store(&s->done, 1);
    char shared[64] = "";
    for (int i = 0; i < N_KINDS; i++) {
        if (seen[i] == 's') {
            strcat(strcat(shared, shared[0] ? ", " : ""), kind_names[i]);
        }
    }
    td_lab_check(lab, strcmp(seen, expected) == 0, "%-26s shares %s", how,
                 shared[0] ? shared : "nothing");
}

void td_concept_kcmp(td_lab *lab) {
    static const struct {
        const char *how;
        int flags;
        const char *expected;
    } clones[] = {{"clone(VM)", CLONE_VM, "s---"},
                  {"clone(FILES)", CLONE_FILES, "-s--"},
                  {"clone(FS)", CLONE_FS, "--s-"},
                  {"clone(VM|SIGHAND)", CLONE_VM | CLONE_SIGHAND, "s--s"}};
    subject *s = td_lab_shared(lab, 8 * sizeof *s);
    pid_t pid = 0;
    pthread_t thread = 0;
    if (lab->mutant) {
        pid = td_lab_fork(lab, stay_fork, &s[0]);
    } else {
        thread = td_lab_thread(lab, stay_thread, &s[0]);
    }
    compare(lab, "pthread_create", &s[0], "ssss");
    if (lab->mutant) {
        td_lab_wait(lab, pid);
    } else {
        pthread_join(thread, NULL);
    }
    pid = td_lab_fork(lab, stay_fork, &s[1]);
    compare(lab, "fork", &s[1], "----");
    td_lab_wait(lab, pid);
    for (size_t i = 0; i < sizeof clones / sizeof clones[0]; i++) {
        pid = td_lab_clone(lab, clones[i].flags, stay_clone, &s[2 + i]);
        td_lab_must(lab, pid > 0, "clone");
        compare(lab, clones[i].how, &s[2 + i], clones[i].expected);
        td_lab_wait(lab, pid);
    }
    pid = td_lab_clone(lab, CLONE_SIGHAND, stay_clone, &s[7]);
    td_lab_check(lab, pid == -EINVAL, "clone(SIGHAND) without VM is refused");
    pid = td_lab_clone(lab, CLONE_THREAD, stay_clone, &s[7]);
    td_lab_check(lab, pid == -EINVAL, "clone(THREAD) without VM and SIGHAND is refused");
}
