/* SPDX-License-Identifier: Apache-2.0
 * Bounded queues of pointers or numbers: a ring for one producer and one consumer, and one for any
 * number of both. Neither waits: a full or empty queue answers false.
 */
#ifndef TD_THREADS_QUEUE_H
#define TD_THREADS_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct td_ring td_ring;   /* one producer, one consumer */
typedef struct td_queue td_queue; /* any number of both */

/* capacity: a power of two, 2 to 2^24. */
td_status td_ring_create(int64_t capacity, td_ring **out);
void td_ring_destroy(td_ring *ring);
bool td_ring_put(td_ring *ring, uint64_t item);
bool td_ring_take(td_ring *ring, uint64_t *item);

td_status td_queue_create(int64_t capacity, td_queue **out);
void td_queue_destroy(td_queue *queue);
bool td_queue_put(td_queue *queue, uint64_t item);
bool td_queue_take(td_queue *queue, uint64_t *item);

#endif
