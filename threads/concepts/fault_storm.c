/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <math.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/procfs.h"

/* Many small blocks are timed, one large block is left to be counted. */
enum { PAGES = 2048, SMALL = 8, BLOCKS = 200, ROUNDS = 4, REPEATS = 4 };

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

static unsigned char *map_and_touch(size_t pages) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *block =
        mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block != MAP_FAILED) {
        madvise(block, pages * page, MADV_NOHUGEPAGE);
        for (size_t i = 0; i < pages; i++) {
            ((_Atomic unsigned char *)block)[i * page] = 1;
        }
    }
    return block;
}

static void run_side(void *arg) {
    side *s = arg;
    td_lab_pin(s->all->lab, s->all->lab->cpu[s->id]);
    atomic_fetch_add(&s->all->arrived, 1);
    td_lab_await(&s->all->arrived, 2);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = td_now_ns();
        for (int i = 0; i < BLOCKS; i++) {
            munmap(map_and_touch(SMALL), SMALL * (size_t)sysconf(_SC_PAGESIZE));
        }
        int64_t took = td_now_ns() - start;
        if (round == 0 || took < s->all->ns[s->id]) {
            s->all->ns[s->id] = took;
        }
    }
    unsigned char *kept = map_and_touch(PAGES);
    atomic_fetch_add(&s->all->touched, 1);
    td_lab_await(&s->all->touched, 2);
    s->all->resident_kib[s->id] = td_proc_number("/proc/self/status", "RssAnon");
    atomic_fetch_add(&s->all->stop, 1);
    td_lab_await(&s->all->stop, 2);
    munmap(kept, PAGES * (size_t)sysconf(_SC_PAGESIZE));
}

/* Nanoseconds a page of the slower side. */
static double play(td_lab *lab, bool processes) {
    int64_t block_kib = PAGES * (int64_t)sysconf(_SC_PAGESIZE) / 1024;
    storm *all = td_lab_shared(lab, sizeof *all);
    side sides[2] = {{all, 0}, {all, 1}};
    all->lab = lab;
    int64_t before = td_proc_number("/proc/self/status", "RssAnon");
    td_lab_side other = {.main = run_side, .arg = &sides[1], .process = processes && !lab->mutant};
    td_lab_side_start(lab, &other);
    run_side(&sides[0]);
    td_lab_side_join(lab, &other);
    int64_t grown = all->resident_kib[0] - before;
    bool both = grown > block_kib * 3 / 2;
    td_lab_check(lab, both != processes,
                 "two %s touch %lld KiB each: this one's memory grew by %lld KiB",
                 processes ? "processes" : "threads", (long long)block_kib, (long long)grown);
    int64_t slower = all->ns[0] > all->ns[1] ? all->ns[0] : all->ns[1];
    double ns = (double)slower / (SMALL * BLOCKS);
    td_lab_sample(lab, ns);
    return ns;
}

void td_concept_fault_storm(td_lab *lab) {
    double thread = INFINITY, process = INFINITY;
    for (int i = 0; i < REPEATS; i++) {
        thread = fmin(thread, play(lab, false));
        process = fmin(process, play(lab, true));
    }
    td_lab_saw(lab, "a page costs each of two threads %.0f ns, each of two processes %.0f ns",
               thread, process);
    td_lab_number(lab, "thread_page_ns", thread);
    td_lab_number(lab, "process_page_ns", process);
    td_lab_sampled(lab, "a page in a storm, threads and processes in turn");
}
