/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static char path[64];

typedef struct attempt {
    int command, error;
} attempt;

static void *lock_again(void *arg) {
    attempt *a = arg;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    a->error = fcntl(fd, a->command, &whole) == 0 ? 0 : errno;
    if (a->command == F_OFD_SETLK) {
        close(fd); /* closing any descriptor of the file would drop a record lock */
    }
    return NULL;
}

static int try_from_thread(td_lab *lab, int command) {
    attempt a = {.command = command};
    pthread_join(td_lab_thread(lab, lock_again, &a), NULL);
    return a.error;
}

static void try_from_child(td_lab *lab, void *arg) {
    (void)lab;
    lock_again(arg);
}

void td_concept_file_locks(td_lab *lab) {
    snprintf(path, sizeof path, "/tmp/tandem-locks-%d", (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    td_lab_must(lab, fd >= 0, "a file in /tmp");
    int command = lab->mutant ? F_OFD_SETLK : F_SETLK;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, command, &whole) != 0) {
        int error = errno;
        unlink(path);
        td_lab_skip(lab, "no file locks in /tmp (errno %d)", error);
    }
    attempt *child = td_lab_shared(lab, sizeof *child);
    child->command = F_SETLK;
    td_lab_wait(lab, td_lab_fork(lab, try_from_child, child));
    td_lab_check(lab, child->error == EAGAIN || child->error == EACCES,
                 "a record lock keeps another process out");
    td_lab_check(lab, try_from_thread(lab, command) == 0,
                 "a second thread gets the same record lock: it belongs to the process");
    int other = open(path, O_RDWR | O_CLOEXEC);
    close(other);
    td_lab_wait(lab, td_lab_fork(lab, try_from_child, child));
    td_lab_check(lab, child->error == 0,
                 "closing any descriptor of the file has dropped the lock");
    whole.l_pid = 0;
    td_lab_must(lab, fcntl(fd, F_OFD_SETLK, &whole) == 0, "a lock of the open file");
    td_lab_check(lab, try_from_thread(lab, F_OFD_SETLK) == EAGAIN,
                 "a lock of the open file keeps a thread with its own descriptor out");
    unlink(path);
}
