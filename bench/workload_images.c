/* SPDX-License-Identifier: Apache-2.0
 * Decoding of images by number of workers. Beside it, in turns: what the decoder alone takes with
 * its memory ready (libjpeg-turbo for JPEG, zlib on what a PNG holds), which no way around it can
 * be faster than; or, of large JPEGs on their way to a small size, decoding them whole.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <turbojpeg.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/case.h"
#include "bench/photo.h"
#include "bench/ways.h"
#include "data/resize.h"

enum { PICTURES = 4, EACH = 4, IMAGES = PICTURES * EACH, FIT = 224 };

/* toward: brought to FIT pixels, by the scale that td_image_decode_toward chooses. */
static const struct {
    const char *id;
    int side;
    bool jpeg, toward;
} variants[] = {
    {"data/image_decode/png/256", 256, false, false},
    {"data/image_decode/jpeg/256", 256, true, false},
    {"data/image_decode/jpeg/1536", 1536, true, false},
    {"data/image_decode/jpeg_toward_224/1536", 1536, true, true},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

typedef struct picture {
    void *bytes; /* the file */
    size_t size;
    unsigned char *deflated; /* of a PNG: its data joined */
    size_t deflated_size;
} picture;

typedef struct images_state {
    int side;
    bool jpeg, toward, beside; /* beside: what the region runs now */
    picture pictures[PICTURES];
    int n_workers;
    tjhandle *decoders;   /* of each worker */
    unsigned char **room; /* the same: decoded pixels */
    size_t room_bytes;
    _Atomic int failed;
} images_state;

static uint32_t big_32(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The contents of the IDAT chunks of a PNG that was encoded here. */
static td_status join_data(picture *p) {
    enum { SIGNATURE = 8, CHUNK = 12, DATA = 8 };
    const unsigned char *bytes = p->bytes;
    p->deflated = td_alloc(p->size);
    if (p->deflated == NULL) {
        return td_fail(TD_ENOMEM, "a picture");
    }
    for (size_t at = SIGNATURE; at + CHUNK <= p->size;) {
        size_t length = big_32(bytes + at);
        if (memcmp(bytes + at + 4, "IDAT", 4) == 0) {
            memcpy(p->deflated + p->deflated_size, bytes + at + DATA, length);
            p->deflated_size += length;
        }
        at += CHUNK + length;
    }
    return TD_OK;
}

static td_status make_room(td_bench *bench, images_state *s) {
    s->n_workers = bench->rank->workers;
    s->room_bytes = (size_t)(3 * s->side + 1) * (size_t)s->side; /* and a filter byte a row */
    s->decoders = td_alloc_zero((size_t)s->n_workers * sizeof *s->decoders);
    s->room = td_alloc_zero((size_t)s->n_workers * sizeof *s->room);
    bool made = s->decoders != NULL && s->room != NULL;
    for (int w = 0; w < s->n_workers && made; w++) {
        s->decoders[w] = tjInitDecompress();
        s->room[w] = td_alloc_zero(s->room_bytes);
        made = s->decoders[w] != NULL && s->room[w] != NULL;
    }
    return made ? TD_OK : td_fail(TD_ENOMEM, "room for decoded pictures");
}

static td_status setup_images(td_bench *bench) {
    int64_t variant = bench->subject->param[0];
    images_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (s == NULL) {
        return td_fail(TD_ENOMEM, "an image case");
    }
    s->side = variants[variant].side;
    s->jpeg = variants[variant].jpeg;
    s->toward = variants[variant].toward;
    for (int i = 0; i < PICTURES; i++) {
        picture *p = &s->pictures[i];
        TD_TRY(td_photo_encode((uint64_t)i, s->side, s->jpeg, &p->bytes, &p->size));
        if (!s->jpeg) {
            TD_TRY(join_data(p));
        }
    }
    td_companion *roof = &bench->outcome->companions[bench->outcome->n_companions++];
    snprintf(roof->name, sizeof roof->name, "%s", s->toward ? "whole" : "decoder");
    roof->state = TD_OUTCOME_OK;
    return make_room(bench, s);
}

static td_status decode(const images_state *s, const picture *p) {
    td_image image = {0}, small = {0};
    int64_t toward = s->toward && !s->beside ? FIT : 0;
    td_status status = td_image_decode_toward(p->bytes, p->size, toward, &image);
    if (status == TD_OK && s->toward) {
        status = td_image_fit(&image, FIT, &small);
    }
    td_image_destroy(&image);
    td_image_destroy(&small);
    return status;
}

/* What the decoder does, and nothing else. */
static bool decode_bare(const images_state *s, const picture *p, int worker) {
    if (s->jpeg) {
        return tjDecompress2(s->decoders[worker], p->bytes, p->size, s->room[worker], s->side, 0,
                             s->side, TJPF_RGB, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) == 0;
    }
    uLongf size = s->room_bytes;
    return uncompress(s->room[worker], &size, p->deflated, p->deflated_size) == Z_OK &&
           size == s->room_bytes;
}

static void decode_some(void *arg, int64_t first, int64_t last, td_worker *worker) {
    images_state *s = arg;
    for (int64_t i = first; i < last; i++) {
        const picture *p = &s->pictures[i % PICTURES];
        bool good = s->beside && !s->toward ? decode_bare(s, p, worker->id) : decode(s, p) == TD_OK;
        if (!good) {
            atomic_store_explicit(&s->failed, 1, memory_order_relaxed);
        }
    }
}

static void decode_region(void *arg, td_worker *worker) {
    td_worker_tiles(worker, IMAGES, 1, decode_some, arg);
}

static td_status decode_all(td_bench *bench, bool beside) {
    images_state *s = bench->state;
    s->beside = beside;
    td_team_run(bench->team, decode_region, s);
    return atomic_load_explicit(&s->failed, memory_order_relaxed) == 0
               ? TD_OK
               : td_fail(TD_ECHECK, "a picture did not decode");
}

/* JPEG pixels are the decoder's own, PNG loses nothing, and a small picture has its size. */
static td_status verify_picture(images_state *s, int number) {
    const picture *p = &s->pictures[number];
    td_image image = {0}, painted = {0};
    size_t bytes = (size_t)(3 * s->side * s->side);
    TD_TRY(td_image_decode_toward(p->bytes, p->size, s->toward ? FIT : 0, &image));
    bool good = decode_bare(s, p, 0);
    if (s->toward) {
        good = good && image.width < s->side && image.width >= TD_IMAGE_MARGIN * FIT;
    } else if (s->jpeg) {
        good = good && memcmp(image.pixels, s->room[0], bytes) == 0;
    } else {
        good = good && td_photo_paint((uint64_t)number, s->side, &painted) == TD_OK &&
               memcmp(image.pixels, painted.pixels, bytes) == 0;
    }
    td_image_destroy(&image);
    td_image_destroy(&painted);
    return good ? TD_OK : td_fail(TD_ECHECK, "picture %d decodes otherwise", number);
}

static td_status verify_images(td_bench *bench) {
    images_state *s = bench->state;
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "%s",
             s->toward ? "sides"
             : s->jpeg ? "memcmp:the decoder alone"
                       : "memcmp:original");
    for (int i = 0; i < PICTURES; i++) {
        TD_TRY(verify_picture(s, i));
    }
    TD_TRY(decode_all(bench, true));
    return decode_all(bench, false);
}

static td_status step_images(td_bench *bench) {
    return decode_all(bench, false);
}

static td_status beside_images(td_bench *bench, int companion, int64_t repeat, double *ns) {
    (void)companion;
    int64_t start = td_now_ns();
    for (int64_t i = 0; i < repeat; i++) {
        TD_TRY(decode_all(bench, true));
    }
    *ns = (double)(td_now_ns() - start) / (double)repeat;
    return TD_OK;
}

static void finish_images(td_bench *bench) {
    const images_state *s = bench->state;
    td_way_compare(bench->outcome, 0, false, s->toward ? "times_whole" : "share_beside");
}

static void cost_images(const td_bench *bench, td_cost *out) {
    (void)bench;
    *out = (td_cost){.value = TD_VALUE_ITEMS, .items = IMAGES, .unit = "images/s"};
}

static void teardown_images(td_bench *bench) {
    images_state *s = bench->state;
    for (int w = 0; w < s->n_workers; w++) {
        if (s->decoders != NULL && s->decoders[w] != NULL) {
            tjDestroy(s->decoders[w]);
        }
        td_free(s->room != NULL ? s->room[w] : NULL);
    }
    for (int i = 0; i < PICTURES; i++) {
        td_free(s->pictures[i].bytes);
        td_free(s->pictures[i].deflated);
    }
    td_free(s->decoders);
    td_free(s->room);
    td_free(s);
}

static td_status list_images(const td_workload *self, td_case_list *list) {
    for (int i = 0; i < VARIANTS; i++) {
        td_case *added = td_case_add(list, self, "%s", variants[i].id);
        added->param[0] = i;
        added->quick = variants[i].side == 256;
    }
    return TD_OK;
}

const td_workload td_workload_images = {
    .name = "images",
    .list = list_images,
    .fits = td_case_fits_one_rank,
    .setup = setup_images,
    .verify = verify_images,
    .step = step_images,
    .beside = beside_images,
    .cost = cost_images,
    .finish = finish_images,
    .teardown = teardown_images,
};
