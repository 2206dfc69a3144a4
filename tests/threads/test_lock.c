/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "threads/concepts/lab.h"
#include "threads/lock.h"

enum { WAITERS = 3, ROUNDS = 20, TURNS = 5000, THREADS = 4 };

typedef struct court {
    td_mutex mutex;
    int64_t value; /* plain: only the lock keeps it whole */
    _Atomic int tid[WAITERS];
} court;

typedef struct seat {
    court *at;
    int id;
} seat;

static void take_turns(court *c, int turns) {
    for (int i = 0; i < turns; i++) {
        td_mutex_lock(&c->mutex);
        int64_t seen = c->value;
        if (i % 100 == 99) {
            sched_yield(); /* a holder that loses its CPU */
        }
        c->value = seen + 1;
        td_mutex_unlock(&c->mutex);
    }
}

static void *take_one_turn(void *arg) {
    seat *s = arg;
    atomic_store(&s->at->tid[s->id], gettid());
    take_turns(s->at, 1);
    return NULL;
}

/* Ends the test when the thread does not end: its wake-up was lost. */
static void join_in_time(pthread_t thread, const char *what) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 60;
    cr_assert_eq(pthread_timedjoin_np(thread, NULL, &end), 0, "%s", what);
}

/* Nobody has slept for thousands of turns, so the holder leaves all fences to those who will. */
Test(locks, who_sleeps_for_a_quiet_mutex_is_woken) {
    static court c;
    for (int round = 1; round <= ROUNDS; round++) {
        pthread_t threads[WAITERS];
        seat seats[WAITERS];
        c = (court){.mutex = c.mutex};
        take_turns(&c, TURNS);
        cr_assert_eq(c.mutex.asleep, 0);
        td_mutex_lock(&c.mutex);
        for (int i = 0; i < WAITERS; i++) {
            seats[i] = (seat){.at = &c, .id = i};
            cr_assert_eq(pthread_create(&threads[i], NULL, take_one_turn, &seats[i]), 0);
            cr_assert(td_lab_await(&c.tid[i], 1));
            cr_assert(td_lab_await_blocked(getpid(), c.tid[i], SYS_futex));
        }
        cr_assert_neq(c.mutex.word, 0);
        td_mutex_unlock(&c.mutex);
        for (int i = 0; i < WAITERS; i++) {
            join_in_time(threads[i], "a thread sleeps on");
        }
        cr_assert_eq(c.value, TURNS + WAITERS, "round %d: %ld", round, (long)c.value);
    }
}

typedef struct guest {
    td_mutex *mutex;
    _Atomic int tid, has_it, may_leave;
} guest;

static void *stay_until_told(void *arg) {
    guest *g = arg;
    atomic_store(&g->tid, gettid());
    td_mutex_lock(g->mutex);
    atomic_store(&g->has_it, 1);
    td_lab_await(&g->may_leave, 1);
    td_mutex_unlock(g->mutex);
    return NULL;
}

/* The second sleeps for a holder that was itself woken, and by another word than that one did. */
Test(locks, who_sleeps_for_one_that_slept_is_woken) {
    static td_mutex mutex;
    for (int round = 0; round < ROUNDS; round++) {
        guest guests[2] = {{.mutex = &mutex}, {.mutex = &mutex}};
        pthread_t threads[2];
        td_mutex_lock(&mutex);
        for (int i = 0; i < 2; i++) {
            cr_assert_eq(pthread_create(&threads[i], NULL, stay_until_told, &guests[i]), 0);
            cr_assert(td_lab_await(&guests[i].tid, 1));
            cr_assert(td_lab_await_blocked(getpid(), guests[i].tid, SYS_futex));
            if (i == 0) {
                td_mutex_unlock(&mutex);
                cr_assert(td_lab_await(&guests[0].has_it, 1));
            }
        }
        atomic_store(&guests[1].may_leave, 1);
        atomic_store(&guests[0].may_leave, 1);
        join_in_time(threads[0], "the first sleeps on");
        join_in_time(threads[1], "the second sleeps on");
        for (int i = 0; i < TURNS; i++) { /* until it is quiet again */
            td_mutex_lock(&mutex);
            td_mutex_unlock(&mutex);
        }
        cr_assert_eq(mutex.busy, 0);
    }
}

static void *take_many_turns(void *arg) {
    take_turns(arg, 8 * TURNS);
    return NULL;
}

/* In and out of the state in which threads sleep. */
Test(locks, a_plain_counter_stays_whole) {
    static court c;
    for (int round = 0; round < 4; round++) {
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++) {
            cr_assert_eq(pthread_create(&threads[i], NULL, take_many_turns, &c), 0);
        }
        for (int i = 0; i < THREADS; i++) {
            join_in_time(threads[i], "a thread sleeps on");
        }
        take_turns(&c, TURNS);
    }
    cr_assert_eq(c.value, INT64_C(4) * (8 * THREADS + 1) * TURNS, "%ld", (long)c.value);
}

Test(locks, a_monitored_mutex_counts_and_names_its_owner) {
    td_mutex mutex = {0};
    td_mutex_lock(&mutex);
    cr_assert_eq(mutex.owner, 0);
    cr_assert_not(td_mutex_try(&mutex));
    td_mutex_unlock(&mutex);
    cr_assert_not(td_mutex_monitor(true));
    td_mutex_lock(&mutex);
    cr_assert_eq(mutex.owner, gettid());
    cr_assert_eq(mutex.acquired, 1);
    td_mutex_unlock(&mutex);
    cr_assert_eq(mutex.owner, 0);
    cr_assert(td_mutex_monitor(false));
}
