/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/gemm_shapes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "models/config.h"

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

static td_gemm_shape shapes[MAX_SHAPES];
static int64_t n_shapes;

static bool known(const td_gemm_shape *shape) {
    for (int64_t i = 0; i < n_shapes; i++) {
        const td_gemm_shape *s = &shapes[i];
        if (s->m == shape->m && s->n == shape->n && s->k == shape->k &&
            s->k_blocks == shape->k_blocks && s->a_trans == shape->a_trans &&
            s->b_trans == shape->b_trans) {
            return true;
        }
    }
    return false;
}

static void add(const char *model, char tower, const layer *l, const char *pass,
                td_gemm_shape shape) {
    snprintf(shape.name, sizeof shape.name,
             "%s.%c.%s.%s-m%" PRId64 "-n%" PRId64 "-k%" PRId64, model, tower, l->name, pass,
             shape.m, shape.n, shape.k);
    shape.linear = true;
    if (!known(&shape) && n_shapes < MAX_SHAPES) {
        shapes[n_shapes++] = shape;
    }
}

/* The products of one layer, as layer.c asks for them. */
static void add_layer(const char *model, char tower, layer l) {
    add(model, tower, &l, "fwd",
        (td_gemm_shape){.m = l.rows, .n = l.out, .k = l.in, .k_blocks = 1, .b_trans = !l.in_out});
    if (!l.no_dx) {
        add(model, tower, &l, "dx",
            (td_gemm_shape){
                .m = l.rows, .n = l.in, .k = l.out, .k_blocks = 1, .b_trans = l.in_out});
    }
    add(model, tower, &l, "dw",
        (td_gemm_shape){.m = l.in_out ? l.in : l.out,
                        .n = l.in_out ? l.out : l.in,
                        .k = l.rows,
                        .k_blocks = BLOCKS,
                        .a_trans = true});
}

static void add_tower(const td_model_config *config, char tower, int64_t batch) {
    const td_tower_config *shape = tower == 'v' ? &config->vision : &config->text;
    int64_t tokens = tower == 'v' ? td_model_vision_tokens(config) : config->context;
    int64_t rows = batch * tokens, width = shape->width;
    bool clip = config->family == TD_FAMILY_CLIP;
    add_layer(config->name, tower, (layer){"qkv", rows, width, 3 * width, false, false});
    add_layer(config->name, tower, (layer){"out", rows, width, width, false, false});
    add_layer(config->name, tower, (layer){"fc1", rows, width, shape->mlp, false, false});
    add_layer(config->name, tower, (layer){"fc2", rows, shape->mlp, width, false, false});
    if (tower == 'v') {
        int64_t pixels = 3 * config->patch * config->patch;
        int64_t patches = batch * td_model_patches(config);
        add_layer(config->name, tower, (layer){"patch", patches, pixels, width, false, true});
    }
    if (tower == 'v' && !clip) {
        add_layer(config->name, tower, (layer){"map.kv", rows, width, 2 * width, false, false});
    } else {
        add_layer(config->name, tower, (layer){"proj", batch, width, config->embed, clip, false});
    }
}

static void make_shapes(void) {
    for (size_t i = 0; i < sizeof SQUARES / sizeof SQUARES[0]; i++) {
        int64_t n = SQUARES[i];
        td_gemm_shape *s = &shapes[n_shapes++];
        *s = (td_gemm_shape){.m = n, .n = n, .k = n, .k_blocks = 1, .quick = i == 0};
        snprintf(s->name, sizeof s->name, "m%" PRId64 "-n%" PRId64 "-k%" PRId64, n, n, n);
    }
    int count;
    const td_model_config *configs = td_model_configs(&count);
    for (int b = 0; b < N_MODELS; b++) {
        for (int i = 0; i < count; i++) {
            if (strcmp(configs[i].name, batches[b].model) == 0) {
                add_tower(&configs[i], 'v', batches[b].batch);
                add_tower(&configs[i], 't', batches[b].batch);
            }
        }
    }
}

bool td_gemm_shape_at(int64_t index, td_gemm_shape *out) {
    if (n_shapes == 0) {
        make_shapes();
    }
    if (index < 0 || index >= n_shapes) {
        return false;
    }
    *out = shapes[index];
    return true;
}
