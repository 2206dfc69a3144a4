/* SPDX-License-Identifier: Apache-2.0
 * What `tandem embed` writes (docs/embed.md). Every file appears under its name when complete.
 */
#ifndef TD_BENCH_EMBED_OUTPUT_H
#define TD_BENCH_EMBED_OUTPUT_H

#include "models/embed.h"

/* images.npy and texts.npy of the towers that were computed, and pairs.jsonl: `rows` rows, one for
 * each pair that could be decoded, in the order of the set. Prints each file with its SHA-256. */
td_status td_embed_write_matrices(const char *directory, td_pairs *pairs,
                                  const td_embed_table *table, int64_t rows);

/* A matrix as numpy.load reads it. */
td_status td_write_npy(const char *path, const float *values, int64_t rows, int64_t cols);

/* The set as shards with features in place of images, every pair in its place, those without
 * features included. One shard: readers number records file by file, and the order of training
 * depends on the numbers. */
td_status td_embed_write_features(const char *directory, bool replace, td_pairs *pairs,
                                  const td_embed_table *table, const char *tower);

#endif
