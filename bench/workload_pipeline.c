/* SPDX-License-Identifier: Apache-2.0
 * The way of a sample as training takes it, by the loader's workers: a record of a shard read and
 * checked, its image decoded, resized, cropped and normalised, its caption tokenised, both put into
 * a batch, without and with augmentation. of_decoding: the share of that time that decoding to
 * normalised pixels takes alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/case.h"
#include "bench/photo.h"
#include "bench/stats.h"
#include "data/pair.h"
#include "data/pairs.h"
#include "data/resize.h"
#include "data/shards.h"

/* A step is as many batches as the loader keeps ready at most: workers finish batches in bursts. */
enum { BATCH = 16, AHEAD = 8, PHOTOS = 16 };
enum { SIZE = 224, VALUES = 3 * SIZE * SIZE, CONTEXT = 77, SEED = 1 };

/* --aug-scale 0.9 --aug-flip 0.5 */
#define AUGMENTED                                                                                  \
    { .scale_min = 0.9, .scale_max = 1, .flip = 0.5 }
static const struct {
    const char *id;
    int side;
    bool jpeg;
    td_augment augment;
} variants[] = {
    {"data/pipeline/png/256-224-b16", 256, false, {.flip = 0}},
    {"data/pipeline/jpeg/256-224-b16", 256, true, {.flip = 0}},
    {"data/pipeline/jpeg/1536-224-b16", 1536, true, {.flip = 0}},
    {"data/pipeline/jpeg_augmented/256-224-b16", 256, true, AUGMENTED},
    {"data/pipeline/jpeg_augmented/1536-224-b16", 1536, true, AUGMENTED},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

typedef struct pipeline_state {
    const td_augment *augment;
    char directory[96], shard[160];
    void *photos[PHOTOS]; /* encoded; a sample each */
    size_t sizes[PHOTOS];
    td_pairs *pairs;
    td_tokenizer *tokenizer;
    td_loader *loader;
    float *pixels;
    double decode_ns; /* of a step, by one worker that does nothing else */
} pipeline_state;

static td_status write_records(const pipeline_state *s, td_shard_writer *writer, td_text *record) {
    for (int i = 0; i < BATCH; i++) {
        char key[32];
        record->size = 0;
        snprintf(key, sizeof key, "photo-%d", i);
        TD_TRY(td_pair_encode(s->photos[i], s->sizes[i],
                              "a large red circle left of two small blue squares", "", key,
                              record));
        TD_TRY(td_shard_writer_append(writer, record->data, record->size));
    }
    return TD_OK;
}

static td_status write_shard(const pipeline_state *s) {
    td_shard_writer *writer;
    td_text record = {0};
    TD_TRY(td_shard_writer_create(s->directory, "photos", 1, TD_COMPRESSION_NONE, true, &writer));
    td_status status = write_records(s, writer, &record);
    td_text_destroy(&record);
    if (status != TD_OK) {
        td_shard_writer_abort(writer);
        return status;
    }
    return td_shard_writer_commit(writer);
}

static td_status open_loader(const pipeline_state *s, int workers, td_loader **out) {
    td_loader_options options = {.pairs = s->pairs,
                                 .tokenizer = s->tokenizer,
                                 .batch = BATCH,
                                 .rows = BATCH,
                                 .image_size = SIZE,
                                 .context = CONTEXT,
                                 .seed = SEED,
                                 .augment = *s->augment,
                                 .workers = workers,
                                 .pu = -1};
    return td_loader_create(&options, out);
}

static td_status setup_pipeline(td_bench *bench) {
    int64_t variant = bench->subject->param[0];
    const char *parent = getenv("TMPDIR");
    pipeline_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (s == NULL || (s->pixels = td_alloc(VALUES * sizeof *s->pixels)) == NULL) {
        return td_fail(TD_ENOMEM, "a pipeline case");
    }
    s->augment = &variants[variant].augment;
    snprintf(s->directory, sizeof s->directory, "%.60s/tandem-pipeline-%ld",
             parent ? parent : "/tmp", (long)getpid());
    snprintf(s->shard, sizeof s->shard, "%s/photos-00000-of-00001.tfrecord", s->directory);
    for (int p = 0; p < PHOTOS; p++) {
        TD_TRY(td_photo_encode((uint64_t)p, variants[variant].side, variants[variant].jpeg,
                               &s->photos[p], &s->sizes[p]));
    }
    TD_TRY(write_shard(s));
    TD_TRY(td_pairs_open(&(td_pairs_options){.path = s->directory}, &s->pairs));
    return td_tokenizer_load(NULL, &s->tokenizer);
}

static td_status decode_crop(const pipeline_state *s, int photo, td_augment_draw *draw,
                             td_image *out) {
    int64_t width, height;
    td_image part = {0};
    TD_TRY(td_image_sides(s->photos[photo], s->sizes[photo], &width, &height));
    td_image_box box = td_augment_box(draw, width, height);
    TD_TRY(td_image_decode_box(s->photos[photo], s->sizes[photo], &box, SIZE, &part));
    td_status status = td_image_resize_bicubic(&part, SIZE, SIZE, out);
    td_image_destroy(&part);
    return status;
}

static td_status decode_whole(const pipeline_state *s, int photo, td_image *out) {
    td_image whole = {0};
    TD_TRY(td_image_decode_toward(s->photos[photo], s->sizes[photo], SIZE, &whole));
    td_status status = td_image_fit(&whole, SIZE, out);
    td_image_destroy(&whole);
    return status;
}

/* The pixels of a photo at a place in the order, which decides how it is augmented. */
static td_status decode(pipeline_state *s, int photo, int64_t place) {
    td_image small = {0};
    td_augment_draw draw = td_augment_at(s->augment, SEED, place);
    TD_TRY(td_augment_crops(s->augment) ? decode_crop(s, photo, &draw, &small)
                                        : decode_whole(s, photo, &small));
    td_image_normalise(&small, s->pixels);
    if (draw.mirror) {
        td_augment_mirror(s->pixels, VALUES / SIZE, SIZE);
    }
    td_image_destroy(&small);
    return TD_OK;
}

/* Every image of the batch is one of the photos; ones counts which. */
static td_status find_photos(pipeline_state *s, const float *images, int *ones) {
    for (int p = 0; p < PHOTOS; p++) {
        for (int i = 0; i < BATCH; i++) {
            TD_TRY(decode(s, p, i));
            ones[p] +=
                memcmp(images + (size_t)i * VALUES, s->pixels, VALUES * sizeof *s->pixels) == 0;
        }
    }
    return TD_OK;
}

/* An epoch is one batch: each photo is in it once, and every caption has the same tokens. Then
 * decoding alone is timed, before any loader works beside it. */
static td_status verify_pipeline(td_bench *bench) {
    pipeline_state *s = bench->state;
    const float *images;
    const int32_t *tokens;
    int ones[PHOTOS] = {0};
    int64_t wait_ns;
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "memcmp:decoded one by one");
    TD_TRY(open_loader(s, bench->rank->workers, &s->loader));
    TD_TRY(td_loader_next(s->loader, &images, &tokens, &wait_ns));
    TD_TRY(find_photos(s, images, ones));
    for (int p = 0; p < PHOTOS; p++) {
        if (ones[p] != 1) {
            return td_fail(TD_ECHECK, "photo %d is in the batch %d times", p, ones[p]);
        }
    }
    for (int i = 1; i < BATCH; i++) {
        if (memcmp(tokens, tokens + (size_t)i * CONTEXT, CONTEXT * sizeof *tokens) != 0) {
            return td_fail(TD_ECHECK, "sample %d has other tokens", i);
        }
    }
    td_loader_destroy(s->loader);
    s->loader = NULL;
    int64_t start = td_now_ns();
    for (int i = 0; i < AHEAD * BATCH; i++) {
        TD_TRY(decode(s, i % PHOTOS, i));
    }
    s->decode_ns = (double)(td_now_ns() - start);
    return open_loader(s, bench->rank->workers, &s->loader);
}

static td_status step_pipeline(td_bench *bench) {
    const pipeline_state *s = bench->state;
    const float *images;
    const int32_t *tokens;
    int64_t wait_ns;
    for (int i = 0; i < AHEAD; i++) {
        TD_TRY(td_loader_next(s->loader, &images, &tokens, &wait_ns));
    }
    return TD_OK;
}

static void finish_pipeline(td_bench *bench) {
    const pipeline_state *s = bench->state;
    td_outcome *out = bench->outcome;
    if (out->n_samples > 0) {
        td_outcome_number(out, "of_decoding",
                          s->decode_ns / bench->rank->workers /
                              td_stats_median_of(out->samples_ns, out->n_samples));
    }
}

static void cost_pipeline(const td_bench *bench, td_cost *out) {
    (void)bench;
    *out = (td_cost){.value = TD_VALUE_ITEMS, .items = AHEAD * BATCH, .unit = "images/s"};
}

static void teardown_pipeline(td_bench *bench) {
    pipeline_state *s = bench->state;
    td_loader_destroy(s->loader);
    td_pairs_close(s->pairs);
    td_tokenizer_destroy(s->tokenizer);
    for (int p = 0; p < PHOTOS; p++) {
        td_free(s->photos[p]);
    }
    unlink(s->shard);
    rmdir(s->directory);
    td_free(s->pixels);
    td_free(s);
}

static td_status list_pipeline(const td_workload *self, td_case_list *list) {
    for (int i = 0; i < VARIANTS; i++) {
        td_case *added = td_case_add(list, self, "%s", variants[i].id);
        added->param[0] = i;
        added->quick = variants[i].side == 256;
    }
    return TD_OK;
}

const td_workload td_workload_pipeline = {
    .name = "pipeline",
    .own_team = true, /* the loader's threads */
    .list = list_pipeline,
    .fits = td_case_fits_one_rank,
    .setup = setup_pipeline,
    .verify = verify_pipeline,
    .step = step_pipeline,
    .cost = cost_pipeline,
    .finish = finish_pipeline,
    .teardown = teardown_pipeline,
};
