/* SPDX-License-Identifier: Apache-2.0
 * What the wide and deep model is made of, between the file that owns it and the one that builds
 * its programs. Private to both.
 */
#ifndef TD_MODELS_WIDE_DEEP_PLAN_H
#define TD_MODELS_WIDE_DEEP_PLAN_H

#include "models/wide_deep.h"

enum { TD_WIDE_DEEP_NAME = 96 };

/* A tensor of the flat buffers. */
typedef struct td_wd_tensor {
    char name[TD_WIDE_DEEP_NAME];
    int64_t offset, rows, cols;
    bool decays;
    double spread; /* initial values: normal of this deviation; 0: zeros */
} td_wd_tensor;

/* One bag: where it reads and how its gradient comes about. Pointers and n change with every batch.
 */
typedef struct td_wd_bag {
    int64_t n, capacity;
    const int32_t *offsets, *ids;
    const float *coefficients;
    float *dx;       /* (n, width): a row an id */
    int32_t *order;  /* (n) */
    int32_t *start;  /* (vocab + 1) */
    int64_t *starts; /* (blocks + 1): of ids */
    int64_t vocab, width, ld;
    float max_norm;
    float *y, *dy; /* where sums go, and their gradient */
    float *table, *grad;
    bool adds; /* to what is in y */
} td_wd_bag;

/* x where `of` is above zero, else 0: of ReLU the value (of is x) and the gradient (of: the
 * values).
 */
typedef struct td_wd_relu {
    float *x;
    const float *of;
    int64_t n;
} td_wd_relu;

struct td_wide_deep {
    td_wide_deep_options options;
    const td_table_shape *shape;
    td_split split;
    td_rank *rank;
    td_team *team;
    td_comm *comm;
    td_program *train, *forward;
    td_arena arena;
    td_wd_tensor *tensors;
    int n_tensors;
    int64_t flat;  /* elements of all tensors, each from a multiple of 16 on */
    int64_t total; /* of the gradients: flat, shared tables' further gradients, sums */
    float *params, *m, *v, *grads;
    td_wd_bag *bags; /* embeddings, then the wide part */
    int n_bags;
    unsigned char *staging;
    int64_t staging_bytes;
    int64_t (*decayed)[2];
    int64_t n_decayed;
    float *deep, *d_deep;
    float *preact[TD_HIDDEN_MAX], *act[TD_HIDDEN_MAX], *d_act[TD_HIDDEN_MAX];
    td_wd_relu relu[TD_HIDDEN_MAX], d_relu[TD_HIDDEN_MAX];
    float *logits, *row_loss, *row_hit;
    int32_t *labels;
    int64_t *places; /* rows of the batch */
    td_adamw_step adamw;
    double lr;
    int64_t steps_done;
    bool ask_stop;
};

/* Of the gradients, what follows the tensors' and the shared tables': sums over the batch. */
enum { TD_WD_LOSS, TD_WD_HITS, TD_WD_STOP, TD_WD_SUMS };

/* Number of a tensor: tables first, the wide part's last of them, then weight and bias of every
 * layer, the last one's being the logits'. */
static inline int td_wd_layer(const td_wide_deep *model, int layer) {
    return model->shape->n_tables + (model->shape->wide_buckets > 0) + 2 * layer;
}

/* Fills both programs; with memory that is only measured so far, pointers are NULL. */
void td_wd_build(td_wide_deep *model);

#endif
