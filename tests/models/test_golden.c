/* SPDX-License-Identifier: Apache-2.0
 * Losses and gradient norms as they were when steps were last checked against another
 * implementation (test_verify.c): the check that also runs where that one's results are not at
 * hand. Within bounds, not bit for bit: a better polynomial may change last bits. TD_BLESS=1 in the
 * environment writes the file anew instead of comparing.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train_case.h"

enum { STEPS = 4 };

/* What one model did, as JSON. */
static td_status observe(td_train *train, void *arg) {
    json_t **out = arg;
    json_t *losses = json_array(), *norms = json_object();
    const td_tensors *tensors = td_train_tensors(train);
    for (int64_t step = 0; step < STEPS; step++) {
        td_case_batch batch = td_case_batch_make(td_train_get_options(train), (uint64_t)step);
        td_step_result result;
        td_status status = td_train_step(train, batch.images, batch.tokens, &result);
        td_case_batch_free(&batch);
        TD_TRY(status);
        json_array_append_new(losses, json_real(result.loss));
        for (int i = 0; step == 0 && i < tensors->count; i++) {
            double sum = 0;
            for (int64_t k = 0; k < tensors->tensors[i].count; k++) {
                double value = (double)td_train_grads(train)[tensors->tensors[i].offset + k];
                sum += value * value;
            }
            json_object_set_new(norms, tensors->tensors[i].name, json_real(sqrt(sum)));
        }
    }
    *out = json_pack("{s:o, s:o}", "loss", losses, "grad_norm", norms);
    return TD_OK;
}

static void compare(const char *name, json_t *found, json_t *golden) {
    cr_assert_not_null(golden, "%s is not in the golden file", name);
    for (size_t i = 0; i < STEPS; i++) {
        double f = json_real_value(json_array_get(json_object_get(found, "loss"), i));
        double g = json_real_value(json_array_get(json_object_get(golden, "loss"), i));
        cr_assert(fabs(f - g) <= 1e-5 * g, "%s: loss %zu is %.9g, was %.9g", name, i, f, g);
    }
    const char *tensor;
    json_t *value;
    json_t *norms = json_object_get(golden, "grad_norm");
    cr_assert_eq(json_object_size(norms), json_object_size(json_object_get(found, "grad_norm")));
    json_object_foreach(norms, tensor, value) {
        double g = json_real_value(value);
        double f = json_real_value(json_object_get(json_object_get(found, "grad_norm"), tensor));
        cr_assert(fabs(f - g) <= 1e-4 * g, "%s: the gradient of %s has norm %.9g, was %.9g", name,
                  tensor, f, g);
    }
}

Test(golden, losses_and_gradient_norms) {
    static const struct {
        const char *model;
        td_loss loss;
        const char *name;
    } cases[] = {{"mu", TD_LOSS_SOFTMAX, "mu/softmax"},
                 {"mu", TD_LOSS_SIGMOID, "mu/sigmoid"},
                 {"mu-siglip", TD_LOSS_SOFTMAX, "mu-siglip/softmax"},
                 {"mu-siglip", TD_LOSS_SIGMOID, "mu-siglip/sigmoid"}};
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
    const char *path = TD_GOLDEN "/models.json";
    bool bless = getenv("TD_BLESS") != NULL;
    json_t *golden = bless ? json_object() : json_load_file(path, 0, NULL);
    cr_assert_not_null(golden, "%s cannot be read", path);
    for (int i = 0; i < 4; i++) {
        td_train_options options = td_case_options(cases[i].model, cases[i].loss);
        json_t *found = NULL;
        td_case_ok(td_case_inside(&options, 1, observe, &found));
        if (bless) {
            json_object_set(golden, cases[i].name, found);
        } else {
            compare(cases[i].name, found, json_object_get(golden, cases[i].name));
        }
        json_decref(found);
    }
    if (bless) {
        cr_assert_eq(json_dump_file(golden, path, JSON_INDENT(1) | JSON_REAL_PRECISION(9)), 0);
    }
    json_decref(golden);
}
