/* SPDX-License-Identifier: Apache-2.0
 * Blocks for what must not share a cache line with others.
 */
#ifndef TD_BASE_ALIGNED_H
#define TD_BASE_ALIGNED_H

#include <stddef.h>

/* As td_alloc_zero, at a multiple of `align`, a power of two; given back by td_free. */
void *td_alloc_aligned(size_t align, size_t bytes);

#endif
