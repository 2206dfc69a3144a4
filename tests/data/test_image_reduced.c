/* SPDX-License-Identifier: Apache-2.0
 * JPEGs decoded at a reduced scale on their way to a small size: when that is done, and how far the
 * small pictures are from those of the whole one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/rng.h"
#include "data/image.h"
#include "data/resize.h"

/* As photographs are: most of the energy in slow waves, less in faster ones, some hard edges, and
 * the noise of a sensor. */
static void paint(td_image *image, int64_t width, int64_t height) {
    td_rng rng = td_rng_make(5, TD_PURPOSE_TEST, 0);
    cr_assert_eq(td_image_create(width, height, image), TD_OK, "%s", td_error());
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            bool inside = (x / 97 + y / 61) % 3 == 0;
            for (int c = 0; c < 3; c++) {
                double value = 128 + 12 * (td_rng_uniform(&rng) - 0.5) + (inside ? 40 : -10);
                for (int wave = 1; wave <= 64; wave *= 4) {
                    double turn = 6.3 * wave / (double)width;
                    value += 30 / sqrt(wave) * sin(turn * ((double)x + 0.7 * (double)y) + c);
                }
                image->pixels[3 * (y * width + x) + c] = (unsigned char)fmin(fmax(value, 0), 255);
            }
        }
    }
}

typedef struct distance {
    double mean;
    int most;
} distance;

static distance between(const td_image *a, const td_image *b) {
    distance out = {0};
    int64_t n = 3 * a->width * a->height;
    cr_assert(a->width == b->width && a->height == b->height);
    for (int64_t i = 0; i < n; i++) {
        int apart = abs(a->pixels[i] - b->pixels[i]);
        out.mean += (double)apart / (double)n;
        out.most = apart > out.most ? apart : out.most;
    }
    return out;
}

/* A picture of the sides, encoded, decoded both ways and brought to `shortest`: how far these are
 * apart. */
static distance measure(int64_t width, int64_t height, int64_t shortest, int reduction) {
    td_image painted, whole, reduced, small, same;
    void *bytes;
    size_t size;
    paint(&painted, width, height);
    cr_assert_eq(td_image_encode_jpeg(&painted, 90, &bytes, &size), TD_OK, "%s", td_error());
    cr_assert_eq(td_image_decode(bytes, size, &whole), TD_OK, "%s", td_error());
    cr_assert_eq(td_image_decode_toward(bytes, size, shortest, &reduced), TD_OK, "%s", td_error());
    cr_expect_eq(reduced.width, width / reduction, "%lld x %lld toward %lld", (long long)width,
                 (long long)height, (long long)shortest);
    cr_expect_eq(reduced.height, height / reduction);
    cr_assert_eq(td_image_fit(&whole, shortest, &small), TD_OK, "%s", td_error());
    cr_assert_eq(td_image_fit(&reduced, shortest, &same), TD_OK, "%s", td_error());
    distance out = between(&small, &same);
    td_image_destroy(&painted);
    td_image_destroy(&whole);
    td_image_destroy(&reduced);
    td_image_destroy(&small);
    td_image_destroy(&same);
    td_free(bytes);
    return out;
}

/* The bounds are a third above the largest that was measured. */
Test(image_reduced, differs_by_a_rounding) {
    static const struct {
        int64_t width, height, shortest;
        int reduction;
    } rows[] = {
        {672, 448, 64, 2}, {384, 384, 64, 2},   {800, 768, 64, 4},
        {384, 512, 30, 4}, {1536, 1600, 64, 8},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        distance far = measure(rows[i].width, rows[i].height, rows[i].shortest, rows[i].reduction);
        cr_expect(far.mean > 0 && far.mean <= 0.43 && far.most <= 3, "1/%d: %g, at most %d",
                  rows[i].reduction, far.mean, far.most);
    }
}

Test(image_reduced, others_are_decoded_whole) {
    static const int64_t rows[][3] = {
        {382, 512, 64},  /* below the margin */
        {385, 512, 64},  /* an odd side */
        {512, 385, 64},  /* either of them */
        {224, 300, 224}, /* no larger than asked for */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        distance far = measure(rows[i][0], rows[i][1], rows[i][2], 1);
        cr_expect_eq(far.most, 0);
    }
}

static bool same_pixels(const td_image *a, const td_image *b) {
    return a->width == b->width && a->height == b->height &&
           memcmp(a->pixels, b->pixels, (size_t)(3 * a->width * a->height)) == 0;
}

/* A box of the whole picture, decoded as it is, is the box cut out of it. */
Test(image_reduced, a_box_is_cut_out_of_the_whole) {
    static const td_image_box boxes[] = {
        {0, 0, 150, 90}, {0, 0, 1, 1}, {149, 89, 1, 1}, {17, 5, 100, 85}, {0, 31, 150, 20}};
    td_image painted;
    paint(&painted, 150, 90);
    for (int jpeg = 0; jpeg < 2; jpeg++) {
        void *bytes;
        size_t size;
        int64_t width = 0, height = 0;
        cr_assert_eq(jpeg ? td_image_encode_jpeg(&painted, 90, &bytes, &size)
                          : td_image_encode_png(&painted, &bytes, &size),
                     TD_OK, "%s", td_error());
        cr_assert_eq(td_image_sides(bytes, size, &width, &height), TD_OK, "%s", td_error());
        cr_expect(width == 150 && height == 90);
        for (size_t i = 0; i < sizeof boxes / sizeof boxes[0]; i++) {
            td_image whole, part, wanted;
            const td_image_box *box = &boxes[i];
            cr_assert_eq(td_image_decode(bytes, size, &whole), TD_OK, "%s", td_error());
            cr_assert_eq(td_image_decode_box(bytes, size, box, 64, &part), TD_OK);
            cr_assert_eq(td_image_create(box->width, box->height, &wanted), TD_OK);
            for (int64_t y = 0; y < box->height; y++) {
                memcpy(wanted.pixels + 3 * y * box->width,
                       whole.pixels + 3 * ((box->top + y) * whole.width + box->left),
                       (size_t)(3 * box->width));
            }
            cr_expect(same_pixels(&part, &wanted), "box %zu", i);
            td_image_destroy(&whole);
            td_image_destroy(&part);
            td_image_destroy(&wanted);
        }
        cr_expect_eq(td_image_sides(bytes, 20, &width, &height), TD_EINPUT);
        td_free(bytes);
    }
    td_image_destroy(&painted);
}

static int64_t nearest(int64_t edge, int64_t grid) {
    return (edge + grid / 2) / grid * grid;
}

/* How far a box decoded on the way to 64 x 64 is from the box of the whole picture whose edges are
 * the nearest multiples of `reduction`, and that it was decoded at that. */
static distance measure_box(const void *bytes, size_t size, const td_image_box *box,
                            int64_t reduction) {
    td_image whole, part, small, same;
    td_image_box moved = {nearest(box->left, reduction), nearest(box->top, reduction), 0, 0};
    moved.width = nearest(box->left + box->width, reduction) - moved.left;
    moved.height = nearest(box->top + box->height, reduction) - moved.top;
    cr_assert_eq(td_image_decode(bytes, size, &whole), TD_OK, "%s", td_error());
    td_image_crop(&whole, &moved);
    cr_assert_eq(td_image_decode_box(bytes, size, box, 64, &part), TD_OK, "%s", td_error());
    cr_expect_eq(part.width * reduction, moved.width, "%lld of %lld at 1/%lld",
                 (long long)part.width, (long long)box->width, (long long)reduction);
    cr_expect_eq(part.height * reduction, moved.height);
    cr_assert_eq(td_image_resize_bicubic(&whole, 64, 64, &small), TD_OK);
    cr_assert_eq(td_image_resize_bicubic(&part, 64, 64, &same), TD_OK);
    distance out = between(&small, &same);
    td_image_destroy(&whole);
    td_image_destroy(&part);
    td_image_destroy(&small);
    td_image_destroy(&same);
    return out;
}

/* The sides of the box decide, not those of the picture, which is 800 x 768 and alone would be
 * decoded at 1/4. */
Test(image_reduced, a_box_decides_for_itself) {
    static const struct {
        td_image_box box;
        int64_t reduction;
    } rows[] = {
        {{0, 0, 800, 768}, 4},     {{16, 0, 768, 768}, 4},    {{3, 1, 790, 766}, 4},
        {{3, 1, 760, 766}, 2},     {{200, 300, 400, 384}, 2}, {{201, 301, 399, 385}, 2},
        {{100, 100, 380, 600}, 1}, {{100, 100, 600, 380}, 1}, {{5, 7, 64, 64}, 1},
    };
    td_image painted;
    void *bytes;
    size_t size;
    paint(&painted, 800, 768);
    cr_assert_eq(td_image_encode_jpeg(&painted, 90, &bytes, &size), TD_OK, "%s", td_error());
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        distance far = measure_box(bytes, size, &rows[i].box, rows[i].reduction);
        bool reduced = rows[i].reduction > 1;
        cr_expect(far.mean <= (reduced ? 0.43 : 0) && far.most <= (reduced ? 3 : 0),
                  "row %zu: %g, at most %d", i, far.mean, far.most);
    }
    td_image_destroy(&painted);
    td_free(bytes);
}

/* A cut file is no picture at any scale. */
Test(image_reduced, cut_files_are_refused) {
    td_image painted, out = {0};
    void *bytes;
    size_t size;
    paint(&painted, 512, 512);
    cr_assert_eq(td_image_encode_jpeg(&painted, 90, &bytes, &size), TD_OK, "%s", td_error());
    cr_expect_eq(td_image_decode_toward(bytes, size * 2 / 3, 64, &out), TD_EINPUT);
    cr_expect_null(out.pixels);
    td_image_box box = {0, 0, 400, 400};
    cr_expect_eq(td_image_decode_box(bytes, size * 2 / 3, &box, 64, &out), TD_EINPUT);
    cr_expect_null(out.pixels);
    td_image_destroy(&painted);
    td_free(bytes);
}
