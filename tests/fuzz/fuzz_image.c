/* SPDX-License-Identifier: Apache-2.0
 * Encoded images of foreign files: PNG and JPEG, decoded whole, on the way to a size, or a part of
 * them, and fitted. What decodes has the sides that its header says.
 */
#include "data/image.h"
#include "data/resize.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode_part(const uint8_t *data, size_t size, int64_t width, int64_t height) {
    td_image part = {0};
    td_image_box box = {.left = width / 5, .top = height / 3};
    box.width = width - box.left - width / 4;
    box.height = height - box.top - height / 7;
    TD_ASSERT(td_image_decode_box(data, size, &box, 0, &part) == TD_OK);
    TD_ASSERT(part.width == box.width && part.height == box.height);
    td_image_destroy(&part);
    if (td_image_decode_box(data, size, &box, 1 + (int64_t)(size % 64), &part) == TD_OK) {
        TD_ASSERT(part.width <= box.width && part.height <= box.height);
    }
    td_image_destroy(&part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    td_image image = {0}, fitted = {0};
    int64_t width, height;
    if (td_image_decode(data, size, &image) == TD_OK && image.width * image.height < 1 << 20) {
        td_image_fit(&image, 32, &fitted);
        TD_ASSERT(td_image_sides(data, size, &width, &height) == TD_OK);
        TD_ASSERT(width == image.width && height == image.height);
        decode_part(data, size, width, height);
    }
    td_image_destroy(&image);
    td_image_destroy(&fitted);
    if (td_image_decode_toward(data, size, 1 + (int64_t)(size % 64), &image) == TD_OK &&
        image.width * image.height < 1 << 20) {
        td_image_fit(&image, 32, &fitted);
    }
    td_image_destroy(&image);
    td_image_destroy(&fitted);
    return 0;
}
