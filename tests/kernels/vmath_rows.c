/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/vmath_rows.h"

#include "kernels/vmath.h"

void TD_FN(vmath)(vmath_function f, int64_t n, const float *from, float *y) {
    switch (f) {
#define VMATH_CASE(name, expr)                                                                     \
    case VMATH_##name:                                                                             \
        for (int64_t i = 0; i < n; i += TD_LANES) {                                                \
            td_v16 x = td_v16_load(from + i);                                                      \
            td_v16_store(y + i, expr);                                                             \
        }                                                                                          \
        break;
        VMATH_MAP(VMATH_CASE)
#undef VMATH_CASE
    case VMATH_COUNT:
        break;
    }
}
