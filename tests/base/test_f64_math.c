/* SPDX-License-Identifier: Apache-2.0
 * libm in long double is the independent answer.
 */
#include <criterion/criterion.h>

#include <math.h>

#include "base/math.h"
#include "base/rng.h"

static double ulp_error(double got, long double want) {
    if (isinf(got) || isinf((double)want)) {
        return got == (double)want ? 0 : INFINITY;
    }
    double unit = nextafter(fabs((double)want), INFINITY) - fabs((double)want);
    return (double)fabsl(((long double)got - want) / (long double)unit);
}

typedef struct function_row {
    const char *name;
    double (*ours)(double);
    long double (*theirs)(long double);
    double low, high;
} function_row;

static long double long_cospi(long double x) {
    return cosl(3.14159265358979323846264338327950288L * x);
}
static long double long_sinpi(long double x) {
    return sinl(3.14159265358979323846264338327950288L * x);
}

Test(f64_math, within_two_ulp_of_long_double) {
    static const function_row rows[] = {
        {"exp", td_exp, expl, -708, 709},
        {"exp near 0", td_exp, expl, -1e-3, 1e-3},
        {"log", td_log, logl, 1e-300, 1e300},
        {"log near 1", td_log, logl, 0.5, 2},
        {"cospi", td_cospi, long_cospi, -0.45, 0.45},
        {"sinpi", td_sinpi, long_sinpi, -0.5, 0.5},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        td_rng rng = td_rng_make(11, TD_PURPOSE_TEST, r);
        double worst = 0, where = 0;
        for (int i = 0; i < 100000; i++) {
            double x = rows[r].low + (rows[r].high - rows[r].low) * td_rng_uniform(&rng);
            double error = ulp_error(rows[r].ours(x), rows[r].theirs(x));
            if (!(error <= worst)) {
                worst = error;
                where = x;
            }
        }
        cr_assert(worst <= 2, "%s: %g ULP at %a", rows[r].name, worst, where);
    }
}

Test(f64_math, edges) {
    cr_assert_eq(td_exp(0), 1);
    cr_assert_eq(td_exp(-800), 0);
    cr_assert_eq(td_exp(710), INFINITY);
    cr_assert(isnan(td_exp(NAN)));
    cr_assert_eq(td_log(1), 0);
    cr_assert_eq(td_log(0), -INFINITY);
    cr_assert(isnan(td_log(-1)));
    cr_assert_eq(td_cospi(0), 1);
    cr_assert_eq(td_cospi(1), -1);
    cr_assert_eq(td_cospi(0.5), 0);
    cr_assert_eq(td_cospi(0x1p60), 1);
    cr_assert_eq(td_sinpi(0.5), 1);
    cr_assert_eq(td_sinpi(-0.5), -1);
    cr_assert_eq(td_sinpi(1.5), -1);
    cr_assert_eq(td_pow_int(3, 5), 243);
    cr_assert_eq(td_pow_int(0.5, 0), 1);
}
