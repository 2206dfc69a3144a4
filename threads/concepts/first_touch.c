/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

enum { PAGES = 2048 };

static long minor_faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_minflt;
}

static long touch(unsigned char *block, size_t page, double *ns) {
    long before = minor_faults();
    int64_t start = td_now_ns();
    for (size_t i = 0; i < PAGES; i++) {
        ((_Atomic unsigned char *)block)[i * page] = 1;
    }
    *ns = (double)(td_now_ns() - start) / PAGES;
    return minor_faults() - before;
}

void td_concept_first_touch(td_lab *lab) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *block =
        mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    td_lab_must(lab, block != MAP_FAILED, "memory");
    madvise(block, PAGES * page, MADV_NOHUGEPAGE);
    double first_ns, second_ns;
    if (lab->mutant) {
        touch(block, page, &first_ns);
    }
    long first = touch(block, page, &first_ns), second = touch(block, page, &second_ns);
    td_lab_check(lab, first >= PAGES && first <= PAGES + 4,
                 "the first touch of %d pages is %ld faults", PAGES, first);
    td_lab_check(lab, second <= 2, "the second is %ld", second);
    madvise(block, PAGES * page, MADV_DONTNEED);
    double again_ns;
    long again = touch(block, page, &again_ns);
    td_lab_check(lab, again >= PAGES, "memory given back and touched again is %ld", again);
    td_lab_saw(lab, "%.0f ns a page, then %.1f", first_ns, second_ns);
    td_lab_number(lab, "first_touch_ns", first_ns);
    td_lab_number(lab, "second_touch_ns", second_ns);
    td_lab_sample(lab, first_ns);
    td_lab_sampled(lab, "the first touch of a page");
}
