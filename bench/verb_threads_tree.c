/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include <jansson.h>

#include "bench/verb_threads.h"
#include "threads/monitor.h"

/* The threads of the process that starts at `first`: how many, and their CPU time together. */
static int measure_process(const td_thread_list *list, int first, int64_t *run_ns) {
    int count = 0;
    *run_ns = 0;
    while (first + count < list->count && list->at[first + count].pid == list->at[first].pid) {
        *run_ns += list->at[first + count++].sched.run_ns;
    }
    return count;
}

static void print_text(const td_thread_list *list) {
    int processes = 0;
    for (int first = 0, count; first < list->count; first += count, processes++) {
        const td_thread_info *process = &list->at[first];
        int64_t run_ns;
        count = measure_process(list, first, &run_ns);
        printf("%*s%d %s: %d thread%s, cpu %.1fms\n", 4 * process->depth, "", process->pid,
               process->stat.comm, count, count == 1 ? "" : "s", (double)run_ns * 1e-6);
        for (int i = first; i < first + count; i++) {
            const td_thread_info *t = &list->at[i];
            printf("%*s- \"%s\" tid=%d %s cpu %.1fms\n", 4 * t->depth + 2, "", t->stat.comm, t->tid,
                   td_thread_state_name(t->state), (double)t->sched.run_ns * 1e-6);
        }
    }
    printf("processes: %d, threads: %d", processes, list->count);
    printf(list->hidden > 0 ? ", not to be looked at: %d\n" : "\n", list->hidden);
}

static td_status print_json(const td_thread_list *list) {
    json_t *processes = json_array();
    for (int first = 0, count; first < list->count; first += count) {
        const td_thread_info *process = &list->at[first];
        json_t *threads = json_array();
        int64_t run_ns;
        count = measure_process(list, first, &run_ns);
        for (int i = first; i < first + count; i++) {
            const td_thread_info *t = &list->at[i];
            json_array_append_new(threads, json_pack("{s:s, s:i, s:s, s:I}", "name", t->stat.comm,
                                                     "tid", t->tid, "state",
                                                     td_thread_state_name(t->state), "cpu_ns",
                                                     (json_int_t)t->sched.run_ns));
        }
        json_array_append_new(
            processes,
            json_pack("{s:s, s:i, s:i, s:i, s:I, s:o}", "name", process->stat.comm, "pid",
                      process->pid, "parent", process->stat.ppid, "depth", process->depth, "cpu_ns",
                      (json_int_t)run_ns, "threads", threads));
    }
    json_t *root = json_pack("{s:s, s:o, s:i}", "schema", "tandem.tree/1", "processes", processes,
                             "hidden", list->hidden);
    if (root == NULL || json_dumpf(root, stdout, JSON_INDENT(2)) != 0) {
        json_decref(root);
        return td_fail(TD_ENOMEM, "the JSON of a tree");
    }
    printf("\n");
    json_decref(root);
    return TD_OK;
}

td_status td_threads_tree(const td_threads_options *options, const char *word) {
    long long pid = 0;
    td_thread_list list;
    if (word != NULL) {
        TD_TRY(td_parse_int(word, "process id", 1, 1 << 22, &pid));
    }
    TD_TRY(td_monitor_tree((int)pid, &list));
    td_status status = TD_OK;
    if (options->json) {
        status = print_json(&list);
    } else {
        print_text(&list);
    }
    td_thread_list_destroy(&list);
    return status;
}
