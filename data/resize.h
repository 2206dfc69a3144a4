/* SPDX-License-Identifier: Apache-2.0
 * From a decoded image to what an image tower eats, as CLIP's evaluation does it: shortest side to
 * `size` by antialiased bicubic, centre crop, normalise. Bit for bit what Pillow's BICUBIC and
 * torchvision's rounding give.
 */
#ifndef TD_DATA_RESIZE_H
#define TD_DATA_RESIZE_H

#include <stdint.h>

#include "base/cpu.h"
#include "base/status.h"
#include "data/image.h"

/* Antialiased bicubic (a = -0.5; the kernel widens when shrinking), columns first, 8-bit between
 * the passes, weights in 22-bit fixed point. A side that does not change is not filtered. */
td_status td_image_resize_bicubic(const td_image *in, int64_t width, int64_t height, td_image *out);

/* The same by the row of an ISA that this CPU offers; all give the same bytes. */
td_status td_image_resize_at(const td_image *in, int64_t width, int64_t height, td_isa isa,
                             td_image *out);

/* The shortest side becomes size, the other size * long / short rounded down. */
td_status td_image_resize_shortest(const td_image *in, int64_t size, td_image *out);

/* The same, then the centre size x size pixels; only those are computed, so a 1 x 60000 image costs
 * no memory. An odd margin is halved to the even side, as Python's round does. */
td_status td_image_fit(const td_image *in, int64_t size, td_image *out);

/* out: (3, height, width) f32, (v / 255 - mean) / std per channel with the constants CLIP was
 * trained with. */
void td_image_normalise(const td_image *in, float *out);

#endif
