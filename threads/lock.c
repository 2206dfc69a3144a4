/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/lock.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static _Thread_local int own_tid;

static int task_id(void) {
    if (own_tid == 0) {
        own_tid = (int)syscall(SYS_gettid);
    }
    return own_tid;
}

/* timeout: NULL for none. */
static void futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *timeout) {
    syscall(SYS_futex, word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

/* The states of a td_mutex. Whoever unlocks must see who went to sleep, and whoever goes to sleep
 * must see that it was unlocked: a store and then a load on both sides, which takes a fence on
 * both. QUIET leaves both to the sleeper, who makes every thread of the process pass one
 * (membarrier): unlocking is a plain store then, and a turn takes one locked instruction instead of
 * two. Nobody but the holder changes the word from QUIET. Once somebody has slept, turns are BUSY
 * for a while: unlocked by an exchange, because membarrier interrupts the other CPUs.
 *
 * Who found it QUIET sleeps on `asleep`, which is 1 while somebody may; who found it BUSY on
 * `word`.
 *
 * NOTED is QUIET with the owner noted. It is a state of its own so that contention monitoring costs
 * nothing while it is off: what is looked at anyway, how a mutex is taken and in which state it is,
 * leads to all that monitoring does. */
enum { FREE = 0, QUIET = 1, WAITED_FOR = 2, BUSY = 3, NOTED = 4 };
enum { BUSY_TURNS = 4096 };

static bool may_be_quiet; /* written once, before main */
static _Atomic bool monitoring;
static _Atomic uint32_t untroubled; /* how a mutex is taken that nobody has slept for lately */

static bool fence_all_threads(void) {
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0) {
        return true;
    }
    /* At first, and perhaps in a forked copy. */
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* While there is one thread it costs 1 us, later a thousand times that. */
__attribute__((constructor)) static void ask_for_fences(void) {
    may_be_quiet = fence_all_threads();
    atomic_store(&untroubled, may_be_quiet ? QUIET : BUSY);
}

bool td_mutex_monitor(bool on) {
    atomic_store(&untroubled, !may_be_quiet ? BUSY : on ? NOTED : QUIET);
    return atomic_exchange(&monitoring, on);
}

static bool is_quiet(uint32_t state) {
    return state == QUIET || state == NOTED;
}

/* By the holder. acquired is nobody else's to write, so it needs no locked addition. */
static void note_owner(td_mutex *mutex) {
    int64_t acquired = atomic_load_explicit(&mutex->acquired, memory_order_relaxed);
    atomic_store_explicit(&mutex->owner, task_id(), memory_order_relaxed);
    atomic_store_explicit(&mutex->acquired, acquired + 1, memory_order_relaxed);
    mutex->kind = TD_MUTEX_KIND;
}

static bool take(td_mutex *mutex, uint32_t how) {
    uint32_t free = FREE;
    /* acquire pairs with the release in td_mutex_unlock: the last holder's writes are visible. */
    return atomic_compare_exchange_strong_explicit(&mutex->word, &free, how, memory_order_acquire,
                                                   memory_order_relaxed);
}

/* By the holder, of any turn that was not taken QUIET. Who unlocks reads this and not the word: a
 * load of what a locked instruction has just written takes 5 ns more (12.6 to 17.6 a turn on an
 * Emerald Rapids), and the mark is in the same line. */
static void mark_troubled(td_mutex *mutex) {
    atomic_store_explicit(&mutex->troubled, 1, memory_order_relaxed);
}

/* Monitored, or after somebody has slept, or without fences. */
static bool try_troubled(td_mutex *mutex) {
    bool watched = atomic_load_explicit(&monitoring, memory_order_relaxed);
    bool quiet = may_be_quiet && atomic_load_explicit(&mutex->busy, memory_order_relaxed) == 0;
    uint32_t how = !quiet ? BUSY : watched ? NOTED : QUIET;
    if (!take(mutex, how)) {
        return false;
    }
    if (how != QUIET) {
        mark_troubled(mutex);
    }
    if (watched) {
        note_owner(mutex);
    }
    return true;
}

static bool is_untroubled(const td_mutex *mutex) {
    return atomic_load_explicit(&untroubled, memory_order_relaxed) == QUIET &&
           atomic_load_explicit(&mutex->busy, memory_order_relaxed) == 0;
}

bool td_mutex_try(td_mutex *mutex) {
    return is_untroubled(mutex) ? take(mutex, QUIET) : try_troubled(mutex);
}

/* The holder's store of FREE and its load of `asleep` are on one side of this fence: either the
 * load sees 1, or the word is seen to be free here. */
static void sleep_quietly(td_mutex *mutex) {
    static const struct timespec unsure = {.tv_nsec = 1000000};
    atomic_store_explicit(&mutex->busy, BUSY_TURNS, memory_order_relaxed);
    atomic_store_explicit(&mutex->asleep, 1, memory_order_seq_cst);
    bool fenced = fence_all_threads();
    if (is_quiet(atomic_load_explicit(&mutex->word, memory_order_seq_cst))) {
        futex_wait(&mutex->asleep, 1, fenced ? NULL : &unsure);
        /* One is woken at a time, who cannot know whether it was the last. */
        atomic_store_explicit(&mutex->asleep, 1, memory_order_seq_cst);
    }
}

/* Taken so it is WAITED_FOR: this thread cannot know whether it is the last that waits. */
static void sleep_until_taken(td_mutex *mutex) {
    while (!take(mutex, WAITED_FOR)) {
        uint32_t seen = atomic_load_explicit(&mutex->word, memory_order_relaxed);
        if (is_quiet(seen)) {
            sleep_quietly(mutex);
        } else if (seen == WAITED_FOR ||
                   (seen == BUSY && atomic_compare_exchange_strong_explicit(
                                        &mutex->word, &seen, WAITED_FOR, memory_order_seq_cst,
                                        memory_order_relaxed))) {
            futex_wait(&mutex->word, WAITED_FOR, NULL);
        }
    }
    mark_troubled(mutex);
}

/* Looking for some us covers a critical section of a few hundred ns, which a sleep of 50 us would
 * not pay for. Each look takes the line from the holder, so they grow rarer; and how long it is
 * looked follows how long it took lately, so that where holders lose their CPUs it is soon given
 * up. The first look is not at once: after one pause two threads took 80 to 90 ns a turn, after
 * four 66 to 72, after eight 48 to 53. */
enum { FIRST_PAUSES = 8, MOST_PAUSES = 64, PAUSES_IN_ALL = 192, PAUSES_AT_LEAST = 10 };

__attribute__((noinline)) static void lock_slowly(td_mutex *mutex) {
    bool counted = atomic_load_explicit(&monitoring, memory_order_relaxed);
    int64_t start = counted ? td_now_ns() : 0;
    bool held = false;
    int usual = atomic_load_explicit(&mutex->pauses, memory_order_relaxed), spent = 0;
    int most =
        2 * usual + PAUSES_AT_LEAST < PAUSES_IN_ALL ? 2 * usual + PAUSES_AT_LEAST : PAUSES_IN_ALL;
    for (int pauses = FIRST_PAUSES; spent < most && !held; spent += pauses) {
        for (int i = 0; i < pauses; i++) {
            _mm_pause();
        }
        pauses = pauses < MOST_PAUSES ? 2 * pauses : pauses;
        held =
            atomic_load_explicit(&mutex->word, memory_order_relaxed) == FREE && td_mutex_try(mutex);
    }
    if (!held) {
        sleep_until_taken(mutex);
        if (counted) {
            note_owner(mutex);
        }
    }
    atomic_store_explicit(&mutex->pauses, usual + (spent - usual) / 8, memory_order_relaxed);
    if (counted) {
        atomic_fetch_add_explicit(&mutex->contended, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&mutex->wait_ns, td_now_ns() - start, memory_order_relaxed);
    }
}

__attribute__((noinline)) static void lock_troubled(td_mutex *mutex) {
    if (!try_troubled(mutex)) {
        lock_slowly(mutex);
    }
}

/* Calls come last, so that a lock nobody else wants takes no frame and nine instructions. */
void td_mutex_lock(td_mutex *mutex) {
    if (!is_untroubled(mutex)) {
        lock_troubled(mutex);
    } else if (!take(mutex, QUIET)) {
        lock_slowly(mutex);
    }
}

static bool asleep_quietly(td_mutex *mutex) {
    return atomic_load_explicit(&mutex->asleep, memory_order_relaxed) != 0;
}

__attribute__((noinline)) static void wake_quiet_sleeper(td_mutex *mutex) {
    if (atomic_exchange_explicit(&mutex->asleep, 0, memory_order_seq_cst) != 0) {
        futex_wake(&mutex->asleep);
    }
}

static void unlock_quiet(td_mutex *mutex) {
    /* release pairs with the acquire in take(). That `asleep` is loaded after is left to the fence
     * in sleep_quietly; the compiler keeps the order here. */
    atomic_store_explicit(&mutex->word, FREE, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    if (asleep_quietly(mutex)) {
        wake_quiet_sleeper(mutex);
    }
}

/* `asleep` is looked at before the line is given away: who slept quietly is owed a wake-up by the
 * quiet holder it saw, and by whoever was woken before it, which has set `asleep` itself. */
static void unlock_busy(td_mutex *mutex) {
    bool asleep = asleep_quietly(mutex);
    int busy = atomic_load_explicit(&mutex->busy, memory_order_relaxed);
    if (busy > 0) { /* overwrites what a sleeper may have set just now: it is a guess anyway */
        atomic_store_explicit(&mutex->busy, busy - 1, memory_order_relaxed);
    }
    if (atomic_exchange_explicit(&mutex->word, FREE, memory_order_seq_cst) == WAITED_FOR) {
        futex_wake(&mutex->word);
    }
    if (asleep) {
        wake_quiet_sleeper(mutex);
    }
}

/* Whoever noted himself did not take it QUIET. */
__attribute__((noinline)) static void unlock_troubled(td_mutex *mutex) {
    atomic_store_explicit(&mutex->troubled, 0, memory_order_relaxed); /* as long as it is free */
    if (atomic_load_explicit(&mutex->owner, memory_order_relaxed) != 0) {
        atomic_store_explicit(&mutex->owner, 0, memory_order_relaxed);
    }
    if (atomic_load_explicit(&mutex->word, memory_order_relaxed) == NOTED) {
        unlock_quiet(mutex);
    } else {
        unlock_busy(mutex);
    }
}

void td_mutex_unlock(td_mutex *mutex) {
    if (atomic_load_explicit(&mutex->troubled, memory_order_relaxed) == 0) {
        unlock_quiet(mutex);
    } else {
        unlock_troubled(mutex);
    }
}

/* ---- the ladder ---- */

/* One look at a lock that is taken. Bounded spins, then the CPU is given away: with more threads
 * than CPUs the holder may need it. First by yielding, which is quick where the holder is on this
 * run queue; but threads that are bound and yield without end were seen to hold up each other and
 * everybody else (Linux 6.18), so then by naps. */
enum { LOOKS_A_YIELD = 64, YIELDS_AT_MOST = 64, NAP_NS = 20000 };

static void look_again(int *looks) {
    if (++*looks % LOOKS_A_YIELD != 0) {
        _mm_pause();
    } else if (*looks < LOOKS_A_YIELD * YIELDS_AT_MOST) {
        sched_yield();
    } else {
        nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    }
}

static void zero(td_lock *lock) {
    memset((void *)lock, 0, sizeof *lock);
}

static void set_acquire(td_lock *lock, td_lock_node *node) {
    (void)node;
    int looks = 0;
    while (atomic_exchange_explicit(&lock->as.word, 1, memory_order_acquire) != 0) {
        look_again(&looks);
    }
}

static void test_acquire(td_lock *lock, td_lock_node *node) {
    (void)node;
    int looks = 0;
    for (;;) {
        if (atomic_load_explicit(&lock->as.word, memory_order_relaxed) == 0 &&
            atomic_exchange_explicit(&lock->as.word, 1, memory_order_acquire) == 0) {
            return;
        }
        look_again(&looks);
    }
}

static void word_release(td_lock *lock, td_lock_node *node) {
    (void)node;
    atomic_store_explicit(&lock->as.word, 0, memory_order_release);
}

static void ticket_acquire(td_lock *lock, td_lock_node *node) {
    (void)node;
    int looks = 0;
    uint32_t mine = atomic_fetch_add_explicit(&lock->as.tickets.next, 1, memory_order_relaxed);
    while (atomic_load_explicit(&lock->as.tickets.serving, memory_order_acquire) != mine) {
        look_again(&looks);
    }
}

static void ticket_release(td_lock *lock, td_lock_node *node) {
    (void)node;
    uint32_t served = atomic_load_explicit(&lock->as.tickets.serving, memory_order_relaxed);
    atomic_store_explicit(&lock->as.tickets.serving, served + 1, memory_order_release);
}

static void mcs_acquire(td_lock *lock, td_lock_node *node) {
    atomic_store_explicit(&node->next, NULL, memory_order_relaxed);
    atomic_store_explicit(&node->waiting, 1, memory_order_relaxed);
    /* acq_rel: publishes this node to the next in line, and sees the last holder's writes when the
     * line was empty. */
    td_lock_node *before = atomic_exchange_explicit(&lock->as.tail, node, memory_order_acq_rel);
    if (before == NULL) {
        return;
    }
    atomic_store_explicit(&before->next, node, memory_order_release);
    int looks = 0;
    while (atomic_load_explicit(&node->waiting, memory_order_acquire)) {
        look_again(&looks);
    }
}

static void mcs_release(td_lock *lock, td_lock_node *node) {
    td_lock_node *next = atomic_load_explicit(&node->next, memory_order_acquire);
    td_lock_node *last = node;
    if (next == NULL) {
        if (atomic_compare_exchange_strong_explicit(&lock->as.tail, &last, NULL,
                                                    memory_order_release, memory_order_relaxed)) {
            return;
        }
        /* Somebody is between taking the tail and linking itself. */
        int looks = 0;
        while ((next = atomic_load_explicit(&node->next, memory_order_acquire)) == NULL) {
            look_again(&looks);
        }
    }
    atomic_store_explicit(&next->waiting, 0, memory_order_release);
}

static void futex_acquire(td_lock *lock, td_lock_node *node) {
    (void)node;
    td_mutex_lock(&lock->as.futex);
}

static void futex_release(td_lock *lock, td_lock_node *node) {
    (void)node;
    td_mutex_unlock(&lock->as.futex);
}

static void pthread_init(td_lock *lock) {
    pthread_mutex_init(&lock->as.mutex, NULL);
}

static void adaptive_init(td_lock *lock) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&lock->as.mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static void pthread_acquire(td_lock *lock, td_lock_node *node) {
    (void)node;
    pthread_mutex_lock(&lock->as.mutex);
}

static void pthread_release(td_lock *lock, td_lock_node *node) {
    (void)node;
    pthread_mutex_unlock(&lock->as.mutex);
}

static void spin_init(td_lock *lock) {
    pthread_spin_init(&lock->as.spin, PTHREAD_PROCESS_PRIVATE);
}

static void spin_acquire(td_lock *lock, td_lock_node *node) {
    (void)node;
    pthread_spin_lock(&lock->as.spin);
}

static void spin_release(td_lock *lock, td_lock_node *node) {
    (void)node;
    pthread_spin_unlock(&lock->as.spin);
}

static void rwlock_init(td_lock *lock) {
    pthread_rwlock_init(&lock->as.rwlock, NULL);
}

static void rwlock_acquire(td_lock *lock, td_lock_node *node) {
    (void)node;
    pthread_rwlock_wrlock(&lock->as.rwlock);
}

static void rwlock_release(td_lock *lock, td_lock_node *node) {
    (void)node;
    pthread_rwlock_unlock(&lock->as.rwlock);
}

static const td_lock_kind kinds[] = {
    {"test_and_set", "exchange until it was free", false, zero, set_acquire, word_release},
    {"test_first", "look before the exchange", false, zero, test_acquire, word_release},
    {"ticket", "take a number", true, zero, ticket_acquire, ticket_release},
    {"mcs", "queue, each waiting on a line of its own", true, zero, mcs_acquire, mcs_release},
    {"futex", "td_mutex: look, then sleep", false, zero, futex_acquire, futex_release},
    {"pthread", "pthread_mutex", false, pthread_init, pthread_acquire, pthread_release},
    {"pthread_adaptive", "pthread_mutex that spins first", false, adaptive_init, pthread_acquire,
     pthread_release},
    {"pthread_spin", "pthread_spinlock", false, spin_init, spin_acquire, spin_release},
    {"rwlock", "pthread_rwlock, for writing", false, rwlock_init, rwlock_acquire, rwlock_release},
};

const td_lock_kind *td_lock_kinds(int *count) {
    *count = (int)(sizeof kinds / sizeof kinds[0]);
    return kinds;
}
