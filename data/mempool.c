/* SPDX-License-Identifier: Apache-2.0 */
#include "data/mempool.h"

#include <stdint.h>
#include <string.h>

#include "base/memory.h"

enum { BLOCK_BYTES_MIN = 64 << 10, BLOCK_ALIGN = 64 };

struct td_pool_block {
    struct td_pool_block *next;
    size_t bytes; /* behind this header */
};

static unsigned char *block_data(struct td_pool_block *block) {
    uintptr_t at = (uintptr_t)(block + 1);
    return (unsigned char *)((at + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN);
}

/* The first spare block that is large enough, or a new one at least twice the last. */
static struct td_pool_block *next_block(td_pool *pool, size_t bytes) {
    for (struct td_pool_block **at = &pool->spare; *at != NULL; at = &(*at)->next) {
        if ((*at)->bytes >= bytes) {
            struct td_pool_block *found = *at;
            *at = found->next;
            return found;
        }
    }
    size_t wanted = pool->blocks == NULL ? BLOCK_BYTES_MIN : pool->blocks->bytes * 2;
    wanted = wanted > bytes ? wanted : bytes;
    struct td_pool_block *block = td_alloc(sizeof *block + wanted + BLOCK_ALIGN);
    if (block != NULL) {
        block->bytes = wanted;
    }
    return block;
}

void *td_pool_take(td_pool *pool, size_t bytes) {
    if (bytes > SIZE_MAX / 4) {
        return NULL;
    }
    size_t rounded = (bytes + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
    if (pool->blocks == NULL || pool->blocks->bytes - pool->used_bytes < rounded) {
        struct td_pool_block *block = next_block(pool, rounded);
        if (block == NULL) {
            return NULL;
        }
        block->next = pool->blocks;
        pool->blocks = block;
        pool->used_bytes = 0;
    }
    unsigned char *out = block_data(pool->blocks) + pool->used_bytes;
    pool->used_bytes += rounded;
    return out;
}

void *td_pool_take_zero(td_pool *pool, size_t bytes) {
    void *out = td_pool_take(pool, bytes);
    if (out != NULL) {
        memset(out, 0, bytes);
    }
    return out;
}

void *td_pool_copy(td_pool *pool, const void *bytes, size_t size) {
    void *out = td_pool_take(pool, size);
    if (out != NULL && size > 0) {
        memcpy(out, bytes, size);
    }
    return out;
}

void td_pool_reset(td_pool *pool) {
    while (pool->blocks != NULL) {
        struct td_pool_block *block = pool->blocks;
        pool->blocks = block->next;
        block->next = pool->spare;
        pool->spare = block;
    }
    pool->used_bytes = 0;
}

void td_pool_destroy(td_pool *pool) {
    td_pool_reset(pool);
    while (pool->spare != NULL) {
        struct td_pool_block *block = pool->spare;
        pool->spare = block->next;
        td_free(block);
    }
}
