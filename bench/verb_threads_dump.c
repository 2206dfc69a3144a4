/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/memory.h"
#include "bench/verb_threads.h"
#include "threads/monitor.h"

td_status td_threads_parse_pids(const char *word, int *pid, int *count) {
    char copy[512];
    if (word == NULL) {
        return td_fail(TD_EUSAGE, "expected a process id, or several with commas");
    }
    snprintf(copy, sizeof copy, "%s", word);
    char *rest = copy;
    *count = 0;
    for (char *one; (one = strsep(&rest, ",")) != NULL;) {
        long long value;
        TD_TRY(td_parse_int(one, "process id", 1, 1 << 22, &value));
        if (*count == TD_MOST_PIDS) {
            return td_fail(TD_EUSAGE, "more than %d processes", TD_MOST_PIDS);
        }
        pid[(*count)++] = (int)value;
    }
    return TD_OK;
}

static const char *name_of(const td_thread_list *list, int tid) {
    for (int i = 0; i < list->count; i++) {
        if (list->at[i].tid == tid) {
            return list->at[i].stat.comm;
        }
    }
    return "another process";
}

static void print_thread(const td_thread_list *list, const td_thread_info *t) {
    double tick_ms = 1e3 / (double)sysconf(_SC_CLK_TCK);
    printf("\"%s\" tid=%d pid=%d nice=%d policy=%d cpu=%d cpu_time=%.1fms user=%.0fms sys=%.0fms "
           "runq_wait=%.1fms\n",
           t->stat.comm, t->tid, t->pid, t->stat.nice, t->stat.policy, t->stat.cpu,
           (double)t->sched.run_ns * 1e-6, (double)t->stat.utime_ticks * tick_ms,
           (double)t->stat.stime_ticks * tick_ms, (double)t->sched.delay_ns * 1e-6);
    printf("   state: %s", td_thread_state_name(t->state));
    const char *call = td_call_name(t->call.number);
    if (t->call.number >= 0 && t->state != TD_THREAD_RUNNING) {
        char number[32];
        snprintf(number, sizeof number, "call %ld", t->call.number);
        printf(" in %s, pc 0x%llx", call != NULL ? call : number, (unsigned long long)t->call.pc);
    }
    printf("   switches %lld+%lld  minor faults %lld\n", (long long)t->switches.voluntary,
           (long long)t->switches.involuntary, (long long)t->stat.minflt);
    if (t->owner != 0) {
        printf("        - waiting to lock <0x%llx> held by \"%s\" tid=%d\n",
               (unsigned long long)t->lock, name_of(list, t->owner), t->owner);
    } else if (t->lock != 0) {
        printf("        - waiting on <0x%llx>\n", (unsigned long long)t->lock);
    }
    printf("\n");
}

static void print_deadlocks(const td_thread_list *list) {
    for (int cycle = 1; cycle <= list->deadlocks; cycle++) {
        printf("Found a deadlock (two looks, 5 ms apart, no member ran):\n");
        for (int i = 0; i < list->count; i++) {
            const td_thread_info *t = &list->at[i];
            if (t->cycle == cycle) {
                printf("  \"%s\" tid=%d waits for <0x%llx>, held by \"%s\" tid=%d\n",
                       t->stat.comm, t->tid, (unsigned long long)t->lock, name_of(list, t->owner),
                       t->owner);
            }
        }
    }
    printf("threads: %d, deadlocks: %d\n", list->count, list->deadlocks);
}

static td_status dump_json(json_t *root, const char *what) {
    if (root == NULL || json_dumpf(root, stdout, JSON_INDENT(2)) != 0) {
        json_decref(root);
        return td_fail(TD_ENOMEM, "the JSON of %s", what);
    }
    printf("\n");
    json_decref(root);
    return TD_OK;
}

static td_status print_json(const td_thread_list *list) {
    json_t *threads = json_array();
    for (int i = 0; i < list->count; i++) {
        const td_thread_info *t = &list->at[i];
        json_array_append_new(
            threads,
            json_pack("{s:s, s:i, s:i, s:s, s:I, s:i, s:i, s:I, s:I, s:i, s:i, s:I, s:I}", "name",
                      t->stat.comm, "tid", t->tid, "pid", t->pid, "state",
                      td_thread_state_name(t->state), "lock", (json_int_t)t->lock, "owner",
                      t->owner, "deadlock", t->cycle, "cpu_ns", (json_int_t)t->sched.run_ns,
                      "runq_wait_ns", (json_int_t)t->sched.delay_ns, "cpu", t->stat.cpu, "nice",
                      t->stat.nice, "voluntary_switches", (json_int_t)t->switches.voluntary,
                      "involuntary_switches", (json_int_t)t->switches.involuntary));
    }
    return dump_json(json_pack("{s:s, s:o, s:i}", "schema", "tandem.threads/1", "threads", threads,
                               "deadlocks", list->deadlocks),
                     "threads");
}

static bool waits_for(const td_thread_info *t, const td_lock_info *lock) {
    return t->lock == lock->address && t->owner == lock->owner;
}

static void print_locks(const td_thread_list *list, const td_lock_info *lock, int count) {
    for (int k = 0; k < count; k++) {
        printf("<0x%llx> held by \"%s\" tid=%d, %d waiting\n", (unsigned long long)lock[k].address,
               name_of(list, lock[k].owner), lock[k].owner, lock[k].waiters);
        for (int i = 0; i < list->count; i++) {
            const td_thread_info *t = &list->at[i];
            if (waits_for(t, &lock[k])) {
                printf("        - \"%s\" tid=%d pid=%d%s\n", t->stat.comm, t->tid, t->pid,
                       t->cycle != 0 ? " in a deadlock" : "");
            }
        }
    }
    printf("locks waited for: %d, threads: %d, deadlocks: %d\n", count, list->count,
           list->deadlocks);
}

static td_status print_locks_json(const td_thread_list *list, const td_lock_info *lock,
                                  int count) {
    json_t *locks = json_array();
    for (int k = 0; k < count; k++) {
        json_t *waiters = json_array();
        for (int i = 0; i < list->count; i++) {
            const td_thread_info *t = &list->at[i];
            if (waits_for(t, &lock[k])) {
                json_array_append_new(waiters, json_pack("{s:s, s:i, s:i, s:i}", "name",
                                                         t->stat.comm, "tid", t->tid, "pid",
                                                         t->pid, "deadlock", t->cycle));
            }
        }
        json_array_append_new(
            locks, json_pack("{s:I, s:i, s:s, s:o}", "lock", (json_int_t)lock[k].address, "owner",
                             lock[k].owner, "owner_name", name_of(list, lock[k].owner), "waiters",
                             waiters));
    }
    return dump_json(json_pack("{s:s, s:o, s:i}", "schema", "tandem.locks/1", "locks", locks,
                               "deadlocks", list->deadlocks),
                     "locks");
}

static td_status show_locks(const td_threads_options *options, const td_thread_list *list) {
    td_lock_info *lock = td_alloc((size_t)list->count * sizeof *lock);
    if (lock == NULL) {
        return td_fail(TD_ENOMEM, "the locks of %d threads", list->count);
    }
    int count = td_monitor_locks(list, lock);
    td_status status = TD_OK;
    if (options->json) {
        status = print_locks_json(list, lock, count);
    } else {
        print_locks(list, lock, count);
    }
    td_free(lock);
    return status;
}

static td_status show_threads(const td_threads_options *options, const td_thread_list *list) {
    if (options->json) {
        return print_json(list);
    }
    for (int i = 0; i < list->count; i++) {
        print_thread(list, &list->at[i]);
    }
    print_deadlocks(list);
    return TD_OK;
}

static td_status show_deadlocks(const td_threads_options *options, const td_thread_list *list) {
    if (options->json) {
        return print_json(list);
    }
    print_deadlocks(list);
    return TD_OK;
}

typedef td_status show_fn(const td_threads_options *options, const td_thread_list *list);

/* What `show` makes of the threads; TD_ECHECK when some are in a deadlock. */
static td_status look(const td_threads_options *options, const char *word, show_fn *show) {
    int pid[TD_MOST_PIDS], count = 0;
    td_thread_list list;
    TD_TRY(td_threads_parse_pids(word, pid, &count));
    TD_TRY(td_monitor_deadlocks(pid, count, &list));
    td_status status = show(options, &list);
    int deadlocks = list.deadlocks;
    td_thread_list_destroy(&list);
    if (status == TD_OK && deadlocks > 0) {
        status = td_fail(TD_ECHECK, "%d deadlock%s", deadlocks, deadlocks == 1 ? "" : "s");
    }
    return status;
}

td_status td_threads_dump(const td_threads_options *options, const char *word) {
    return look(options, word, show_threads);
}

td_status td_threads_deadlocks(const td_threads_options *options, const char *word) {
    return look(options, word, show_deadlocks);
}

td_status td_threads_locks(const td_threads_options *options, const char *word) {
    return look(options, word, show_locks);
}
