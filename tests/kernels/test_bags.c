/* SPDX-License-Identifier: Apache-2.0
 * Bags of ids and softmax cross-entropy: the rows of the table against f64, and what f64 takes for
 * their gradients against central differences.
 */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>

#include "base/memory.h"
#include "kernel_oracles.h"

/* The factor of a table's row e, and by how much f32 may miss it. */
typedef struct limit {
    double factor, squares, error;
    bool near; /* so close to the limit that rounding decides on which side of it */
} limit;

static limit limit_of(const float *e, int64_t width, float max_norm) {
    limit out = {.factor = 1};
    for (int64_t c = 0; c < width; c++) {
        out.squares += (double)e[c] * (double)e[c];
    }
    double norm = sqrt(out.squares), most = (double)max_norm;
    if (max_norm > 0) {
        out.factor = norm > most ? most / norm : 1;
        out.error = oracle_gamma((double)width + 3) * out.factor;
        out.near = fabs(norm - most) <= oracle_gamma((double)width + 3) * norm;
    }
    return out;
}

void oracle_bag(const void *before, const void *after) {
    const td_embedding_bag_f32_args *args = before;
    const float *got = ((const td_embedding_bag_f32_args *)after)->y;
    for (int64_t k = 0; k < args->rows * args->width; k++) {
        int64_t r = k / args->width, c = k % args->width, at = r * args->ldy + c;
        double sum = args->accumulate ? (double)args->y[at] : 0, size = fabs(sum);
        for (int32_t i = args->offsets[r]; i < args->offsets[r + 1]; i++) {
            const float *e = args->table + args->ids[i] * args->width;
            limit l = limit_of(e, args->width, args->max_norm);
            double term = (double)args->coefficients[i] * l.factor * (double)e[c];
            sum += term;
            size += fabs(term) * (1 + l.error / TWIN_U / l.factor);
        }
        double n = (double)(args->offsets[r + 1] - args->offsets[r]);
        twin_near("y", k, (double)got[at], sum, oracle_gamma(n + 2) * size);
    }
}

/* d <y, dy> / d e of one id: factor * coefficient * (dy - k e). */
static double spread(const limit *l, double coefficient, double along, double e, double dy,
                     bool limited) {
    return limited ? coefficient * l->factor * (dy - along / l->squares * e) : coefficient * dy;
}

void oracle_bag_grad(const void *before, const void *after) {
    const td_embedding_bag_grad_f32_args *args = before;
    const float *got = ((const td_embedding_bag_grad_f32_args *)after)->dx;
    int64_t width = args->width;
    for (int64_t r = 0; r < args->rows; r++) {
        const float *dy = args->dy + r * args->lddy;
        for (int32_t i = args->offsets[r]; i < args->offsets[r + 1]; i++) {
            const float *e = args->table + args->ids[i] * width;
            limit l = limit_of(e, width, args->max_norm);
            bool limited = l.factor < 1;
            double along = 0, size = 0, by = (double)args->coefficients[i];
            for (int64_t c = 0; c < width; c++) {
                along += (double)e[c] * (double)dy[c];
                size += fabs((double)e[c] * (double)dy[c]);
            }
            for (int64_t c = 0; c < width; c++) {
                double x = (double)e[c], g = (double)dy[c], value = (double)got[i * width + c];
                double want = spread(&l, by, along, x, g, limited);
                if (l.near && fabs(value - want) > fabs(value - by * g)) {
                    want = spread(&l, by, along, x, g, !limited);
                }
                double terms = fabs(g) + (args->max_norm > 0 ? size / l.squares * fabs(x) : 0);
                double bound = oracle_gamma(2 * (double)width + 8) * fabs(by) * terms;
                twin_near("dx", i * width + c, value, want, bound);
            }
        }
    }
}

/* Of one row in f64. */
typedef struct softened {
    double top, total;
    int64_t best;
} softened;

static softened soften(const float *row, int64_t n) {
    softened out = {.top = (double)row[0]};
    for (int64_t c = 1; c < n; c++) {
        if ((double)row[c] > out.top) {
            out.top = (double)row[c];
            out.best = c;
        }
    }
    for (int64_t c = 0; c < n; c++) {
        out.total += exp((double)row[c] - out.top);
    }
    return out;
}

/* softmax.h's bound on a probability, here of the sum as well. */
void oracle_cross_entropy(const void *before, const void *after) {
    const td_cross_entropy_f32_args *args = before;
    const td_cross_entropy_f32_args *done = after;
    double scale = (double)args->scale, relative = (double)(args->cols + 100) * 2 * TWIN_U;
    for (int64_t r = 0; r < args->rows; r++) {
        const float *row = args->logits + r * args->ld;
        softened s = soften(row, args->cols);
        double below = s.top - (double)row[args->labels[r]], all = log(s.total);
        twin_near("row_loss", r, (double)done->row_loss[r], scale * (below + all),
                  scale * (relative + 4 * TWIN_U * (below + all)));
        twin_equal("row_hit", r, (int64_t)done->row_hit[r], s.best == args->labels[r]);
        for (int64_t c = 0; c < args->cols; c++) {
            double p = exp((double)row[c] - s.top) / s.total, own = c == args->labels[r] ? 1 : 0;
            twin_near("logits", r * args->cols + c, (double)done->logits[r * args->ld + c],
                      scale * (p - own), scale * (relative * p + 2 * TWIN_U) + FLT_MIN);
        }
    }
}

Test(bags, sums_of_rows) {
    twin_each_case(TD_OP_embedding_bag_f32, oracle_bag);
}

Test(bags, gradients_by_id) {
    twin_each_case(TD_OP_embedding_bag_grad_f32, oracle_bag_grad);
}

Test(bags, cross_entropy) {
    twin_each_case(TD_OP_cross_entropy_f32, oracle_cross_entropy);
}

/* A bag is what it is whether its ids come in one call or, added to what is there, in two. */
Test(bags, parts_add_to_the_whole_bit_for_bit) {
    enum { N = 150, CUT = 71, WIDTH = 21, VOCAB = 40 };
    float *table = twin_floats(VOCAB * WIDTH, 3, 1), *by = twin_floats(N, 4, 1);
    float whole[WIDTH], parts[WIDTH];
    int32_t ids[N];
    for (int32_t i = 0; i < N; i++) {
        ids[i] = i * 7 % VOCAB;
    }
    td_embedding_bag_f32_args args = {.rows = 1,
                                      .width = WIDTH,
                                      .vocab = VOCAB,
                                      .n = N,
                                      .offsets = (int32_t[]){0, N},
                                      .ids = ids,
                                      .coefficients = by,
                                      .table = table,
                                      .y = whole,
                                      .ldy = WIDTH};
    const td_kernel *row = td_kernel_example_portable(TD_OP_embedding_bag_f32);
    row->run(&args, 0, 1, NULL);
    args.y = parts;
    args.offsets = (int32_t[]){0, CUT};
    row->run(&args, 0, 1, NULL);
    args.offsets = (int32_t[]){CUT, N};
    args.accumulate = true;
    row->run(&args, 0, 1, NULL);
    for (int64_t c = 0; c < WIDTH; c++) {
        twin_same("y", c, parts[c], whole[c]);
    }
    td_free(table);
    td_free(by);
}

/* <y, dy> of a single bag in f64, as a function of the table. */
static double along_bag(const double *e, const double *dy, double most, int64_t width) {
    double squares = 0, sum = 0;
    for (int64_t c = 0; c < width; c++) {
        squares += e[c] * e[c];
        sum += e[c] * dy[c];
    }
    double norm = sqrt(squares);
    return sum * (norm > most ? most / norm : 1);
}

Test(bags, gradient_agrees_with_central_differences) {
    enum { WIDTH = 6 };
    const double h = 1e-6;
    float *random = twin_floats(2 * WIDTH, 5, 1);
    double e[WIDTH], dy[WIDTH], along = 0;
    for (int64_t c = 0; c < WIDTH; c++) {
        e[c] = (double)random[c];
        dy[c] = (double)random[WIDTH + c];
        along += e[c] * dy[c];
    }
    for (int limited = 0; limited <= 1; limited++) {
        float most = limited ? 0.5f : 100;
        limit l = limit_of(random, WIDTH, most);
        cr_assert_eq(l.factor < 1, limited != 0);
        for (int64_t c = 0; c < WIDTH; c++) {
            double kept = e[c];
            e[c] = kept + h;
            double above = along_bag(e, dy, (double)most, WIDTH);
            e[c] = kept - h;
            double below = along_bag(e, dy, (double)most, WIDTH);
            e[c] = kept;
            twin_named("oracle");
            twin_near("dx", c, spread(&l, 1, along, e[c], dy[c], limited != 0),
                      (above - below) / (2 * h), 1e-8);
        }
    }
    td_free(random);
}

Test(bags, cross_entropy_agrees_with_central_differences) {
    enum { N = 7, LABEL = 2 };
    const float h = 0x1p-10f;
    float *row = twin_floats(N, 6, 2);
    softened s = soften(row, N);
    twin_named("oracle");
    for (int64_t c = 0; c < N; c++) {
        double p = exp((double)row[c] - s.top) / s.total, loss[2];
        float kept = row[c];
        for (int side = 0; side < 2; side++) {
            row[c] = kept + (side ? h : -h);
            softened moved = soften(row, N);
            loss[side] = moved.top + log(moved.total) - (double)row[LABEL];
            row[c] = kept;
        }
        twin_near("logits", c, p - (c == LABEL), (loss[1] - loss[0]) / (2 * (double)h), 1e-6);
    }
    td_free(row);
}

/* Logits that tie: the first counts. And a NaN shows. */
Test(bags, ties_and_nan) {
    float logits[3][3] = {{1, 2, 2}, {2, 2, 1}, {NAN, 1, 0}}, loss[3], hit[3];
    int32_t labels[3] = {2, 0, 1};
    td_cross_entropy_f32_args args = {.rows = 3,
                                      .cols = 3,
                                      .ld = 3,
                                      .logits = logits[0],
                                      .labels = labels,
                                      .scale = 1,
                                      .row_loss = loss,
                                      .row_hit = hit};
    td_kernel_example_portable(TD_OP_cross_entropy_f32)->run(&args, 0, 1, NULL);
    cr_expect_eq(hit[0], 0);
    cr_expect_eq(hit[1], 1);
    cr_expect(isnan(loss[2]) && isnan(logits[2][0]) && isnan(logits[2][2]));
    cr_expect(isfinite(loss[0]) && isfinite(loss[1]));
}
