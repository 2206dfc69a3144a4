/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/tsan/exercises.h"
#include "threads/lock.h"
#include "threads/monitor.h"
#include "threads/queue.h"
#include "threads/stack.h"
#include "threads/wait.h"
#include "threads/watch.h"

enum { THREADS = 4, TURNS = 3000, ITEMS = 4000, CAPACITY = 16, LOOKS = 200, FRAMES = 16 };

/* Runs `main` in THREADS threads; false when one cannot be created. */
static bool run_threads(void *(*main)(void *), void *arg) {
    pthread_t thread[THREADS];
    int started = 0;
    while (started < THREADS && pthread_create(&thread[started], NULL, main, arg) == 0) {
        started++;
    }
    for (int i = 0; i < started; i++) {
        pthread_join(thread[i], NULL);
    }
    return started == THREADS;
}

/* Plain memory: the lock alone orders it. */
typedef struct counter {
    td_lock lock;
    const td_lock_kind *kind;
    int64_t value;
} counter;

static void *count(void *arg) {
    counter *c = arg;
    for (int i = 0; i < TURNS; i++) {
        td_lock_node node;
        c->kind->acquire(&c->lock, &node);
        c->value++;
        c->kind->release(&c->lock, &node);
    }
    return NULL;
}

td_status td_exercise_locks(void) {
    int n;
    const td_lock_kind *kinds = td_lock_kinds(&n);
    for (int round = 0; round < 2 * n; round++) {
        counter c = {.kind = &kinds[round / 2]};
        td_mutex_monitor(round % 2 == 1);
        c.kind->init(&c.lock);
        bool ran = run_threads(count, &c);
        td_mutex_monitor(false);
        if (!ran || c.value != THREADS * TURNS) {
            return td_fail(TD_ECHECK, "%s counted to %lld", c.kind->name, (long long)c.value);
        }
    }
    return TD_OK;
}

/* Items are places in plain memory that the producer has written. Half of the threads produce. */
typedef struct belt {
    td_ring *ring[THREADS / 2];
    td_queue *queue;
    _Atomic int next;
    bool by_rings;
    int64_t made[THREADS / 2][ITEMS], sum[THREADS / 2];
} belt;

static void produce(belt *b, int id) {
    for (int i = 0, turns = 0; i < ITEMS; i++) {
        uint64_t item = (uint64_t)(id * ITEMS + i);
        b->made[id][i] = i + 1;
        while (!(b->by_rings ? td_ring_put(b->ring[id], item) : td_queue_put(b->queue, item))) {
            td_wait_turn(&turns);
        }
    }
}

static void consume(belt *b, int id) {
    for (int i = 0, turns = 0; i < ITEMS; i++) {
        uint64_t item;
        while (!(b->by_rings ? td_ring_take(b->ring[id], &item) : td_queue_take(b->queue, &item))) {
            td_wait_turn(&turns);
        }
        b->sum[id] += b->made[item / ITEMS][item % ITEMS];
    }
}

static void *work_at_the_belt(void *arg) {
    belt *b = arg;
    int id = atomic_fetch_add(&b->next, 1);
    if (id % 2 == 0) {
        produce(b, id / 2);
    } else {
        consume(b, id / 2);
    }
    return NULL;
}

static td_status run_belt(belt *b) {
    TD_TRY(td_queue_create(CAPACITY, &b->queue));
    for (int i = 0; i < THREADS / 2; i++) {
        TD_TRY(td_ring_create(CAPACITY, &b->ring[i]));
    }
    for (int round = 0; round < 2; round++) {
        b->by_rings = round == 1;
        b->next = 0;
        int64_t sum = 0;
        bool ran = run_threads(work_at_the_belt, b);
        for (int i = 0; i < THREADS / 2; i++) {
            sum += b->sum[i];
            b->sum[i] = 0;
        }
        if (!ran || sum != INT64_C(1) * THREADS / 2 * ITEMS * (ITEMS + 1) / 2) {
            return td_fail(TD_ECHECK, "what was taken sums up to %lld", (long long)sum);
        }
    }
    return TD_OK;
}

td_status td_exercise_queues(void) {
    static belt b;
    td_status status = run_belt(&b);
    td_queue_destroy(b.queue);
    for (int i = 0; i < THREADS / 2; i++) {
        td_ring_destroy(b.ring[i]);
    }
    return status;
}

/* Threads that want a lock, watched meanwhile in every way there is. */
typedef struct observed {
    td_mutex mutex;
    _Atomic int tid[THREADS], started, end;
    int64_t value; /* plain */
} observed;

static void *want_the_lock(void *arg) {
    observed *o = arg;
    o->tid[atomic_fetch_add(&o->started, 1)] = (int)gettid();
    while (!o->end) {
        td_mutex_lock(&o->mutex);
        o->value++;
        td_mutex_unlock(&o->mutex);
    }
    return NULL;
}

static td_status read_own_stacks(const observed *o, td_stacks *stacks) {
    td_frame frame[FRAMES];
    int count;
    int64_t stopped_ns;
    for (int i = 0; i < THREADS; i++) {
        TD_TRY(td_stacks_read(stacks, o->tid[i], frame, FRAMES, &count, &stopped_ns));
    }
    return TD_OK;
}

static td_status look_often(observed *o) {
    int pid = (int)getpid();
    td_watch *watch = NULL;
    td_stacks *stacks = NULL;
    td_thread_list list;
    TD_TRY(td_watch_open(&pid, 1, &watch));
    td_status status = td_stacks_open(pid, &stacks);
    status = status == TD_ESKIP ? TD_OK : status;
    for (int i = 0; i < LOOKS && status == TD_OK; i++) {
        td_mutex_monitor(i % 2 == 0);
        status = td_watch_run(watch, 10, 0, &list);
        td_thread_list_destroy(&list);
        if (status == TD_OK && stacks != NULL) {
            status = read_own_stacks(o, stacks);
        }
        if (status == TD_OK) {
            status = td_monitor_deadlocks(&pid, 1, &list);
        }
        if (status == TD_OK) {
            status = list.deadlocks == 0 ? TD_OK : td_fail(TD_ECHECK, "a deadlock was seen");
            td_thread_list_destroy(&list);
        }
    }
    td_mutex_monitor(false);
    td_stacks_close(stacks);
    td_watch_close(watch);
    return status;
}

td_status td_exercise_watched(void) {
    static observed o;
    pthread_t thread[THREADS];
    int started = 0, turns = 0;
    while (started < THREADS && pthread_create(&thread[started], NULL, want_the_lock, &o) == 0) {
        started++;
    }
    for (int i = 0; i < started; i++) {
        while (o.tid[i] == 0) {
            td_wait_turn(&turns);
        }
    }
    td_status status =
        started == THREADS ? look_often(&o) : td_fail(TD_ESYS, "started %d threads", started);
    o.end = 1;
    for (int i = 0; i < started; i++) {
        pthread_join(thread[i], NULL);
    }
    return status == TD_OK && o.value == 0 ? td_fail(TD_ECHECK, "nobody got the lock") : status;
}
