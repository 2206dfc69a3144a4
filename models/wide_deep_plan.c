/* SPDX-License-Identifier: Apache-2.0 */
#include "models/wide_deep_plan.h"

#include <stddef.h>
#include <string.h>

#include "models/layer.h"

static bool has_relu(const td_table_shape *shape) {
    return strcmp(shape->activation, "relu") == 0;
}

/* What the products do as they store; ReLU is a pass of its own. */
static td_act act_of(const char *name) {
    return strcmp(name, "relu") == 0         ? TD_ACT_NONE
           : strcmp(name, "gelu_tanh") == 0  ? TD_ACT_GELU_TANH
           : strcmp(name, "gelu_quick") == 0 ? TD_ACT_GELU_QUICK
                                             : TD_ACT_GELU_ERF;
}

/* One layer: x (rows, in) to (rows, out). */
typedef struct dense_layer {
    int64_t rows, in, out;
    const float *x, *dy;
    float *weight, *bias, *d_weight, *d_bias;
    bool last;
} dense_layer;

/* A worker's share, in whole cache lines. What is not a number stays; -0 becomes 0. */
static td_status run_relu(void *arg, td_worker *worker) {
    enum { LINE = 16 };
    const td_wd_relu *relu = arg;
    int64_t first, last;
    td_worker_share(worker, (relu->n + LINE - 1) / LINE, &first, &last);
    last = last * LINE < relu->n ? last * LINE : relu->n;
    for (int64_t i = first * LINE; i < last; i++) {
        relu->x[i] = relu->of[i] <= 0 ? 0 : relu->x[i];
    }
    return TD_OK;
}

static int add_relu(td_program *program, int phase, td_wd_relu *relu, float *x, const float *of,
                    int64_t n, const char *name) {
    *relu = (td_wd_relu){x, of, n};
    return td_program_each(program, phase, run_relu, relu, "activation", name);
}

static float *at_tensor(const td_wide_deep *model, float *flat, int tensor) {
    return td_at(flat, model->tensors[tensor].offset);
}

static dense_layer layer_of(const td_wide_deep *model, int i) {
    const td_table_shape *shape = model->shape;
    int tensor = td_wd_layer(model, i);
    bool last = i == shape->n_hidden;
    return (dense_layer){.rows = td_split_rows(&model->split, model->split.rank),
                         .in = i == 0 ? shape->width : shape->hidden[i - 1],
                         .out = last ? shape->classes : shape->hidden[i],
                         .x = i == 0 ? model->deep : model->act[i - 1],
                         .dy = last ? model->logits : model->d_act[i],
                         .weight = at_tensor(model, model->params, tensor),
                         .bias = at_tensor(model, model->params, tensor + 1),
                         .d_weight = at_tensor(model, model->grads, tensor),
                         .d_bias = at_tensor(model, model->grads, tensor + 1),
                         .last = last};
}

#define VARY(member, source) td_program_vary(program, offsetof(VARIED, member), (source))

/* y of a bag, from a table that does not change before the end of the step. */
static int add_lookup(td_program *program, int phase, const td_wd_bag *bag, int64_t rows,
                      const char *name) {
    int after = TD_PROGRAM_ADD(program, phase, embedding_bag_f32, "embedding", name, .rows = rows,
                               .width = bag->width, .vocab = bag->vocab, .n = bag->n,
                               .table = bag->table, .max_norm = bag->max_norm,
                               .accumulate = bag->adds, .y = bag->y, .ldy = bag->ld);
#define VARIED td_embedding_bag_f32_args
    VARY(n, &bag->n);
    VARY(offsets, &bag->offsets);
    VARY(ids, &bag->ids);
    VARY(coefficients, &bag->coefficients);
#undef VARIED
    return after;
}

/* Positions by id: needs nothing but the batch. */
static void add_sort(td_program *program, int phase, const td_wd_bag *bag, const char *name) {
    TD_PROGRAM_ADD(program, phase, embedding_sort_i32, "embedding", name, .n = bag->n,
                   .vocab = bag->vocab, .start = bag->start);
#define VARIED td_embedding_sort_i32_args
    VARY(n, &bag->n);
    VARY(ids, &bag->ids);
    VARY(order, &bag->order);
#undef VARIED
}

static int add_lookup_grad(td_program *program, int phase, const td_wd_bag *bag, int64_t rows,
                           int64_t blocks, const char *name) {
    phase =
        TD_PROGRAM_ADD(program, phase, embedding_bag_grad_f32, "embedding", name, .rows = rows,
                       .width = bag->width, .vocab = bag->vocab, .n = bag->n, .table = bag->table,
                       .max_norm = bag->max_norm, .dy = bag->dy, .lddy = bag->ld);
#define VARIED td_embedding_bag_grad_f32_args
    VARY(n, &bag->n);
    VARY(offsets, &bag->offsets);
    VARY(ids, &bag->ids);
    VARY(coefficients, &bag->coefficients);
    VARY(dx, &bag->dx);
#undef VARIED
    phase = TD_PROGRAM_ADD(program, phase, embedding_grad_f32, "embedding", name, .n = bag->n,
                           .vocab = bag->vocab, .width = bag->width, .blocks = blocks,
                           .starts = bag->starts, .start = bag->start, .dtable = bag->grad);
#define VARIED td_embedding_grad_f32_args
    VARY(n, &bag->n);
    VARY(order, &bag->order);
    VARY(dx, &bag->dx);
#undef VARIED
    return phase;
}

/* Lookups, layers, the wide part on top, and the loss, which leaves gradients in place of logits.
 */
static int build_forward(td_wide_deep *model, td_program *program) {
    const td_table_shape *shape = model->shape;
    int64_t rows = td_split_rows(&model->split, model->split.rank);
    int phase = 0;
    td_program_part(program, "forward");
    for (int i = 0; i < shape->n_embeddings; i++) {
        phase = add_lookup(program, 0, &model->bags[i], rows, shape->embeddings[i].name);
    }
    for (int i = 0; i <= shape->n_hidden; i++) {
        dense_layer l = layer_of(model, i);
        phase = TD_PROGRAM_ADD(
            program, phase, gemm_f32, "gemm", l.last ? "logits" : "hidden", .m = l.rows, .n = l.out,
            .k = l.in, .a = l.x, .lda = l.in, .b = l.weight, .ldb = l.in, .b_trans = true,
            .k_blocks = 1, .c = l.last ? model->logits : model->act[i], .ldc = l.out,
            .bias = l.bias, .preact = l.last || has_relu(shape) ? NULL : model->preact[i],
            .ldpreact = l.out, .act = l.last ? TD_ACT_NONE : act_of(shape->activation));
        if (!l.last && has_relu(shape)) {
            phase = add_relu(program, phase, &model->relu[i], model->act[i], model->act[i],
                             l.rows * l.out, "relu");
        }
    }
    if (shape->wide_buckets > 0) {
        phase = add_lookup(program, phase, &model->bags[shape->n_embeddings], rows, "wide");
    }
    return TD_PROGRAM_ADD(program, phase, cross_entropy_f32, "loss", "cross_entropy", .rows = rows,
                          .cols = shape->classes, .ld = shape->classes, .logits = model->logits,
                          .labels = model->labels, .scale = 1 / (float)model->split.batch,
                          .row_loss = model->row_loss, .row_hit = model->row_hit);
}

/* Gradients of a layer's weight and bias, and of its input. */
static int build_layer_grad(td_wide_deep *model, int phase, int i) {
    td_program *program = model->train;
    const td_table_shape *shape = model->shape;
    int64_t blocks = td_split_n_blocks(&model->split, model->split.rank);
    dense_layer l = layer_of(model, i);
    TD_PROGRAM_ADD(program, phase, colsum_f32, "reduce", "bias.grad", .rows = l.rows, .cols = l.out,
                   .blocks = blocks, .x = l.dy, .ldx = l.out, .out = l.d_bias);
    int after =
        TD_PROGRAM_ADD(program, phase, gemm_f32, "gemm", "weight.grad", .m = l.out, .n = l.in,
                       .k = l.rows, .a = l.dy, .lda = l.out, .a_trans = true, .b = l.x, .ldb = l.in,
                       .c = l.d_weight, .ldc = l.in, .k_blocks = blocks);
    if (i == 0 && shape->n_embeddings == 0) {
        return after; /* nothing below learns */
    }
    bool relu = i > 0 && has_relu(shape);
    after = TD_PROGRAM_ADD(program, phase, gemm_f32, "gemm", "input.grad", .m = l.rows, .n = l.in,
                           .k = l.out, .a = l.dy, .lda = l.out, .b = l.weight, .ldb = l.in,
                           .c = i == 0 ? model->d_deep : model->d_act[i - 1], .ldc = l.in,
                           .k_blocks = 1, .act = i == 0 ? TD_ACT_NONE : act_of(shape->activation),
                           .act_grad_of = i == 0 || relu ? NULL : model->preact[i - 1],
                           .ldact_grad_of = l.in);
    return relu ? add_relu(program, after, &model->d_relu[i - 1], model->d_act[i - 1],
                           model->act[i - 1], l.rows * l.in, "relu.grad")
                : after;
}

static int build_backward(td_wide_deep *model, int phase) {
    td_program *program = model->train;
    const td_table_shape *shape = model->shape;
    int64_t rows = td_split_rows(&model->split, model->split.rank);
    int64_t blocks = td_split_n_blocks(&model->split, model->split.rank);
    float *sums = td_at(model->grads, model->total - TD_WD_SUMS);
    td_program_part(program, "backward");
    TD_PROGRAM_ADD(program, phase, colsum_f32, "reduce", "loss.sum", .rows = rows, .cols = 1,
                   .blocks = blocks, .x = model->row_loss, .ldx = 1, .out = sums);
    TD_PROGRAM_ADD(program, phase, colsum_f32, "reduce", "hits.sum", .rows = rows, .cols = 1,
                   .blocks = blocks, .x = model->row_hit, .ldx = 1, .out = td_at(sums, TD_WD_HITS));
    int wide = phase, last = phase;
    for (int i = 0; i < model->n_bags; i++) {
        add_sort(program, 0, &model->bags[i],
                 i < shape->n_embeddings ? shape->embeddings[i].name : "wide");
    }
    if (shape->wide_buckets > 0) {
        wide = add_lookup_grad(program, phase, &model->bags[shape->n_embeddings], rows, blocks,
                               "wide.grad");
    }
    for (int i = shape->n_hidden; i >= 0; i--) {
        phase = build_layer_grad(model, phase, i);
    }
    last = phase > wide ? phase : wide;
    for (int i = 0; i < shape->n_embeddings; i++) {
        int after = add_lookup_grad(program, phase, &model->bags[i], rows, blocks,
                                    shape->embeddings[i].name);
        last = after > last ? after : last;
    }
    return last;
}

static void begin_step(void *arg) {
    td_wide_deep *model = arg;
    model->grads[model->total - TD_WD_SUMS + TD_WD_STOP] = model->ask_stop ? 1 : 0;
}

static void prepare_update(void *arg) {
    td_wide_deep *model = arg;
    model->lr = td_optimizer_lr(&model->options.optimizer, model->steps_done);
    model->adamw = td_optimizer_adamw(&model->options.optimizer, model->steps_done, 1);
}

static void end_step(void *arg) {
    ((td_wide_deep *)arg)->steps_done++;
}

/* Columns that share a table each have a gradient of their own until all ranks' are summed: sums of
 * sums in another order would depend on the number of ranks. */
static int join_shared(td_wide_deep *model, int phase) {
    const td_table_shape *shape = model->shape;
    for (int i = 0; i < shape->n_embeddings; i++) {
        const td_wd_bag *bag = &model->bags[i];
        float *joint = at_tensor(model, model->grads, shape->embeddings[i].table);
        if (bag->grad != joint) {
            phase = TD_PROGRAM_ADD(model->train, phase, rows_copy_f32, "optimizer", "shared.add",
                                   .groups = bag->vocab, .rows = 1, .cols = bag->width,
                                   .from = bag->grad, .from_group = bag->width,
                                   .from_ld = bag->width, .to = joint, .to_group = bag->width,
                                   .to_ld = bag->width, .add = true);
        }
    }
    return phase;
}

static void build_update(td_wide_deep *model, int phase) {
    td_program *program = model->train;
    if (model->split.ranks > 1) {
        td_program_part(program, "communication");
        phase = td_program_collective(program, phase, td_collective_find("allreduce", "tree"),
                                      model->comm, model->grads, model->total, "grads.allreduce");
    }
    td_program_part(program, "optimizer");
    phase = join_shared(model, phase);
    phase = td_program_call(program, phase, prepare_update, model, "update.scalars");
    phase = TD_PROGRAM_ADD(program, phase, adamw_f32, "optimizer", "adamw", .n = model->flat,
                           .p = model->params, .m = model->m, .v = model->v, .g = model->grads,
                           .step = &model->adamw, .ranges = (const int64_t(*)[2])model->decayed,
                           .n_ranges = model->n_decayed);
    td_program_call(program, phase, end_step, model, "step.end");
}

void td_wd_build(td_wide_deep *model) {
    build_forward(model, model->forward);
    td_program_call(model->train, 0, begin_step, model, "step.begin");
    int phase = build_forward(model, model->train);
    build_update(model, build_backward(model, phase));
}
