/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pairs.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/progress.h"
#include "data/holdout.h"
#include "data/pairs_pixels.h"
#include "data/resize.h"

/* Decoded pixels of every pair at one size. A slot is empty, being filled by whoever claimed it, or
 * full for good. */
enum { SLOT_EMPTY, SLOT_CLAIMED, SLOT_FULL };

typedef struct pixel_cache {
    int64_t size;
    td_arena pixels;
    _Atomic unsigned char *slots;
} pixel_cache;

struct td_pairs {
    td_pair_source source;
    int64_t *items; /* of the source, in its order */
    int64_t count;
    _Atomic unsigned char *noted; /* per pair: known to be undecodable, and said so */
    _Atomic(pixel_cache *) cache; /* NULL: none; once there, it stays */
};

/* Chooses the side of the split that was asked for. A pair that cannot be read has no key: it goes
 * with its place. */
static td_status choose_items(td_pairs *pairs, const td_pairs_options *options) {
    td_pair pair = {.item = -1};
    td_status status = TD_OK;
    for (int64_t item = 0; item < pairs->source.count && status == TD_OK; item++) {
        bool keep = !options->held_out;
        if (options->holdout > 0) {
            status = td_pairs_source_key(&pairs->source, item, &pair);
            keep = status == TD_OK &&
                   td_is_held_out(pair.key.data, options->holdout) == options->held_out;
        }
        if (keep) {
            pairs->items[pairs->count++] = item;
        }
    }
    td_pair_destroy(&pair);
    return status;
}

static td_status open_source(const td_pairs_options *options, td_pair_source *out) {
    *out = (td_pair_source){.seed = options->seed};
    if (options->path != NULL) {
        td_file_list files;
        TD_TRY(td_file_list_find(options->path, &files));
        bool table = td_pair_table_is(files.paths[0]);
        td_status status = table ? td_pair_table_open(&files, &out->table) : TD_OK;
        td_file_list_destroy(&files);
        TD_TRY(status);
        if (!table) {
            TD_TRY(td_shards_open(options->path, &out->shards));
        }
        out->count = table ? td_pair_table_count(out->table) : td_shards_count(out->shards);
    } else {
        out->count = options->n_synthetic;
    }
    return TD_OK;
}

td_status td_pairs_open(const td_pairs_options *options, td_pairs **out) {
    if (!(options->holdout >= 0 && options->holdout < 1)) {
        return td_fail(TD_EUSAGE, "holdout %g, expected a share in [0, 1)", options->holdout);
    }
    td_pairs *pairs = td_alloc_zero(sizeof *pairs);
    if (pairs == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a data set");
    }
    td_status status = open_source(options, &pairs->source);
    if (status == TD_OK) {
        pairs->items = td_alloc((size_t)pairs->source.count * sizeof *pairs->items);
        pairs->noted = td_alloc_zero((size_t)pairs->source.count);
        if (pairs->items == NULL || pairs->noted == NULL) {
            status = td_fail(TD_ENOMEM, "no memory for %lld pairs", (long long)pairs->source.count);
        }
    }
    if (status == TD_OK) {
        status = choose_items(pairs, options);
    }
    if (status == TD_OK && pairs->count == 0) {
        status = td_fail(TD_EINPUT, "%s: no pair%s",
                         options->path == NULL ? "procedural set" : options->path,
                         options->held_out ? " is held out" : "");
    }
    if (status != TD_OK) {
        td_pairs_close(pairs);
        return status;
    }
    *out = pairs;
    return TD_OK;
}

static void cache_free(pixel_cache *cache) {
    if (cache != NULL) {
        td_arena_destroy(&cache->pixels);
        td_free((void *)cache->slots);
        td_free(cache);
    }
}

void td_pairs_close(td_pairs *pairs) {
    if (pairs == NULL) {
        return;
    }
    td_shards_close(pairs->source.shards);
    td_pair_table_close(pairs->source.table);
    td_free(pairs->items);
    td_free((void *)pairs->noted);
    cache_free(atomic_load_explicit(&pairs->cache, memory_order_relaxed));
    td_free(pairs);
}

int64_t td_pairs_count(const td_pairs *pairs) {
    return pairs->count;
}

td_status td_pairs_fetch(td_pairs *pairs, int64_t index, td_pair *pair) {
    TD_ASSERT(index >= 0 && index < pairs->count);
    return td_pair_fetch(&pairs->source, pairs->items[index], pair);
}

td_status td_pairs_source_key(const td_pair_source *source, int64_t item, td_pair *pair) {
    if (source->table != NULL) {
        return td_pair_table_key(source->table, item, &pair->key);
    }
    if (source->shards == NULL) { /* known without drawing the picture */
        pair->key.size = 0;
        td_pair_synthetic_key(source->seed, item, &pair->key);
        return td_text_status(&pair->key);
    }
    td_status status = td_pair_fetch(source, item, pair);
    if (status == TD_EINPUT) {
        pair->item = -1;
        if (pair->key.size == 0) {
            td_pair_place_key(source, item, &pair->key);
        }
        status = td_text_status(&pair->key);
    }
    return status;
}

/* A copy for the caller; NULL with TD_ENOMEM. */
static td_status copy_text(const td_text *text, char **out) {
    *out = td_strdup(text->data);
    return *out == NULL ? td_fail(TD_ENOMEM, "no memory for a text") : TD_OK;
}

td_status td_pairs_text(td_pairs *pairs, int64_t index, char **caption, char **label) {
    td_pair pair = {.item = -1};
    char *first = NULL, *second = NULL;
    td_status status = td_pairs_fetch(pairs, index, &pair);
    if (status == TD_OK) {
        status = copy_text(&pair.caption, &first);
    }
    if (status == TD_OK) {
        status = copy_text(&pair.label, &second);
    }
    td_pair_destroy(&pair);
    if (status != TD_OK) {
        td_free(first);
        return status;
    }
    *caption = first;
    *label = second;
    return TD_OK;
}

td_status td_pairs_key(td_pairs *pairs, int64_t index, char **key) {
    TD_ASSERT(index >= 0 && index < pairs->count);
    td_pair pair = {.item = -1};
    td_status status = td_pairs_source_key(&pairs->source, pairs->items[index], &pair);
    if (status == TD_OK) {
        status = copy_text(&pair.key, key);
    }
    td_pair_destroy(&pair);
    return status;
}

bool td_pairs_known_bad(td_pairs *pairs, int64_t index) {
    return atomic_load_explicit(&pairs->noted[index], memory_order_relaxed) != 0;
}

void td_pairs_note_bad(td_pairs *pairs, int64_t index) {
    if (atomic_exchange_explicit(&pairs->noted[index], 1, memory_order_relaxed) == 0) {
        td_note(NULL, "%s; another pair takes its place", td_error());
    }
}

/* The cache when it is for this size, or NULL. Acquire pairs with the release in td_pairs_cache:
 * without it the pointer could be seen before what it points to. */
static pixel_cache *cache_of(td_pairs *pairs, int64_t size) {
    pixel_cache *cache = atomic_load_explicit(&pairs->cache, memory_order_acquire);
    return cache != NULL && cache->size == size ? cache : NULL;
}

td_status td_pairs_cache(td_pairs *pairs, int64_t size, int64_t max_bytes) {
    int64_t bytes = pairs->count * size * size * 3;
    if (bytes > max_bytes || atomic_load_explicit(&pairs->cache, memory_order_relaxed) != NULL) {
        return TD_OK;
    }
    pixel_cache *cache = td_alloc_zero(sizeof *cache);
    if (cache != NULL) {
        cache->size = size;
        cache->slots = td_alloc_zero((size_t)pairs->count);
    }
    if (cache == NULL || cache->slots == NULL) {
        td_free(cache);
        return td_fail(TD_ENOMEM, "no memory for %lld decoded pairs", (long long)pairs->count);
    }
    td_status status = td_arena_create((size_t)bytes, &cache->pixels);
    pixel_cache *none = NULL;
    /* Release pairs with the acquire in cache_of. Of two loaders that come here at once, one keeps
     * its cache. */
    if (status != TD_OK ||
        !atomic_compare_exchange_strong_explicit(&pairs->cache, &none, cache, memory_order_release,
                                                 memory_order_relaxed)) {
        cache_free(cache);
    }
    return status;
}

const unsigned char *td_pairs_cached(td_pairs *pairs, int64_t index, int64_t size) {
    TD_ASSERT(index >= 0 && index < pairs->count);
    pixel_cache *cache = cache_of(pairs, size);
    /* Acquire pairs with the release in keep_pixels: without it the slot could look full before its
     * pixels. */
    if (cache == NULL ||
        atomic_load_explicit(&cache->slots[index], memory_order_acquire) != SLOT_FULL) {
        return NULL;
    }
    return cache->pixels.base + index * size * size * 3;
}

static void keep_pixels(td_pairs *pairs, int64_t index, const td_image *image) {
    pixel_cache *cache = cache_of(pairs, image->width);
    unsigned char expected = SLOT_EMPTY;
    if (cache != NULL &&
        atomic_compare_exchange_strong_explicit(&cache->slots[index], &expected, SLOT_CLAIMED,
                                                memory_order_relaxed, memory_order_relaxed)) {
        size_t bytes = (size_t)(image->width * image->height * 3);
        memcpy(cache->pixels.base + (size_t)index * bytes, image->pixels, bytes);
        /* Release pairs with the acquire in td_pairs_cached: the pixels are there before the slot
         * is full. */
        atomic_store_explicit(&cache->slots[index], SLOT_FULL, memory_order_release);
    }
}

/* The centre of the whole picture, from the cache or on its way into it. */
static td_status normalise_whole(td_pairs *pairs, int64_t index, int64_t size, td_pair *pair,
                                 float *out) {
    const unsigned char *cached = td_pairs_cached(pairs, index, size);
    if (cached != NULL) {
        td_image view = {size, size, (unsigned char *)(uintptr_t)cached};
        td_image_normalise(&view, out);
        return TD_OK;
    }
    td_image image = {0};
    TD_TRY(td_pairs_fetch(pairs, index, pair));
    TD_TRY(td_pair_pixels(&pairs->source, pair, size, NULL, &image));
    keep_pixels(pairs, index, &image);
    td_image_normalise(&image, out);
    td_image_destroy(&image);
    return TD_OK;
}

static td_status normalise_crop(td_pairs *pairs, int64_t index, int64_t size, td_pair *pair,
                                td_augment_draw *draw, float *out) {
    td_image image = {0};
    TD_TRY(td_pairs_fetch(pairs, index, pair));
    TD_TRY(td_pair_pixels(&pairs->source, pair, size, draw, &image));
    td_image_normalise(&image, out);
    td_image_destroy(&image);
    return TD_OK;
}

td_status td_pairs_normalised(td_pairs *pairs, int64_t index, int64_t size, td_pair *pair,
                              td_augment_draw *draw, float *out) {
    TD_TRY(draw != NULL && td_augment_crops(draw->augment)
               ? normalise_crop(pairs, index, size, pair, draw, out)
               : normalise_whole(pairs, index, size, pair, out));
    if (draw != NULL && draw->mirror) {
        td_augment_mirror(out, 3 * size, size);
    }
    return TD_OK;
}

td_status td_pairs_vector(td_pairs *pairs, int64_t index, const td_pair_vector *expected,
                          td_pair *pair, float *out) {
    TD_TRY(td_pairs_fetch(pairs, index, pair));
    if (pair->vector == NULL) {
        return td_fail(TD_EUSAGE, "%s: an image among features; expected one kind of records",
                       pair->key.data);
    }
    if (pair->n_vector != expected->n) {
        return td_fail(TD_EUSAGE, "%s: a feature of %lld numbers; this model has %lld",
                       pair->key.data, (long long)pair->n_vector, (long long)expected->n);
    }
    if (pair->tower.size != strlen(expected->tower) ||
        memcmp(pair->tower.data, expected->tower, pair->tower.size) != 0) {
        return td_fail(TD_EUSAGE,
                       "%s: its features come from image tower %.*s, this run has %s; expected the "
                       "weights that `tandem embed` was given, with --init",
                       pair->key.data, (int)pair->tower.size, (const char *)pair->tower.data,
                       expected->tower);
    }
    memcpy(out, pair->vector, (size_t)expected->n * sizeof *out);
    return TD_OK;
}

td_status td_pairs_find_vector(const char *path, td_pair_vector *out) {
    td_pairs *pairs;
    TD_TRY(td_pairs_open(&(td_pairs_options){.path = path}, &pairs));
    td_pair pair = {.item = -1};
    td_status status = TD_EINPUT;
    *out = (td_pair_vector){0};
    for (int64_t i = 0; i < pairs->count && status == TD_EINPUT; i++) {
        status = td_pairs_fetch(pairs, i, &pair);
    }
    if (status == TD_OK && pair.vector != NULL) {
        out->n = pair.n_vector;
        snprintf(out->tower, sizeof out->tower, "%.*s", (int)pair.tower.size,
                 (const char *)pair.tower.data);
    }
    td_pair_destroy(&pair);
    td_pairs_close(pairs);
    return status == TD_EINPUT ? TD_OK : status; /* nothing readable: whoever trains will say so */
}

td_status td_pairs_image(td_pairs *pairs, int64_t index, int64_t size, float *out) {
    td_pair pair = {.item = -1};
    td_status status = td_pairs_normalised(pairs, index, size, &pair, NULL, out);
    td_pair_destroy(&pair);
    return status;
}
