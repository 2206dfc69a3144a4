/* SPDX-License-Identifier: Apache-2.0
 * The columns of a table's description. Private to the table.
 */
#ifndef TD_DATA_TABLE_COLUMNS_H
#define TD_DATA_TABLE_COLUMNS_H

#include "data/column_plan.h"
#include "data/table_spec.h"

struct td_table_spec {
    td_pool pool;
    td_table_shape shape;
    td_column_list label, wide, deep; /* deep: sorted */
    char *text;
    const char **classes;
};

#endif
