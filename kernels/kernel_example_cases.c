/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "kernels/gemm/gemm_plan.h"
#include "kernels/kernel_example_build.h"

enum { NN, NT, TN };
enum {
    ACCUMULATE = 1,
    BIAS = 2,
    PREACT = 4,
    RESIDUAL = 8,
    ACT_GRAD = 16,
    ERF = 32,
    TANH = 64,
    QUICK_ACT = 128,
    UNEVEN = 256,
    PACKED = 512
};

static const example_case cases[] = {
#define CASE(op, size, ...) {TD_OP_##op, TD_EXAMPLE_##size, {__VA_ARGS__}},
#include "kernels/kernel_example_shapes.inc"
#undef CASE
};

const example_case *example_case_find(td_op_id op, int size, int64_t index) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (cases[i].op == op && (int)cases[i].size == size && index-- == 0) {
            return &cases[i];
        }
    }
    return NULL;
}

static void gemm_operands(td_kernel_example *example, td_gemm_f32_args *args, int64_t pad) {
    int64_t m = args->m, n = args->n, k = args->k;
    int64_t a_rows = args->a_trans ? k : m, b_rows = args->b_trans ? n : k;
    args->lda = (args->a_trans ? m : k) + pad;
    args->ldb = (args->b_trans ? k : n) + 2 * pad;
    args->ldc = n + 3 * pad;
    example_in(example, "a", a_rows, args->lda - pad, args->lda, &args->a);
    example_in(example, "b", b_rows, args->ldb - 2 * pad, args->ldb, &args->b);
}

static void build_gemm(td_kernel_example *example, const int64_t *d) {
    static const char *const forms[] = {"", "-nt", "-tn"};
    td_gemm_f32_args *args = &example->args.gemm_f32;
    int64_t flags = d[5], pad = d[6], in_place = d[7];
    *args = (td_gemm_f32_args){.m = d[0],
                               .n = d[1],
                               .k = d[2],
                               .a_trans = d[3] == TN,
                               .b_trans = d[3] == NT,
                               .accumulate = (flags & ACCUMULATE) != 0,
                               .k_blocks = d[4]};
    args->act = flags & ERF         ? TD_ACT_GELU_ERF
                : flags & TANH      ? TD_ACT_GELU_TANH
                : flags & QUICK_ACT ? TD_ACT_GELU_QUICK
                                    : TD_ACT_NONE;
    gemm_operands(example, args, pad);
    if (flags & PACKED) {
        int64_t floats = td_gemm_packed_floats(args->n, args->k);
        example_add(example, "packed", TD_EXAMPLE_IN, 1, floats, floats, FILL_LATER, 0,
                    &args->packed);
    }
    if (flags & UNEVEN) {
        example_starts(example, d[4], &args->k_starts);
    }
    bool reads_c = args->accumulate || in_place;
    int c = reads_c ? example_inout(example, "c", args->m, args->n, args->ldc, &args->c)
                    : example_out(example, "c", args->m, args->n, args->ldc, &args->c);
    if (flags & BIAS) {
        example_in(example, "bias", 1, args->n, args->n, &args->bias);
    }
    if (flags & PREACT) {
        args->ldpreact = args->n + pad;
        example_out(example, "preact", args->m, args->n, args->ldpreact, &args->preact);
    }
    if (flags & RESIDUAL) {
        args->ldresidual = in_place ? args->ldc : args->n + 4 * pad;
        if (in_place) {
            example_point(example, &args->residual, c, 0);
        } else {
            example_in(example, "residual", args->m, args->n, args->ldresidual, &args->residual);
        }
    }
    if (flags & ACT_GRAD) {
        args->ldact_grad_of = args->n + pad;
        example_in(example, "act_grad_of", args->m, args->n, args->ldact_grad_of,
                   &args->act_grad_of);
    }
    example_shape(example, "m%lld-n%lld-k%lld%s", (long long)d[0], (long long)d[1], (long long)d[2],
                  forms[d[3]]);
    example_shape(example, "%s", flags & PACKED ? "-packed" : "");
    const char *act = flags & ERF ? "gelu" : flags & TANH ? "tanh" : "quick";
    example_shape(example, "%s%s%s%s%s%s%s%s%s", d[4] > 1 ? "-blocks" : "",
                  flags & UNEVEN ? "-uneven" : "", flags & ACCUMULATE ? "-acc" : "",
                  flags & BIAS ? "-bias" : "", flags & PREACT ? "-pre" : "",
                  args->act != TD_ACT_NONE ? "-" : "", flags & ACT_GRAD ? "d" : "",
                  args->act != TD_ACT_NONE ? act : "", flags & RESIDUAL ? "-res" : "");
}

static td_status finish_gemm(td_kernel_example *example) {
    const td_gemm_f32_args *args = &example->args.gemm_f32;
    example_fill_starts(example, args->k, args->k_blocks);
    const example_buffer *packed = example_buffer_named(example, "packed");
    if (packed == NULL) {
        return TD_OK;
    }
    td_gemm_pack_f32_args pack = {.n = args->n,
                                  .k = args->k,
                                  .b = args->b,
                                  .ldb = args->ldb,
                                  .b_trans = args->b_trans,
                                  .packed = packed->shown.data};
    return example_compute(TD_OP_gemm_pack_f32, &pack);
}

static void build_gemm_pack(td_kernel_example *example, const int64_t *d) {
    td_gemm_pack_f32_args *args = &example->args.gemm_pack_f32;
    *args = (td_gemm_pack_f32_args){.n = d[0], .k = d[1], .b_trans = d[2] == NT};
    int64_t cols = args->b_trans ? d[1] : d[0], floats = td_gemm_packed_floats(d[0], d[1]);
    args->ldb = cols + d[3];
    example_in(example, "b", args->b_trans ? d[0] : d[1], cols, args->ldb, &args->b);
    example_out(example, "packed", 1, floats, floats, &args->packed);
    example_shape(example, "n%lld-k%lld%s", (long long)d[0], (long long)d[1],
                  args->b_trans ? "-nt" : "");
}

static void build_im2col(td_kernel_example *example, const int64_t *d) {
    td_im2col_f32_args *args = &example->args.im2col_f32;
    *args = (td_im2col_f32_args){.batch = d[0], .size = d[1], .patch = d[2], .kept = d[3]};
    int64_t side = d[1] / d[2], pixels = 3 * d[1] * d[1], area = 3 * d[2] * d[2];
    int64_t patches = d[3] > 0 ? d[3] : side * side;
    example_in(example, "images", d[0], pixels, pixels, &args->images);
    example_out(example, "patches", d[0] * patches, area, area, &args->patches);
    example_shape(example, "b%lld-s%lld-p%lld", (long long)d[0], (long long)d[1], (long long)d[2]);
    if (d[3] > 0) {
        example_ids(example, d[0] * d[3], side * side, &args->keep);
        example_shape(example, "-keep%lld", (long long)d[3]);
    }
}

static void build_tokens(td_kernel_example *example, const int64_t *d) {
    td_tokens_assemble_f32_args *args = &example->args.tokens_assemble_f32;
    *args = (td_tokens_assemble_f32_args){.batch = d[0], .tokens = d[1], .width = d[2]};
    example_in(example, "patches", d[0] * (d[1] - d[3]), d[2], d[2], &args->patches);
    example_in(example, "pos", d[1], d[2], d[2], &args->pos);
    if (d[3]) {
        example_in(example, "cls", 1, d[2], d[2], &args->cls);
    }
    if (d[4]) {
        example_ids(example, d[0] * d[1], d[1], &args->position);
    }
    example_out(example, "x", d[0] * d[1], d[2], d[2], &args->x);
    example_shape(example, "b%lld-t%lld-c%lld%s%s", (long long)d[0], (long long)d[1],
                  (long long)d[2], d[3] ? "-cls" : "", d[4] ? "-named" : "");
}

static void build_rows_copy(td_kernel_example *example, const int64_t *d) {
    td_rows_copy_f32_args *args = &example->args.rows_copy_f32;
    int64_t groups = d[0], rows = d[1], cols = d[2], from_ld = cols + d[3], to_ld = cols + 2 * d[3];
    *args = (td_rows_copy_f32_args){.groups = groups,
                                    .rows = rows,
                                    .cols = cols,
                                    .from_ld = from_ld,
                                    .from_group = (rows + 1) * from_ld,
                                    .to_ld = to_ld,
                                    .to_group = rows * to_ld,
                                    .add = d[4] != 0};
    /* The first row of every group of `from` is left out, like a class token. */
    int from = example_in(example, "from", groups * (rows + 1), cols, from_ld, NULL);
    example_point(example, &args->from, from, from_ld);
    if (args->add) {
        example_inout(example, "to", groups * rows, cols, to_ld, &args->to);
    } else {
        example_out(example, "to", groups * rows, cols, to_ld, &args->to);
    }
    example_shape(example, "g%lld-r%lld-c%lld%s", (long long)groups, (long long)rows,
                  (long long)cols, args->add ? "-add" : "");
}

static void build_embedding(td_kernel_example *example, const int64_t *d) {
    td_embedding_f32_args *args = &example->args.embedding_f32;
    *args = (td_embedding_f32_args){.n = d[0], .positions = d[1], .width = d[2], .vocab = d[3]};
    example_ids(example, d[0], d[3], &args->ids);
    example_ids(example, d[0], d[1], &args->position);
    example_in(example, "table", d[3], d[2], d[2], &args->table);
    example_in(example, "pos", d[1], d[2], d[2], &args->pos);
    example_out(example, "x", d[0], d[2], d[2], &args->x);
    example_shape(example, "n%lld-t%lld-c%lld-v%lld", (long long)d[0], (long long)d[1],
                  (long long)d[2], (long long)d[3]);
}

static void build_embedding_sort(td_kernel_example *example, const int64_t *d) {
    td_embedding_sort_i32_args *args = &example->args.embedding_sort_i32;
    *args = (td_embedding_sort_i32_args){.n = d[0], .vocab = d[1]};
    example_ids(example, d[0], d[1], &args->ids);
    example_add_bytes(example, "order", TD_EXAMPLE_OUT, d[0], sizeof(int32_t), FILL_LATER, 0,
                      &args->order);
    example_add_bytes(example, "start", TD_EXAMPLE_OUT, d[1] + 1, sizeof(int32_t), FILL_LATER, 0,
                      &args->start);
    example_shape(example, "n%lld-v%lld", (long long)d[0], (long long)d[1]);
}

enum { GRAD_IDS, GRAD_ORDER, GRAD_START };

static void build_embedding_grad(td_kernel_example *example, const int64_t *d) {
    td_embedding_grad_f32_args *args = &example->args.embedding_grad_f32;
    *args = (td_embedding_grad_f32_args){.n = d[0], .vocab = d[1], .width = d[2], .blocks = d[3]};
    example_add_bytes(example, "ids", TD_EXAMPLE_IN, d[0], sizeof(int32_t),
                      d[5] ? FILL_CAPTIONS : FILL_IDS, (float)d[1], NULL);
    example_add_bytes(example, "order", TD_EXAMPLE_IN, d[0], sizeof(int32_t), FILL_LATER, 0,
                      &args->order);
    example_add_bytes(example, "start", TD_EXAMPLE_IN, d[1] + 1, sizeof(int32_t), FILL_LATER, 0,
                      &args->start);
    example_in(example, "dx", d[0], d[2], d[2], &args->dx);
    args->compact = d[6] != 0;
    if (args->compact) {
        example_inout(example, "dtable", d[0], d[2], d[2], &args->dtable);
    } else {
        example_out(example, "dtable", d[1], d[2], d[2], &args->dtable);
    }
    if (d[4]) {
        example_starts(example, d[3], &args->starts);
    }
    example_shape(example, "n%lld-v%lld-c%lld-g%lld%s%s%s", (long long)d[0], (long long)d[1],
                  (long long)d[2], (long long)d[3], d[4] ? "-uneven" : "", d[5] ? "-captions" : "",
                  d[6] ? "-compact" : "");
}

static td_status finish_embedding_grad(td_kernel_example *example) {
    td_embedding_sort_i32_args sort = {.n = example->args.embedding_grad_f32.n,
                                       .vocab = example->args.embedding_grad_f32.vocab,
                                       .ids = example->buffers[GRAD_IDS].shown.data,
                                       .order = example->buffers[GRAD_ORDER].shown.data,
                                       .start = example->buffers[GRAD_START].shown.data};
    example_fill_starts(example, sort.n, example->args.embedding_grad_f32.blocks);
    return example_compute(TD_OP_embedding_sort_i32, &sort);
}

static void build_layernorm(td_kernel_example *example, const int64_t *d) {
    td_layernorm_f32_args *args = &example->args.layernorm_f32;
    int64_t rows = d[0], cols = d[1];
    *args = (td_layernorm_f32_args){
        .rows = rows, .cols = cols, .ldx = cols + d[2], .ldy = cols + d[2], .eps = 1e-5f};
    if (d[4]) {
        int y = example_inout(example, "y", rows, cols, args->ldy, &args->y);
        example_point(example, &args->x, y, 0);
    } else {
        args->ldy += d[2];
        example_in(example, "x", rows, cols, args->ldx, &args->x);
        example_out(example, "y", rows, cols, args->ldy, &args->y);
    }
    example_in(example, "gamma", 1, cols, cols, &args->gamma);
    example_in(example, "beta", 1, cols, cols, &args->beta);
    if (d[3]) {
        example_out(example, "mean", 1, rows, rows, &args->mean);
        example_out(example, "rstd", 1, rows, rows, &args->rstd);
    }
    example_shape(example, "r%lld-c%lld%s", (long long)rows, (long long)cols,
                  d[4] ? "-inplace" : "");
}

static void build_layernorm_grad_x(td_kernel_example *example, const int64_t *d) {
    td_layernorm_grad_x_f32_args *args = &example->args.layernorm_grad_x_f32;
    int64_t rows = d[0], cols = d[1], pad = d[2];
    *args = (td_layernorm_grad_x_f32_args){.rows = rows,
                                           .cols = cols,
                                           .lddy = cols + pad,
                                           .ldx = cols + 2 * pad,
                                           .ldresidual = cols + 3 * pad,
                                           .lddx = cols + pad};
    example_in(example, "x", rows, cols, args->ldx, &args->x);
    example_positive(example, "gamma", cols, &args->gamma);
    example_in(example, "mean", 1, rows, rows, &args->mean);
    example_positive(example, "rstd", rows, &args->rstd);
    if (d[3] == 3) {
        int dx = example_inout(example, "dx", rows, cols, args->lddx, &args->dx);
        example_point(example, &args->dy, dx, 0);
    } else {
        example_in(example, "dy", rows, cols, args->lddy, &args->dy);
        if (d[3] == 2) {
            args->ldresidual = args->lddx;
            int dx = example_inout(example, "dx", rows, cols, args->lddx, &args->dx);
            example_point(example, &args->residual, dx, 0);
        } else {
            example_out(example, "dx", rows, cols, args->lddx, &args->dx);
        }
    }
    if (d[3] == 1) {
        example_in(example, "residual", rows, cols, args->ldresidual, &args->residual);
    }
    static const char *const kinds[] = {"", "-res", "-resinplace", "-inplace"};
    example_shape(example, "r%lld-c%lld%s", (long long)rows, (long long)cols, kinds[d[3]]);
}

static void build_layernorm_grad_w(td_kernel_example *example, const int64_t *d) {
    td_layernorm_grad_w_f32_args *args = &example->args.layernorm_grad_w_f32;
    int64_t rows = d[0], cols = d[1];
    *args = (td_layernorm_grad_w_f32_args){
        .rows = rows, .cols = cols, .blocks = d[2], .lddy = cols + d[3], .ldx = cols + 2 * d[3]};
    example_in(example, "dy", rows, cols, args->lddy, &args->dy);
    example_in(example, "x", rows, cols, args->ldx, &args->x);
    example_in(example, "mean", 1, rows, rows, &args->mean);
    example_positive(example, "rstd", rows, &args->rstd);
    example_out(example, "dgamma", 1, cols, cols, &args->dgamma);
    example_out(example, "dbeta", 1, cols, cols, &args->dbeta);
    if (d[4]) {
        example_starts(example, d[2], &args->starts);
    }
    example_shape(example, "r%lld-c%lld-g%lld%s", (long long)rows, (long long)cols, (long long)d[2],
                  d[4] ? "-uneven" : "");
}

static td_status finish_layernorm_grad_w(td_kernel_example *example) {
    const td_layernorm_grad_w_f32_args *args = &example->args.layernorm_grad_w_f32;
    example_fill_starts(example, args->rows, args->blocks);
    return TD_OK;
}

static void build_colsum(td_kernel_example *example, const int64_t *d) {
    td_colsum_f32_args *args = &example->args.colsum_f32;
    *args = (td_colsum_f32_args){.rows = d[0], .cols = d[1], .blocks = d[2], .ldx = d[1] + d[3]};
    example_in(example, "x", d[0], d[1], args->ldx, &args->x);
    example_out(example, "out", 1, d[1], d[1], &args->out);
    if (d[4]) {
        example_starts(example, d[2], &args->starts);
    }
    example_shape(example, "r%lld-c%lld-g%lld%s", (long long)d[0], (long long)d[1], (long long)d[2],
                  d[4] ? "-uneven" : "");
}

static td_status finish_colsum(td_kernel_example *example) {
    example_fill_starts(example, example->args.colsum_f32.rows, example->args.colsum_f32.blocks);
    return TD_OK;
}

static void build_softmax(td_kernel_example *example, const int64_t *d) {
    td_softmax_f32_args *args = &example->args.softmax_f32;
    *args = (td_softmax_f32_args){.rows = d[0], .cols = d[1]};
    if (d[2]) {
        int y = example_inout(example, "y", d[0], d[1], d[1], &args->y);
        example_point(example, &args->x, y, 0);
    } else {
        example_in(example, "x", d[0], d[1], d[1], &args->x);
        example_out(example, "y", d[0], d[1], d[1], &args->y);
    }
    example_shape(example, "r%lld-c%lld%s", (long long)d[0], (long long)d[1],
                  d[2] ? "-inplace" : "");
}

static void build_gelu(td_kernel_example *example, const int64_t *d) {
    static const char *const names[] = {"none", "erf", "tanh", "quick"};
    td_gelu_f32_args *args = &example->args.gelu_f32;
    *args = (td_gelu_f32_args){.n = d[0], .act = (td_act)d[1]};
    int y = d[3] ? example_inout(example, "y", 1, d[0], d[0], &args->y)
                 : example_out(example, "y", 1, d[0], d[0], &args->y);
    if (d[3] == 1) {
        example_point(example, &args->x, y, 0);
    } else {
        example_in(example, "x", 1, d[0], d[0], &args->x);
    }
    if (d[3] == 2) {
        example_point(example, &args->dy, y, 0);
    } else if (d[2]) {
        example_in(example, "dy", 1, d[0], d[0], &args->dy);
    }
    example_shape(example, "n%lld-%s%s", (long long)d[0], names[d[1]], d[2] ? "-grad" : "");
}

static void build_vmath(td_kernel_example *example, const int64_t *d) {
    static const char *const names[] = {
#define NAME(name, doc) #name,
        TD_VMATH_MAP(NAME)
#undef NAME
    };
    td_vmath_f32_args *args = &example->args.vmath_f32;
    *args = (td_vmath_f32_args){.n = d[0], .function = (td_vmath_function)d[1]};
    bool positive = d[1] == TD_VMATH_log || d[1] == TD_VMATH_rsqrt;
    example_fill fill = positive ? FILL_POSITIVE : FILL_SIGNED;
    if (d[2]) {
        int y = example_add(example, "y", TD_EXAMPLE_INOUT, 1, d[0], d[0], fill, 8, &args->y);
        example_point(example, &args->x, y, 0);
    } else {
        example_add(example, "x", TD_EXAMPLE_IN, 1, d[0], d[0], fill, 8, &args->x);
        example_out(example, "y", 1, d[0], d[0], &args->y);
    }
    example_shape(example, "%s-n%lld%s", names[d[1]], (long long)d[0], d[2] ? "-inplace" : "");
}

/* d[3]: 1 the mean, 0 one row of each sequence. */
static void pool_index(td_kernel_example *example, const int64_t *d, const int64_t **index) {
    if (!d[3]) {
        example_add_bytes(example, "index", TD_EXAMPLE_IN, d[0], sizeof(int64_t), FILL_LATER, 0,
                          index);
    }
    example_shape(example, "b%lld-t%lld-c%lld-%s", (long long)d[0], (long long)d[1],
                  (long long)d[2], d[3] ? "mean" : "row");
}

static td_status finish_pool(td_kernel_example *example) {
    const example_buffer *buffer = example_buffer_named(example, "index");
    int64_t *index = buffer != NULL ? buffer->shown.data : NULL, tokens = example->spec.d[1];
    for (int64_t b = 0; b < example->spec.d[0] && index != NULL; b++) {
        index[b] = b * tokens + b * 7 % tokens;
    }
    return TD_OK;
}

static void build_pool(td_kernel_example *example, const int64_t *d) {
    td_pool_f32_args *args = &example->args.pool_f32;
    *args = (td_pool_f32_args){.batch = d[0], .tokens = d[1], .width = d[2], .ldx = d[2] + d[4]};
    example_in(example, "x", d[0] * d[1], d[2], args->ldx, &args->x);
    example_out(example, "y", d[0], d[2], d[2], &args->y);
    pool_index(example, d, &args->index);
}

static void build_pool_grad(td_kernel_example *example, const int64_t *d) {
    td_pool_grad_f32_args *args = &example->args.pool_grad_f32;
    *args =
        (td_pool_grad_f32_args){.batch = d[0], .tokens = d[1], .width = d[2], .lddx = d[2] + d[4]};
    example_in(example, "dy", d[0], d[2], d[2], &args->dy);
    example_out(example, "dx", d[0] * d[1], d[2], args->lddx, &args->dx);
    pool_index(example, d, &args->index);
}

static void build_l2norm(td_kernel_example *example, const int64_t *d) {
    td_l2norm_f32_args *args = &example->args.l2norm_f32;
    *args = (td_l2norm_f32_args){.rows = d[0], .cols = d[1], .eps = 1e-12f};
    example_in(example, "x", d[0], d[1], d[1], &args->x);
    example_out(example, "z", d[0], d[1], d[1], &args->z);
    example_out(example, "inv_norm", 1, d[0], d[0], &args->inv_norm);
    example_shape(example, "r%lld-c%lld", (long long)d[0], (long long)d[1]);
}

static void build_l2norm_grad(td_kernel_example *example, const int64_t *d) {
    td_l2norm_grad_f32_args *args = &example->args.l2norm_grad_f32;
    *args = (td_l2norm_grad_f32_args){.rows = d[0], .cols = d[1]};
    example_in(example, "dz", d[0], d[1], d[1], &args->dz);
    example_in(example, "z", d[0], d[1], d[1], &args->z);
    example_positive(example, "inv_norm", d[0], &args->inv_norm);
    example_out(example, "dx", d[0], d[1], d[1], &args->dx);
    example_shape(example, "r%lld-c%lld", (long long)d[0], (long long)d[1]);
}

static void build_sumsq(td_kernel_example *example, const int64_t *d) {
    td_sumsq_f32_args *args = &example->args.sumsq_f32;
    *args = (td_sumsq_f32_args){.n = d[0]};
    example_in(example, "x", 1, d[0], d[0], &args->x);
    example_add_bytes(example, "slots", TD_EXAMPLE_OUT, (d[0] + 16383) / 16384, sizeof(double),
                      FILL_LATER, 0, &args->slots);
    example_shape(example, "n%lld", (long long)d[0]);
}

/* Gradients of a table with rows of d[3] elements, two of five absent; all are there for 0. */
static void add_gradient_rows(td_kernel_example *example, const int64_t *d, td_compact_rows *rows) {
    if (d[3] > 0) {
        rows->width = d[3];
        example_add_bytes(example, "start", TD_EXAMPLE_IN, d[0] / d[3] + 1, sizeof(int32_t),
                          FILL_LATER, 0, &rows->start);
    }
}

static void fill_gradient_rows(int32_t *start, int64_t n, int64_t width) {
    for (int64_t v = 0, next = 0; width > 0 && v <= n / width; v++) {
        start[v] = (int32_t)next;
        next += (const int[]){1, 0, 0, 1, 2}[v % 5];
    }
}

enum { ADAMW_STEP = 4, ADAMW_RANGES, ADAMW_START };

static void build_adamw(td_kernel_example *example, const int64_t *d) {
    td_adamw_f32_args *args = &example->args.adamw_f32;
    *args = (td_adamw_f32_args){.n = d[0], .n_ranges = d[1]};
    /* Of weights that no sample has touched for long, moments decay to denormals. */
    float m = d[2] ? 0x1p-127f : 1, v = d[2] ? 0x1p-130f : 1, g = d[2] ? 0x1p-68f : 1;
    example_inout(example, "p", 1, d[0], d[0], &args->p);
    example_add(example, "m", TD_EXAMPLE_INOUT, 1, d[0], d[0], FILL_SIGNED, m, &args->m);
    example_add(example, "v", TD_EXAMPLE_INOUT, 1, d[0], d[0], FILL_POSITIVE, v, &args->v);
    example_add(example, "g", TD_EXAMPLE_IN, 1, d[0], d[0], FILL_SIGNED, g, &args->g);
    int64_t step = (int64_t)(sizeof(td_adamw_step) / sizeof(float));
    example_in(example, "step", 1, step, step, &args->step);
    example_add_bytes(example, "ranges", TD_EXAMPLE_IN, 2 * d[1], sizeof(int64_t), FILL_LATER, 0,
                      &args->ranges);
    add_gradient_rows(example, d, &args->g_rows);
    example_shape(example, "n%lld-d%lld%s%s", (long long)d[0], (long long)d[1],
                  d[2] ? "-denormal" : "", d[3] ? "-compact" : "");
}

/* Ranges and the gaps between them are about equally long. */
static void fill_ranges(int64_t (*ranges)[2], int64_t n, int64_t n_ranges) {
    for (int64_t r = 0; r < n_ranges; r++) {
        ranges[r][0] = n * (2 * r + 1) / (2 * n_ranges + 1);
        ranges[r][1] = n * (2 * r + 2) / (2 * n_ranges + 1);
    }
}

/* The thousandth step of a usual run. */
static td_status finish_adamw(td_kernel_example *example) {
    const td_adamw_f32_args *args = &example->args.adamw_f32;
    td_adamw_step *step = example->buffers[ADAMW_STEP].shown.data;
    *step = (td_adamw_step){.beta1 = 0.9f,
                            .one_minus_beta1 = 0.1f,
                            .beta2 = 0.98f,
                            .one_minus_beta2 = 0.02f,
                            .eps = 1e-6f,
                            .lr_bc1 = 5e-4f,
                            .rsqrt_bc2 = 1.0000001f,
                            .decay = 0.9999f,
                            .grad_scale = 0.73f};
    fill_ranges(example->buffers[ADAMW_RANGES].shown.data, args->n, args->n_ranges);
    fill_gradient_rows(example->buffers[ADAMW_START].shown.data, args->n, args->g_rows.width);
    return TD_OK;
}

enum { LION_STEP = 3, LION_RANGES, LION_START };
static void build_lion(td_kernel_example *example, const int64_t *d) {
    td_lion_f32_args *args = &example->args.lion_f32;
    *args = (td_lion_f32_args){.n = d[0], .n_ranges = d[1]};
    example_inout(example, "p", 1, d[0], d[0], &args->p);
    example_inout(example, "m", 1, d[0], d[0], &args->m);
    example_in(example, "g", 1, d[0], d[0], &args->g);
    int64_t step = (int64_t)(sizeof(td_lion_step) / sizeof(float));
    example_in(example, "step", 1, step, step, &args->step);
    example_add_bytes(example, "ranges", TD_EXAMPLE_IN, 2 * d[1], sizeof(int64_t), FILL_LATER, 0,
                      &args->ranges);
    add_gradient_rows(example, d, &args->g_rows);
    example_shape(example, "n%lld-d%lld%s", (long long)d[0], (long long)d[1],
                  d[3] ? "-compact" : "");
}

static td_status finish_lion(td_kernel_example *example) {
    const td_lion_f32_args *args = &example->args.lion_f32;
    td_lion_step *step = example->buffers[LION_STEP].shown.data;
    *step = (td_lion_step){.beta1 = 0.9f,
                           .one_minus_beta1 = 0.1f,
                           .beta2 = 0.99f,
                           .one_minus_beta2 = 0.01f,
                           .lr = 1e-4f,
                           .decay = 0.9999f,
                           .grad_scale = 0.73f};
    fill_ranges(example->buffers[LION_RANGES].shown.data, args->n, args->n_ranges);
    fill_gradient_rows(example->buffers[LION_START].shown.data, args->n, args->g_rows.width);
    return TD_OK;
}

static void build_ema(td_kernel_example *example, const int64_t *d) {
    td_ema_f32_args *args = &example->args.ema_f32;
    *args = (td_ema_f32_args){.n = d[0]};
    example_in(example, "p", 1, d[0], d[0], &args->p);
    example_inout(example, "ema", 1, d[0], d[0], &args->ema);
    example_add(example, "weight", TD_EXAMPLE_IN, 1, 1, 1, FILL_POSITIVE, 0.001f, &args->weight);
    example_shape(example, "n%lld", (long long)d[0]);
}

static void build_to_bf16(td_kernel_example *example, const int64_t *d) {
    td_f32_to_bf16_args *args = &example->args.f32_to_bf16;
    *args = (td_f32_to_bf16_args){.n = d[0]};
    example_in(example, "x", 1, d[0], d[0], &args->x);
    example_add_bytes(example, "y", TD_EXAMPLE_OUT, d[0], sizeof(uint16_t), FILL_LATER, 0,
                      &args->y);
    example_shape(example, "n%lld", (long long)d[0]);
}

static void build_from_bf16(td_kernel_example *example, const int64_t *d) {
    td_bf16_to_f32_args *args = &example->args.bf16_to_f32;
    *args = (td_bf16_to_f32_args){.n = d[0]};
    example_add_bytes(example, "x", TD_EXAMPLE_IN, d[0], sizeof(uint16_t), FILL_BF16, 0, &args->x);
    example_out(example, "y", 1, d[0], d[0], &args->y);
    example_shape(example, "n%lld", (long long)d[0]);
}

/* build declares the buffers; finish, where there is one, fills those that others determine. */
static const struct {
    void (*build)(td_kernel_example *example, const int64_t *d);
    td_status (*finish)(td_kernel_example *example);
} builders[TD_OP_COUNT] = {
    [TD_OP_gemm_f32] = {build_gemm, finish_gemm},
    [TD_OP_gemm_pack_f32] = {build_gemm_pack, NULL},
    [TD_OP_gemm_bf16] = {build_gemm, finish_gemm},
    [TD_OP_gemm_amx] = {build_gemm, finish_gemm},
    [TD_OP_im2col_f32] = {build_im2col, NULL},
    [TD_OP_tokens_assemble_f32] = {build_tokens, NULL},
    [TD_OP_rows_copy_f32] = {build_rows_copy, NULL},
    [TD_OP_embedding_f32] = {build_embedding, NULL},
    [TD_OP_embedding_sort_i32] = {build_embedding_sort, NULL},
    [TD_OP_embedding_grad_f32] = {build_embedding_grad, finish_embedding_grad},
    [TD_OP_embedding_bag_f32] = {example_build_bag, example_finish_bag},
    [TD_OP_embedding_bag_grad_f32] = {example_build_bag_grad, example_finish_bag_grad},
    [TD_OP_layernorm_f32] = {build_layernorm, NULL},
    [TD_OP_layernorm_grad_x_f32] = {build_layernorm_grad_x, NULL},
    [TD_OP_layernorm_grad_w_f32] = {build_layernorm_grad_w, finish_layernorm_grad_w},
    [TD_OP_colsum_f32] = {build_colsum, finish_colsum},
    [TD_OP_softmax_f32] = {build_softmax, NULL},
    [TD_OP_gelu_f32] = {build_gelu, NULL},
    [TD_OP_vmath_f32] = {build_vmath, NULL},
    [TD_OP_attention_f32] = {example_build_attention, example_finish_attention},
    [TD_OP_attention_grad_f32] = {example_build_attention_grad, example_finish_attention_grad},
    [TD_OP_attention_bf16] = {example_build_attention, example_finish_attention},
    [TD_OP_attention_grad_bf16] = {example_build_attention_grad, example_finish_attention_grad},
    [TD_OP_pool_f32] = {build_pool, finish_pool},
    [TD_OP_pool_grad_f32] = {build_pool_grad, finish_pool},
    [TD_OP_l2norm_f32] = {build_l2norm, NULL},
    [TD_OP_l2norm_grad_f32] = {build_l2norm_grad, NULL},
    [TD_OP_contrastive_lse_f32] = {example_build_contrastive_lse, NULL},
    [TD_OP_contrastive_grad_f32] = {example_build_contrastive_grad,
                                    example_finish_contrastive_grad},
    [TD_OP_contrastive_pairs_lse_f32] = {example_build_pairs_lse, example_finish_pairs_lse},
    [TD_OP_contrastive_pairs_grad_f32] = {example_build_pairs_grad, example_finish_pairs_grad},
    [TD_OP_scores_softmax_f32] = {example_build_scores_softmax, NULL},
    [TD_OP_scores_sigmoid_f32] = {example_build_scores_sigmoid, NULL},
    [TD_OP_sigmoid_loss_f32] = {example_build_sigmoid, example_finish_sigmoid},
    [TD_OP_cross_entropy_f32] = {example_build_cross_entropy, NULL},
    [TD_OP_sumsq_f32] = {build_sumsq, NULL},
    [TD_OP_adamw_f32] = {build_adamw, finish_adamw},
    [TD_OP_lion_f32] = {build_lion, finish_lion},
    [TD_OP_ema_f32] = {build_ema, NULL},
    [TD_OP_f32_to_bf16] = {build_to_bf16, NULL},
    [TD_OP_bf16_to_f32] = {build_from_bf16, NULL},
};

void example_build(td_kernel_example *example) {
    TD_ASSERT(builders[example->op].build != NULL);
    builders[example->op].build(example, example->spec.d);
}

td_status example_finish(td_kernel_example *example) {
    return builders[example->op].finish == NULL ? TD_OK : builders[example->op].finish(example);
}
