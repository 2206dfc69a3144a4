/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/op_rows.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* "v.11.fc1.dw" and "v.0.fc1.dw" are one row: blocks of a tower do the same work. */
static void op_row_name(const char *name, char *out, size_t size) {
    size_t used = 0;
    while (*name && used + 1 < size) {
        if (*name == '.' && isdigit((unsigned char)name[1])) {
            name++;
            while (isdigit((unsigned char)*name)) {
                name++;
            }
            continue;
        }
        out[used++] = *name++;
    }
    out[used] = '\0';
}

static void add_op(td_outcome *out, const td_op_cost *op) {
    char name[sizeof out->ops[0].name];
    op_row_name(op->name, name, sizeof name);
    td_outcome_op *row = NULL;
    for (int64_t i = 0; i < out->n_ops && !row; i++) {
        if (strcmp(out->ops[i].name, name) == 0 && strcmp(out->ops[i].family, op->family) == 0) {
            row = &out->ops[i];
        }
    }
    if (!row && out->n_ops < TD_OUTCOME_OPS) {
        row = &out->ops[out->n_ops++];
        *row = (td_outcome_op){0};
        snprintf(row->name, sizeof row->name, "%s", name);
        snprintf(row->family, sizeof row->family, "%s", op->family);
    }
    if (row) {
        row->ns += op->ns_max;
        row->flops += op->flops;
        row->bytes += op->bytes;
        row->count++;
    }
}

void td_outcome_add_ops(td_outcome *out, const td_program *program) {
    for (int i = 0; i < td_program_ops(program); i++) {
        td_op_cost op;
        td_program_op_cost(program, i, &op);
        add_op(out, &op);
    }
}
