/* SPDX-License-Identifier: Apache-2.0
 * Memory: a two-pass plan that sizes and then hands out one block, the huge-page arena it runs on,
 * and plain blocks for set-up code. Nothing here is called between the start and the end of a
 * measured step.
 */
#ifndef TD_BASE_MEMORY_H
#define TD_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { TD_ALIGN = 64 };

/* Run the same planning code twice: with base NULL it only sums, with base set it hands out
 * pointers. Every block is 64-byte aligned and followed by at least 64 bytes that belong to the
 * plan, so a vector load that starts inside a block never leaves the arena. */
typedef struct td_plan {
    unsigned char *base;
    size_t used_bytes;
} td_plan;

void *td_plan_take(td_plan *plan, size_t bytes);
#define TD_PLAN_ARRAY(plan, type, count)                                                           \
    ((type *)td_plan_take((plan), (size_t)(count) * sizeof(type)))

/* One block from mmap, 2 MiB aligned, advised for huge pages, filled with 0xFF bytes in debug
 * builds, zero otherwise. bytes = 0 gives an empty arena. TD_ENOMEM names the size. */
typedef struct td_arena {
    unsigned char *base;
    size_t bytes;
} td_arena;

td_status td_arena_create(size_t bytes, td_arena *out);
void td_arena_destroy(td_arena *arena);

/* How much of the mappings that hold [base, base + bytes) is in memory, and how much of that in
 * huge pages; added to out. A neighbour that the kernel has joined with them counts too. TD_ESYS
 * when /proc does not say. */
typedef struct td_pages {
    int64_t resident_bytes, huge_bytes;
} td_pages;

td_status td_pages_add(const void *base, size_t bytes, td_pages *out);

/* malloc family for set-up code; NULL when memory runs out. td_free(NULL) does nothing. */
void *td_alloc(size_t bytes);
void *td_alloc_zero(size_t bytes);
void *td_realloc(void *block, size_t bytes);
char *td_strdup(const char *text);
void td_free(void *block);

/* The number of td_alloc/td_alloc_zero/td_realloc/td_strdup/td_arena_create calls of this process
 * so far. */
uint64_t td_alloc_count(void);

#endif
