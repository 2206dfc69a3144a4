/* SPDX-License-Identifier: Apache-2.0 */
#include "models/config.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "models/tensors.h"
#include "train_case.h"

typedef struct shape_case {
    char name[24];
    double mega_params, step_gflop; /* as open_clip's model profile has them; 3 times forward */
} shape_case;

ParameterizedTestParameters(config, published_sizes) {
    static shape_case cases[] = {{"vit-s-32-alt", 43.22, 3 * 3.56},
                                 {"vit-s-16-alt", 42.40, 3 * 10.47},
                                 {"vit-b-32", 151.28, 3 * 14.78},
                                 {"vit-b-16", 149.62, 3 * 41.09},
                                 {"vit-b-16-siglip", 203.16, 3 * 46.44}};
    return cr_make_param_array(shape_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(shape_case *c, config, published_sizes) {
    td_model_config config;
    td_tensors tensors;
    td_case_ok(td_model_config_find(c->name, &config));
    td_case_ok(td_tensors_create(&config, TD_LOSS_SOFTMAX, &tensors));
    cr_assert(fabs((double)tensors.n_elements / 1e6 - c->mega_params) < 0.006, "%s: %.3f M",
              c->name, (double)tensors.n_elements / 1e6);
    double gflop = td_model_nominal_flops(&config) / 1e9;
    cr_assert(fabs(gflop / c->step_gflop - 1) < 0.01, "%s: %.2f GFLOP", c->name, gflop);
    td_tensors_destroy(&tensors);
}

Test(config, every_model_survives_json) {
    int count;
    const td_model_config *configs = td_model_configs(&count);
    for (int i = 0; i < count; i++) {
        char *json;
        td_model_config back = {0};
        td_case_ok(td_model_config_print(&configs[i], &json));
        td_case_ok(td_model_config_parse(json, "test", &back));
        cr_assert(td_model_config_equal(&configs[i], &back), "%s", json);
        td_free(json);
        cr_assert(strlen(configs[i].name) > 0 &&
                  configs[i].vision.width % configs[i].vision.heads == 0);
    }
}

Test(config, reads_open_clip_files) {
    td_model_config c;
    td_case_ok(td_model_config_parse(
        "{\"embed_dim\": 512, \"quick_gelu\": true, \"vision_cfg\": {\"image_size\": 224, "
        "\"layers\": "
        "12, \"width\": 768, \"patch_size\": 32}, \"text_cfg\": {\"width\": 512, \"heads\": 8, "
        "\"layers\": 12}}",
        "b32", &c));
    cr_assert(c.text.act == TD_ACT_GELU_QUICK && c.causal && c.context == 77 && c.vocab == 49408);
    cr_assert(c.vision.heads == 12 && c.vision.mlp == 3072 && c.family == TD_FAMILY_CLIP);
    cr_assert(c.vision.act == TD_ACT_GELU_QUICK && !(c.vision.norm_eps != 1e-5F));
    td_case_ok(td_model_config_parse(
        "{\"embed_dim\": 1152, \"custom_text\": true, \"vision_cfg\": {\"image_size\": [384, 384], "
        "\"timm_model_name\": \"vit_so400m_patch14_siglip_384\", \"timm_pool\": \"map\", "
        "\"timm_proj\": \"none\"}, \"text_cfg\": {\"context_length\": 64, \"vocab_size\": 32000, "
        "\"width\": 1152, \"heads\": 16, \"layers\": 27, \"mlp_ratio\": 3.7362, "
        "\"no_causal_mask\": true, \"proj_bias\": true, \"pool_type\": \"last\", "
        "\"norm_kwargs\": {\"eps\": 1e-6}, \"act_kwargs\": {\"approximate\": \"tanh\"}}}",
        "so400m", &c));
    cr_assert(c.family == TD_FAMILY_SIGLIP && c.patch == 14 && c.vision.mlp == 4304);
    cr_assert(c.text.mlp == 4304 && !c.causal && c.text.act == TD_ACT_GELU_TANH);
    cr_assert(c.vision.act == TD_ACT_GELU_ERF && !(c.vision.norm_eps != 1e-6F));
    cr_assert(!(c.text.norm_eps != 1e-6F));
    cr_assert_eq(td_model_patches(&c), 729);
}

typedef struct bad_case {
    char json[224], says[64];
} bad_case;

ParameterizedTestParameters(config, refusals) {
#define TEXT         "\"text_cfg\": {\"width\": 64, \"heads\": 1, \"layers\": 2}"
#define VISION(more) "\"vision_cfg\": {\"width\": 64, \"layers\": 2, " more "}"
    static bad_case cases[] = {
        {"{", "line"},
        {"{}", "vision_cfg"},
        {"{\"embed_dim\": 8, " TEXT "}", "vision_cfg"},
        {"{" TEXT ", " VISION("\"patch_size\": 32") "}", "embed_dim is missing"},
        {"{\"embed_dim\": 8, " TEXT ", " VISION("\"image_size\": 64") "}", "patch_size is missing"},
        {"{\"embed_dim\": 8, " TEXT ", " VISION("\"patch_size\": 230") "}", "at most image_size"},
        {"{\"embed_dim\": 8, " TEXT ", " VISION("\"patch_size\": 8, \"image_size\": [8, 9]") "}",
         "two equal ones"},
        {"{\"embed_dim\": 8, " TEXT ", " VISION("\"patch_size\": 8, \"no_ln_pre\": true") "}",
         "no_ln_pre is true"},
        {"{\"embed_dim\": 8, " TEXT ", " VISION("\"patch_size\": 8, \"ls_init_value\": 0.1") "}",
         "ls_init_value"},
        {"{\"embed_dim\": 8, \"custom_text\": true, " TEXT ", " VISION("\"patch_size\": 8") "}",
         "custom_text is true; expected false"},
        {"{\"embed_dim\": 768, " TEXT
         ", \"vision_cfg\": {\"timm_model_name\": \"vit_base_patch16_siglip_224\"}}",
         "custom_text is missing; expected true"},
        {"{\"embed_dim\": -8, " TEXT ", " VISION("\"patch_size\": 32") "}", "whole number"},
        {"{\"embed_dim\": 8, " TEXT ", " VISION("\"patch_size\": 0") "}", "patch_size"},
        {"{\"embed_dim\": 8, " TEXT ", \"vision_cfg\": {\"layers\": [3, 4]}}", "ResNet"},
        {"{\"embed_dim\": 8, " TEXT ", \"vision_cfg\": {\"timm_model_name\": \"convnext\"}}",
         "timm_model_name"},
        {"{\"embed_dim\": 8, " VISION("\"patch_size\": 32") ", \"text_cfg\": {\"width\": 60, "
                                                            "\"layers\": 1}}",
         "heads"},
    };
    return cr_make_param_array(bad_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(bad_case *c, config, refusals) {
    td_model_config config;
    cr_assert_eq(td_model_config_parse(c->json, "file.json", &config), TD_EINPUT, "%s", c->json);
    cr_assert_not_null(strstr(td_error(), c->says), "%s: %s", c->json, td_error());
    cr_assert_not_null(strstr(td_error(), "file.json"), "%s", td_error());
}

Test(config, unknown_names_list_the_known) {
    td_model_config config;
    cr_assert_eq(td_model_config_find("vit-b", &config), TD_EUSAGE);
    cr_assert_not_null(strstr(td_error(), "vit-b-32, "), "%s", td_error());
    cr_assert_eq(td_model_config_load("/nowhere/x.json", &config), TD_EIO);
}
