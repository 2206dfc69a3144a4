/* SPDX-License-Identifier: Apache-2.0
 * Numbers to text, text to numbers and numbers to numbers, as TensorFlow's ops of these names do.
 */
#ifndef TD_DATA_TEXT_NUMBER_H
#define TD_DATA_TEXT_NUMBER_H

#include <float.h>
#include <math.h>

#include "data/tensor.h"

/* TensorFlow's threads take a float below the smallest normal one for zero, and give zero for it.
 */
static inline float td_flush_float(float x) {
    return fabsf(x) < FLT_MIN ? copysignf(0, x) : x;
}

static inline double td_flush_double(double x) {
    return fabs(x) < DBL_MIN ? copysign(0, x) : x;
}

/* Decimal digits of integers, "true" and "false", six decimals of floats; bytes pass. */
td_status td_as_string(const td_tensor *values, td_pool *pool, td_tensor *out);
/* One text: blanks around it are skipped, all of the rest has to be a number of the type. */
td_status td_to_number(td_span text, td_element_type dtype, void *out);
/* Truncation towards zero, wrapping integers, and floats below the smallest normal one as zero. */
td_status td_cast(const td_tensor *values, td_element_type to, td_pool *pool, td_tensor *out);

#endif
