/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

enum { PAGES = 256 };

/* The number of the page frame behind an address; 0 when the kernel does not tell. */
static uint64_t frame_of(const void *address) {
    uint64_t entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        off_t at = (off_t)((uintptr_t)address / (size_t)sysconf(_SC_PAGESIZE) * sizeof entry);
        if (pread(fd, &entry, sizeof entry, at) != (ssize_t)sizeof entry) {
            entry = 0;
        }
        close(fd);
    }
    return entry & ((UINT64_C(1) << 55) - 1);
}

static long minor_faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

typedef struct seen {
    uint64_t before, after, thread;
    long faults, again;
    double ns;
} seen;

static unsigned char *block;
static size_t page;

static void write_in_child(td_lab *lab, void *arg) {
    (void)lab;
    seen *s = arg;
    s->before = frame_of(block);
    long faults = minor_faults();
    int64_t start = td_now_ns();
    for (int i = 0; i < PAGES; i++) {
        block[(size_t)i * page] = 2;
    }
    s->ns = (double)(td_now_ns() - start) / PAGES;
    s->faults = minor_faults() - faults;
    faults = minor_faults();
    for (int i = 0; i < PAGES; i++) {
        block[(size_t)i * page] = 3;
    }
    s->again = minor_faults() - faults;
    s->after = frame_of(block);
}

static void *write_in_thread(void *arg) {
    block[0] = 7;
    *(uint64_t *)arg = frame_of(block);
    return NULL;
}

void td_concept_copy_on_write(td_lab *lab) {
    page = (size_t)sysconf(_SC_PAGESIZE);
    int sharing = lab->mutant ? MAP_SHARED : MAP_PRIVATE;
    block = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);
    td_lab_must(lab, block != MAP_FAILED, "memory");
    madvise(block, PAGES * page, MADV_NOHUGEPAGE);
    memset(block, 1, PAGES * page);
    seen *s = td_lab_shared(lab, sizeof *s);
    uint64_t parent = frame_of(block);
    td_lab_sampled(lab, "the first write to a page after fork");
    for (int round = 0; round < 5; round++) {
        td_lab_wait(lab, td_lab_fork(lab, write_in_child, s));
        td_lab_sample(lab, s->ns);
        block[0] = 1;
    }
    if (parent != 0) {
        parent = frame_of(block);
        td_lab_wait(lab, td_lab_fork(lab, write_in_child, s));
        td_lab_check(lab, s->before == parent,
                     "before the write parent and child use the same page frame");
        td_lab_check(lab, s->after != parent, "after it the child has a frame of its own");
        uint64_t frame = 0;
        block[0] = 1;
        parent = frame_of(block);
        pthread_join(td_lab_thread(lab, write_in_thread, &frame), NULL);
        td_lab_check(lab, frame == parent, "a thread writes to the very frame");
    } else {
        td_lab_saw(lab, "page frames are hidden from this user; faults alone are counted");
    }
    td_lab_check(lab, s->faults >= PAGES && s->faults <= PAGES + 8,
                 "%ld faults for the first write to %d pages", s->faults, PAGES);
    td_lab_check(lab, s->again <= 2, "%ld faults for the second", s->again);
    td_lab_check(lab, block[page] == 1, "the parent still reads what it wrote");
}
