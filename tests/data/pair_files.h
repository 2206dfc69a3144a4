/* SPDX-License-Identifier: Apache-2.0
 * Small shards of pairs for tests: every image, caption, label and key says which pair it is.
 */
#ifndef TD_TESTS_DATA_PAIR_FILES_H
#define TD_TESTS_DATA_PAIR_FILES_H

#include <stddef.h>

#include "base/text.h"

/* A directory of the calling test's own, and its removal with everything in it. */
const char *pair_directory(void);
void pair_directory_remove(void);

/* Appends the record of pair i: an 8 x 8 PNG whose red level is pair_level(i). */
void pair_record(int i, td_text *out);
int pair_level(int i);

/* Writes n pairs into n_shards shards of the test's directory. Pairs listed in bad (n_bad of them)
 * get an image that is no image. */
void pair_shards(int n, int n_shards, const int *bad, int n_bad);

#endif
