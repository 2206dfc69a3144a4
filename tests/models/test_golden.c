/* SPDX-License-Identifier: Apache-2.0
 * Steps that open_clip computed (tests/golden, written by tools/peers/openclip_twin.py), on every
 * instruction set and on several layouts. What each folder guards:
 *   mu-clip          the model mu: CLIP's towers, softmax loss, constant rate, float32
 *   mu-siglip-loss   the sigmoid loss on CLIP's towers with the quick GELU; an odd batch, an image
 *                    with a remainder, heads and hidden widths that no kernel likes; warm-up,
 *                    cosine, a clipped norm; float32
 *   siglip-map       SigLIP's towers as open_clip and timm build them: attention pooling, no mask,
 *                    last token, either form of GELU; float64
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>

#include "models/verify.h"
#include "train_case.h"

typedef struct golden_case {
    char folder[24], layout[24];
    td_isa isa;
} golden_case;

ParameterizedTestParameters(golden, steps_of_open_clip) {
#define ROWS(FOLDER, LAYOUT)                                                                       \
    {FOLDER, LAYOUT, TD_ISA_PORTABLE}, {FOLDER, LAYOUT, TD_ISA_AVX2}, {                            \
        FOLDER, LAYOUT, TD_ISA_AVX512                                                              \
    }
    static golden_case cases[] = {
        ROWS("mu-clip", "p1xt1"),        ROWS("mu-clip", "p1xt2"),
        ROWS("mu-clip", "p2xt1"),        ROWS("mu-siglip-loss", "p1xt1"),
        ROWS("mu-siglip-loss", "p1xt2"), ROWS("siglip-map", "p1xt1"),
        ROWS("siglip-map", "p1xt3"),     ROWS("siglip-map", "p2xt1:process"),
    };
    return cr_make_param_array(golden_case, cases, sizeof(cases) / sizeof(cases[0]));
}

typedef struct golden_job {
    const char *folder;
    const td_train_options *options;
} golden_job;

/* TD_SHOW in the environment prints the table. */
static td_status verify_in_rank(td_rank *rank, void *arg) {
    const golden_job *job = arg;
    td_train *train;
    TD_TRY(td_train_create(job->options, rank, &train));
    td_status status =
        td_verify_run(job->folder, train, getenv("TD_SHOW") != NULL ? stdout : NULL, NULL);
    td_train_destroy(train);
    return status;
}

ParameterizedTest(golden_case *c, golden, steps_of_open_clip) {
    if (c->isa > td_isa_native()) {
        cr_skip("no %s here", td_isa_name(c->isa));
    }
    td_case_ok(td_kernels_select(c->isa));
    char folder[512];
    td_train_options options;
    td_train_needs needs;
    td_group_options group = {.deadline_ns = INT64_C(20000000000)};
    snprintf(folder, sizeof(folder), "%s/%s", TD_GOLDEN, c->folder);
    td_case_ok(td_verify_options(folder, 0, &options));
    td_case_ok(td_verify_check(folder, &options));
    td_case_ok(td_layout_parse(c->layout, &group.layout));
    group.layout.over = true;
    td_case_ok(td_train_measure(&options, group.layout.ranks, &needs));
    group.segment_bytes = (size_t)needs.segment_bytes;
    golden_job job = {folder, &options};
    cr_assert_eq(td_group_run(&group, verify_in_rank, &job), TD_OK, "%s on %s, %s: %s", c->folder,
                 c->layout, td_isa_name(c->isa), td_error());
}
