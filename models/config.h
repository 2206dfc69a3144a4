/* SPDX-License-Identifier: Apache-2.0
 * Model configurations: named ones from one table, and any from open_clip's JSON. A configuration
 * is shapes and choices only; tensors.h turns it into tensors, tower.h into operations.
 */
#ifndef TD_MODELS_CONFIG_H
#define TD_MODELS_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/kernel.h"

typedef struct td_tower_config {
    int64_t layers, width, heads, mlp; /* mlp: hidden width of a block's two-layer perceptron */
    td_act act;
    float norm_eps;
} td_tower_config;

/* The two families differ in architecture, not only in loss:
 *   clip    class token, norm before the blocks, bias-free projections, text pooled at its end
 * token, causal siglip  no class token, biased patch embedding, attention pooling of the image,
 * text pooled at its last token with a biased projection, nothing masked */
typedef enum td_family { TD_FAMILY_CLIP, TD_FAMILY_SIGLIP } td_family;

/* Arithmetic of the towers' products: number, name on the command line and in case ids, type of
 * attention's operands, operation of the products. The patch embedding, norms, softmax, the
 * residual stream, the loss with its similarities, and the update are f32 in all of them. In bf16
 * operands are rounded; the two differ in the order of sums of products with weights, that of
 * VDPBF16PS and that of AMX. */
/* clang-format off */
#define TD_PRECISION_MAP(X)                              \
    X(TD_PRECISION_F32, "f32", f32, gemm_f32)            \
    X(TD_PRECISION_BF16, "bf16", bf16, gemm_bf16)        \
    X(TD_PRECISION_BF16_AMX, "bf16-amx", bf16, gemm_amx)
/* clang-format on */

typedef enum td_precision {
#define TD_PRECISION_ENUM(precision, name, type, product) precision,
    TD_PRECISION_MAP(TD_PRECISION_ENUM)
#undef TD_PRECISION_ENUM
        TD_PRECISION_COUNT
} td_precision;

/* The names as the choices of an option: "f32|bf16|bf16-amx". */
#define TD_PRECISION_NAME(number, name, type, op) "|" name
#define TD_PRECISION_CHOICES                      (&(TD_PRECISION_MAP(TD_PRECISION_NAME))[1])

const char *td_precision_name(td_precision precision);

/* The operations that multiply so, and back, the first one that has the operation: F32 for any
 * other. */
td_op_id td_precision_product(td_precision precision);
td_op_id td_precision_attention(td_precision precision);
td_op_id td_precision_attention_grad(td_precision precision);
td_precision td_precision_of_op(td_op_id op);

/* TD_EUSAGE when there is no such arithmetic. */
td_status td_precision_find(const char *name, td_precision *out);

typedef struct td_model_config {
    char name[32];
    td_family family;
    int64_t embed;
    int64_t image_size, patch;
    int64_t context, vocab;
    td_tower_config vision, text;
    bool causal;
} td_model_config;

enum { TD_MODEL_MAX_LAYERS = 128, TD_MODEL_MAX_NAMED = 16, TD_MODEL_MAX_PATCHES = 1 << 16 };

/* The named configurations in table order. */
const td_model_config *td_model_configs(int *count);

/* TD_EUSAGE lists the names when there is no such model. */
td_status td_model_config_find(const char *name, td_model_config *out);

/* A name of the table, or the path of an open_clip configuration that ends in .json. */
td_status td_model_config_load(const char *name_or_path, td_model_config *out);

/* From an open_clip configuration, as its model_configs/<name>.json holds it (a member "model_cfg"
 * is entered). `where` names the source in messages. Values that cannot be trained here are
 * TD_EINPUT: a ResNet or timm trunk other than SigLIP's, sizes out of range, widths that the heads
 * do not divide, and every choice of open_clip that would change the computation and is not made
 * here. A remainder of the image behind its last whole patch is not looked at, as in a convolution.
 */
td_status td_model_config_parse(const char *json, const char *where, td_model_config *out);

/* The same configuration as open_clip JSON, freed with td_free; parsing it back gives an equal
 * configuration. */
td_status td_model_config_print(const td_model_config *config, char **json);

bool td_model_config_equal(const td_model_config *a, const td_model_config *b);

/* Patches of an image, and tokens of the vision tower: patches, and one more with a class token. */
int64_t td_model_patches(const td_model_config *config);
int64_t td_model_vision_tokens(const td_model_config *config);

/* Floating-point operations of a forward pass of the dense, padded towers: of one image of which so
 * many patches are embedded, and of one caption. */
double td_model_image_flops(const td_model_config *config, int64_t patches);
double td_model_text_flops(const td_model_config *config);

/* Floating-point operations of one training step per pair, by the usual convention: three times the
 * forward pass of the dense, padded towers, loss left out. The share of peak computed from it can
 * be compared with other programs'. */
double td_model_nominal_flops(const td_model_config *config);

#endif
