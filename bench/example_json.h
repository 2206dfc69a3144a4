/* SPDX-License-Identifier: Apache-2.0
 * A decoded Example as JSON, nothing left out:
 *   {"caption": {"kind": "bytes", "values": ["a cat"]}, "size": {"kind": "int64", "values": [3]}}
 * A byte string that is UTF-8 is a string, any other {"base64": "..."}. Floats have the 9 digits
 * that tell all of them apart; NaN and infinities are "NaN", "Infinity" and "-Infinity".
 */
#ifndef TD_BENCH_EXAMPLE_JSON_H
#define TD_BENCH_EXAMPLE_JSON_H

#include <jansson.h>

#include "base/text.h"
#include "data/example.h"

#define TD_EXAMPLE_JSON_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(9))

/* Appends the base64 of RFC 4648, padded. */
void td_base64(td_text *out, td_span bytes);

/* Sets "features" of the object; names that are not UTF-8 or hold a NUL go to "base64_features"
 * instead, in base64. */
td_status td_example_json(const td_example *example, json_t *out);

#endif
