/* SPDX-License-Identifier: Apache-2.0 */
#include "models/tensors.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "models/safetensors.h"
#include "train_case.h"

static td_tensors make(const char *name, td_loss loss) {
    td_model_config config;
    td_tensors tensors;
    td_case_ok(td_model_config_find(name, &config));
    td_case_ok(td_tensors_create(&config, loss, &tensors));
    return tensors;
}

Test(tensors, places_and_lookup) {
    const char *names[] = {"mu", "mu-siglip", "vit-b-32"};
    for (int k = 0; k < 3; k++) {
        td_tensors t = make(names[k], TD_LOSS_SIGMOID);
        int64_t end = 0, sum = 0;
        for (int i = 0; i < t.count; i++) {
            const td_tensor *tensor = &t.tensors[i];
            cr_assert(tensor->offset >= end && tensor->offset - end < TD_TENSOR_ALIGN);
            cr_assert_eq(tensor->offset % TD_TENSOR_ALIGN, 0);
            end = tensor->offset + tensor->count;
            sum += tensor->count;
            cr_assert_eq(td_tensors_find(&t, tensor->name), tensor, "%s twice?", tensor->name);
            cr_assert_eq(td_tensors_at(&t, tensor->role, tensor->block), tensor);
        }
        cr_assert_eq(sum, t.n_elements);
        cr_assert(t.flat >= end && t.flat % TD_TENSOR_ALIGN == 0);
        cr_assert_null(td_tensors_find(&t, "no such tensor"));
        cr_assert_str_eq(t.tensors[t.count - 1].name, "logit_bias");
        cr_assert_eq(t.tensors[t.count - 2].offset, t.scalars);
        td_tensors_destroy(&t);
    }
    td_tensors t = make("mu", TD_LOSS_SOFTMAX);
    cr_assert_null(td_tensors_find(&t, "logit_bias"));
    td_tensors_destroy(&t);
}

/* Decayed: exactly the tensors of two and more dimensions that are no positions or classes. */
Test(tensors, decayed_ranges) {
    const char *names[] = {"mu", "mu-siglip"};
    for (int k = 0; k < 2; k++) {
        td_tensors t = make(names[k], TD_LOSS_SIGMOID);
        for (int i = 0; i < t.count; i++) {
            const td_tensor *tensor = &t.tensors[i];
            bool expected = tensor->n_dims > 1 && strstr(tensor->name, "pos") == NULL &&
                            strstr(tensor->name, "class") == NULL;
            int64_t inside = 0;
            for (int64_t r = 0; r < t.n_decayed; r++) {
                inside += t.decayed[r][0] <= tensor->offset &&
                          tensor->offset + tensor->count <= t.decayed[r][1];
                cr_assert(r == 0 || t.decayed[r - 1][1] < t.decayed[r][0]);
            }
            cr_assert_eq(inside, expected ? 1 : 0, "%s", tensor->name);
        }
        td_tensors_destroy(&t);
    }
}

/* Names and shapes are those that open_clip wrote. */
Test(tensors, names_of_the_oracle) {
    char path[4096];
    const char *folder = td_case_oracle("twin-siglip");
    if (folder == NULL) {
        cr_skip("no oracle twin-siglip here");
    }
    snprintf(path, sizeof(path), "%s/weights.safetensors", folder);
    td_safetensors file;
    td_case_ok(td_safetensors_open(path, &file));
    td_train_options options = td_case_options("mu", TD_LOSS_SIGMOID);
    options.config = (td_model_config){.family = TD_FAMILY_CLIP,
                                       .embed = 48,
                                       .image_size = 64,
                                       .patch = 16,
                                       .context = 24,
                                       .vocab = 300,
                                       .vision = {2, 64, 1, 256},
                                       .text = {2, 64, 1, 256}};
    td_tensors t;
    td_case_ok(td_tensors_create(&options.config, TD_LOSS_SIGMOID, &t));
    cr_assert_eq(t.count, file.count);
    for (int i = 0; i < t.count; i++) {
        const td_file_tensor *found = td_safetensors_find(&file, t.tensors[i].name);
        cr_assert_not_null(found, "%s", t.tensors[i].name);
        cr_assert_eq(found->n_dims, t.tensors[i].n_dims, "%s", t.tensors[i].name);
        cr_assert_arr_eq(found->dims, t.tensors[i].dims, (size_t)found->n_dims * sizeof(int64_t));
    }
    td_tensors_destroy(&t);
    td_safetensors_close(&file);
}

/* In any number of pieces and any order, the same weights; statistics as the rules say. */
Test(tensors, initial_weights) {
    td_tensors t = make("mu", TD_LOSS_SIGMOID);
    float *whole = td_alloc((size_t)t.flat * sizeof(float));
    float *pieces = td_alloc((size_t)t.flat * sizeof(float));
    memset(whole, 0xFF, (size_t)t.flat * sizeof(float));
    int64_t n = td_tensors_pieces(&t);
    td_tensors_init(&t, 5, whole, 0, n);
    for (int64_t i = n - 1; i >= 0; i--) {
        td_tensors_init(&t, 5, pieces, i, i + 1);
    }
    cr_assert_eq(memcmp(whole, pieces, (size_t)t.flat * sizeof(float)), 0);
    for (int i = 0; i < t.count; i++) {
        const td_tensor *tensor = &t.tensors[i];
        double sum = 0, square = 0, most = 0, count = (double)tensor->count;
        for (int64_t k = 0; k < tensor->count; k++) {
            double value = (double)whole[tensor->offset + k];
            sum += value;
            square += value * value;
            most = fabs(value) > most ? fabs(value) : most;
        }
        double deviation = sqrt(square / count);
        double expected = tensor->init == TD_INIT_UNIFORM ? tensor->init_value / sqrt(3)
                                                          : fabs(tensor->init_value);
        /* Five deviations of an estimate from count draws. */
        cr_assert(fabs(deviation - expected) <= 5 * expected / sqrt(2 * count) + 1e-6, "%s: %g, %g",
                  tensor->name, deviation, expected);
        cr_assert(tensor->init != TD_INIT_UNIFORM || most <= tensor->init_value);
        cr_assert(tensor->init == TD_INIT_CONST || fabs(sum / count) <= 5 * expected / sqrt(count),
                  "%s: mean %g", tensor->name, sum / count);
    }
    const td_tensor *scale = td_tensors_at(&t, TD_ROLE_logit_scale, 0);
    cr_assert_float_eq(whole[scale->offset], log(10), 1e-6);
    cr_assert_float_eq(whole[td_tensors_at(&t, TD_ROLE_logit_bias, 0)->offset], -10, 0);
    td_free(whole);
    td_free(pieces);
    td_tensors_destroy(&t);
}

Test(tensors, the_hash_sees_every_element_and_no_padding) {
    td_tensors t = make("mu", TD_LOSS_SOFTMAX);
    float *flat = td_alloc_zero((size_t)t.flat * sizeof(float));
    char before[TD_SHA256_HEX], after[TD_SHA256_HEX];
    td_case_ok(td_tensors_sha256(&t, flat, before));
    const td_tensor *last = &t.tensors[t.count - 1];
    flat[last->offset + last->count] = 1;
    td_case_ok(td_tensors_sha256(&t, flat, after));
    cr_assert_str_eq(before, after);
    flat[last->offset + last->count - 1] = 1e-30F;
    td_case_ok(td_tensors_sha256(&t, flat, after));
    cr_assert_str_neq(before, after);
    td_free(flat);
    td_tensors_destroy(&t);
}
