/* SPDX-License-Identifier: Apache-2.0
 * The laws of scaling, and the fit of the universal one.
 */
#ifndef TD_THREADS_SCALING_H
#define TD_THREADS_SCALING_H

#include "base/status.h"

/* Speed-up on p processors of a program with a serial share s in [0, 1]. */
double td_amdahl(double s, double p);

/* The serial share that a measured speed-up on p > 1 processors would have by Amdahl's law; NaN for
 * p <= 1. */
double td_karp_flatt(double speed_up, double p);

/* Throughput on n relative to 1: n / (1 + alpha (n - 1) + beta n (n - 1)). */
double td_usl(double alpha, double beta, double n);

/* gamma scales; errors are standard errors. */
typedef struct td_usl_fit {
    double alpha, beta, gamma, alpha_error, beta_error;
} td_usl_fit;

/* Fits throughput[i] at n[i], weighting relative errors alike. TD_ESKIP with fewer than four
 * different n, where the three parameters cannot be told apart. */
td_status td_usl_fit_points(const double *n, const double *throughput, int count, td_usl_fit *out);

#endif
