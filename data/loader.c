/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/rng.h"
#include "data/pairs.h"
#include "data/pairs_pixels.h"
#include "threads/create.h"

enum { MESSAGE_BYTES = 1024, DEPTH_MOST = 8 };

/* One batch, in memory that is free again when it has been released. status and message are what
 * td_loader_next hands on instead of a batch: of the first row that failed, whoever loaded it. */
typedef struct slot {
    float *images;
    int32_t *tokens;
    int64_t batch; /* -1: none yet */
    int64_t pending, failed_row;
    int64_t bad_samples, decode_ns; /* join the statistics when the batch is taken */
    td_status status;
    char message[MESSAGE_BYTES];
} slot;

/* A thread that loads samples, with memory of its own. */
typedef struct hand {
    td_loader *loader;
    pthread_t thread;
    td_pair pair;
    td_text caption; /* as the tokenizer cleans it */
    float *image;    /* for filling the cache only */
    int32_t *tokens;
} hand;

/* A caption's tokens are being stored by one hand, and there for all. */
enum { TOKENS_UNKNOWN, TOKENS_CLAIMED, TOKENS_KNOWN };

struct td_loader {
    td_loader_options options;
    td_arena arena;
    slot *slots;
    int n_slots; /* most that may be ahead, and the batch in the caller's hands */
    hand *hands;
    int n_hands, n_started;
    int32_t *known_tokens; /* (count, context), of captions seen; NULL without a cache */
    _Atomic unsigned char *token_state;

    /* The one lock here; guards all below. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t batch, row, next_fill;     /* what is handed out next */
    int64_t produced, taken, released; /* batches, counted from the first */
    int64_t last_ns;                   /* when the caller came last; 0: never */
    int depth;
    bool stop;
    td_loader_stats stats;
};

/* The pair at position `position` of the endless sequence, `skip` places further in the same epoch.
 */
static int64_t item_at(const td_loader_options *options, int64_t count, int64_t position,
                       int64_t skip) {
    int64_t epoch = position / count, place = (position % count + skip) % count;
    td_rng rng = td_rng_make(options->seed, TD_PURPOSE_SHUFFLE, (uint64_t)epoch);
    return (int64_t)td_rng_permute(td_rng_u64(&rng), TD_PURPOSE_SHUFFLE, (uint64_t)count,
                                   (uint64_t)place);
}

/* Of one sample. */
static int64_t image_values(const td_loader_options *options) {
    return options->vector.n > 0 ? options->vector.n
                                 : 3 * options->image_size * options->image_size;
}

static td_status load_tokens(hand *by, int64_t item, int32_t *tokens) {
    td_loader *loader = by->loader;
    const td_loader_options *options = &loader->options;
    size_t bytes = (size_t)options->context * sizeof *tokens;
    int32_t *kept =
        loader->known_tokens == NULL ? NULL : loader->known_tokens + item * options->context;
    _Atomic unsigned char *state = kept == NULL ? NULL : &loader->token_state[item];
    /* Acquire pairs with the release below: without it, tokens that are not there yet are read. */
    if (kept != NULL && atomic_load_explicit(state, memory_order_acquire) == TOKENS_KNOWN) {
        memcpy(tokens, kept, bytes);
        return TD_OK;
    }
    TD_TRY(td_pairs_fetch(options->pairs, item, &by->pair));
    int64_t count;
    TD_TRY(td_tokenize_with(options->tokenizer, by->pair.caption.data, &by->caption, tokens,
                            options->context, &count));
    unsigned char unknown = TOKENS_UNKNOWN;
    if (kept != NULL &&
        atomic_compare_exchange_strong_explicit(state, &unknown, TOKENS_CLAIMED,
                                                memory_order_relaxed, memory_order_relaxed)) {
        memcpy(kept, tokens, bytes);
        atomic_store_explicit(state, TOKENS_KNOWN, memory_order_release);
    }
    return TD_OK;
}

/* draw: NULL for the image as it is. */
static td_status load_pair(hand *by, int64_t item, td_augment_draw *draw, float *image,
                           int32_t *tokens) {
    const td_loader_options *options = &by->loader->options;
    if (options->vector.n > 0) {
        TD_TRY(td_pairs_vector(options->pairs, item, &options->vector, &by->pair, image));
    } else {
        TD_TRY(
            td_pairs_normalised(options->pairs, item, options->image_size, &by->pair, draw, image));
    }
    return load_tokens(by, item, tokens);
}

/* Only bad input is replaced: no memory, or a disk that fails, would otherwise change the training
 * data unseen. */
static td_status load_sample(hand *by, int64_t position, float *image, int32_t *tokens,
                             int64_t *bad_samples) {
    const td_loader_options *options = &by->loader->options;
    int64_t count = td_pairs_count(options->pairs);
    for (int64_t skip = 0; skip < count; skip++) {
        int64_t item = item_at(options, count, position, skip);
        if (td_pairs_known_bad(options->pairs, item)) {
            continue;
        }
        td_augment_draw draw = td_augment_at(&options->augment, options->seed, position);
        td_status status = load_pair(by, item, &draw, image, tokens);
        if (status != TD_EINPUT) {
            *bad_samples += status == TD_OK && skip > 0;
            return status;
        }
        td_pairs_note_bad(options->pairs, item);
    }
    return td_fail(TD_EINPUT, "none of the %lld pairs of the set can be decoded", (long long)count);
}

/* That of a batch which has been begun and not released. */
static slot *slot_of(td_loader *loader, int64_t batch) {
    slot *at = loader->slots;
    while (at->batch != batch) {
        at++;
    }
    return at;
}

/* The first that is free, so that no more memory is touched than what is ahead needs. One always
 * is: fewer than n_slots batches before this one are not released. */
static slot *free_slot(td_loader *loader) {
    slot *at = loader->slots;
    while (at->batch >= loader->released) {
        at++;
    }
    return at;
}

/* Under the lock: the next sample to load, or false when enough is ahead. */
static bool take_row(td_loader *loader, int64_t *batch, int64_t *row) {
    if (loader->batch - loader->released > loader->depth) {
        return false;
    }
    *batch = loader->batch;
    *row = loader->row++;
    if (*row == 0) {
        slot *to = free_slot(loader);
        to->batch = *batch;
        to->status = TD_OK;
        to->pending = loader->options.rows;
        to->bad_samples = to->decode_ns = 0;
    }
    if (loader->row == loader->options.rows) {
        loader->row = 0;
        loader->batch++;
    }
    return true;
}

/* Batches may be ready out of order; they are given in order. */
static void publish(td_loader *loader) {
    int64_t before = loader->produced;
    while (loader->produced < loader->batch && slot_of(loader, loader->produced)->pending == 0) {
        loader->produced++;
    }
    if (loader->produced != before) {
        pthread_cond_broadcast(&loader->changed);
    }
}

/* Called and left with the lock, which is free while the sample is loaded. */
static void load_row(hand *by, int64_t batch, int64_t row) {
    td_loader *loader = by->loader;
    const td_loader_options *options = &loader->options;
    slot *to = slot_of(loader, batch);
    int64_t position = (options->first_step + batch) * options->batch + options->first_row + row;
    int64_t bad = 0;
    pthread_mutex_unlock(&loader->lock);
    int64_t start_ns = td_now_ns();
    td_status status = load_sample(by, position, to->images + row * image_values(options),
                                   to->tokens + row * options->context, &bad);
    int64_t took_ns = td_now_ns() - start_ns;
    pthread_mutex_lock(&loader->lock);
    if (status != TD_OK && (to->status == TD_OK || row < to->failed_row)) {
        to->status = status;
        to->failed_row = row;
        snprintf(to->message, sizeof to->message, "%s", td_error());
    }
    to->bad_samples += bad;
    to->decode_ns += took_ns;
    to->pending--;
    publish(loader);
}

/* Every pair once, for the sake of the cache; what cannot be had is reported by the batch that
 * needs it. Called and left with the lock. */
static void fill_cache(hand *by) {
    td_loader *loader = by->loader;
    int64_t count = td_pairs_count(loader->options.pairs);
    while (loader->next_fill < count && !loader->stop) {
        int64_t item = loader->next_fill++;
        pthread_mutex_unlock(&loader->lock);
        if (load_pair(by, item, NULL, by->image, by->tokens) == TD_EINPUT) {
            td_pairs_note_bad(loader->options.pairs, item);
        }
        pthread_mutex_lock(&loader->lock);
    }
}

static void *work(void *arg) {
    hand *by = arg;
    td_loader *loader = by->loader;
    td_cpu_flush_denormals();
    pthread_mutex_lock(&loader->lock);
    if (by->image != NULL) {
        fill_cache(by);
    }
    while (!loader->stop) {
        int64_t batch, row;
        if (take_row(loader, &batch, &row)) {
            load_row(by, batch, row);
        } else {
            pthread_cond_wait(&loader->changed, &loader->lock);
        }
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

static bool keeps_pixels(const td_loader_options *options) {
    return options->cache_bytes > 0 && options->vector.n == 0 &&
           !td_augment_crops(&options->augment);
}

static td_status check_options(const td_loader_options *options) {
    TD_TRY(td_augment_check(&options->augment));
    if (options->vector.n > 0 && !td_augment_is_off(&options->augment)) {
        return td_fail(TD_EUSAGE, "loader: features, which no augmentation can reach");
    }
    bool good = options->batch >= 1 && options->rows >= 1 && options->first_row >= 0 &&
                options->first_row <= options->batch - options->rows && options->image_size >= 1 &&
                options->context >= 2 && options->first_step >= 0 && options->prefetch >= 0 &&
                options->workers >= 0;
    return good
               ? TD_OK
               : td_fail(TD_EUSAGE,
                         "loader: rows %lld to %lld of a batch of %lld, image size %lld, context "
                         "%lld, first step "
                         "%lld, prefetch %d, workers %d",
                         (long long)options->first_row,
                         (long long)(options->first_row + options->rows), (long long)options->batch,
                         (long long)options->image_size, (long long)options->context,
                         (long long)options->first_step, options->prefetch, options->workers);
}

static void plan(td_plan *memory, td_loader *loader) {
    const td_loader_options *options = &loader->options;
    int64_t values = options->rows * image_values(options);
    loader->slots = TD_PLAN_ARRAY(memory, slot, loader->n_slots);
    for (int i = 0; i < loader->n_slots; i++) {
        float *images = TD_PLAN_ARRAY(memory, float, values);
        int32_t *tokens = TD_PLAN_ARRAY(memory, int32_t, options->rows * options->context);
        if (memory->base != NULL) {
            loader->slots[i] = (slot){.images = images, .tokens = tokens, .batch = -1};
        }
    }
    if (options->cache_bytes > 0) {
        int64_t count = td_pairs_count(options->pairs);
        loader->known_tokens = TD_PLAN_ARRAY(memory, int32_t, count * options->context);
        loader->token_state = TD_PLAN_ARRAY(memory, _Atomic unsigned char, count);
        for (int64_t i = 0; memory->base != NULL && i < count; i++) {
            atomic_init(&loader->token_state[i], TOKENS_UNKNOWN);
        }
    }
    loader->hands = TD_PLAN_ARRAY(memory, hand, loader->n_hands);
    for (int i = 0; i < loader->n_hands; i++) {
        hand made = {.loader = loader, .pair = {.item = -1}};
        if (options->cache_bytes > 0 && options->fill_cache &&
            !td_augment_crops(&options->augment)) {
            made.image = TD_PLAN_ARRAY(memory, float, image_values(options));
            made.tokens = TD_PLAN_ARRAY(memory, int32_t, options->context);
        }
        if (memory->base != NULL) {
            loader->hands[i] = made;
        }
    }
}

static td_status start_hand(td_loader *loader) {
    hand *by = &loader->hands[loader->n_started];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    int pu = loader->options.pu, code = 0;
    if (pu >= 0) {
        size_t n_cpus = (size_t)pu + 1, bytes = CPU_ALLOC_SIZE(n_cpus);
        cpu_set_t *set = CPU_ALLOC(n_cpus);
        if (set == NULL) {
            pthread_attr_destroy(&attributes);
            return td_fail(TD_ENOMEM, "no memory for a CPU set");
        }
        CPU_ZERO_S(bytes, set);
        CPU_SET_S((size_t)pu, bytes, set);
        code = pthread_attr_setaffinity_np(&attributes, bytes, set);
        CPU_FREE(set);
    }
    if (code == 0) {
        code = pthread_create(&by->thread, &attributes, work, by);
    }
    pthread_attr_destroy(&attributes);
    if (code != 0) {
        return pu >= 0 ? td_fail(TD_ESYS, "start the loader's worker on PU %d: %s", pu,
                                 td_create_error(code))
                       : td_fail(TD_ESYS, "start the loader's worker: %s", td_create_error(code));
    }
    pthread_setname_np(by->thread, "td-loader");
    loader->n_started++;
    return TD_OK;
}

/* A hand alone begins the next batch as soon as one is taken. Of several, those that find no sample
 * left go on with another batch. */
static int first_depth(const td_loader *loader) {
    return loader->n_hands > 1 ? 2 : 1;
}

td_status td_loader_create(const td_loader_options *options, td_loader **out) {
    TD_TRY(check_options(options));
    if (keeps_pixels(options)) {
        TD_TRY(td_pairs_cache(options->pairs, options->image_size, options->cache_bytes));
    }
    td_loader *loader = td_alloc_zero(sizeof *loader);
    if (loader == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a loader");
    }
    loader->options = *options;
    loader->n_hands = options->workers > 0 ? options->workers : 1;
    loader->depth = options->prefetch > 0 ? options->prefetch : first_depth(loader);
    loader->n_slots = (options->prefetch > 0 ? options->prefetch : DEPTH_MOST) + 1;
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->changed, NULL);
    td_plan memory = {0};
    plan(&memory, loader);
    td_status status = td_arena_create(memory.used_bytes, &loader->arena);
    if (status == TD_OK) {
        memory = (td_plan){.base = loader->arena.base};
        plan(&memory, loader);
        for (int i = 0; i < loader->n_hands && status == TD_OK; i++) {
            status = start_hand(loader);
        }
    }
    if (status != TD_OK) {
        td_loader_destroy(loader);
        return status;
    }
    *out = loader;
    return TD_OK;
}

void td_loader_destroy(td_loader *loader) {
    if (loader == NULL) {
        return;
    }
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->n_started; i++) {
        pthread_join(loader->hands[i].thread, NULL);
        td_pair_destroy(&loader->hands[i].pair);
        td_text_destroy(&loader->hands[i].caption);
    }
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->lock);
    td_arena_destroy(&loader->arena);
    td_free(loader);
}

/* A batch that came late although the hands load faster than the caller takes was held up by one
 * slow stretch: more ahead would have hidden it. When they are slower, nothing ahead helps. */
static void choose_depth(td_loader *loader, const slot *from, int64_t now_ns, int64_t waited_ns) {
    int64_t between_ns = now_ns - loader->last_ns;
    if (loader->options.prefetch == 0 && loader->last_ns > 0 && loader->depth < DEPTH_MOST &&
        waited_ns * 100 > between_ns && from->decode_ns / loader->n_hands * 10 < between_ns * 9) {
        loader->depth++;
        pthread_cond_broadcast(&loader->changed);
    }
    loader->last_ns = now_ns;
}

td_status td_loader_next(td_loader *loader, const float **images, const int32_t **tokens,
                         int64_t *wait_ns) {
    int64_t start_ns = td_now_ns();
    pthread_mutex_lock(&loader->lock);
    loader->released = loader->taken;
    pthread_cond_broadcast(&loader->changed);
    bool late = loader->produced == loader->taken;
    while (loader->produced == loader->taken) {
        pthread_cond_wait(&loader->changed, &loader->lock);
    }
    const slot *from = slot_of(loader, loader->taken);
    int64_t now_ns = td_now_ns(), waited_ns = late ? now_ns - start_ns : 0;
    choose_depth(loader, from, now_ns, waited_ns);
    if (from->status == TD_OK) {
        loader->taken++; /* a batch that failed stays the next one */
        loader->stats.batches++;
        loader->stats.samples += loader->options.rows;
        loader->stats.bad_samples += from->bad_samples;
        loader->stats.decode_ns += from->decode_ns;
    }
    loader->stats.wait_ns += waited_ns;
    pthread_mutex_unlock(&loader->lock);
    if (from->status != TD_OK) {
        return td_fail(from->status, "%s", from->message);
    }
    *images = from->images;
    *tokens = from->tokens;
    *wait_ns = waited_ns;
    return TD_OK;
}

void td_loader_get_stats(td_loader *loader, td_loader_stats *out) {
    pthread_mutex_lock(&loader->lock);
    *out = loader->stats;
    out->workers = loader->n_hands;
    out->depth = loader->depth;
    out->ready = (int)(loader->produced - loader->taken);
    pthread_mutex_unlock(&loader->lock);
}
