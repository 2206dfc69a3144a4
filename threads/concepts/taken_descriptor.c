/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The child does nothing but keep a file open; the parent takes it. */
typedef struct keeper {
    _Atomic int fd, done;
} keeper;

static void keep(td_lab *lab, void *arg) {
    keeper *k = arg;
    int fd = memfd_create("tandem-kept", MFD_CLOEXEC);
    td_lab_must(lab, fd >= 0 && write(fd, "0123456789", 10) == 10 && lseek(fd, 4, SEEK_SET) == 4,
                "a file");
    k->fd = fd;
    td_lab_await(&k->done, 1);
    _exit(lseek(fd, 0, SEEK_CUR) == 7 ? 0 : 1); /* the parent has read three bytes of it */
}

/* The mutant's: the same file, by its name in /proc. */
static int open_anew(pid_t pid, int fd) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

void td_concept_taken_descriptor(td_lab *lab) {
    keeper *k = td_lab_shared(lab, sizeof *k);
    pid_t pid = td_lab_fork(lab, keep, k);
    td_lab_must(lab, td_lab_await(&k->fd, 1), "a child with a file");
    int of_process = (int)syscall(SYS_pidfd_open, pid, 0);
    int fd = of_process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, of_process, k->fd, 0);
    if (fd < 0) {
        int error = errno;
        k->done = 1;
        td_lab_skip(lab, "a descriptor of another process cannot be taken here: %s",
                    strerror(error));
    }
    fd = lab->mutant ? open_anew(pid, k->fd) : fd;
    char text[4] = "";
    td_lab_check(lab, read(fd, text, 3) == 3 && strcmp(text, "456") == 0,
                 "a descriptor taken from a child reads on where the child was: \"%s\"", text);
    bool refused = syscall(SYS_pidfd_getfd, of_process, 9999, 0) < 0 && errno == EBADF;
    td_lab_check(lab, refused, "what is not open there cannot be taken: %s", strerror(errno));
    k->done = 1;
    td_lab_check(lab, td_lab_wait(lab, pid) == 0,
                 "and the child, which gave nothing away, finds its position moved: one file");
}
