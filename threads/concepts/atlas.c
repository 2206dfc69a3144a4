/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"

enum { N_PLACES = 9, N_OWN = 3 };
static const char *const names[N_PLACES] = {
    "code",          "code of the C library",  "constant",   "static data",  "heap",
    "large mapping", "thread-local variable", "errno of the thread", "local variable"};

static int shared_word;
static _Thread_local int own_word;
static const int constant = 5;
static void *small_block, *large_block;
static td_lab *the_lab;

typedef struct view {
    uintptr_t at[N_PLACES];
    uintptr_t stack, stack_end;
    int seen; /* of the word that the first thread wrote */
    _Atomic int ready, *go;
} view;

static void look(view *v) {
    int local = 0;
    const void *at[N_PLACES] = {(const void *)(uintptr_t)look,
                                (const void *)(uintptr_t)clock_gettime,
                                &constant,
                                the_lab->mutant ? &own_word : &shared_word,
                                small_block,
                                large_block,
                                &own_word,
                                &errno,
                                &local};
    for (int i = 0; i < N_PLACES; i++) {
        v->at[i] = (uintptr_t)at[i];
    }
    v->seen = *(const int *)at[3];
    pthread_attr_t attributes;
    void *base;
    size_t bytes;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &base, &bytes);
        v->stack = (uintptr_t)base;
        v->stack_end = v->stack + bytes;
        pthread_attr_destroy(&attributes);
    }
}

static void *look_in_thread(void *arg) {
    view *v = arg;
    look(v);
    atomic_store(&v->ready, 1);
    td_lab_await(v->go, 1);
    return NULL;
}

static void look_in_child(td_lab *lab, void *arg) {
    (void)lab;
    shared_word = 99; /* must not reach the parent */
    look(arg);
}

/* The mappings of this process that hold one of the places, for the picture of a report. */
static void draw_map(td_lab *lab, const view *threads, int n) {
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t low, high;
        char rights[8] = "", name[256] = "", text[TD_LAB_LINE];
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s %*s %*s %*s %255[^\n]", &low, &high,
                   rights, name) < 3) {
            continue;
        }
        int used = snprintf(text, sizeof text, "%012" PRIxPTR " %8zu KiB %s %.40s:", low,
                            (high - low) / 1024, rights, name[0] ? name : "anonymous");
        int found = 0;
        for (int place = 0; place < N_PLACES; place++) {
            for (int t = 0; t < (place < N_PLACES - N_OWN ? 1 : n); t++) {
                uintptr_t at = threads[t].at[place];
                if (at >= low && at < high && used < (int)sizeof text - 40) {
                    used += snprintf(text + used, sizeof text - (size_t)used, "%s %s",
                                     found++ ? "," : "", names[place]);
                    if (place >= N_PLACES - N_OWN) {
                        used += snprintf(text + used, sizeof text - (size_t)used, " %d", t);
                    }
                }
            }
        }
        if (found > 0) {
            td_lab_map_line(lab, text);
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
}

void td_concept_atlas(td_lab *lab) {
    enum { THREADS = 3 };
    the_lab = lab;
    small_block = td_alloc(64);
    large_block = td_alloc(1 << 20);
    view *views = td_lab_shared(lab, (THREADS + 1) * sizeof *views);
    _Atomic int go = 0;
    pthread_t threads[THREADS];
    look(&views[0]);
    *(int *)views[0].at[3] = 42;
    for (int t = 1; t < THREADS; t++) {
        views[t].go = &go;
        threads[t] = td_lab_thread(lab, look_in_thread, &views[t]);
        td_lab_must(lab, td_lab_await(&views[t].ready, 1), "look from a thread");
    }
    draw_map(lab, views, THREADS);
    atomic_store(&go, 1);
    for (int t = 1; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
    }
    for (int place = 0; place < N_PLACES; place++) {
        bool own = place >= N_PLACES - N_OWN;
        bool equal = views[0].at[place] == views[1].at[place] &&
                     views[1].at[place] == views[2].at[place];
        td_lab_check(lab, equal != own, "%s: %s in three threads", names[place],
                     equal ? "one address" : "an address each");
    }
    for (int t = 1; t < THREADS; t++) {
        uintptr_t local = views[t].at[N_PLACES - 1];
        td_lab_check(lab, local >= views[t].stack && local < views[t].stack_end,
                     "a local variable of thread %d lies in that thread's stack", t);
        td_lab_check(lab, views[t].seen == 42, "thread %d reads %d where thread 0 wrote 42", t,
                     views[t].seen);
    }
    td_lab_wait(lab, td_lab_fork(lab, look_in_child, &views[THREADS]));
    td_lab_check(lab, memcmp(views[THREADS].at, views[0].at, sizeof(uintptr_t[6])) == 0,
                 "a forked child has its code and data at the same addresses");
    td_lab_check(lab, *(int *)views[0].at[3] == 42,
                 "what the child wrote there does not reach the parent, which reads %d",
                 *(int *)views[0].at[3]);
}
