/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/holder.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "threads/lock.h"

/* The thread that waits, and how to look at others. */
typedef struct waiter {
    int pid, tid;
    const td_proc_call *call;
    td_task_fn *task;
    void *arg;
} waiter;

/* In its process, or in any: a lock in shared memory may be held by another. */
static bool is_task(const waiter *w, int tid) {
    return tid > 0 && (w->task(w->arg, w->pid, tid) || w->task(w->arg, 0, tid));
}

static bool read_words(const waiter *w, uint64_t address, void *to, size_t bytes) {
    return td_proc_memory_read(w->pid, address, to, bytes) == bytes;
}

/* A lock as it lies in memory: the five words that glibc's mutex starts with, and td_mutex too, and
 * the name that td_mutex has behind them. Threads may also sleep on the second word of a td_mutex.
 */
enum { LOCK, COUNT, OWNER, USERS, KIND, NAME = 6, MUTEX_WORDS = 8 };

static void read_name(const waiter *w, const uint32_t *word, td_holder *out) {
    uint64_t address;
    memcpy(&address, word + NAME, sizeof address);
    size_t bytes = sizeof out->name - 1, left = 4096 - address % 4096;
    if (word[KIND] != TD_MUTEX_KIND || address == 0 ||
        !read_words(w, address, out->name, bytes < left ? bytes : left)) {
        out->name[0] = '\0';
    }
}

/* The owner, when the word at the address looks like a held lock of either; 0: it does not. */
static int owner_of_mutex(const waiter *w, const uint32_t *word, bool inherits, td_holder *out) {
    int holder = (int)(word[LOCK] & FUTEX_TID_MASK);
    if (inherits || word[LOCK] & (FUTEX_WAITERS | FUTEX_OWNER_DIED)) {
        /* The word itself names the owner. */
        return word[LOCK] & FUTEX_OWNER_DIED || is_task(w, holder) ? holder : 0;
    }
    int owner = (int)word[OWNER];
    uint32_t most = word[KIND] == TD_MUTEX_KIND ? 4 : 3; /* how a held one may look */
    bool plausible = word[LOCK] >= 1 && word[LOCK] <= most && word[COUNT] < 1U << 16 &&
                     word[USERS] <= 1 && word[KIND] < 1024; /* kinds and flags up to 512 */
    if (!plausible || !is_task(w, owner)) {
        return 0;
    }
    read_name(w, word, out);
    return owner;
}

/* glibc's read-write lock: who waits, waits in one of two of its words. Its writer, when all eight
 * words look like such a lock in the hands of one. */
static int owner_of_rwlock(const waiter *w, uint64_t futex) {
    enum { READERS, WRITERS, PHASE, QUEUE, PAD, PAD_TOO, WRITER, SHARED, WORDS };
    _Static_assert(offsetof(pthread_rwlock_t, __data.__cur_writer) == WRITER * 4, "glibc's layout");
    for (int waits_in = PHASE; waits_in <= QUEUE; waits_in++) {
        uint32_t word[WORDS];
        if (!read_words(w, futex - (uint64_t)waits_in * 4, word, sizeof word)) {
            continue;
        }
        bool written = (word[READERS] & 3) == 3; /* phase of writers, and one has it */
        bool plausible = written && (word[WRITERS] & 0x7fffffff) < 1U << 16 && word[PHASE] <= 3 &&
                         word[QUEUE] <= 3 && word[PAD] == 0 && word[PAD_TOO] == 0 &&
                         word[SHARED] <= 1 && word[waits_in] == (uint32_t)w->call->argument[2];
        int writer = (int)word[WRITER];
        if (plausible && writer > 0 &&
            (w->task(w->arg, w->pid, writer) || (word[SHARED] && w->task(w->arg, 0, writer)))) {
            return writer;
        }
    }
    return 0;
}

/* pthread_join waits until the kernel clears the id of the other in its own memory: not a private
 * wait, as nothing else is in a process that shares no futexes. */
static bool joins(const waiter *w, uint32_t word) {
    return (w->call->argument[1] & FUTEX_PRIVATE_FLAG) == 0 &&
           word == (uint32_t)w->call->argument[2] && (int)word != w->tid && (int)word > 0 &&
           w->task(w->arg, w->pid, (int)word);
}

/* glibc then sleeps on a zero in the frame of pthread_mutex_lock, which lies just above that of the
 * wait (84 bytes with glibc 2.36). A semaphore with waiters that happened to be as near is told
 * from it by its count of them. */
static bool is_refused(const waiter *w, const uint32_t *word) {
    enum { NEAR = 128, MOST_WAITERS = 1 << 16 };
    const td_proc_call *call = w->call;
    uint64_t address = call->argument[0];
    bool semaphore = address % 8 == 0 && word[1] > 0 && word[1] < MOST_WAITERS &&
                     (word[2] == 0 || word[2] == FUTEX_PRIVATE_FLAG);
    return call->argument[2] == 0 && call->argument[3] == 0 && word[0] == 0 &&
           address - call->sp < NEAR && !semaphore;
}

td_holder td_holder_find(int pid, int tid, const td_proc_call *call, td_task_fn *task, void *arg) {
    const waiter w = {.pid = pid, .tid = tid, .call = call, .task = task, .arg = arg};
    td_holder out = {.lock = 0};
    long operation = (long)(call->argument[1] & 127);
    bool inherits = operation == FUTEX_LOCK_PI || operation == FUTEX_LOCK_PI2;
    uint32_t word[MUTEX_WORDS] = {0};
    if (!inherits && operation != FUTEX_WAIT && operation != FUTEX_WAIT_BITSET) {
        return out;
    }
    out.lock = call->argument[0];
    bool readable = read_words(&w, out.lock, word, sizeof word);
    if (readable && word[KIND - COUNT] == TD_MUTEX_KIND) {
        out.lock -= COUNT * sizeof word[0];
        readable = read_words(&w, out.lock, word, sizeof word);
    }
    if (readable) {
        out.owner = owner_of_mutex(&w, word, inherits, &out);
        out.refused = out.owner == 0 && !inherits && is_refused(&w, word);
    }
    if (out.refused) {
        out.lock = 0;
    } else if (out.owner == 0 && joins(&w, word[LOCK])) {
        out.owner = (int)word[LOCK];
        out.joins = true;
    } else if (out.owner == 0) {
        out.owner = owner_of_rwlock(&w, out.lock);
    }
    return out;
}
