/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/gemm_shapes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "models/layer.h"

/* The batches at which the configurations are compared with other programs, and the blocks over
 * which a training step sums its batch. */
static const struct {
    const char *model;
    int64_t batch;
} batches[] = {{"vit-s-32-alt", 64},
               {"vit-b-32", 32},
               {"vit-s-16-alt", 16},
               {"vit-b-16", 8},
               {"vit-b-16-siglip", 8}};
enum { N_MODELS = sizeof batches / sizeof batches[0], BLOCKS = 8, MAX_SHAPES = 256 };
static const int64_t SQUARES[] = {1024, 2048, 4096};

/* y (rows, out) = x (rows, in) W: W stored (out, in), or (in, out). */
typedef struct layer {
    const char *name;
    int64_t rows, in, out;
    bool in_out, no_dx;
} layer;

/* Of all configurations, each shape once; and of one block of each tower of one of them. */
typedef struct shape_list {
    td_gemm_shape shapes[MAX_SHAPES];
    int64_t n;
    bool once;
} shape_list;

static shape_list all = {.once = true};
static shape_list blocks[N_MODELS];

static bool known(const shape_list *list, const td_gemm_shape *shape) {
    for (int64_t i = 0; i < list->n && list->once; i++) {
        const td_gemm_shape *s = &list->shapes[i];
        if (s->m == shape->m && s->n == shape->n && s->k == shape->k &&
            s->k_blocks == shape->k_blocks && s->a_trans == shape->a_trans &&
            s->b_trans == shape->b_trans) {
            return true;
        }
    }
    return false;
}

/* Layers of one tower, and where their products go. */
typedef struct tower_shapes {
    shape_list *list;
    const char *model;
    char tower;
    int64_t width;
} tower_shapes;

static void add(const tower_shapes *at, const layer *l, const char *pass, td_gemm_shape shape) {
    snprintf(shape.name, sizeof shape.name, "%s.%c.%s.%s-m%" PRId64 "-n%" PRId64 "-k%" PRId64,
             at->model, at->tower, l->name, pass, shape.m, shape.n, shape.k);
    shape.linear = true;
    if (!known(at->list, &shape) && at->list->n < MAX_SHAPES) {
        at->list->shapes[at->list->n++] = shape;
    }
}

/* The products of one layer, as layer.c asks for them. */
static void add_layer(const tower_shapes *at, layer l) {
    const int64_t fwd = td_layer_chains(at->width, TD_PRECISION_F32, l.in);
    const int64_t dx = td_layer_chains(at->width, TD_PRECISION_F32, l.out);
    add(at, &l, "fwd",
        (td_gemm_shape){.m = l.rows, .n = l.out, .k = l.in, .k_blocks = fwd, .b_trans = !l.in_out});
    if (!l.no_dx) {
        add(at, &l, "dx",
            (td_gemm_shape){
                .m = l.rows, .n = l.in, .k = l.out, .k_blocks = dx, .b_trans = l.in_out});
    }
    add(at, &l, "dw",
        (td_gemm_shape){.m = l.in_out ? l.in : l.out,
                        .n = l.in_out ? l.out : l.in,
                        .k = l.rows,
                        .k_blocks = BLOCKS,
                        .a_trans = true});
}

static tower_shapes tower_of(shape_list *list, const td_model_config *config, char tower) {
    const td_tower_config *shape = tower == 'v' ? &config->vision : &config->text;
    return (tower_shapes){list, config->name, tower, shape->width};
}

static int64_t rows_of(const td_model_config *config, char tower, int64_t batch) {
    return batch * (tower == 'v' ? td_model_vision_tokens(config) : config->context);
}

static void add_block(const tower_shapes *at, const td_model_config *config, int64_t batch) {
    const td_tower_config *shape = at->tower == 'v' ? &config->vision : &config->text;
    int64_t rows = rows_of(config, at->tower, batch), width = at->width;
    add_layer(at, (layer){"qkv", rows, width, 3 * width, false, false});
    add_layer(at, (layer){"out", rows, width, width, false, false});
    add_layer(at, (layer){"fc1", rows, width, shape->mlp, false, false});
    add_layer(at, (layer){"fc2", rows, shape->mlp, width, false, false});
}

static void add_tower(const td_model_config *config, char tower, int64_t batch) {
    const tower_shapes at = tower_of(&all, config, tower);
    int64_t rows = rows_of(config, tower, batch), width = at.width;
    bool clip = config->family == TD_FAMILY_CLIP;
    add_block(&at, config, batch);
    if (tower == 'v') {
        int64_t pixels = 3 * config->patch * config->patch;
        int64_t patches = batch * td_model_patches(config);
        add_layer(&at, (layer){"patch", patches, pixels, width, false, true});
    }
    if (tower == 'v' && !clip) {
        add_layer(&at, (layer){"map.kv", rows, width, 2 * width, false, false});
    } else {
        add_layer(&at, (layer){"proj", batch, width, config->embed, clip, false});
    }
}

static void add_model(const td_model_config *config, int model) {
    const int64_t batch = batches[model].batch;
    for (int i = 0; i < 2; i++) {
        const char tower = "vt"[i];
        const tower_shapes block = tower_of(&blocks[model], config, tower);
        add_tower(config, tower, batch);
        add_block(&block, config, batch);
    }
}

static void make_shapes(void) {
    static const char *const forms[] = {"", "-nt", "-tn"};
    for (size_t i = 0; i < 3 * sizeof SQUARES / sizeof SQUARES[0]; i++) {
        int64_t n = SQUARES[i / 3];
        td_gemm_shape *s = &all.shapes[all.n++];
        *s = (td_gemm_shape){.m = n,
                             .n = n,
                             .k = n,
                             .k_blocks = 1,
                             .a_trans = i % 3 == 2,
                             .b_trans = i % 3 == 1,
                             .quick = i < 3};
        snprintf(s->name, sizeof s->name, "m%" PRId64 "-n%" PRId64 "-k%" PRId64 "%s", n, n, n,
                 forms[i % 3]);
    }
    int count;
    const td_model_config *configs = td_model_configs(&count);
    for (int b = 0; b < N_MODELS; b++) {
        for (int i = 0; i < count; i++) {
            if (strcmp(configs[i].name, batches[b].model) == 0) {
                add_model(&configs[i], b);
            }
        }
    }
}

static bool shape_of(const shape_list *list, int64_t index, td_gemm_shape *out) {
    if (index < 0 || index >= list->n) {
        return false;
    }
    *out = list->shapes[index];
    return true;
}

bool td_gemm_shape_at(int64_t index, td_gemm_shape *out) {
    if (all.n == 0) {
        make_shapes();
    }
    return shape_of(&all, index, out);
}

bool td_gemm_block_shape_at(int model, int64_t index, td_gemm_shape *out) {
    if (all.n == 0) {
        make_shapes();
    }
    return shape_of(&blocks[model], index, out);
}

const char *td_gemm_block_model(int model) {
    return model < N_MODELS ? batches[model].model : NULL;
}

td_gemm_f32_args td_gemm_shape_args(const td_gemm_shape *shape, const float *a, const float *b,
                                    float *c) {
    return (td_gemm_f32_args){.m = shape->m,
                              .n = shape->n,
                              .k = shape->k,
                              .a = a,
                              .lda = shape->a_trans ? shape->m : shape->k,
                              .a_trans = shape->a_trans,
                              .b = b,
                              .ldb = shape->b_trans ? shape->k : shape->n,
                              .b_trans = shape->b_trans,
                              .c = c,
                              .ldc = shape->n,
                              .k_blocks = shape->k_blocks};
}

void td_gemm_fill(float *x, int64_t n, uint64_t stream) {
    td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, stream);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(td_rng_uniform(&rng) * 2 - 1);
    }
}
