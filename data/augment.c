/* SPDX-License-Identifier: Apache-2.0 */
#include "data/augment.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/math.h"
#include "base/options.h"

td_status td_augment_parse_scale(const char *text, td_augment *augment) {
    char first[32];
    const char *comma = strchr(text, ',');
    size_t length = comma == NULL ? strlen(text) : (size_t)(comma - text);
    if (length == 0 || length >= sizeof first) {
        return td_fail(TD_EUSAGE, "--aug-scale %s: expected MIN or MIN,MAX, shares of the area",
                       text);
    }
    memcpy(first, text, length);
    first[length] = '\0';
    double min, max = 1;
    TD_TRY(td_parse_real(first, "--aug-scale", 0, 1, &min));
    if (comma != NULL) {
        TD_TRY(td_parse_real(comma + 1, "--aug-scale", 0, 1, &max));
    }
    if (!(min > 0 && min <= max)) {
        return td_fail(TD_EUSAGE, "--aug-scale %s: expected 0 < MIN <= MAX <= 1", text);
    }
    augment->scale_min = min;
    augment->scale_max = max;
    return TD_OK;
}

td_status td_augment_check(const td_augment *augment) {
    bool off = augment->scale_min == 0 && augment->scale_max == 0;
    bool scale = augment->scale_min > 0 && augment->scale_min <= augment->scale_max &&
                 augment->scale_max <= 1;
    return (off || scale) && augment->flip >= 0 && augment->flip <= 1
               ? TD_OK
               : td_fail(
                     TD_EUSAGE,
                     "augmentation: crops of %g to %g of the area, %g mirrored; expected shares",
                     augment->scale_min, augment->scale_max, augment->flip);
}

bool td_augment_crops(const td_augment *augment) {
    return augment->scale_max > 0;
}

bool td_augment_is_off(const td_augment *augment) {
    return !td_augment_crops(augment) && augment->flip == 0;
}

void td_augment_print(const td_augment *augment, char text[TD_AUGMENT_TEXT]) {
    int n =
        snprintf(text, TD_AUGMENT_TEXT, "%s", td_augment_is_off(augment) ? "no augmentation" : "");
    if (td_augment_crops(augment)) {
        n += snprintf(text + n, (size_t)(TD_AUGMENT_TEXT - n), "--aug-scale %.15g,%.15g%s",
                      augment->scale_min, augment->scale_max, augment->flip > 0 ? " " : "");
    }
    if (augment->flip > 0) {
        snprintf(text + n, (size_t)(TD_AUGMENT_TEXT - n), "--aug-flip %.15g", augment->flip);
    }
}

td_augment_draw td_augment_at(const td_augment *augment, uint64_t seed, int64_t place) {
    td_augment_draw draw = {.augment = augment,
                            .rng = td_rng_make(seed, TD_PURPOSE_AUGMENT, (uint64_t)place)};
    draw.mirror = td_rng_uniform(&draw.rng) < augment->flip;
    return draw;
}

static double between(td_rng *rng, double low, double high) {
    return low + (high - low) * td_rng_uniform(rng);
}

/* In the middle: all, or what is left when the longer side is cut to the bound of the ratio. */
static td_image_box centre_box(int64_t width, int64_t height) {
    td_image_box box = {.width = width, .height = height};
    double ratio = (double)width / (double)height;
    if (ratio < 1 / TD_AUGMENT_RATIO) {
        box.height = (int64_t)rint((double)width * TD_AUGMENT_RATIO);
    } else if (ratio > TD_AUGMENT_RATIO) {
        box.width = (int64_t)rint((double)height * TD_AUGMENT_RATIO);
    }
    box.left = (width - box.width) / 2;
    box.top = (height - box.height) / 2;
    return box;
}

td_image_box td_augment_box(td_augment_draw *draw, int64_t width, int64_t height) {
    td_rng *rng = &draw->rng;
    double log_ratio = td_log(TD_AUGMENT_RATIO), all = (double)width * (double)height;
    for (int i = 0; i < TD_AUGMENT_TRIES; i++) {
        double area = all * between(rng, draw->augment->scale_min, draw->augment->scale_max);
        double ratio = td_exp(between(rng, -log_ratio, log_ratio));
        td_image_box box = {.width = (int64_t)rint(sqrt(area * ratio)),
                            .height = (int64_t)rint(sqrt(area / ratio))};
        if (box.width >= 1 && box.width <= width && box.height >= 1 && box.height <= height) {
            box.top = (int64_t)td_rng_below(rng, (uint64_t)(height - box.height + 1));
            box.left = (int64_t)td_rng_below(rng, (uint64_t)(width - box.width + 1));
            return box;
        }
    }
    return centre_box(width, height);
}

void td_augment_mirror(float *values, int64_t rows, int64_t width) {
    for (int64_t y = 0; y < rows; y++) {
        float *row = values + y * width;
        for (int64_t x = 0; x < width / 2; x++) {
            float kept = row[x];
            row[x] = row[width - 1 - x];
            row[width - 1 - x] = kept;
        }
    }
}
