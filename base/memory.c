/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/aligned.h"

enum { HUGE_PAGE = 2 << 20 };

static _Atomic uint64_t n_allocations;

void *td_plan_take(td_plan *plan, size_t bytes) {
    unsigned char *block = plan->base == NULL ? NULL : plan->base + plan->used_bytes;
    size_t padded = (bytes + TD_ALIGN - 1) / TD_ALIGN * TD_ALIGN + TD_ALIGN;
    TD_ASSERT(padded >= bytes && plan->used_bytes + padded >= plan->used_bytes);
    plan->used_bytes += padded;
    return block;
}

td_status td_arena_create(size_t bytes, td_arena *out) {
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    if (bytes == 0) {
        *out = (td_arena){0};
        return TD_OK;
    }
    size_t size = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    /* Mapped with one huge page to spare, then trimmed to an aligned block of the size asked for.
     */
    unsigned char *raw = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) {
        return td_fail(TD_ENOMEM, "map %zu bytes: %s", bytes, strerror(errno));
    }
    size_t lead = (HUGE_PAGE - (uintptr_t)raw % HUGE_PAGE) % HUGE_PAGE;
    if (lead > 0) {
        munmap(raw, lead);
    }
    if (lead < HUGE_PAGE) {
        munmap(raw + lead + size, HUGE_PAGE - lead);
    }
    madvise(raw + lead, size,
            MADV_HUGEPAGE); /* advice: without it the arena is slower, not wrong */
#ifdef TD_DEBUG
    memset(raw + lead, 0xFF, size);
#endif
    *out = (td_arena){raw + lead, size};
    return TD_OK;
}

void td_arena_destroy(td_arena *arena) {
    if (arena->base != NULL) {
        munmap(arena->base, arena->bytes);
    }
    *arena = (td_arena){0};
}

td_status td_pages_add(const void *base, size_t bytes, td_pages *out) {
    FILE *file = fopen("/proc/self/smaps", "re");
    if (file == NULL) {
        return td_fail(TD_ESYS, "/proc/self/smaps: %s", strerror(errno));
    }
    char line[512];
    bool inside = false;
    uintptr_t first = (uintptr_t)base, last = first + bytes;
    while (fgets(line, sizeof line, file) != NULL) {
        uintptr_t from, to;
        long long kib;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
            inside = from < last && to > first;
        } else if (inside && sscanf(line, "Rss: %lld kB", &kib) == 1) {
            out->resident_bytes += kib * 1024;
        } else if (inside && (sscanf(line, "AnonHugePages: %lld kB", &kib) == 1 ||
                              sscanf(line, "ShmemPmdMapped: %lld kB", &kib) == 1)) {
            out->huge_bytes += kib * 1024;
        }
    }
    fclose(file);
    return TD_OK;
}

void *td_alloc(size_t bytes) {
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return malloc(bytes == 0 ? 1 : bytes);
}

void *td_alloc_zero(size_t bytes) {
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return calloc(1, bytes == 0 ? 1 : bytes);
}

void *td_alloc_aligned(size_t align, size_t bytes) {
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    size_t rounded = (bytes + align - 1) / align * align; /* as C11 wants it */
    void *block = rounded < bytes ? NULL : aligned_alloc(align, rounded == 0 ? align : rounded);
    return block == NULL ? NULL : memset(block, 0, rounded);
}

void *td_realloc(void *block, size_t bytes) {
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return realloc(block, bytes == 0 ? 1 : bytes);
}

char *td_strdup(const char *text) {
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return strdup(text);
}

void td_free(void *block) {
    free(block);
}

uint64_t td_alloc_count(void) {
    return atomic_load_explicit(&n_allocations, memory_order_relaxed);
}
