/* SPDX-License-Identifier: Apache-2.0
 * What the tests of the losses share: features, a loss on any layout, and float64 twins over the
 * full matrix.
 */
#ifndef TD_TESTS_MODELS_OBJECTIVE_CASE_H
#define TD_TESTS_MODELS_OBJECTIVE_CASE_H

#include "models/objective.h"

typedef struct td_loss_case {
    td_loss kind;
    td_way way;
    int64_t batch, blocks, embed;
    float scale, bias;
    float *images, *texts; /* (batch, embed), of norm 1 */
} td_loss_case;

/* texts are `closeness` of their image and noise. SigLIP's bias is -10. */
td_loss_case td_loss_case_make(td_loss kind, int64_t batch, int64_t blocks, int64_t embed,
                               float scale, double closeness);
void td_loss_case_free(td_loss_case *c);

typedef struct td_loss_answer {
    double loss, dscale, dbias;
    double *d_images, *d_texts; /* (batch, embed) */
    td_objective_cost cost;     /* of rank 0 */
} td_loss_answer;

void td_loss_answer_free(td_loss_answer *answer);

/* The loss on a layout, run twice: the second answer, of all ranks. Gradients are exact f32. */
td_loss_answer td_loss_case_run(const td_loss_case *c, const char *layout);

/* In float64; of the softmax loss with the given shares of its two directions, 1 and 1 being the
 * loss itself. */
td_loss_answer td_loss_twin(const td_loss_case *c, double of_images, double of_texts);

/* Distance over the size of want; cosine. */
double td_loss_distance(const double *got, const double *want, int64_t n);
double td_loss_cosine(const double *got, const double *want, int64_t n);

#endif
