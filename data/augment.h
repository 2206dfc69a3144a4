/* SPDX-License-Identifier: Apache-2.0
 * What training changes about an image each time it comes by: a crop at random that is brought to
 * the size wanted, as torchvision's RandomResizedCrop, and a mirror image.
 */
#ifndef TD_DATA_AUGMENT_H
#define TD_DATA_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "base/status.h"
#include "data/image.h"

/* All zero: nothing. */
typedef struct td_augment {
    double scale_min, scale_max; /* share of the picture's area that a crop has; 0: no crops */
    double flip;                 /* share of images that are mirrored, left to right */
} td_augment;

/* Sides of a crop before it is resized: width / height is in [3/4, 4/3]. */
#define TD_AUGMENT_RATIO (4.0 / 3.0)
enum { TD_AUGMENT_TRIES = 10 };

/* "MIN" or "MIN,MAX", 0 < MIN <= MAX <= 1, without MAX: 1. TD_EUSAGE names the option. */
td_status td_augment_parse_scale(const char *text, td_augment *augment);
td_status td_augment_check(const td_augment *augment);

bool td_augment_crops(const td_augment *augment);
bool td_augment_is_off(const td_augment *augment);

/* The options that ask for it, or "no augmentation". */
enum { TD_AUGMENT_TEXT = 96 };
void td_augment_print(const td_augment *augment, char text[TD_AUGMENT_TEXT]);

/* What is chosen for one image, by (seed, place in the endless order) alone. */
typedef struct td_augment_draw {
    const td_augment *augment;
    td_rng rng; /* of the crop */
    bool mirror;
} td_augment_draw;

/* The mirror is drawn first, whether asked for or not: crops do not depend on it, nor it on the
 * picture's sides. */
td_augment_draw td_augment_at(const td_augment *augment, uint64_t seed, int64_t place);

/* The crop of a picture. The logarithm of the ratio and the area are uniform; the first of ten
 * tries that fits is taken, anywhere. Else the centre, as much as the bounds of the ratio allow. */
td_image_box td_augment_box(td_augment_draw *draw, int64_t width, int64_t height);

/* Mirrors each of `rows` rows in place. */
void td_augment_mirror(float *values, int64_t rows, int64_t width);

#endif
