/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/memory.h"
#include "bench/verb_threads.h"
#include "threads/census.h"
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

/* A lock as people read it: its address, and its name if it has one. */
typedef struct lock_words {
    char text[64];
} lock_words;

static lock_words lock_text(uint64_t address, const char *name) {
    lock_words words;
    bool named = name[0] != '\0';
    snprintf(words.text, sizeof words.text, "<0x%llx>%s%s%s", (unsigned long long)address,
             named ? " \"" : "", name, named ? "\"" : "");
    return words;
}

enum { MOST_FRAMES = 256 };

/* What is read of each process of a list, which is ordered by process. */
typedef struct process_reader {
    int depth, pid;    /* depth 0: no stacks are wanted */
    td_census *census; /* NULL: it keeps none */
    td_stacks *stacks;
    td_frame frame[MOST_FRAMES];
    int count; /* of frames; 0: there is a reason in `why` */
    int64_t stopped_ns;
    char why[256];
    td_census_waits waits; /* of the thread, when has_waits */
    bool has_waits;
} process_reader;

static void close_process(process_reader *r) {
    td_stacks_close(r->stacks);
    td_census_close(r->census);
    r->stacks = NULL;
    r->census = NULL;
}

static td_status open_process(process_reader *r, int pid) {
    close_process(r);
    r->pid = pid;
    if (td_census_open(pid, &r->census) != TD_OK) {
        r->census = NULL;
    }
    return r->depth == 0 ? TD_OK : td_stacks_open(pid, &r->stacks);
}

/* That one thread's stack cannot be had is part of the answer; that none of a process can is an
 * error. */
static td_status read_thread(process_reader *r, const td_thread_info *t) {
    r->count = 0;
    if (r->pid != t->pid) {
        TD_TRY(open_process(r, t->pid));
    }
    r->has_waits = r->census != NULL && td_census_of(r->census, t->tid, &r->waits);
    if (r->depth == 0) {
        return TD_OK;
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

static void print_census(const process_reader *r) {
    if (r->census == NULL) {
        printf("process %d: peak and started threads and waits are not counted (tandem threads "
               "exec)\n\n",
               r->pid);
        return;
    }
    td_census_counts c = td_census_read(r->census);
    printf("process %d: threads: %lld live, %lld peak, %lld started; contention monitoring %s\n\n",
           r->pid, (long long)c.live, (long long)c.peak, (long long)c.started,
           c.contention ? "on" : "off");
}

static void print_waits(const process_reader *r) {
    if (r->has_waits) {
        printf("   blocked %lld times, %.1fms  waited %lld times, %.1fms\n",
               (long long)r->waits.blocked, (double)r->waits.blocked_ns * 1e-6,
               (long long)r->waits.waited, (double)r->waits.waited_ns * 1e-6);
    }
}

static void print_frames(const process_reader *r) {
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

static void add_frames_json(json_t *thread, const process_reader *r) {
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
                         const process_reader *reader) {
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
    if (t->refused) {
        printf("        - waiting for ever: the kernel refused it a lock\n");
    } else if (t->joins) {
        printf("        - waiting for the end of \"%s\" tid=%d\n", name_of(list, t->owner),
               t->owner);
    } else if (t->owner != 0) {
        printf("        - waiting to lock %s held by \"%s\" tid=%d\n",
               lock_text(t->lock, t->lock_name).text, name_of(list, t->owner), t->owner);
    } else if (t->lock != 0) {
        printf("        - waiting on <0x%llx>\n", (unsigned long long)t->lock);
    }
    print_waits(reader);
    print_frames(reader);
    printf("\n");
}

void td_threads_print_deadlocks(const td_thread_list *list) {
    for (int cycle = 1; cycle <= list->deadlocks; cycle++) {
        printf("Found a deadlock (two looks, 5 ms apart, no member ran):\n");
        for (int i = 0; i < list->count; i++) {
            const td_thread_info *t = &list->at[i];
            if (t->cycle == cycle) {
                printf("  \"%s\" tid=%d waits for %s%s \"%s\" tid=%d\n", t->stat.comm, t->tid,
                       t->joins     ? "the end"
                       : t->refused ? "a lock that the kernel refused it"
                                    : lock_text(t->lock, t->lock_name).text,
                       t->joins     ? " of"
                       : t->refused ? ", after"
                                    : ", held by",
                       name_of(list, t->owner), t->owner);
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

/* The counts are null when nobody keeps them. */
static json_t *census_json(const process_reader *r) {
    if (r->census == NULL) {
        return json_pack("{s:i, s:n, s:n, s:n, s:n}", "pid", r->pid, "live", "peak", "started",
                         "contention");
    }
    td_census_counts c = td_census_read(r->census);
    return json_pack("{s:i, s:I, s:I, s:I, s:b}", "pid", r->pid, "live", (json_int_t)c.live, "peak",
                     (json_int_t)c.peak, "started", (json_int_t)c.started, "contention",
                     (int)c.contention);
}

static json_t *thread_json(const td_thread_info *t) {
    int64_t tick_ns = 1000000000 / sysconf(_SC_CLK_TCK);
    const char *call = t->call.number >= 0 ? td_call_name(t->call.number) : NULL;
    json_t *thread = json_pack(
        "{s:s, s:i, s:i, s:s, s:I, s:i, s:i, s:I, s:I, s:i, s:i, s:I, s:I}", "name", t->stat.comm,
        "tid", t->tid, "pid", t->pid, "state", td_thread_state_name(t->state), "lock",
        (json_int_t)t->lock, "owner", t->owner, "deadlock", t->cycle, "cpu_ns",
        (json_int_t)t->sched.run_ns, "runq_wait_ns", (json_int_t)t->sched.delay_ns, "cpu",
        t->stat.cpu, "nice", t->stat.nice, "voluntary_switches", (json_int_t)t->switches.voluntary,
        "involuntary_switches", (json_int_t)t->switches.involuntary);
    json_object_update_new(
        thread, json_pack("{s:s, s:b, s:b, s:i, s:i, s:I, s:I, s:I, s:I, s:s?}", "lock_name",
                          t->lock_name, "joins", (int)t->joins, "refused", (int)t->refused,
                          "policy", t->stat.policy, "priority", t->stat.priority, "user_ns",
                          (json_int_t)(t->stat.utime_ticks * tick_ns), "system_ns",
                          (json_int_t)(t->stat.stime_ticks * tick_ns), "minor_faults",
                          (json_int_t)t->stat.minflt, "major_faults", (json_int_t)t->stat.majflt,
                          "call", call));
    return thread;
}

static td_status print_json(const td_thread_list *list, process_reader *reader) {
    json_t *threads = json_array(), *processes = json_array();
    for (int i = 0, pid = 0; i < list->count; i++) {
        const td_thread_info *t = &list->at[i];
        td_status status = read_thread(reader, t);
        if (status != TD_OK) {
            json_decref(threads);
            json_decref(processes);
            return status;
        }
        if (reader->pid != pid) {
            pid = reader->pid;
            json_array_append_new(processes, census_json(reader));
        }
        json_t *thread = thread_json(t);
        if (reader->depth > 0) {
            add_frames_json(thread, reader);
        }
        if (reader->has_waits) {
            const td_census_waits *w = &reader->waits;
            json_object_update_new(
                thread, json_pack("{s:I, s:I, s:I, s:I}", "blocked", (json_int_t)w->blocked,
                                  "blocked_ns", (json_int_t)w->blocked_ns, "waited",
                                  (json_int_t)w->waited, "waited_ns", (json_int_t)w->waited_ns));
        }
        json_array_append_new(threads, thread);
    }
    return dump_json(json_pack("{s:s, s:o, s:o, s:i}", "schema", "tandem.threads/1", "processes",
                               processes, "threads", threads, "deadlocks", list->deadlocks),
                     "threads");
}

static bool waits_for(const td_thread_info *t, const td_lock_info *lock) {
    return t->lock == lock->address && t->owner == lock->owner && !t->joins;
}

static void print_locks(const td_thread_list *list, const td_lock_info *lock, int count) {
    for (int k = 0; k < count; k++) {
        printf("%s held by \"%s\" tid=%d, %d waiting\n",
               lock_text(lock[k].address, lock[k].name).text, name_of(list, lock[k].owner),
               lock[k].owner, lock[k].waiters);
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
            locks, json_pack("{s:I, s:s, s:i, s:s, s:o}", "lock", (json_int_t)lock[k].address,
                             "name", lock[k].name, "owner", lock[k].owner, "owner_name",
                             name_of(list, lock[k].owner), "waiters", waiters));
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

static td_status show_text(const td_thread_list *list, process_reader *reader) {
    for (int i = 0, pid = 0; i < list->count; i++) {
        TD_TRY(read_thread(reader, &list->at[i]));
        if (reader->pid != pid) {
            pid = reader->pid;
            print_census(reader);
        }
        print_thread(list, &list->at[i], reader);
    }
    td_threads_print_deadlocks(list);
    return TD_OK;
}

static td_status show_threads(const td_threads_options *options, const td_thread_list *list) {
    process_reader *reader = td_alloc_zero(sizeof *reader);
    if (reader == NULL) {
        return td_fail(TD_ENOMEM, "a dump");
    }
    reader->depth = options->stacks ? (int)options->depth : 0;
    td_status status = options->json ? print_json(list, reader) : show_text(list, reader);
    close_process(reader);
    td_free(reader);
    return status;
}

static td_status show_deadlocks(const td_threads_options *options, const td_thread_list *list) {
    td_threads_options without = *options;
    without.stacks = false;
    if (options->json) {
        return show_threads(&without, list);
    }
    td_threads_print_deadlocks(list);
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
