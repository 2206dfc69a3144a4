/* SPDX-License-Identifier: Apache-2.0
 * Features for the loss cases, and both losses of them in f64 over the whole matrix. A batch has at
 * most 251 distinct image and text vectors, so that every score is known however large it is: row i
 * is image i mod 251 and a text that moves on by 7 with every turn. 251 is a prime, so no tile or
 * block of another one's rows holds the same features.
 */
#ifndef TD_BENCH_LOSS_ORACLE_H
#define TD_BENCH_LOSS_ORACLE_H

#include <stdint.h>

#include "base/status.h"
#include "models/tensors.h"

typedef struct td_loss_oracle {
    td_loss kind;
    int64_t batch, embed, classes;
    double scale, bias;
    float *images, *texts;      /* (classes, embed), of norm 1 */
    double *d_images, *d_texts; /* gradients of a row, without its positive */
    double loss, dscale, dbias;
} td_loss_oracle;

/* Fills the vectors and computes the answer. scale is exp(logit_scale). */
td_status td_loss_oracle_create(td_loss kind, int64_t batch, int64_t embed, float scale, float bias,
                                td_loss_oracle *out);
void td_loss_oracle_destroy(td_loss_oracle *oracle);

/* The features of row i. */
const float *td_loss_oracle_image(const td_loss_oracle *oracle, int64_t i);
const float *td_loss_oracle_text(const td_loss_oracle *oracle, int64_t i);

/* The largest distance of a row of got (rows, embed), the gradient of images or texts from sample
 * `first` on, from the true one, over the root mean square of true rows. NaN if any element is. */
double td_loss_oracle_error(const td_loss_oracle *oracle, bool images, int64_t first, int64_t rows,
                            const float *got);

/* Errors that f32 may have, in 2^-24: 4 scale + 16 + batch / 2048. A score of size at most scale,
 * from a chain of FMAs whose error is that of a few roundings, is in error by about 4 scale; that
 * is the relative error of an exp, and 16 more are for sums. The batch / 64 tiles of a gradient are
 * added one by one, and where features repeat, as here, their roundings do not all cancel. It is
 * 4.4e-6 at scale 14.3 and batch 1024, 6.3e-6 at 65536. Gradients and loss are held to it
 * relatively, d logit_scale, a difference of scores, as a share of scale. */
double td_loss_oracle_bound(const td_loss_oracle *oracle);

#endif
