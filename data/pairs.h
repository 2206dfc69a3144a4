/* SPDX-License-Identifier: Apache-2.0
 * What training asks of the data path: batches of image-caption pairs by sample index, prefetched
 * on workers of their own, in an order that depends on seed and step only.
 */
#ifndef TD_DATA_PAIRS_H
#define TD_DATA_PAIRS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "data/augment.h"
#include "data/tokenizer.h"

/* A data set of pairs: TFRecord shards or WebDataset tar files under a directory or glob, a .tar or
 * .tsv file (data/pair_table.h), or the embedded procedural set when path is NULL. */
typedef struct td_pairs td_pairs;

typedef struct td_pairs_options {
    const char *path; /* as above; NULL: procedural, n_synthetic pairs */
    int64_t n_synthetic;
    uint64_t seed;
    double holdout; /* share of pairs kept for eval, chosen by a hash of the pair's key: [0, 1) */
    bool held_out;  /* this set is the held-out part instead */
} td_pairs_options;

td_status td_pairs_open(const td_pairs_options *options, td_pairs **out);
void td_pairs_close(td_pairs *pairs);
int64_t td_pairs_count(const td_pairs *pairs);

/* One pair's caption and class label ("" when it has none); strings are freed with td_free. A
 * record that cannot be decoded is TD_EINPUT with file, offset, record and reason. */
td_status td_pairs_text(td_pairs *pairs, int64_t index, char **caption, char **label);

/* The pair's key: equal on every machine, and what the hold-out hashes. Freed with td_free. */
td_status td_pairs_key(td_pairs *pairs, int64_t index, char **key);

/* Decodes, resizes (antialiased bicubic), crops and normalises one image with CLIP's mean and std
 * into (3, size, size). */
td_status td_pairs_image(td_pairs *pairs, int64_t index, int64_t size, float *out);

/* Features that a set holds instead of images: numbers of each, and the SHA-256 of the weights that
 * made them. n = 0: it holds images. */
typedef struct td_pair_vector {
    int64_t n;
    char tower[72];
} td_pair_vector;

/* What the first record of the set at path holds that can be read. */
td_status td_pairs_find_vector(const char *path, td_pair_vector *out);

/* A loader gives one rank its samples of each global batch: rows [first_row, first_row + rows) of
 * `batch` samples. Order: epoch e visits a permutation keyed by (seed, e); sample j of step s is
 * item (s * batch + j). An undecodable pair is replaced by the next good one of the permutation,
 * counted and noted once: never a crash. */
typedef struct td_loader td_loader;

typedef struct td_loader_options {
    td_pairs *pairs;
    const td_tokenizer *tokenizer;
    int64_t batch, first_row, rows, image_size, context;
    uint64_t seed;
    int64_t first_step; /* > 0 when resuming */
    int prefetch; /* batches kept ready; 0: 1 to 8, one more whenever a batch came late although the
                   * workers are fast enough on average */
    int workers;  /* threads that load samples, 0: 1; batches do not depend on it */
    int pu;       /* PU of these threads, -1: where the creating thread may run */
    td_augment augment;    /* of images; that of a sample depends on seed and place in the order */
    td_pair_vector vector; /* n > 0: rows of features take the place of images */
    /* > 0: when the whole set, decoded at image_size (3 bytes a pixel), fits into this much, it is
     * kept in memory by the set, so later epochs neither read nor decode; same bits either way.
     * Crops at random need the whole picture each time: with them only tokens are kept */
    int64_t cache_bytes;
    bool fill_cache; /* before the first batch; a rank that sees half of each batch would otherwise
                      * still decode after many epochs */
} td_loader_options;

td_status td_loader_create(const td_loader_options *options, td_loader **out);
void td_loader_destroy(td_loader *loader);

/* The next step's samples: images (rows, 3, size, size), or features (rows, vector.n), and tokens
 * (rows, context), valid until the next call. wait_ns: how long the caller waited. */
td_status td_loader_next(td_loader *loader, const float **images, const int32_t **tokens,
                         int64_t *wait_ns);

/* Of the batches handed out so far. bad_samples: samples whose place another pair took; decode_ns:
 * time of all workers; depth: batches kept ready now; ready: of them those that are. */
typedef struct td_loader_stats {
    int64_t batches, samples, bad_samples, wait_ns, decode_ns;
    int workers, depth, ready;
} td_loader_stats;
void td_loader_get_stats(td_loader *loader, td_loader_stats *out);

#endif
