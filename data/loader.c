/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/rng.h"
#include "data/pairs.h"
#include "data/pairs_pixels.h"

enum { MESSAGE_BYTES = 1024 };

/* One batch. status and message are what td_loader_next hands on instead of a batch. */
typedef struct slot {
    float *images;
    int32_t *tokens;
    int64_t bad_samples, decode_ns; /* join the statistics when the batch is taken */
    td_status status;
    char message[MESSAGE_BYTES];
} slot;

struct td_loader {
    td_loader_options options;
    td_arena arena;
    slot *slots;
    int n_slots; /* prefetch, and the batch in the caller's hands */
    pthread_t worker;
    bool started;

    /* The one lock here; guards all below. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t produced, taken, released; /* batches, counted from the first */
    bool stop;
    td_loader_stats stats;

    /* The worker's own. */
    td_pair pair;
    int32_t *known_tokens; /* (count, context), of captions seen; NULL without a cache */
    unsigned char *token_known;
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

static td_status load_tokens(td_loader *loader, int64_t item, int32_t *tokens) {
    const td_loader_options *options = &loader->options;
    size_t bytes = (size_t)options->context * sizeof *tokens;
    int32_t *kept =
        loader->known_tokens == NULL ? NULL : loader->known_tokens + item * options->context;
    if (kept != NULL && loader->token_known[item]) {
        memcpy(tokens, kept, bytes);
        return TD_OK;
    }
    TD_TRY(td_pairs_fetch(options->pairs, item, &loader->pair));
    td_tokenize(options->tokenizer, loader->pair.caption.data, tokens, options->context);
    if (kept != NULL) {
        memcpy(kept, tokens, bytes);
        loader->token_known[item] = 1;
    }
    return TD_OK;
}

static td_status load_pair(td_loader *loader, int64_t item, float *image, int32_t *tokens) {
    const td_loader_options *options = &loader->options;
    if (options->vector.n > 0) {
        TD_TRY(td_pairs_vector(options->pairs, item, &options->vector, &loader->pair, image));
    } else {
        TD_TRY(
            td_pairs_normalised(options->pairs, item, options->image_size, &loader->pair, image));
    }
    return load_tokens(loader, item, tokens);
}

/* Only bad input is replaced: no memory, or a disk that fails, would otherwise change the training
 * data unseen. */
static td_status load_sample(td_loader *loader, int64_t position, float *image, int32_t *tokens,
                             int64_t *bad_samples) {
    const td_loader_options *options = &loader->options;
    int64_t count = td_pairs_count(options->pairs);
    for (int64_t skip = 0; skip < count; skip++) {
        int64_t item = item_at(options, count, position, skip);
        if (td_pairs_known_bad(options->pairs, item)) {
            continue;
        }
        td_status status = load_pair(loader, item, image, tokens);
        if (status != TD_EINPUT) {
            *bad_samples += status == TD_OK && skip > 0;
            return status;
        }
        td_pairs_note_bad(options->pairs, item);
    }
    return td_fail(TD_EINPUT, "none of the %lld pairs of the set can be decoded", (long long)count);
}

static bool must_stop(td_loader *loader) {
    pthread_mutex_lock(&loader->lock);
    bool stop = loader->stop;
    pthread_mutex_unlock(&loader->lock);
    return stop;
}

static void produce(td_loader *loader, int64_t batch, slot *to) {
    const td_loader_options *options = &loader->options;
    int64_t values = image_values(options);
    int64_t first = (options->first_step + batch) * options->batch + options->first_row;
    int64_t start_ns = td_now_ns();
    to->status = TD_OK;
    to->bad_samples = 0;
    for (int64_t row = 0; row < options->rows && to->status == TD_OK && !must_stop(loader); row++) {
        to->status = load_sample(loader, first + row, to->images + row * values,
                                 to->tokens + row * options->context, &to->bad_samples);
    }
    if (to->status != TD_OK) {
        snprintf(to->message, sizeof to->message, "%s", td_error());
    }
    to->decode_ns = td_now_ns() - start_ns;
}

/* Every pair once, for the sake of the cache; what cannot be had is reported by the batch that
 * needs it. */
static void fill_cache(td_loader *loader) {
    const slot *to = &loader->slots[0];
    int64_t count = td_pairs_count(loader->options.pairs);
    for (int64_t item = 0; item < count && !must_stop(loader); item++) {
        if (load_pair(loader, item, to->images, to->tokens) == TD_EINPUT) {
            td_pairs_note_bad(loader->options.pairs, item);
        }
    }
}

static void *work(void *arg) {
    td_loader *loader = arg;
    td_cpu_flush_denormals();
    if (loader->known_tokens != NULL && loader->options.fill_cache) {
        fill_cache(loader);
    }
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop) {
        if (loader->produced - loader->released >= loader->n_slots) {
            pthread_cond_wait(&loader->changed, &loader->lock);
            continue;
        }
        int64_t batch = loader->produced;
        pthread_mutex_unlock(&loader->lock);
        produce(loader, batch, &loader->slots[batch % loader->n_slots]);
        pthread_mutex_lock(&loader->lock);
        loader->produced++;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

static td_status check_options(const td_loader_options *options) {
    bool good = options->batch >= 1 && options->rows >= 1 && options->first_row >= 0 &&
                options->first_row <= options->batch - options->rows && options->image_size >= 1 &&
                options->context >= 2 && options->first_step >= 0 && options->prefetch >= 1;
    return good
               ? TD_OK
               : td_fail(TD_EUSAGE,
                         "loader: rows %lld to %lld of a batch of %lld, image size %lld, context "
                         "%lld, first step "
                         "%lld, prefetch %d",
                         (long long)options->first_row,
                         (long long)(options->first_row + options->rows), (long long)options->batch,
                         (long long)options->image_size, (long long)options->context,
                         (long long)options->first_step, options->prefetch);
}

static void plan(td_plan *memory, td_loader *loader) {
    const td_loader_options *options = &loader->options;
    int64_t values = options->rows * image_values(options);
    loader->slots = TD_PLAN_ARRAY(memory, slot, loader->n_slots);
    for (int i = 0; i < loader->n_slots; i++) {
        float *images = TD_PLAN_ARRAY(memory, float, values);
        int32_t *tokens = TD_PLAN_ARRAY(memory, int32_t, options->rows * options->context);
        if (memory->base != NULL) {
            loader->slots[i] = (slot){.images = images, .tokens = tokens};
        }
    }
    if (options->cache_bytes > 0) {
        int64_t count = td_pairs_count(options->pairs);
        loader->known_tokens = TD_PLAN_ARRAY(memory, int32_t, count * options->context);
        loader->token_known = TD_PLAN_ARRAY(memory, unsigned char, count);
        if (memory->base != NULL) {
            memset(loader->token_known, 0, (size_t)count);
        }
    }
}

static td_status start_worker(td_loader *loader) {
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
        code = pthread_create(&loader->worker, &attributes, work, loader);
    }
    pthread_attr_destroy(&attributes);
    if (code != 0) {
        return pu >= 0
                   ? td_fail(TD_ESYS, "start the loader's worker on PU %d: %s", pu, strerror(code))
                   : td_fail(TD_ESYS, "start the loader's worker: %s", strerror(code));
    }
    pthread_setname_np(loader->worker, "td-loader");
    loader->started = true;
    return TD_OK;
}

td_status td_loader_create(const td_loader_options *options, td_loader **out) {
    TD_TRY(check_options(options));
    if (options->cache_bytes > 0 && options->vector.n == 0) {
        TD_TRY(td_pairs_cache(options->pairs, options->image_size, options->cache_bytes));
    }
    td_loader *loader = td_alloc_zero(sizeof *loader);
    if (loader == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a loader");
    }
    loader->options = *options;
    loader->n_slots = options->prefetch + 1;
    loader->pair.item = -1;
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->changed, NULL);
    td_plan memory = {0};
    plan(&memory, loader);
    td_status status = td_arena_create(memory.used_bytes, &loader->arena);
    if (status == TD_OK) {
        memory = (td_plan){.base = loader->arena.base};
        plan(&memory, loader);
        status = start_worker(loader);
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
    if (loader->started) {
        pthread_mutex_lock(&loader->lock);
        loader->stop = true;
        pthread_cond_broadcast(&loader->changed);
        pthread_mutex_unlock(&loader->lock);
        pthread_join(loader->worker, NULL);
    }
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->lock);
    td_pair_destroy(&loader->pair);
    td_arena_destroy(&loader->arena);
    td_free(loader);
}

td_status td_loader_next(td_loader *loader, const float **images, const int32_t **tokens,
                         int64_t *wait_ns) {
    int64_t start_ns = td_now_ns();
    pthread_mutex_lock(&loader->lock);
    loader->released = loader->taken;
    pthread_cond_broadcast(&loader->changed);
    while (loader->produced == loader->taken) {
        pthread_cond_wait(&loader->changed, &loader->lock);
    }
    const slot *from = &loader->slots[loader->taken % loader->n_slots];
    int64_t waited_ns = td_now_ns() - start_ns;
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
    pthread_mutex_unlock(&loader->lock);
}
