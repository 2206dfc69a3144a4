/* SPDX-License-Identifier: Apache-2.0
 * Memory of one result: many blocks taken, all given back at once. A pool that is reset keeps its
 * memory, so parsing batch after batch allocates nothing once the largest batch was seen.
 */
#ifndef TD_DATA_MEMPOOL_H
#define TD_DATA_MEMPOOL_H

#include <stddef.h>

/* Zero-initialise to start. One thread at a time. */
typedef struct td_pool {
    struct td_pool_block *blocks; /* the one in use first */
    struct td_pool_block *spare;  /* kept by reset */
    size_t used_bytes;            /* of the first block */
} td_pool;

/* 64-byte aligned, contents undefined; NULL when memory runs out. bytes may be 0. */
void *td_pool_take(td_pool *pool, size_t bytes);
void *td_pool_take_zero(td_pool *pool, size_t bytes);
/* A copy of the bytes, or NULL. */
void *td_pool_copy(td_pool *pool, const void *bytes, size_t size);
/* Gives every block back to the pool, not to the system. */
void td_pool_reset(td_pool *pool);
void td_pool_destroy(td_pool *pool);

#endif
