/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"

/* Taking a right to a page away must reach every CPU that may remember it: those on which threads
 * of the same address space run. The other side reads the page whenever told and counts faults;
 * while the change is timed it keeps its CPU busy. */
enum { ROUNDS = 100, PAIRS = 20, BLOCKS = 51, MOST_BLOCKS = 4000 };
static const double LATELY_US = 20;

typedef struct yard {
    td_lab *lab;
    unsigned char *page;
    _Atomic int asked, answered, busy, stop;
    _Atomic int faults;
    _Alignas(128) _Atomic uint64_t last_step; /* time stamp */
} yard;

static _Thread_local sigjmp_buf back;

static void on_fault(int number) {
    (void)number;
    siglongjmp(back, 1);
}

static void read_page(yard *y) {
    if (sigsetjmp(back, 1) == 0) {
        (void)*(_Atomic unsigned char *)y->page;
    } else {
        atomic_fetch_add(&y->faults, 1);
    }
}

static void be_there(void *arg) {
    yard *y = arg;
    td_lab_pin(y->lab, y->lab->cpu[1]);
    for (int round = 1; round <= 2 * ROUNDS; round++) {
        td_lab_await(&y->asked, round);
        read_page(y);
        atomic_store(&y->answered, round);
    }
    atomic_store(&y->busy, 1);
    while (!atomic_load_explicit(&y->stop, memory_order_relaxed)) {
        atomic_store_explicit(&y->last_step, td_tsc(), memory_order_release);
    }
}

/* Whether the other side was on its CPU just now. */
static bool runs(const yard *y) {
    uint64_t now = td_tsc(), last = atomic_load_explicit(&y->last_step, memory_order_acquire);
    return now < last || (double)(now - last) * 1e6 < LATELY_US * td_tsc_hz();
}

/* Nanoseconds of a pair of changes, the median over blocks; with another side, of those at whose
 * begin and end it ran: it is what a running thread costs that is told. */
static double time_changes(const yard *y, size_t bytes, bool alone) {
    double ns[BLOCKS];
    int n = 0;
    for (int block = 0; block < MOST_BLOCKS && n < BLOCKS; block++) {
        bool beside = alone || runs(y);
        int64_t start = td_now_ns();
        for (int i = 0; i < PAIRS; i++) {
            mprotect(y->page, bytes, PROT_READ);
            mprotect(y->page, bytes, PROT_READ | PROT_WRITE);
            *(_Atomic unsigned char *)y->page = 1;
        }
        ns[n] = (double)(td_now_ns() - start) / PAIRS;
        n += beside && (alone || runs(y));
    }
    return td_lab_median(ns, n);
}

/* Faults of the other side at a page that was forbidden, and at one that is allowed again. */
static void ask(td_lab *lab, yard *y, size_t bytes, int *forbidden, int *allowed) {
    int before = 0;
    for (int round = 1; round <= 2 * ROUNDS; round++) {
        bool forbid = round % 2 == 1;
        mprotect(y->page, bytes, forbid ? PROT_NONE : PROT_READ | PROT_WRITE);
        atomic_store(&y->asked, round);
        td_lab_must(lab, td_lab_await(&y->answered, round), "read the page");
        *(forbid ? forbidden : allowed) += y->faults - before;
        before = y->faults;
    }
}

static double play(td_lab *lab, yard *y, size_t bytes, bool process) {
    int forbidden = 0, allowed = 0;
    y->asked = y->answered = y->busy = y->stop = y->faults = 0;
    td_lab_side other = {.main = be_there, .arg = y, .process = process || lab->mutant};
    td_lab_side_start(lab, &other);
    ask(lab, y, bytes, &forbidden, &allowed);
    td_lab_must(lab, td_lab_await(&y->busy, 1), "keep a CPU busy");
    double ns = time_changes(y, bytes, false);
    atomic_store(&y->stop, 1);
    td_lab_side_join(lab, &other);
    int expected = process ? 0 : ROUNDS;
    td_lab_check(lab, forbidden == expected && allowed == 0,
                 "of %d reads just after the page was forbidden a %s on another CPU had %d refused",
                 ROUNDS, process ? "process" : "thread", forbidden);
    return ns;
}

void td_concept_shoot_down(td_lab *lab) {
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    yard *y = td_lab_shared(lab, sizeof *y);
    *y = (yard){.lab = lab,
                .page =
                    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};
    td_lab_must(lab, y->page != MAP_FAILED, "memory");
    *y->page = 1;
    struct sigaction act = {.sa_handler = on_fault};
    sigaction(SIGSEGV, &act, NULL);
    td_lab_pin(lab, lab->cpu[0]);
    double alone = time_changes(y, bytes, true);
    double thread = play(lab, y, bytes, false), process = play(lab, y, bytes, true);
    td_lab_saw(lab,
               "two changes of rights: %.2f us alone, %.2f us beside a running thread, %.2f us "
               "beside a running process",
               alone * 1e-3, thread * 1e-3, process * 1e-3);
    td_lab_number(lab, "alone_us", alone * 1e-3);
    td_lab_number(lab, "beside_thread_us", thread * 1e-3);
    td_lab_number(lab, "beside_process_us", process * 1e-3);
    td_lab_sample(lab, alone);
    td_lab_sample(lab, thread);
    td_lab_sample(lab, process);
    td_lab_sampled(lab, "two changes: alone, beside a thread, a process");
}
