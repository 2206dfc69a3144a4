/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/data/faults.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/memory.h"
#include "data/file_window.h"

static int64_t most_bytes, reads_left = -1;
static bool interrupt_next, read_failed, no_mapping;
static _Atomic int64_t allocations_left = -1, live;
static _Atomic bool allocation_failed;

void td_test_short_reads(int64_t most) {
    most_bytes = most;
    interrupt_next = most > 0;
}

void td_test_fail_read(int64_t n) {
    reads_left = n;
    read_failed = false;
}

bool td_test_read_failed(void) {
    return read_failed;
}

void td_test_forbid_mapping(bool forbid) {
    no_mapping = forbid;
}

void td_test_fail_allocation(int64_t n) {
    atomic_store(&allocations_left, n);
    atomic_store(&allocation_failed, false);
}

bool td_test_allocation_failed(void) {
    return atomic_load(&allocation_failed);
}

int64_t td_test_live_blocks(void) {
    return atomic_load(&live);
}

/* Whether this read happens, and how much of it. */
static bool may_read(size_t *bytes) {
    if (reads_left == 0) {
        read_failed = true;
        errno = EIO;
        return false;
    }
    reads_left -= reads_left > 0;
    if (most_bytes == 0) {
        return true;
    }
    interrupt_next = !interrupt_next;
    if (!interrupt_next) {
        errno = EINTR;
        return false;
    }
    *bytes = *bytes < (size_t)most_bytes ? *bytes : (size_t)most_bytes;
    return true;
}

/* The linker gives these names; __real_ ones are what would have been called. */
ssize_t __real_read(int fd, void *to, size_t bytes);
ssize_t __wrap_read(int fd, void *to, size_t bytes);
ssize_t __real_pread(int fd, void *to, size_t bytes, off_t at);
ssize_t __wrap_pread(int fd, void *to, size_t bytes, off_t at);
bool __real_td_file_window_map(td_file_window *window, int fd, int64_t start, int64_t bytes);
bool __wrap_td_file_window_map(td_file_window *window, int fd, int64_t start, int64_t bytes);
void *__real_td_alloc(size_t bytes);
void *__wrap_td_alloc(size_t bytes);
void *__real_td_alloc_zero(size_t bytes);
void *__wrap_td_alloc_zero(size_t bytes);
void *__real_td_realloc(void *block, size_t bytes);
void *__wrap_td_realloc(void *block, size_t bytes);
char *__real_td_strdup(const char *text);
char *__wrap_td_strdup(const char *text);
void __real_td_free(void *block);
void __wrap_td_free(void *block);

ssize_t __wrap_read(int fd, void *to, size_t bytes) {
    return may_read(&bytes) ? __real_read(fd, to, bytes) : -1;
}

ssize_t __wrap_pread(int fd, void *to, size_t bytes, off_t at) {
    return may_read(&bytes) ? __real_pread(fd, to, bytes, at) : -1;
}

bool __wrap_td_file_window_map(td_file_window *window, int fd, int64_t start, int64_t bytes) {
    return !no_mapping && __real_td_file_window_map(window, fd, start, bytes);
}

static bool may_allocate(void) {
    int64_t left = atomic_load(&allocations_left);
    while (left >= 0 && !atomic_compare_exchange_weak(&allocations_left, &left, left - 1)) {
    }
    if (left == 0) {
        atomic_store(&allocation_failed, true);
    }
    return left != 0;
}

static void *counted(void *block) {
    atomic_fetch_add(&live, block != NULL);
    return block;
}

void *__wrap_td_alloc(size_t bytes) {
    return may_allocate() ? counted(__real_td_alloc(bytes)) : NULL;
}

void *__wrap_td_alloc_zero(size_t bytes) {
    return may_allocate() ? counted(__real_td_alloc_zero(bytes)) : NULL;
}

void *__wrap_td_realloc(void *block, size_t bytes) {
    if (!may_allocate()) {
        return NULL;
    }
    void *moved = __real_td_realloc(block, bytes);
    atomic_fetch_add(&live, block == NULL && moved != NULL);
    return moved;
}

char *__wrap_td_strdup(const char *text) {
    return may_allocate() ? counted(__real_td_strdup(text)) : NULL;
}

void __wrap_td_free(void *block) {
    atomic_fetch_sub(&live, block != NULL);
    __real_td_free(block);
}
