/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/scaling.h"

#include <math.h>
#include <stdbool.h>

enum { LEAST_POINTS = 4 };

double td_amdahl(double s, double p) {
    return 1 / (s + (1 - s) / p);
}

double td_karp_flatt(double speed_up, double p) {
    return p > 1 ? (1 / speed_up - 1 / p) / (1 - 1 / p) : NAN;
}

double td_usl(double alpha, double beta, double n) {
    return n / (1 + alpha * (n - 1) + beta * n * (n - 1));
}

static int different(const double *n, int count) {
    int found = 0;
    for (int i = 0; i < count; i++) {
        bool first = true;
        for (int k = 0; k < i; k++) {
            first = first && n[k] != n[i];
        }
        found += first;
    }
    return found;
}

/* Inverts a symmetric 3 x 3 matrix; false when it is singular. */
static bool invert(double m[3][3], double out[3][3]) {
    double det = 0;
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) {
            int a = (i + 1) % 3, b = (i + 2) % 3, c = (k + 1) % 3, d = (k + 2) % 3;
            out[k][i] = m[a][c] * m[b][d] - m[a][d] * m[b][c];
        }
        det += m[0][i] * out[i][0];
    }
    if (!(fabs(det) > 1e-12 * fabs(m[0][0] * m[1][1] * m[2][2]))) {
        return false;
    }
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) {
            out[i][k] /= det;
        }
    }
    return true;
}

/* n / throughput is linear in 1 / gamma, alpha / gamma and beta / gamma. */
td_status td_usl_fit_points(const double *n, const double *throughput, int count, td_usl_fit *out) {
    *out = (td_usl_fit){0};
    if (different(n, count) < LEAST_POINTS) {
        return td_fail(TD_ESKIP, "a fit of the scaling law needs %d different sizes, there are %d",
                       LEAST_POINTS, different(n, count));
    }
    double normal[3][3] = {{0}}, right[3] = {0}, inverse[3][3], p[3] = {0};
    for (int i = 0; i < count; i++) {
        double y = n[i] / throughput[i], x[3] = {1, n[i] - 1, n[i] * (n[i] - 1)};
        for (int a = 0; a < 3; a++) {
            right[a] += x[a] / y;
            for (int b = 0; b < 3; b++) {
                normal[a][b] += x[a] * x[b] / (y * y);
            }
        }
    }
    if (!invert(normal, inverse)) {
        return td_fail(TD_ESKIP, "the points do not tell the parameters of the law apart");
    }
    for (int a = 0; a < 3; a++) {
        for (int b = 0; b < 3; b++) {
            p[a] += inverse[a][b] * right[b];
        }
    }
    double squares = 0;
    for (int i = 0; i < count; i++) {
        double y = n[i] / throughput[i];
        double fitted = p[0] + p[1] * (n[i] - 1) + p[2] * n[i] * (n[i] - 1);
        squares += (fitted / y - 1) * (fitted / y - 1);
    }
    double variance = squares / (count > 3 ? count - 3 : 1);
    out->gamma = 1 / p[0];
    out->alpha = p[1] / p[0];
    out->beta = p[2] / p[0];
    /* The error of p[0] is small beside those of the others, which are divided by it. */
    out->alpha_error = sqrt(variance * inverse[1][1]) / p[0];
    out->beta_error = sqrt(variance * inverse[2][2]) / p[0];
    return TD_OK;
}
