/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Raw: the C library has no wrapper. The child runs on a copy of the parent's stack, as by fork. */
static pid_t start(int *fd, bool with_fd) {
    struct clone_args args;
    memset(&args, 0, sizeof args);
    args.flags = with_fd ? CLONE_PIDFD : 0;
    args.pidfd = (uint64_t)(uintptr_t)fd;
    args.exit_signal = SIGCHLD;
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

void td_concept_pidfd(td_lab *lab) {
    int hold[2], fd = -1;
    td_lab_must(lab, pipe(hold) == 0, "a pipe");
    pid_t pid = start(&fd, !lab->mutant);
    if (pid == 0) {
        char byte;
        close(hold[1]);
        _exit(read(hold[0], &byte, 1) == 0 ? 7 : 1);
    }
    if (pid < 0) {
        td_lab_skip(lab, "clone3 is refused: %s", strerror(errno));
    }
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    td_lab_check(lab, fd >= 0, "clone3 gives descriptor %d with the child", fd);
    td_lab_check(lab, fd >= 0 && poll(&poller, 1, 0) == 0,
                 "it is not readable while the child lives");
    close(hold[1]); /* the child ends */
    if (fd >= 0) {
        td_lab_check(lab, poll(&poller, 1, 20000) == 1 && poller.revents & POLLIN,
                     "it is readable once the child has ended");
        siginfo_t info;
        memset(&info, 0, sizeof info);
        td_lab_check(lab, waitid(P_PIDFD, (id_t)fd, &info, WEXITED) == 0 && info.si_status == 7,
                     "waiting by it gives status %d", info.si_status);
        td_lab_check(lab, syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) < 0 && errno == ESRCH,
                     "a signal by it finds nobody, whoever has the number now");
    }
}
