/* SPDX-License-Identifier: Apache-2.0
 * The census library: loaded before a program (LD_PRELOAD), it stands between the program and
 * glibc's functions of threads and counts. See census.h. It never fails a call of its own accord:
 * what it cannot count, it passes on.
 */
#include "threads/census.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static td_census_page nowhere; /* until there is a page, and when there can be none */
static td_census_page *page = &nowhere;
static pthread_key_t end_key;
static int census_file = -1;
static _Thread_local td_census_thread *mine;

/* glibc's own function behind one of these, found at its first use. ISO C has no conversion from an
 * object pointer to a function pointer; POSIX says this is one. */
static void find_next(void *function, const char *name, const char *version) {
    void *symbol = version != NULL ? dlvsym(RTLD_NEXT, name, version) : NULL;
    symbol = symbol != NULL ? symbol : dlsym(RTLD_NEXT, name);
    memcpy(function, &symbol, sizeof symbol);
}
#define NEXT(name, version)                                                                        \
    static __typeof__(&name) next;                                                                 \
    if (next == NULL) {                                                                            \
        find_next(&next, #name, version);                                                          \
    }

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void add(_Atomic int64_t *to, int64_t value) {
    atomic_fetch_add_explicit(to, value, memory_order_relaxed);
}

static void enter(void) {
    int tid = (int)syscall(SYS_gettid);
    for (int i = 0; i < TD_CENSUS_THREADS && mine == NULL; i++) {
        int nobody = 0;
        td_census_thread *slot = &page->thread[i];
        if (atomic_compare_exchange_strong(&slot->tid, &nobody, -1)) {
            slot->blocked = slot->blocked_ns = slot->waited = slot->waited_ns = 0;
            atomic_store(&slot->tid, tid);
            mine = slot;
        }
    }
    if (mine == NULL) {
        add(&page->unlisted, 1);
    }
}

static void leave(void *slot) {
    if (mine != NULL) {
        atomic_store(&mine->tid, 0);
        mine = NULL;
    }
    add(&page->live, -1);
    (void)slot;
}

static void count_start(void) {
    add(&page->started, 1);
    int64_t live = atomic_fetch_add(&page->live, 1) + 1, peak = page->peak;
    while (live > peak && !atomic_compare_exchange_weak(&page->peak, &peak, live)) {
    }
}

/* A page of the process' own, for the one that starts and for each that fork makes. */
static void make_page(void) {
    int fd = memfd_create(TD_CENSUS_NAME, MFD_CLOEXEC);
    if (fd < 0) {
        return;
    }
    /* Out of the way of programs that know their descriptors' numbers. */
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 800);
    if (high >= 0) {
        close(fd);
        fd = high;
    }
    void *made = ftruncate(fd, sizeof *page) == 0
                     ? mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                     : MAP_FAILED;
    if (made == MAP_FAILED) {
        close(fd);
        return;
    }
    page = made;
    page->magic = TD_CENSUS_MAGIC;
    census_file = fd;
    count_start();
    enter();
}

static void start_in_child(void) {
    td_census_page *of_parent = page;
    int contention = page->contention;
    if (page != &nowhere) {
        close(census_file);
        page = &nowhere;
        mine = NULL;
        make_page();
        page->contention = contention;
        munmap(of_parent, sizeof *of_parent);
    }
}

__attribute__((constructor)) static void begin_census(void) {
    pthread_key_create(&end_key, leave);
    pthread_atfork(NULL, NULL, start_in_child);
    make_page();
}

/* ---- births and deaths ---- */

typedef struct birth {
    void *(*main)(void *);
    void *arg;
} birth;

static void *live(void *arg) {
    birth b = *(birth *)arg;
    free(arg);
    enter();
    pthread_setspecific(end_key, &page); /* any value but NULL: leave runs however it ends */
    return b.main(b.arg);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *),
                   void *arg) {
    NEXT(pthread_create, "GLIBC_2.34")
    birth *b = page == &nowhere ? NULL : malloc(sizeof *b);
    if (b == NULL) {
        return next(thread, attributes, main, arg);
    }
    *b = (birth){main, arg};
    count_start();
    int error = next(thread, attributes, live, b);
    if (error != 0) {
        add(&page->started, -1);
        add(&page->live, -1);
        free(b);
    }
    return error;
}

/* ---- blocked and waited ---- */

static bool counts(void) {
    return atomic_load_explicit(&page->contention, memory_order_relaxed) != 0 && mine != NULL;
}

/* A lock that is free costs no clock: it is tried first. */
#define BLOCKING(name, try_it, arguments, call)                                                    \
    int name arguments {                                                                           \
        NEXT(name, NULL)                                                                           \
        if (!counts()) {                                                                           \
            return next call;                                                                      \
        }                                                                                          \
        int result = try_it(lock);                                                                 \
        if (result != EBUSY) {                                                                     \
            return result;                                                                         \
        }                                                                                          \
        int64_t start = now_ns();                                                                  \
        result = next call;                                                                        \
        add(&mine->blocked, 1);                                                                    \
        add(&mine->blocked_ns, now_ns() - start);                                                  \
        return result;                                                                             \
    }
BLOCKING(pthread_mutex_lock, pthread_mutex_trylock, (pthread_mutex_t * lock), (lock))
BLOCKING(pthread_mutex_timedlock, pthread_mutex_trylock,
         (pthread_mutex_t * lock, const struct timespec *end), (lock, end))
BLOCKING(pthread_mutex_clocklock, pthread_mutex_trylock,
         (pthread_mutex_t * lock, clockid_t clock, const struct timespec *end), (lock, clock, end))
BLOCKING(pthread_rwlock_rdlock, pthread_rwlock_tryrdlock, (pthread_rwlock_t * lock), (lock))
BLOCKING(pthread_rwlock_wrlock, pthread_rwlock_trywrlock, (pthread_rwlock_t * lock), (lock))

/* A thread that is cancelled in a wait has not waited: its count ends with it. */
#define WAITING(name, version, arguments, call)                                                    \
    int name arguments {                                                                           \
        NEXT(name, version)                                                                        \
        if (!counts()) {                                                                           \
            return next call;                                                                      \
        }                                                                                          \
        int64_t start = now_ns();                                                                  \
        int result = next call, error = errno;                                                     \
        add(&mine->waited, 1);                                                                     \
        add(&mine->waited_ns, now_ns() - start);                                                   \
        errno = error;                                                                             \
        return result;                                                                             \
    }
/* Two versions of these exist; dlsym alone would find the older. */
WAITING(pthread_cond_wait, "GLIBC_2.3.2", (pthread_cond_t * condition, pthread_mutex_t *lock),
        (condition, lock))
WAITING(pthread_cond_timedwait, "GLIBC_2.3.2",
        (pthread_cond_t * condition, pthread_mutex_t *lock, const struct timespec *end),
        (condition, lock, end))
WAITING(pthread_cond_clockwait, NULL,
        (pthread_cond_t * condition, pthread_mutex_t *lock, clockid_t clock,
         const struct timespec *end),
        (condition, lock, clock, end))
WAITING(pthread_barrier_wait, NULL, (pthread_barrier_t * barrier), (barrier))
WAITING(pthread_join, "GLIBC_2.34", (pthread_t thread, void **result_of), (thread, result_of))
WAITING(sem_wait, "GLIBC_2.34", (sem_t * semaphore), (semaphore))
WAITING(sem_timedwait, "GLIBC_2.34", (sem_t * semaphore, const struct timespec *end),
        (semaphore, end))
WAITING(nanosleep, NULL, (const struct timespec *time, struct timespec *left), (time, left))
WAITING(clock_nanosleep, "GLIBC_2.17",
        (clockid_t clock, int flags, const struct timespec *time, struct timespec *left),
        (clock, flags, time, left))
WAITING(usleep, NULL, (useconds_t time), (time))
