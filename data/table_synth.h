/* SPDX-License-Identifier: Apache-2.0
 * The embedded table: visitors of a shop, and the plan each chose. Row i of a seed is the same on
 * every machine. What decides the plan is a taste of every pair of region and device, which only
 * their cross shows; a smooth function of age, hour and income, which a deep part learns; likings
 * of tags by what was spent on them; and noise, so that no model can be always right.
 */
#ifndef TD_DATA_TABLE_SYNTH_H
#define TD_DATA_TABLE_SYNTH_H

#include <stdint.h>

#include "base/text.h"

/* Appends a serialized Example: age, income (float), hour (int64), region, device, tags (bytes),
 * spend (a float beside each tag), key, label. */
td_status td_table_synth(uint64_t seed, int64_t index, td_text *out);

/* Columns for it, as a file for --columns would have them. */
extern const char td_table_synth_columns[];

#endif
