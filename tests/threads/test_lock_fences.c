/* SPDX-License-Identifier: Apache-2.0
 * td_mutex as it is written, run by a model of x86's memory: each thread's stores go through a
 * buffer of its own and reach memory any time later, in order; locked instructions and system calls
 * empty it, and membarrier empties everybody's. All orders of what the threads do to the words of
 * the mutex are gone through, a state that was seen before only once. What a real machine would
 * show once in millions of turns, a wake-up that is lost because a fence is missing, is found so.
 */
#include <criterion/criterion.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/lock.h"

enum { MOST = 3, BUFFER = 8, DEPTH = 512, STACK = 32768, SEEN = 1 << 20 };

typedef struct store {
    void *at;
    uint64_t value;
    size_t bytes;
} store;

typedef struct actor {
    ucontext_t context;
    store buffer[BUFFER];
    int buffered, turns;
    const void *sleeps_on; /* NULL: it does not */
    uint32_t bits;
    bool for_a_time, done;
    uint64_t history; /* how far it went and what it read: what it will do follows from it */
} actor;

typedef struct model {
    actor actors[MOST];
    int count, running; /* running: -1 outside of actors */
    ucontext_t chooser;
    td_mutex mutex;
    int64_t value; /* what the mutex protects */
    int inside;
    int chosen[DEPTH], options[DEPTH], depth, recorded;
    int64_t states, quiet_sleeps;
    const char *broken;
} model;

static model m = {.running = -1};
static uint64_t visited[SEEN];
static _Alignas(64) char stacks[MOST][STACK];

static uint64_t mixed(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

/* What threads look at that do not hold the mutex, and wait for. */
static bool is_watched(const void *at) {
    return at == &m.mutex.word || at == &m.mutex.asleep;
}

/* Others may go first. NULL: whatever comes next. */
static void pause_before(const void *at) {
    if (m.running >= 0 && (at == NULL || is_watched(at))) {
        actor *a = &m.actors[m.running];
        swapcontext(&a->context, &m.chooser);
        a->history = mixed(a->history, 0);
    }
}

static uint64_t in_memory(const void *at, size_t bytes) {
    uint64_t value = 0;
    memcpy(&value, at, bytes);
    return value;
}

static void reach_memory(actor *a, int n) {
    for (int i = 0; i < n; i++) {
        memcpy(a->buffer[i].at, &a->buffer[i].value, a->buffer[i].bytes);
    }
    a->buffered -= n;
    memmove(a->buffer, a->buffer + n, (size_t)a->buffered * sizeof a->buffer[0]);
}

static uint64_t known(uint64_t value) {
    if (m.running >= 0) {
        m.actors[m.running].history = mixed(m.actors[m.running].history, value + 1);
    }
    return value;
}

static uint64_t load(const void *at, size_t bytes) {
    pause_before(at);
    uint64_t value = in_memory(at, bytes);
    for (int i = 0; m.running >= 0 && i < m.actors[m.running].buffered; i++) {
        const store *s = &m.actors[m.running].buffer[i];
        value = s->at == at ? s->value : value;
    }
    return known(value);
}

/* What a locked instruction finds. */
static uint64_t locked(const void *at, size_t bytes) {
    pause_before(at);
    if (m.running >= 0) {
        reach_memory(&m.actors[m.running], m.actors[m.running].buffered);
    }
    return known(in_memory(at, bytes));
}

static uint64_t exchange(void *at, size_t bytes, uint64_t value) {
    uint64_t before = locked(at, bytes);
    memcpy(at, &value, bytes);
    return before;
}

static void put(void *at, size_t bytes, uint64_t value, memory_order order) {
    if (order == memory_order_seq_cst || m.running < 0) {
        exchange(at, bytes, value);
        return;
    }
    pause_before(at);
    actor *a = &m.actors[m.running];
    if (a->buffered == BUFFER) {
        reach_memory(a, 1);
    }
    a->buffer[a->buffered++] = (store){.at = at, .value = value, .bytes = bytes};
}

static bool compare_exchange(void *at, size_t bytes, void *expected, uint64_t value) {
    uint64_t before = locked(at, bytes);
    bool same = before == in_memory(expected, bytes);
    memcpy(same ? at : expected, same ? &value : &before, bytes);
    return same;
}

static long sleep_on(const uint32_t *word, uint32_t value, uint32_t bits, bool for_a_time) {
    if (locked(word, sizeof *word) == value) {
        actor *a = &m.actors[m.running];
        a->sleeps_on = word;
        a->bits = bits;
        a->for_a_time = for_a_time;
        m.quiet_sleeps += (const void *)word == &m.mutex.asleep;
        pause_before(NULL);
    }
    return 0;
}

/* In the order of the actors: a thread that could be woken in another order is a thread that could
 * have gone to sleep in another order. */
static long wake_one(const void *word, uint32_t bits) {
    locked(word, sizeof(uint32_t));
    for (int i = 0; i < m.count; i++) {
        if (m.actors[i].sleeps_on == word && m.actors[i].bits & bits) {
            m.actors[i].sleeps_on = NULL;
            return 1;
        }
    }
    return 0;
}

static long call_kernel(long number, ...) {
    va_list list;
    va_start(list, number);
    long result = 0;
    if (number == SYS_gettid) {
        result = m.running + 2;
    } else if (number == SYS_membarrier && m.running >= 0) {
        pause_before(NULL);
        for (int i = 0; i < m.count; i++) {
            reach_memory(&m.actors[i], m.actors[i].buffered);
        }
    } else if (number == SYS_futex) {
        const void *word = va_arg(list, const void *);
        int operation = va_arg(list, int) & ~FUTEX_PRIVATE_FLAG;
        uint32_t value = va_arg(list, uint32_t);
        const void *timeout = va_arg(list, const void *);
        result = operation == FUTEX_WAIT ? sleep_on(word, value, UINT32_MAX, timeout != NULL)
                                         : wake_one(word, UINT32_MAX);
    }
    va_end(list);
    return result;
}

#define TYPE_AT(p) __typeof__((void)0, *(p))
#undef atomic_load_explicit
#define atomic_load_explicit(p, order) ((TYPE_AT(p))load((const void *)(p), sizeof *(p)))
#undef atomic_store_explicit
#define atomic_store_explicit(p, v, order) put((void *)(p), sizeof *(p), (uint64_t)(v), order)
#undef atomic_store
#define atomic_store(p, v) atomic_store_explicit(p, v, memory_order_seq_cst)
#undef atomic_exchange_explicit
#define atomic_exchange_explicit(p, v, order)                                                      \
    ((TYPE_AT(p))exchange((void *)(p), sizeof *(p), (uint64_t)(v)))
#undef atomic_exchange
#define atomic_exchange(p, v) atomic_exchange_explicit(p, v, memory_order_seq_cst)
#undef atomic_fetch_add_explicit
#define atomic_fetch_add_explicit(p, v, order)                                                     \
    atomic_exchange_explicit(p, in_memory((const void *)(p), sizeof *(p)) + (uint64_t)(v), order)
#undef atomic_compare_exchange_strong_explicit
#define atomic_compare_exchange_strong_explicit(p, expected, v, order, failed)                     \
    compare_exchange((void *)(p), sizeof *(p), expected, (uint64_t)(v))
#define syscall          call_kernel
#define _mm_pause()      ((void)0)
#define td_now_ns()      INT64_C(0)
#define td_mutex_lock    modelled_lock
#define td_mutex_try     modelled_try
#define td_mutex_unlock  modelled_unlock
#define td_mutex_monitor modelled_monitor
#define td_lock_kinds    modelled_kinds
void td_mutex_lock(td_mutex *mutex);
bool td_mutex_try(td_mutex *mutex);
void td_mutex_unlock(td_mutex *mutex);
bool td_mutex_monitor(bool on);
const td_lock_kind *td_lock_kinds(int *count);
#include "threads/lock.c"

static void act(int id) {
    for (int turn = 0; turn < m.actors[id].turns; turn++) {
        td_mutex_lock(&m.mutex);
        m.actors[id].history = (uint64_t)(2 * turn + 1); /* nothing it has read matters any more */
        m.broken = m.inside++ != 0 ? "two hold it" : m.broken;
        int64_t value = (int64_t)load(&m.value, sizeof m.value);
        pause_before(NULL);
        put(&m.value, sizeof m.value, (uint64_t)value + 1, memory_order_relaxed);
        m.inside--;
        td_mutex_unlock(&m.mutex);
        m.actors[id].history = (uint64_t)(2 * turn + 2);
    }
    m.actors[id].done = true;
    pause_before(NULL);
}

/* Whether this state is a new one. */
static bool is_new(void) {
    uint64_t hash = (uint64_t)m.value;
    const unsigned char *bytes = (const unsigned char *)&m.mutex;
    for (size_t i = 0; i < sizeof m.mutex; i += 8) {
        hash = mixed(hash, in_memory(bytes + i, 8));
    }
    for (int i = 0; i < m.count; i++) {
        const actor *a = &m.actors[i];
        hash = mixed(mixed(hash, a->history), (uint64_t)a->sleeps_on);
        for (int s = 0; s < a->buffered; s++) {
            hash = mixed(mixed(hash, a->buffer[s].value), (uint64_t)a->buffer[s].at);
        }
        hash = mixed(hash, (uint64_t)(2 * a->buffered + a->done));
    }
    hash += hash == 0;
    size_t at = hash % SEEN;
    for (; visited[at] != 0 && visited[at] != hash; at = (at + 1) % SEEN) {
    }
    bool fresh = visited[at] == 0;
    visited[at] = hash;
    m.states += fresh;
    return fresh;
}

/* An actor goes on, its oldest store that others watch for reaches memory with those before it, or
 * its sleep has lasted long enough. */
static void take_option(int option) {
    actor *a = &m.actors[option / 2];
    if (option % 2 == 1) {
        int n = 1;
        while (n < a->buffered && !is_watched(a->buffer[n - 1].at)) {
            n++;
        }
        reach_memory(a, n);
    } else {
        a->sleeps_on = NULL;
        m.running = option / 2;
        swapcontext(&m.chooser, &a->context);
        m.running = -1;
    }
}

static int list_options(int *options) {
    int n = 0;
    for (int i = 0; i < m.count; i++) {
        const actor *a = &m.actors[i];
        if (!a->done && (a->sleeps_on == NULL || a->for_a_time)) {
            options[n++] = 2 * i;
        }
        if (a->buffered > 0) {
            options[n++] = 2 * i + 1;
        }
    }
    return n;
}

/* A call of its own: what lives across getcontext may be lost, as across setjmp. */
static void enter(ucontext_t *context, int id) {
    getcontext(context);
    context->uc_stack.ss_sp = stacks[id];
    context->uc_stack.ss_size = STACK;
    context->uc_link = NULL;
    makecontext(context, (void (*)(void))act, 1, id);
}

static void start_actors(int count, int turns) {
    m.mutex = (td_mutex){0};
    m.value = 0;
    m.inside = 0;
    m.count = count;
    m.depth = 0;
    for (int i = 0; i < count; i++) {
        actor *a = &m.actors[i];
        a->turns = turns;
        a->buffered = 0;
        a->history = 0;
        a->sleeps_on = NULL;
        a->done = false;
        enter(&a->context, i);
    }
}

/* One order of events, the one recorded and then on until its end or a state seen before. */
static void follow(int count, int turns) {
    start_actors(count, turns);
    for (;;) {
        int options[2 * MOST], n = list_options(options);
        if (n == 0) {
            bool all = true;
            for (int i = 0; i < count; i++) {
                all = all && m.actors[i].done;
            }
            m.broken = !all ? "somebody sleeps for ever" : m.broken;
            m.broken = all && m.value != count * turns ? "a turn was lost" : m.broken;
            return;
        }
        if (m.depth == m.recorded) {
            if (!is_new()) {
                return;
            }
            cr_assert_lt(m.recorded, DEPTH, "an order without end");
            m.chosen[m.recorded] = 0;
            m.options[m.recorded++] = n;
        }
        take_option(options[m.chosen[m.depth++]]);
        if (m.broken != NULL) {
            return;
        }
    }
}

/* All orders, depth first. */
static void go_through(int count, int turns) {
    memset(visited, 0, sizeof visited);
    m.states = m.quiet_sleeps = 0;
    m.recorded = 0;
    do {
        follow(count, turns);
        while (m.recorded > 0 && m.chosen[m.recorded - 1] + 1 == m.options[m.recorded - 1]) {
            m.recorded--;
        }
        if (m.recorded > 0) {
            m.chosen[m.recorded - 1]++;
        }
        cr_assert_lt(m.states, SEEN / 2, "more states than there is room for");
    } while (m.recorded > 0 && m.broken == NULL);
}

static void expect_nobody_stuck(int count, int turns) {
    go_through(count, turns);
    cr_assert_null(m.broken, "%d threads, %d turns each: %s after %d steps", count, turns, m.broken,
                   m.depth);
    cr_assert_gt(m.states, 10000, "%ld states", (long)m.states);
    cr_assert_gt(m.quiet_sleeps, 1000, "%ld sleeps that need the fence", (long)m.quiet_sleeps);
}

Test(lock_fences, nobody_sleeps_for_ever_whatever_the_order) {
    expect_nobody_stuck(2, 2);
    expect_nobody_stuck(3, 1);
}

Test(lock_fences, nor_while_it_is_monitored) {
    td_mutex_monitor(true);
    expect_nobody_stuck(2, 2);
}
