/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

/* Both sides touch the very same pages in each turn, so the caches hold what either needs, and what
 * differs is whose translations of addresses the CPU still has. A core with room for 3,072 of them
 * (Zen 4) keeps those of two address spaces with 1,024 pages each; of 2,048 it does not. */
enum { TURNS = 200, WARM = 20, BLOCKS = 5, MOST_PAGES = 2048, SIZES = 4 };

typedef struct desk {
    td_event ping, pong;
    td_wait_rule rule;
    _Atomic int tid, done;
    int pages;
    unsigned char *mine, *theirs; /* the same, but in the mutant */
    size_t page_bytes;
} desk;

/* One word a page, each in another set of the cache. */
static _Atomic int64_t *word_of(const desk *d, unsigned char *memory, int page) {
    size_t at = (size_t)page * d->page_bytes + (size_t)page % 64 * 64;
    return (_Atomic int64_t *)(void *)(memory + at);
}

static void touch(const desk *d, unsigned char *memory) {
    for (int page = 0; page < d->pages; page++) {
        _Atomic int64_t *word = word_of(d, memory, page);
        atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    }
}

static void answer(void *arg) {
    desk *d = arg;
    d->tid = (int)syscall(SYS_gettid);
    for (uint32_t i = 1; i <= WARM + TURNS; i++) {
        td_event_wait(&d->ping, i, &d->rule, 0, NULL);
        touch(d, d->theirs);
        td_event_advance(&d->pong, &d->rule);
    }
    td_lab_await(&d->done, 1);
}

static int64_t switches(pid_t peer, int tid) {
    return td_lab_own_switches() + td_lab_switches(peer, tid);
}

/* Nanoseconds of a turn of one side: half a round trip. */
static double play(td_lab *lab, desk *d, pid_t peer, int64_t *switched) {
    td_lab_must(lab, td_lab_await(&d->tid, 1), "start the other side");
    int tid = d->tid;
    int64_t before = 0, start = 0;
    for (uint32_t i = 1; i <= WARM + TURNS; i++) {
        if (i == WARM + 1) {
            before = switches(peer, tid);
            start = td_now_ns();
        }
        touch(d, d->mine);
        td_event_advance(&d->ping, &d->rule);
        td_event_wait(&d->pong, i, &d->rule, 0, NULL);
    }
    double ns = (double)(td_now_ns() - start) / (2 * TURNS);
    *switched += switches(peer, tid) - before;
    atomic_store(&d->done, 1);
    return ns;
}

static double play_block(td_lab *lab, desk *d, bool process, int64_t *switched) {
    td_lab_side other = {.main = answer, .arg = d, .process = process};
    d->ping = d->pong = (td_event){0};
    d->tid = d->done = 0;
    d->rule = (td_wait_rule){.between_processes = process}; /* sleep at once */
    td_lab_side_start(lab, &other);
    double ns = play(lab, d, other.pid, switched);
    td_lab_side_join(lab, &other);
    return ns;
}

/* What touching alone takes, nobody else running in between. */
static double time_touch(const desk *d) {
    int64_t start = td_now_ns();
    for (int i = 0; i < TURNS; i++) {
        touch(d, d->mine);
    }
    return (double)(td_now_ns() - start) / TURNS;
}

static void try_size(td_lab *lab, desk *d, int pages) {
    double thread_ns[BLOCKS], process_ns[BLOCKS], alone_ns[BLOCKS];
    int64_t switched = 0, before = *word_of(d, d->mine, 0);
    d->pages = pages;
    for (int block = 0; block < BLOCKS; block++) {
        thread_ns[block] = play_block(lab, d, false, &switched);
        process_ns[block] = play_block(lab, d, true, &switched);
        alone_ns[block] = time_touch(d);
    }
    int64_t turns = INT64_C(2) * 2 * TURNS * BLOCKS;
    td_lab_check(lab, switched >= turns * 95 / 100,
                 "%4d pages: %lld turns on one CPU are %lld switches", pages, (long long)turns,
                 (long long)switched);
    if (pages > 0) {
        int64_t expected = INT64_C(2) * 2 * (WARM + TURNS) * BLOCKS + TURNS * BLOCKS;
        int64_t first = *word_of(d, d->mine, 0) - before;
        td_lab_check(lab, first == expected,
                     "%4d pages: both sides touched the same memory, %lld times", pages,
                     (long long)first);
    }
    double alone = td_lab_median(alone_ns, BLOCKS);
    double thread = td_lab_median(thread_ns, BLOCKS) - alone;
    double process = td_lab_median(process_ns, BLOCKS) - alone;
    char name[24];
    snprintf(name, sizeof name, "thread_us_%d_pages", pages);
    td_lab_number(lab, name, thread * 1e-3);
    snprintf(name, sizeof name, "process_us_%d_pages", pages);
    td_lab_number(lab, name, process * 1e-3);
    td_lab_saw(lab,
               "%4d pages: a switch costs %.2f us between threads, %.2f us between processes "
               "(%.2f times), beside %.2f us of touching",
               pages, thread * 1e-3, process * 1e-3, process / thread, alone * 1e-3);
    td_lab_sample(lab, process);
}

void td_concept_working_set(td_lab *lab) {
    static const int sizes[SIZES] = {0, 64, 1024, MOST_PAGES};
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *memory = td_lab_shared(lab, 2 * MOST_PAGES * page_bytes);
    desk *d = td_lab_shared(lab, sizeof *d);
    d->page_bytes = page_bytes;
    d->mine = memory;
    d->theirs = lab->mutant ? memory + MOST_PAGES * page_bytes : memory;
    td_lab_pin(lab, lab->cpu[0]);
    for (int i = 0; i < SIZES; i++) {
        try_size(lab, d, sizes[i]);
    }
    td_lab_sampled(lab, "a switch between processes, by size");
}
