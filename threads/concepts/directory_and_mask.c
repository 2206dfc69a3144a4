/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct place {
    td_lab *lab;
    int failed;
} place;

static void *move_in_thread(void *arg) {
    place *p = arg;
    if (p->lab->mutant) {
        unshare(CLONE_FS);
    }
    p->failed = chdir("/proc");
    umask(0135);
    return NULL;
}

static void move_in_child(td_lab *lab, void *arg) {
    (void)arg;
    td_lab_must(lab, chdir("/dev") == 0, "chdir");
    umask(0);
}

void td_concept_directory_and_mask(td_lab *lab) {
    place p = {.lab = lab};
    char at[64] = "";
    td_lab_must(lab, chdir("/") == 0, "chdir");
    umask(022);
    pthread_join(td_lab_thread(lab, move_in_thread, &p), NULL);
    td_lab_must(lab, p.failed == 0 && getcwd(at, sizeof at) != NULL, "chdir in a thread");
    td_lab_check(lab, strcmp(at, "/proc") == 0,
                 "a thread went to /proc; the other thread is in %s", at);
    mode_t mask = umask(0135);
    td_lab_check(lab, mask == 0135, "a thread set the umask to 0135; the other has %04o",
                 (unsigned)mask);
    td_lab_wait(lab, td_lab_fork(lab, move_in_child, NULL));
    td_lab_must(lab, getcwd(at, sizeof at) != NULL, "getcwd");
    td_lab_check(lab, strcmp(at, "/dev") != 0, "a child went to /dev; the parent is in %s", at);
    mask = umask(022);
    td_lab_check(lab, mask != 0, "the child set the umask to 0; the parent has %04o",
                 (unsigned)mask);
}
