/* SPDX-License-Identifier: Apache-2.0
 * Pictures to decode: like photographs, most of their energy in slow waves, some hard edges, and
 * the noise of a sensor.
 */
#ifndef TD_BENCH_PHOTO_H
#define TD_BENCH_PHOTO_H

#include <stdbool.h>

#include "data/image.h"

td_status td_photo_paint(uint64_t number, int64_t side, td_image *out);

/* The same, encoded as JPEG of quality 90 or as PNG; bytes are freed with td_free. */
td_status td_photo_encode(uint64_t number, int64_t side, bool jpeg, void **bytes, size_t *size);

#endif
