/* SPDX-License-Identifier: Apache-2.0 */
#include "data/image.h"

#include <limits.h>
#include <spng.h>
#include <stdbool.h>
#include <string.h>
#include <turbojpeg.h>

#include "base/memory.h"

static td_status check_sides(const char *what, int64_t width, int64_t height) {
    if (width < 1 || height < 1 || width > TD_IMAGE_SIDE_MAX || height > TD_IMAGE_SIDE_MAX ||
        width * height > TD_IMAGE_PIXELS_MAX) {
        return td_fail(TD_EINPUT,
                       "%s of %lld x %lld pixels: sides must be 1 to %d, pixels at most %d", what,
                       (long long)width, (long long)height, TD_IMAGE_SIDE_MAX, TD_IMAGE_PIXELS_MAX);
    }
    return TD_OK;
}

static td_status alloc_pixels(int64_t width, int64_t height, size_t channels, unsigned char **out) {
    size_t bytes = (size_t)width * (size_t)height * channels;
    *out = td_alloc_zero(bytes);
    if (*out == NULL) {
        return td_fail(TD_ENOMEM, "%zu bytes for an image of %lld x %lld", bytes, (long long)width,
                       (long long)height);
    }
    return TD_OK;
}

td_status td_image_create(int64_t width, int64_t height, td_image *out) {
    unsigned char *pixels = NULL;
    TD_TRY(check_sides("image", width, height));
    TD_TRY(alloc_pixels(width, height, 3, &pixels));
    *out = (td_image){.width = width, .height = height, .pixels = pixels};
    return TD_OK;
}

void td_image_destroy(td_image *image) {
    td_free(image->pixels);
    *image = (td_image){0};
}

/* Gives the tail of a buffer back; keeping the larger block when that fails is no error. */
static unsigned char *shrink(unsigned char *block, size_t bytes) {
    unsigned char *smaller = td_realloc(block, bytes);
    return smaller != NULL ? smaller : block;
}

void td_image_crop(td_image *image, const td_image_box *box) {
    TD_ASSERT(box->left >= 0 && box->top >= 0 && box->width >= 1 && box->height >= 1 &&
              box->left <= image->width - box->width && box->top <= image->height - box->height);
    if (box->width == image->width && box->height == image->height) {
        return;
    }
    size_t row_bytes = 3 * (size_t)box->width;
    for (int64_t y = 0; y < box->height; y++) { /* never behind what is still to be read */
        memmove(image->pixels + (size_t)y * row_bytes,
                image->pixels + 3 * ((box->top + y) * image->width + box->left), row_bytes);
    }
    image->pixels = shrink(image->pixels, (size_t)box->height * row_bytes);
    image->width = box->width;
    image->height = box->height;
}

/* round(a * b / 255) for a, b in 0..255, without a division. */
static unsigned mul_255(unsigned a, unsigned b) {
    unsigned product = a * b + 128;
    return (product + (product >> 8)) >> 8;
}

/* In place: pixel i is read from 4i and written to 3i, which is never ahead. */
static void rgba_over_white(unsigned char *pixels, size_t n_pixels) {
    for (size_t i = 0; i < n_pixels; i++) {
        const unsigned char *from = pixels + 4 * i;
        unsigned alpha = from[3];
        unsigned rest = 255 * (255 - alpha);
        for (size_t c = 0; c < 3; c++) {
            pixels[3 * i + c] = (unsigned char)((from[c] * alpha + rest + 127) / 255);
        }
    }
}

/* In place. Adobe stores inks inverted, 255 = none, and every writer of CMYK JPEG follows it, so
 * red is the share of light that passes cyan and black. */
static void cmyk_to_rgb(unsigned char *pixels, size_t n_pixels) {
    for (size_t i = 0; i < n_pixels; i++) {
        const unsigned char *from = pixels + 4 * i;
        unsigned light = from[3];
        for (size_t c = 0; c < 3; c++) {
            pixels[3 * i + c] = (unsigned char)(light - mul_255(255 - from[c], light));
        }
    }
}

static void *spng_calloc(size_t count, size_t bytes) {
    if (bytes != 0 && count > SIZE_MAX / bytes) {
        return NULL;
    }
    return td_alloc_zero(count * bytes);
}

static struct spng_alloc spng_memory(void) {
    return (struct spng_alloc){.malloc_fn = td_alloc,
                               .realloc_fn = td_realloc,
                               .calloc_fn = spng_calloc,
                               .free_fn = td_free};
}

static td_status png_fail(const char *doing, int error) {
    return td_fail(error == SPNG_EMEM ? TD_ENOMEM : TD_EINPUT, "PNG: %s: %s", doing,
                   spng_strerror(error));
}

/* Deflate cannot expand by more than 1032, so a header that promises more than the file could hold
 * is refused before its pixels are allocated. */
enum { DEFLATE_EXPANSION_MAX = 1032, PNG_CHUNK_MAX = 64 << 20 };

static td_status png_header(spng_ctx *png, const void *bytes, size_t size,
                            struct spng_ihdr *header) {
    spng_set_image_limits(png, TD_IMAGE_SIDE_MAX, TD_IMAGE_SIDE_MAX);
    spng_set_chunk_limits(png, PNG_CHUNK_MAX, PNG_CHUNK_MAX);
    spng_set_crc_action(png, SPNG_CRC_ERROR, SPNG_CRC_DISCARD);
    int error = spng_set_png_buffer(png, bytes, size);
    if (error != 0) {
        return png_fail("open", error);
    }
    error = spng_get_ihdr(png, header);
    if (error != 0) {
        return png_fail("header", error);
    }
    TD_TRY(check_sides("PNG", header->width, header->height));
    size_t raw_bytes = 0;
    error = spng_decoded_image_size(png, SPNG_FMT_PNG, &raw_bytes);
    if (error != 0) {
        return png_fail("size", error);
    }
    if (raw_bytes / DEFLATE_EXPANSION_MAX > size) {
        return td_fail(TD_EINPUT,
                       "PNG of %u x %u pixels cannot be held by %zu bytes: it is cut or forged",
                       header->width, header->height, size);
    }
    return TD_OK;
}

static td_status png_pixels(spng_ctx *png, const struct spng_ihdr *header, td_image *out) {
    size_t n_pixels = (size_t)header->width * header->height;
    unsigned char *pixels = NULL;
    TD_TRY(alloc_pixels(header->width, header->height, 4, &pixels));
    int error = spng_decode_image(png, pixels, 4 * n_pixels, SPNG_FMT_RGBA8, SPNG_DECODE_TRNS);
    if (error != 0) {
        td_free(pixels);
        return png_fail("pixels", error);
    }
    rgba_over_white(pixels, n_pixels);
    *out = (td_image){
        .width = header->width, .height = header->height, .pixels = shrink(pixels, 3 * n_pixels)};
    return TD_OK;
}

/* out: NULL when only the sides are asked for. */
static td_status read_png(const void *bytes, size_t size, td_image_box *sides, td_image *out) {
    struct spng_alloc memory = spng_memory();
    spng_ctx *png = spng_ctx_new2(&memory, 0);
    if (png == NULL) {
        return td_fail(TD_ENOMEM, "PNG: no memory for a decoder");
    }
    struct spng_ihdr header;
    td_status status = png_header(png, bytes, size, &header);
    if (status == TD_OK && out != NULL) {
        status = png_pixels(png, &header, out);
    }
    if (status == TD_OK) {
        *sides = (td_image_box){.width = header.width, .height = header.height};
    }
    spng_ctx_free(png);
    return status;
}

/* Stray bytes between segments lose nothing and occur in files every viewer shows; any other
 * warning of the decoder means that pixels were made up. */
static bool jpeg_warning_is_harmless(tjhandle jpeg) {
    return tjGetErrorCode(jpeg) == TJERR_WARNING &&
           strstr(tjGetErrorStr2(jpeg), "extraneous bytes") != NULL;
}

/* A box in a picture at 1/by of its size: its edges at the nearest pixels there. */
static td_image_box reduce_box(const td_image_box *box, int64_t by) {
    int64_t left = (box->left + by / 2) / by, top = (box->top + by / 2) / by;
    return (td_image_box){.left = left,
                          .top = top,
                          .width = (box->left + box->width + by / 2) / by - left,
                          .height = (box->top + box->height + by / 2) / by - top};
}

/* By how much the decoder may reduce a picture of which the box is brought to `side`; 0 pixels mean
 * that it stays as it is. */
static int reduction_toward(int width, int height, const td_image_box *box, int64_t side) {
    int by = 1;
    while (side > 0 && by < 8 && width % (2 * by) == 0 && height % (2 * by) == 0) {
        td_image_box part = reduce_box(box, 2 * by);
        if (part.width < TD_IMAGE_MARGIN * side || part.height < TD_IMAGE_MARGIN * side) {
            break;
        }
        by *= 2;
    }
    return by;
}

typedef struct jpeg_header {
    int width, height, space;
} jpeg_header;

static td_status read_jpeg_header(tjhandle jpeg, const void *bytes, size_t size, jpeg_header *out) {
    int subsampling = 0;
    *out = (jpeg_header){0};
    if (tjDecompressHeader3(jpeg, bytes, size, &out->width, &out->height, &subsampling,
                            &out->space) != 0 &&
        !jpeg_warning_is_harmless(jpeg)) {
        return td_fail(TD_EINPUT, "JPEG: header: %s", tjGetErrorStr2(jpeg));
    }
    return check_sides("JPEG", out->width, out->height);
}

static td_status jpeg_pixels(tjhandle jpeg, const void *bytes, size_t size,
                             const jpeg_header *header, int by, td_image *out) {
    /* The decoder takes the scale that gives these sides. */
    int width = header->width / by, height = header->height / by;
    bool inks = header->space == TJCS_CMYK || header->space == TJCS_YCCK;
    size_t n_pixels = (size_t)width * (size_t)height;
    unsigned char *pixels = NULL;
    TD_TRY(alloc_pixels(width, height, inks ? 4 : 3, &pixels));
    /* The accurate transform is the one whose vector versions equal its C version bit for bit. The
     * scan limit stops a small progressive file from costing minutes. */
    int flags = TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS;
    if (tjDecompress2(jpeg, bytes, size, pixels, width, 0, height, inks ? TJPF_CMYK : TJPF_RGB,
                      flags) != 0 &&
        !jpeg_warning_is_harmless(jpeg)) {
        td_free(pixels);
        return td_fail(TD_EINPUT, "JPEG: pixels: %s", tjGetErrorStr2(jpeg));
    }
    if (inks) {
        cmyk_to_rgb(pixels, n_pixels);
        pixels = shrink(pixels, 3 * n_pixels);
    }
    *out = (td_image){.width = width, .height = height, .pixels = pixels};
    return TD_OK;
}

/* part: of the picture, the box that is brought to `side`, or NULL for all of it; out: NULL when
 * only the sides are asked for. */
static td_status read_jpeg(const void *bytes, size_t size, const td_image_box *part, int64_t side,
                           td_image_box *sides, td_image *out) {
    tjhandle jpeg = tjInitDecompress();
    if (jpeg == NULL) {
        return td_fail(TD_ENOMEM, "JPEG: no memory for a decoder");
    }
    jpeg_header header;
    td_status status = read_jpeg_header(jpeg, bytes, size, &header);
    if (status == TD_OK) {
        *sides = (td_image_box){.width = header.width, .height = header.height};
    }
    if (status == TD_OK && out != NULL) {
        part = part == NULL ? sides : part;
        int by = reduction_toward(header.width, header.height, part, side);
        status = jpeg_pixels(jpeg, bytes, size, &header, by, out);
        if (status == TD_OK) {
            td_image_box reduced = reduce_box(part, by);
            td_image_crop(out, &reduced);
        }
    }
    tjDestroy(jpeg);
    return status;
}

static td_status read_image(const void *bytes, size_t size, const td_image_box *part, int64_t side,
                            td_image_box *sides, td_image *out) {
    static const unsigned char png_start[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const unsigned char jpeg_start[3] = {0xff, 0xd8, 0xff};
    if (size >= sizeof png_start && memcmp(bytes, png_start, sizeof png_start) == 0) {
        TD_TRY(read_png(bytes, size, sides, out));
        if (out != NULL && part != NULL) {
            td_image_crop(out, part);
        }
        return TD_OK;
    }
    if (size >= sizeof jpeg_start && memcmp(bytes, jpeg_start, sizeof jpeg_start) == 0) {
        return read_jpeg(bytes, size, part, side, sides, out);
    }
    unsigned char start[4] = {0};
    if (size > 0) {
        memcpy(start, bytes, size < sizeof start ? size : sizeof start);
    }
    return td_fail(TD_EINPUT, "neither PNG nor JPEG: %zu bytes that start with %02x %02x %02x %02x",
                   size, start[0], start[1], start[2], start[3]);
}

td_status td_image_decode(const void *bytes, size_t size, td_image *out) {
    return td_image_decode_toward(bytes, size, 0, out);
}

td_status td_image_decode_toward(const void *bytes, size_t size, int64_t shortest, td_image *out) {
    td_image_box sides;
    return read_image(bytes, size, NULL, shortest, &sides, out);
}

td_status td_image_sides(const void *bytes, size_t size, int64_t *width, int64_t *height) {
    td_image_box sides;
    TD_TRY(read_image(bytes, size, NULL, 0, &sides, NULL));
    *width = sides.width;
    *height = sides.height;
    return TD_OK;
}

td_status td_image_decode_box(const void *bytes, size_t size, const td_image_box *box, int64_t side,
                              td_image *out) {
    td_image_box sides;
    return read_image(bytes, size, box, side, &sides, out);
}

td_status td_image_encode_png(const td_image *image, void **bytes, size_t *size) {
    struct spng_alloc memory = spng_memory();
    spng_ctx *png = spng_ctx_new2(&memory, SPNG_CTX_ENCODER);
    if (png == NULL) {
        return td_fail(TD_ENOMEM, "PNG: no memory for an encoder");
    }
    struct spng_ihdr header = {.width = (uint32_t)image->width,
                               .height = (uint32_t)image->height,
                               .bit_depth = 8,
                               .color_type = SPNG_COLOR_TYPE_TRUECOLOR};
    size_t n_bytes = 3 * (size_t)image->width * (size_t)image->height;
    void *encoded = NULL;
    int error = spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1);
    if (error == 0) {
        error = spng_set_ihdr(png, &header);
    }
    if (error == 0) {
        error = spng_encode_image(png, image->pixels, n_bytes, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    }
    if (error == 0) {
        encoded = spng_get_png_buffer(png, size, &error);
    }
    spng_ctx_free(png);
    if (error != 0) {
        return png_fail("encode", error);
    }
    *bytes = encoded;
    return TD_OK;
}

td_status td_image_encode_jpeg(const td_image *image, int quality, void **bytes, size_t *size) {
    int width = (int)image->width, height = (int)image->height;
    unsigned long used = tjBufSize(width, height, TJSAMP_420);
    unsigned char *buffer = used == ULONG_MAX ? NULL : td_alloc(used);
    tjhandle jpeg = buffer == NULL ? NULL : tjInitCompress();
    if (jpeg == NULL) {
        td_free(buffer);
        return td_fail(TD_ENOMEM, "JPEG: no memory for an encoder of %d x %d pixels", width,
                       height);
    }
    int result = tjCompress2(jpeg, image->pixels, width, 0, height, TJPF_RGB, &buffer, &used,
                             TJSAMP_420, quality, TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT);
    td_status status = TD_OK;
    if (result != 0) {
        status = td_fail(TD_EINPUT, "JPEG: encode %d x %d at quality %d: %s", width, height,
                         quality, tjGetErrorStr2(jpeg));
        td_free(buffer);
    } else {
        *bytes = shrink(buffer, used);
        *size = used;
    }
    tjDestroy(jpeg);
    return status;
}
