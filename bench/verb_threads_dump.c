/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/memory.h"
#include "bench/verb_threads.h"
#include "threads/monitor.h"
#include "threads/stack.h"

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

enum { MOST_FRAMES = 256 };

/* Stacks of the threads of a list, which is ordered by process. */
typedef struct stack_reader {
    int depth, pid; /* depth 0: none are wanted */
    td_stacks *stacks;
    td_frame frame[MOST_FRAMES];
    int count; /* 0: there is a reason in `why` */
    int64_t stopped_ns;
    char why[256];
} stack_reader;

/* That one thread's stack cannot be had is part of the answer; that none of a process can is an
 * error. */
static td_status read_stack(stack_reader *r, const td_thread_info *t) {
    r->count = 0;
    if (r->depth == 0) {
        return TD_OK;
    }
    if (r->pid != t->pid) {
        td_stacks_close(r->stacks);
        r->stacks = NULL;
        TD_TRY(td_stacks_open(t->pid, &r->stacks));
        r->pid = t->pid;
    }
    td_status status =
        td_stacks_read(r->stacks, t->tid, r->frame, r->depth, &r->count, &r->stopped_ns);
    if (status != TD_OK) {
        snprintf(r->why, sizeof r->why, "%s", td_error());
        bool forbidden = t->tid == t->pid && strstr(r->why, "may not be") != NULL;
        return forbidden ? status : TD_OK;
    }
    return TD_OK;
}

static void print_frames(const stack_reader *r) {
    if (r->depth > 0 && r->count == 0) {
        printf("        (no %s)\n", r->why);
    }
    for (int i = 0; i < r->count; i++) {
        const td_frame *f = &r->frame[i];
        if (f->function[0] != '\0') {
            printf("        at %s+0x%llx (%s)\n", f->function, (unsigned long long)f->offset,
                   f->place);
        } else {
            printf("        at 0x%llx%s%s%s\n", (unsigned long long)f->pc, f->place[0] ? " (" : "",
                   f->place, f->place[0] ? ")" : "");
        }
    }
}

static void add_frames_json(json_t *thread, const stack_reader *r) {
    json_t *stack = json_array();
    for (int i = 0; i < r->count; i++) {
        const td_frame *f = &r->frame[i];
        json_array_append_new(stack, json_pack("{s:I, s:s, s:I, s:s}", "pc", (json_int_t)f->pc,
                                               "function", f->function, "offset",
                                               (json_int_t)f->offset, "place", f->place));
    }
    json_object_set_new(thread, "stack", stack);
    if (r->count > 0) {
        json_object_set_new(thread, "stopped_ns", json_integer(r->stopped_ns));
    } else {
        json_object_set_new(thread, "no_stack", json_string(r->why));
    }
}

static void print_thread(const td_thread_list *list, const td_thread_info *t,
                         const stack_reader *stack) {
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
    print_frames(stack);
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

static td_status print_json(const td_thread_list *list, stack_reader *stack) {
    json_t *threads = json_array();
    for (int i = 0; i < list->count; i++) {
        const td_thread_info *t = &list->at[i];
        td_status status = read_stack(stack, t);
        if (status != TD_OK) {
            json_decref(threads);
            return status;
        }
        json_t *thread = json_pack(
            "{s:s, s:i, s:i, s:s, s:I, s:i, s:i, s:I, s:I, s:i, s:i, s:I, s:I}", "name",
            t->stat.comm, "tid", t->tid, "pid", t->pid, "state", td_thread_state_name(t->state),
            "lock", (json_int_t)t->lock, "owner", t->owner, "deadlock", t->cycle, "cpu_ns",
            (json_int_t)t->sched.run_ns, "runq_wait_ns", (json_int_t)t->sched.delay_ns, "cpu",
            t->stat.cpu, "nice", t->stat.nice, "voluntary_switches",
            (json_int_t)t->switches.voluntary, "involuntary_switches",
            (json_int_t)t->switches.involuntary);
        if (stack->depth > 0) {
            add_frames_json(thread, stack);
        }
        json_array_append_new(threads, thread);
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

static td_status show_text(const td_thread_list *list, stack_reader *stack) {
    for (int i = 0; i < list->count; i++) {
        TD_TRY(read_stack(stack, &list->at[i]));
        print_thread(list, &list->at[i], stack);
    }
    print_deadlocks(list);
    return TD_OK;
}

static td_status show_threads(const td_threads_options *options, const td_thread_list *list) {
    stack_reader *stack = td_alloc_zero(sizeof *stack);
    if (stack == NULL) {
        return td_fail(TD_ENOMEM, "a stack");
    }
    stack->depth = options->stacks ? (int)options->depth : 0;
    td_status status = options->json ? print_json(list, stack) : show_text(list, stack);
    td_stacks_close(stack->stacks);
    td_free(stack);
    return status;
}

static td_status show_deadlocks(const td_threads_options *options, const td_thread_list *list) {
    static stack_reader none;
    if (options->json) {
        return print_json(list, &none);
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
