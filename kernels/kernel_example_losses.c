/* SPDX-License-Identifier: Apache-2.0
 * Buffers of the losses' cases.
 */
#include <math.h>

#include "kernels/kernel_example_build.h"

/* Features of about unit length, whose inner products times a scale of 2 to 32 stay in the range of
 * real logits. */
static int features(td_kernel_example *example, const char *name, int64_t rows, int64_t dim,
                    void *pointer) {
    float scale = 1.0f / sqrtf((float)dim);
    return example_add(example, name, TD_EXAMPLE_IN, rows, dim, dim, FILL_SIGNED, scale, pointer);
}

static void scalar(td_kernel_example *example, const char *name, example_fill fill, void *pointer) {
    example_add(example, name, TD_EXAMPLE_IN, 1, 1, 1, fill, 16, pointer);
}

void example_build_contrastive_lse(td_kernel_example *example, const int64_t *d) {
    td_contrastive_lse_f32_args *args = &example->args.contrastive_lse_f32;
    *args = (td_contrastive_lse_f32_args){.rows = d[0], .batch = d[1], .dim = d[2]};
    features(example, "x", d[0], d[2], &args->x);
    features(example, "y", d[1], d[2], &args->y);
    scalar(example, "scale", FILL_POSITIVE, &args->scale);
    example_out(example, "state", d[0], 2, 2, &args->state);
    example_shape(example, "r%lld-n%lld-d%lld", (long long)d[0], (long long)d[1], (long long)d[2]);
}

enum {
    CONTRASTIVE_X,
    CONTRASTIVE_Y,
    CONTRASTIVE_SCALE,
    CONTRASTIVE_ROW_STATE,
    CONTRASTIVE_COL_STATE
};

/* x holds the whole batch, because the state of a column needs all of it; own rows start at
 * `offset`. */
void example_build_contrastive_grad(td_kernel_example *example, const int64_t *d) {
    td_contrastive_grad_f32_args *args = &example->args.contrastive_grad_f32;
    *args =
        (td_contrastive_grad_f32_args){.rows = d[0], .batch = d[1], .dim = d[2], .offset = d[3]};
    int x = features(example, "x", d[1], d[2], NULL);
    example_point(example, &args->x, x, d[3] * d[2]);
    features(example, "y", d[1], d[2], &args->y);
    scalar(example, "scale", FILL_POSITIVE, &args->scale);
    example_in(example, "row_state", d[0], 2, 2, &args->row_state);
    example_in(example, "col_state", d[1], 2, 2, &args->col_state);
    example_out(example, "dx", d[0], d[2], d[2], &args->dx);
    example_out(example, "row_loss", 1, d[0], d[0], &args->row_loss);
    example_out(example, "row_dscale", 1, d[0], d[0], &args->row_dscale);
    example_shape(example, "r%lld-n%lld-d%lld-o%lld", (long long)d[0], (long long)d[1],
                  (long long)d[2], (long long)d[3]);
}

td_status example_finish_contrastive_grad(td_kernel_example *example) {
    const td_contrastive_grad_f32_args *args = &example->args.contrastive_grad_f32;
    td_contrastive_lse_f32_args rows = {.rows = args->rows,
                                        .batch = args->batch,
                                        .dim = args->dim,
                                        .x = args->x,
                                        .y = args->y,
                                        .scale = args->scale,
                                        .state = example_data(example, CONTRASTIVE_ROW_STATE)};
    td_contrastive_lse_f32_args cols = {.rows = args->batch,
                                        .batch = args->batch,
                                        .dim = args->dim,
                                        .x = args->y,
                                        .y = example_data(example, CONTRASTIVE_X),
                                        .scale = args->scale,
                                        .state = example_data(example, CONTRASTIVE_COL_STATE)};
    TD_TRY(example_compute(TD_OP_contrastive_lse_f32, &rows));
    return example_compute(TD_OP_contrastive_lse_f32, &cols);
}

enum {
    SIGMOID_DX = 4,
    SIGMOID_DY,
    SIGMOID_X_FIRST,
    SIGMOID_Y_FIRST,
    SIGMOID_X_SAMPLE,
    SIGMOID_Y_SAMPLE,
    SIGMOID_DX_OF,
    SIGMOID_DY_OF
};

/* Pair q takes image block q and text block q + 1 (modulo pairs); the samples of the text blocks
 * are shifted so that every other pair lies on the diagonal. */
void example_build_sigmoid(td_kernel_example *example, const int64_t *d) {
    td_sigmoid_loss_f32_args *args = &example->args.sigmoid_loss_f32;
    int64_t pairs = d[0], rows = d[1], dim = d[2];
    *args = (td_sigmoid_loss_f32_args){
        .pairs = pairs, .rows = rows, .dim = dim, .batch = 2 * pairs * rows};
    features(example, "x", pairs * rows, dim, &args->x);
    features(example, "y", pairs * rows, dim, &args->y);
    scalar(example, "scale", FILL_POSITIVE, &args->scale);
    scalar(example, "bias", FILL_SIGNED, &args->bias);
    example_inout(example, "dx", pairs * rows, dim, dim, NULL);
    example_inout(example, "dy", pairs * rows, dim, dim, NULL);
    const td_kernel_example_role role = TD_EXAMPLE_IN;
    example_add_bytes(example, "x_first", role, pairs, sizeof(int64_t), FILL_LATER, 0,
                      &args->x_first);
    example_add_bytes(example, "y_first", role, pairs, sizeof(int64_t), FILL_LATER, 0,
                      &args->y_first);
    example_add_bytes(example, "x_sample", role, pairs, sizeof(int64_t), FILL_LATER, 0,
                      &args->x_sample);
    example_add_bytes(example, "y_sample", role, pairs, sizeof(int64_t), FILL_LATER, 0,
                      &args->y_sample);
    example_add_bytes(example, "dx_of", role, pairs, sizeof(float *), FILL_LATER, 0, &args->dx);
    example_add_bytes(example, "dy_of", role, pairs, sizeof(float *), FILL_LATER, 0, &args->dy);
    example_out(example, "slots", pairs, 3, 3, &args->slots);
    example_shape(example, "q%lld-r%lld-d%lld", (long long)pairs, (long long)rows, (long long)dim);
}

td_status example_finish_sigmoid(td_kernel_example *example) {
    int64_t pairs = example->args.sigmoid_loss_f32.pairs,
            rows = example->args.sigmoid_loss_f32.rows;
    int64_t dim = example->args.sigmoid_loss_f32.dim;
    int64_t *x_first = example->buffers[SIGMOID_X_FIRST].shown.data;
    int64_t *y_first = example->buffers[SIGMOID_Y_FIRST].shown.data;
    int64_t *x_sample = example->buffers[SIGMOID_X_SAMPLE].shown.data;
    int64_t *y_sample = example->buffers[SIGMOID_Y_SAMPLE].shown.data;
    float **dx = example->buffers[SIGMOID_DX_OF].shown.data,
          **dy = example->buffers[SIGMOID_DY_OF].shown.data;
    for (int64_t q = 0; q < pairs; q++) {
        x_first[q] = q * rows;
        y_first[q] = (q + 1) % pairs * rows;
        x_sample[q] = q * rows;
        y_sample[q] = (q % 2 == 0 ? q : q + pairs) * rows;
        dx[q] = example_data(example, SIGMOID_DX) + x_first[q] * dim;
        dy[q] = example_data(example, SIGMOID_DY) + y_first[q] * dim;
    }
    return TD_OK;
}

/* Pointers of each pair into a buffer of doubles or floats. */
static void point_pairs(void **to, unsigned char *base, const int64_t *first, int64_t pairs,
                        int64_t row_bytes) {
    for (int64_t q = 0; q < pairs; q++) {
        to[q] = base + first[q] * row_bytes;
    }
}

static int later(td_kernel_example *example, const char *name, td_kernel_example_role role,
                 int64_t count, size_t element_bytes, void *pointer) {
    return example_add_bytes(example, name, role, count, element_bytes, FILL_LATER, 0, pointer);
}

static void *data_of(td_kernel_example *example, const char *name) {
    return example_buffer_named(example, name)->shown.data;
}

/* Pair q takes image block q and text block q + 1 (modulo pairs). */
static void first_rows(td_kernel_example *example, int64_t pairs, int64_t rows) {
    int64_t *x = data_of(example, "x_first"), *y = data_of(example, "y_first");
    for (int64_t q = 0; q < pairs; q++) {
        x[q] = q * rows;
        y[q] = (q + 1) % pairs * rows;
    }
}

void example_build_pairs_lse(td_kernel_example *example, const int64_t *d) {
    td_contrastive_pairs_lse_f32_args *args = &example->args.contrastive_pairs_lse_f32;
    int64_t pairs = d[0], rows = d[1], dim = d[2];
    const td_kernel_example_role in = TD_EXAMPLE_IN;
    *args = (td_contrastive_pairs_lse_f32_args){
        .pairs = pairs, .rows = rows, .dim = dim, .ld_scores = rows};
    features(example, "x", pairs * rows, dim, &args->x);
    features(example, "y", pairs * rows, dim, &args->y);
    scalar(example, "scale", FILL_POSITIVE, &args->scale);
    later(example, "x_first", in, pairs, sizeof(int64_t), &args->x_first);
    later(example, "y_first", in, pairs, sizeof(int64_t), &args->y_first);
    later(example, "x_state", TD_EXAMPLE_INOUT, 2 * pairs * rows, sizeof(double), NULL);
    later(example, "y_state", TD_EXAMPLE_INOUT, 2 * pairs * rows, sizeof(double), NULL);
    later(example, "x_state_of", in, pairs, sizeof(double *), &args->x_state);
    later(example, "y_state_of", in, pairs, sizeof(double *), &args->y_state);
    if (d[3]) {
        example_out(example, "scores", pairs * rows, rows, rows, NULL);
        later(example, "scores_of", in, pairs, sizeof(float *), &args->scores);
    }
    example_shape(example, "q%lld-r%lld-d%lld%s", (long long)pairs, (long long)rows, (long long)dim,
                  d[3] ? "-kept" : "");
}

/* Some rows have met nothing yet, some a higher and some a lower maximum than they will. */
td_status example_finish_pairs_lse(td_kernel_example *example) {
    td_contrastive_pairs_lse_f32_args *args = &example->args.contrastive_pairs_lse_f32;
    int64_t n = args->pairs * args->rows;
    static const double starts[3][2] = {{-INFINITY, 0}, {-1, 3.25}, {30, 1.5}};
    first_rows(example, args->pairs, args->rows);
    double *x = data_of(example, "x_state"), *y = data_of(example, "y_state");
    for (int64_t i = 0; i < 2 * n; i++) {
        x[i] = starts[i / 2 % 3][i % 2];
        y[i] = starts[(i / 2 + 1) % 3][i % 2];
    }
    const int64_t state = 2 * (int64_t)sizeof(double);
    const int64_t *x_first = data_of(example, "x_first"), *y_first = data_of(example, "y_first");
    point_pairs(data_of(example, "x_state_of"), (unsigned char *)x, x_first, args->pairs, state);
    point_pairs(data_of(example, "y_state_of"), (unsigned char *)y, y_first, args->pairs, state);
    if (example->spec.d[3]) {
        point_pairs(data_of(example, "scores_of"), data_of(example, "scores"), x_first, args->pairs,
                    args->rows * (int64_t)sizeof(float));
    }
    return TD_OK;
}

void example_build_pairs_grad(td_kernel_example *example, const int64_t *d) {
    td_contrastive_pairs_grad_f32_args *args = &example->args.contrastive_pairs_grad_f32;
    int64_t pairs = d[0], rows = d[1], dim = d[2];
    const td_kernel_example_role in = TD_EXAMPLE_IN;
    *args = (td_contrastive_pairs_grad_f32_args){
        .pairs = pairs, .rows = rows, .dim = dim, .batch = 2 * pairs * rows, .ld_scores = rows};
    features(example, "x", pairs * rows, dim, &args->x);
    features(example, "y", pairs * rows, dim, &args->y);
    scalar(example, "scale", FILL_POSITIVE, &args->scale);
    later(example, "x_first", in, pairs, sizeof(int64_t), &args->x_first);
    later(example, "y_first", in, pairs, sizeof(int64_t), &args->y_first);
    later(example, "x_sample", in, pairs, sizeof(int64_t), &args->x_sample);
    later(example, "y_sample", in, pairs, sizeof(int64_t), &args->y_sample);
    later(example, "state", in, 2 * pairs * rows, sizeof(double), NULL);
    later(example, "x_state_of", in, pairs, sizeof(double *), &args->x_state);
    later(example, "y_state_of", in, pairs, sizeof(double *), &args->y_state);
    example_inout(example, "dx", pairs * rows, dim, dim, NULL);
    example_inout(example, "dy", pairs * rows, dim, dim, NULL);
    later(example, "dx_of", in, pairs, sizeof(float *), &args->dx);
    later(example, "dy_of", in, pairs, sizeof(float *), &args->dy);
    if (d[3]) {
        example_in(example, "scores", pairs * rows, rows, rows, NULL);
        later(example, "scores_of", in, pairs, sizeof(float *), &args->scores);
    }
    later(example, "slots", TD_EXAMPLE_OUT, 2 * pairs, sizeof(double), &args->slots);
    example_shape(example, "q%lld-r%lld-d%lld%s", (long long)pairs, (long long)rows, (long long)dim,
                  d[3] ? "-kept" : "");
}

/* The greatest length of `rows` vectors. */
static double longest(const float *x, int64_t rows, int64_t dim) {
    double most = 0;
    for (int64_t i = 0; i < rows; i++) {
        double square = 0;
        for (int64_t k = 0; k < dim; k++) {
            square += (double)x[i * dim + k] * (double)x[i * dim + k];
        }
        most = square > most ? square : most;
    }
    return sqrt(most);
}

/* Every other pair lies on the diagonal. Maxima that no score exceeds, and sums as of a batch. */
td_status example_finish_pairs_grad(td_kernel_example *example) {
    td_contrastive_pairs_grad_f32_args *args = &example->args.contrastive_pairs_grad_f32;
    int64_t pairs = args->pairs, rows = args->rows;
    const int64_t row = args->dim * (int64_t)sizeof(float), state = 2 * (int64_t)sizeof(double);
    first_rows(example, pairs, rows);
    const int64_t *x_first = data_of(example, "x_first"), *y_first = data_of(example, "y_first");
    int64_t *x_sample = data_of(example, "x_sample"), *y_sample = data_of(example, "y_sample");
    double *states = data_of(example, "state");
    const double bound = (double)*args->scale * longest(args->x, pairs * rows, args->dim) *
                         longest(args->y, pairs * rows, args->dim);
    for (int64_t i = 0; i < pairs * rows; i++) {
        states[2 * i] = fmax(8, bound) + (double)(i % 7);
        states[2 * i + 1] = 1 + 0.125 * (double)(i % 11);
    }
    for (int64_t q = 0; q < pairs; q++) {
        x_sample[q] = q * rows;
        y_sample[q] = (q % 2 == 0 ? q : q + pairs) * rows;
    }
    unsigned char *at = (unsigned char *)states;
    point_pairs(data_of(example, "x_state_of"), at, x_first, pairs, state);
    point_pairs(data_of(example, "y_state_of"), at, y_first, pairs, state);
    point_pairs(data_of(example, "dx_of"), data_of(example, "dx"), x_first, pairs, row);
    point_pairs(data_of(example, "dy_of"), data_of(example, "dy"), y_first, pairs, row);
    if (example->spec.d[3]) {
        point_pairs(data_of(example, "scores_of"), data_of(example, "scores"), x_first, pairs,
                    rows * (int64_t)sizeof(float));
    }
    return TD_OK;
}

/* What both losses on stored products have in common. */
static void stored_rows(td_kernel_example *example, const int64_t *d, float **scores,
                        const float **scale, float **row_loss, float **row_dscale) {
    example_inout(example, "scores", d[0], d[1], d[3], scores);
    scalar(example, "scale", FILL_POSITIVE, scale);
    example_out(example, "row_loss", 1, d[0], d[0], row_loss);
    example_out(example, "row_dscale", 1, d[0], d[0], row_dscale);
    example_shape(example, "r%lld-n%lld-o%lld", (long long)d[0], (long long)d[1], (long long)d[2]);
}

void example_build_scores_softmax(td_kernel_example *example, const int64_t *d) {
    td_scores_softmax_f32_args *args = &example->args.scores_softmax_f32;
    *args = (td_scores_softmax_f32_args){
        .rows = d[0], .batch = d[1], .offset = d[2], .ld_scores = d[3]};
    stored_rows(example, d, &args->scores, &args->scale, &args->row_loss, &args->row_dscale);
}

void example_build_scores_sigmoid(td_kernel_example *example, const int64_t *d) {
    td_scores_sigmoid_f32_args *args = &example->args.scores_sigmoid_f32;
    *args = (td_scores_sigmoid_f32_args){
        .rows = d[0], .batch = d[1], .offset = d[2], .ld_scores = d[3]};
    stored_rows(example, d, &args->scores, &args->scale, &args->row_loss, &args->row_dscale);
    scalar(example, "bias", FILL_SIGNED, &args->bias);
    example_out(example, "row_dbias", 1, d[0], d[0], &args->row_dbias);
}
