/* SPDX-License-Identifier: Apache-2.0
 * What the float64 twins share: inputs with full significands, and a comparison that a NaN fails.
 */
#ifndef TD_TESTS_TWIN_H
#define TD_TESTS_TWIN_H

#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/rng.h"
#include "kernels/kernel.h"

static inline void twin_fill(float *x, int64_t n, uint64_t id, double spread) {
    td_rng rng = td_rng_make(20, TD_PURPOSE_TEST, id);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(spread * td_rng_normal(&rng));
    }
}

/* n floats that are freed with td_free, filled. */
static inline float *twin_new(int64_t n, uint64_t id, double spread) {
    float *x = td_alloc((size_t)n * sizeof *x);
    cr_assert_not_null(x);
    twin_fill(x, n, id, spread);
    return x;
}

/* Largest |got - want| over n, or infinity when one is not a number. */
static inline double twin_gap(const float *got, const double *want, int64_t n) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double gap = fabs((double)got[i] - want[i]);
        if (!(gap <= worst)) {
            worst = isnan(gap) ? INFINITY : gap;
        }
    }
    return worst;
}

/* The implementation rows of an operation that run here. */
#define TWIN_EACH_ROW(row, id)                                                                     \
    for (int count_ = 0, i_ = (td_kernels(&count_), 0); i_ < count_; i_++)                         \
        if (td_kernels(&count_)[i_].op == (id) && td_kernels(&count_)[i_].isa <= td_isa_native())  \
            for (const td_kernel *row = &td_kernels(&count_)[i_]; row != NULL; row = NULL)

#endif
