/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BYTES = 1 << 16 };

static unsigned char block[BYTES];

typedef struct room {
    _Atomic int filled, done;
} room;

static void fill(td_lab *lab, void *arg) {
    (void)lab;
    room *r = arg;
    for (int i = 0; i < BYTES; i++) {
        block[i] = (unsigned char)(i * 7 + 3);
    }
    atomic_store(&r->filled, 1);
    td_lab_await(&r->done, 1);
}

void td_concept_memory_of_another(td_lab *lab) {
    static unsigned char copy[BYTES];
    room *r = td_lab_shared(lab, sizeof *r);
    pid_t pid = td_lab_fork(lab, fill, r);
    td_lab_must(lab, td_lab_await(&r->filled, 1), "fill in a child");
    struct iovec to = {copy, BYTES}, from = {block, BYTES};
    ssize_t got = process_vm_readv(lab->mutant ? getpid() : pid, &to, 1, &from, 1, 0);
    int error = errno;
    struct iovec nowhere = {NULL, 16};
    ssize_t bad = process_vm_readv(pid, &to, 1, &nowhere, 1, 0);
    int bad_error = errno;
    atomic_store(&r->done, 1);
    td_lab_wait(lab, pid);
    if (got < 0 && (error == EPERM || error == ENOSYS)) {
        td_lab_skip(lab, "process_vm_readv is refused: %s", strerror(error));
    }
    int right = 0;
    for (int i = 0; i < BYTES; i++) {
        right += copy[i] == (unsigned char)(i * 7 + 3);
    }
    td_lab_check(lab, right == BYTES, "%d of %d bytes read from the child are what it wrote",
                 right, BYTES);
    td_lab_check(lab, block[5] == 0, "the same address here holds something else");
    td_lab_check(lab, bad < 0 && bad_error == EFAULT,
                 "an address that the child has not mapped is refused");
}
