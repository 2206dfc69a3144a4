/* SPDX-License-Identifier: Apache-2.0
 * What the loader needs of a data set beyond data/pairs.h: reading with memory that is reused, the
 * cache of decoded pixels, and the account of pairs that cannot be decoded. All of it may be called
 * by several threads at once.
 */
#ifndef TD_DATA_PAIRS_PIXELS_H
#define TD_DATA_PAIRS_PIXELS_H

#include "data/pair.h"
#include "data/pairs.h"

td_status td_pairs_fetch(td_pairs *pairs, int64_t index, td_pair *pair);

/* Only the key of an item of the source, which every item has: a record that cannot be decoded is
 * keyed by its place. */
td_status td_pairs_source_key(const td_pair_source *source, int64_t item, td_pair *pair);

/* td_pairs_image with memory of the caller's, through the cache when there is one for this size,
 * and changed as draw says, when it is not NULL. A crop passes the cache by: that holds what is
 * left of a picture, not the picture. A mirror image comes from what is there. */
td_status td_pairs_normalised(td_pairs *pairs, int64_t index, int64_t size, td_pair *pair,
                              td_augment_draw *draw, float *out);

/* The features of a pair whose record holds them instead of an image. TD_EINPUT as td_pairs_fetch;
 * TD_EUSAGE when there are none, or they are not what is expected. */
td_status td_pairs_vector(td_pairs *pairs, int64_t index, const td_pair_vector *expected,
                          td_pair *pair, float *out);

/* Creates the cache for one size, once, when the set fits into max_bytes; otherwise does nothing.
 */
td_status td_pairs_cache(td_pairs *pairs, int64_t size, int64_t max_bytes);

/* A pair's pixels, or NULL when they are not kept (yet). */
const unsigned char *td_pairs_cached(td_pairs *pairs, int64_t index, int64_t size);

/* Remembers that a pair cannot be decoded, and says why (the calling thread's last error) the first
 * time. */
void td_pairs_note_bad(td_pairs *pairs, int64_t index);
bool td_pairs_known_bad(td_pairs *pairs, int64_t index);

#endif
