/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "threads/lock.h"

/* A lock that serves in turn needs a time slice a turn when the next in turn has no CPU: the time
 * is limited, and what was done in it counts. */
enum { THREADS = 4, TURNS = 3000, LIMIT_NS = 200000000 };

typedef struct shared_count {
    td_lock lock;
    int64_t value; /* plain: only the lock keeps it whole */
    const td_lock_kind *kind;
    bool no_lock;
    _Atomic int ready, stop;
    _Atomic int64_t done;
} shared_count;

static void *count_up(void *arg) {
    shared_count *s = arg;
    td_lock_node node;
    atomic_fetch_add(&s->ready, 1);
    td_lab_await(&s->ready, THREADS);
    int64_t end = td_now_ns() + LIMIT_NS;
    for (int i = 0; i < TURNS && !s->stop; i++) {
        if (!s->no_lock) {
            s->kind->acquire(&s->lock, &node);
        }
        int64_t seen = s->value;
        if (i % 50 == 49) {
            sched_yield(); /* a holder that loses its CPU */
        }
        __asm__ __volatile__("" ::: "memory");
        s->value = seen + 1;
        if (!s->no_lock) {
            s->kind->release(&s->lock, &node);
        }
        s->done++;
        if (i % 8 == 7 && td_now_ns() > end) {
            s->stop = 1;
        }
    }
    return NULL;
}

void td_concept_lock_ladder(td_lab *lab) {
    int n;
    const td_lock_kind *kinds = td_lock_kinds(&n);
    for (int i = 0; i < n; i++) {
        static shared_count s;
        memset((void *)&s, 0, sizeof s);
        s.kind = &kinds[i];
        s.no_lock = lab->mutant;
        s.kind->init(&s.lock);
        pthread_t threads[THREADS];
        int64_t start = td_now_ns();
        for (int t = 0; t < THREADS; t++) {
            threads[t] = td_lab_thread(lab, count_up, &s);
        }
        for (int t = 0; t < THREADS; t++) {
            pthread_join(threads[t], NULL);
        }
        double ns = (double)(td_now_ns() - start) / (double)s.done;
        td_lab_check(lab, s.value == s.done,
                     "%-17s %d threads added %lld: the count is %lld (%.0f ns a turn)",
                     s.kind->name, THREADS, (long long)s.done, (long long)s.value, ns);
        td_lab_sample(lab, ns);
    }
    td_lab_sampled(lab, "a turn, over the kinds of lock");
}
