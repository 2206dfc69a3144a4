/* SPDX-License-Identifier: Apache-2.0
 * Attention, in f32 and on operands rounded to bf16, against a naive float64 twin, forward and
 * backward; the twin's own gradient against central differences; every row against the portable
 * one by memcmp.
 */
#include "kernel_oracles.h"
#include "kernel_twin.h"
#include "twin.h"

/* rounding: what a product's operand may lose of its size, half an ULP of bf16's 8 bits. The twin
 * takes Q, K, V and dO as they are after that; P and dS are rounded inside. */
typedef struct kind {
    td_op_id forward, backward;
    double rounding;
} kind;

static const kind kinds[] = {{TD_OP_attention_f32, TD_OP_attention_grad_f32, 0},
                             {TD_OP_attention_bf16, TD_OP_attention_grad_bf16, 0x1p-8}};
static const kind *const f32_kind = &kinds[0], *const bf16_kind = &kinds[1];
#define EACH_KIND(of) for (const kind *of = kinds; of <= bf16_kind; of++)

typedef struct shape {
    int64_t seqs, heads, head, n_q, n_k;
    bool causal, shared;
} shape;

static const shape shapes[] = {
    {1, 1, 64, 1, 1, false, false},    {2, 3, 64, 50, 50, false, false},
    {1, 2, 64, 77, 77, true, false},   {1, 1, 64, 197, 197, false, false},
    {2, 2, 8, 23, 23, true, false},    {1, 2, 24, 24, 24, true, false},
    {1, 1, 128, 25, 25, false, false}, {2, 2, 72, 16, 17, false, false},
    {3, 2, 20, 1, 49, false, true},    {1, 1, 13, 31, 15, false, false},
    {1, 1, 64, 48, 48, true, false},   {1, 1, 16, 257, 257, false, false},
    {1, 8, 64, 19, 19, false, false},  {1, 8, 64, 131, 131, true, false},
    {2, 17, 24, 1, 50, false, false},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

/* Packed qkv where n_q == n_k, q apart otherwise; one block of memory each. */
typedef struct problem {
    shape s;
    float *q, *kv, *o, *lse, *d_o, *dq, *dkv;
    int64_t q_elements, kv_elements, o_elements;
    td_attention_grad_f32_args args;
} problem;

static problem make_problem(shape s, uint64_t id) {
    problem p = {.s = s};
    int64_t width = s.heads * s.head, q_seqs = s.shared ? 1 : s.seqs;
    p.q_elements = q_seqs * s.n_q * width;
    p.kv_elements = s.seqs * s.n_k * 2 * width;
    p.o_elements = s.seqs * s.n_q * width;
    p.q = twin_new(p.q_elements, id * 8, 1);
    p.kv = twin_new(p.kv_elements, id * 8 + 1, 1);
    p.d_o = twin_new(p.o_elements, id * 8 + 2, 1);
    p.o = twin_new(p.o_elements, id * 8 + 3, 1);
    p.lse = twin_new(s.seqs * s.heads * s.n_q, id * 8 + 4, 1);
    p.dq = twin_new(p.o_elements, id * 8 + 5, 1);
    p.dkv = twin_new(p.kv_elements, id * 8 + 6, 1);
    p.args = (td_attention_grad_f32_args){.forward = {.seqs = s.seqs,
                                                      .heads = s.heads,
                                                      .head = s.head,
                                                      .n_q = s.n_q,
                                                      .n_k = s.n_k,
                                                      .causal = s.causal,
                                                      .q = p.q,
                                                      .k = p.kv,
                                                      .v = p.kv + width,
                                                      .q_seq = s.shared ? 0 : s.n_q * width,
                                                      .q_row = width,
                                                      .kv_seq = s.n_k * 2 * width,
                                                      .kv_row = 2 * width,
                                                      .o = p.o,
                                                      .o_seq = s.n_q * width,
                                                      .o_row = width,
                                                      .lse = p.lse},
                                          .d_o = p.d_o,
                                          .dq = p.dq,
                                          .dk = p.dkv,
                                          .dv = p.dkv + width,
                                          .dq_seq = s.n_q * width,
                                          .dq_row = width,
                                          .dkv_seq = s.n_k * 2 * width,
                                          .dkv_row = 2 * width};
    return p;
}

static void free_problem(problem *p) {
    float *const blocks[] = {p->q, p->kv, p->d_o, p->o, p->lse, p->dq, p->dkv};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        td_free(blocks[i]);
    }
}

static void run(const td_kernel *forward, const td_kernel *backward, problem *p) {
    int64_t forward_bytes = td_ops[forward->op].scratch(&p->args.forward);
    int64_t backward_bytes = td_ops[backward->op].scratch(&p->args);
    void *scratch = twin_scratch(forward_bytes > backward_bytes ? forward_bytes : backward_bytes);
    int64_t tiles = td_attention_f32_tiles(&p->args.forward), cut = tiles / 2;
    forward->run(&p->args.forward, 0, cut, scratch);
    forward->run(&p->args.forward, cut, tiles, scratch);
    backward->run(&p->args, cut, tiles, scratch);
    backward->run(&p->args, 0, cut, scratch);
}

static const td_kernel *find_row(td_op_id op, td_isa isa) {
    int count;
    const td_kernel *rows = td_kernels(&count);
    for (int i = 0; i < count; i++) {
        if (rows[i].op == op && rows[i].isa == isa) {
            return &rows[i];
        }
    }
    cr_assert_fail("no row");
    return NULL;
}

/* The twin: one head, plain loops. */
typedef struct twin {
    int64_t n_q, n_k, d;
    bool causal;
    double rounding; /* of its kind */
    const double *q, *k, *v, *d_o;
    double *o, *lse, *dq, *dk, *dv;
} twin;

static void twin_head(const twin *t) {
    double *p = td_alloc_zero((size_t)t->n_k * sizeof *p);
    memset(t->dk, 0, (size_t)(t->n_k * t->d) * sizeof(double));
    memset(t->dv, 0, (size_t)(t->n_k * t->d) * sizeof(double));
    for (int64_t i = 0; i < t->n_q; i++) {
        int64_t seen = t->causal ? i + 1 : t->n_k;
        double max = -INFINITY, sum = 0, mean = 0;
        for (int64_t j = 0; j < seen; j++) {
            p[j] = 0;
            for (int64_t c = 0; c < t->d; c++) {
                p[j] += t->q[i * t->d + c] * t->k[j * t->d + c];
            }
            p[j] /= sqrt((double)t->d);
            max = fmax(max, p[j]);
        }
        for (int64_t j = 0; j < seen; j++) {
            sum += p[j] = exp(p[j] - max);
        }
        t->lse[i] = max + log(sum);
        for (int64_t c = 0; c < t->d; c++) {
            double o = 0;
            for (int64_t j = 0; j < seen; j++) {
                o += p[j] / sum * t->v[j * t->d + c];
            }
            t->o[i * t->d + c] = o;
            t->dq[i * t->d + c] = 0;
            mean += o * t->d_o[i * t->d + c];
        }
        for (int64_t j = 0; j < seen; j++) {
            double dp = 0;
            for (int64_t c = 0; c < t->d; c++) {
                dp += t->d_o[i * t->d + c] * t->v[j * t->d + c];
                t->dv[j * t->d + c] += p[j] / sum * t->d_o[i * t->d + c];
            }
            double ds = p[j] / sum * (dp - mean) / sqrt((double)t->d);
            for (int64_t c = 0; c < t->d; c++) {
                t->dq[i * t->d + c] += ds * t->k[j * t->d + c];
                t->dk[j * t->d + c] += ds * t->q[i * t->d + c];
            }
        }
    }
    td_free(p);
}

/* What f32 may lose, element by element, in the layout of a twin's results. A chain of n FMAs loses
 * at most n u of the sum of magnitudes; an error of a score is a relative error of its exp. */
typedef struct row_errors {
    double p;    /* relative, of a probability */
    double mean; /* absolute, of D = rowsum(dO O) */
} row_errors;

static double magnitude(const double *a, const double *b, int64_t d) {
    double sum = 0;
    for (int64_t c = 0; c < d; c++) {
        sum += fabs(a[c] * b[c]);
    }
    return sum;
}

static const double U = 0x1p-24;

static row_errors bound_row(const twin *t, const twin *bound, int64_t i, int64_t seen,
                            const double *p) {
    int64_t d = t->d;
    double score = 0;
    for (int64_t j = 0; j < seen; j++) {
        score = fmax(score, magnitude(t->q + i * d, t->k + j * d, d) / sqrt((double)d));
    }
    /* Chain, scale and its own rounding, twice: a score and the maximum; then log and sum. */
    double lost = (2 * (double)d + 8) * U * score;
    bound->lse[i] = lost + 8 * U * (1 + fabs(t->lse[i])) + ((double)seen / 16 + 8) * U;
    row_errors errors = {.p = lost + bound->lse[i] + 8 * U};
    for (int64_t c = 0; c < d; c++) {
        double size = 0;
        for (int64_t j = 0; j < seen; j++) {
            size += p[j] * fabs(t->v[j * d + c]);
        }
        bound->o[i * d + c] = size * (2 * errors.p + ((double)seen + 8) * U + t->rounding);
        errors.mean += fabs(t->d_o[i * d + c]) * bound->o[i * d + c] * (1 + t->rounding);
    }
    /* D takes dO unrounded. */
    double unrounded = t->rounding / (1 - t->rounding);
    errors.mean +=
        (((double)d / 16 + 6) * U + unrounded) * magnitude(t->d_o + i * d, t->o + i * d, d);
    return errors;
}

static void bound_head(const twin *t, const twin *bound) {
    int64_t d = t->d;
    double root = sqrt((double)d), *p = td_alloc_zero((size_t)t->n_k * sizeof *p);
    memset(bound->dq, 0, (size_t)(t->n_q * d) * sizeof(double));
    memset(bound->dk, 0, (size_t)(t->n_k * d) * sizeof(double));
    memset(bound->dv, 0, (size_t)(t->n_k * d) * sizeof(double));
    for (int64_t i = 0; i < t->n_q; i++) {
        int64_t seen = t->causal ? i + 1 : t->n_k;
        const double *q = t->q + i * d, *d_o = t->d_o + i * d;
        double mean = 0;
        for (int64_t j = 0; j < seen; j++) {
            double score = 0;
            for (int64_t c = 0; c < d; c++) {
                score += q[c] * t->k[j * d + c];
            }
            p[j] = exp(score / root - t->lse[i]);
        }
        row_errors errors = bound_row(t, bound, i, seen, p);
        for (int64_t c = 0; c < d; c++) {
            mean += t->o[i * d + c] * d_o[c];
        }
        for (int64_t j = 0; j < seen; j++) {
            double dp = 0, size = magnitude(d_o, t->v + j * d, d);
            for (int64_t c = 0; c < d; c++) {
                dp += d_o[c] * t->v[j * d + c];
            }
            double ds = fabs(p[j] * (dp - mean)) / root;
            double lost = ds * (errors.p + 6 * U) +
                          p[j] / root * (((double)d + 2) * U * size + errors.mean + U * fabs(mean));
            for (int64_t c = 0; c < d; c++) {
                double k = fabs(t->k[j * d + c]), chain = ((double)t->n_q + 2) * U;
                /* What is rounded to bf16 has its error already. */
                double rounded = t->rounding * (ds + lost);
                bound->dq[i * d + c] += k * (lost + ((double)seen + 2) * U * ds + rounded);
                bound->dk[j * d + c] += fabs(q[c]) * (lost + chain * ds + rounded);
                bound->dv[j * d + c] +=
                    fabs(d_o[c]) * p[j] * (errors.p + chain + t->rounding * (1 + errors.p));
            }
        }
    }
    td_free(p);
}

/* To nearest, ties to even, in 8 bits; inputs have no denormals. */
static double rounded_to_bf16(float x) {
    int exponent;
    double fraction = frexp((double)x, &exponent);
    return isfinite(x) ? ldexp(rint(ldexp(fraction, 8)), exponent - 8) : (double)x;
}

static double *take(const kind *of, const float *base, int64_t row, int64_t n, int64_t d) {
    double *out = td_alloc((size_t)(n * d) * sizeof *out);
    for (int64_t i = 0; i < n * d; i++) {
        float x = base[i / d * row + i % d];
        out[i] = of == bf16_kind ? rounded_to_bf16(x) : (double)x;
    }
    return out;
}

/* Largest error of n rows of d values, as a share of its bound. */
static double share_of(const float *base, int64_t row, const double *want, const double *bound,
                       int64_t n, int64_t d) {
    double worst = 0;
    for (int64_t i = 0; i < n * d; i++) {
        double gap = fabs((double)base[i / d * row + i % d] - want[i]);
        double share = gap == 0 ? 0 : gap / bound[i];
        if (!(share <= worst)) {
            worst = isnan(share) ? INFINITY : share;
        }
    }
    return worst;
}

/* Room for what a twin computes of a head of this size. */
static double *results_new(twin *t) {
    int64_t rows = t->n_q * t->d, keys = t->n_k * t->d;
    double *block = td_alloc((size_t)(2 * rows + 2 * keys + t->n_q) * sizeof *block);
    cr_assert_not_null(block);
    t->o = block;
    t->dq = t->o + rows;
    t->dk = t->dq + rows;
    t->dv = t->dk + keys;
    t->lse = t->dv + keys;
    return block;
}

/* Where the rows of sequence s start, and how many there are. */
static int64_t rows_of(const int64_t *starts, int64_t s, int64_t seq, int64_t row, int64_t most,
                       int64_t *n) {
    *n = starts == NULL ? most : starts[s + 1] - starts[s];
    return starts == NULL ? s * seq : starts[s] * row;
}

static void expect_zeros(const char *what, const float *at, int64_t row, int64_t n, int64_t d) {
    for (int64_t i = 0; i < n * d; i++) {
        twin_same(what, i, at[i / d * row + i % d], 0.0f);
    }
}

/* One head against its twin; g NULL: forward only. */
static void check_head(const kind *of, const td_attention_f32_args *f,
                       const td_attention_grad_f32_args *g, int64_t s, int64_t h) {
    int64_t d = f->head, shift = h * d, n_q, n_k;
    int64_t at_q = rows_of(f->q_starts, s, f->q_seq, f->q_row, f->n_q, &n_q) + shift;
    int64_t at_o = rows_of(f->q_starts, s, f->o_seq, f->o_row, f->n_q, &n_q) + shift;
    int64_t at_k = rows_of(f->kv_starts, s, f->kv_seq, f->kv_row, f->n_k, &n_k) + shift;
    int64_t keys = n_k;
    n_k = f->kv_seen == NULL ? n_k : f->kv_seen[s];
    double *q = take(of, f->q + at_q, f->q_row, n_q, d);
    double *k = take(of, f->k + at_k, f->kv_row, n_k, d);
    double *v = take(of, f->v + at_k, f->kv_row, n_k, d);
    double *d_o = take(of, g != NULL ? g->d_o + at_o : f->o + at_o, f->o_row, n_q, d);
    twin t = {.n_q = n_q, .n_k = n_k, .d = d, .causal = f->causal, .q = q, .k = k, .v = v};
    t.rounding = of->rounding;
    t.d_o = d_o;
    twin bound = t;
    double *const blocks[] = {q, k, v, d_o, results_new(&t), results_new(&bound)};
    twin_head(&t);
    bound_head(&t, &bound);
    const float *lse = f->lse + (s * f->heads + h) * f->n_q;
    twin_near("lse, share of its bound", n_q, share_of(lse, 1, t.lse, bound.lse, n_q, 1), 0, 1);
    twin_near("o", n_q, share_of(f->o + at_o, f->o_row, t.o, bound.o, n_q, d), 0, 1);
    if (g != NULL) {
        int64_t at_dq = rows_of(f->q_starts, s, g->dq_seq, g->dq_row, f->n_q, &n_q) + shift;
        int64_t at_dk = rows_of(f->kv_starts, s, g->dkv_seq, g->dkv_row, f->n_k, &keys) + shift;
        const float *dk = g->dk + at_dk, *dv = g->dv + at_dk;
        twin_near("dq", n_q, share_of(g->dq + at_dq, g->dq_row, t.dq, bound.dq, n_q, d), 0, 1);
        twin_near("dk", n_k, share_of(dk, g->dkv_row, t.dk, bound.dk, n_k, d), 0, 1);
        twin_near("dv", n_k, share_of(dv, g->dkv_row, t.dv, bound.dv, n_k, d), 0, 1);
        expect_zeros("dk unseen", dk + n_k * g->dkv_row, g->dkv_row, keys - n_k, d);
        expect_zeros("dv unseen", dv + n_k * g->dkv_row, g->dkv_row, keys - n_k, d);
    }
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        td_free(blocks[i]);
    }
}

static void check_heads(const kind *of, const td_attention_f32_args *f,
                        const td_attention_grad_f32_args *g) {
    for (int64_t i = 0; i < f->seqs * f->heads; i++) {
        check_head(of, f, g, i / f->heads, i % f->heads);
    }
}

void oracle_attention(const void *before, const void *after) {
    (void)before;
    check_heads(f32_kind, after, NULL);
}

void oracle_attention_grad(const void *before, const void *after) {
    (void)before;
    const td_attention_grad_f32_args *args = after;
    check_heads(f32_kind, &args->forward, args);
}

void oracle_attention_bf16(const void *before, const void *after) {
    (void)before;
    check_heads(bf16_kind, after, NULL);
}

void oracle_attention_grad_bf16(const void *before, const void *after) {
    (void)before;
    const td_attention_grad_bf16_args *args = after;
    check_heads(bf16_kind, &args->forward, args);
}

/* qkv of the problem, rounded and stored as bf16, in place of its f32. */
static void store_as_bf16(problem *p, uint16_t *q, uint16_t *kv) {
    td_attention_f32_args *f = &p->args.forward;
    const td_f32_to_bf16_args to_q = {.n = p->q_elements, .x = p->q, .y = q};
    const td_f32_to_bf16_args to_kv = {.n = p->kv_elements, .x = p->kv, .y = kv};
    td_f32_to_bf16__portable(&to_q, 0, td_f32_to_bf16_tiles(&to_q), NULL);
    td_f32_to_bf16__portable(&to_kv, 0, td_f32_to_bf16_tiles(&to_kv), NULL);
    f->q_bf16 = q;
    f->k_bf16 = kv;
    f->v_bf16 = kv + (f->v - f->k);
    f->q = f->k = f->v = NULL;
}

static void same_results(const problem *a, const problem *b) {
    cr_assert_arr_eq(a->o, b->o, (size_t)a->o_elements * sizeof(float));
    cr_assert_arr_eq(a->dq, b->dq, (size_t)a->o_elements * sizeof(float));
    cr_assert_arr_eq(a->dkv, b->dkv, (size_t)a->kv_elements * sizeof(float));
}

Test(attention, every_row_is_near_the_twin_and_equal_to_the_portable_one) {
    EACH_KIND(of) {
        for (uint64_t i = 0; i < N_SHAPES; i++) {
            problem reference = make_problem(shapes[i], i);
            run(find_row(of->forward, TD_ISA_PORTABLE), find_row(of->backward, TD_ISA_PORTABLE),
                &reference);
            TWIN_EACH_ROW(row, of->forward) {
                problem p = make_problem(shapes[i], i);
                run(row, find_row(of->backward, row->isa), &p);
                for (int64_t s = 0; s < shapes[i].seqs; s++) {
                    twin_named(row->name);
                    check_head(of, &p.args.forward, &p.args, s, s % shapes[i].heads);
                }
                same_results(&p, &reference);
                free_problem(&p);
            }
            free_problem(&reference);
        }
    }
}

Test(attention, operands_stored_as_bf16_give_the_same_bits) {
    for (uint64_t i = 0; i < N_SHAPES; i++) {
        problem reference = make_problem(shapes[i], i);
        run(find_row(TD_OP_attention_bf16, TD_ISA_PORTABLE),
            find_row(TD_OP_attention_grad_bf16, TD_ISA_PORTABLE), &reference);
        uint16_t *q = td_alloc((size_t)reference.q_elements * sizeof *q);
        uint16_t *kv = td_alloc((size_t)reference.kv_elements * sizeof *kv);
        TWIN_EACH_ROW(row, TD_OP_attention_bf16) {
            problem p = make_problem(shapes[i], i);
            store_as_bf16(&p, q, kv);
            run(row, find_row(TD_OP_attention_grad_bf16, row->isa), &p);
            same_results(&p, &reference);
            free_problem(&p);
        }
        td_free(q);
        td_free(kv);
        free_problem(&reference);
    }
}

/* The twin is an argument of ours too: its gradient against central differences of its output. */
Test(attention, the_twin_agrees_with_central_differences) {
    enum { N = 5, D = 3, ALL = N * D };
    for (int causal = 0; causal < 2; causal++) {
        double in[3][ALL], d_o[ALL], out[ALL], lse[N], grad[3][ALL], ignored[3][ALL];
        td_rng rng = td_rng_make(21, TD_PURPOSE_TEST, (uint64_t)causal);
        for (int i = 0; i < ALL; i++) {
            in[0][i] = td_rng_normal(&rng);
            in[1][i] = td_rng_normal(&rng);
            in[2][i] = td_rng_normal(&rng);
            d_o[i] = td_rng_normal(&rng);
        }
        twin t = {N,     N,   D,   causal != 0, 0,       in[0],   in[1],
                  in[2], d_o, out, lse,         grad[0], grad[1], grad[2]};
        twin_head(&t);
        t.dq = ignored[0], t.dk = ignored[1], t.dv = ignored[2];
        for (int which = 0; which < 3; which++) {
            for (int i = 0; i < ALL; i++) {
                double kept = in[which][i], loss[2] = {0, 0};
                for (int side = 0; side < 2; side++) {
                    in[which][i] = kept + (side ? 1e-5 : -1e-5);
                    twin_head(&t);
                    for (int c = 0; c < ALL; c++) {
                        loss[side] += out[c] * d_o[c];
                    }
                }
                in[which][i] = kept;
                cr_assert_float_eq((loss[1] - loss[0]) / 2e-5, grad[which][i], 1e-8);
            }
        }
    }
}

static void run_isa(const kind *of, td_isa isa, problem *p) {
    run(find_row(of->forward, isa), find_row(of->backward, isa), p);
}

#define EACH_ROW(of, row)                                                                          \
    EACH_KIND(of)                                                                                  \
    TWIN_EACH_ROW(row, of->forward)

/* What a causal row does not see may be anything, NaN and infinity too: bits of O before it, and of
 * dQ, do not change. */
Test(attention, causal_rows_do_not_see_later_keys) {
    shape s = {1, 2, 64, 77, 77, true, false};
    int64_t width = s.heads * s.head;
    EACH_ROW(of, row) {
        for (int64_t cut = 1; cut < s.n_k; cut += 5) {
            problem a = make_problem(s, 40), b = make_problem(s, 40);
            for (int64_t i = cut * 2 * width; i < b.kv_elements; i++) {
                b.kv[i] = i % 3 == 0 ? NAN : INFINITY;
            }
            run_isa(of, row->isa, &a);
            run_isa(of, row->isa, &b);
            size_t bytes = (size_t)(cut * width) * sizeof(float);
            cr_expect_eq(memcmp(a.o, b.o, bytes), 0, "%s o before %lld", row->name, (long long)cut);
            cr_expect_eq(memcmp(a.dq, b.dq, bytes), 0, "%s dq before %lld", row->name,
                         (long long)cut);
            cr_expect(isnan(b.o[cut * width]));
            free_problem(&a);
            free_problem(&b);
        }
    }
}

/* The other way round: keys get no gradient from queries before them, whatever those hold. */
Test(attention, causal_keys_get_nothing_from_earlier_rows) {
    shape s = {1, 1, 64, 77, 77, true, false};
    EACH_ROW(of, row) {
        for (int64_t cut = 1; cut < s.n_k; cut += 5) {
            problem a = make_problem(s, 42), b = make_problem(s, 42);
            for (int64_t i = 0; i < cut * s.head; i++) {
                b.q[i] = b.d_o[i] = NAN;
            }
            run_isa(of, row->isa, &a);
            run_isa(of, row->isa, &b);
            int64_t from = cut * 2 * s.head;
            cr_expect_eq(
                memcmp(a.dkv + from, b.dkv + from, (size_t)(a.kv_elements - from) * sizeof(float)),
                0, "%s from key %lld", row->name, (long long)cut);
            cr_expect(isnan(b.dkv[0]));
            free_problem(&a);
            free_problem(&b);
        }
    }
}

Test(attention, a_nan_stays_in_its_rows) {
    shape s = {1, 1, 64, 50, 50, false, false};
    EACH_ROW(of, row) {
        problem p = make_problem(s, 41);
        p.q[30 * 64 + 5] = NAN;
        run_isa(of, row->isa, &p);
        for (int64_t i = 0; i < 50; i++) {
            cr_expect_eq(isnan(p.o[i * 64]) != 0, i == 30);
            cr_expect_eq(isnan(p.lse[i]) != 0, i == 30);
        }
        free_problem(&p);
    }
}

/* Scores of +-1,000 and more: exp without its shift would overflow; with it every row of P still
 * sums to 1, so that V = 1 gives O = 1. */
Test(attention, large_scores_stay_finite_and_probabilities_sum_to_one) {
    shape s = {1, 2, 64, 77, 77, false, false};
    EACH_ROW(of, row) {
        for (int causal = 0; causal < 2; causal++) {
            s.causal = causal != 0;
            problem p = make_problem(s, 43);
            int64_t width = s.heads * s.head;
            for (int64_t i = 0; i < p.q_elements; i++) {
                p.q[i] *= 100;
            }
            for (int64_t i = 0; i < p.kv_elements; i++) {
                p.kv[i] = i / width % 2 == 1 ? 1.0f : p.kv[i];
            }
            run_isa(of, row->isa, &p);
            for (int64_t i = 0; i < p.o_elements; i++) {
                cr_assert(fabs((double)p.o[i] - 1) <= 1e-6 + of->rounding);
            }
            for (int64_t i = 0; i < p.kv_elements; i++) {
                cr_assert(isfinite(p.dkv[i]));
            }
            free_problem(&p);
        }
    }
}

/* A row of dS sums to zero, so a key's direction shared by all keys gets no gradient: with all
 * queries equal, the rows of dK sum to zero. */
Test(attention, gradients_of_scores_sum_to_zero) {
    shape s = {1, 1, 32, 45, 61, false, false};
    EACH_ROW(of, row) {
        problem p = make_problem(s, 44);
        for (int64_t i = s.head; i < p.q_elements; i++) {
            p.q[i] = p.q[i % s.head];
        }
        run_isa(of, row->isa, &p);
        for (int64_t c = 0; c < s.head; c++) {
            double sum = 0, size = 0;
            for (int64_t j = 0; j < s.n_k; j++) {
                sum += (double)p.dkv[j * 2 * s.head + c];
                size += fabs((double)p.dkv[j * 2 * s.head + c]);
            }
            cr_assert(fabs(sum) <= (1e-5 + of->rounding) * size && size > 0.1, "%s: %g of %g",
                      row->name, sum, size);
        }
        free_problem(&p);
    }
}

/* The comparator must reject a value beyond its bound, a NaN and a transposed result. */
Test(attention, comparator_rejects) {
    const double want[] = {1, 2, 3, 4}, bound[] = {1e-6, 1e-6, 1e-6, 1e-6};
    const float right[] = {1, 2, 3, 4}, off[] = {1, 2, 3.00001f, 4}, nan[] = {1, NAN, 3, 4},
                turned[] = {1, 3, 2, 4};
    cr_assert(share_of(right, 2, want, bound, 2, 2) <= 1);
    cr_assert(share_of(off, 2, want, bound, 2, 2) > 1);
    cr_assert(share_of(nan, 2, want, bound, 2, 2) > 1);
    cr_assert(share_of(turned, 2, want, bound, 2, 2) > 1);
}
