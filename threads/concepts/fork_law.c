/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/procfs.h"

/* A page table entry is 8 bytes: what fork copies of every resident page of 4 KiB. The largest
 * sizes are taken where memory is plenty; the mutant shows without them. Sizes are spread evenly:
 * below 128 MiB the kernel's own record of the pages, 64 bytes each, still fits a cache of 2 MiB,
 * and a page costs half of what it costs above. */
enum {
    SIZES = 7,
    ROUNDS = 3,
    ENTRY = 8,
    PLENTY_MIB = 6144,
    STACK = 65536
};
static const int sizes_mib[SIZES] = {0, 128, 256, 384, 512, 768, 1024};

/* The fastest, in us; 0: none yet. */
typedef struct costs {
    double fork_us, thread_us, clone_us;
} costs;

static void note_tables(td_lab *lab, void *arg) {
    (void)lab;
    *(int64_t *)arg = td_proc_number("/proc/self/status", "VmPTE");
}

/* CPU time of this thread, so that a child that runs before the parent goes on is not part of it.
 */
static double time_fork(td_lab *lab) {
    int64_t start = td_thread_cpu_ns();
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    int64_t forked = td_thread_cpu_ns();
    td_lab_must(lab, pid > 0, "fork");
    td_lab_wait(lab, pid);
    return (double)(forked - start) * 1e-3;
}

static void *nothing(void *arg) {
    return arg;
}

static double time_thread(td_lab *lab) {
    int64_t start = td_thread_cpu_ns();
    pthread_t thread = td_lab_thread(lab, nothing, NULL);
    int64_t created = td_thread_cpu_ns();
    pthread_join(thread, NULL);
    return (double)(created - start) * 1e-3;
}

static int nothing_clone(void *arg) {
    (void)arg;
    return 0;
}

/* A process that shares all memory with this one. */
static double time_clone(td_lab *lab) {
    static unsigned char stack[STACK];
    int64_t start = td_thread_cpu_ns();
    pid_t pid = clone(nothing_clone, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    int64_t created = td_thread_cpu_ns();
    td_lab_must(lab, pid > 0, "clone");
    td_lab_wait(lab, pid);
    return (double)(created - start) * 1e-3;
}

static void keep_least(double *least, double value) {
    *least = *least == 0 || value < *least ? value : *least;
}

/* Touches memory that was not touched yet: by one call where the kernel has it. */
static void touch(unsigned char *block, size_t bytes) {
    if (bytes > 0 && madvise(block, bytes, MADV_POPULATE_WRITE) != 0) {
        memset(block, 1, bytes);
    }
}

static void measure(td_lab *lab, int rounds, costs *c) {
    for (int round = 0; round < rounds; round++) {
        double fork_us = time_fork(lab);
        keep_least(&c->fork_us, fork_us);
        keep_least(&c->thread_us, time_thread(lab));
        keep_least(&c->clone_us, time_clone(lab));
        td_lab_sample(lab, fork_us * 1e3);
    }
}

/* A straight line through n points by least squares, and the share of the variance it explains. */
static double slope_of(const double *x, const double *y, int n, double *r2) {
    double mx = 0, my = 0, xx = 0, xy = 0, yy = 0;
    for (int i = 0; i < n; i++) {
        mx += x[i] / n;
        my += y[i] / n;
    }
    for (int i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        xy += (x[i] - mx) * (y[i] - my);
        yy += (y[i] - my) * (y[i] - my);
    }
    *r2 = yy > 0 ? xy * xy / (xx * yy) : 0;
    return xy / xx;
}

/* What the times show; they decide nothing. */
static void show_law(td_lab *lab, const costs *c, int n) {
    double mib[SIZES], forks[SIZES], threads[SIZES], clones[SIZES], r2, unused;
    for (int i = 0; i < n; i++) {
        mib[i] = sizes_mib[i];
        forks[i] = c[i].fork_us;
        threads[i] = c[i].thread_us;
        clones[i] = c[i].clone_us;
    }
    double slope = slope_of(mib, forks, n, &r2);
    double thread_pct = 100 * slope_of(mib, threads, n, &unused) / slope;
    double clone_pct = 100 * slope_of(mib, clones, n, &unused) / slope;
    td_lab_saw(lab,
               "fork takes %.1f us of CPU time a MiB, and size explains %.1f %% of it; a thread "
               "%.2f %% of "
               "that slope, a process in the same memory %.2f %%",
               slope, 100 * r2, thread_pct, clone_pct);
    td_lab_number(lab, "fork_r2", r2);
    td_lab_number(lab, "thread_slope_pct", thread_pct);
    td_lab_number(lab, "clone_vm_slope_pct", clone_pct);
    td_lab_number(lab, "fork_over_thread_least", forks[0] / threads[0]);
    td_lab_number(lab, "fork_over_thread_most", forks[n - 1] / threads[n - 1]);
}

static void check_tables(td_lab *lab, int64_t first, int64_t last, int mib) {
    int64_t pages = ((int64_t)mib << 20) / sysconf(_SC_PAGESIZE);
    int64_t expected = pages * ENTRY / 1024, grown = last - first;
    td_lab_check(lab, grown >= expected && grown <= expected + expected / 4,
                 "%d MiB add %lld KiB to a child's page tables; 8 bytes a page are %lld KiB", mib,
                 (long long)grown, (long long)expected);
    int64_t before = td_proc_number("/proc/self/status", "VmPTE");
    time_thread(lab);
    int64_t after = td_proc_number("/proc/self/status", "VmPTE");
    td_lab_check(lab, after - before <= 64, "a thread adds %lld KiB: it copies no table",
                 (long long)(after - before));
}

static void show_size(td_lab *lab, int i, int n, const costs *c, int64_t tables) {
    char name[24];
    td_lab_saw(lab,
               "%4d MiB resident: fork %8.0f us, thread %5.0f us, the child's page tables "
               "%5lld KiB",
               sizes_mib[i], c->fork_us, c->thread_us, (long long)tables);
    snprintf(name, sizeof name, "fork_us_%d_mib", sizes_mib[i]);
    td_lab_number(lab, name, c->fork_us);
    if (i == 0 || i == n - 1) {
        snprintf(name, sizeof name, "thread_us_%d_mib", sizes_mib[i]);
        td_lab_number(lab, name, c->thread_us);
    }
}

static size_t bytes_at(int i) {
    return (size_t)sizes_mib[i] << 20;
}

void td_concept_fork_law(td_lab *lab) {
    bool plenty = td_proc_number("/proc/meminfo", "MemAvailable") / 1024 >= PLENTY_MIB;
    int n = plenty && !lab->mutant ? SIZES : SIZES - 2;
    size_t bytes = bytes_at(n - 1);
    unsigned char *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    td_lab_must(lab, block != MAP_FAILED, "memory");
    madvise(block, bytes, MADV_NOHUGEPAGE);
    if (lab->mutant) {
        madvise(block, bytes, MADV_DONTFORK);
    }
    int64_t *tables = td_lab_shared(lab, sizeof *tables), tables_at[SIZES];
    costs c[SIZES] = {0};
    for (int i = 0; i < n; i++) {
        size_t touched = i > 0 ? bytes_at(i - 1) : 0;
        touch(block + touched, bytes_at(i) - touched);
        td_lab_wait(lab, td_lab_fork(lab, note_tables, tables));
        tables_at[i] = *tables;
        measure(lab, ROUNDS, &c[i]);
    }
    /* The way back, so that each size has two chances of a quiet moment;
     * left out where all takes long. */
    for (int i = n - 2; i >= 0 && td_lab_patient(lab); i--) {
        madvise(block + bytes_at(i), bytes_at(i + 1) - bytes_at(i), MADV_DONTNEED);
        measure(lab, ROUNDS, &c[i]);
    }
    for (int i = 0; i < n; i++) {
        show_size(lab, i, n, &c[i], tables_at[i]);
    }
    td_lab_sampled(lab, "fork, over all sizes");
    show_law(lab, c, n);
    check_tables(lab, tables_at[0], tables_at[n - 1], sizes_mib[n - 1]);
}
