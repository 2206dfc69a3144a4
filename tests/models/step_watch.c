/* SPDX-License-Identifier: Apache-2.0 */
#include "step_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* No system call that is used here has a sixth argument: this one marks the watch's own, which pass
 * unseen. */
enum { OURS = 0x7d0b5e7f };

static _Atomic int listener = -1;
static _Atomic int listening; /* the thread has begun: starting one makes calls of its own */
static _Atomic int64_t syscalls;
static _Atomic int first_syscall = -1;
static int64_t faults_before, resident_before;

/* Answers the filter's questions: counts, and lets the call pass. */
static void *listen_for_calls(void *arg) {
    (void)arg;
    int fd;
    atomic_store(&listening, 1);
    while ((fd = atomic_load(&listener)) < 0) {
    }
    for (;;) {
        struct seccomp_notif asked;
        memset(&asked, 0, sizeof asked);
        if (syscall(SYS_ioctl, fd, SECCOMP_IOCTL_NOTIF_RECV, &asked, 0, 0, OURS) != 0) {
            if (errno == EINTR || errno == ENOENT) {
                continue;
            }
            return NULL;
        }
        if (atomic_fetch_add(&syscalls, 1) == 0) {
            atomic_store(&first_syscall, asked.data.nr);
        }
        struct seccomp_notif_resp answer = {.id = asked.id,
                                            .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        syscall(SYS_ioctl, fd, SECCOMP_IOCTL_NOTIF_SEND, &answer, 0, 0, OURS);
    }
}

static int install(void) {
#define NR  ((unsigned)offsetof(struct seccomp_data, nr))
#define ARG ((unsigned)offsetof(struct seccomp_data, args[5]))
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 3, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OURS, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return -1;
    }
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC |
                            SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
                        &program);
}

static int64_t faults(void) {
    struct rusage usage = {0};
    syscall(SYS_getrusage, RUSAGE_SELF, &usage, 0, 0, 0, OURS);
    return usage.ru_minflt;
}

/* Exact, which the counters of /proc/self/statm are not. */
static int64_t resident(void) {
    char text[1024] = "";
    long fd =
        syscall(SYS_openat, AT_FDCWD, "/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC, 0, 0, OURS);
    (void)syscall(SYS_read, fd, text, sizeof text - 1, 0, 0, OURS);
    syscall(SYS_close, fd, 0, 0, 0, 0, OURS);
    const char *line = strstr(text, "Rss:");
    return line == NULL ? -1 : strtoll(line + strlen("Rss:"), NULL, 10) * 1024;
}

td_status step_watch_start(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, listen_for_calls, NULL) != 0) {
        return td_fail(TD_ESYS, "a thread to watch with");
    }
    pthread_detach(thread);
    while (!atomic_load(&listening)) {
    }
    int fd = install();
    if (fd < 0) {
        return td_fail(TD_ESKIP, "system calls cannot be watched here: %s", strerror(errno));
    }
    atomic_store(&listener, fd);
    /* One call to learn from that the thread listens, and has touched what it needs. */
    (void)syscall(SYS_getppid);
    if (atomic_load(&syscalls) != 1) {
        return td_fail(TD_ECHECK, "a system call was not seen");
    }
    (void)resident(); /* touches what it needs itself */
    resident_before = resident();
    faults_before = faults();
    atomic_store(&syscalls, 0);
    atomic_store(&first_syscall, -1);
    malloc_count_set(1);
    return TD_OK;
}

void step_watch_stop(watch_counts *out) {
    malloc_count_set(0);
    int64_t faults_after = faults(), resident_after = resident();
    *out = (watch_counts){.allocations = malloc_count_get(),
                          .minor_faults = faults_after - faults_before,
                          .syscalls = atomic_load(&syscalls),
                          .resident_growth_bytes = resident_after - resident_before,
                          .first_syscall = atomic_load(&first_syscall)};
}
