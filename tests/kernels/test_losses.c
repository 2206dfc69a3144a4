/* SPDX-License-Identifier: Apache-2.0
 * Both contrastive losses against float64 twins that use the full matrix, for any split into ranks
 * and blocks; start values; and equality of every row with the portable one.
 */
#include "kernel_twin.h"
#include "twin.h"

typedef struct batch {
    int64_t n, dim;
    float *x, *y, scale, bias;
} batch;

static batch make_batch(int64_t n, int64_t dim, float scale, float bias, double closeness) {
    batch b = {n, dim, twin_new(n * dim, 1, 1), twin_new(n * dim, 2, 1), scale, bias};
    for (int64_t i = 0; i < n; i++) {
        double norms[2] = {0, 0};
        for (int64_t c = 0; c < dim; c++) {
            b.y[i * dim + c] += (float)closeness * b.x[i * dim + c];
            norms[0] += (double)b.x[i * dim + c] * (double)b.x[i * dim + c];
            norms[1] += (double)b.y[i * dim + c] * (double)b.y[i * dim + c];
        }
        for (int64_t c = 0; c < dim; c++) {
            b.x[i * dim + c] = (float)((double)b.x[i * dim + c] / sqrt(norms[0]));
            b.y[i * dim + c] = (float)((double)b.y[i * dim + c] / sqrt(norms[1]));
        }
    }
    return b;
}

static void free_batch(batch *b) {
    td_free(b->x);
    td_free(b->y);
}

typedef struct answer {
    double loss, dscale, dbias;
    double *dx, *dy;
} answer;

static double dot(const batch *b, int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t c = 0; c < b->dim; c++) {
        sum += (double)b->x[i * b->dim + c] * (double)b->y[j * b->dim + c];
    }
    return sum;
}

static answer empty_answer(const batch *b) {
    return (answer){.dx = td_alloc_zero((size_t)(b->n * b->dim) * sizeof(double)),
                    .dy = td_alloc_zero((size_t)(b->n * b->dim) * sizeof(double))};
}

static void add_gradient(const batch *b, answer *a, int64_t i, int64_t j, double g) {
    for (int64_t c = 0; c < b->dim; c++) {
        a->dx[i * b->dim + c] += (double)b->scale * g * (double)b->y[j * b->dim + c];
        a->dy[j * b->dim + c] += (double)b->scale * g * (double)b->x[i * b->dim + c];
    }
}

static answer softmax_twin(const batch *b) {
    answer a = empty_answer(b);
    int64_t n = b->n;
    double *s = td_alloc((size_t)(n * n) * sizeof *s), *lse = td_alloc((size_t)(2 * n) * sizeof *s);
    for (int64_t i = 0; i < n * n; i++) {
        s[i] = (double)b->scale * dot(b, i / n, i % n);
    }
    for (int64_t i = 0; i < 2 * n; i++) {
        double max = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++) {
            max = fmax(max, i < n ? s[i * n + j] : s[j * n + i - n]);
        }
        for (int64_t j = 0; j < n; j++) {
            sum += exp((i < n ? s[i * n + j] : s[j * n + i - n]) - max);
        }
        lse[i] = max + log(sum);
    }
    for (int64_t i = 0; i < n; i++) {
        a.loss += (lse[i] - s[i * n + i] + lse[n + i] - s[i * n + i]) / (2 * (double)n);
        for (int64_t j = 0; j < n; j++) {
            double g = exp(s[i * n + j] - lse[i]) + exp(s[i * n + j] - lse[n + j]);
            g = (g - (i == j ? 2 : 0)) / (2 * (double)n);
            a.dscale += g * s[i * n + j];
            add_gradient(b, &a, i, j, g);
        }
    }
    td_free(s);
    td_free(lse);
    return a;
}

static answer sigmoid_twin(const batch *b) {
    answer a = empty_answer(b);
    for (int64_t i = 0; i < b->n; i++) {
        for (int64_t j = 0; j < b->n; j++) {
            double s = (double)b->scale * dot(b, i, j), l = s + (double)b->bias;
            double z = i == j ? -l : l; /* softplus(-label * l) */
            a.loss += (fmax(z, 0) + log1p(exp(-fabs(z)))) / (double)b->n;
            double g = i == j ? -1 / (1 + exp(l)) : 1 / (1 + exp(-l));
            g /= (double)b->n;
            a.dscale += g * s;
            a.dbias += g;
            add_gradient(b, &a, i, j, g);
        }
    }
    return a;
}

static void free_answer(answer *a) {
    td_free(a->dx);
    td_free(a->dy);
}

typedef struct result {
    double loss, dscale, dbias;
    float *dx, *dy;
} result;

static const td_kernel *row_of(td_op_id op, td_isa isa) {
    TWIN_EACH_ROW(row, op) {
        if (row->isa == isa) {
            return row;
        }
    }
    return NULL;
}

/* One direction of the softmax loss, in `ranks` slices of own rows. */
static void softmax_direction(td_isa isa, const batch *b, const float *x, const float *y,
                              int64_t ranks, float *state, const float *other_state, float *dx,
                              float *row_loss, float *row_dscale) {
    for (int64_t r = 0; r < ranks; r++) {
        int64_t first = b->n * r / ranks, rows = b->n * (r + 1) / ranks - first;
        td_contrastive_lse_f32_args one = {rows, b->n,      b->dim,           x + first * b->dim,
                                           y,    &b->scale, state + 2 * first};
        td_contrastive_grad_f32_args two = {rows,
                                            b->n,
                                            b->dim,
                                            first,
                                            x + first * b->dim,
                                            y,
                                            &b->scale,
                                            state + 2 * first,
                                            other_state,
                                            dx + first * b->dim,
                                            row_loss + first,
                                            row_dscale + first};
        void *scratch = twin_scratch(td_contrastive_grad_f32_scratch(&two));
        if (other_state == NULL) {
            row_of(TD_OP_contrastive_lse_f32, isa)
                ->run(&one, 0, td_contrastive_lse_f32_tiles(&one), scratch);
        } else {
            row_of(TD_OP_contrastive_grad_f32, isa)
                ->run(&two, 0, td_contrastive_grad_f32_tiles(&two), scratch);
        }
    }
}

static result softmax_run(td_isa isa, const batch *b, int64_t ranks) {
    result got = {.dx = twin_new(b->n * b->dim, 5, 1), .dy = twin_new(b->n * b->dim, 6, 1)};
    float *rows = twin_new(8 * b->n, 7, 1), *state_x = rows, *state_y = rows + 2 * b->n;
    float *loss_x = rows + 4 * b->n, *loss_y = rows + 5 * b->n;
    float *scale_x = rows + 6 * b->n, *scale_y = rows + 7 * b->n;
    softmax_direction(isa, b, b->x, b->y, ranks, state_x, NULL, got.dx, loss_x, scale_x);
    softmax_direction(isa, b, b->y, b->x, ranks, state_y, NULL, got.dy, loss_y, scale_y);
    softmax_direction(isa, b, b->x, b->y, ranks, state_x, state_y, got.dx, loss_x, scale_x);
    softmax_direction(isa, b, b->y, b->x, ranks, state_y, state_x, got.dy, loss_y, scale_y);
    for (int64_t i = 0; i < b->n; i++) {
        got.loss += (double)loss_x[i] + (double)loss_y[i];
        got.dscale += (double)scale_x[i];
    }
    td_free(rows);
    return got;
}

/* The Latin square over `blocks` blocks: in phase p, image block i meets text block i + p. */
static result sigmoid_run(td_isa isa, const batch *b, int64_t blocks) {
    result got = {.dx = td_alloc_zero((size_t)(b->n * b->dim) * sizeof(float)),
                  .dy = td_alloc_zero((size_t)(b->n * b->dim) * sizeof(float))};
    int64_t rows = b->n / blocks, first[2][16];
    float *into[2][16], slots[16 * 3];
    for (int64_t phase = 0; phase < blocks; phase++) {
        for (int64_t i = 0; i < blocks; i++) {
            first[0][i] = i * rows;
            first[1][i] = (i + phase) % blocks * rows;
            into[0][i] = got.dx + first[0][i] * b->dim;
            into[1][i] = got.dy + first[1][i] * b->dim;
        }
        td_sigmoid_loss_f32_args args = {blocks,    rows,     b->dim,   b->n,    first[0],
                                         first[1],  first[0], first[1], b->x,    b->y,
                                         &b->scale, &b->bias, into[0],  into[1], slots};
        void *scratch = twin_scratch(td_sigmoid_loss_f32_scratch(&args));
        row_of(TD_OP_sigmoid_loss_f32, isa)->run(&args, 0, blocks, scratch);
        for (int64_t i = 0; i < blocks; i++) {
            got.loss += (double)slots[3 * i];
            got.dscale += (double)slots[3 * i + 1];
            got.dbias += (double)slots[3 * i + 2];
        }
    }
    return got;
}

/* What the passes of a Latin square are given in one phase, for `blocks` blocks of `rows` rows. */
typedef struct square {
    int64_t blocks, rows, first[2][16];
    double *states, *state_of[2][16];
    float *into[2][16], *scores, *scores_of[16];
} square;

static void square_phase(square *at, const batch *b, const result *got, int64_t phase) {
    for (int64_t i = 0; i < at->blocks; i++) {
        int64_t j = (i + phase) % at->blocks;
        at->first[0][i] = i * at->rows;
        at->first[1][i] = j * at->rows;
        at->state_of[0][i] = at->states + 2 * i * at->rows;
        at->state_of[1][i] = at->states + 2 * (b->n + j * at->rows);
        at->into[0][i] = got->dx + at->first[0][i] * b->dim;
        at->into[1][i] = got->dy + at->first[1][i] * b->dim;
        at->scores_of[i] = at->scores + at->first[0][i] * b->n + at->first[1][i];
    }
}

static void pairs_lse(td_isa isa, const batch *b, square *at, bool kept) {
    td_contrastive_pairs_lse_f32_args args = {.pairs = at->blocks,
                                              .rows = at->rows,
                                              .dim = b->dim,
                                              .x_first = at->first[0],
                                              .y_first = at->first[1],
                                              .x = b->x,
                                              .y = b->y,
                                              .scale = &b->scale,
                                              .x_state = at->state_of[0],
                                              .y_state = at->state_of[1],
                                              .scores = kept ? at->scores_of : NULL,
                                              .ld_scores = b->n};
    void *scratch = twin_scratch(td_contrastive_pairs_lse_f32_scratch(&args));
    row_of(TD_OP_contrastive_pairs_lse_f32, isa)->run(&args, 0, at->blocks, scratch);
}

static void pairs_grad(td_isa isa, const batch *b, square *at, bool kept, result *got) {
    double slots[16 * 2];
    td_contrastive_pairs_grad_f32_args args = {.pairs = at->blocks,
                                               .rows = at->rows,
                                               .dim = b->dim,
                                               .batch = b->n,
                                               .x_first = at->first[0],
                                               .y_first = at->first[1],
                                               .x_sample = at->first[0],
                                               .y_sample = at->first[1],
                                               .x = b->x,
                                               .y = b->y,
                                               .scale = &b->scale,
                                               .x_state = (const double *const *)at->state_of[0],
                                               .y_state = (const double *const *)at->state_of[1],
                                               .scores = kept ? (const float *const *)at->scores_of
                                                              : NULL,
                                               .ld_scores = b->n,
                                               .dx = at->into[0],
                                               .dy = at->into[1],
                                               .slots = slots};
    void *scratch = twin_scratch(td_contrastive_pairs_grad_f32_scratch(&args));
    row_of(TD_OP_contrastive_pairs_grad_f32, isa)->run(&args, 0, at->blocks, scratch);
    for (int64_t i = 0; i < at->blocks; i++) {
        got->loss += slots[2 * i];
        got->dscale += slots[2 * i + 1];
    }
}

/* Both passes of the softmax loss by block pairs. */
static result joint_run(td_isa isa, const batch *b, int64_t blocks, bool kept) {
    result got = {.dx = td_alloc_zero((size_t)(b->n * b->dim) * sizeof(float)),
                  .dy = td_alloc_zero((size_t)(b->n * b->dim) * sizeof(float))};
    square at = {.blocks = blocks,
                 .rows = b->n / blocks,
                 .states = td_alloc((size_t)(4 * b->n) * sizeof(double)),
                 .scores = twin_new(b->n * b->n, 7, 1)};
    for (int64_t i = 0; i < 2 * b->n; i++) {
        at.states[2 * i] = -INFINITY;
        at.states[2 * i + 1] = 0;
    }
    for (int64_t phase = 0; phase < blocks; phase++) {
        square_phase(&at, b, &got, phase);
        pairs_lse(isa, b, &at, kept);
    }
    for (int64_t phase = 0; phase < blocks; phase++) {
        square_phase(&at, b, &got, phase);
        pairs_grad(isa, b, &at, kept, &got);
    }
    td_free(at.states);
    td_free(at.scores);
    return got;
}

/* Gradients (n, n) of scores, already times scale, taken to both sides in f64. */
static void add_products(const batch *b, const float *g, bool transposed, double *dx, double *dy) {
    for (int64_t i = 0; i < b->n; i++) {
        for (int64_t j = 0; j < b->n; j++) {
            double at = (double)(transposed ? g[j * b->n + i] : g[i * b->n + j]);
            for (int64_t c = 0; c < b->dim; c++) {
                dx[i * b->dim + c] += at * (double)b->y[j * b->dim + c];
                dy[j * b->dim + c] += at * (double)b->x[i * b->dim + c];
            }
        }
    }
}

/* Either loss on stored products; the softmax loss runs once for rows and once for columns. */
static result stored_run(td_isa isa, const batch *b, bool softmax) {
    int64_t n = b->n;
    result got = {.dx = twin_new(n * b->dim, 5, 1), .dy = twin_new(n * b->dim, 6, 1)};
    float *scores = twin_new(n * n, 7, 1), *rows = twin_new(3 * n, 8, 1);
    double *sums = td_alloc_zero((size_t)(2 * n * b->dim) * sizeof(double));
    for (int pass = 0; pass < (softmax ? 2 : 1); pass++) {
        for (int64_t i = 0; i < n * n; i++) {
            scores[i] = (float)(pass == 0 ? dot(b, i / n, i % n) : dot(b, i % n, i / n));
        }
        td_scores_softmax_f32_args one = {n, n, 0, n, scores, &b->scale, rows, rows + n};
        td_scores_sigmoid_f32_args two = {n,         n,        0,    n,        scores,
                                          &b->scale, &b->bias, rows, rows + n, rows + 2 * n};
        const void *args = softmax ? (const void *)&one : (const void *)&two;
        td_op_id op = softmax ? TD_OP_scores_softmax_f32 : TD_OP_scores_sigmoid_f32;
        row_of(op, isa)->run(args, 0, td_ops[op].tiles(args), NULL);
        add_products(b, scores, pass == 1, sums, sums + n * b->dim);
        for (int64_t i = 0; i < n; i++) {
            got.loss += (double)rows[i];
            got.dscale += (double)rows[n + i];
            got.dbias += softmax ? 0 : (double)rows[2 * n + i];
        }
    }
    for (int64_t i = 0; i < n * b->dim; i++) {
        got.dx[i] = (float)sums[i];
        got.dy[i] = (float)sums[n * b->dim + i];
    }
    td_free(scores);
    td_free(rows);
    td_free(sums);
    return got;
}

static void free_result(result *r) {
    td_free(r->dx);
    td_free(r->dy);
}

/* Scores carry an error of about scale * dim * 2^-24 in the worst case, 1e-4 of a unit at scale
 * 100; gradients inherit it relative to their size, which is at most scale. */
static void check(const batch *b, const result *got, const answer *want, const char *what) {
    double slack = 4e-7 * (1 + (double)b->scale);
    cr_assert(fabs(got->loss - want->loss) <= slack * (1 + fabs(want->loss)),
              "%s loss %.9g, not %.9g", what, got->loss, want->loss);
    cr_assert(fabs(got->dscale - want->dscale) <= 10 * slack, "%s dscale %g, not %g", what,
              got->dscale, want->dscale);
    cr_assert(fabs(got->dbias - want->dbias) <= slack, "%s dbias", what);
    cr_assert(twin_gap(got->dx, want->dx, b->n * b->dim) <= slack, "%s dx", what);
    cr_assert(twin_gap(got->dy, want->dy, b->n * b->dim) <= slack, "%s dy", what);
}

static void same(const batch *b, const result *one, const result *two) {
    cr_assert_arr_eq(one->dx, two->dx, (size_t)(b->n * b->dim) * sizeof(float));
    cr_assert_arr_eq(one->dy, two->dy, (size_t)(b->n * b->dim) * sizeof(float));
    cr_assert_eq(one->loss, two->loss);
    cr_assert_eq(one->dscale, two->dscale);
}

static const int64_t sizes[][2] = {{1, 7}, {8, 48}, {48, 64}, {72, 33}, {130, 20}, {192, 96}};

Test(losses, softmax_is_near_the_twin_for_every_row_and_split) {
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        batch b = make_batch(sizes[s][0], sizes[s][1], s % 2 ? 100 : 14.3f, 0, 0.5);
        answer want = softmax_twin(&b);
        result reference = softmax_run(TD_ISA_PORTABLE, &b, 1);
        TWIN_EACH_ROW(row, TD_OP_contrastive_grad_f32) {
            for (int64_t ranks = 1; ranks <= 4; ranks++) {
                result got = softmax_run(row->isa, &b, ranks);
                check(&b, &got, &want, row->name);
                same(&b, &got, &reference);
                free_result(&got);
            }
        }
        free_result(&reference);
        free_answer(&want);
        free_batch(&b);
    }
}

Test(losses, sigmoid_is_near_the_twin_for_every_row) {
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        batch b = make_batch(sizes[s][0], sizes[s][1], s % 2 ? 40 : 10, -10, 0.5);
        int64_t blocks = b.n % 8 == 0 ? 8 : 1;
        answer want = sigmoid_twin(&b);
        result reference = sigmoid_run(TD_ISA_PORTABLE, &b, blocks);
        TWIN_EACH_ROW(row, TD_OP_sigmoid_loss_f32) {
            result got = sigmoid_run(row->isa, &b, blocks);
            check(&b, &got, &want, row->name);
            same(&b, &got, &reference);
            free_result(&got);
        }
        free_result(&reference);
        free_answer(&want);
        free_batch(&b);
    }
}

Test(losses, softmax_by_pairs_is_near_the_twin_for_every_row_kept_or_not) {
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        batch b = make_batch(sizes[s][0], sizes[s][1], s % 2 ? 100 : 14.3f, 0, 0.5);
        int64_t blocks = b.n % 8 == 0 ? 8 : 1;
        answer want = softmax_twin(&b);
        result reference = joint_run(TD_ISA_PORTABLE, &b, blocks, false);
        TWIN_EACH_ROW(row, TD_OP_contrastive_pairs_grad_f32) {
            for (int kept = 0; kept < 2; kept++) {
                result got = joint_run(row->isa, &b, blocks, kept);
                check(&b, &got, &want, row->name);
                same(&b, &got, &reference);
                free_result(&got);
            }
        }
        free_result(&reference);
        free_answer(&want);
        free_batch(&b);
    }
}

Test(losses, stored_products_give_the_losses_of_the_twins) {
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        batch b = make_batch(sizes[s][0], sizes[s][1], s % 2 ? 100 : 14.3f, -10, 0.5);
        for (int softmax = 0; softmax < 2; softmax++) {
            answer want = softmax ? softmax_twin(&b) : sigmoid_twin(&b);
            result reference = stored_run(TD_ISA_PORTABLE, &b, softmax);
            TWIN_EACH_ROW(row, TD_OP_scores_softmax_f32) {
                result got = stored_run(row->isa, &b, softmax);
                check(&b, &got, &want, row->name);
                same(&b, &got, &reference);
                free_result(&got);
            }
            free_result(&reference);
            free_answer(&want);
        }
        free_batch(&b);
    }
}

/* ln B for features without a relation and a small scale; softplus(10) + (B - 1) softplus(-10) for
 * orthogonal features. */
Test(losses, start_values) {
    batch b = make_batch(64, 512, 0.01f, 0, 0);
    result got = softmax_run(TD_ISA_PORTABLE, &b, 1);
    cr_assert_float_eq(got.loss, log(64), 1e-3);
    free_result(&got);
    free_batch(&b);
    b = make_batch(64, 512, 1e-6f, -10, 0);
    got = sigmoid_run(TD_ISA_PORTABLE, &b, 8);
    cr_assert_float_eq(got.loss, 10.003, 1e-3);
    free_result(&got);
    free_batch(&b);
}

/* Where features point one way, as an untrained tower's do, one chain over all of them rounds at
 * the size of the sum: a relative error of 1.1e-5 here, of 2e-6 with short chains. */
Test(losses, scores_of_features_that_point_one_way_keep_their_digits) {
    double worst = 0;
    for (uint64_t pair = 0; pair < 64; pair++) {
        batch b = make_batch(1, 512, 10, -10, 0);
        twin_fill(b.x, b.dim, 100 + pair, 0.03);
        for (int64_t c = 0; c < b.dim; c++) {
            b.x[c] = b.y[c] = fabsf(b.x[c]) + 0.02f;
        }
        answer want = sigmoid_twin(&b);
        result got = sigmoid_run(TD_ISA_PORTABLE, &b, 1);
        worst = fmax(worst, fabs(got.loss / want.loss - 1));
        free_result(&got);
        free_answer(&want);
        free_batch(&b);
    }
    cr_assert_leq(worst, 4e-6, "%g", worst);
}

/* Scale 100 and equal features: an exp without its shift overflows at 88.7. */
Test(losses, duplicates_at_the_largest_scale_stay_finite) {
    batch b = make_batch(16, 32, 100, 0, 1e9);
    memcpy(b.y, b.x, (size_t)(16 * 32) * sizeof(float));
    answer want = softmax_twin(&b);
    result got[] = {softmax_run(TD_ISA_PORTABLE, &b, 2), joint_run(TD_ISA_PORTABLE, &b, 4, false),
                    stored_run(TD_ISA_PORTABLE, &b, true)};
    for (int i = 0; i < 3; i++) {
        cr_assert(isfinite(got[i].loss));
        check(&b, &got[i], &want, "duplicates");
        free_result(&got[i]);
    }
    free_answer(&want);
    free_batch(&b);
}

/* The gradient matrix sums to zero: with a coordinate that all texts share, the images' gradients
 * along it do, row by row not, in total yes. */
Test(losses, softmax_gradient_sums_to_zero) {
    TWIN_EACH_ROW(row, TD_OP_contrastive_grad_f32) {
        batch b = make_batch(100, 24, 20, 0, 0.5);
        for (int64_t i = 0; i < b.n; i++) {
            b.y[i * b.dim + 3] = 0.5f;
        }
        result got = joint_run(row->isa, &b, 1, false);
        double sum = 0, size = 0;
        for (int64_t i = 0; i < b.n; i++) {
            sum += (double)got.dx[i * b.dim + 3];
            size += fabs((double)got.dx[i * b.dim + 3]);
        }
        cr_assert(fabs(sum) <= 1e-5 * size && size > 1e-3, "%g of %g", sum, size);
        free_result(&got);
        free_batch(&b);
    }
}

/* The twins are arguments of ours too: their gradients against central differences. Steps are
 * taken in f32 inputs, so the difference divides by the step that was really made. */
static void check_differences(answer (*twin)(const batch *)) {
    batch b = make_batch(5, 4, 12, -3, 0.5);
    answer at = twin(&b);
    float *const knobs[] = {&b.x[6], &b.y[9], &b.scale, &b.bias};
    const double want[] = {at.dx[6], at.dy[9], at.dscale / (double)b.scale, at.dbias};
    for (int i = 0; i < 4; i++) {
        float kept = *knobs[i], low = kept - 0x1p-12f, high = kept + 0x1p-12f;
        *knobs[i] = high;
        answer above = twin(&b);
        *knobs[i] = low;
        answer below = twin(&b);
        *knobs[i] = kept;
        double slope = (above.loss - below.loss) / ((double)high - (double)low);
        cr_expect(fabs(slope - want[i]) <= 3e-6 * (1 + fabs(want[i])), "%d: %.9g, not %.9g", i,
                  slope, want[i]);
        free_answer(&above);
        free_answer(&below);
    }
    free_answer(&at);
    free_batch(&b);
}

Test(losses, the_twins_agree_with_central_differences) {
    check_differences(softmax_twin);
    check_differences(sigmoid_twin);
}

/* A pair that fits well: softplus(l) - l and sigmoid(l) - 1 would lose it all, at l = 30. */
Test(losses, a_well_fitted_pair_keeps_its_loss_and_gradient) {
    TWIN_EACH_ROW(row, TD_OP_sigmoid_loss_f32) {
        batch b = make_batch(1, 16, 40, -10, 1e9);
        memcpy(b.y, b.x, 16 * sizeof(float));
        result got = sigmoid_run(row->isa, &b, 1);
        double l = (double)b.scale * dot(&b, 0, 0) + (double)b.bias;
        cr_assert(fabs(got.loss / exp(-l) - 1) <= 1e-4, "loss %g at logit %g", got.loss, l);
        cr_assert(fabs(got.dbias / -exp(-l) - 1) <= 1e-4, "slope %g at logit %g", got.dbias, l);
        free_result(&got);
        free_batch(&b);
    }
}

/* A NaN feature makes its own rows NaN, and those that meet it. */
Test(losses, a_nan_shows) {
    TWIN_EACH_ROW(row, TD_OP_sigmoid_loss_f32) {
        batch b = make_batch(20, 18, 10, -10, 0.5);
        b.x[7 * b.dim + 2] = NAN;
        result softmax = joint_run(row->isa, &b, 1, false), sigmoid = sigmoid_run(row->isa, &b, 1);
        cr_expect(isnan(softmax.loss) && isnan(sigmoid.loss));
        for (int64_t i = 0; i < b.n; i++) {
            cr_expect_eq(isnan(sigmoid.dx[i * b.dim]) != 0, i == 7);
            cr_expect(isnan(softmax.dx[i * b.dim]) && isnan(sigmoid.dy[i * b.dim]));
        }
        free_result(&softmax);
        free_result(&sigmoid);
        free_batch(&b);
    }
}
