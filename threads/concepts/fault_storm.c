/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/procfs.h"

enum { PAGES = 2048, ROUNDS = 6 };

typedef struct storm {
    td_lab *lab;
    _Atomic int arrived, touched, stop;
    _Atomic int64_t ns[2];
    int64_t resident_kib[2];
} storm;

typedef struct side {
    storm *all;
    int id;
} side;

static int run_side(void *arg) {
    side *s = arg;
    size_t bytes = PAGES * (size_t)sysconf(_SC_PAGESIZE);
    atomic_fetch_add(&s->all->arrived, 1);
    td_lab_await(&s->all->arrived, 2);
    unsigned char *block = NULL;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = td_now_ns();
        block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        madvise(block, bytes, MADV_NOHUGEPAGE);
        for (size_t i = 0; i < bytes; i += bytes / PAGES) {
            ((_Atomic unsigned char *)block)[i] = 1;
        }
        int64_t took = td_now_ns() - start;
        if (round == 0 || took < s->all->ns[s->id]) {
            s->all->ns[s->id] = took;
        }
        if (round + 1 < ROUNDS) {
            munmap(block, bytes);
        }
    }
    atomic_fetch_add(&s->all->touched, 1);
    td_lab_await(&s->all->touched, 2);
    s->all->resident_kib[s->id] = td_proc_number("/proc/self/status", "RssAnon");
    atomic_fetch_add(&s->all->stop, 1);
    td_lab_await(&s->all->stop, 2);
    return 0;
}

static void *run_thread(void *arg) {
    run_side(arg);
    return NULL;
}

void td_concept_fault_storm(td_lab *lab) {
    int64_t block_kib = PAGES * (int64_t)sysconf(_SC_PAGESIZE) / 1024;
    double ns[2];
    for (int kind = 0; kind < 2; kind++) {
        storm *all = td_lab_shared(lab, sizeof *all);
        side sides[2] = {{all, 0}, {all, 1}};
        int64_t before = td_proc_number("/proc/self/status", "RssAnon");
        if (kind == 0) {
            pthread_t other = td_lab_thread(lab, run_thread, &sides[1]);
            run_side(&sides[0]);
            pthread_join(other, NULL);
        } else {
            pid_t pid = td_lab_clone(lab, lab->mutant ? CLONE_VM : 0, run_side, &sides[1]);
            td_lab_must(lab, pid > 0, "clone");
            run_side(&sides[0]);
            td_lab_wait(lab, pid);
        }
        int64_t grown = all->resident_kib[0] - before;
        bool both = grown > block_kib * 3 / 2;
        td_lab_check(lab, both == (kind == 0),
                     "two %s touch %lld KiB each: this one's memory grew by %lld KiB",
                     kind == 0 ? "threads" : "processes", (long long)block_kib, (long long)grown);
        int64_t slower = all->ns[0] > all->ns[1] ? all->ns[0] : all->ns[1];
        ns[kind] = (double)slower / PAGES;
        td_lab_sample(lab, ns[kind]);
    }
    td_lab_saw(lab, "a page costs each of two threads %.0f ns, each of two processes %.0f ns",
               ns[0], ns[1]);
    td_lab_number(lab, "thread_page_ns", ns[0]);
    td_lab_number(lab, "process_page_ns", ns[1]);
    td_lab_sampled(lab, "a page in a storm, threads then processes");
}
