/* SPDX-License-Identifier: Apache-2.0
 * The part of CLIP's tokenizer that works on text: cleaning a caption and cutting it into words,
 * before any merge.
 */
#ifndef TD_DATA_CAPTION_TEXT_H
#define TD_DATA_CAPTION_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/text.h"

/* A caption is read up to here; the longest context holds far less. */
enum { TD_CAPTION_BYTES_MAX = 1 << 16 };

/* Curly quotes made straight, HTML references resolved twice, NFC, white space collapsed and
 * stripped, lower case. Bytes that are not UTF-8 pass unchanged. Replaces what out holds. */
td_status td_caption_clean(const char *text, td_text *out);

typedef enum td_word_kind { TD_WORD_PLAIN, TD_WORD_START, TD_WORD_END } td_word_kind;

typedef struct td_word {
    const char *bytes;
    size_t size;
    td_word_kind kind; /* START and END: the literal <|startoftext|> and <|endoftext|> */
} td_word;

/* The next word of a cleaned caption at or after *at, which moves behind it; false at the end. A
 * word is a contraction
 * ('s 't 're 've 'm 'll 'd), a run of letters, one digit, or a run of anything else but white
 * space. */
bool td_caption_word(const char *text, size_t size, size_t *at, td_word *out);

#endif
