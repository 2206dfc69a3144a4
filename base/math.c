/* SPDX-License-Identifier: Apache-2.0
 * Polynomials are Taylor series cut where the next term is below 2^-58 of the result on the reduced
 * range; every product that would round too early is kept as a high and a low part through fma.
 */
#include "base/math.h"

#include <math.h>

static const double ln2_high =
    0x1.62e42fefa3800p-1; /* 42 bits: n * ln2_high is exact, |n| < 2^11 */
static const double ln2_low = 0x1.ef35793c76730p-45;

/* sum of coefficient[i] * z^i, by Horner. */
static double polynomial(double z, const double *coefficient, int count) {
    double sum = coefficient[count - 1];
    for (int i = count - 2; i >= 0; i--) {
        sum = fma(sum, z, coefficient[i]);
    }
    return sum;
}

double td_exp(double x) {
    if (isnan(x)) {
        return x;
    }
    if (x > 709.782712893384) {
        return INFINITY;
    }
    if (x < -745.133219101942) {
        return 0;
    }
    static const double c[] = {1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,
                               1.0 / 720,     1.0 / 5040,     1.0 / 40320,     1.0 / 362880,
                               1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
    double n = rint(x * 0x1.71547652b82fep+0);
    double high = fma(-n, ln2_high, x), low = n * ln2_low; /* |high - low| <= ln(2) / 2 */
    double r = high - low, lost = (high - r) - low;
    double y = 1 + (r + fma(r * r, polynomial(r, c, 12), lost));
    /* Two powers of two, each normal: only the second product can round, and only into denormals.
     */
    int exponent = (int)n, half = exponent / 2;
    return ldexp(ldexp(y, half), exponent - half);
}

double td_log(double x) {
    if (isnan(x) || x < 0) {
        return NAN;
    }
    if (x == 0) {
        return -INFINITY;
    }
    if (isinf(x)) {
        return x;
    }
    static const double c[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11, 2.0 / 13,
                               2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23};
    int exponent;
    double m = frexp(x, &exponent);
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        exponent--;
    }
    /* log(m) = 2 atanh(s), s = f / (2 + f); s carries the rounding of its quotient and divisor. */
    double f = m - 1, d = 2 + f, d_lost = f - (d - 2);
    double s = f / d, s_low = (fma(-s, d, f) - s * d_lost) / d;
    double z = s * s, tail = fma(s * z, polynomial(z, c, 11), 2 * s_low);
    double n = exponent, high = n * ln2_high, sum = high + 2 * s;
    double lost = n == 0 ? 0 : (high - sum) + 2 * s;
    return sum + (lost + fma(n, ln2_low, tail));
}

/* sin(pi r) or cos(pi r), |r| <= 1/4. */
static double sine(double r) {
    static const double c[] = {
        -1.0 / 6,        1.0 / 120,          -1.0 / 5040,           1.0 / 362880,
        -1.0 / 39916800, 1.0 / 6227020800.0, -1.0 / 1307674368000.0};
    double t = r * M_PI, low = fma(r, M_PI, -t) + r * 0x1.1a62633145c07p-53;
    return t + fma(t * (t * t), polynomial(t * t, c, 7), low);
}

static double cosine(double r) {
    static const double c[] = {
        1.0 / 24,        -1.0 / 720,           1.0 / 40320,           -1.0 / 3628800,
        1.0 / 479001600, -1.0 / 87178291200.0, 1.0 / 20922789888000.0};
    double t = r * M_PI, low = fma(r, M_PI, -t) + r * 0x1.1a62633145c07p-53;
    double z = t * t, half = 0.5 * z, y = 1 - half;
    return y + (((1 - y) - half) + (fma(z * z, polynomial(z, c, 7), -t * low)));
}

/* cos(pi (r + quarter / 2)) for quarter mod 4. */
static double cosine_at(double x, int shift) {
    double twice = 2 * x, whole = rint(twice), r = x - 0.5 * whole;
    int quarter = ((int)(whole - 4 * floor(whole / 4)) + shift) & 3;
    double value = quarter & 1 ? sine(r) : cosine(r);
    return quarter == 1 || quarter == 2 ? -value : value;
}

double td_cospi(double x) {
    return isfinite(x) ? cosine_at(fabs(x), 0) : NAN;
}
double td_sinpi(double x) {
    return isfinite(x) ? cosine_at(x, 3) : NAN;
}

double td_pow_int(double x, long n) {
    double result = 1;
    for (; n > 0; n >>= 1, x *= x) {
        if (n & 1) {
            result *= x;
        }
    }
    return result;
}
