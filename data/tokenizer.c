/* SPDX-License-Identifier: Apache-2.0 */
#include "data/tokenizer.h"

#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

#include "base/memory.h"
#include "data/caption_text.h"
#include "data/merges.h"
#include "data/synth.h"

/* CLIP's merges file is 3.2 MB; a file that unpacks to more than this is something else. */
enum { FILE_BYTES_MAX = 64 << 20 };

/* The built-in vocabulary: 2,000 procedural captions of seed 0 hold every word of that set many
 * times over, and no pair is left to merge well before 1,024 merges. */
enum { BUILT_IN_CAPTIONS = 2000, BUILT_IN_MERGES = 1024 };

/* Reads a plain or gzip file whole. */
static td_status read_merges_file(const char *path, td_text *out) {
    gzFile file = gzopen(path, "rb");
    if (file == NULL) {
        return td_fail(TD_EIO, "merges file %s cannot be opened", path);
    }
    char block[1 << 14];
    int n = 0;
    while (out->size <= FILE_BYTES_MAX && (n = gzread(file, block, sizeof block)) > 0) {
        td_text_append(out, block, (size_t)n);
    }
    int error = Z_OK;
    const char *reason = gzerror(file, &error);
    td_status status = td_text_status(out);
    if (status == TD_OK && (n < 0 || error < 0)) {
        status = td_fail(TD_EIO, "merges file %s: %s", path, reason);
    } else if (status == TD_OK && out->size > FILE_BYTES_MAX) {
        status = td_fail(TD_EINPUT, "merges file %s is larger than %d bytes", path, FILE_BYTES_MAX);
    }
    gzclose(file);
    return status;
}

static const char end_mark[] = "</w>";
enum { END_MARK_SIZE = sizeof end_mark - 1 };

/* A field of the file back to bytes; -1 when it is not one of the tokenizer's symbols. */
static int32_t parse_symbol(const td_tokenizer *t, const char *field, size_t size) {
    char bytes[TD_WORD_BYTES_MAX];
    size_t n = 0;
    bool end =
        size > END_MARK_SIZE && memcmp(field + size - END_MARK_SIZE, end_mark, END_MARK_SIZE) == 0;
    size -= end ? END_MARK_SIZE : 0;
    for (size_t at = 0; at < size;) {
        utf8proc_int32_t code = 0;
        utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)field + at,
                                                 (utf8proc_ssize_t)(size - at), &code);
        int32_t byte = used < 1 || code >= TD_BYTE_CHARACTERS ? -1 : t->byte_of_character[code];
        if (byte < 0 || n == sizeof bytes) {
            return -1;
        }
        bytes[n++] = (char)byte;
        at += (size_t)used;
    }
    return td_merges_symbol(t, bytes, n, end);
}

static td_status parse_line(td_tokenizer *t, const char *line, size_t size, const char *path,
                            long number) {
    const char *gap = memchr(line, ' ', size);
    if (gap == NULL || memchr(gap + 1, ' ', size - (size_t)(gap + 1 - line)) != NULL) {
        return td_fail(TD_EINPUT, "%s line %ld: expected two symbols with one space between them",
                       path, number);
    }
    int32_t left = parse_symbol(t, line, (size_t)(gap - line));
    int32_t right = parse_symbol(t, gap + 1, size - (size_t)(gap + 1 - line));
    if (left < 0 || right < 0) {
        return td_fail(TD_EINPUT,
                       "%s line %ld: the %s symbol is neither a byte nor made by an earlier merge",
                       path, number, left < 0 ? "left" : "right");
    }
    if (td_merges_add(t, left, right) != TD_OK) {
        char reason[256];
        strncpy(reason, td_error(), sizeof reason - 1);
        reason[sizeof reason - 1] = '\0';
        return td_fail(TD_EINPUT, "%s line %ld: %s", path, number, reason);
    }
    return TD_OK;
}

static td_status parse_merges(td_tokenizer *t, const td_text *text, const char *path) {
    size_t at = 0;
    for (long number = 1; at < text->size && t->n_merges < TD_MERGES_MAX; number++) {
        const char *line = text->data + at;
        const char *newline = memchr(line, '\n', text->size - at);
        size_t size = newline == NULL ? text->size - at : (size_t)(newline - line);
        at += size + 1;
        size -= size > 0 && line[size - 1] == '\r';
        /* CLIP's own file has a quotation mark and a file name before it. */
        bool version = number == 1 && memmem(line, size, "#version", 8) != NULL;
        if (!version && size > 0) {
            TD_TRY(parse_line(t, line, size, path, number));
        }
    }
    if (t->n_merges == 0) {
        return td_fail(TD_EINPUT, "%s holds no merges", path);
    }
    return TD_OK;
}

static td_status learn_built_in(td_tokenizer **out) {
    char *captions[BUILT_IN_CAPTIONS] = {0};
    td_status status = TD_OK;
    for (int64_t i = 0; i < BUILT_IN_CAPTIONS && status == TD_OK; i++) {
        char *label = NULL;
        status = td_synth_caption(0, i, &captions[i], &label);
        td_free(label);
    }
    if (status == TD_OK) {
        status = td_tokenizer_train((const char *const *)captions, BUILT_IN_CAPTIONS,
                                    BUILT_IN_MERGES, out);
    }
    for (int64_t i = 0; i < BUILT_IN_CAPTIONS; i++) {
        td_free(captions[i]);
    }
    return status;
}

td_status td_tokenizer_load(const char *path, td_tokenizer **out) {
    if (path == NULL) {
        return learn_built_in(out);
    }
    td_text text = {0};
    td_tokenizer *t = NULL;
    td_status status = read_merges_file(path, &text);
    if (status == TD_OK) {
        status = td_merges_create(&t);
    }
    if (status == TD_OK) {
        status = parse_merges(t, &text, path);
    }
    td_text_destroy(&text);
    if (status != TD_OK) {
        td_tokenizer_destroy(t);
        return status;
    }
    *out = t;
    return TD_OK;
}

static void append_symbol(const td_tokenizer *t, int32_t id, td_text *out) {
    const td_symbol *symbol = &t->symbols[id];
    for (uint32_t i = 0; i < symbol->size; i++) {
        utf8proc_uint8_t bytes[4];
        int32_t code = t->character_of_byte[(unsigned char)t->pool.data[symbol->offset + i]];
        td_text_append(out, (const char *)bytes, (size_t)utf8proc_encode_char(code, bytes));
    }
    td_text_puts(out, symbol->end ? end_mark : "");
}

td_status td_tokenizer_save(const td_tokenizer *tokenizer, const char *path) {
    td_text text = {0};
    td_text_puts(&text, "#version: 0.2\n");
    for (int32_t i = 0; i < tokenizer->n_merges; i++) {
        append_symbol(tokenizer, tokenizer->merges[i].left, &text);
        td_text_puts(&text, " ");
        append_symbol(tokenizer, tokenizer->merges[i].right, &text);
        td_text_puts(&text, "\n");
    }
    td_status status = td_text_status(&text);
    if (status == TD_OK) {
        status = td_file_write(path, text.data, text.size);
    }
    td_text_destroy(&text);
    return status;
}

int32_t td_tokenizer_vocab(const td_tokenizer *tokenizer) {
    return TD_BYTE_SYMBOLS + tokenizer->n_merges + 2;
}

/* Replaces every occurrence of a merge's pair, left to right; ranks[i] belongs to symbols i and i
 * + 1. */
static size_t apply_merge(const td_tokenizer *t, int32_t rank, int32_t *symbols, int32_t *ranks,
                          size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool hit = i + 1 < n && ranks[i] == rank;
        symbols[kept] = hit ? t->merges[rank].product : symbols[i];
        ranks[kept] = hit ? -1 : ranks[i];
        if (hit && kept > 0) {
            ranks[kept - 1] = -1;
        }
        kept++;
        i += hit;
    }
    for (size_t i = 0; i + 1 < kept; i++) {
        if (ranks[i] < 0) {
            ranks[i] = td_merges_find(t, symbols[i], symbols[i + 1]);
        }
    }
    return kept;
}

/* The symbols of one word: the merge of lowest rank everywhere in it, again and again until none
 * applies. */
static size_t merge_word(const td_tokenizer *t, const char *bytes, size_t size, int32_t *symbols) {
    int32_t ranks[TD_WORD_BYTES_MAX];
    td_merges_spell(t, bytes, size, symbols);
    size_t n = size;
    for (size_t i = 0; i < n; i++) {
        ranks[i] = i + 1 < n ? td_merges_find(t, symbols[i], symbols[i + 1]) : TD_NO_MERGE;
    }
    for (;;) {
        int32_t best = TD_NO_MERGE;
        for (size_t i = 0; i + 1 < n; i++) {
            best = ranks[i] < best ? ranks[i] : best;
        }
        if (best == TD_NO_MERGE) {
            return n;
        }
        n = apply_merge(t, best, symbols, ranks, n);
    }
}

/* Appends as many ids as fit below `room`; returns the new count, which may be room itself. */
static int64_t append_word(const td_tokenizer *t, const td_word *word, int32_t *ids, int64_t n,
                           int64_t room) {
    int32_t symbols[TD_WORD_BYTES_MAX];
    if (word->kind != TD_WORD_PLAIN) {
        ids[n] = TD_BYTE_SYMBOLS + t->n_merges + (word->kind == TD_WORD_END);
        return n + 1;
    }
    for (size_t at = 0; at < word->size && n < room; at += TD_WORD_BYTES_MAX) {
        size_t left = word->size - at;
        size_t count = merge_word(t, word->bytes + at,
                                  left < TD_WORD_BYTES_MAX ? left : TD_WORD_BYTES_MAX, symbols);
        for (size_t i = 0; i < count && n < room; i++) {
            ids[n++] = t->symbols[symbols[i]].output;
        }
    }
    return n;
}

td_status td_tokenize_with(const td_tokenizer *tokenizer, const char *text, td_text *scratch,
                           int32_t *ids, int64_t context, int64_t *count) {
    TD_ASSERT(context >= 2);
    scratch->size = 0;
    TD_TRY(td_caption_clean(text, scratch));
    int32_t start = TD_BYTE_SYMBOLS + tokenizer->n_merges;
    int64_t n = 0;
    size_t at = 0;
    td_word word;
    ids[n++] = start;
    while (n < context - 1 && td_caption_word(scratch->data, scratch->size, &at, &word)) {
        n = append_word(tokenizer, &word, ids, n, context - 1);
    }
    ids[n++] = start + 1;
    memset(ids + n, 0, (size_t)(context - n) * sizeof *ids);
    *count = n;
    return TD_OK;
}

int64_t td_tokenize(const td_tokenizer *tokenizer, const char *text, int32_t *ids,
                    int64_t context) {
    td_text scratch = {0};
    int64_t n = 0;
    td_status status = td_tokenize_with(tokenizer, text, &scratch, ids, context, &n);
    td_text_destroy(&scratch);
    TD_ASSERT(status == TD_OK); /* the only way to fail is that 64 KiB cannot be had */
    return n;
}

char *td_detokenize(const td_tokenizer *tokenizer, const int32_t *ids, int64_t n) {
    td_text text = {0};
    int32_t start = TD_BYTE_SYMBOLS + tokenizer->n_merges;
    td_text_append(&text, "", 0);
    for (int64_t i = 0; i < n && ids[i] != start + 1; i++) {
        if (ids[i] < 0 || ids[i] >= start) {
            continue;
        }
        const td_symbol *symbol = &tokenizer->symbols[ids[i]];
        td_text_append(&text, tokenizer->pool.data + symbol->offset, symbol->size);
        td_text_puts(&text, symbol->end ? " " : "");
    }
    if (text.size > 0 && text.data[text.size - 1] == ' ') {
        text.data[--text.size] = '\0';
    }
    if (td_text_status(&text) != TD_OK) {
        td_text_destroy(&text);
        return NULL;
    }
    return text.data != NULL ? text.data : td_strdup("");
}
