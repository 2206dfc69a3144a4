/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/monitor.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "base/memory.h"
#include "threads/lock.h"

enum { MOST_TASKS = 8192, MOST_PROCESSES = 32768 };

const char *td_thread_state_name(td_thread_state state) {
    static const char *const names[] = {
#define TD_THREAD_STATE_NAME(name) #name,
        TD_THREAD_STATE_MAP(TD_THREAD_STATE_NAME)
#undef TD_THREAD_STATE_NAME
    };
    return names[state];
}

static const struct {
    long number;
    const char *name;
    bool timed;
} calls[] = {
    {SYS_futex, "futex", false},
    {SYS_read, "read", false},
    {SYS_write, "write", false},
    {SYS_poll, "poll", true},
    {SYS_ppoll, "ppoll", true},
    {SYS_select, "select", true},
    {SYS_pselect6, "pselect", true},
    {SYS_epoll_wait, "epoll_wait", true},
    {SYS_epoll_pwait, "epoll_pwait", true},
    {SYS_nanosleep, "nanosleep", true},
    {SYS_clock_nanosleep, "clock_nanosleep", true},
    {SYS_wait4, "wait4", false},
    {SYS_waitid, "waitid", false},
    {SYS_pause, "pause", false},
    {SYS_accept, "accept", false},
    {SYS_recvfrom, "recvfrom", false},
    {SYS_recvmsg, "recvmsg", false},
    {SYS_rt_sigsuspend, "sigsuspend", false},
    {SYS_rt_sigtimedwait, "sigtimedwait", true},
    {SYS_restart_syscall, "restart_syscall", true},
};
enum { N_CALLS = sizeof calls / sizeof calls[0] };

static int find_call(long number) {
    for (int i = 0; i < N_CALLS; i++) {
        if (calls[i].number == number) {
            return i;
        }
    }
    return -1;
}

const char *td_call_name(long number) {
    int i = find_call(number);
    return i < 0 ? NULL : calls[i].name;
}

static bool is_task(int pid, int tid) {
    td_proc_stat stat;
    return td_proc_stat_read(pid, tid, &stat) && stat.state != 'Z' && stat.state != 'X';
}

/* Whether tid is a task of any process: a lock in shared memory may be held by another. */
static bool is_any_task(int tid) {
    return is_task(tid, tid);
}

static bool read_words(int pid, uint64_t address, uint32_t *word, size_t bytes) {
    struct iovec to = {word, bytes}, from = {(void *)(uintptr_t)address, bytes};
    return process_vm_readv(pid, &to, 1, &from, 1, 0) == (ssize_t)bytes;
}

/* A lock as it lies in memory: the five words that glibc's mutex starts with, and td_mutex too
 * (lock, count, owner, users, kind), and the name that td_mutex has behind them. */
enum { MUTEX_WORDS = 8 };

static void read_name(td_thread_info *info, const uint32_t *word) {
    uint64_t address;
    memcpy(&address, word + 6, sizeof address);
    size_t bytes = sizeof info->lock_name - 1, left = 4096 - address % 4096;
    if (word[4] != TD_MUTEX_KIND || address == 0 ||
        !read_words(info->pid, address, (uint32_t *)(void *)info->lock_name,
                    bytes < left ? bytes : left)) {
        info->lock_name[0] = '\0';
    }
}

/* The owner, when the word at the address looks like a held lock of either; 0: it does not. */
static int owner_of_mutex(td_thread_info *info, const uint32_t *word, long operation) {
    int holder = (int)(word[0] & FUTEX_TID_MASK);
    if (operation == FUTEX_LOCK_PI || word[0] & (FUTEX_WAITERS | FUTEX_OWNER_DIED)) {
        /* The word itself names the owner. */
        return word[0] & FUTEX_OWNER_DIED || is_task(info->pid, holder) || is_any_task(holder)
                   ? holder
                   : 0;
    }
    int owner = (int)word[2];
    bool plausible = (word[0] == 1 || word[0] == 2) && owner > 0 && word[1] < 1U << 16 &&
                     word[3] <= 1 && word[4] < 1024; /* kinds and flags up to 512 */
    if (!plausible || !(is_task(info->pid, owner) || is_any_task(owner))) {
        return 0;
    }
    read_name(info, word);
    return owner;
}

/* glibc's read-write lock: who waits, waits in one of two of its words. Its writer, when all eight
 * words look like such a lock in the hands of one. */
static int owner_of_rwlock(const td_thread_info *info) {
    enum { READERS, WRITERS, PHASE, QUEUE, PAD, PAD_TOO, WRITER, SHARED, WORDS };
    _Static_assert(offsetof(pthread_rwlock_t, __data.__cur_writer) == WRITER * 4, "glibc's layout");
    for (int waits_in = PHASE; waits_in <= QUEUE; waits_in++) {
        uint32_t word[WORDS];
        if (!read_words(info->pid, info->lock - (uint64_t)waits_in * 4, word, sizeof word)) {
            continue;
        }
        bool written = (word[READERS] & 3) == 3; /* phase of writers, and one has it */
        bool plausible = written && (word[WRITERS] & 0x7fffffff) < 1U << 16 && word[PHASE] <= 3 &&
                         word[QUEUE] <= 3 && word[PAD] == 0 && word[PAD_TOO] == 0 &&
                         word[SHARED] <= 1 && word[waits_in] == (uint32_t)info->call.argument[2];
        int writer = (int)word[WRITER];
        if (plausible && writer > 0 &&
            (is_task(info->pid, writer) || (word[SHARED] && is_any_task(writer)))) {
            return writer;
        }
    }
    return 0;
}

/* pthread_join waits until the kernel clears the id of the other in its own memory: not a private
 * wait, as nothing else is in a process that shares no futexes. */
static bool joins(const td_thread_info *info, uint32_t word) {
    return (info->call.argument[1] & FUTEX_PRIVATE_FLAG) == 0 &&
           word == (uint32_t)info->call.argument[2] && (int)word != info->tid &&
           (int)word > 0 && is_task(info->pid, (int)word);
}

static void classify_futex(td_thread_info *info) {
    long operation = (long)(info->call.argument[1] & 127);
    bool waits = operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET ||
                 operation == FUTEX_LOCK_PI || operation == FUTEX_LOCK_PI2;
    uint32_t word[MUTEX_WORDS] = {0};
    info->state = info->call.argument[3] != 0 ? TD_THREAD_TIMED_WAITING : TD_THREAD_WAITING;
    if (!waits) {
        return;
    }
    info->lock = info->call.argument[0];
    if (read_words(info->pid, info->lock, word, sizeof word)) {
        info->owner =
            owner_of_mutex(info, word, operation == FUTEX_LOCK_PI2 ? FUTEX_LOCK_PI : operation);
    }
    if (info->owner == 0 && joins(info, word[0])) {
        info->owner = (int)word[0];
        info->joins = true;
        return;
    }
    info->owner = info->owner == 0 ? owner_of_rwlock(info) : info->owner;
    info->state = info->owner != 0 ? TD_THREAD_BLOCKED : info->state;
}

static void classify(td_thread_info *info) {
    int call = find_call(info->call.number);
    switch (info->stat.state) {
    case 'R':
        info->state = TD_THREAD_RUNNING;
        return;
    case 'D':
        info->state = TD_THREAD_UNINTERRUPTIBLE;
        return;
    case 'T':
    case 't':
        info->state = TD_THREAD_STOPPED;
        return;
    case 'Z':
    case 'X':
        info->state = TD_THREAD_TERMINATED;
        return;
    default:
        break;
    }
    if (info->call.number == SYS_futex) {
        classify_futex(info);
    } else if (call >= 0 && calls[call].timed) {
        info->state = TD_THREAD_TIMED_WAITING;
    } else {
        info->state = TD_THREAD_IN_CALL;
    }
}

static bool look(int pid, int tid, td_thread_info *info) {
    *info = (td_thread_info){.pid = pid, .tid = tid};
    if (!td_proc_stat_read(pid, tid, &info->stat)) {
        return false;
    }
    td_proc_sched_read(pid, tid, &info->sched);
    info->switches = td_proc_switches_read(pid, tid);
    info->call = td_proc_call_read(pid, tid);
    classify(info);
    return true;
}

/* Appends the threads of a process; tid is scratch of MOST_TASKS. */
static td_status add_process(int pid, int depth, int *tid, td_thread_list *out) {
    int count = td_proc_tasks(pid, tid, MOST_TASKS), before = out->count;
    if (count == 0) {
        return td_fail(TD_ESYS, "process %d is not there", pid);
    }
    td_thread_info *more = td_realloc(out->at, (size_t)(before + count) * sizeof *out->at);
    if (more == NULL) {
        return td_fail(TD_ENOMEM, "%d threads", before + count);
    }
    out->at = more;
    for (int i = 0; i < count; i++) {
        bool there = look(pid, tid[i], &out->at[out->count]);
        out->at[out->count].depth = depth;
        out->count += there;
    }
    if (out->count > before && out->at[out->count - 1].call.number == -2) {
        out->count = before;
        return td_fail(TD_ESYS, "process %d may not be looked at: it is another user's", pid);
    }
    return TD_OK;
}

td_status td_monitor_list(const int *pids, int n_pids, td_thread_list *out) {
    *out = (td_thread_list){0};
    int *tid = td_alloc(MOST_TASKS * sizeof *tid);
    td_status status = tid == NULL ? td_fail(TD_ENOMEM, "a list of threads") : TD_OK;
    for (int p = 0; p < n_pids && status == TD_OK; p++) {
        status = add_process(pids[p], 0, tid, out);
    }
    td_free(tid);
    if (status != TD_OK) {
        td_thread_list_destroy(out);
    }
    return status;
}

/* What td_monitor_tree works on: all processes there were, and scratch. */
typedef struct forest {
    int pid[MOST_PROCESSES], parent[MOST_PROCESSES], count;
    bool seen[MOST_PROCESSES];
    int tid[MOST_TASKS];
    bool all;
    td_thread_list *out;
} forest;

static void read_forest(forest *f) {
    f->count = td_proc_pids(f->pid, MOST_PROCESSES);
    for (int i = 0; i < f->count; i++) {
        td_proc_stat stat;
        f->seen[i] = !td_proc_stat_read(f->pid[i], f->pid[i], &stat);
        f->parent[i] = f->seen[i] ? 0 : stat.ppid;
    }
}

static bool is_listed(const forest *f, int pid) {
    for (int i = 0; i < f->count; i++) {
        if (f->pid[i] == pid && !f->seen[i]) {
            return true;
        }
    }
    return false;
}

/* Marks each process: ids used again between two reads must not lead in circles. */
static td_status add_tree(forest *f, int i, int depth) {
    f->seen[i] = true;
    td_status status = add_process(f->pid[i], depth, f->tid, f->out);
    if (status == TD_ESYS && (f->all || depth > 0)) {
        f->out->hidden++;
        status = TD_OK;
    }
    for (int k = 0; k < f->count && status == TD_OK; k++) {
        if (f->parent[k] == f->pid[i] && !f->seen[k]) {
            status = add_tree(f, k, depth + 1);
        }
    }
    return status;
}

td_status td_monitor_tree(int root, td_thread_list *out) {
    *out = (td_thread_list){0};
    forest *f = td_alloc(sizeof *f);
    if (f == NULL) {
        return td_fail(TD_ENOMEM, "a list of processes");
    }
    f->out = out;
    f->all = root == 0;
    read_forest(f);
    bool found = f->all;
    td_status status = TD_OK;
    for (int i = 0; i < f->count && status == TD_OK; i++) {
        if (!f->seen[i] && (f->all ? !is_listed(f, f->parent[i]) : f->pid[i] == root)) {
            found = true;
            status = add_tree(f, i, 0);
        }
    }
    if (status == TD_OK && !found) {
        status = td_fail(TD_ESYS, "process %d is not there", root);
    }
    td_free(f);
    if (status != TD_OK) {
        td_thread_list_destroy(out);
    }
    return status;
}

void td_thread_list_destroy(td_thread_list *list) {
    td_free(list->at);
    *list = (td_thread_list){0};
}

static td_thread_info *find(const td_thread_list *list, int tid) {
    for (int i = 0; i < list->count; i++) {
        if (list->at[i].tid == tid) {
            return &list->at[i];
        }
    }
    return NULL;
}

/* Still waiting for the same lock of the same owner, without having run since. */
static bool unchanged(const td_thread_info *before) {
    td_thread_info now;
    return look(before->pid, before->tid, &now) && now.lock == before->lock &&
           now.owner == before->owner && now.state == before->state &&
           now.stat.start_ticks == before->stat.start_ticks &&
           now.switches.voluntary == before->switches.voluntary &&
           now.switches.involuntary == before->switches.involuntary;
}

/* The cycle that `start` is on, marked with `number`; false when it is on none. */
static bool mark_cycle(td_thread_list *list, td_thread_info *start, int number) {
    td_thread_info *at = start;
    for (int steps = 0; steps <= list->count; steps++) {
        at = at->owner == 0 ? NULL : find(list, at->owner);
        if (at == NULL || at->cycle != 0) {
            return false;
        }
        if (at == start) {
            do {
                at->cycle = number;
                at = find(list, at->owner);
            } while (at != start);
            return true;
        }
    }
    return false;
}

td_status td_monitor_deadlocks(const int *pids, int n_pids, td_thread_list *out) {
    TD_TRY(td_monitor_list(pids, n_pids, out));
    for (int i = 0; i < out->count; i++) {
        if (out->at[i].cycle == 0 && mark_cycle(out, &out->at[i], out->deadlocks + 1)) {
            out->deadlocks++;
        }
    }
    if (out->deadlocks == 0) {
        return TD_OK;
    }
    struct timespec nap = {.tv_nsec = 5000000};
    nanosleep(&nap, NULL);
    int confirmed = 0;
    for (int cycle = 1; cycle <= out->deadlocks; cycle++) {
        bool same = true;
        for (int i = 0; i < out->count; i++) {
            same = same && (out->at[i].cycle != cycle || unchanged(&out->at[i]));
        }
        confirmed += same;
        for (int i = 0; i < out->count; i++) {
            if (out->at[i].cycle == cycle) {
                out->at[i].cycle = same ? confirmed : 0;
            }
        }
    }
    out->deadlocks = confirmed;
    return TD_OK;
}

static int by_cpu(const void *a, const void *b) {
    const td_thread_rate *x = a, *y = b;
    double more = y->cpu != x->cpu ? y->cpu - x->cpu : y->line - x->line;
    return more != 0 ? (more > 0) - (more < 0) : x->now->tid - y->now->tid;
}

void td_monitor_rates(const td_thread_list *before, const td_thread_list *now, int64_t elapsed_ns,
                      td_thread_rate *out) {
    static const td_thread_info newborn;
    for (int i = 0; i < now->count; i++) {
        const td_thread_info *t = &now->at[i], *old = find(before, t->tid);
        /* An id may have been given to another thread since. */
        old = old != NULL && old->stat.start_ticks == t->stat.start_ticks ? old : &newborn;
        out[i] = (td_thread_rate){
            .now = t,
            .cpu = (double)(t->sched.run_ns - old->sched.run_ns) / (double)elapsed_ns,
            .line = (double)(t->sched.delay_ns - old->sched.delay_ns) / (double)elapsed_ns,
            .voluntary = t->switches.voluntary - old->switches.voluntary,
            .involuntary = t->switches.involuntary - old->switches.involuntary};
    }
    qsort(out, (size_t)now->count, sizeof *out, by_cpu);
}

static int by_waiters(const void *a, const void *b) {
    const td_lock_info *x = a, *y = b;
    if (x->waiters != y->waiters) {
        return y->waiters - x->waiters;
    }
    return (x->address > y->address) - (x->address < y->address);
}

int td_monitor_locks(const td_thread_list *list, td_lock_info *out) {
    int count = 0;
    for (int i = 0; i < list->count; i++) {
        const td_thread_info *t = &list->at[i];
        int k = 0;
        if (t->owner == 0 || t->joins) {
            continue;
        }
        while (k < count && (out[k].address != t->lock || out[k].owner != t->owner)) {
            k++;
        }
        if (k == count) {
            out[count++] =
                (td_lock_info){.address = t->lock, .name = t->lock_name, .owner = t->owner};
        }
        out[k].waiters++;
    }
    qsort(out, (size_t)count, sizeof *out, by_waiters);
    return count;
}
