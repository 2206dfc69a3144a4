/* SPDX-License-Identifier: Apache-2.0
 * The vocabulary inside a tokenizer: symbols, which are byte strings with or without the
 * end-of-word mark, and the merges that make them. Loading and learning both build one merge by
 * merge.
 */
#ifndef TD_DATA_MERGES_H
#define TD_DATA_MERGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "data/tokenizer.h"

/* 48,894 = 49,408 - 512 - 2: what CLIP reads of its file. A built-in or learned vocabulary never
 * exceeds it either. */
enum {
    TD_MERGES_MAX = 48894,
    TD_BYTE_CHARACTERS = 256 + 68,
    TD_BYTE_SYMBOLS = 512,
    TD_NO_MERGE = INT32_MAX
};

/* Merging costs the square of a word's length, so longer words are cut; no symbol can be longer
 * either. */
enum { TD_WORD_BYTES_MAX = 1024 };

/* left + right -> product; the rank is the merge's index. */
typedef struct td_merge {
    int32_t left, right, product;
} td_merge;

/* A symbol's bytes are pool[offset, offset + size). */
typedef struct td_symbol {
    uint32_t offset, size;
    bool end;       /* carries the </w> mark */
    int32_t output; /* the id it is written as: two merges may make one string, and then the later
                       id counts */
} td_symbol;

struct td_tokenizer {
    td_symbol *symbols; /* TD_BYTE_SYMBOLS + n_merges, by id */
    td_merge *merges;
    int32_t n_merges;
    td_text pool;
    int32_t *by_string; /* hash of string -> first id with it, -1: free */
    int32_t *by_pair;   /* hash of (left, right) -> merge index, -1: free */
    uint32_t mask;      /* both tables have mask + 1 entries */
    int32_t symbol_of_byte[256];
    /* In a file a byte is a character: itself if it prints, else one from 256 up. -1: no byte. */
    int32_t character_of_byte[256], byte_of_character[TD_BYTE_CHARACTERS];
};

/* The 512 byte symbols and no merge. */
td_status td_merges_create(td_tokenizer **out);

/* Appends a merge of two symbols; TD_EINPUT when there are too many, the pair is there already, or
 * the product would be too long. */
td_status td_merges_add(td_tokenizer *tokenizer, int32_t left, int32_t right);

/* The merge's index, or TD_NO_MERGE. */
int32_t td_merges_find(const td_tokenizer *tokenizer, int32_t left, int32_t right);

/* The first symbol with these bytes, or -1. */
int32_t td_merges_symbol(const td_tokenizer *tokenizer, const char *bytes, size_t size, bool end);

/* The start of a word: one symbol a byte, the last with the mark. */
void td_merges_spell(const td_tokenizer *tokenizer, const char *bytes, size_t size,
                     int32_t *symbols);

#endif
