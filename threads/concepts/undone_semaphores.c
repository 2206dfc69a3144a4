/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>

enum { FIRST = 7 }; /* enough for three to take 2, so that the mutant does not hang */

typedef struct gate {
    td_lab *lab;
    int id, flags;
} gate;

static void take_two(gate *g) {
    struct sembuf take = {.sem_num = 0, .sem_op = -2, .sem_flg = (short)g->flags};
    td_lab_must(g->lab, semop(g->id, &take, 1) == 0, "take from a semaphore");
}

static void *take_in_thread(void *arg) {
    take_two(arg);
    return NULL;
}

static void take_in_child(td_lab *lab, void *arg) {
    (void)lab;
    take_two(arg);
}

static void take_in_thread_of_child(td_lab *lab, void *arg) {
    gate *g = arg;
    pthread_join(td_lab_thread(lab, take_in_thread, g), NULL);
    td_lab_check(lab, semctl(g->id, 0, GETVAL) == FIRST - 2,
                 "a thread has taken 2 of %d and ended: %d are left", FIRST,
                 semctl(g->id, 0, GETVAL));
}

static void do_nothing(td_lab *lab, void *arg) {
    (void)lab;
    (void)arg;
}

void td_concept_undone_semaphores(td_lab *lab) {
    gate g = {.lab = lab, .flags = lab->mutant ? 0 : SEM_UNDO};
    g.id = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
    if (g.id < 0 && (errno == ENOSYS || errno == ENOSPC || errno == EPERM)) {
        td_lab_skip(lab, "no semaphore to be had here: %s", strerror(errno));
    }
    td_lab_must(lab, g.id >= 0 && semctl(g.id, 0, SETVAL, FIRST) == 0, "a semaphore");
    td_lab_wait(lab, td_lab_fork(lab, take_in_thread_of_child, &g));
    int after_process = semctl(g.id, 0, GETVAL);
    td_lab_wait(lab, td_lab_fork(lab, take_in_child, &g));
    int after_child = semctl(g.id, 0, GETVAL);
    take_two(&g);
    td_lab_wait(lab, td_lab_fork(lab, do_nothing, NULL));
    int after_other = semctl(g.id, 0, GETVAL);
    semctl(g.id, 0, IPC_RMID);
    td_lab_check(lab, after_process == FIRST, "then its process ended: %d", after_process);
    td_lab_check(lab, after_child == FIRST, "a child took 2 and ended: %d", after_child);
    td_lab_check(lab, after_other == after_child - 2,
                 "this process took 2, and a child that inherits nothing to undo ended: %d",
                 after_other);
}
