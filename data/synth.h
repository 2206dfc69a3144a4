/* SPDX-License-Identifier: Apache-2.0
 * The embedded data set: pictures of coloured shapes, their counts, sizes, places and relations,
 * with captions that say so. Pair i of a seed is the same on every machine and needs no other pair.
 */
#ifndef TD_DATA_SYNTH_H
#define TD_DATA_SYNTH_H

#include <stdint.h>

#include "base/status.h"
#include "data/image.h"

enum { TD_SYNTH_SIDE = 224, TD_SYNTH_CLASSES = 64, TD_SYNTH_NAME_BYTES = 32 };

/* image: TD_SYNTH_SIDE squared. caption: "two red circles left of a blue square". label: "red
 * circle", the class of a picture with one kind of object; "" when there are two kinds. Both are
 * freed with td_free. */
td_status td_synth_pair(uint64_t seed, int64_t index, td_image *image, char **caption,
                        char **label);

/* The same texts without the picture. */
td_status td_synth_caption(uint64_t seed, int64_t index, char **caption, char **label);

/* The name of class 0 to TD_SYNTH_CLASSES - 1: every label is one of them. */
void td_synth_class_name(int class, char name[TD_SYNTH_NAME_BYTES]);

#endif
