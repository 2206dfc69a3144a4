/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "data/pairs.h"
#include "data/pairs_pixels.h"
#include "tests/data/pair_files.h"

/* 23 pairs, batches of 6: epochs end inside batches. */
enum { N = 23, BATCH = 6, SIZE = 8, CONTEXT = 16, PIXELS = 3 * SIZE * SIZE, STEPS = 17 };

TestSuite(loader, .fini = pair_directory_remove);

/* Everything a run of steps gave. */
typedef struct feed {
    float images[STEPS][BATCH][PIXELS];
    int32_t tokens[STEPS][BATCH][CONTEXT];
    const float *at[STEPS]; /* where the images were */
    td_loader_stats stats;
} feed;

static td_pairs *open_shards(double holdout, bool held_out) {
    td_pairs *pairs;
    td_pairs_options options = {.path = pair_directory(), .holdout = holdout, .held_out = held_out};
    cr_assert_eq(td_pairs_open(&options, &pairs), TD_OK, "%s", td_error());
    return pairs;
}

static int n_workers = 1; /* of the next run */
static int lets_ahead;    /* it waits till so many batches are ready before it takes the next */

/* Runs steps [first, last) of rows [row, row + rows) and stores them where they belong. */
static void run(td_pairs *pairs, int first, int last, int row, int rows, int prefetch,
                int64_t cache_bytes, feed *to) {
    td_tokenizer *tokenizer;
    cr_assert_eq(td_tokenizer_load(NULL, &tokenizer), TD_OK, "%s", td_error());
    td_loader_options options = {.pairs = pairs,
                                 .tokenizer = tokenizer,
                                 .batch = BATCH,
                                 .first_row = row,
                                 .rows = rows,
                                 .image_size = SIZE,
                                 .context = CONTEXT,
                                 .seed = 5,
                                 .first_step = first,
                                 .prefetch = prefetch,
                                 .workers = n_workers,
                                 .pu = -1,
                                 .cache_bytes = cache_bytes};
    td_loader *loader;
    cr_assert_eq(td_loader_create(&options, &loader), TD_OK, "%s", td_error());
    for (int step = first; step < last; step++) {
        const float *images;
        const int32_t *tokens;
        int64_t wait_ns;
        for (td_loader_get_stats(loader, &to->stats); to->stats.ready < lets_ahead; sched_yield()) {
            td_loader_get_stats(loader, &to->stats);
        }
        cr_assert_eq(td_loader_next(loader, &images, &tokens, &wait_ns), TD_OK, "%s", td_error());
        cr_assert_geq(wait_ns, 0);
        to->at[step] = images;
        memcpy(to->images[step][row], images, (size_t)rows * sizeof to->images[0][0]);
        memcpy(to->tokens[step][row], tokens, (size_t)rows * sizeof to->tokens[0][0]);
    }
    td_loader_get_stats(loader, &to->stats);
    td_loader_destroy(loader);
    td_tokenizer_destroy(tokenizer);
}

static feed *new_feed(void) {
    feed *made = td_alloc_zero(sizeof *made);
    cr_assert_not_null(made);
    return made;
}

static bool same_feed(const feed *a, const feed *b) {
    return memcmp(a->images, b->images, sizeof a->images) == 0 &&
           memcmp(a->tokens, b->tokens, sizeof a->tokens) == 0;
}

static int n_places(const feed *got) {
    int n = 0;
    for (int step = 0; step < STEPS; step++) {
        bool seen = false;
        for (int before = 0; before < step && !seen; before++) {
            seen = got->at[before] == got->at[step];
        }
        n += !seen;
    }
    return n;
}

/* Which pair an image is, from its red level. */
static int pair_of(const float *image) {
    return (int)lroundf((image[0] * 0.26862954F + 0.48145466F) * 255.0F);
}

Test(loader, every_epoch_is_a_permutation) {
    pair_shards(N, 3, NULL, 0);
    td_pairs *pairs = open_shards(0, false);
    cr_assert_eq(td_pairs_count(pairs), N);
    feed *got = new_feed();
    run(pairs, 0, STEPS, 0, BATCH, 2, 0, got);
    int order[STEPS * BATCH];
    for (int s = 0; s < STEPS * BATCH; s++) {
        order[s] = pair_of(got->images[s / BATCH][s % BATCH]);
    }
    enum { EPOCHS = STEPS * BATCH / N };
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        int seen[N] = {0};
        for (int i = 0; i < N; i++) {
            int pair = order[epoch * N + i];
            cr_assert(pair >= 0 && pair < N);
            seen[pair]++;
        }
        for (int i = 0; i < N; i++) {
            cr_assert_eq(seen[i], 1, "epoch %d has pair %d %d times", epoch, i, seen[i]);
        }
        if (epoch > 0) {
            cr_expect_neq(memcmp(order, order + epoch * N, N * sizeof order[0]), 0,
                          "epochs differ in order");
        }
    }
    cr_expect_eq(got->stats.batches, STEPS);
    cr_expect_eq(got->stats.samples, STEPS * BATCH);
    cr_expect_eq(got->stats.bad_samples, 0);
    cr_expect_gt(got->stats.decode_ns, 0);
    td_free(got);
    td_pairs_close(pairs);
}

/* The image and the tokens of a row are of the same pair. */
Test(loader, tokens_go_with_images) {
    pair_shards(N, 2, NULL, 0);
    td_pairs *pairs = open_shards(0, false);
    td_tokenizer *tokenizer;
    cr_assert_eq(td_tokenizer_load(NULL, &tokenizer), TD_OK);
    feed *got = new_feed();
    run(pairs, 0, STEPS, 0, BATCH, 1, 0, got);
    for (int s = 0; s < STEPS * BATCH; s++) {
        char caption[32];
        int32_t wanted[CONTEXT];
        snprintf(caption, sizeof caption, "caption %d", pair_of(got->images[s / BATCH][s % BATCH]));
        td_tokenize(tokenizer, caption, wanted, CONTEXT);
        cr_assert_arr_eq(got->tokens[s / BATCH][s % BATCH], wanted, sizeof wanted);
    }
    td_tokenizer_destroy(tokenizer);
    td_free(got);
    td_pairs_close(pairs);
}

Test(loader, same_batches_whatever_the_prefetch_slices_resumption_and_cache) {
    pair_shards(N, 4, NULL, 0);
    td_pairs *pairs = open_shards(0, false);
    feed *whole = new_feed(), *other = new_feed();
    run(pairs, 0, STEPS, 0, BATCH, 1, 0, whole);

    run(pairs, 0, STEPS, 0, BATCH, 7, 0, other);
    cr_expect(same_feed(whole, other), "prefetch depth");

    memset(other, 0, sizeof *other);
    run(pairs, 0, STEPS, 0, 2, 2, 0, other);
    run(pairs, 0, STEPS, 2, 4, 3, 0, other);
    cr_expect(same_feed(whole, other), "two ranks' rows are slices of the batch");

    memset(other, 0, sizeof *other);
    run(pairs, 0, 5, 0, BATCH, 2, 0, other);
    run(pairs, 5, STEPS, 0, BATCH, 2, 0, other);
    cr_expect(same_feed(whole, other), "resumption at step 5");

    for (n_workers = 2; n_workers <= 5; n_workers++) {
        memset(other, 0, sizeof *other);
        run(pairs, 0, STEPS, 0, BATCH, n_workers % 3, n_workers == 4 ? N * PIXELS : 0, other);
        cr_expect(same_feed(whole, other), "%d workers", n_workers);
        cr_expect_eq(other->stats.workers, n_workers);
    }
    memset(other, 0, sizeof *other);
    run(pairs, 0, 5, 0, BATCH, 0, 0, other);
    n_workers = 3;
    run(pairs, 5, STEPS, 0, BATCH, 3, 0, other);
    cr_expect(same_feed(whole, other), "resumption with other workers");
    n_workers = 1;

    memset(other, 0, sizeof *other);
    run(pairs, 0, STEPS, 0, BATCH, 2, N * PIXELS - 1, other);
    cr_expect(same_feed(whole, other), "a cache that is too small is not made");

    memset(other, 0, sizeof *other);
    run(pairs, 0, STEPS, 0, BATCH, 2, N * PIXELS, other);
    cr_expect(same_feed(whole, other), "cache");
    td_free(whole);
    td_free(other);
    td_pairs_close(pairs);
}

/* Takes a batch of so many rows of N pairs, empties the files, and takes some epochs more: with the
 * cache full, the files are not needed any more. */
static void empty_after_first_batch(int64_t rows, bool fill_cache) {
    pair_shards(N, 1, NULL, 0);
    td_pairs *pairs = open_shards(0, false);
    td_tokenizer *tokenizer;
    cr_assert_eq(td_tokenizer_load(NULL, &tokenizer), TD_OK);
    td_loader_options options = {.pairs = pairs,
                                 .tokenizer = tokenizer,
                                 .batch = N,
                                 .rows = rows,
                                 .image_size = SIZE,
                                 .context = CONTEXT,
                                 .prefetch = 1,
                                 .pu = -1,
                                 .cache_bytes = 1 << 20,
                                 .fill_cache = fill_cache};
    td_loader *loader;
    cr_assert_eq(td_loader_create(&options, &loader), TD_OK, "%s", td_error());
    const float *images;
    const int32_t *tokens;
    int64_t wait_ns;
    cr_assert_eq(td_loader_next(loader, &images, &tokens, &wait_ns), TD_OK);
    td_text path = {0};
    td_text_printf(&path, "%s/pairs-00000-of-00001.tfrecord", pair_directory());
    FILE *file = fopen(path.data, "wb"); /* empties the file that the set holds open */
    cr_assert_not_null(file);
    fclose(file);
    for (int epoch = 1; epoch < 8; epoch++) {
        cr_assert_eq(td_loader_next(loader, &images, &tokens, &wait_ns), TD_OK, "%s", td_error());
    }
    td_loader_destroy(loader);
    td_tokenizer_destroy(tokenizer);
    td_text_destroy(&path);
    td_pairs_close(pairs);
}

Test(loader, a_full_cache_reads_nothing) {
    empty_after_first_batch(N, false);
}

/* One row of each batch: the first one alone would leave nearly all pairs to be read. */
Test(loader, a_cache_is_filled_ahead) {
    empty_after_first_batch(1, true);
}

/* A bad pair's place is taken by the next good one of the epoch; everything else stays where it
 * was. */
Test(loader, bad_pairs_are_replaced_and_counted) {
    pair_shards(N, 3, NULL, 0);
    td_pairs *pairs = open_shards(0, false);
    feed *good = new_feed(), *got = new_feed(), *again = new_feed();
    run(pairs, 0, STEPS, 0, BATCH, 2, 0, good);
    td_pairs_close(pairs);
    pair_directory_remove();
    static const int bad[] = {4, 5, 17};
    pair_shards(N, 3, bad, 3);
    pairs = open_shards(0, false);
    run(pairs, 0, STEPS, 0, BATCH, 2, 0, got);
    run(pairs, 0, STEPS, 0, BATCH, 1, 1 << 20, again);
    cr_expect(same_feed(got, again), "known bad pairs are replaced as new ones are");
    for (n_workers = 2; n_workers < 6; n_workers++) {
        run(pairs, 0, STEPS, 0, BATCH, 3, 0, again);
        cr_expect(same_feed(got, again), "with %d workers", n_workers);
        cr_expect_eq(again->stats.bad_samples, got->stats.bad_samples);
    }
    n_workers = 1;
    int replaced = 0;
    for (int s = 0; s < STEPS * BATCH; s++) {
        int before = pair_of(good->images[s / BATCH][s % BATCH]),
            now = pair_of(got->images[s / BATCH][s % BATCH]);
        cr_assert(now != 4 && now != 5 && now != 17);
        if (before == 4 || before == 5 || before == 17) {
            int next = s;
            do {
                next = next / N * N + (next % N + 1) % N;
                before = pair_of(good->images[next / BATCH][next % BATCH]);
            } while (before == 4 || before == 5 || before == 17);
            replaced++;
        }
        /* The last epoch is not whole here, so its end cannot be looked up. */
        cr_assert(now == before || s / N == STEPS * BATCH / N, "sample %d is pair %d, expected %d",
                  s, now, before);
    }
    cr_expect_eq(got->stats.bad_samples, replaced);
    cr_expect_geq(replaced, 3 * (STEPS * BATCH / N));
    td_free(good);
    td_free(got);
    td_free(again);
    td_pairs_close(pairs);
}

Test(loader, a_set_of_bad_pairs_is_an_error_that_stays) {
    static const int bad[] = {0, 1, 2};
    pair_shards(3, 1, bad, 3);
    td_pairs *pairs = open_shards(0, false);
    td_tokenizer *tokenizer;
    cr_assert_eq(td_tokenizer_load(NULL, &tokenizer), TD_OK);
    td_loader_options options = {.pairs = pairs,
                                 .tokenizer = tokenizer,
                                 .batch = 2,
                                 .rows = 2,
                                 .image_size = SIZE,
                                 .context = CONTEXT,
                                 .prefetch = 2,
                                 .pu = -1};
    td_loader *loader;
    cr_assert_eq(td_loader_create(&options, &loader), TD_OK, "%s", td_error());
    for (int i = 0; i < 3; i++) {
        const float *images;
        const int32_t *tokens;
        int64_t wait_ns;
        cr_expect_eq(td_loader_next(loader, &images, &tokens, &wait_ns), TD_EINPUT);
        cr_expect_not_null(strstr(td_error(), "none of the 3 pairs"), "%s", td_error());
    }
    td_loader_destroy(loader);
    td_tokenizer_destroy(tokenizer);
    td_pairs_close(pairs);
}

/* A set of one slow pair among fast ones cannot be made here; that depth stays in its bounds, and
 * that a fixed one is kept, can. */
Test(loader, depth_stays_in_its_bounds) {
    pair_shards(N, 1, NULL, 0);
    td_pairs *pairs = open_shards(0, false);
    feed *got = new_feed();
    run(pairs, 0, STEPS, 0, BATCH, 0, 0, got);
    cr_expect_geq(got->stats.depth, 1);
    cr_expect_leq(got->stats.depth, 8);
    run(pairs, 0, STEPS, 0, BATCH, 3, 0, got);
    cr_expect_eq(got->stats.depth, 3);
    td_free(got);
    td_pairs_close(pairs);
}

/* One batch is ahead of a worker alone, two are where several share one. A batch that comes late
 * may let the loader go one further, and take memory for it: so none comes late here. */
Test(loader, no_memory_is_touched_but_of_what_is_ahead_and_in_hand) {
    pair_shards(N, 1, NULL, 0);
    feed *got = new_feed();
    for (n_workers = 1; n_workers <= 2; n_workers++) {
        td_pairs *pairs = open_shards(0, false);
        lets_ahead = n_workers;
        run(pairs, 0, STEPS, 0, BATCH, 0, 0, got);
        cr_expect_eq(got->stats.depth, n_workers);
        cr_expect_eq(n_places(got), n_workers + 1);
        td_pairs_close(pairs);
    }
    lets_ahead = 0;
    n_workers = 1;
    td_free(got);
}

Test(loader, the_worker_can_be_bound_and_a_refusal_is_an_error) {
    pair_shards(4, 1, NULL, 0);
    td_pairs *pairs = open_shards(0, false);
    td_tokenizer *tokenizer;
    cr_assert_eq(td_tokenizer_load(NULL, &tokenizer), TD_OK);
    td_loader_options options = {.pairs = pairs,
                                 .tokenizer = tokenizer,
                                 .batch = 2,
                                 .rows = 2,
                                 .image_size = SIZE,
                                 .context = CONTEXT,
                                 .prefetch = 1,
                                 .pu = 100000};
    td_loader *loader;
    cr_expect_eq(td_loader_create(&options, &loader), TD_ESYS);
    cr_expect_not_null(strstr(td_error(), "PU 100000"), "%s", td_error());
    options.rows = 3;
    cr_expect_eq(td_loader_create(&options, &loader), TD_EUSAGE);
    td_tokenizer_destroy(tokenizer);
    td_pairs_close(pairs);
}
