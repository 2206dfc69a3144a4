/* SPDX-License-Identifier: Apache-2.0
 * The command line of `tandem train`.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "bench/verbs.h"

/* Each of open_clip's names is the second name of this very option: given together they are refused
 * by both names. */
Test(verb_train, open_clip_names_are_second_names) {
    static char rows[][3][64] = {
        {"--wd=0.1", "--weight-decay=0.1", "--weight-decay and --wd"},
        {"--lr-scheduler=const", "--schedule=cosine", "--schedule and --lr-scheduler"},
        {"--grad-clip-norm=1", "--grad-clip=1", "--grad-clip and --grad-clip-norm"},
        {"--accum-freq=2", "--accum=2", "--accum and --accum-freq"},
        {"--batch-size=64", "--batch=64", "--batch and --batch-size"},
        {"--force-patch-dropout=0.5", "--patch-mask=0.5", "--patch-mask and --force-patch-dropout"},
        {"--lock-image", "--freeze=none", "--freeze and --lock-image"},
        {"--siglip", "--loss=softmax", "--loss and --siglip"},
        {"--grad-checkpointing", "--recompute=off", "--recompute and --grad-checkpointing"},
    };
    char verb[] = "train", stop[] = "--steps=0"; /* else it would train were both taken */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *argv[] = {verb, rows[i][0], rows[i][1], stop, NULL};
        cr_expect_eq(td_verb_train(4, argv), TD_EUSAGE, "%s", rows[i][0]);
        cr_expect_not_null(strstr(td_error(), rows[i][2]), "%s: %s", rows[i][0], td_error());
    }
}

Test(verb_train, augmentation_that_is_no_share_is_refused) {
    static char rows[][2][32] = {
        {"--aug-scale=0", "--aug-scale"},       {"--aug-scale=0.9,0.5", "--aug-scale"},
        {"--aug-scale=0.9,1.5", "--aug-scale"}, {"--aug-scale=half", "--aug-scale"},
        {"--aug-flip=1.5", "--aug-flip"},       {"--aug-flip=-1", "--aug-flip"},
    };
    char verb[] = "train", plan[] = "--plan"; /* else it would train were it taken */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *argv[] = {verb, rows[i][0], plan, NULL};
        cr_expect_eq(td_verb_train(3, argv), TD_EUSAGE, "%s", rows[i][0]);
        cr_expect_not_null(strstr(td_error(), rows[i][1]), "%s: %s", rows[i][0], td_error());
    }
}
