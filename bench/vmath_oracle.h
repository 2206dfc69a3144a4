/* SPDX-License-Identifier: Apache-2.0
 * What the elementary functions of kernels/vmath.h should be, in f64, and how far a result may be
 * from it: vmath.h's bounds as data. Two elements at a time on glibc's vector functions, whose
 * error is below 2^-49, so that all floats there are can be gone through in half a minute.
 */
#ifndef TD_BENCH_VMATH_ORACLE_H
#define TD_BENCH_VMATH_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/args.h"

/* ulp: bound in units of the last place of the exact result, where that is at least `normal`.
 * absolute: bound of the others, and of all where ulp is 0. */
typedef struct td_vmath_bound {
    const char *name;
    double ulp, normal, absolute;
} td_vmath_bound;

const td_vmath_bound *td_vmath_bound_of(td_vmath_function function);

/* y[i] = function(x[i]); at an infinite x the limit. n is even. */
void td_vmath_exact(td_vmath_function function, int64_t n, const float *x, double *y);

/* What a sweep has found. */
typedef struct td_vmath_finding {
    double worst; /* error as a share of its bound; inf where special values do not match */
    float worst_at;
    double ulp;      /* the largest error where the bound is in ULP, in ULP */
    double absolute; /* the largest error elsewhere */
} td_vmath_finding;

/* Compares y with the exact results at x. flushed: the thread that computed y read denormals as
 * zero and wrote none, so exact is what it is at the x that it saw. */
void td_vmath_compare(const td_vmath_bound *bound, int64_t n, const float *x, const double *exact,
                      const float *y, bool flushed, td_vmath_finding *found);

#endif
