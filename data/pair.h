/* SPDX-License-Identifier: Apache-2.0
 * One image-caption pair as a record: a tf.Example with the features below, and what reading one
 * costs. In place of the image a record may hold what a frozen tower makes of it.
 */
#ifndef TD_DATA_PAIR_H
#define TD_DATA_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "data/augment.h"
#include "data/example.h"
#include "data/image.h"
#include "data/pair_table.h"
#include "data/shards.h"

#define TD_PAIR_IMAGE   "image/encoded"  /* a PNG or JPEG file */
#define TD_PAIR_VECTOR  "image/features" /* in its place: the tower's normalised feature, floats */
#define TD_PAIR_TOWER   "image/tower"    /* with it: SHA-256 of the tower's weights, in hex */
#define TD_PAIR_CAPTION "caption"
#define TD_PAIR_LABEL   "label" /* class; may be absent */
#define TD_PAIR_KEY                                                                                \
    "key" /* names the pair for ever; may be absent, then file name and record number do */

/* Where pairs come from: shards, or a table of files, or with neither the procedural set of a seed.
 */
typedef struct td_pair_source {
    td_shards *shards;
    td_pair_table *table;
    uint64_t seed;
    int64_t count;
} td_pair_source;

/* One pair, and the memory that reading the next one reuses. Zero-initialise once, item = -1. */
typedef struct td_pair {
    int64_t item; /* what is here; -1: nothing */
    td_text caption, label, key;
    td_span encoded; /* from files: points into record; empty when vector is there */
    td_span tower;
    const float *vector; /* (n_vector), or NULL: points into example */
    int64_t n_vector;
    td_buffer record;
    td_example example;
} td_pair;

void td_pair_destroy(td_pair *pair);

/* Reads pair `item` of the source unless it is there already. TD_EINPUT: file, record, byte and
 * reason. */
td_status td_pair_fetch(const td_pair_source *source, int64_t item, td_pair *pair);

/* The image of the pair that was fetched, decoded or drawn: its shortest side brought to size, the
 * centre cropped; or the box of it that draw chooses brought to size, when draw is not NULL. */
td_status td_pair_pixels(const td_pair_source *source, const td_pair *pair, int64_t size,
                         td_augment_draw *draw, td_image *out);

/* The one byte string of a feature. An absent one is empty, or TD_EINPUT when it is required; so is
 * any other shape. */
td_status td_pair_feature(const td_example *example, const char *name, bool required, td_span *out);

/* Appends the record of a pair. label and key may be "" to leave them out. */
td_status td_pair_encode(const void *image, size_t image_bytes, const char *caption,
                         const char *label, const char *key, td_text *out);

/* Appends the record of a pair whose image is replaced by vector (n), which `tower` made; n = 0: of
 * a pair that has none, because its image cannot be decoded. Its place in the set is kept, since
 * the order of training counts places. */
td_status td_pair_encode_vector(const float *vector, int64_t n, const char *tower,
                                const char *caption, const char *label, const char *key,
                                td_text *out);

/* The key of a pair that cannot be read: its own in a table, else its file's name and its number
 * there. */
void td_pair_place_key(const td_pair_source *source, int64_t item, td_text *out);
bool td_pair_is_procedural(const td_pair_source *source);

/* The key of a procedural pair, the same whether it is made in memory or read from shards. */
void td_pair_synthetic_key(uint64_t seed, int64_t index, td_text *out);

#endif
