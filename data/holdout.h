/* SPDX-License-Identifier: Apache-2.0
 * Which records are kept for evaluation: decided by their key alone, so training and evaluation
 * agree whatever their options, the order of records or the number of shards.
 */
#ifndef TD_DATA_HOLDOUT_H
#define TD_DATA_HOLDOUT_H

#include <stdbool.h>

bool td_is_held_out(const char *key, double share);

#endif
