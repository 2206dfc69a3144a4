/* SPDX-License-Identifier: Apache-2.0
 * Takes the place of the C library's allocator in the whole program, every library included: counts
 * the calls and passes them on.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "step_watch.h"

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);
void __libc_free(void *block);

static _Atomic int counting;
static _Atomic int64_t calls;

void malloc_count_set(int on) {
    atomic_store(&counting, on);
}

int64_t malloc_count_get(void) {
    return atomic_load(&calls);
}

static void count(void) {
    if (atomic_load_explicit(&counting, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    }
}

/* Declared by stdlib.h, which would bring the prototypes' attributes with it. */
void *malloc(size_t bytes);
void *calloc(size_t n, size_t bytes);
void *realloc(void *block, size_t bytes);
void *aligned_alloc(size_t align, size_t bytes);
void *memalign(size_t align, size_t bytes);
int posix_memalign(void **out, size_t align, size_t bytes);
void free(void *block);

void *malloc(size_t bytes) {
    count();
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes) {
    count();
    return __libc_calloc(n, bytes);
}

void *realloc(void *block, size_t bytes) {
    count();
    return __libc_realloc(block, bytes);
}

void *aligned_alloc(size_t align, size_t bytes) {
    count();
    return __libc_memalign(align, bytes);
}

void *memalign(size_t align, size_t bytes) {
    count();
    return __libc_memalign(align, bytes);
}

int posix_memalign(void **out, size_t align, size_t bytes) {
    enum { NO_MEMORY = 12 }; /* ENOMEM */
    count();
    void *block = __libc_memalign(align, bytes);
    if (block == NULL) {
        return NO_MEMORY;
    }
    *out = block;
    return 0;
}

/* Giving memory back is as much a call as asking for it. */
void free(void *block) {
    count();
    __libc_free(block);
}
