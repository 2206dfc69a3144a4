/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "threads/holder.h"

/* A thread that was seen asleep in one and the same wait so often is looked at only every so many
 * looks: one that is in a deadlock is found that much later, and most threads sleep. */
enum { SETTLED = 16, EVERY = 8 };
enum { SUSPECT_NS = 2000000, LINE = 160, CHECK_ENDED = 64 };

typedef struct watched {
    int pid, tid, fd; /* fd: of its `syscall` */
    int owner;        /* task that it waits for; 0: none */
    bool refused;     /* as in td_holder */
    int same;         /* looks at which it was where it had been */
    char line[LINE];
} watched;

struct td_watch {
    int n_pids, *pids;
    int64_t *tasks; /* of each process, as its directory counts them */
    watched *at;    /* ordered by tid */
    int count, room;
    int *tid;           /* scratch */
    bool stale;         /* the list of threads */
    int64_t suspect_ns; /* since when there has been a cycle; 0: there is none */
    td_watch_counts counts;
};

static int by_tid(const void *a, const void *b) {
    return ((const watched *)a)->tid - ((const watched *)b)->tid;
}

static watched *find(const td_watch *w, int tid) {
    watched key = {.tid = tid};
    return w->count == 0 ? NULL : bsearch(&key, w->at, (size_t)w->count, sizeof *w->at, by_tid);
}

/* Threads that are not watched cannot be part of a cycle that is. */
static bool is_watched(void *arg, int pid, int tid) {
    const watched *t = find(arg, tid);
    return t != NULL && (pid == 0 || t->pid == pid);
}

/* The number of tasks, which the directory of them has as its links less two; -1: it is gone. */
static int64_t count_tasks(int pid) {
    char path[64];
    struct stat about;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    return stat(path, &about) == 0 ? (int64_t)about.st_nlink - 2 : -1;
}

/* One that has ended stays in /proc until its parent has asked for it. */
static td_status check_ended(td_watch *w) {
    for (int p = 0; p < w->n_pids; p++) {
        td_proc_stat stat;
        bool there = td_proc_stat_read(w->pids[p], w->pids[p], &stat);
        if (!there || (stat.state == 'Z' && count_tasks(w->pids[p]) <= 1)) {
            w->counts.ended = true;
            return td_fail(TD_ESYS, "process %d has ended", w->pids[p]);
        }
    }
    return TD_OK;
}

static void forget_threads(td_watch *w) {
    for (int i = 0; i < w->count; i++) {
        close(w->at[i].fd);
    }
    w->count = 0;
}

static td_status open_thread(td_watch *w, int pid, int tid) {
    char path[64];
    if (w->count == w->room) {
        int room = w->room * 2 + 64;
        watched *more = td_realloc(w->at, (size_t)room * sizeof *more);
        if (more == NULL) {
            return td_fail(TD_ENOMEM, "%d threads to watch", room);
        }
        w->at = more;
        w->room = room;
    }
    snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", pid, tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT && errno != ESRCH) {
        return td_fail(TD_ESYS, "watch thread %d: open %s: %s", tid, path, strerror(errno));
    }
    if (fd >= 0) {
        w->at[w->count++] = (watched){.pid = pid, .tid = tid, .fd = fd};
    }
    return TD_OK;
}

static td_status list_threads(td_watch *w) {
    forget_threads(w);
    for (int p = 0; p < w->n_pids; p++) {
        w->tasks[p] = count_tasks(w->pids[p]);
        int count = td_proc_tasks(w->pids[p], w->tid, TD_MOST_TASKS);
        if (count == 0) {
            w->counts.ended = true;
            return td_fail(TD_ESYS, "process %d has ended", w->pids[p]);
        }
        for (int i = 0; i < count; i++) {
            TD_TRY(open_thread(w, w->pids[p], w->tid[i]));
        }
    }
    qsort(w->at, (size_t)w->count, sizeof *w->at, by_tid);
    w->counts.threads = w->count;
    return TD_OK;
}

td_status td_watch_open(const int *pids, int n_pids, td_watch **out) {
    td_watch *w = td_alloc_zero(sizeof *w);
    td_status status = TD_OK;
    if (w == NULL) {
        return td_fail(TD_ENOMEM, "a watch");
    }
    w->n_pids = n_pids;
    w->pids = td_alloc((size_t)n_pids * sizeof *w->pids);
    w->tasks = td_alloc((size_t)n_pids * sizeof *w->tasks);
    w->tid = td_alloc(TD_MOST_TASKS * sizeof *w->tid);
    if (w->pids == NULL || w->tasks == NULL || w->tid == NULL) {
        status = td_fail(TD_ENOMEM, "a watch of %d processes", n_pids);
    } else {
        memcpy(w->pids, pids, (size_t)n_pids * sizeof *pids);
        /* Says, too, who may not be looked at. */
        td_thread_list list;
        status = td_monitor_list(pids, n_pids, &list);
        if (status == TD_OK) {
            td_thread_list_destroy(&list);
            status = list_threads(w);
        }
    }
    if (status != TD_OK) {
        td_watch_close(w);
        return status;
    }
    *out = w;
    return TD_OK;
}

void td_watch_close(td_watch *watch) {
    if (watch != NULL) {
        forget_threads(watch);
        td_free(watch->pids);
        td_free(watch->tasks);
        td_free(watch->tid);
        td_free(watch->at);
        td_free(watch);
    }
}

/* False when the thread is gone, which waits for nobody then. */
static bool look_at(td_watch *w, watched *t) {
    char line[LINE] = "";
    if (t->same >= SETTLED && (w->counts.looks + t->tid) % EVERY != 0) {
        return true;
    }
    ssize_t got = pread(t->fd, line, sizeof line - 1, 0);
    if (got <= 0) {
        t->owner = 0;
        t->refused = false;
        return false;
    }
    bool same = memcmp(line, t->line, sizeof line) == 0;
    td_proc_call call = td_proc_call_parse(line);
    memcpy(t->line, line, sizeof line);
    td_holder holder = {.owner = 0};
    if (call.number == SYS_futex) {
        holder = td_holder_find(t->pid, t->tid, &call, is_watched, w);
    }
    t->same = same && holder.owner == t->owner && call.number >= 0 ? t->same + 1 : 0;
    t->owner = holder.owner;
    t->refused = holder.refused;
    return true;
}

/* Whether somebody waits for himself, through others, or for one who was kept from it. From each
 * thread as far as the list is long;
 * those who wait for nobody, which is most, cost nothing. */
static bool has_cycle(const td_watch *w) {
    for (int i = 0; i < w->count; i++) {
        const watched *at = &w->at[i];
        for (int steps = 0; steps <= w->count && at != NULL && at->owner != 0; steps++) {
            at = find(w, at->owner);
            if (at == &w->at[i] || (at != NULL && at->refused)) {
                return true;
            }
        }
    }
    return false;
}

td_status td_watch_look(td_watch *watch, td_thread_list *found) {
    td_watch *w = watch;
    *found = (td_thread_list){0};
    w->counts.looks++;
    for (int p = 0; p < w->n_pids; p++) {
        w->stale = w->stale || count_tasks(w->pids[p]) != w->tasks[p];
    }
    if (w->stale || w->counts.looks % CHECK_ENDED == 0) {
        TD_TRY(check_ended(w));
    }
    if (w->stale) { /* threads were born, or have ended */
        w->stale = false;
        TD_TRY(list_threads(w));
    }
    for (int i = 0; i < w->count; i++) {
        w->stale = !look_at(w, &w->at[i]) || w->stale;
    }
    if (!has_cycle(w)) {
        w->suspect_ns = 0;
        return TD_OK;
    }
    int64_t now_ns = td_now_ns();
    w->suspect_ns = w->suspect_ns == 0 ? now_ns : w->suspect_ns;
    if (now_ns - w->suspect_ns < SUSPECT_NS) {
        return TD_OK;
    }
    w->suspect_ns = 0;
    w->counts.suspected++;
    TD_TRY(td_monitor_deadlocks(w->pids, w->n_pids, found));
    if (found->deadlocks == 0) {
        td_thread_list_destroy(found);
    }
    return TD_OK;
}

td_status td_watch_run(td_watch *watch, int64_t looks, int64_t interval_ns, td_thread_list *found) {
    int64_t next_ns = td_now_ns();
    *found = (td_thread_list){0};
    for (int64_t n = 0; n < looks && found->deadlocks == 0; n++) {
        TD_TRY(td_watch_look(watch, found));
        int64_t left_ns = (next_ns += interval_ns) - td_now_ns();
        if (left_ns > 0) {
            nanosleep(
                &(struct timespec){.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000},
                NULL);
        }
    }
    return TD_OK;
}

td_watch_counts td_watch_count(const td_watch *watch) {
    return watch->counts;
}
