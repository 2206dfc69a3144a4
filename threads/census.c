/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/census.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "threads/monitor.h"
#include "threads/procfs.h"

struct td_census {
    td_census_page *page;
};

enum { MOST_FILES = 4096 };

/* The number of the descriptor that holds the page; -1: there is none, -2: nobody may know. */
static int find_file(int pid, int *scratch) {
    char path[64], target[64];
    int count = td_proc_files(pid, scratch, MOST_FILES);
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    if (count == 0 && access(path, R_OK) != 0) {
        return -2;
    }
    for (int i = count - 1; i >= 0; i--) { /* the library takes a high one */
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, scratch[i]);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        if (strncmp(target, "/memfd:" TD_CENSUS_NAME " ", sizeof TD_CENSUS_NAME + 7) == 0) {
            return scratch[i];
        }
    }
    return -1;
}

static td_status map_page(int pid, int number, td_census_page **out) {
    char path[64];
    struct stat stat;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, number);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return td_fail(TD_ESYS, "the census of process %d: %s", pid, strerror(errno));
    }
    void *page = MAP_FAILED;
    if (fstat(fd, &stat) == 0 && stat.st_size >= (off_t)sizeof **out) {
        page = mmap(NULL, sizeof **out, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    close(fd);
    if (page == MAP_FAILED) {
        return td_fail(TD_ESYS, "the census of process %d cannot be read", pid);
    }
    *out = page;
    return TD_OK;
}

td_status td_census_open(int pid, td_census **out) {
    td_census *census = td_alloc_zero(sizeof *census);
    int *scratch = td_alloc(MOST_FILES * sizeof *scratch);
    td_status status = TD_OK;
    if (census == NULL || scratch == NULL) {
        status = td_fail(TD_ENOMEM, "a census");
    } else {
        int number = find_file(pid, scratch);
        status = number == -2 ? td_monitor_refused(pid)
                 : number < 0 ? td_fail(TD_ESKIP,
                                        "process %d keeps no census: `tandem threads exec` "
                                        "starts a program that does",
                                        pid)
                              : map_page(pid, number, &census->page);
    }
    td_free(scratch);
    if (status == TD_OK && census->page->magic != TD_CENSUS_MAGIC) {
        status = td_fail(TD_ESYS, "the census of process %d is of another version", pid);
    }
    if (status != TD_OK) {
        td_census_close(census);
        return status;
    }
    *out = census;
    return TD_OK;
}

void td_census_close(td_census *census) {
    if (census != NULL) {
        if (census->page != NULL) {
            munmap(census->page, sizeof *census->page);
        }
        td_free(census);
    }
}

/* relaxed, here and below: counts, which order nothing. */
static int64_t get(const _Atomic int64_t *value) {
    return atomic_load_explicit(value, memory_order_relaxed);
}

td_census_counts td_census_read(const td_census *census) {
    const td_census_page *page = census->page;
    return (td_census_counts){
        .started = get(&page->started),
        .live = get(&page->live),
        .peak = get(&page->peak),
        .contention = atomic_load_explicit(&page->contention, memory_order_relaxed) != 0};
}

bool td_census_of(const td_census *census, int tid, td_census_waits *out) {
    for (int i = 0; i < TD_CENSUS_THREADS; i++) {
        const td_census_thread *thread = &census->page->thread[i];
        if (atomic_load_explicit(&thread->tid, memory_order_relaxed) == tid) {
            *out = (td_census_waits){get(&thread->blocked), get(&thread->blocked_ns),
                                     get(&thread->waited), get(&thread->waited_ns)};
            return true;
        }
    }
    return false;
}

bool td_census_contention(td_census *census, bool on) {
    return atomic_exchange(&census->page->contention, on) != 0;
}

void td_census_reset_peak(td_census *census) {
    atomic_store(&census->page->peak, get(&census->page->live));
}

td_status td_census_library(const char **path) {
    if (access(TD_CENSUS_LIBRARY, R_OK) != 0) {
        return td_fail(TD_ESKIP, "%s: %s", TD_CENSUS_LIBRARY, strerror(errno));
    }
    *path = TD_CENSUS_LIBRARY;
    return TD_OK;
}
