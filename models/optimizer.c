/* SPDX-License-Identifier: Apache-2.0 */
#include "models/optimizer.h"

#include <math.h>

#include "base/math.h"

double td_optimizer_lr(const td_optimizer *o, int64_t step) {
    if (step < o->warmup) {
        return o->lr * (double)(step + 1) / (double)o->warmup;
    }
    if (o->schedule == TD_SCHEDULE_CONST || o->steps <= o->warmup) {
        return o->lr;
    }
    if (step >= o->steps) {
        return 0;
    }
    return 0.5 * o->lr *
           (1 + td_cospi((double)(step - o->warmup) / (double)(o->steps - o->warmup)));
}

/* The kernel computes in f32, and a rounding error of a factor is the same for all weights: it does
 * not average out, as those of single elements do. One of 1e-7 in the step size moved the loss of a
 * small model by 8e-7 in three steps. So each factor makes up for the rounding of those before it:
 * the moments are divided by the sum of the weights they were really built with, and the
 * denominator sqrt(v) * r + eps is exact but for a common factor that the step size takes up. */
td_adamw_step td_optimizer_adamw(const td_optimizer *o, int64_t step, double grad_scale) {
    td_adamw_step s = {.beta1 = (float)o->beta1,
                       .one_minus_beta1 = (float)(1 - o->beta1),
                       .beta2 = (float)o->beta2,
                       .one_minus_beta2 = (float)(1 - o->beta2),
                       .grad_scale = (float)grad_scale};
    double lr = td_optimizer_lr(o, step);
    double beta1 = (double)s.beta1, beta2 = (double)s.beta2;
    double sum1 = (double)s.one_minus_beta1 * (1 - td_pow_int(beta1, step + 1)) / (1 - beta1);
    double sum2 = (double)s.one_minus_beta2 * (1 - td_pow_int(beta2, step + 1)) / (1 - beta2);
    double root = 1 / sqrt(sum2);
    s.rsqrt_bc2 = (float)root;
    double stretch = (double)s.rsqrt_bc2 / root;
    s.eps = (float)(o->eps * stretch);
    s.lr_bc1 = (float)(lr / sum1 * stretch);
    s.decay = (float)(1 - lr * o->weight_decay);
    return s;
}

td_lion_step td_optimizer_lion(const td_optimizer *o, int64_t step, double grad_scale) {
    double lr = td_optimizer_lr(o, step);
    return (td_lion_step){.beta1 = (float)o->beta1,
                          .one_minus_beta1 = (float)(1 - o->beta1),
                          .beta2 = (float)o->beta2,
                          .one_minus_beta2 = (float)(1 - o->beta2),
                          .lr = (float)lr,
                          .decay = (float)(1 - lr * o->weight_decay),
                          .grad_scale = (float)grad_scale};
}

const char *td_optimizer_name(td_optimizer_kind kind) {
    return kind == TD_OPTIMIZER_LION ? "lion" : "adamw";
}
