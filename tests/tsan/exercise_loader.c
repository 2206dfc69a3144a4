/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <string.h>

#include "base/memory.h"
#include "data/pairs.h"
#include "tests/tsan/exercises.h"

/* Two ranks with a loader each over one set and its cache, against one loader without. */
enum { N = 10, BATCH = 6, SIZE = 16, CONTEXT = 24, STEPS = 8, PIXELS = 3 * SIZE * SIZE };

typedef struct feed {
    td_pairs *pairs;
    const td_tokenizer *tokenizer;
    int64_t first_row, rows, cache_bytes;
    float images[STEPS][BATCH][PIXELS];
    int32_t tokens[STEPS][BATCH][CONTEXT];
    td_status status;
} feed;

static void *take_all(void *arg) {
    feed *to = arg;
    td_loader_options options = {.pairs = to->pairs,
                                 .tokenizer = to->tokenizer,
                                 .batch = BATCH,
                                 .first_row = to->first_row,
                                 .rows = to->rows,
                                 .image_size = SIZE,
                                 .context = CONTEXT,
                                 .seed = 3,
                                 .prefetch = 2,
                                 .pu = -1,
                                 .cache_bytes = to->cache_bytes};
    td_loader *loader = NULL;
    to->status = td_loader_create(&options, &loader);
    for (int step = 0; step < STEPS && to->status == TD_OK; step++) {
        const float *images;
        const int32_t *tokens;
        int64_t wait_ns;
        to->status = td_loader_next(loader, &images, &tokens, &wait_ns);
        if (to->status == TD_OK) {
            memcpy(to->images[step][to->first_row], images,
                   (size_t)to->rows * sizeof to->images[0][0]);
            memcpy(to->tokens[step][to->first_row], tokens,
                   (size_t)to->rows * sizeof to->tokens[0][0]);
        }
    }
    td_loader_destroy(loader);
    return NULL;
}

static td_status compare(const feed *whole, const feed *part) {
    for (int step = 0; step < STEPS; step++) {
        for (int64_t row = part->first_row; row < part->first_row + part->rows; row++) {
            if (memcmp(whole->images[step][row], part->images[step][row],
                       sizeof whole->images[0][0]) != 0 ||
                memcmp(whole->tokens[step][row], part->tokens[step][row],
                       sizeof whole->tokens[0][0]) != 0) {
                return td_fail(TD_ECHECK, "row %lld of step %d differs", (long long)row, step);
            }
        }
    }
    return TD_OK;
}

static td_status run(td_pairs *pairs, const td_tokenizer *tokenizer, feed *feeds) {
    static const struct {
        int64_t first_row, rows, cache_bytes;
    } parts[3] = {{0, BATCH, 0}, {0, 2, 1 << 20}, {2, 4, 1 << 20}};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        feeds[i] = (feed){.pairs = pairs,
                          .tokenizer = tokenizer,
                          .first_row = parts[i].first_row,
                          .rows = parts[i].rows,
                          .cache_bytes = parts[i].cache_bytes};
    }
    int started = 0;
    while (started < 3 && pthread_create(&threads[started], NULL, take_all, &feeds[started]) == 0) {
        started++;
    }
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    if (started < 3) {
        return td_fail(TD_ESYS, "started %d threads of 3", started);
    }
    for (int i = 0; i < 3; i++) {
        if (feeds[i].status != TD_OK) {
            return td_fail(feeds[i].status, "loader %d failed", i);
        }
    }
    TD_TRY(compare(&feeds[0], &feeds[1]));
    return compare(&feeds[0], &feeds[2]);
}

td_status td_exercise_loader(void) {
    td_pairs *pairs = NULL;
    td_tokenizer *tokenizer = NULL;
    feed *feeds = td_alloc(3 * sizeof *feeds);
    td_status status =
        feeds == NULL ? td_fail(TD_ENOMEM, "no memory for three feeds")
                      : td_pairs_open(&(td_pairs_options){.n_synthetic = N, .seed = 1}, &pairs);
    if (status == TD_OK) {
        status = td_tokenizer_load(NULL, &tokenizer);
    }
    if (status == TD_OK) {
        status = run(pairs, tokenizer, feeds);
    }
    td_tokenizer_destroy(tokenizer);
    td_pairs_close(pairs);
    td_free(feeds);
    return status;
}
