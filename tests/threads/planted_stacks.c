/* SPDX-License-Identifier: Apache-2.0
 * A program to be looked at, which knows nothing of Tandem: planted_stacks FD sleep|spin|vfork
 * FD: a shared page, see planted_board. Its second thread is at the end of a chain of calls and
 * counts what it does there.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/threads/chain.h"
#include "tests/threads/planted_board.h"

static planted_board *board;

/* epoll_wait: a call that the kernel never restarts (signal(7)). Its name is as C++ would have it
 * for sleepy::sleep_on(void *). */
int sleep_on(void *arg) __asm__("_ZN6sleepy8sleep_onEPv");
int sleep_on(void *arg) {
    struct epoll_event event;
    int epoll = epoll_create1(0);
    for (;; board->rounds++) {
        if (epoll_wait(epoll, &event, 1, 1) < 0 && errno == EINTR) {
            board->interrupted++;
        }
    }
    return arg == NULL;
}

static int spin_on(void *arg) {
    for (;;) {
        board->rounds++;
    }
    return arg == NULL;
}

/* Until the child ends, the kernel lets nothing but death have this thread. */
static int wait_for_child(void *arg) {
    pid_t child = vfork();
    if (child == 0) {
        board->child = getpid();
        pause();
        _exit(0);
    }
    board->rounds++;
    return sleep_on(arg);
}

static void *work(void *arg) {
    const char *how = arg;
    board->tid = (int)syscall(SYS_gettid);
    chain_1(strcmp(how, "spin") == 0    ? spin_on
            : strcmp(how, "vfork") == 0 ? wait_for_child
                                        : sleep_on,
            NULL);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t thread;
    if (argc != 3) {
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED,
                 (int)strtol(argv[1], NULL, 10), 0);
    if (board == MAP_FAILED || pthread_create(&thread, NULL, work, argv[2]) != 0) {
        return 1;
    }
    return pthread_join(thread, NULL);
}
