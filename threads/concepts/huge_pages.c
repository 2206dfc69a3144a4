/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "threads/procfs.h"

enum { HUGE = 2 << 20, PIECES = 8 };

static long faults_of(unsigned char *block) {
    struct rusage before, after;
    getrusage(RUSAGE_THREAD, &before);
    memset(block, 1, (size_t)PIECES * HUGE);
    getrusage(RUSAGE_THREAD, &after);
    return after.ru_minflt - before.ru_minflt;
}

static unsigned char *aligned_block(td_lab *lab) {
    unsigned char *block = mmap(NULL, (size_t)(PIECES + 1) * HUGE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    td_lab_must(lab, block != MAP_FAILED, "memory");
    return block + (HUGE - (uintptr_t)block % HUGE) % HUGE;
}

void td_concept_huge_pages(td_lab *lab) {
    char text[128] = "";
    if (td_proc_read(text, sizeof text, "/sys/kernel/mm/transparent_hugepage/enabled") < 0 ||
        strstr(text, "[never]") != NULL) {
        td_lab_skip(lab, "the kernel gives no huge pages on request");
    }
    size_t bytes = (size_t)PIECES * HUGE;
    unsigned char *small = aligned_block(lab), *huge = aligned_block(lab);
    madvise(small, bytes, MADV_NOHUGEPAGE);
    madvise(huge, bytes, lab->mutant ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    long with_small = faults_of(small), with_huge = faults_of(huge);
    td_lab_check(lab, with_small >= (long)(bytes / 4096),
                 "%d MiB in pages of 4 KiB: %ld faults", PIECES * 2, with_small);
    td_lab_check(lab, with_huge < with_small / 4, "in huge pages: %ld", with_huge);
    int64_t kib = td_proc_number("/proc/self/smaps_rollup", "AnonHugePages");
    td_lab_check(lab, kib >= HUGE / 1024, "%lld KiB of this process lie in huge pages",
                 (long long)kib);
}
