/* SPDX-License-Identifier: Apache-2.0
 * The memory of a process and its threads as a picture.
 */
#ifndef TD_REPORTS_MEMORY_MAP_H
#define TD_REPORTS_MEMORY_MAP_H

#include <jansson.h>

#include "base/text.h"

/* account: lines of an experiment. Those that start with '|' are mappings in ascending order,
 * "| ADDRESS SIZE KiB RIGHTS FILE: place, place", where a place that ends in a number belongs to
 * that thread alone. Appends a figure of HTML, the highest address on top; nothing without such
 * lines. */
void td_memory_map_html(td_text *out, const json_t *account);

#endif
