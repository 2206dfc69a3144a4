/* SPDX-License-Identifier: Apache-2.0
 * Images in memory, as 8-bit RGB: decoded from PNG and JPEG, encoded to both. Whatever the bytes
 * are, decoding ends with an image or with TD_EINPUT and a reason.
 */
#ifndef TD_DATA_IMAGE_H
#define TD_DATA_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Checked against the header before anything is allocated. 2^26 pixels decode in 256 MiB;
 * photographs and clip art are far below, what is above is an accident or an attack. */
enum { TD_IMAGE_SIDE_MAX = 65535, TD_IMAGE_PIXELS_MAX = 1 << 26 };

/* pixels: height rows of width RGB triples, no padding. Zero-initialise to start; owned by whoever
 * called. */
typedef struct td_image {
    int64_t width, height;
    unsigned char *pixels;
} td_image;

/* Columns [left, left + width), rows [top, top + height) of a picture. */
typedef struct td_image_box {
    int64_t left, top, width, height;
} td_image_box;

/* All pixels zero. Sides outside [1, TD_IMAGE_SIDE_MAX] or too many pixels are TD_EINPUT. */
td_status td_image_create(int64_t width, int64_t height, td_image *out);
void td_image_destroy(td_image *image);

/* Keeps the pixels of the box, which lies in the image, and gives the other memory back. */
void td_image_crop(td_image *image, const td_image_box *box);

/* PNG: every colour type and bit depth; 16-bit samples keep their high byte; transparency is laid
 * over white. Gamma and colour profiles are ignored. JPEG: grey, YCbCr, RGB, CMYK and YCCK (as
 * Adobe stores them, inverted); the EXIF orientation is ignored. A file that ends early or whose
 * data do not decode to the end is TD_EINPUT, not a partly grey image. */
td_status td_image_decode(const void *bytes, size_t size, td_image *out);

/* The same, of an image whose shortest side will be brought down to `shortest` at once: a JPEG is
 * decoded at 1/2, 1/4 or 1/8, the smallest that leaves TD_IMAGE_MARGIN times that side and divides
 * both sides. Its transform then averages what the filter of the resize would: small pictures
 * differ by 0.2 to 0.3 levels in the mean and 2 at most, which is what rounding to 8 bits once more
 * comes to (margin 2: 0.4 to 0.6, and 4). A remainder would shift the picture.
 */
enum { TD_IMAGE_MARGIN = 3 };
td_status td_image_decode_toward(const void *bytes, size_t size, int64_t shortest, td_image *out);

/* What the header says, without decoding. */
td_status td_image_sides(const void *bytes, size_t size, int64_t *width, int64_t *height);

/* The pixels of a box of the whole picture, each of whose sides will be brought down to `side` at
 * once. Of a JPEG the same scales are allowed, by the sides of the box; at 1/k its edges are moved
 * to the nearest pixels of the reduced picture. That is at most k/2, where the box has 3 * k pixels
 * for each of the result: a sixth of one of those. */
td_status td_image_decode_box(const void *bytes, size_t size, const td_image_box *box, int64_t side,
                              td_image *out);

/* The encoded bytes are freed with td_free. quality: 1 to 100; chroma is halved in both directions
 * (4:2:0). */
td_status td_image_encode_png(const td_image *image, void **bytes, size_t *size);
td_status td_image_encode_jpeg(const td_image *image, int quality, void **bytes, size_t *size);

#endif
