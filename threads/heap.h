/* SPDX-License-Identifier: Apache-2.0
 * One block of address space for all ranks of a group: a memfd when ranks are processes, so that it
 * has no name and ends with the last of them, and anonymous memory when they are threads, where
 * huge pages come more easily.
 */
#ifndef TD_THREADS_HEAP_H
#define TD_THREADS_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { TD_HEAP_ALIGN = 2 << 20 };

typedef struct td_heap {
    unsigned char *base; /* aligned to TD_HEAP_ALIGN, zero, untouched */
    size_t bytes;
} td_heap;

/* bytes is rounded up to TD_HEAP_ALIGN. TD_ENOMEM names the size. */
td_status td_heap_create(size_t bytes, bool between_processes, td_heap *out);

/* The same in two steps, for processes that do not descend from each other: one makes the file, all
 * map it. The caller closes fd. */
td_status td_heap_file(size_t bytes, int *fd);
td_status td_heap_map(int fd, size_t bytes, td_heap *out);

/* Takes a part of a heap that nobody has touched into use in huge pages, as many as lie in it
 * whole, where the kernel can; they lie where this thread runs. Between processes nothing else does
 * on most machines: memory that is shared is kept out of huge pages by default, unless they are
 * asked for in this way (Linux 6.1). 256 MiB took 15 ms on a Zen 4, and 160 to 200 in small pages.
 */
void td_heap_touch_huge(void *base, size_t bytes);
void td_heap_destroy(td_heap *heap);

#endif
