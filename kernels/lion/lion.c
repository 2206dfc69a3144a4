/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel.h"
#include "kernels/runs.h"
#include "kernels/simd.h"
#include "kernels/stream.h"
#include "kernels/tiles.h"

/* Every operation is one IEEE operation, in the order of args.h. */
TD_SIMD void update(const td_lion_step *step, float decay, td_v16 g, td_v16 *p, td_v16 *m) {
    td_v16 scaled = td_v16_mul(td_v16_set1(step->grad_scale), g), zero = td_v16_zero();
    td_v16 c = td_v16_fma(td_v16_set1(step->beta1), *m,
                          td_v16_mul(td_v16_set1(step->one_minus_beta1), scaled));
    td_v16 below = td_v16_select(td_v16_lt(c, zero), td_v16_set1(-1), c);
    td_v16 sign = td_v16_select(td_v16_gt(c, zero), td_v16_set1(1), below);
    *p = td_v16_fma(td_v16_set1(-step->lr), sign, td_v16_mul(*p, td_v16_set1(decay)));
    *m = td_v16_fma(td_v16_set1(step->beta2), *m,
                    td_v16_mul(td_v16_set1(step->one_minus_beta2), scaled));
}

/* Fewer elements than a vector has. */
TD_SIMD void update_part(const td_lion_f32_args *args, const td_lion_step *step, float decay,
                         const float *g, int64_t i, int64_t part) {
    td_v16 p = td_v16_load_part(args->p + i, part, 0), m = td_v16_load_part(args->m + i, part, 0);
    td_v16 gradient = g == NULL ? td_v16_zero() : td_v16_load_part(g, part, 0);
    update(step, decay, gradient, &p, &m);
    td_v16_store_part(args->p + i, p, part);
    td_v16_store_part(args->m + i, m, part);
}

/* g: gradients from the run's first element on; NULL: zeros. */
TD_SIMD void update_run(const td_lion_f32_args *args, const td_runs *run, const float *g) {
    td_lion_step step = *args->step; /* a copy, which the stores below cannot change */
    const float decay = run->decayed ? step.decay : 1.0f;
    const int64_t lead = td_runs_lead(run), end = run->last;
    int64_t i = run->first;
    if (lead > 0) {
        update_part(args, &step, decay, g, i, lead);
        i += lead;
    }
    for (; i + TD_LANES <= end; i += TD_LANES) {
        td_ask_ahead(args->p + i, 3);
        td_ask_ahead(args->m + i, 3);
        td_v16 gradient = td_v16_zero();
        if (g != NULL) {
            td_ask_ahead(g + (i - run->first), 3);
            gradient = td_v16_load(g + (i - run->first));
        }
        td_v16 p = td_v16_load(args->p + i), m = td_v16_load(args->m + i);
        update(&step, decay, gradient, &p, &m);
        td_v16_store(args->p + i, p);
        td_v16_store(args->m + i, m);
    }
    if (i < end) {
        update_part(args, &step, decay, g == NULL ? NULL : g + (i - run->first), i, end - i);
    }
}

void TD_FN(lion_f32)(const td_lion_f32_args *args, int64_t first, int64_t last, void *scratch) {
    (void)scratch;
    td_runs run = td_runs_start(args->ranges, args->n_ranges, args->g_rows, first * TD_TILE_FLAT,
                                td_tile_end(args->n, TD_TILE_FLAT, last));
    while (td_runs_next(&run)) {
        if (run.absent) {
            update_run(args, &run, NULL);
        } else {
            update_run(args, &run, args->g + run.gradient);
        }
    }
}
