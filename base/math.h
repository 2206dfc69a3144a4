/* SPDX-License-Identifier: Apache-2.0
 * f64 functions whose result is the same on every machine: only fma, sqrt, division and conversions
 * of the platform are used, which IEEE 754 fixes. libm's own exp, log and cos pick variants by CPU
 * that differ in the last bit.
 */
#ifndef TD_BASE_MATH_H
#define TD_BASE_MATH_H

double td_exp(double x);   /* <= 2 ULP; 0 below -745, inf above 709.78, NaN passes */
double td_log(double x);   /* <= 2 ULP; -inf at 0, NaN below */
double td_cospi(double x); /* cos(pi x), <= 2 ULP for |x| < 2^52 */
double td_sinpi(double x);
double td_pow_int(double x, long n); /* by squaring, n >= 0 */

#endif
