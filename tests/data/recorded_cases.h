/* SPDX-License-Identifier: Apache-2.0
 * Recorded cases of TFRecord and tf.Example behaviour, one JSON file; and the byte strings in it.
 */
#ifndef TD_TESTS_DATA_RECORDED_CASES_H
#define TD_TESTS_DATA_RECORDED_CASES_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

/* The cases of one operation as a new array. */
json_t *recorded_cases(const char *op);

/* A byte string: hex text, or an object that says how to generate it. Freed with td_free. */
uint8_t *recorded_bytes(const json_t *data, size_t *size);

#endif
