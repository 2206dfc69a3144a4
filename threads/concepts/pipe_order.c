/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { NUMBERS = 100000, SKIPPED = 777 };

static void send(td_lab *lab, void *arg) {
    const int *ends = arg;
    close(ends[0]);
    for (uint32_t i = 0; i < NUMBERS; i++) {
        if (lab->mutant && i == SKIPPED) {
            continue;
        }
        td_lab_must(lab, write(ends[1], &i, sizeof i) == (ssize_t)sizeof i, "write");
    }
}

void td_concept_pipe_order(td_lab *lab) {
    int ends[2];
    td_lab_must(lab, pipe(ends) == 0, "a pipe");
    pid_t pid = td_lab_fork(lab, send, ends);
    close(ends[1]);
    static uint32_t block[1024];
    uint32_t next = 0;
    bool in_order = true;
    ssize_t got;
    size_t kept = 0;
    while ((got = read(ends[0], (char *)block + kept, sizeof block - kept)) > 0) {
        size_t bytes = kept + (size_t)got;
        for (size_t i = 0; i < bytes / sizeof block[0]; i++) {
            in_order = in_order && block[i] == next++;
        }
        kept = bytes % sizeof block[0];
        block[0] = kept > 0 ? block[bytes / sizeof block[0]] : block[0];
    }
    td_lab_wait(lab, pid);
    td_lab_check(lab, next == NUMBERS && in_order, "%u of %d numbers arrived, %s", next, NUMBERS,
                 in_order ? "in order" : "not in order");
    td_lab_check(lab, got == 0, "the end of the writer is the end of the pipe");
    td_lab_must(lab, pipe2(ends, O_NONBLOCK) == 0, "a pipe");
    int room = fcntl(ends[1], F_GETPIPE_SZ), held = 0;
    static char page[4096];
    while (write(ends[1], page, sizeof page) == (ssize_t)sizeof page) {
        held += (int)sizeof page;
    }
    td_lab_check(lab, errno == EAGAIN && held == room, "a pipe of %d bytes refuses byte %d", room,
                 held + 1);
}
