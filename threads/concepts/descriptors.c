/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct table {
    td_lab *lab;
    int fd, refused;
    _Atomic int opened, go;
} table;

static void *open_in_thread(void *arg) {
    table *t = arg;
    if (t->lab->mutant) {
        unshare(CLONE_FILES);
    }
    t->fd = memfd_create("tandem-descriptors", MFD_CLOEXEC);
    if (t->fd < 0 || write(t->fd, "0123456789", 10) != 10 || lseek(t->fd, 0, SEEK_SET) != 0) {
        t->refused = errno;
    }
    atomic_store(&t->opened, 1);
    td_lab_await(&t->go, 1);
    return NULL;
}

static void use_in_child(td_lab *lab, void *arg) {
    table *t = arg;
    char text[4];
    td_lab_must(lab, read(t->fd, text, 4) == 4, "read in the child");
    close(t->fd);
}

void td_concept_descriptors(td_lab *lab) {
    table t = {.lab = lab};
    char text[8] = "";
    pthread_t thread = td_lab_thread(lab, open_in_thread, &t);
    td_lab_must(lab, td_lab_await(&t.opened, 1) && t.refused == 0, "open in a thread");
    ssize_t got = read(t.fd, text, 3);
    td_lab_check(lab, got == 3 && memcmp(text, "012", 3) == 0,
                 "what a thread opened as %d, another thread reads", t.fd);
    if (got == 3) {
        td_lab_wait(lab, td_lab_fork(lab, use_in_child, &t));
        off_t at = lseek(t.fd, 0, SEEK_CUR);
        td_lab_check(lab, at == 7, "a child read 4 bytes on; the parent's position is %ld",
                     (long)at);
        td_lab_check(lab, read(t.fd, text, 3) == 3 && memcmp(text, "789", 3) == 0,
                     "the child closed its copy; the parent's is still open");
    }
    atomic_store(&t.go, 1);
    pthread_join(thread, NULL);
    if (got == 3) {
        td_lab_check(lab, fcntl(t.fd, F_GETFD) >= 0,
                     "the thread that opened it has ended; the descriptor stays");
    }
}
