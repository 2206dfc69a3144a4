/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/procfs.h"

/* A page table entry is 8 bytes: what fork copies of every resident page of 4 KiB. */
enum { STEPS = 5, MIB_STEP = 32, ROUNDS = 5, ENTRY = 8 };

static void note_tables(td_lab *lab, void *arg) {
    (void)lab;
    *(int64_t *)arg = td_proc_number("/proc/self/status", "VmPTE");
}

static double time_fork(td_lab *lab) {
    int64_t start = td_now_ns();
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    int64_t forked = td_now_ns();
    td_lab_must(lab, pid > 0, "fork");
    td_lab_wait(lab, pid);
    return (double)(forked - start);
}

static void *nothing(void *arg) {
    return arg;
}

static double time_thread(td_lab *lab) {
    int64_t start = td_now_ns();
    pthread_t thread = td_lab_thread(lab, nothing, NULL);
    int64_t created = td_now_ns();
    pthread_join(thread, NULL);
    return (double)(created - start);
}

void td_concept_fork_law(td_lab *lab) {
    size_t step = (size_t)MIB_STEP << 20;
    size_t pages = step / (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *block = mmap(NULL, STEPS * step, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    td_lab_must(lab, block != MAP_FAILED, "memory");
    madvise(block, STEPS * step, MADV_NOHUGEPAGE);
    if (lab->mutant) {
        madvise(block, STEPS * step, MADV_DONTFORK);
    }
    int64_t *tables = td_lab_shared(lab, sizeof *tables);
    int64_t first = 0;
    char name[24];
    for (int i = 0; i <= STEPS; i++) {
        if (i > 0) {
            memset(block + (size_t)(i - 1) * step, 1, step);
        }
        td_lab_wait(lab, td_lab_fork(lab, note_tables, tables));
        double fork_ns = 0, thread_ns = 0;
        for (int round = 0; round < ROUNDS; round++) {
            double f = time_fork(lab), t = time_thread(lab);
            fork_ns = round == 0 || f < fork_ns ? f : fork_ns;
            thread_ns = round == 0 || t < thread_ns ? t : thread_ns;
            td_lab_sample(lab, f);
        }
        first = i == 0 ? *tables : first;
        td_lab_saw(lab,
                   "%4d MiB resident: fork %8.0f us, thread %5.0f us, the child's page tables "
                   "%5lld KiB",
                   i * MIB_STEP, fork_ns * 1e-3, thread_ns * 1e-3, (long long)*tables);
        snprintf(name, sizeof name, "fork_us_%d_mib", i * MIB_STEP);
        td_lab_number(lab, name, fork_ns * 1e-3);
    }
    td_lab_sampled(lab, "fork, over all sizes");
    int64_t expected = (int64_t)(STEPS * pages * ENTRY / 1024), grown = *tables - first;
    td_lab_check(lab, grown >= expected && grown <= expected + expected / 4,
                 "%d MiB add %lld KiB to a child's page tables; 8 bytes a page are %lld KiB",
                 STEPS * MIB_STEP, (long long)grown, (long long)expected);
    int64_t before = td_proc_number("/proc/self/status", "VmPTE");
    time_thread(lab);
    int64_t after = td_proc_number("/proc/self/status", "VmPTE");
    td_lab_check(lab, after - before <= 64, "a thread adds %lld KiB: it copies no table",
                 (long long)(after - before));
}
