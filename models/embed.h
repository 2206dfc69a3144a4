/* SPDX-License-Identifier: Apache-2.0
 * Features of a whole set of pairs, computed by the ranks of a group, each a share of the set, into
 * one table that all of them map. A row does not depend on the layout.
 */
#ifndef TD_MODELS_EMBED_H
#define TD_MODELS_EMBED_H

#include "data/pairs.h"
#include "data/tokenizer.h"
#include "models/encoder.h"
#include "threads/group.h"

/* What became of a pair. */
typedef enum td_embed_state {
    TD_EMBED_NONE,   /* not reached */
    TD_EMBED_OK,     /* its rows are there */
    TD_EMBED_FAILED, /* its record or its image cannot be decoded; it has no rows */
} td_embed_state;

/* Backed by a file without a name, so that nothing is left behind; created before the ranks start.
 * images and texts are (pairs, embed), NULL for a tower that is not asked for. */
typedef struct td_embed_table {
    int64_t pairs, embed;
    float *images, *texts;
    unsigned char *state;  /* (pairs) */
    _Atomic int64_t *done; /* pairs reached by all ranks */
    void *map;
    size_t map_bytes;
} td_embed_table;

/* directory: where there is room for it. TD_EIO when there is not. */
td_status td_embed_table_create(const char *directory, int64_t pairs, int64_t embed, bool images,
                                bool texts, td_embed_table *out);
void td_embed_table_destroy(td_embed_table *table);

/* Called now and then in rank 0: pairs that all ranks have reached. */
typedef void td_embed_tick(void *arg, int64_t done);

/* Encodes this rank's share of the pairs. A pair that cannot be decoded is noted on stderr.
 * TD_EINTERRUPTED after an interrupt. */
td_status td_embed_rank(td_encoder *encoder, td_pairs *pairs, const td_tokenizer *tokenizer,
                        const td_rank *rank, int64_t batch, td_embed_table *table,
                        td_embed_tick *tick, void *arg);

#endif
