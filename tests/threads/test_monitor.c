/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/lock.h"
#include "threads/monitor.h"
#include "threads/watch.h"

enum { MOST = 5 };

typedef enum lock_kind {
    NORMAL,
    RECURSIVE,
    ADAPTIVE,
    CHECKING,
    LASTING,
    OURS,
    BETWEEN,
    WRITING, /* read-write locks, for writing */
    READING, /* held for writing, wanted for reading */
    JOINING  /* the last waits for the end of the first, who waits for a lock of the last */
} lock_kind;

/* Planted deadlocks: so many threads (or processes), each holding one lock and wanting the next's.
 */
static const struct {
    lock_kind kind;
    int members;
} plants[] = {{NORMAL, 1},    {NORMAL, 2},   {NORMAL, 3},   {NORMAL, 5},   {RECURSIVE, 2},
              {RECURSIVE, 3}, {RECURSIVE, 5}, {ADAPTIVE, 2}, {ADAPTIVE, 3}, {ADAPTIVE, 5},
              {CHECKING, 2},  {CHECKING, 3}, {CHECKING, 5}, {LASTING, 2},  {LASTING, 3},
              {LASTING, 5},   {OURS, 2},     {OURS, 3},     {OURS, 5},     {BETWEEN, 2},
              {BETWEEN, 3},   {BETWEEN, 5},  {WRITING, 2},  {WRITING, 3}, {WRITING, 5},
              {READING, 2},   {READING, 3},  {READING, 5},  {JOINING, 2}, {JOINING, 3},
              {JOINING, 5}};
enum { N_PLANTS = sizeof plants / sizeof plants[0] };

typedef struct garden {
    pthread_mutex_t mutex[MOST];
    td_mutex ours[MOST];
    pthread_rwlock_t rwlock[MOST];
    _Atomic pthread_t thread[MOST];
    _Atomic int holding, next, release;
    int members;
    lock_kind kind;
} garden;

static void lock(garden *g, int i) {
    if (g->kind == OURS) {
        td_mutex_lock(&g->ours[i]);
    } else if (g->kind == WRITING || g->kind == READING) {
        pthread_rwlock_wrlock(&g->rwlock[i]);
    } else {
        pthread_mutex_lock(&g->mutex[i]);
    }
}

static void *hold_and_want(void *arg) {
    garden *g = arg;
    int id = atomic_fetch_add(&g->next, 1), wanted = (id + 1) % g->members;
    g->thread[id] = pthread_self();
    lock(g, id);
    atomic_fetch_add(&g->holding, 1);
    while (g->holding < g->members) {
        sched_yield();
    }
    if (g->kind == READING) {
        pthread_rwlock_rdlock(&g->rwlock[wanted]);
    } else if (g->kind == JOINING && wanted == 0) {
        pthread_join(g->thread[0], NULL);
    } else {
        lock(g, wanted);
    }
    return NULL;
}

static void make_locks(garden *g) {
    static const int types[] = {[NORMAL] = PTHREAD_MUTEX_NORMAL,
                                [RECURSIVE] = PTHREAD_MUTEX_RECURSIVE,
                                [ADAPTIVE] = PTHREAD_MUTEX_ADAPTIVE_NP,
                                [CHECKING] = PTHREAD_MUTEX_ERRORCHECK,
                                [LASTING] = PTHREAD_MUTEX_NORMAL,
                                [OURS] = PTHREAD_MUTEX_NORMAL,
                                [BETWEEN] = PTHREAD_MUTEX_NORMAL,
                                [WRITING] = PTHREAD_MUTEX_NORMAL,
                                [READING] = PTHREAD_MUTEX_NORMAL,
                                [JOINING] = PTHREAD_MUTEX_NORMAL};
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, types[g->kind]);
    if (g->kind == LASTING) {
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    }
    if (g->kind == BETWEEN) {
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    }
    for (int i = 0; i < MOST; i++) {
        pthread_mutex_init(&g->mutex[i], &attributes);
        pthread_rwlock_init(&g->rwlock[i], NULL);
        g->ours[i].name = "planted";
    }
}

static garden *shared_garden(void) {
    garden *g =
        mmap(NULL, sizeof *g, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(g, MAP_FAILED);
    return g;
}

static pid_t start(garden *g, int threads, void *(*main)(void *)) {
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        td_mutex_monitor(true);
        pthread_t thread;
        for (int i = 1; i < threads; i++) {
            pthread_create(&thread, NULL, main, g);
        }
        main(g);
        pause();
    }
    return pid;
}

/* Looks until a deadlock is found; the bound is only there to fail rather than hang. */
static int look_until_found(const int *pids, int n, td_thread_list *list) {
    int64_t end = td_now_ns() + INT64_C(20000000000);
    do {
        cr_assert_eq(td_monitor_deadlocks(pids, n, list), TD_OK, "%s", td_error());
        if (list->deadlocks > 0) {
            return list->deadlocks;
        }
        td_thread_list_destroy(list);
        sched_yield();
    } while (td_now_ns() < end);
    return 0;
}

ParameterizedTestParameters(monitor, a_planted_deadlock_is_found) {
    static int rows[N_PLANTS];
    for (int i = 0; i < N_PLANTS; i++) {
        rows[i] = i;
    }
    return cr_make_param_array(int, rows, N_PLANTS);
}

ParameterizedTest(int *row, monitor, a_planted_deadlock_is_found) {
    int members = plants[*row].members, pids[MOST], n = 1;
    garden *g = shared_garden();
    g->kind = plants[*row].kind;
    g->members = members;
    make_locks(g);
    if (g->kind == BETWEEN) {
        for (n = 0; n < members; n++) {
            pids[n] = start(g, 1, hold_and_want);
        }
    } else {
        pids[0] = start(g, members, hold_and_want);
    }
    td_thread_list list;
    cr_assert_eq(look_until_found(pids, n, &list), 1, "kind %d of %d members", g->kind, members);
    int marked = 0;
    for (int i = 0; i < list.count; i++) {
        marked += list.at[i].cycle == 1;
        cr_assert(list.at[i].cycle == 0 || list.at[i].state == TD_THREAD_BLOCKED ||
                  (list.at[i].joins && list.at[i].state == TD_THREAD_WAITING));
        bool named = g->kind == OURS && list.at[i].cycle != 0;
        cr_assert_str_eq(list.at[i].lock_name, named ? "planted" : "");
    }
    cr_assert_eq(marked, members, "%d of %d members were named", marked, members);
    td_thread_list_destroy(&list);
    for (int i = 0; i < n; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
}

/* Four threads that want two locks each, always in the same order, as fast as they can. */
static void *hand_on(void *arg) {
    garden *g = arg;
    for (int i = atomic_fetch_add(&g->next, 1); !g->release; i++) {
        int first = i % (MOST - 1);
        lock(g, first);
        lock(g, MOST - 1);
        if (g->kind == OURS) {
            td_mutex_unlock(&g->ours[MOST - 1]);
            td_mutex_unlock(&g->ours[first]);
        } else if (g->kind == WRITING) {
            pthread_rwlock_unlock(&g->rwlock[MOST - 1]);
            pthread_rwlock_unlock(&g->rwlock[first]);
        } else {
            pthread_mutex_unlock(&g->mutex[MOST - 1]);
            pthread_mutex_unlock(&g->mutex[first]);
        }
        atomic_fetch_add(&g->holding, 1);
    }
    return NULL;
}

ParameterizedTestParameters(monitor, a_busy_program_is_not_deadlocked) {
    static int kinds[] = {NORMAL, RECURSIVE, ADAPTIVE, LASTING, OURS, WRITING};
    return cr_make_param_array(int, kinds, sizeof kinds / sizeof kinds[0]);
}

ParameterizedTest(int *kind, monitor, a_busy_program_is_not_deadlocked) {
    garden *g = shared_garden();
    g->kind = (lock_kind)*kind;
    make_locks(g);
    int pid = start(g, 4, hand_on);
    td_thread_list list;
    td_watch *watch;
    cr_assert_eq(td_watch_open(&pid, 1, &watch), TD_OK, "%s", td_error());
    for (int looks = 0; looks < 3000 || td_watch_count(watch).threads < 4; looks++) {
        cr_assert_eq(td_watch_look(watch, &list), TD_OK, "%s", td_error());
        cr_assert_eq(list.deadlocks, 0, "look %d", looks);
    }
    td_watch_close(watch);
    for (int looks = 0; looks < 300 || g->holding == 0; looks++) {
        cr_assert_eq(td_monitor_deadlocks(&pid, 1, &list), TD_OK, "%s", td_error());
        cr_assert_eq(list.deadlocks, 0, "look %d", looks);
        td_thread_list_destroy(&list);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Holds a priority-inheriting mutex that another wants, and waits for a semaphore in a frame of its
 * own, as it would wait for a lock that the kernel has refused it. */
static void *hold_and_wait(void *arg) {
    garden *g = arg;
    sem_t never;
    sem_init(&never, 0, 0);
    pthread_mutex_lock(&g->mutex[0]);
    g->holding = 1;
    sem_wait(&never);
    return NULL;
}

static void *want_the_first(void *arg) {
    garden *g = arg;
    pthread_t thread;
    pthread_create(&thread, NULL, hold_and_wait, g);
    while (g->holding == 0) {
        sched_yield();
    }
    pthread_mutex_lock(&g->mutex[0]);
    return NULL;
}

Test(monitor, a_semaphore_of_ones_own_is_no_refused_lock) {
    garden *g = shared_garden();
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&g->mutex[0], &attributes);
    pid_t pid = start(g, 1, want_the_first);
    td_thread_list list;
    int64_t end = td_now_ns() + INT64_C(20000000000);
    int waiting;
    do {
        cr_assert_eq(td_monitor_deadlocks(&pid, 1, &list), TD_OK, "%s", td_error());
        cr_assert_eq(list.deadlocks, 0);
        waiting = 0;
        for (int i = 0; i < list.count; i++) {
            waiting += list.at[i].state == TD_THREAD_BLOCKED ||
                       (list.at[i].state == TD_THREAD_WAITING && list.at[i].tid != pid);
            cr_assert(!list.at[i].refused);
        }
        td_thread_list_destroy(&list);
    } while (waiting < 2 && td_now_ns() < end);
    cr_assert_eq(waiting, 2);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Ten million locks handed on in all, looked at ten thousand times a second. */
ParameterizedTestParameters(full_monitor, ten_million_hand_overs_are_no_deadlock) {
    static int kinds[] = {NORMAL, RECURSIVE, ADAPTIVE, LASTING, OURS, WRITING};
    return cr_make_param_array(int, kinds, sizeof kinds / sizeof kinds[0]);
}

ParameterizedTest(int *kind, full_monitor, ten_million_hand_overs_are_no_deadlock,
                  .timeout = 300) {
    enum { HAND_OVERS = 10000000 / 6 + 1 };
    garden *g = shared_garden();
    g->kind = (lock_kind)*kind;
    make_locks(g);
    int pid = start(g, 4, hand_on);
    td_thread_list list;
    td_watch *watch;
    cr_assert_eq(td_watch_open(&pid, 1, &watch), TD_OK, "%s", td_error());
    while (g->holding < HAND_OVERS) {
        cr_assert_eq(td_watch_run(watch, 100, 100000, &list), TD_OK, "%s", td_error());
        cr_assert_eq(list.deadlocks, 0);
    }
    td_watch_counts c = td_watch_count(watch);
    cr_log_info("kind %d: %lld looks at %d hand-overs, %lld suspicions", *kind, (long long)c.looks,
                (int)g->holding, (long long)c.suspected);
    td_watch_close(watch);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

Test(monitor, states_are_told_apart) {
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        char byte;
        _exit(read(ends[0], &byte, 1) == 1 ? 0 : 1);
    }
    td_thread_list list;
    int64_t end = td_now_ns() + INT64_C(20000000000);
    const char *call = NULL;
    do {
        cr_assert_eq(td_monitor_list(&pid, 1, &list), TD_OK);
        call = list.at[0].state == TD_THREAD_IN_CALL ? td_call_name(list.at[0].call.number) : NULL;
        td_thread_list_destroy(&list);
    } while (call == NULL && td_now_ns() < end);
    cr_assert_str_eq(call, "read");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_assert_eq(td_monitor_list(&pid, 1, &list), TD_ESYS);
}

/* A process that starts a thread and a child, which starts a thread and a grandchild, and so on. */
static void *stay(void *arg) {
    pause();
    return arg;
}

static void grow(_Atomic int *pids, int level) {
    pthread_t thread;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pthread_create(&thread, NULL, stay, NULL);
    pids[level] = getpid();
    if (level > 0 && fork() == 0) {
        grow(pids, level - 1);
    }
    stay(NULL);
}

Test(monitor, a_tree_has_parents_before_children) {
    enum { LEVELS = 4 };
    _Atomic int *pids = (_Atomic int *)shared_garden();
    pid_t pid = fork();
    if (pid == 0) {
        grow(pids, LEVELS - 1);
    }
    int64_t end = td_now_ns() + INT64_C(20000000000);
    while (pids[0] == 0 && td_now_ns() < end) {
        sched_yield();
    }
    td_thread_list list, everything;
    cr_assert_eq(td_monitor_tree(pid, &list), TD_OK, "%s", td_error());
    cr_assert_eq(list.count, 2 * LEVELS, "%d threads", list.count);
    cr_expect_eq(list.hidden, 0);
    for (int i = 0; i < list.count; i++) {
        const td_thread_info *t = &list.at[i];
        cr_expect_eq(t->depth, i / 2);
        cr_expect_eq(t->pid, pids[LEVELS - 1 - i / 2]);
        cr_expect_eq(t->tid == t->pid, i % 2 == 0, "the leader comes first");
    }
    /* Among all processes it hangs below this one. */
    int mine = -1, planted = -1;
    cr_assert_eq(td_monitor_tree(0, &everything), TD_OK, "%s", td_error());
    for (int i = 0; i < everything.count; i++) {
        mine = everything.at[i].tid == getpid() ? i : mine;
        planted = everything.at[i].tid == pid ? i : planted;
    }
    cr_assert(mine >= 0 && planted > mine);
    cr_expect_eq(everything.at[planted].depth, everything.at[mine].depth + 1);
    td_thread_list_destroy(&everything);
    td_thread_list_destroy(&list);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_expect_eq(td_monitor_tree(pid, &list), TD_ESYS);
}

static td_thread_info sighting(int tid, int64_t born, int64_t run_ns, int64_t delay_ns,
                               int64_t switches) {
    return (td_thread_info){.pid = 1,
                            .tid = tid,
                            .stat.start_ticks = born,
                            .sched = {.run_ns = run_ns, .delay_ns = delay_ns},
                            .switches = {.voluntary = switches, .involuntary = 2 * switches}};
}

Test(monitor, rates_are_differences) {
    td_thread_info first[] = {sighting(5, 10, 700, 100, 3), sighting(6, 10, 100, 0, 1),
                              sighting(7, 10, 900, 900, 9), sighting(9, 10, 40, 0, 4)};
    /* 6 was busiest, 8 is new, 7 is another thread of that id, 9 is gone, 5 slept. */
    td_thread_info second[] = {sighting(5, 10, 700, 100, 3), sighting(6, 10, 900, 100, 4),
                               sighting(7, 20, 100, 50, 2), sighting(8, 30, 100, 400, 7)};
    td_thread_list before = {.at = first, .count = 4}, now = {.at = second, .count = 4};
    static const struct {
        int tid;
        double cpu, line;
        int64_t voluntary;
    } wanted[] = {{6, 0.8, 0.1, 3}, {8, 0.1, 0.4, 7}, {7, 0.1, 0.05, 2}, {5, 0, 0, 0}};
    td_thread_rate rates[4];
    td_monitor_rates(&before, &now, 1000, rates);
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(rates[i].now->tid, wanted[i].tid);
        cr_expect_float_eq(rates[i].cpu, wanted[i].cpu, 1e-12);
        cr_expect_float_eq(rates[i].line, wanted[i].line, 1e-12);
        cr_expect_eq(rates[i].voluntary, wanted[i].voluntary);
        cr_expect_eq(rates[i].involuntary, 2 * wanted[i].voluntary);
    }
}

static void *spin(void *arg) {
    for (garden *g = arg; !g->release;) {
    }
    return NULL;
}

/* Where a live process is looked at, the thread that works comes before the one that sleeps. */
Test(monitor, the_busy_thread_is_first) {
    garden *g = shared_garden();
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pthread_create(&thread, NULL, spin, g);
        stay(NULL);
    }
    td_thread_list before, now;
    td_thread_rate rates[2];
    int64_t start = td_now_ns();
    do { /* until there are both and the first sleeps */
        cr_assert_eq(td_monitor_list(&pid, 1, &before), TD_OK, "%s", td_error());
    } while ((before.count < 2 || before.at[0].call.number != SYS_pause) &&
             (td_thread_list_destroy(&before), td_now_ns() < start + INT64_C(20000000000)));
    cr_assert_eq(before.count, 2);
    /* Its times were read before it was seen to sleep. */
    td_thread_list_destroy(&before);
    cr_assert_eq(td_monitor_list(&pid, 1, &before), TD_OK, "%s", td_error());
    do { /* until the other has run */
        cr_assert_eq(td_monitor_list(&pid, 1, &now), TD_OK, "%s", td_error());
        td_monitor_rates(&before, &now, td_now_ns() - start, rates);
        cr_assert_eq(now.count, 2);
    } while (rates[0].cpu == 0 &&
             (td_thread_list_destroy(&now), td_now_ns() < start + INT64_C(40000000000)));
    cr_expect(rates[0].now->tid != pid && rates[0].cpu > 0);
    cr_expect(rates[1].now->tid == pid && rates[1].cpu == 0 && rates[1].voluntary == 0);
    td_thread_list_destroy(&before);
    td_thread_list_destroy(&now);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* One holds both locks; two want the first and one the second. */
static void *want_one(void *arg) {
    garden *g = arg;
    lock(g, atomic_fetch_add(&g->next, 1) % 2);
    return NULL;
}

static void *hold_both(void *arg) {
    garden *g = arg;
    pthread_t thread;
    lock(g, 0);
    lock(g, 1);
    for (int i = 0; i < 3; i++) {
        pthread_create(&thread, NULL, want_one, g);
    }
    return stay(NULL);
}

ParameterizedTestParameters(monitor, locks_are_told_with_owner_and_waiters) {
    static int kinds[] = {NORMAL, RECURSIVE, ADAPTIVE, CHECKING, LASTING, OURS};
    return cr_make_param_array(int, kinds, sizeof kinds / sizeof kinds[0]);
}

ParameterizedTest(int *kind, monitor, locks_are_told_with_owner_and_waiters) {
    garden *g = shared_garden();
    g->kind = (lock_kind)*kind;
    make_locks(g);
    pid_t pid = start(g, 1, hold_both);
    td_thread_list list;
    int64_t end = td_now_ns() + INT64_C(20000000000);
    int blocked;
    do { /* until the three that want wait */
        cr_assert_eq(td_monitor_deadlocks(&pid, 1, &list), TD_OK, "%s", td_error());
        blocked = 0;
        for (int i = 0; i < list.count; i++) {
            blocked += list.at[i].state == TD_THREAD_BLOCKED;
        }
    } while (blocked < 3 && (td_thread_list_destroy(&list), td_now_ns() < end));
    cr_assert_eq(blocked, 3);
    td_lock_info locks[4];
    cr_assert_eq(list.count, 4);
    cr_assert_eq(td_monitor_locks(&list, locks), 2);
    for (int i = 0; i < 2; i++) {
        /* A futex is the first word of either mutex; the memory is at one address in both. */
        const void *address = *kind == OURS ? (void *)&g->ours[i] : (void *)&g->mutex[i];
        cr_expect_eq(locks[i].address, (uint64_t)(uintptr_t)address);
        cr_expect_eq(locks[i].owner, pid);
        cr_expect_eq(locks[i].waiters, 2 - i);
    }
    cr_expect_eq(list.deadlocks, 0);
    td_thread_list_destroy(&list);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
