/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { OTHER = 65534 };

typedef struct change {
    td_lab *lab;
    long failed;
    uid_t inside;
} change;

static void *change_in_thread(void *arg) {
    change *c = arg;
    c->failed = c->lab->mutant ? setresuid((uid_t)-1, OTHER, (uid_t)-1)
                               : syscall(SYS_setresuid, -1, OTHER, -1);
    c->inside = (uid_t)syscall(SYS_geteuid);
    return NULL;
}

static void *change_all(void *arg) {
    change *c = arg;
    c->failed = setresuid((uid_t)-1, OTHER, (uid_t)-1);
    return NULL;
}

void td_concept_credentials(td_lab *lab) {
    change c = {.lab = lab};
    pthread_join(td_lab_thread(lab, change_in_thread, &c), NULL);
    td_lab_must(lab, c.failed == 0, "setresuid in a thread");
    td_lab_check(lab, c.inside == OTHER, "the system call made one thread user %u", c.inside);
    td_lab_check(lab, geteuid() == 0, "the other thread is still user %u", geteuid());
    if (geteuid() == 0) {
        pthread_join(td_lab_thread(lab, change_all, &c), NULL);
        td_lab_must(lab, c.failed == 0, "setresuid by the C library");
        td_lab_check(lab, geteuid() == OTHER,
                     "the C library's function signals all threads to follow: all are user %u",
                     geteuid());
    }
}
