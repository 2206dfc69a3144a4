/* SPDX-License-Identifier: Apache-2.0
 * Locks: the one to use (td_mutex), and the ladder of ways to build one, for experiments and
 * measurements. Lock ranks: none of these is held while another is taken.
 */
#ifndef TD_THREADS_LOCK_H
#define TD_THREADS_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A futex lock. Zero to start; its memory must stay until every td_mutex_unlock has returned. The
 * first five words lie as in glibc's mutex, so a tool that finds the owner of one finds the owner
 * of the other. */
typedef struct td_mutex {
    _Atomic uint32_t word;   /* 0 free; 1 to 4 held, see lock.c */
    _Atomic uint32_t asleep; /* somebody may sleep on this word */
    _Atomic int owner;       /* task id; kept only while contention is monitored */
    uint32_t users, kind;    /* kind: TD_MUTEX_KIND once it was taken while monitored */
    _Atomic int pauses;      /* that a contended lock usually took */
    const char *name;
    _Atomic int64_t acquired, contended, wait_ns; /* counted while contention is monitored */
    _Atomic int busy;     /* turns to come that are expected to be waited for */
    _Atomic int troubled; /* the holder did not take it the quick way */
} td_mutex;

/* A kind that glibc's mutexes do not have: `name` is there. */
enum { TD_MUTEX_KIND = 1001 };

void td_mutex_lock(td_mutex *mutex);
bool td_mutex_try(td_mutex *mutex);
void td_mutex_unlock(td_mutex *mutex);

/* Contention monitoring of every td_mutex of this process; off at first. Returns what it was. */
bool td_mutex_monitor(bool on);

/* What a queue lock keeps for each holder or waiter; lives from acquire to release. */
typedef struct td_lock_node td_lock_node;
struct td_lock_node {
    _Alignas(128) _Atomic(td_lock_node *) next;
    _Atomic int waiting;
};

/* Room for any kind of the ladder. */
typedef struct td_lock {
    _Alignas(128) union {
        _Atomic uint32_t word;
        struct {
            _Atomic uint32_t next, serving;
        } tickets;
        _Atomic(td_lock_node *) tail;
        td_mutex futex;
        pthread_mutex_t mutex;
        pthread_spinlock_t spin;
        pthread_rwlock_t rwlock;
    } as;
} td_lock;

typedef struct td_lock_kind {
    const char *name, *doc;
    bool in_turn; /* first come, first served: collapses when the next in turn has no CPU */
    void (*init)(td_lock *lock);
    void (*acquire)(td_lock *lock, td_lock_node *node);
    void (*release)(td_lock *lock, td_lock_node *node);
} td_lock_kind;

/* test_and_set, test_first, ticket, mcs, futex, pthread, pthread_adaptive, pthread_spin, rwlock */
const td_lock_kind *td_lock_kinds(int *count);

#endif
