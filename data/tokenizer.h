/* SPDX-License-Identifier: Apache-2.0
 * CLIP's byte-level BPE: html-unescape twice, collapse white space, lower-case, split, merge. Ids:
 * 256 bytes, 256 bytes with </w>, merges in order, start of text, end of text (the largest id).
 */
#ifndef TD_DATA_TOKENIZER_H
#define TD_DATA_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

typedef struct td_tokenizer td_tokenizer;

/* path: a CLIP merges file ("#version" line, then one "left right" a line; gzip is accepted). NULL:
 * the built-in one, a byte-level vocabulary with merges learned from the procedural captions, so
 * small models need no file. */
td_status td_tokenizer_load(const char *path, td_tokenizer **out);

/* Learns up to n_merges merges from captions (most frequent pair first, ties by byte order) and
 * keeps them. */
td_status td_tokenizer_train(const char *const *captions, size_t n_captions, int n_merges,
                             td_tokenizer **out);
td_status td_tokenizer_save(const td_tokenizer *tokenizer, const char *path);
void td_tokenizer_destroy(td_tokenizer *tokenizer);

/* 512 + merges + 2. Always <= the model's vocabulary, or training refuses. */
int32_t td_tokenizer_vocab(const td_tokenizer *tokenizer);

/* [start] ids [end] then zeros, context entries; too long: cut, last entry = end. Returns the
 * number of ids before padding. Thread-safe. */
int64_t td_tokenize(const td_tokenizer *tokenizer, const char *text, int32_t *ids, int64_t context);

/* The same with memory that is kept from call to call; TD_ENOMEM when it cannot be had, where
 * td_tokenize ends the program. */
td_status td_tokenize_with(const td_tokenizer *tokenizer, const char *text, td_text *scratch,
                           int32_t *ids, int64_t context, int64_t *count);

/* The text of ids, for people; freed with td_free. */
char *td_detokenize(const td_tokenizer *tokenizer, const int32_t *ids, int64_t n);

#endif
