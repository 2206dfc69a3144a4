/* SPDX-License-Identifier: Apache-2.0 */
#include "data/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <spng.h>
#include <turbojpeg.h>

#include "base/memory.h"
#include "base/rng.h"

enum { WIDTH = 13, HEIGHT = 11, N_PIXELS = WIDTH * HEIGHT };

/* Every pair of colour type and bit depth that PNG has. */
typedef struct kind {
    int type, depth, channels;
} kind;

static const kind kinds[] = {
    {SPNG_COLOR_TYPE_GRAYSCALE, 1, 1},        {SPNG_COLOR_TYPE_GRAYSCALE, 2, 1},
    {SPNG_COLOR_TYPE_GRAYSCALE, 4, 1},        {SPNG_COLOR_TYPE_GRAYSCALE, 8, 1},
    {SPNG_COLOR_TYPE_GRAYSCALE, 16, 1},       {SPNG_COLOR_TYPE_TRUECOLOR, 8, 3},
    {SPNG_COLOR_TYPE_TRUECOLOR, 16, 3},       {SPNG_COLOR_TYPE_INDEXED, 1, 1},
    {SPNG_COLOR_TYPE_INDEXED, 2, 1},          {SPNG_COLOR_TYPE_INDEXED, 4, 1},
    {SPNG_COLOR_TYPE_INDEXED, 8, 1},          {SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, 8, 2},
    {SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, 16, 2}, {SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, 8, 4},
    {SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, 16, 4}};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* A PNG in the making: samples as numbers, and what each pixel should decode to. */
typedef struct sketch {
    kind kind;
    bool transparent; /* a tRNS chunk, for the types that can have one */
    uint16_t samples[N_PIXELS * 4];
    struct spng_plte palette;
    struct spng_trns trns;
    unsigned char expected[N_PIXELS * 3];
} sketch;

static int over_white(int level, int alpha) {
    return (int)((level * alpha + 255.0 * (255 - alpha)) / 255.0 + 0.5);
}

static int to_8_bits(int sample, int depth) {
    return depth == 16 ? sample >> 8 : sample * 255 / ((1 << depth) - 1);
}

static void expect_pixel(sketch *s, int i) {
    const uint16_t *sample = s->samples + i * s->kind.channels;
    const uint16_t *key = s->kind.type == SPNG_COLOR_TYPE_GRAYSCALE ? &s->trns.gray : &s->trns.red;
    int n_colours =
        s->kind.type == SPNG_COLOR_TYPE_GRAYSCALE || s->kind.type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA
            ? 1
            : 3;
    int alpha = 255, rgb[3];
    if (s->kind.type == SPNG_COLOR_TYPE_INDEXED) {
        const struct spng_plte_entry *entry = &s->palette.entries[sample[0]];
        rgb[0] = entry->red;
        rgb[1] = entry->green;
        rgb[2] = entry->blue;
        alpha = s->transparent && sample[0] < s->trns.n_type3_entries
                    ? s->trns.type3_alpha[sample[0]]
                    : 255;
    } else {
        bool is_key = s->transparent;
        for (int c = 0; c < 3; c++) {
            int from = n_colours == 1 ? 0 : c;
            rgb[c] = to_8_bits(sample[from], s->kind.depth);
            is_key = is_key && sample[from] == key[n_colours == 1 ? 0 : c];
        }
        alpha = s->kind.channels > n_colours ? to_8_bits(sample[n_colours], s->kind.depth)
                : is_key                     ? 0
                                             : 255;
    }
    for (int c = 0; c < 3; c++) {
        s->expected[3 * i + c] = (unsigned char)over_white(rgb[c], alpha);
    }
}

static void draw_sketch(sketch *s, const kind *of, bool transparent) {
    td_rng rng = td_rng_make(5, TD_PURPOSE_TEST, 1);
    uint32_t mask = (1U << of->depth) - 1;
    *s = (sketch){.kind = *of, .transparent = transparent};
    for (int i = 0; i < N_PIXELS * of->channels; i++) {
        s->samples[i] = (uint16_t)(td_rng_u32(&rng) & mask);
    }
    s->palette.n_entries = of->depth <= 8 ? 1U << of->depth : 0;
    for (uint32_t i = 0; i < s->palette.n_entries; i++) {
        s->palette.entries[i] =
            (struct spng_plte_entry){(uint8_t)(i * 37), (uint8_t)(255 - i), (uint8_t)(i * 91), 0};
        s->trns.type3_alpha[i] = (uint8_t)(i * 53);
    }
    s->trns.n_type3_entries = (s->palette.n_entries + 1) / 2;
    s->trns.gray = s->trns.red = s->samples[0];
    s->trns.green = s->samples[1];
    s->trns.blue = s->samples[2];
    for (int i = 0; i < N_PIXELS; i++) {
        expect_pixel(s, i);
    }
}

/* Samples packed as PNG has them: big-endian, rows padded to whole bytes. */
static size_t pack(const sketch *s, unsigned char *out) {
    size_t row_bytes = ((size_t)(WIDTH * s->kind.channels * s->kind.depth) + 7) / 8;
    memset(out, 0, row_bytes * HEIGHT);
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH * s->kind.channels; x++) {
            int sample = s->samples[y * WIDTH * s->kind.channels + x], bit = x * s->kind.depth;
            unsigned char *byte = out + row_bytes * (size_t)y + bit / 8;
            if (s->kind.depth == 16) {
                byte[0] = (unsigned char)(sample >> 8);
                byte[1] = (unsigned char)sample;
            } else {
                *byte |= (unsigned char)(sample << (8 - s->kind.depth - bit % 8));
            }
        }
    }
    return row_bytes * HEIGHT;
}

static void *encode_sketch(const sketch *s, bool interlaced, size_t *size) {
    unsigned char packed[N_PIXELS * 8];
    int error = 0;
    spng_ctx *png = spng_ctx_new(SPNG_CTX_ENCODER);
    struct spng_ihdr header = {WIDTH, HEIGHT,    (uint8_t)s->kind.depth, (uint8_t)s->kind.type, 0,
                               0,     interlaced};
    struct spng_plte palette = s->palette;
    struct spng_trns trns = s->trns;
    spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1);
    cr_assert_eq(spng_set_ihdr(png, &header), 0);
    if (s->kind.type == SPNG_COLOR_TYPE_INDEXED) {
        cr_assert_eq(spng_set_plte(png, &palette), 0);
    }
    if (s->transparent) {
        cr_assert_eq(spng_set_trns(png, &trns), 0);
    }
    error = spng_encode_image(png, packed, pack(s, packed), SPNG_FMT_RAW, SPNG_ENCODE_FINALIZE);
    cr_assert_eq(error, 0, "%s", spng_strerror(error));
    void *bytes = spng_get_png_buffer(png, size, &error);
    spng_ctx_free(png);
    return bytes;
}

static int kind_numbers[N_KINDS];

ParameterizedTestParameters(image, png_of_every_kind) {
    for (int i = 0; i < N_KINDS; i++) {
        kind_numbers[i] = i;
    }
    return cr_make_param_array(int, kind_numbers, N_KINDS);
}

ParameterizedTest(int *number, image, png_of_every_kind) {
    const kind *of = &kinds[*number];
    for (int variant = 0; variant < 4; variant++) {
        bool interlaced = variant % 2 != 0, transparent = variant / 2 != 0;
        if (transparent && of->channels % 2 == 0) {
            continue; /* has an alpha channel already */
        }
        sketch s;
        size_t size = 0;
        draw_sketch(&s, of, transparent);
        void *bytes = encode_sketch(&s, interlaced, &size);
        td_image image = {0};
        cr_assert_eq(td_image_decode(bytes, size, &image), TD_OK, "%s", td_error());
        cr_expect_eq(image.width, WIDTH);
        cr_expect_eq(image.height, HEIGHT);
        cr_expect_arr_eq(image.pixels, s.expected, sizeof s.expected,
                         "type %d, %d bits, interlaced %d, tRNS %d", of->type, of->depth,
                         interlaced, transparent);
        td_image_destroy(&image);
        free(bytes);
    }
}

/* A picture with gentle slopes and one edge, as photographs have. */
static td_image slopes(int64_t width, int64_t height) {
    td_image image;
    cr_assert_eq(td_image_create(width, height, &image), TD_OK);
    for (int64_t i = 0; i < width * height; i++) {
        int64_t x = i % width, y = i / width;
        image.pixels[3 * i] = (unsigned char)(40 + 150 * x / width);
        image.pixels[3 * i + 1] = (unsigned char)(220 - 180 * y / height);
        image.pixels[3 * i + 2] = (unsigned char)(2 * x < width ? 60 : 160);
    }
    return image;
}

static int largest_difference(const unsigned char *a, const unsigned char *b, int64_t n) {
    int largest = 0;
    for (int64_t i = 0; i < n; i++) {
        largest = abs(a[i] - b[i]) > largest ? abs(a[i] - b[i]) : largest;
    }
    return largest;
}

Test(image, png_round_trip) {
    td_image in = slopes(33, 21), out = {0};
    void *bytes;
    size_t size;
    cr_assert_eq(td_image_encode_png(&in, &bytes, &size), TD_OK, "%s", td_error());
    cr_assert_eq(td_image_decode(bytes, size, &out), TD_OK, "%s", td_error());
    cr_assert_eq(out.width, 33);
    cr_assert_eq(out.height, 21);
    cr_expect_arr_eq(out.pixels, in.pixels, 3 * 33 * 21);
    td_image_destroy(&in);
    td_image_destroy(&out);
    td_free(bytes);
}

Test(image, jpeg_round_trip) {
    td_image in = slopes(64, 48), out = {0};
    void *bytes;
    size_t size;
    cr_assert_eq(td_image_encode_jpeg(&in, 95, &bytes, &size), TD_OK, "%s", td_error());
    cr_assert_eq(td_image_decode(bytes, size, &out), TD_OK, "%s", td_error());
    cr_assert_eq(out.width, 64);
    cr_assert_eq(out.height, 48);
    /* The blue edge lies between two halved chroma samples; elsewhere quality 95 stays within a few
     * levels. */
    cr_expect_leq(largest_difference(in.pixels, out.pixels, 3 * 64 * 48), 40);
    double sum = 0.0;
    for (int64_t i = 0; i < 3 * 64 * 48; i++) {
        sum += abs(in.pixels[i] - out.pixels[i]);
    }
    cr_expect(!(sum / (3 * 64 * 48) > 2.0), "mean difference %g", sum / (3 * 64 * 48));
    td_image_destroy(&in);
    td_image_destroy(&out);
    td_free(bytes);
}

/* Encodes flat colour: pixels of one format, all alike. */
static unsigned char *flat_jpeg(const unsigned char *pixel, int channels, int format,
                                int subsampling, unsigned long *size) {
    unsigned char *pixels = td_alloc((size_t)(16 * 16 * channels)), *bytes = NULL;
    for (int i = 0; i < 16 * 16; i++) {
        memcpy(pixels + i * channels, pixel, (size_t)channels);
    }
    tjhandle jpeg = tjInitCompress();
    cr_assert_eq(tjCompress2(jpeg, pixels, 16, 0, 16, format, &bytes, size, subsampling, 98, 0), 0);
    tjDestroy(jpeg);
    td_free(pixels);
    return bytes;
}

Test(image, grey_jpeg) {
    unsigned long size = 0;
    unsigned char level = 77;
    unsigned char *bytes = flat_jpeg(&level, 1, TJPF_GRAY, TJSAMP_GRAY, &size);
    td_image out = {0};
    cr_assert_eq(td_image_decode(bytes, size, &out), TD_OK, "%s", td_error());
    for (int i = 0; i < 3 * 16 * 16; i++) {
        cr_assert_leq(abs(out.pixels[i] - 77), 1);
    }
    td_image_destroy(&out);
    tjFree(bytes);
}

/* Stored as Adobe does, 255 for no ink: full light less what cyan, magenta, yellow and black take.
 */
Test(image, cmyk_jpeg) {
    static const unsigned char inks[][4] = {{255, 255, 255, 255},
                                            {0, 0, 0, 255},
                                            {255, 255, 255, 0},
                                            {255, 0, 0, 255},
                                            {200, 100, 50, 128}};
    static const unsigned char colours[][3] = {
        {255, 255, 255}, {0, 0, 0}, {0, 0, 0}, {255, 0, 0}, {100, 50, 25}};
    for (size_t i = 0; i < sizeof inks / sizeof inks[0]; i++) {
        unsigned long size = 0;
        unsigned char *bytes = flat_jpeg(inks[i], 4, TJPF_CMYK, TJSAMP_444, &size);
        td_image out = {0};
        cr_assert_eq(td_image_decode(bytes, size, &out), TD_OK, "%s", td_error());
        cr_expect_leq(largest_difference(out.pixels, colours[i], 3), 3, "ink %zu gives %d %d %d", i,
                      out.pixels[0], out.pixels[1], out.pixels[2]);
        td_image_destroy(&out);
        tjFree(bytes);
    }
}

static void expect_refusal(const void *bytes, size_t size, const char *reason) {
    td_image out = {0};
    cr_expect_eq(td_image_decode(bytes, size, &out), TD_EINPUT, "%zu bytes", size);
    cr_expect_not_null(strstr(td_error(), reason), "\"%s\" does not say \"%s\"", td_error(),
                       reason);
    cr_expect_null(out.pixels);
}

Test(image, what_is_neither_is_refused) {
    expect_refusal("", 0, "0 bytes");
    expect_refusal("G", 1, "neither PNG nor JPEG");
    expect_refusal("GIF89a", 6, "47 49 46 38");
}

/* Every proper prefix of a JPEG; of a PNG all that lack pixel data (the 12 bytes of IEND carry
 * none). */
Test(image, cut_files_are_refused) {
    td_image in = slopes(40, 24), out = {0};
    void *png, *jpeg;
    size_t png_size, jpeg_size;
    cr_assert_eq(td_image_encode_png(&in, &png, &png_size), TD_OK);
    cr_assert_eq(td_image_encode_jpeg(&in, 90, &jpeg, &jpeg_size), TD_OK);
    for (size_t size = 8; size < png_size - 16; size++) {
        void *exact = td_alloc(size); /* so that a read behind the end is seen */
        memcpy(exact, png, size);
        cr_expect_eq(td_image_decode(exact, size, &out), TD_EINPUT, "%zu of %zu bytes", size,
                     png_size);
        td_free(exact);
    }
    for (size_t size = 3; size < jpeg_size - 2; size++) {
        void *exact = td_alloc(size);
        memcpy(exact, jpeg, size);
        cr_expect_eq(td_image_decode(exact, size, &out), TD_EINPUT, "%zu of %zu bytes", size,
                     jpeg_size);
        td_free(exact);
    }
    td_image_destroy(&in);
    td_free(png);
    td_free(jpeg);
}

static uint32_t crc_of(const unsigned char *bytes, size_t size) {
    uint32_t crc = 0xffffffffU;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320U : 0);
        }
    }
    return ~crc;
}

static void put_32(unsigned char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        at[i] = (unsigned char)(value >> (24 - 8 * i));
    }
}

/* Sides in the header of a PNG or the frame of a JPEG are made larger than the file can be. */
Test(image, forged_sides_are_refused) {
    td_image in = slopes(40, 24);
    void *bytes;
    size_t size;
    cr_assert_eq(td_image_encode_png(&in, &bytes, &size), TD_OK);
    unsigned char *png = bytes;
    static const struct {
        uint32_t width, height;
        const char *reason;
    } sides[] = {{100000, 24, "PNG"},
                 {40000, 40000, "at most"},
                 {8000, 8000, "cannot be held"},
                 {0, 24, "PNG"}};
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
        put_32(png + 16, sides[i].width);
        put_32(png + 20, sides[i].height);
        put_32(png + 29, crc_of(png + 12, 17));
        uint64_t before = td_alloc_count();
        expect_refusal(png, size, sides[i].reason);
        cr_expect_leq(td_alloc_count() - before, 16, "the pixels must not have been allocated");
    }
    td_free(bytes);
    cr_assert_eq(td_image_encode_jpeg(&in, 90, &bytes, &size), TD_OK);
    unsigned char *frame = memmem(bytes, size, "\xff\xc0", 2);
    cr_assert_not_null(frame);
    memset(frame + 5, 0xff, 4);
    expect_refusal(bytes, size, "JPEG");
    td_free(bytes);
    td_image_destroy(&in);
}

/* Whatever the bytes, decoding ends with an image or a reason. */
Test(image, mutated_files_never_crash) {
    td_image in = slopes(24, 24);
    td_rng rng = td_rng_make(11, TD_PURPOSE_TEST, 2);
    int n_refused = 0;
    enum { N = 1500 };
    for (int i = 0; i < N; i++) {
        void *bytes;
        size_t size;
        cr_assert_eq(i % 2 == 0 ? td_image_encode_png(&in, &bytes, &size)
                                : td_image_encode_jpeg(&in, 80, &bytes, &size),
                     TD_OK);
        unsigned char *data = bytes;
        for (int n = 1 + (int)td_rng_below(&rng, 6); n > 0; n--) {
            data[3 + td_rng_below(&rng, size - 3)] = (unsigned char)td_rng_u32(&rng);
        }
        td_image out = {0};
        td_status status = td_image_decode(data, size, &out);
        cr_assert(status == TD_OK || status == TD_EINPUT);
        cr_assert((status == TD_OK) == (out.pixels != NULL));
        n_refused += status != TD_OK;
        td_image_destroy(&out);
        td_free(bytes);
    }
    cr_expect_gt(n_refused, N / 4, "%d of %d refused", n_refused, N);
    td_image_destroy(&in);
}
