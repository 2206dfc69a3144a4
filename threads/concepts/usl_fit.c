/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <math.h>
#include <stdio.h>

#include "base/rng.h"
#include "threads/scaling.h"

enum { POINTS = 8 };

/* The points of one law and its fit, for the picture of a report. */
static void keep(td_lab *lab, const double *n, const double *c, const td_usl_fit *fit) {
    char name[24];
    for (int k = 0; k < POINTS; k++) {
        snprintf(name, sizeof name, "throughput_%.0f", n[k]);
        td_lab_number(lab, name, c[k]);
    }
    td_lab_number(lab, "alpha", fit->alpha);
    td_lab_number(lab, "beta", fit->beta);
    td_lab_number(lab, "gamma", fit->gamma);
}

void td_concept_usl_fit(td_lab *lab) {
    static const struct {
        double alpha, beta;
    } truths[] = {{0.02, 0.0005}, {0.1, 0}, {0.005, 0.01}, {0, 0}};
    double n[POINTS], c[POINTS];
    for (size_t i = 0; i < sizeof truths / sizeof truths[0]; i++) {
        td_rng rng = td_rng_make(7, TD_PURPOSE_TEST, i);
        for (int k = 0; k < POINTS; k++) {
            n[k] = 1 << k;
            c[k] = 100 * td_usl(truths[i].alpha, truths[i].beta, n[k]) *
                   (1 + 0.002 * td_rng_normal(&rng));
        }
        td_usl_fit fit;
        td_status status = td_usl_fit_points(n, c, lab->mutant ? 2 : POINTS, &fit);
        td_lab_check(
            lab,
            status == TD_OK && fabs(fit.alpha - truths[i].alpha) < 4 * fit.alpha_error &&
                fabs(fit.beta - truths[i].beta) < 4 * fit.beta_error && fit.alpha_error < 0.01,
            "contention %.3f, coherence %.4f: fitted %.4f +- %.4f and %.5f +- %.5f",
            truths[i].alpha, truths[i].beta, fit.alpha, fit.alpha_error, fit.beta, fit.beta_error);
        if (i == 0 && status == TD_OK) {
            keep(lab, n, c, &fit);
        }
    }
    td_usl_fit fit;
    td_lab_check(lab, td_usl_fit_points(n, c, 3, &fit) == TD_ESKIP,
                 "three points are refused: they would fit anything");
    for (int k = 0; k < 4; k++) {
        n[k] = 4;
    }
    td_lab_check(lab, td_usl_fit_points(n, c, 4, &fit) == TD_ESKIP,
                 "so are four measurements at one size");
}
