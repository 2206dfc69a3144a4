/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/photo.h"

#include <math.h>

#include "base/memory.h"
#include "base/rng.h"

/* Waves along one side, for a colour. */
static void draw_waves(td_rng *rng, int64_t side, double *out) {
    double phase = 6.3 * td_rng_uniform(rng);
    for (int64_t i = 0; i < side; i++) {
        out[i] = 0;
        for (int wave = 1; wave <= 64; wave *= 4) {
            out[i] += 28 / sqrt(wave) * sin(6.3 * wave * (double)i / (double)side + phase);
        }
    }
}

td_status td_photo_paint(uint64_t number, int64_t side, td_image *out) {
    td_rng rng = td_rng_make(3, TD_PURPOSE_TEST, number);
    double *waves = td_alloc((size_t)(6 * side) * sizeof *waves);
    if (waves == NULL) {
        return td_fail(TD_ENOMEM, "a picture of %lld pixels a side", (long long)side);
    }
    td_status status = td_image_create(side, side, out);
    for (int i = 0; i < 6; i++) {
        draw_waves(&rng, side, waves + i * side);
    }
    int64_t across = 20 + (int64_t)td_rng_below(&rng, 80),
            down = 20 + (int64_t)td_rng_below(&rng, 80);
    for (int64_t i = 0; i < side * side && status == TD_OK; i++) {
        int64_t x = i % side, y = i / side;
        double edge = (x / across + y / down) % 3 == 0 ? 35 : -10;
        for (int c = 0; c < 3; c++) {
            double noise = 6 * (td_rng_uniform(&rng) - 0.5);
            double value =
                128 + edge + noise + waves[2 * c * side + x] + waves[(2 * c + 1) * side + y];
            out->pixels[3 * i + c] = (unsigned char)fmin(fmax(value, 0), 255);
        }
    }
    td_free(waves);
    return status;
}

td_status td_photo_encode(uint64_t number, int64_t side, bool jpeg, void **bytes, size_t *size) {
    enum { QUALITY = 90 };
    td_image painted = {0};
    TD_TRY(td_photo_paint(number, side, &painted));
    td_status status = jpeg ? td_image_encode_jpeg(&painted, QUALITY, bytes, size)
                            : td_image_encode_png(&painted, bytes, size);
    td_image_destroy(&painted);
    return status;
}
