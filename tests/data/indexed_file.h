/* SPDX-License-Identifier: Apache-2.0
 * A record file of a test, with what `tandem data index` writes beside it.
 */
#ifndef TD_TESTS_INDEXED_FILE_H
#define TD_TESTS_INDEXED_FILE_H

#include <stdio.h>
#include <unistd.h>

#include "data/record_index.h"

static inline void remove_indexed(const char *path) {
    char beside[96];
    unlink(path);
    snprintf(beside, sizeof beside, "%.80s" TD_INDEX_ENDING, path);
    unlink(beside);
    snprintf(beside, sizeof beside, "%.80s" TD_INDEX_TEXT_ENDING, path);
    unlink(beside);
}

#endif
