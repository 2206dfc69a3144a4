/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Each call sleeps until a signal with a handler comes; the pipe is then written to, so that a call
 * which goes on has something to go on with. */
typedef enum call { READ, FUTEX, NANOSLEEP, POLL, EPOLL, CALLS } call;

static const struct {
    const char *name;
    bool goes_on; /* with SA_RESTART */
} calls[CALLS] = {[READ] = {"read of a pipe", true},
                  [FUTEX] = {"futex wait", true},
                  [NANOSLEEP] = {"nanosleep", false},
                  [POLL] = {"poll", false},
                  [EPOLL] = {"epoll_wait", false}};

typedef struct sleeper {
    int pipe[2], epoll;
    _Atomic uint32_t word;
    _Atomic int tid;
    call which;
    int error; /* how the call ended; 0: as if nothing had been */
} sleeper;

static _Atomic int handled;

static void note(int number) {
    (void)number;
    atomic_fetch_add(&handled, 1);
}

static long make_call(sleeper *s) {
    char byte;
    struct timespec minute = {.tv_sec = 60};
    struct pollfd one = {.fd = s->pipe[0], .events = POLLIN};
    struct epoll_event event;
    switch (s->which) {
    case READ:
        return read(s->pipe[0], &byte, 1);
    case FUTEX:
        return syscall(SYS_futex, &s->word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0);
    case NANOSLEEP:
        return nanosleep(&minute, NULL);
    case POLL:
        return poll(&one, 1, 60000);
    case EPOLL:
        return epoll_wait(s->epoll, &event, 1, 60000);
    case CALLS:
        break;
    }
    return 0;
}

static void *be_interrupted(void *arg) {
    sleeper *s = arg;
    s->tid = (int)syscall(SYS_gettid);
    errno = 0;
    s->error = make_call(s) < 0 ? errno : 0;
    return NULL;
}

static void try_call(td_lab *lab, call which) {
    sleeper s = {.which = which};
    struct epoll_event event = {.events = EPOLLIN};
    td_lab_must(lab, pipe(s.pipe) == 0, "a pipe");
    s.epoll = epoll_create1(0);
    td_lab_must(lab, epoll_ctl(s.epoll, EPOLL_CTL_ADD, s.pipe[0], &event) == 0, "an epoll set");
    pthread_t thread = td_lab_thread(lab, be_interrupted, &s);
    td_lab_must(lab, td_lab_await(&s.tid, 1) && td_lab_await_blocked(getpid(), s.tid, -1),
                "wait until it sleeps");
    int before = handled;
    pthread_kill(thread, SIGUSR1);
    td_lab_must(lab, td_lab_await(&handled, before + 1), "the handler");
    /* What was interrupted has returned, or sleeps again. */
    if (calls[which].goes_on && !lab->mutant) {
        td_lab_must(lab, td_lab_await_blocked(getpid(), s.tid, -1), "wait until it sleeps again");
    }
    td_lab_must(lab, write(s.pipe[1], "x", 1) == 1, "write");
    s.word = 1;
    syscall(SYS_futex, &s.word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
    pthread_join(thread, NULL);
    td_lab_check(lab, s.error == (calls[which].goes_on ? 0 : EINTR), "%s %s", calls[which].name,
                 s.error == EINTR ? "ended with EINTR when the handler had run"
                 : s.error == 0   ? "went on when the handler had run"
                                  : strerror(s.error));
    close(s.pipe[0]);
    close(s.pipe[1]);
    close(s.epoll);
}

void td_concept_interrupted_calls(td_lab *lab) {
    struct sigaction act = {.sa_handler = note, .sa_flags = lab->mutant ? 0 : SA_RESTART};
    sigaction(SIGUSR1, &act, NULL);
    for (call which = 0; which < CALLS; which++) {
        try_call(lab, which);
    }
}
