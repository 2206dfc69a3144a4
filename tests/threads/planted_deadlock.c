/* SPDX-License-Identifier: Apache-2.0
 * A program with a deadlock of glibc's own locks, which knows nothing of Tandem. planted_deadlock
 * KIND MEMBERS: so many threads, or processes, each hold a lock and want the next one's. The locks
 * lie at addresses drawn from the process id. Prints a line once every member holds its lock.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

enum { MOST = 5, APART = 4096 };

typedef union any_lock {
    pthread_mutex_t mutex;
    pthread_rwlock_t rwlock;
} any_lock;

typedef struct garden {
    _Atomic int holding, next;
    pthread_barrier_t all;
} garden;

static const char *kind;
static int members;
static garden *shared;
static any_lock *lock[MOST];
static _Atomic pthread_t thread[MOST];

static int is(const char *name) {
    return strcmp(kind, name) == 0;
}

static void make_locks(unsigned char *at) {
    pthread_mutexattr_t mutex;
    pthread_rwlockattr_t rwlock;
    unsigned seed = (unsigned)getpid() * 2654435761U;
    pthread_mutexattr_init(&mutex);
    pthread_rwlockattr_init(&rwlock);
    pthread_mutexattr_settype(&mutex, is("recursive")  ? PTHREAD_MUTEX_RECURSIVE
                                      : is("adaptive") ? PTHREAD_MUTEX_ADAPTIVE_NP
                                      : is("checking") ? PTHREAD_MUTEX_ERRORCHECK
                                                       : PTHREAD_MUTEX_NORMAL);
    if (is("lasting")) {
        pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
    }
    if (is("inheriting")) {
        pthread_mutexattr_setprotocol(&mutex, PTHREAD_PRIO_INHERIT);
    }
    if (is("processes")) {
        pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    }
    for (int i = 0; i < members; i++) {
        seed = seed * 1664525U + 1013904223U;
        lock[i] = (any_lock *)(at + i * APART + (seed >> 8) % 60 * sizeof(void *) * 8);
        if (is("rwlock")) {
            pthread_rwlock_init(&lock[i]->rwlock, &rwlock);
        } else {
            pthread_mutex_init(&lock[i]->mutex, &mutex);
        }
    }
}

static void take(int i) {
    if (is("rwlock")) {
        pthread_rwlock_wrlock(&lock[i]->rwlock);
    } else {
        pthread_mutex_lock(&lock[i]->mutex);
    }
}

static void *member(void *arg) {
    int id = atomic_fetch_add(&shared->next, 1), wanted = (id + 1) % members;
    thread[id] = pthread_self();
    take(id);
    if (atomic_fetch_add(&shared->holding, 1) + 1 == members) {
        puts("planted");
        fflush(stdout);
    }
    pthread_barrier_wait(&shared->all);
    if (is("join") && wanted == 0) {
        pthread_join(thread[0], NULL);
    } else {
        take(wanted);
    }
    return arg;
}

int main(int argc, char **argv) {
    kind = argc == 3 ? argv[1] : "";
    members = argc == 3 ? argv[2][0] - '0' : 0;
    unsigned char *at =
        mmap(NULL, (MOST + 1) * APART, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (members < 1 || members > MOST || at == MAP_FAILED) {
        return 2;
    }
    shared = (garden *)(void *)(at + MOST * APART);
    pthread_barrierattr_t between;
    pthread_barrierattr_init(&between);
    pthread_barrierattr_setpshared(&between, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->all, &between, (unsigned)members);
    make_locks(at);
    for (int i = 1; i < members; i++) {
        pthread_t ignored;
        if (!is("processes")) {
            pthread_create(&ignored, NULL, member, NULL);
        } else if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            break;
        }
    }
    member(NULL);
    pause();
}
