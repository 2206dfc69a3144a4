/* SPDX-License-Identifier: Apache-2.0
 * Crops at random and mirror images: what is drawn, and what a batch of them holds.
 */
#include "data/augment.h"

#include <math.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "data/image.h"
#include "data/pairs.h"
#include "data/resize.h"
#include "tests/data/pair_files.h"

TestSuite(augment, .fini = pair_directory_remove);

enum { DRAWS = 4000, SEED = 5 };

/* Sums over the crops that are not the centre one. */
typedef struct crop_sums {
    int n;
    double share, log_ratio, left, top;
} crop_sums;

static crop_sums draw_crops(const td_augment *augment, int64_t width, int64_t height) {
    crop_sums sums = {0};
    for (int64_t place = 0; place < DRAWS; place++) {
        td_augment_draw draw = td_augment_at(augment, SEED, place), again = draw;
        td_image_box box = td_augment_box(&draw, width, height),
                     same = td_augment_box(&again, width, height);
        cr_assert(memcmp(&box, &same, sizeof box) == 0);
        cr_assert(box.width >= 1 && box.height >= 1 && box.left >= 0 && box.top >= 0 &&
                  box.left + box.width <= width && box.top + box.height <= height);
        double w = (double)box.width, h = (double)box.height;
        double share = w * h / (double)(width * height);
        /* A side is rounded to a whole pixel: by 1 / (2 * side) of it. */
        double slack = 1 + 1 / w + 1 / h;
        cr_assert(share <= augment->scale_max * slack && share * slack >= augment->scale_min,
                  "%g of %lld x %lld", share, (long long)width, (long long)height);
        cr_assert(w / h <= TD_AUGMENT_RATIO * slack && h / w <= TD_AUGMENT_RATIO * slack);
        sums.n++;
        sums.share += share;
        sums.log_ratio += log(w / h);
        sums.left += box.width == width ? 0.5 : (double)box.left / (double)(width - box.width);
        sums.top += box.height == height ? 0.5 : (double)box.top / (double)(height - box.height);
    }
    return sums;
}

/* Six standard deviations of a mean of uniform numbers over a range. */
static double six_sigma(double range, int n) {
    return 6 * range / sqrt(12.0 * n);
}

/* Where a crop nearly always fits, at most half a square, share and ratio are uniform. */
Test(augment, crops_keep_their_bounds_and_are_spread_over_them) {
    static const td_augment scales[] = {{0.08, 0.5, 0}, {0.3, 0.3, 0}, {0.1, 0.2, 0.5}};
    static const int64_t sides[][2] = {{640, 640}, {500, 512}, {224, 224}};
    for (int i = 0; i < 3; i++) {
        const td_augment *a = &scales[i];
        crop_sums sums = draw_crops(a, sides[i][0], sides[i][1]);
        double n = sums.n, rounding = 1e-3;
        cr_expect(fabs(sums.share / n - (a->scale_min + a->scale_max) / 2) <=
                      six_sigma(a->scale_max - a->scale_min, sums.n) + rounding,
                  "share %g", sums.share / n);
        cr_expect(fabs(sums.log_ratio / n) <=
                      six_sigma(2 * log(TD_AUGMENT_RATIO), sums.n) + rounding,
                  "log ratio %g", sums.log_ratio / n);
        cr_expect(fabs(sums.left / n - 0.5) <= six_sigma(1, sums.n) + rounding);
        cr_expect(fabs(sums.top / n - 0.5) <= six_sigma(1, sums.n) + rounding);
    }
    /* Bounds hold where many tries fail too. */
    draw_crops(&(td_augment){0.9, 1, 0}, 640, 480);
    draw_crops(&(td_augment){0.08, 1, 0}, 31, 29);
    draw_crops(&(td_augment){1, 1, 0}, 100, 100);
}

/* No crop of nine tenths of these has a ratio within the bounds. */
Test(augment, what_never_fits_is_cut_at_the_centre) {
    static const int64_t rows[][6] = {
        {4000, 300, 1800, 0, 400, 300}, {300, 4000, 0, 1800, 300, 400}, {1, 9, 0, 4, 1, 1}};
    const td_augment augment = {0.9, 1, 0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int64_t place = 0; place < 50; place++) {
            td_augment_draw draw = td_augment_at(&augment, SEED, place);
            td_image_box box = td_augment_box(&draw, rows[i][0], rows[i][1]);
            cr_expect(box.left == rows[i][2] && box.top == rows[i][3] && box.width == rows[i][4] &&
                          box.height == rows[i][5],
                      "%lld, %lld: %lld x %lld", (long long)box.left, (long long)box.top,
                      (long long)box.width, (long long)box.height);
        }
    }
}

Test(augment, seed_and_place_decide_and_the_mirror_moves_no_crop) {
    const td_augment plain = {0.2, 1, 0}, mirrored = {0.2, 1, 0.3};
    int n_mirrors = 0, n_same = 0;
    for (int64_t place = 0; place < DRAWS; place++) {
        td_augment_draw a = td_augment_at(&plain, SEED, place),
                        b = td_augment_at(&mirrored, SEED, place),
                        c = td_augment_at(&plain, SEED, place + 1),
                        d = td_augment_at(&plain, SEED + 1, place);
        td_image_box one = td_augment_box(&a, 300, 200), two = td_augment_box(&b, 300, 200),
                     next = td_augment_box(&c, 300, 200), other = td_augment_box(&d, 300, 200);
        cr_assert(memcmp(&one, &two, sizeof one) == 0);
        cr_assert(!a.mirror);
        n_mirrors += b.mirror;
        n_same += memcmp(&one, &next, sizeof one) == 0;
        n_same += memcmp(&one, &other, sizeof one) == 0;
    }
    cr_expect(fabs((double)n_mirrors / DRAWS - 0.3) <= 6 * sqrt(0.3 * 0.7 / DRAWS));
    cr_expect_leq(n_same, 10);
}

Test(augment, scales_are_parsed_and_printed) {
    static const struct {
        const char *text;
        double min, max; /* 0: refused */
        const char *printed;
    } rows[] = {
        {"0.9", 0.9, 1, "--aug-scale 0.9,1 --aug-flip 0.25"},
        {"0.08,0.5", 0.08, 0.5, "--aug-scale 0.08,0.5 --aug-flip 0.25"},
        {"1,1", 1, 1, "--aug-scale 1,1 --aug-flip 0.25"},
        {"", 0, 0, NULL},
        {"0", 0, 0, NULL},
        {"0,1", 0, 0, NULL},
        {"0.5,0.4", 0, 0, NULL},
        {"0.5,1.1", 0, 0, NULL},
        {"-0.5,1", 0, 0, NULL},
        {"0.5,", 0, 0, NULL},
        {",0.5", 0, 0, NULL},
        {"0.5,0.6,0.7", 0, 0, NULL},
        {"nan", 0, 0, NULL},
        {"0.5x", 0, 0, NULL},
        {"0.50000000000000000000000000000000000000000", 0, 0, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        td_augment augment = {.flip = 0.25};
        td_status status = td_augment_parse_scale(rows[i].text, &augment);
        cr_expect_eq(status, rows[i].printed != NULL ? TD_OK : TD_EUSAGE, "%s", rows[i].text);
        cr_expect(augment.scale_min == rows[i].min && augment.scale_max == rows[i].max, "%s",
                  rows[i].text);
        if (rows[i].printed == NULL) {
            cr_expect_not_null(strstr(td_error(), "--aug-scale"), "%s", td_error());
        } else {
            char text[TD_AUGMENT_TEXT];
            td_augment_print(&augment, text);
            cr_expect_str_eq(text, rows[i].printed);
        }
    }
    char text[TD_AUGMENT_TEXT];
    td_augment_print(&(td_augment){0}, text);
    cr_expect_str_eq(text, "no augmentation");
    td_augment_print(&(td_augment){.flip = 1}, text);
    cr_expect_str_eq(text, "--aug-flip 1");
}

/* 23 pairs, batches of 6: an epoch ends inside a batch. */
enum { N = 23, BATCH = 6, SIZE = 8, CONTEXT = 16, PIXELS = 3 * SIZE * SIZE, STEPS = 11 };

/* How the batches of one set of steps are made. */
typedef struct feed_way {
    td_augment augment;
    int first, row, rows, workers, prefetch;
    int64_t cache_bytes;
    bool fill_cache;
    td_pairs *pairs; /* NULL: opened for this run */
} feed_way;

static td_pairs *open_shards(void) {
    td_pairs *pairs;
    cr_assert_eq(td_pairs_open(&(td_pairs_options){.path = pair_directory()}, &pairs), TD_OK, "%s",
                 td_error());
    return pairs;
}

/* From step `first` on, stores rows where they belong; last: the step behind. */
static void run(const feed_way *way, int last, float (*to)[BATCH][PIXELS]) {
    td_tokenizer *tokenizer;
    td_pairs *pairs = way->pairs == NULL ? open_shards() : way->pairs;
    td_loader *loader;
    cr_assert_eq(td_tokenizer_load(NULL, &tokenizer), TD_OK, "%s", td_error());
    td_loader_options options = {.pairs = pairs,
                                 .tokenizer = tokenizer,
                                 .batch = BATCH,
                                 .first_row = way->row,
                                 .rows = way->rows,
                                 .image_size = SIZE,
                                 .context = CONTEXT,
                                 .seed = SEED,
                                 .first_step = way->first,
                                 .prefetch = way->prefetch,
                                 .workers = way->workers,
                                 .pu = -1,
                                 .augment = way->augment,
                                 .cache_bytes = way->cache_bytes,
                                 .fill_cache = way->fill_cache};
    cr_assert_eq(td_loader_create(&options, &loader), TD_OK, "%s", td_error());
    for (int step = way->first; step < last; step++) {
        const float *images;
        const int32_t *tokens;
        int64_t wait_ns;
        cr_assert_eq(td_loader_next(loader, &images, &tokens, &wait_ns), TD_OK, "%s", td_error());
        memcpy(to[step][way->row], images, (size_t)way->rows * sizeof to[0][0]);
    }
    td_loader_destroy(loader);
    td_tokenizer_destroy(tokenizer);
    if (way->pairs == NULL) {
        td_pairs_close(pairs);
    }
}

typedef float feed[STEPS][BATCH][PIXELS];

static void mirror_of(const float *image, float *out) {
    for (int i = 0; i < PIXELS; i++) {
        out[i] = image[i / SIZE * SIZE + SIZE - 1 - i % SIZE];
    }
}

/* The red level of a pair's picture says which pair it is, and no crop changes it. */
static void picture_of(const float *image, td_image *out) {
    unsigned char level = (unsigned char)lroundf((image[0] * 0.26862954F + 0.48145466F) * 255.0F);
    cr_assert_lt(level, N);
    cr_assert_eq(td_image_create(SIZE, SIZE, out), TD_OK);
    for (int p = 0; p < SIZE * SIZE; p++) {
        out->pixels[3 * p] = level;
        out->pixels[3 * p + 1] = (unsigned char)(p * 3);
    }
}

/* Every image of every batch, made again step by step. */
Test(augment, batches_hold_what_was_drawn) {
    static feed got;
    const td_augment augment = {0.3, 1, 0.5};
    pair_shards(N, 3, NULL, 0);
    run(&(feed_way){.augment = augment, .rows = BATCH}, STEPS, got);
    int n_mirrors = 0;
    for (int64_t place = 0; place < STEPS * BATCH; place++) {
        const float *image = got[place / BATCH][place % BATCH];
        td_image part, small;
        float wanted[PIXELS], turned[PIXELS];
        picture_of(image, &part);
        td_augment_draw draw = td_augment_at(&augment, SEED, place);
        td_image_box box = td_augment_box(&draw, SIZE, SIZE);
        td_image_crop(&part, &box);
        cr_assert_eq(td_image_resize_bicubic(&part, SIZE, SIZE, &small), TD_OK);
        td_image_normalise(&small, wanted);
        mirror_of(wanted, turned);
        cr_expect(memcmp(image, draw.mirror ? turned : wanted, sizeof wanted) == 0, "place %d",
                  (int)place);
        n_mirrors += draw.mirror;
        td_image_destroy(&part);
        td_image_destroy(&small);
    }
    cr_expect(n_mirrors > 10 && n_mirrors < STEPS * BATCH - 10);
}

Test(augment, same_batches_whatever_workers_slices_resumption_and_cache) {
    static feed whole, other;
    static const int bad[] = {3, 11};
    static const td_augment rows[] = {{0.3, 1, 0.5}, {0, 0, 0.5}, {0.9, 1, 0}};
    pair_shards(N, 3, bad, 2);
    for (int i = 0; i < 3; i++) {
        td_augment augment = rows[i];
        run(&(feed_way){.augment = augment, .rows = BATCH}, STEPS, whole);
        for (int workers = 2; workers <= 4; workers++) {
            int64_t cache = workers == 2 ? 0 : 1 << 20;
            memset(other, 0, sizeof other);
            run(&(feed_way){.augment = augment,
                            .rows = BATCH,
                            .workers = workers,
                            .prefetch = workers % 3,
                            .cache_bytes = cache,
                            .fill_cache = workers == 4},
                STEPS, other);
            cr_expect(memcmp(whole, other, sizeof whole) == 0, "%d workers", workers);
        }
        memset(other, 0, sizeof other);
        run(&(feed_way){.augment = augment, .rows = 2}, STEPS, other);
        run(&(feed_way){.augment = augment, .row = 2, .rows = 4, .workers = 3}, STEPS, other);
        cr_expect(memcmp(whole, other, sizeof whole) == 0, "two ranks' rows");
        memset(other, 0, sizeof other);
        run(&(feed_way){.augment = augment, .rows = BATCH, .workers = 3}, 5, other);
        run(&(feed_way){.augment = augment, .rows = BATCH, .first = 5}, STEPS, other);
        cr_expect(memcmp(whole, other, sizeof whole) == 0, "resumption");
    }
}

/* A set may keep pixels for somebody else: a few of them, then crops, then whole images again. */
Test(augment, crops_neither_take_from_a_cache_nor_put_into_it) {
    static feed plain, crops, got;
    const td_augment augment = {0.3, 1, 0.5};
    pair_shards(N, 3, NULL, 0);
    run(&(feed_way){.rows = BATCH}, STEPS, plain);
    run(&(feed_way){.augment = augment, .rows = BATCH}, STEPS, crops);
    feed_way keeping = {
        .rows = BATCH, .prefetch = 1, .cache_bytes = 1 << 20, .pairs = open_shards()};
    feed_way cropping = keeping;
    cropping.augment = augment;
    run(&keeping, 1, got);
    run(&cropping, STEPS, got);
    cr_expect(memcmp(crops, got, sizeof got) == 0, "crops");
    run(&keeping, STEPS, got);
    cr_expect(memcmp(plain, got, sizeof got) == 0, "whole images");
    td_pairs_close(keeping.pairs);
}

/* Nothing asked for: the evaluation's images. All mirrored: exactly those, the other way round. */
Test(augment, off_is_the_whole_image_and_a_flip_its_mirror) {
    static feed plain, turned;
    pair_shards(N, 2, NULL, 0);
    run(&(feed_way){.rows = BATCH}, STEPS, plain);
    run(&(feed_way){.augment = {.flip = 1}, .rows = BATCH}, STEPS, turned);
    for (int i = 0; i < STEPS * BATCH; i++) {
        td_image picture;
        float wanted[PIXELS], mirrored[PIXELS];
        picture_of(plain[i / BATCH][i % BATCH], &picture);
        td_image_normalise(&picture, wanted);
        mirror_of(wanted, mirrored);
        cr_expect(memcmp(plain[i / BATCH][i % BATCH], wanted, sizeof wanted) == 0);
        cr_expect(memcmp(turned[i / BATCH][i % BATCH], mirrored, sizeof mirrored) == 0);
        td_image_destroy(&picture);
    }
    float odd[] = {1, 2, 3, 4, 5, 6};
    td_augment_mirror(odd, 2, 3);
    cr_expect_arr_eq(odd, ((float[]){3, 2, 1, 6, 5, 4}), sizeof odd);
}

Test(augment, a_loader_refuses_what_is_no_share_and_features) {
    td_tokenizer *tokenizer;
    td_loader *loader;
    pair_shards(N, 1, NULL, 0);
    td_pairs *pairs = open_shards();
    cr_assert_eq(td_tokenizer_load(NULL, &tokenizer), TD_OK);
    static const td_augment rows[] = {{0, 1, 0},   {0.5, 0.4, 0}, {0.5, 1.5, 0},
                                      {-1, -1, 0}, {0, 0, 1.5},   {NAN, NAN, 0}};
    td_loader_options options = {.pairs = pairs,
                                 .tokenizer = tokenizer,
                                 .batch = 1,
                                 .rows = 1,
                                 .image_size = SIZE,
                                 .context = CONTEXT,
                                 .pu = -1};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        options.augment = rows[i];
        cr_expect_eq(td_loader_create(&options, &loader), TD_EUSAGE, "row %zu", i);
        cr_expect_not_null(strstr(td_error(), "augmentation"), "%s", td_error());
    }
    options.augment = (td_augment){.flip = 0.5};
    options.vector.n = 4;
    cr_expect_eq(td_loader_create(&options, &loader), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "features"), "%s", td_error());
    td_pairs_close(pairs);
    td_tokenizer_destroy(tokenizer);
}
