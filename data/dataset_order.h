/* SPDX-License-Identifier: Apache-2.0
 * The orders in which tf.data gives elements: interleave, shard, shuffle buffer. What is ordered
 * are numbers; callers map them to files and records. The exact full-epoch shuffle in O(1) memory
 * is td_rng_permute.
 */
#ifndef TD_DATA_DATASET_ORDER_H
#define TD_DATA_DATASET_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* An element of one of several inputs. */
typedef struct td_interleaved {
    int64_t input, element;
} td_interleaved;

/* Interleave: cycle slots are visited in turn, each gives up to block elements of its input; an
 * empty slot takes the next input when it is visited, and a slot that ran out gives its turn to the
 * next. counts: elements of the n inputs. out: as many entries as elements. With parallel calls the
 * order is the same. */
td_status td_interleave(const int64_t *counts, int64_t n, int64_t cycle, int64_t block,
                        td_interleaved *out);

/* The pair of seeds that tf.data makes of a program's (tf.random.set_seed) and a shuffle's own. */
void td_shuffle_seeds(int64_t global, int64_t own, uint64_t out[2]);

/* A shuffle buffer of `capacity` elements over a stream, seeded as (seed, seed2); the k-th epoch of
 * a dataset that reshuffles has the seeds of td_shuffle_epoch. */
typedef struct td_shuffle td_shuffle;
td_status td_shuffle_create(int64_t capacity, uint64_t seed, uint64_t seed2, td_shuffle **out);
void td_shuffle_destroy(td_shuffle *shuffle);
void td_shuffle_epoch(uint64_t seed, uint64_t seed2, int64_t epoch, uint64_t out[2]);
/* Offers the next element of the stream; false when the buffer is full. */
bool td_shuffle_put(td_shuffle *shuffle, int64_t element);
/* Takes one; false when the buffer is empty. To be called when put said no, or the stream ended. */
bool td_shuffle_take(td_shuffle *shuffle, int64_t *element);

#endif
