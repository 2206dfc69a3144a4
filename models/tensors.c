/* SPDX-License-Identifier: Apache-2.0 */
#include "models/tensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

/* Which rows of the table a model has, and how often. */
typedef enum row_when { CLIP, SIGLIP, BOTH, SIGMOID } row_when;

typedef struct row {
    td_role role;
    row_when when;
    const char *name;
    int n_dims;
    int64_t dims[4];
    td_init init;
    double init_value;
    bool decay;
} row;

enum { MAX_ROWS = 128, PIECE = 16384 };

/* The table with the configuration's numbers filled in. */
static int evaluate_rows(const td_model_config *c, td_loss loss, row rows[MAX_ROWS]) {
    int n = 0;
/* clang-format off */
#define D0() 0, {1, 1, 1, 1}
#define D1(a) 1, {a, 1, 1, 1}
#define D2(a, b) 2, {a, b, 1, 1}
#define D3(a, b, d) 3, {a, b, d, 1}
#define D4(...) 4, {__VA_ARGS__}
#define CONST(value) TD_INIT_CONST, value
#define NORMAL(deviation) TD_INIT_NORMAL, deviation
#define UNIFORM(bound) TD_INIT_UNIFORM, bound
/* clang-format on */
#define TD_TENSOR(role, decay, when, name, dims, init)                                             \
    rows[n++] = (row){TD_ROLE_##role, when, name, dims, init, decay};
#include "models/tensors.inc"
#undef TD_TENSOR
    TD_ASSERT(n <= MAX_ROWS);
    return n;
}

static bool row_applies(const row *r, const td_model_config *config, td_loss loss) {
    return r->when == BOTH || (r->when == SIGMOID && loss == TD_LOSS_SIGMOID) ||
           (r->when == CLIP && config->family == TD_FAMILY_CLIP) ||
           (r->when == SIGLIP && config->family == TD_FAMILY_SIGLIP);
}

static bool in_vision(const row *r) {
    return r->role >= TD_ROLE_v_ln1_w && r->role <= TD_ROLE_v_fc2_b;
}

/* 0: once; else the number of blocks of the tower whose block the row is part of. */
static int64_t row_repeats(const row *r, const td_model_config *config) {
    bool repeats = strstr(r->name, "%d") != NULL;
    return !repeats ? 0 : in_vision(r) ? config->vision.layers : config->text.layers;
}

static void add_tensor(td_tensors *out, const row *r, int block) {
    td_tensor *tensor = &out->tensors[out->count];
    *tensor = (td_tensor){.role = r->role,
                          .block = block,
                          .n_dims = r->n_dims,
                          .decay = r->decay,
                          .init = r->init,
                          .init_value = r->init_value,
                          .offset = out->flat};
    memcpy(tensor->dims, r->dims, sizeof(tensor->dims));
    const char *hole = strstr(r->name, "%d");
    int head = hole == NULL ? (int)strlen(r->name) : (int)(hole - r->name);
    int written = snprintf(tensor->name, sizeof(tensor->name), "%.*s", head, r->name);
    if (hole != NULL) {
        written += snprintf(tensor->name + written, sizeof(tensor->name) - (size_t)written, "%d%s",
                            block, hole + 2);
    }
    TD_ASSERT(written < TD_TENSOR_NAME);
    tensor->count = r->dims[0] * r->dims[1] * r->dims[2] * r->dims[3];
    out->n_elements += tensor->count;
    out->flat += (tensor->count + TD_TENSOR_ALIGN - 1) / TD_TENSOR_ALIGN * TD_TENSOR_ALIGN;
    if (block == 0) {
        out->first[r->role] = out->count;
    } else if (block == 1) {
        out->stride[r->role] = out->count - out->first[r->role];
    }
    if (r->decay) {
        /* Neighbours that both decay become one range; the padding between them is zero and stays
         * zero. */
        if (out->n_decayed > 0 && out->decayed[out->n_decayed - 1][1] == tensor->offset) {
            out->decayed[out->n_decayed - 1][1] = out->flat;
        } else {
            out->decayed[out->n_decayed][0] = tensor->offset;
            out->decayed[out->n_decayed++][1] = out->flat;
        }
    }
    out->count++;
}

td_status td_tensors_create(const td_model_config *config, td_loss loss, td_tensors *out) {
    row rows[MAX_ROWS];
    int n_rows = evaluate_rows(config, loss, rows);
    int64_t most = n_rows * (config->vision.layers > config->text.layers ? config->vision.layers
                                                                         : config->text.layers);
    td_tensors tensors = {.tensors = td_alloc_zero((size_t)most * sizeof(td_tensor)),
                          .decayed = td_alloc_zero((size_t)most * sizeof(tensors.decayed[0]))};
    if (tensors.tensors == NULL || tensors.decayed == NULL) {
        td_tensors_destroy(&tensors);
        return td_fail(TD_ENOMEM, "no memory for the table of %lld tensors", (long long)most);
    }
    for (int role = 0; role < TD_ROLE_COUNT; role++) {
        tensors.first[role] = -1;
    }
    for (int i = 0; i < n_rows;) {
        int64_t repeats = row_repeats(&rows[i], config);
        int end = i + 1;
        while (end < n_rows && repeats > 0 && row_repeats(&rows[end], config) == repeats &&
               in_vision(&rows[end]) == in_vision(&rows[i])) {
            end++;
        }
        for (int block = 0; block < (repeats > 0 ? repeats : 1); block++) {
            for (int k = i; k < end; k++) {
                if (row_applies(&rows[k], config, loss)) {
                    add_tensor(&tensors, &rows[k], block);
                }
            }
        }
        i = end;
    }
    tensors.scalars = td_tensors_at(&tensors, TD_ROLE_logit_scale, 0)->offset;
    *out = tensors;
    return TD_OK;
}

void td_tensors_destroy(td_tensors *tensors) {
    td_free(tensors->tensors);
    td_free(tensors->decayed);
    *tensors = (td_tensors){0};
}

bool td_tensor_of_image(const td_tensor *tensor) {
    return strncmp(tensor->name, "visual.", strlen("visual.")) == 0;
}

bool td_tensors_has(const td_tensors *tensors, td_role role) {
    return tensors->first[role] >= 0;
}

int64_t td_tensors_image_end(const td_tensors *tensors) {
    int i = 0;
    while (td_tensor_of_image(&tensors->tensors[i])) {
        i++;
    }
    return tensors->tensors[i].offset;
}

const td_tensor *td_tensors_at(const td_tensors *tensors, td_role role, int64_t block) {
    TD_ASSERT(tensors->first[role] >= 0);
    const td_tensor *tensor =
        &tensors->tensors[tensors->first[role] + block * tensors->stride[role]];
    TD_ASSERT(tensor->role == role && tensor->block == block);
    return tensor;
}

const td_tensor *td_tensors_find(const td_tensors *tensors, const char *name) {
    for (int i = 0; i < tensors->count; i++) {
        if (strcmp(tensors->tensors[i].name, name) == 0) {
            return &tensors->tensors[i];
        }
    }
    return NULL;
}

int64_t td_tensors_pieces(const td_tensors *tensors) {
    return (tensors->flat + PIECE - 1) / PIECE;
}

/* Elements [first, last) of one tensor, which lie inside one run of PIECE elements of that tensor
 * or cross into the next: the stream of a run is keyed by (tensor, run), so a piece of the flat
 * buffer can start it anywhere. */
static void init_tensor(const td_tensor *tensor, int index, uint64_t seed, float *data,
                        int64_t first, int64_t last) {
    if (tensor->init == TD_INIT_CONST) {
        for (int64_t i = first; i < last; i++) {
            data[i] = (float)tensor->init_value;
        }
        return;
    }
    for (int64_t run = first / PIECE; run * PIECE < last; run++) {
        td_rng rng = td_rng_make(seed, TD_PURPOSE_INIT, (uint64_t)index << 32 | (uint64_t)run);
        int64_t end = (run + 1) * PIECE < last ? (run + 1) * PIECE : last;
        for (int64_t i = run * PIECE; i < end; i++) {
            double draw =
                tensor->init == TD_INIT_NORMAL ? td_rng_normal(&rng) : 2 * td_rng_uniform(&rng) - 1;
            if (i >= first) {
                data[i] = (float)(draw * tensor->init_value);
            }
        }
    }
}

void td_tensors_init(const td_tensors *tensors, uint64_t seed, float *flat, int64_t first,
                     int64_t last) {
    int64_t begin = first * PIECE,
            end = last * PIECE < tensors->flat ? last * PIECE : tensors->flat;
    if (begin >= end) {
        return;
    }
    memset(flat + begin, 0, (size_t)(end - begin) * sizeof(float));
    for (int i = 0; i < tensors->count; i++) {
        const td_tensor *tensor = &tensors->tensors[i];
        int64_t from = begin > tensor->offset ? begin - tensor->offset : 0;
        int64_t to = end - tensor->offset < tensor->count ? end - tensor->offset : tensor->count;
        if (from < to) {
            init_tensor(tensor, i, seed, flat + tensor->offset, from, to);
        }
    }
}

static td_status hash(const td_tensors *tensors, const float *flat, bool image_only,
                      char hex[TD_SHA256_HEX]) {
    td_sha256 *sha;
    TD_TRY(td_sha256_create(&sha));
    for (int i = 0; i < tensors->count; i++) {
        const td_tensor *tensor = &tensors->tensors[i];
        if (!image_only || td_tensor_of_image(tensor)) {
            td_sha256_add(sha, flat + tensor->offset, (size_t)tensor->count * sizeof(float));
        }
    }
    td_sha256_finish(sha, hex);
    return TD_OK;
}

td_status td_tensors_sha256(const td_tensors *tensors, const float *flat, char hex[TD_SHA256_HEX]) {
    return hash(tensors, flat, false, hex);
}

td_status td_tensors_image_sha256(const td_tensors *tensors, const float *flat,
                                  char hex[TD_SHA256_HEX]) {
    return hash(tensors, flat, true, hex);
}
