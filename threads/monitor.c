/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/monitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "threads/holder.h"

enum { MOST_PROCESSES = 32768 };

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

static bool find_task(void *arg, int pid, int tid) {
    (void)arg;
    return is_task(pid == 0 ? tid : pid, tid);
}

static void classify_futex(td_thread_info *info) {
    td_holder holder = td_holder_find(info->pid, info->tid, &info->call, find_task, NULL);
    info->lock = holder.lock;
    info->owner = holder.owner;
    info->joins = holder.joins;
    info->refused = holder.refused;
    memcpy(info->lock_name, holder.name, sizeof info->lock_name);
    info->state = holder.owner != 0 && !holder.joins ? TD_THREAD_BLOCKED
                  : info->call.argument[3] != 0      ? TD_THREAD_TIMED_WAITING
                                                     : TD_THREAD_WAITING;
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

td_status td_monitor_refused(int pid) {
    char path[32];
    struct stat about;
    snprintf(path, sizeof path, "/proc/%d", pid);
    if (stat(path, &about) != 0) {
        return td_fail(TD_ESYS, "process %d is not there", pid);
    }
    return td_fail(TD_ESYS, "process %d may not be looked at: %s", pid,
                   about.st_uid != geteuid()
                       ? "it is another user's"
                       : "it is this user's, but has more rights, forbids it (PR_SET_DUMPABLE), or "
                         "kernel.yama.ptrace_scope is not 0");
}

/* Appends the threads of a process; tid is scratch of TD_MOST_TASKS. */
static td_status add_process(int pid, int depth, int *tid, td_thread_list *out) {
    int count = td_proc_tasks(pid, tid, TD_MOST_TASKS), before = out->count;
    if (count == 0) {
        return td_monitor_refused(pid);
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
    const td_thread_info *last = out->count > before ? &out->at[out->count - 1] : NULL;
    if (last != NULL && last->call.number == -2 && last->state != TD_THREAD_TERMINATED) {
        out->count = before;
        return td_monitor_refused(pid);
    }
    return TD_OK;
}

td_status td_monitor_list(const int *pids, int n_pids, td_thread_list *out) {
    *out = (td_thread_list){0};
    int *tid = td_alloc(TD_MOST_TASKS * sizeof *tid);
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
    int tid[TD_MOST_TASKS];
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
           now.refused == before->refused &&
           (now.refused || (now.owner == before->owner && now.state == before->state)) &&
           now.stat.start_ticks == before->stat.start_ticks &&
           now.switches.voluntary == before->switches.voluntary &&
           now.switches.involuntary == before->switches.involuntary;
}

/* Who was refused a lock would have waited, through others, for himself: the cycle is closed from
 * him to the last of those who wait for him. */
static void close_refused(td_thread_list *list) {
    for (int i = 0; i < list->count; i++) {
        td_thread_info *refused = &list->at[i], *last = refused;
        for (int steps = 0, k = 0; refused->refused && steps < list->count && k < list->count;) {
            if (list->at[k].owner == last->tid) {
                last = &list->at[k];
                steps++;
                k = 0;
            } else {
                k++;
            }
        }
        if (last != refused) {
            refused->owner = last->tid;
            refused->state = TD_THREAD_BLOCKED;
        }
    }
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
    close_refused(out);
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
        if (t->owner == 0 || t->joins || t->refused) {
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
