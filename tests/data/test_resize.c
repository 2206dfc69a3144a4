/* SPDX-License-Identifier: Apache-2.0 */
#include "data/resize.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "base/text.h"

/* The same bytes as tools/golden_resize.py computes. */
static td_image picture(int64_t width, int64_t height) {
    td_image image;
    cr_assert_eq(td_image_create(width, height, &image), TD_OK);
    for (int64_t i = 0; i < 3 * width * height; i++) {
        int64_t flat = i / 48 % 2 != 0 ? 255 : 0;
        image.pixels[i] = (unsigned char)(i % 5 < 3 ? flat : (i * i * 31 + i * 97) % 256);
    }
    return image;
}

static int hex_digit(char c) {
    return c >= 'a' ? c - 'a' + 10 : c - '0';
}

/* The number of bytes that differ from the golden's hex digits. */
static int64_t count_differences(const td_image *image, const char *hex, size_t digits) {
    int64_t n_bytes = 3 * image->width * image->height, differing = 0;
    cr_assert_eq((int64_t)digits, 2 * n_bytes, "golden of %zu digits", digits);
    for (int64_t i = 0; i < n_bytes; i++) {
        differing += image->pixels[i] != hex_digit(hex[2 * i]) * 16 + hex_digit(hex[2 * i + 1]);
    }
    return differing;
}

/* True when the image's bytes have the hash that `hex` starts. */
static bool has_hash(const td_image *image, const char *hex) {
    char own[TD_SHA256_HEX];
    td_sha256 *sha;
    cr_assert_eq(td_sha256_create(&sha), TD_OK);
    td_sha256_add(sha, image->pixels, (size_t)(3 * image->width * image->height));
    td_sha256_finish(sha, own);
    return strlen(hex) == 16 && strncmp(own, hex, 16) == 0;
}

/* Every row gives the bytes that have the golden's hash. */
static void check_hash(int64_t w, int64_t h, int64_t new_w, int64_t new_h, const char *hex) {
    td_image in = picture(w, h), out;
    for (int isa = TD_ISA_PORTABLE; isa <= (int)td_isa_native() && isa <= TD_ISA_AVX2; isa++) {
        cr_assert_eq(td_image_resize_at(&in, new_w, new_h, (td_isa)isa, &out), TD_OK);
        cr_expect(has_hash(&out, hex), "%s: %" PRId64 " x %" PRId64 " to %" PRId64 " x %" PRId64,
                  td_isa_name((td_isa)isa), w, h, new_w, new_h);
        td_image_destroy(&out);
    }
    td_image_destroy(&in);
}

/* Bit for bit, not within one level: the weights and the roundings are the reference's own. */
Test(resize, equals_pillow) {
    char *text, *rest;
    size_t size;
    int n_resizes = 0, n_fits = 0, n_hashes = 0;
    cr_assert_eq(td_file_read(TD_GOLDEN "/resize_pillow.txt", &text, &size), TD_OK, "%s",
                 td_error());
    rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        char kind[8];
        int64_t w, h, new_w, new_h;
        int hex = 0;
        if (sscanf(line, "%7s %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %n", kind, &w, &h,
                   &new_w, &new_h, &hex) != 5) {
            continue;
        }
        if (strcmp(kind, "sha256") == 0) {
            check_hash(w, h, new_w, new_h, line + hex);
            n_hashes++;
            continue;
        }
        bool fit = strcmp(kind, "fit") == 0;
        td_image in = picture(w, h), out;
        cr_assert_eq(fit ? td_image_fit(&in, new_w, &out)
                         : td_image_resize_bicubic(&in, new_w, new_h, &out),
                     TD_OK);
        cr_expect_eq(count_differences(&out, line + hex, strlen(line + hex)), 0,
                     "%s %" PRId64 " x %" PRId64 " to %" PRId64 " x %" PRId64, kind, w, h, new_w,
                     new_h);
        n_fits += fit;
        n_resizes += !fit;
        td_image_destroy(&in);
        td_image_destroy(&out);
    }
    cr_expect_eq(n_hashes, 300);
    cr_expect_eq(n_resizes, 13);
    cr_expect_eq(n_fits, 9);
    td_free(text);
}

Test(resize, one_colour_stays_one_colour) {
    td_image in, out;
    cr_assert_eq(td_image_create(37, 23, &in), TD_OK);
    memset(in.pixels, 201, 3 * 37 * 23);
    cr_assert_eq(td_image_resize_bicubic(&in, 90, 5, &out), TD_OK);
    for (int64_t i = 0; i < 3 * 90 * 5; i++) {
        cr_assert_eq(out.pixels[i], 201);
    }
    td_image_destroy(&in);
    td_image_destroy(&out);
}

/* What is outside the crop is not computed, and what is inside is as if it were. */
Test(resize, fit_is_resize_and_crop) {
    td_image in = picture(90, 41), whole, fitted;
    cr_assert_eq(td_image_resize_shortest(&in, 16, &whole), TD_OK);
    cr_assert_eq(whole.width, 16 * 90 / 41);
    cr_assert_eq(whole.height, 16);
    cr_assert_eq(td_image_fit(&in, 16, &fitted), TD_OK);
    int64_t left = 10; /* a margin of 19: 9.5 goes to the even 10 */
    cr_assert_eq(whole.width - 16, 19);
    for (int64_t y = 0; y < 16; y++) {
        cr_expect_arr_eq(fitted.pixels + 3 * 16 * y, whole.pixels + 3 * (whole.width * y + left),
                         3 * 16);
    }
    td_image_destroy(&in);
    td_image_destroy(&whole);
    td_image_destroy(&fitted);
}

Test(resize, extreme_shapes_cost_no_memory) {
    td_image in = picture(1, 60000), out = {0};
    cr_assert_eq(td_image_fit(&in, 224, &out), TD_OK, "%s", td_error());
    cr_expect_eq(out.width, 224);
    cr_expect_eq(out.height, 224);
    td_image_destroy(&out);
    cr_expect_eq(td_image_resize_shortest(&in, 224, &out), TD_EINPUT);
    cr_expect_not_null(strstr(td_error(), "224 x 13440000"), "%s", td_error());
    td_image_destroy(&in);
}

Test(resize, sizes_are_checked) {
    td_image in = picture(4, 4), out = {0};
    cr_expect_eq(td_image_resize_bicubic(&in, 0, 4, &out), TD_EUSAGE);
    cr_expect_eq(td_image_resize_bicubic(&in, 4, TD_IMAGE_SIDE_MAX + 1, &out), TD_EUSAGE);
    cr_expect_eq(td_image_fit(&in, -1, &out), TD_EUSAGE);
    cr_expect_eq(td_image_resize_bicubic(&in, 60000, 60000, &out), TD_EINPUT);
    cr_expect_null(out.pixels);
    td_image_destroy(&in);
}

/* The pixels of small pictures end where a page does that nobody may read. */
Test(resize, reads_nothing_behind_the_last_pixel) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *pages =
        mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    td_isa isa;
    cr_assert(pages != MAP_FAILED && mprotect(pages + page, page, PROT_NONE) == 0);
    cr_assert_eq(td_isa_active(&isa), TD_OK);
    for (int64_t width = 1; width <= 12; width++) {
        for (int64_t height = 1; height <= 6; height++) {
            td_image in = {width, height, pages + page - 3 * width * height}, want = {0}, got = {0};
            for (int64_t i = 0; i < 3 * width * height; i++) {
                in.pixels[i] = (unsigned char)(37 * i + 11 * width + height);
            }
            cr_assert_eq(td_image_resize_at(&in, 9, 7, TD_ISA_PORTABLE, &want), TD_OK);
            cr_assert_eq(td_image_resize_at(&in, 9, 7, isa, &got), TD_OK);
            cr_expect_eq(memcmp(want.pixels, got.pixels, (size_t)(3 * 9 * 7)), 0,
                         "%" PRId64 " x %" PRId64, width, height);
            td_image_destroy(&want);
            td_image_destroy(&got);
        }
    }
    munmap(pages, 2 * page);
}

/* Against the same in f64: three f32 operations, each off by at most half an ULP of values below 3.
 */
Test(resize, normalises_with_clips_constants) {
    static const double mean[3] = {0.48145466, 0.4578275, 0.40821073};
    static const double deviation[3] = {0.26862954, 0.26130258, 0.27577711};
    td_image in;
    float out[3 * 256];
    cr_assert_eq(td_image_create(16, 16, &in), TD_OK);
    for (int i = 0; i < 256; i++) {
        in.pixels[3 * i] = (unsigned char)i;
        in.pixels[3 * i + 1] = (unsigned char)(255 - i);
        in.pixels[3 * i + 2] = (unsigned char)(i ^ 0x55);
    }
    td_image_normalise(&in, out);
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < 256; i++) {
            double exact = (in.pixels[3 * i + c] / 255.0 - mean[c]) / deviation[c];
            cr_assert(!(fabs(out[256 * c + i] - exact) > 6e-7), "channel %d level %d: %g for %g", c,
                      in.pixels[3 * i + c], (double)out[256 * c + i], exact);
        }
    }
    td_image_destroy(&in);
}
