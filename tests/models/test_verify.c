/* SPDX-License-Identifier: Apache-2.0
 * Four AdamW steps against what open_clip computed, and against this program's own golden steps.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "models/verify.h"
#include "train_case.h"

static td_status verify_inside(td_train *train, void *arg) {
    const char *folder = arg;
    td_verify_worst worst = {0};
    td_status status = td_verify_run(folder, train, getenv("TD_SHOW") ? stdout : NULL, &worst);
    fprintf(stderr, "%s: loss %.2e, gradients %.2e, weights %.2e\n", folder, worst.loss, worst.grad,
            worst.weights);
    return status;
}

ParameterizedTestParameters(verify, twins) {
    static const char names[][16] = {"twin-clip", "twin-siglip"};
    return cr_make_param_array(const char[16], names, 2);
}

ParameterizedTest(const char name[16], verify, twins) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
    const char *folder = td_case_oracle(name);
    if (folder == NULL) {
        cr_skip("no oracle %s here", name);
    }
    td_train_options options;
    td_case_ok(td_verify_options(folder, 0, &options));
    cr_assert_eq(options.batch, 6);
    cr_assert_eq(options.blocks, 2);
    td_case_ok(td_case_inside(&options, 2, verify_inside, (void *)(uintptr_t)folder));
}
