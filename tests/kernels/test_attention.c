/* SPDX-License-Identifier: Apache-2.0
 * Attention against a naive float64 twin, forward and backward; the twin's own gradient against
 * central differences; every row against the portable one by memcmp.
 */
#include "twin.h"

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
    void *scratch = td_alloc((size_t)td_attention_grad_f32_scratch(&p->args));
    int64_t tiles = td_attention_f32_tiles(&p->args.forward), cut = tiles / 2;
    forward->run(&p->args.forward, 0, cut, scratch);
    forward->run(&p->args.forward, cut, tiles, scratch);
    backward->run(&p->args, cut, tiles, scratch);
    backward->run(&p->args, 0, cut, scratch);
    td_free(scratch);
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

/* ---- the twin: one head, plain loops ---- */

typedef struct twin {
    int64_t n_q, n_k, d;
    bool causal;
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

static double *take(const float *base, int64_t row, int64_t n, int64_t d) {
    double *out = td_alloc((size_t)(n * d) * sizeof *out);
    for (int64_t i = 0; i < n * d; i++) {
        out[i] = (double)base[i / d * row + i % d];
    }
    return out;
}

static double gap_of(const float *base, int64_t row, const double *want, int64_t n, int64_t d) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, twin_gap(base + i * row, want + i * d, d));
    }
    return worst;
}

/* Inputs are standard normal, so outputs and gradients are of order 1 to 10; the bound is 8 times
 * what the longest chain, 257 keys, loses in the worst case on such values. */
static void check_head(const problem *p, int64_t s, int64_t h, const char *row) {
    const td_attention_f32_args *f = &p->args.forward;
    const td_attention_grad_f32_args *g = &p->args;
    int64_t d = f->head, shift = h * d;
    twin t = {.n_q = f->n_q, .n_k = f->n_k, .d = d, .causal = f->causal};
    double *q = take(f->q + s * f->q_seq + shift, f->q_row, f->n_q, d);
    double *k = take(f->k + s * f->kv_seq + shift, f->kv_row, f->n_k, d);
    double *v = take(f->v + s * f->kv_seq + shift, f->kv_row, f->n_k, d);
    double *d_o = take(g->d_o + s * f->o_seq + shift, f->o_row, f->n_q, d);
    double *out = td_alloc((size_t)((2 * f->n_q + 2 * f->n_k) * d + f->n_q) * sizeof *out);
    t.q = q, t.k = k, t.v = v, t.d_o = d_o;
    t.o = out;
    t.dq = t.o + f->n_q * d;
    t.dk = t.dq + f->n_q * d;
    t.dv = t.dk + f->n_k * d;
    t.lse = t.dv + f->n_k * d;
    twin_head(&t);
    const double bound = 2e-5;
    cr_assert(twin_gap(f->lse + (s * f->heads + h) * f->n_q, t.lse, f->n_q) <= bound, "%s lse",
              row);
    cr_assert(gap_of(f->o + s * f->o_seq + shift, f->o_row, t.o, f->n_q, d) <= bound, "%s o", row);
    cr_assert(gap_of(g->dq + s * g->dq_seq + shift, g->dq_row, t.dq, f->n_q, d) <= bound, "%s dq",
              row);
    cr_assert(gap_of(g->dk + s * g->dkv_seq + shift, g->dkv_row, t.dk, f->n_k, d) <= bound, "%s dk",
              row);
    cr_assert(gap_of(g->dv + s * g->dkv_seq + shift, g->dkv_row, t.dv, f->n_k, d) <= bound, "%s dv",
              row);
    double *const blocks[] = {q, k, v, d_o, out};
    for (size_t i = 0; i < 5; i++) {
        td_free(blocks[i]);
    }
}

Test(attention, every_row_is_near_the_twin_and_equal_to_the_portable_one) {
    for (uint64_t i = 0; i < N_SHAPES; i++) {
        problem reference = make_problem(shapes[i], i);
        run(find_row(TD_OP_attention_f32, TD_ISA_PORTABLE),
            find_row(TD_OP_attention_grad_f32, TD_ISA_PORTABLE), &reference);
        TWIN_EACH_ROW(row, TD_OP_attention_f32) {
            problem p = make_problem(shapes[i], i);
            run(row, find_row(TD_OP_attention_grad_f32, row->isa), &p);
            for (int64_t s = 0; s < shapes[i].seqs; s++) {
                check_head(&p, s, s % shapes[i].heads, row->name);
            }
            cr_assert_arr_eq(p.o, reference.o, (size_t)p.o_elements * sizeof(float));
            cr_assert_arr_eq(p.dq, reference.dq, (size_t)p.o_elements * sizeof(float));
            cr_assert_arr_eq(p.dkv, reference.dkv, (size_t)p.kv_elements * sizeof(float));
            free_problem(&p);
        }
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
        twin t = {N,   N,   D,   causal != 0, in[0],   in[1],  in[2],
                  d_o, out, lse, grad[0],     grad[1], grad[2]};
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

Test(attention, causal_rows_do_not_see_later_keys) {
    shape s = {1, 2, 64, 77, 77, true, false};
    problem a = make_problem(s, 40), b = make_problem(s, 40);
    int64_t width = s.heads * s.head;
    for (int64_t j = 60; j < s.n_k; j++) {
        twin_fill(b.kv + j * 2 * width, 2 * width, 99 + (uint64_t)j, 3);
    }
    const td_kernel *forward = find_row(TD_OP_attention_f32, TD_ISA_PORTABLE);
    const td_kernel *backward = find_row(TD_OP_attention_grad_f32, TD_ISA_PORTABLE);
    run(forward, backward, &a);
    run(forward, backward, &b);
    cr_assert_arr_eq(a.o, b.o, (size_t)(60 * width) * sizeof(float));
    cr_assert_neq(memcmp(a.o + 60 * width, b.o + 60 * width, (size_t)width * sizeof(float)), 0);
    free_problem(&a);
    free_problem(&b);
}

Test(attention, a_nan_stays_in_its_rows) {
    shape s = {1, 1, 64, 50, 50, false, false};
    problem p = make_problem(s, 41);
    p.q[30 * 64 + 5] = NAN;
    run(find_row(TD_OP_attention_f32, TD_ISA_PORTABLE),
        find_row(TD_OP_attention_grad_f32, TD_ISA_PORTABLE), &p);
    for (int64_t i = 0; i < 50; i++) {
        cr_assert_eq(isnan(p.o[i * 64]) != 0, i == 30);
    }
    free_problem(&p);
}
