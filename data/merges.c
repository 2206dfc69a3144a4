/* SPDX-License-Identifier: Apache-2.0 */
#include "data/merges.h"

#include <string.h>

#include "base/memory.h"

/* At most half full, so that a search ends soon. */
enum { TABLE_SIZE = 1 << 17 };
_Static_assert(TABLE_SIZE >= 2 * (TD_MERGES_MAX + TD_BYTE_SYMBOLS),
               "the hash tables must stay half empty");

static uint32_t hash_string(const char *bytes, size_t size, bool end) {
    uint32_t hash = end ? 2166136261U ^ 0x5bd1e995U : 2166136261U;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ (unsigned char)bytes[i]) * 16777619U;
    }
    return hash ^ (hash >> 15);
}

static uint32_t hash_pair(int32_t left, int32_t right) {
    uint64_t key =
        ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(key >> 40);
}

static uint32_t string_slot(const td_tokenizer *t, const char *bytes, size_t size, bool end) {
    uint32_t slot = hash_string(bytes, size, end) & t->mask;
    for (; t->by_string[slot] >= 0; slot = (slot + 1) & t->mask) {
        const td_symbol *symbol = &t->symbols[t->by_string[slot]];
        if (symbol->size == size && symbol->end == end &&
            memcmp(t->pool.data + symbol->offset, bytes, size) == 0) {
            break;
        }
    }
    return slot;
}

static uint32_t pair_slot(const td_tokenizer *t, int32_t left, int32_t right) {
    uint32_t slot = hash_pair(left, right) & t->mask;
    while (t->by_pair[slot] >= 0 && (t->merges[t->by_pair[slot]].left != left ||
                                     t->merges[t->by_pair[slot]].right != right)) {
        slot = (slot + 1) & t->mask;
    }
    return slot;
}

/* Appends symbol `id` whose bytes are the pool's last `size`; returns the symbol that stands for
 * the string. */
static int32_t enter_symbol(td_tokenizer *t, int32_t id, size_t size, bool end) {
    size_t offset = t->pool.size - size;
    uint32_t slot = string_slot(t, t->pool.data + offset, size, end);
    t->symbols[id] =
        (td_symbol){.offset = (uint32_t)offset, .size = (uint32_t)size, .end = end, .output = id};
    if (t->by_string[slot] < 0) {
        t->by_string[slot] = id;
    } else {
        t->symbols[t->by_string[slot]].output = id;
    }
    return t->by_string[slot];
}

static bool is_printable(int byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

/* Ids of bytes: first those that print, then the rest, each ascending. */
static td_status enter_bytes(td_tokenizer *t) {
    int32_t id = 0, character = 256;
    memset(t->byte_of_character, 0xff, sizeof t->byte_of_character);
    for (int pass = 0; pass < 2; pass++) {
        for (int byte = 0; byte < 256; byte++) {
            if (is_printable(byte) == (pass == 0)) {
                t->symbol_of_byte[byte] = id++;
                t->character_of_byte[byte] = pass == 0 ? byte : character++;
                t->byte_of_character[t->character_of_byte[byte]] = byte;
            }
        }
    }
    for (int end = 0; end < 2; end++) {
        for (int32_t symbol = 0; symbol < 256; symbol++) {
            int byte = 0;
            while (t->symbol_of_byte[byte] != symbol) {
                byte++;
            }
            char c = (char)byte;
            td_text_append(&t->pool, &c, 1);
            TD_TRY(td_text_status(&t->pool));
            enter_symbol(t, end * 256 + symbol, 1, end != 0);
        }
    }
    return TD_OK;
}

td_status td_merges_create(td_tokenizer **out) {
    td_tokenizer *t = td_alloc_zero(sizeof *t);
    if (t == NULL) {
        return td_fail(TD_ENOMEM, "a tokenizer");
    }
    t->mask = TABLE_SIZE - 1;
    t->symbols = td_alloc((TD_BYTE_SYMBOLS + TD_MERGES_MAX) * sizeof *t->symbols);
    t->merges = td_alloc(TD_MERGES_MAX * sizeof *t->merges);
    t->by_string = td_alloc(TABLE_SIZE * sizeof *t->by_string);
    t->by_pair = td_alloc(TABLE_SIZE * sizeof *t->by_pair);
    if (t->symbols == NULL || t->merges == NULL || t->by_string == NULL || t->by_pair == NULL) {
        td_tokenizer_destroy(t);
        return td_fail(TD_ENOMEM, "the tables of a tokenizer");
    }
    memset(t->by_string, 0xff, TABLE_SIZE * sizeof *t->by_string);
    memset(t->by_pair, 0xff, TABLE_SIZE * sizeof *t->by_pair);
    td_status status = enter_bytes(t);
    if (status != TD_OK) {
        td_tokenizer_destroy(t);
        return status;
    }
    *out = t;
    return TD_OK;
}

void td_tokenizer_destroy(td_tokenizer *tokenizer) {
    if (tokenizer == NULL) {
        return;
    }
    td_free(tokenizer->symbols);
    td_free(tokenizer->merges);
    td_free(tokenizer->by_string);
    td_free(tokenizer->by_pair);
    td_text_destroy(&tokenizer->pool);
    td_free(tokenizer);
}

td_status td_merges_add(td_tokenizer *t, int32_t left, int32_t right) {
    if (t->n_merges >= TD_MERGES_MAX) {
        return td_fail(TD_EINPUT, "more than %d merges", TD_MERGES_MAX);
    }
    uint32_t slot = pair_slot(t, left, right);
    if (t->by_pair[slot] >= 0) {
        return td_fail(TD_EINPUT, "the pair is there already, as merge %d", t->by_pair[slot]);
    }
    td_symbol a = t->symbols[left], b = t->symbols[right];
    if (a.size + b.size > TD_WORD_BYTES_MAX) {
        return td_fail(TD_EINPUT, "a symbol of %u bytes; at most %d", a.size + b.size,
                       TD_WORD_BYTES_MAX);
    }
    td_text joined = {0};
    td_text_append(&joined, t->pool.data + a.offset, a.size);
    td_text_append(&joined, t->pool.data + b.offset, b.size);
    td_status status = td_text_status(&joined);
    if (status == TD_OK) {
        td_text_append(&t->pool, joined.data, joined.size);
        status = td_text_status(&t->pool);
    }
    td_text_destroy(&joined);
    TD_TRY(status);
    int32_t product =
        enter_symbol(t, TD_BYTE_SYMBOLS + t->n_merges, (size_t)a.size + b.size, b.end);
    t->merges[t->n_merges] = (td_merge){.left = left, .right = right, .product = product};
    t->by_pair[slot] = t->n_merges++;
    return TD_OK;
}

int32_t td_merges_find(const td_tokenizer *t, int32_t left, int32_t right) {
    int32_t found = t->by_pair[pair_slot(t, left, right)];
    return found < 0 ? TD_NO_MERGE : found;
}

int32_t td_merges_symbol(const td_tokenizer *t, const char *bytes, size_t size, bool end) {
    return t->by_string[string_slot(t, bytes, size, end)];
}

void td_merges_spell(const td_tokenizer *t, const char *bytes, size_t size, int32_t *symbols) {
    for (size_t i = 0; i < size; i++) {
        symbols[i] = t->symbol_of_byte[(unsigned char)bytes[i]] + (i + 1 == size ? 256 : 0);
    }
}
