/* SPDX-License-Identifier: Apache-2.0
 * Learning merges. Pair counts are kept up to date as words change, and the most frequent pair
 * comes from a heap. Its entries may be too high, as a count falls without telling the heap, but
 * never too low, as a gain is pushed at once: so an entry that is true when it comes to the top is
 * the largest.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/caption_text.h"
#include "data/merges.h"

/* A distinct word: symbols[first, first + n), seen `count` times. */
typedef struct trained_word {
    size_t first, n;
    const char *bytes; /* until its symbols are spelled */
    int64_t count;
} trained_word;

/* words: indices of words that held the pair at some time; some may have lost it, some may be there
 * twice. queued: the count of its entry in the heap, 0 when it has none; entries with another count
 * are dropped. */
typedef struct pair_count {
    int32_t left, right;
    int64_t count, queued;
    uint32_t *words;
    uint32_t n_words, capacity;
} pair_count;

typedef struct heap_entry {
    int64_t count;
    uint32_t pair;
} heap_entry;

typedef struct trainer {
    td_tokenizer *tokenizer;
    td_text text; /* all captions, cleaned */
    trained_word *words;
    size_t n_words, words_capacity;
    int32_t *symbols;
    pair_count *pairs;
    size_t n_pairs, pairs_capacity;
    uint32_t *table; /* hash of (left, right) -> pair + 1, 0: free */
    size_t table_size;
    heap_entry *heap;
    size_t n_heap, heap_capacity;
    bool failed; /* out of memory */
} trainer;

/* Makes room for one more element; false, and failed, when there is no memory. */
static bool grow(trainer *t, void **block, size_t n, size_t *capacity, size_t element) {
    if (n < *capacity) {
        return true;
    }
    size_t wanted = *capacity < 64 ? 64 : *capacity * 2;
    void *larger = td_realloc(*block, wanted * element);
    if (larger == NULL) {
        t->failed = true;
        return false;
    }
    *block = larger;
    *capacity = wanted;
    return true;
}

static int compare_words(const void *left, const void *right) {
    const trained_word *a = left, *b = right;
    size_t common = a->n < b->n ? a->n : b->n;
    int order = memcmp(a->bytes, b->bytes, common);
    return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
}

/* Every word of every caption, then sorted, so that equal ones meet and are counted. */
static void collect_words(trainer *t) {
    size_t at = 0;
    td_word word;
    while (!t->failed && td_caption_word(t->text.data, t->text.size, &at, &word)) {
        if (word.kind != TD_WORD_PLAIN || word.size > TD_WORD_BYTES_MAX) {
            continue;
        }
        if (grow(t, (void **)&t->words, t->n_words, &t->words_capacity, sizeof *t->words)) {
            t->words[t->n_words++] =
                (trained_word){.bytes = word.bytes, .n = word.size, .count = 1};
        }
    }
    if (t->n_words == 0) {
        return;
    }
    qsort(t->words, t->n_words, sizeof *t->words, compare_words);
    size_t kept = 1;
    for (size_t i = 1; i < t->n_words; i++) {
        if (compare_words(&t->words[kept - 1], &t->words[i]) == 0) {
            t->words[kept - 1].count++;
        } else {
            t->words[kept++] = t->words[i];
        }
    }
    t->n_words = kept;
}

static void spell_words(trainer *t) {
    size_t n_symbols = 0;
    for (size_t i = 0; i < t->n_words; i++) {
        n_symbols += t->words[i].n;
    }
    t->symbols = td_alloc((n_symbols + 1) * sizeof *t->symbols);
    if (t->symbols == NULL) {
        t->failed = true;
        return;
    }
    size_t at = 0;
    for (size_t i = 0; i < t->n_words; i++) {
        trained_word *word = &t->words[i];
        td_merges_spell(t->tokenizer, word->bytes, word->n, t->symbols + at);
        word->first = at;
        at += word->n;
    }
}

static size_t table_slot(const trainer *t, int32_t left, int32_t right) {
    uint64_t key =
        ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9e3779b97f4a7c15);
    size_t slot = (size_t)(key >> 32) & (t->table_size - 1);
    while (t->table[slot] != 0) {
        const pair_count *pair = &t->pairs[t->table[slot] - 1];
        if (pair->left == left && pair->right == right) {
            break;
        }
        slot = (slot + 1) & (t->table_size - 1);
    }
    return slot;
}

static bool grow_table(trainer *t) {
    size_t size = t->table_size == 0 ? 1 << 12 : t->table_size * 2;
    uint32_t *table = td_alloc_zero(size * sizeof *table);
    if (table == NULL) {
        t->failed = true;
        return false;
    }
    td_free(t->table);
    t->table = table;
    t->table_size = size;
    for (size_t i = 0; i < t->n_pairs; i++) {
        t->table[table_slot(t, t->pairs[i].left, t->pairs[i].right)] = (uint32_t)i + 1;
    }
    return true;
}

static pair_count *find_pair(trainer *t, int32_t left, int32_t right) {
    if (2 * (t->n_pairs + 1) > t->table_size && !grow_table(t)) {
        return NULL;
    }
    size_t slot = table_slot(t, left, right);
    if (t->table[slot] == 0) {
        if (!grow(t, (void **)&t->pairs, t->n_pairs, &t->pairs_capacity, sizeof *t->pairs)) {
            return NULL;
        }
        t->pairs[t->n_pairs++] = (pair_count){.left = left, .right = right};
        t->table[slot] = (uint32_t)t->n_pairs;
    }
    return &t->pairs[t->table[slot] - 1];
}

static int compare_symbols(const td_tokenizer *t, int32_t left, int32_t right) {
    const td_symbol *a = &t->symbols[left], *b = &t->symbols[right];
    uint32_t common = a->size < b->size ? a->size : b->size;
    int order = memcmp(t->pool.data + a->offset, t->pool.data + b->offset, common);
    if (order != 0) {
        return order;
    }
    return a->size != b->size ? (a->size > b->size) - (a->size < b->size)
                              : (int)a->end - (int)b->end;
}

/* Whether entry a comes before b: more frequent, or as frequent and first in byte order. */
static bool comes_first(const trainer *t, const heap_entry *a, const heap_entry *b) {
    if (a->count != b->count) {
        return a->count > b->count;
    }
    const pair_count *left = &t->pairs[a->pair], *right = &t->pairs[b->pair];
    int order = compare_symbols(t->tokenizer, left->left, right->left);
    return order != 0 ? order < 0 : compare_symbols(t->tokenizer, left->right, right->right) < 0;
}

static void heap_push(trainer *t, heap_entry entry) {
    if (!grow(t, (void **)&t->heap, t->n_heap, &t->heap_capacity, sizeof *t->heap)) {
        return;
    }
    size_t at = t->n_heap++;
    while (at > 0 && comes_first(t, &entry, &t->heap[(at - 1) / 2])) {
        t->heap[at] = t->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    t->heap[at] = entry;
}

/* Enters a pair with what it now counts, unless an entry that is no lower is there. */
static void queue_pair(trainer *t, uint32_t pair) {
    if (t->pairs[pair].count > t->pairs[pair].queued) {
        t->pairs[pair].queued = t->pairs[pair].count;
        heap_push(t, (heap_entry){.count = t->pairs[pair].count, .pair = pair});
    }
}

static heap_entry heap_pop(trainer *t) {
    heap_entry top = t->heap[0], last = t->heap[--t->n_heap];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < t->n_heap && comes_first(t, &t->heap[child + 1], &t->heap[child])) {
            child++;
        }
        if (child >= t->n_heap || !comes_first(t, &t->heap[child], &last)) {
            break;
        }
        t->heap[at] = t->heap[child];
        at = child;
    }
    t->heap[at] = last;
    return top;
}

static void count_pair(trainer *t, int32_t left, int32_t right, int64_t change, size_t word) {
    pair_count *pair = find_pair(t, left, right);
    if (pair == NULL) {
        return;
    }
    pair->count += change;
    if (change > 0 && (pair->n_words == 0 || pair->words[pair->n_words - 1] != word)) {
        size_t capacity = pair->capacity;
        if (grow(t, (void **)&pair->words, pair->n_words, &capacity, sizeof *pair->words)) {
            pair->words[pair->n_words++] = (uint32_t)word;
            pair->capacity = (uint32_t)capacity;
        }
    }
}

/* Adds change times every pair of a word to the counts. */
static void count_word(trainer *t, size_t word, int64_t change) {
    const trained_word *w = &t->words[word];
    for (size_t i = 0; i + 1 < w->n; i++) {
        count_pair(t, t->symbols[w->first + i], t->symbols[w->first + i + 1], change * w->count,
                   word);
    }
}

static bool holds_pair(const trainer *t, const trained_word *word, int32_t left, int32_t right) {
    for (size_t i = 0; i + 1 < word->n; i++) {
        if (t->symbols[word->first + i] == left && t->symbols[word->first + i + 1] == right) {
            return true;
        }
    }
    return false;
}

static void merge_in_word(trainer *t, trained_word *word, const td_merge *merge) {
    int32_t *symbols = t->symbols + word->first;
    size_t kept = 0;
    for (size_t i = 0; i < word->n; i++) {
        bool hit = i + 1 < word->n && symbols[i] == merge->left && symbols[i + 1] == merge->right;
        symbols[kept++] = hit ? merge->product : symbols[i];
        i += hit;
    }
    word->n = kept;
}

static void queue_gained(trainer *t, int32_t left, int32_t right) {
    const pair_count *pair = find_pair(t, left, right);
    if (pair != NULL) {
        queue_pair(t, (uint32_t)(pair - t->pairs));
    }
}

/* Merges one pair in every word that holds it and brings all counts and the heap up to date. */
static void merge_everywhere(trainer *t, size_t pair, const td_merge *merge) {
    uint32_t *words = t->pairs[pair].words;
    uint32_t n_words = t->pairs[pair].n_words;
    t->pairs[pair].words = NULL;
    t->pairs[pair].n_words = t->pairs[pair].capacity = 0;
    for (uint32_t i = 0; i < n_words && !t->failed; i++) {
        trained_word *word = &t->words[words[i]];
        if (holds_pair(t, word, merge->left, merge->right)) {
            count_word(t, words[i], -1);
            merge_in_word(t, word, merge);
            count_word(t, words[i], 1);
        }
    }
    /* Only pairs with the product in them can have gained. */
    for (uint32_t i = 0; i < n_words && !t->failed; i++) {
        const trained_word *word = &t->words[words[i]];
        for (size_t at = 0; at + 1 < word->n; at++) {
            int32_t left = t->symbols[word->first + at], right = t->symbols[word->first + at + 1];
            if (left == merge->product || right == merge->product) {
                queue_gained(t, left, right);
            }
        }
    }
    td_free(words);
}

/* The most frequent pair whose heap entry is true; false when none occurs twice, as learning it
 * would save nothing. */
static bool pop_best(trainer *t, size_t *best) {
    while (t->n_heap > 0 && !t->failed) {
        heap_entry entry = heap_pop(t);
        pair_count *pair = &t->pairs[entry.pair];
        if (entry.count != pair->queued) {
            continue;
        }
        pair->queued = 0;
        if (pair->count >= 2 && entry.count == pair->count) {
            *best = entry.pair;
            return true;
        }
        if (pair->count >= 2) {
            queue_pair(t, entry.pair);
        }
    }
    return false;
}

static td_status learn(trainer *t, int n_merges) {
    collect_words(t);
    if (!t->failed) {
        spell_words(t);
    }
    for (size_t i = 0; i < t->n_words && !t->failed; i++) {
        count_word(t, i, 1);
    }
    for (size_t i = 0; i < t->n_pairs && !t->failed; i++) {
        queue_pair(t, (uint32_t)i);
    }
    size_t best = 0;
    while (t->tokenizer->n_merges < n_merges && pop_best(t, &best)) {
        int32_t left = t->pairs[best].left, right = t->pairs[best].right;
        /* A pair can come back after its merge when a later merge makes one of its two strings in
         * another way. */
        if (td_merges_find(t->tokenizer, left, right) == TD_NO_MERGE) {
            TD_TRY(td_merges_add(t->tokenizer, left, right));
        }
        td_merge merge = t->tokenizer->merges[td_merges_find(t->tokenizer, left, right)];
        merge_everywhere(t, best, &merge);
    }
    return t->failed ? td_fail(TD_ENOMEM, "learning merges from %zu words", t->n_words) : TD_OK;
}

static void trainer_free(trainer *t) {
    for (size_t i = 0; i < t->n_pairs; i++) {
        td_free(t->pairs[i].words);
    }
    td_text_destroy(&t->text);
    td_free(t->words);
    td_free(t->symbols);
    td_free(t->pairs);
    td_free(t->table);
    td_free(t->heap);
}

td_status td_tokenizer_train(const char *const *captions, size_t n_captions, int n_merges,
                             td_tokenizer **out) {
    if (n_merges < 0 || n_merges > TD_MERGES_MAX) {
        return td_fail(TD_EUSAGE, "%d merges to learn; expected 0 to %d", n_merges, TD_MERGES_MAX);
    }
    trainer t = {0};
    td_text clean = {0};
    td_status status = td_merges_create(&t.tokenizer);
    for (size_t i = 0; i < n_captions && status == TD_OK; i++) {
        status = td_caption_clean(captions[i], &clean);
        if (status == TD_OK) {
            td_text_append(&t.text, clean.data, clean.size);
            td_text_puts(&t.text, "\n");
            status = td_text_status(&t.text);
        }
    }
    td_text_destroy(&clean);
    if (status == TD_OK) {
        status = learn(&t, n_merges);
    }
    trainer_free(&t);
    if (status != TD_OK) {
        td_tokenizer_destroy(t.tokenizer);
        return status;
    }
    *out = t.tokenizer;
    return TD_OK;
}
