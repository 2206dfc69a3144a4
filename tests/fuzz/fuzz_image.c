/* SPDX-License-Identifier: Apache-2.0
 * Encoded images of foreign files: PNG and JPEG, decoded whole or on the way to a size, and fitted.
 */
#include "data/image.h"
#include "data/resize.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    td_image image = {0}, fitted = {0};
    if (td_image_decode(data, size, &image) == TD_OK && image.width * image.height < 1 << 20) {
        td_image_fit(&image, 32, &fitted);
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
