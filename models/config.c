/* SPDX-License-Identifier: Apache-2.0 */
#include "models/config.h"

#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/text.h"

static const char *const precision_names[] = {
#define NAME_OF(precision, name, type, product) [precision] = name,
    TD_PRECISION_MAP(NAME_OF)
#undef NAME_OF
};

static const struct {
    td_op_id product, attention, attention_grad;
} precision_ops[] = {
#define OPS_OF(precision, name, type, product)                                                     \
    [precision] = {TD_OP_##product, TD_OP_attention_##type, TD_OP_attention_grad_##type},
    TD_PRECISION_MAP(OPS_OF)
#undef OPS_OF
};

td_op_id td_precision_product(td_precision precision) {
    return precision_ops[precision].product;
}

td_op_id td_precision_attention(td_precision precision) {
    return precision_ops[precision].attention;
}

td_op_id td_precision_attention_grad(td_precision precision) {
    return precision_ops[precision].attention_grad;
}

td_precision td_precision_of_op(td_op_id op) {
    for (td_precision p = TD_PRECISION_F32; p < TD_PRECISION_COUNT; p++) {
        if (precision_ops[p].product == op || precision_ops[p].attention == op ||
            precision_ops[p].attention_grad == op) {
            return p;
        }
    }
    return TD_PRECISION_F32;
}

const char *td_precision_name(td_precision precision) {
    return precision_names[precision];
}

td_status td_precision_find(const char *name, td_precision *out) {
    for (size_t i = 0; i < TD_PRECISION_COUNT; i++) {
        if (strcmp(name, precision_names[i]) == 0) {
            *out = (td_precision)i;
            return TD_OK;
        }
    }
    return td_fail(TD_EUSAGE, "unknown precision \"%s\"; expected one of %s", name,
                   TD_PRECISION_CHOICES);
}

/* clang-format off */
#define CLIP_TOWER .act = TD_ACT_GELU_ERF, .norm_eps = 1e-5F
#define SIGLIP_TOWER .act = TD_ACT_GELU_TANH, .norm_eps = 1e-6F
#define TOWER(LAYERS, WIDTH, HEADS, KIND)                                                          \
    {.layers = LAYERS, .width = WIDTH, .heads = HEADS, .mlp = 4 * (WIDTH), KIND}
#define MODEL(KIND, NAME, EMBED, IMAGE, PATCH, CONTEXT, VOCAB, VL, VW, VH, TL, TW, TH)             \
    {.family = TD_FAMILY_##KIND, .causal = TD_FAMILY_##KIND == TD_FAMILY_CLIP, .name = NAME,       \
     .embed = EMBED, .image_size = IMAGE, .patch = PATCH, .context = CONTEXT, .vocab = VOCAB,      \
     .vision = TOWER(VL, VW, VH, KIND##_TOWER), .text = TOWER(TL, TW, TH, KIND##_TOWER)}

/* SigLIP's weights were trained with the tanh form of GELU, the default of their library. */
static const td_model_config configs[] = {
  /*                                                           towers: layers, width, heads */
  /*            name            embed image patch ctx vocab     image       text */
  MODEL(CLIP,   "mu",              32,  32,  8, 16,  1024,   2,  32,  2,   1,  32,  2),
  MODEL(SIGLIP, "mu-siglip",       32,  32,  8, 16,  1024,   2,  32,  2,   1,  32,  2),
  MODEL(CLIP,   "ti-32",          128, 224, 32, 32,  4096,   6, 192,  3,   4, 128,  2),
  MODEL(CLIP,   "vit-s-32-alt",   256, 224, 32, 77, 49408,  12, 384,  6,  10, 256,  4),
  MODEL(CLIP,   "vit-s-16-alt",   256, 224, 16, 77, 49408,  12, 384,  6,  10, 256,  4),
  MODEL(CLIP,   "vit-b-32",       512, 224, 32, 77, 49408,  12, 768, 12,  12, 512,  8),
  MODEL(CLIP,   "vit-b-16",       512, 224, 16, 77, 49408,  12, 768, 12,  12, 512,  8),
  MODEL(SIGLIP, "vit-b-16-siglip", 768, 224, 16, 64, 32000, 12, 768, 12,  12, 768, 12),
};
/* clang-format on */
enum { N_CONFIGS = sizeof(configs) / sizeof(configs[0]) };
_Static_assert((int)N_CONFIGS <= (int)TD_MODEL_MAX_NAMED, "names are joined into one message");

const td_model_config *td_model_configs(int *count) {
    *count = N_CONFIGS;
    return configs;
}

td_status td_model_config_find(const char *name, td_model_config *out) {
    char names[TD_MODEL_MAX_NAMED * (sizeof(configs[0].name) + 2)] = "";
    for (int i = 0; i < N_CONFIGS; i++) {
        if (strcmp(configs[i].name, name) == 0) {
            *out = configs[i];
            return TD_OK;
        }
        strcat(strcat(names, i > 0 ? ", " : ""), configs[i].name);
    }
    return td_fail(TD_EUSAGE,
                   "model %s is unknown; expected one of %s, or a file that ends in .json", name,
                   names);
}

td_status td_model_config_load(const char *name_or_path, td_model_config *out) {
    size_t length = strlen(name_or_path);
    if (length < 5 || strcmp(name_or_path + length - 5, ".json") != 0) {
        return td_model_config_find(name_or_path, out);
    }
    char *json;
    size_t size;
    TD_TRY(td_file_read(name_or_path, &json, &size));
    td_status status = td_model_config_parse(json, name_or_path, out);
    td_free(json);
    return status;
}

static bool tower_equal(const td_tower_config *a, const td_tower_config *b) {
    return a->layers == b->layers && a->width == b->width && a->heads == b->heads &&
           a->mlp == b->mlp && a->act == b->act && !(a->norm_eps != b->norm_eps);
}

bool td_model_config_equal(const td_model_config *a, const td_model_config *b) {
    return strcmp(a->name, b->name) == 0 && a->family == b->family && a->embed == b->embed &&
           a->image_size == b->image_size && a->patch == b->patch && a->context == b->context &&
           a->vocab == b->vocab && tower_equal(&a->vision, &b->vision) &&
           tower_equal(&a->text, &b->text) && a->causal == b->causal;
}

int64_t td_model_patches(const td_model_config *config) {
    int64_t side = config->image_size / config->patch;
    return side * side;
}

int64_t td_model_vision_tokens(const td_model_config *config) {
    return td_model_patches(config) + (config->family == TD_FAMILY_CLIP ? 1 : 0);
}

/* Multiply-adds of a tower's blocks over n tokens: 4 W^2 of attention's projections, 2 W mlp of the
 * perceptron, 2 n W of scores and their products with the values. */
static double tower_macs(const td_tower_config *tower, int64_t tokens) {
    double width = (double)tower->width, n = (double)tokens;
    double per_token = 4 * width * width + 2 * width * (double)tower->mlp + 2 * n * width;
    return (double)tower->layers * n * per_token;
}

double td_model_image_flops(const td_model_config *config, int64_t patches) {
    double width = (double)config->vision.width, n = (double)patches;
    double macs = n * 3 * (double)(config->patch * config->patch) * width;
    macs += tower_macs(&config->vision,
                       patches + td_model_vision_tokens(config) - td_model_patches(config));
    if (config->family == TD_FAMILY_CLIP) {
        macs += width * (double)config->embed;
    } else { /* attention pooling: keys and values of every token, one query, its projections and
                perceptron */
        macs += 2 * n * width * width + 2 * n * width + 2 * width * width +
                2 * width * (double)config->vision.mlp;
    }
    return 2 * macs;
}

double td_model_text_flops(const td_model_config *config) {
    return 2 * (tower_macs(&config->text, config->context) +
                (double)config->text.width * (double)config->embed);
}

double td_model_nominal_flops(const td_model_config *config) {
    return 3 *
           (td_model_image_flops(config, td_model_patches(config)) + td_model_text_flops(config));
}

/* One integer member of an object. fallback < 0: it must be there. */
static td_status read_int(json_t *object, const char *key, const char *where, int64_t fallback,
                          int64_t min, int64_t max, int64_t *out) {
    json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value)) {
        if (fallback < 0) {
            return td_fail(TD_EINPUT, "%s: %s is missing", where, key);
        }
        *out = fallback;
        return TD_OK;
    }
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max) {
        return td_fail(TD_EINPUT, "%s: %s must be a whole number in [%lld, %lld]", where, key,
                       (long long)min, (long long)max);
    }
    *out = json_integer_value(value);
    return TD_OK;
}

/* The kind of GELU and the epsilon of norms. */
static td_status read_kind(json_t *object, const char *where, bool quick, float norm_eps,
                           td_tower_config *out) {
    json_t *kwargs = json_object_get(object, "act_kwargs");
    const char *approximate = json_string_value(json_object_get(kwargs, "approximate"));
    bool tanh_form = approximate != NULL && strcmp(approximate, "tanh") == 0;
    if (approximate != NULL && !tanh_form && strcmp(approximate, "none") != 0) {
        return td_fail(TD_EINPUT, "%s: act_kwargs.approximate is %s; expected tanh or none", where,
                       approximate);
    }
    out->act = quick ? TD_ACT_GELU_QUICK : tanh_form ? TD_ACT_GELU_TANH : TD_ACT_GELU_ERF;
    json_t *eps = json_object_get(json_object_get(object, "norm_kwargs"), "eps");
    double value = json_is_number(eps) ? json_number_value(eps) : (double)norm_eps;
    if (!(value > 0 && value < 1)) {
        return td_fail(TD_EINPUT, "%s: norm_kwargs.eps is %g; expected a number in (0, 1)", where,
                       value);
    }
    out->norm_eps = (float)value;
    return TD_OK;
}

/* Members shared by both towers. As in open_clip an image tower gives the width of a head, a text
 * tower their count. */
static td_status read_tower(json_t *object, const char *where, bool vision, td_tower_config *out) {
    TD_TRY(read_int(object, "layers", where, -1, 1, TD_MODEL_MAX_LAYERS, &out->layers));
    TD_TRY(read_int(object, "width", where, -1, 1, 1 << 16, &out->width));
    if (vision) {
        int64_t head_width = 0;
        TD_TRY(read_int(object, "head_width", where, 64, 1, 1 << 12, &head_width));
        out->heads = out->width / head_width;
    } else {
        TD_TRY(read_int(object, "heads", where, 8, 1, 1 << 10, &out->heads));
    }
    if (out->heads < 1 || out->width % out->heads != 0) {
        return td_fail(TD_EINPUT, "%s: width %lld is not a multiple of its %lld heads", where,
                       (long long)out->width, (long long)out->heads);
    }
    json_t *ratio = json_object_get(object, "mlp_ratio");
    double mlp = (json_is_number(ratio) ? json_number_value(ratio) : 4.0) * (double)out->width;
    if (!(mlp >= 1 && mlp <= 1 << 18)) {
        return td_fail(TD_EINPUT, "%s: mlp_ratio gives a hidden width of %g; expected [1, 262144]",
                       where, mlp);
    }
    out->mlp = (int64_t)(mlp + 1e-6); /* cut like open_clip's, but 4304 / 1152 * 1152 stays 4304 */
    return TD_OK;
}

/* SigLIP's image tower is named, not described: vit_base_patch16_siglip_224 and the like. timm
 * builds it with the erf form of GELU, whatever the text tower has. */
#define TIMM_TOWER .act = TD_ACT_GELU_ERF, .norm_eps = 1e-6F
static td_status read_timm(json_t *vision, const char *where, td_model_config *config) {
    static const struct {
        const char *size;
        td_tower_config tower;
    } sizes[] = {
        {"vit_base_", TOWER(12, 768, 12, TIMM_TOWER)},
        {"vit_large_", TOWER(24, 1024, 16, TIMM_TOWER)},
        {"vit_so400m_", {.layers = 27, .width = 1152, .heads = 16, .mlp = 4304, TIMM_TOWER}}};
    const char *name = json_string_value(json_object_get(vision, "timm_model_name"));
    const char *patch = strstr(name, "patch");
    bool known = patch != NULL && strstr(name, "siglip") != NULL && strstr(name, "_gap_") == NULL;
    for (size_t i = 0; known && i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (strncmp(name, sizes[i].size, strlen(sizes[i].size)) == 0) {
            config->vision = sizes[i].tower;
            long long value = 0;
            for (const char *c = patch + strlen("patch"); *c >= '0' && *c <= '9' && value < 1000;
                 c++) {
                value = value * 10 + (*c - '0');
            }
            config->patch = value;
            return TD_OK;
        }
    }
    return td_fail(
        TD_EINPUT,
        "%s: timm_model_name %s; expected vit_base, vit_large or vit_so400m with patch<N>_siglip",
        where, name);
}

/* Choices of open_clip that have one value here; clip, siglip: as JSON, NULL: not looked at. Absent
 * means open_clip's default, which is CLIP's. */
typedef struct fixed_choice {
    const char *object, *key, *clip, *siglip;
} fixed_choice;

static const fixed_choice fixed_choices[] = {
    {NULL, "custom_text", "false", "true"},
    {NULL, "nonscalar_logit_scale", "false", "false"},
    {NULL, "quick_gelu", NULL, "false"},
    {"vision_cfg", "pool_type", "\"tok\"", NULL},
    {"vision_cfg", "timm_pool", NULL, "\"map\""},
    {"vision_cfg", "timm_proj", NULL, "\"none\""},
    {"vision_cfg", "pos_embed_type", "\"learnable\"", NULL},
    {"vision_cfg", "no_ln_pre", "false", NULL},
    {"vision_cfg", "attentional_pool", "false", NULL},
    {"vision_cfg", "final_ln_after_pool", "false", NULL},
    {"text_cfg", "pool_type", "\"argmax\"", "\"last\""},
    {"text_cfg", "proj_bias", "false", "true"},
    {"text_cfg", "proj_type", "\"linear\"", "\"linear\""},
    {"text_cfg", "embed_cls", "false", "false"},
    {"text_cfg", "hf_model_name", "null", "null"},
    {"text_cfg", "final_ln_after_pool", "false", "false"},
};

/* What a block may have besides the usual, in either tower. */
static const char *const block_extras[] = {
    "ls_init_value",    "qk_norm",    "scaled_cosine_attn", "scale_heads",
    "scale_attn_inner", "scale_attn", "scale_fc",           "patch_dropout",
};

static bool is_off(const json_t *value) {
    return value == NULL || json_is_null(value) || json_is_false(value) ||
           (json_is_number(value) && !(json_number_value(value) != 0));
}

/* `described`: the file says all that differs from open_clip's defaults, as its own files do. */
static td_status check_choices(json_t *root, const char *where, bool siglip, bool described) {
    for (size_t i = 0; i < sizeof(fixed_choices) / sizeof(fixed_choices[0]); i++) {
        const fixed_choice *c = &fixed_choices[i];
        json_t *object = c->object == NULL ? root : json_object_get(root, c->object);
        json_t *value = json_object_get(object, c->key);
        const char *wanted = siglip ? c->siglip : c->clip;
        bool given = value != NULL && !json_is_null(value);
        bool usual = c->clip == NULL || (wanted != NULL && strcmp(wanted, c->clip) == 0);
        if (wanted == NULL || (!given && (!described || usual))) {
            continue;
        }
        char *text = given ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
        bool same = text != NULL && strcmp(text, wanted) == 0;
        td_status status =
            same ? TD_OK
                 : td_fail(TD_EINPUT, "%s: %s%s%s is %.64s; expected %s, as in %s", where,
                           c->object == NULL ? "" : c->object, c->object == NULL ? "" : ".", c->key,
                           given ? text : "missing", wanted, siglip ? "SigLIP" : "CLIP");
        td_free(text);
        TD_TRY(status);
    }
    for (size_t i = 0; i < 2 * sizeof(block_extras) / sizeof(block_extras[0]); i++) {
        const char *object = i % 2 == 0 ? "vision_cfg" : "text_cfg", *key = block_extras[i / 2];
        if (!is_off(json_object_get(json_object_get(root, object), key))) {
            return td_fail(TD_EINPUT, "%s: %s.%s is set; expected none: it is not known here",
                           where, object, key);
        }
    }
    return TD_OK;
}

/* One number, or two equal ones. */
static td_status read_image_size(json_t *vision, const char *where, td_model_config *config) {
    json_t *size = json_object_get(vision, "image_size");
    if (!json_is_array(size)) {
        return read_int(vision, "image_size", where, 224, 1, 4096, &config->image_size);
    }
    json_int_t height = json_integer_value(json_array_get(size, 0));
    if (json_array_size(size) != 2 || height < 1 || height > 4096 ||
        !json_equal(json_array_get(size, 0), json_array_get(size, 1))) {
        return td_fail(TD_EINPUT,
                       "%s: image_size must be a whole number in [1, 4096], or two equal ones",
                       where);
    }
    config->image_size = height;
    return TD_OK;
}

static td_status read_vision(json_t *root, const char *where, bool named, td_model_config *config) {
    json_t *vision = json_object_get(root, "vision_cfg");
    TD_TRY(read_image_size(vision, where, config));
    if (named) {
        TD_TRY(read_timm(vision, where, config));
    } else {
        if (json_is_array(json_object_get(vision, "layers"))) {
            return td_fail(
                TD_EINPUT,
                "%s: vision_cfg.layers is a list, a ResNet's; expected a vision transformer",
                where);
        }
        TD_TRY(read_int(vision, "patch_size", where, -1, 1, 4096, &config->patch));
        TD_TRY(read_tower(vision, where, true, &config->vision));
        TD_TRY(read_kind(vision, where, json_is_true(json_object_get(root, "quick_gelu")),
                         config->family == TD_FAMILY_SIGLIP ? 1e-6F : 1e-5F, &config->vision));
    }
    if (config->patch < 1 || config->patch > config->image_size) {
        return td_fail(TD_EINPUT, "%s: patch_size %lld; expected at most image_size, %lld", where,
                       (long long)config->patch, (long long)config->image_size);
    }
    return TD_OK;
}

static td_status read_root(json_t *root, const char *where, td_model_config *config) {
    json_t *vision = json_object_get(root, "vision_cfg"), *text = json_object_get(root, "text_cfg");
    if (!json_is_object(vision) || !json_is_object(text)) {
        return td_fail(TD_EINPUT, "%s: expected the members embed_dim, vision_cfg and text_cfg",
                       where);
    }
    bool siglip_names = json_is_string(json_object_get(vision, "timm_model_name"));
    const char *family = json_string_value(json_object_get(root, "tandem_family"));
    config->family = siglip_names || (family != NULL && strcmp(family, "siglip") == 0)
                         ? TD_FAMILY_SIGLIP
                         : TD_FAMILY_CLIP;
    bool siglip = config->family == TD_FAMILY_SIGLIP;
    TD_TRY(read_int(root, "embed_dim", where, -1, 1, 1 << 16, &config->embed));
    TD_TRY(read_vision(root, where, siglip_names, config));
    TD_TRY(check_choices(root, where, siglip, siglip_names || !siglip));
    TD_TRY(read_int(text, "context_length", where, 77, 2, 4096, &config->context));
    TD_TRY(read_int(text, "vocab_size", where, 49408, 2, 1 << 24, &config->vocab));
    TD_TRY(read_tower(text, where, false, &config->text));
    if (siglip && config->embed != config->vision.width) {
        return td_fail(TD_EINPUT,
                       "%s: embed_dim %lld; this image tower has no projection, so %lld is needed",
                       where, (long long)config->embed, (long long)config->vision.width);
    }
    TD_TRY(read_kind(text, where, json_is_true(json_object_get(root, "quick_gelu")),
                     siglip && !siglip_names ? 1e-6F : 1e-5F, &config->text));
    config->causal = !json_is_true(json_object_get(text, "no_causal_mask"));
    const char *name = json_string_value(json_object_get(root, "tandem_name"));
    snprintf(config->name, sizeof(config->name), "%s", name != NULL ? name : "custom");
    return TD_OK;
}

td_status td_model_config_parse(const char *json, const char *where, td_model_config *out) {
    json_error_t error;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        return td_fail(TD_EINPUT, "%s: line %d: %s", where, error.line, error.text);
    }
    json_t *inner = json_object_get(root, "model_cfg");
    td_model_config config = {0};
    td_status status = read_root(json_is_object(inner) ? inner : root, where, &config);
    json_decref(root);
    if (status == TD_OK) {
        *out = config;
    }
    return status;
}

static json_t *print_tower(const td_tower_config *tower, bool vision, float usual_eps) {
    json_t *out = json_pack("{s:I, s:I, s:I, s:f}", "layers", (json_int_t)tower->layers, "width",
                            (json_int_t)tower->width, vision ? "head_width" : "heads",
                            (json_int_t)(vision ? tower->width / tower->heads : tower->heads),
                            "mlp_ratio", (double)tower->mlp / (double)tower->width);
    if (tower->act == TD_ACT_GELU_TANH) {
        json_object_set_new(out, "act_kwargs", json_pack("{s:s}", "approximate", "tanh"));
    }
    if (tower->norm_eps != usual_eps) {
        json_object_set_new(out, "norm_kwargs", json_pack("{s:f}", "eps", (double)tower->norm_eps));
    }
    return out;
}

td_status td_model_config_print(const td_model_config *c, char **json) {
    bool siglip = c->family == TD_FAMILY_SIGLIP;
    float usual_eps = siglip ? 1e-6F : 1e-5F;
    json_t *vision = print_tower(&c->vision, true, usual_eps);
    json_t *text = print_tower(&c->text, false, usual_eps);
    json_object_set_new(vision, "image_size", json_integer(c->image_size));
    json_object_set_new(vision, "patch_size", json_integer(c->patch));
    json_object_set_new(text, "context_length", json_integer(c->context));
    json_object_set_new(text, "vocab_size", json_integer(c->vocab));
    json_object_set_new(text, "no_causal_mask", json_boolean(!c->causal));
    json_t *root =
        json_pack("{s:s, s:s, s:I, s:b, s:o, s:o}", "tandem_name", c->name, "tandem_family",
                  siglip ? "siglip" : "clip", "embed_dim", (json_int_t)c->embed, "quick_gelu",
                  c->text.act == TD_ACT_GELU_QUICK, "vision_cfg", vision, "text_cfg", text);
    char *out = root == NULL ? NULL : json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    *json = out;
    return *json == NULL ? td_fail(TD_ENOMEM, "no memory for a model configuration") : TD_OK;
}
