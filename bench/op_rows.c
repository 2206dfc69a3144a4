/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/op_rows.h"

#include <ctype.h>
#include <stdatomic.h>
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

static void add_op(td_outcome *out, const td_op_cost *op, double activations,
                   td_precision precision) {
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
        row->wait_ns += op->wait_ns;
        row->activations += activations;
        row->precision = precision;
        row->flops += op->flops;
        row->bytes += op->bytes;
        row->count++;
    }
}

void td_outcome_add_ops(td_outcome *out, const td_program *program) {
    for (int i = 0; i < td_program_ops(program); i++) {
        td_op_cost op;
        td_op_id id;
        td_program_op_cost(program, i, &op);
        const void *args = td_program_op_args(program, i, &id);
        td_precision precision = args != NULL ? td_precision_of_op(id) : TD_PRECISION_F32;
        double activations = 0;
        if (args != NULL && td_precision_product(precision) == id) {
            const td_gemm_f32_args *gemm = args; /* those of all products are the same */
            activations = gemm->act != TD_ACT_NONE ? (double)gemm->m * (double)gemm->n : 0;
        }
        add_op(out, &op, activations, precision);
    }
}

void td_outcome_add_spans(td_outcome *out, const td_program *program, int rank, int workers) {
    for (int i = 0; i < td_program_ops(program); i++) {
        for (int worker = 0; worker < workers; worker++) {
            td_op_cost op;
            int64_t at = atomic_fetch_add_explicit(&out->n_spans, 1, memory_order_relaxed);
            if (at >= TD_OUTCOME_SPANS) {
                return;
            }
            td_outcome_span *span = &out->spans[at];
            td_program_op_cost(program, i, &op);
            snprintf(span->name, sizeof span->name, "%.31s", op.name);
            snprintf(span->family, sizeof span->family, "%s", op.family);
            span->rank = rank;
            span->worker = worker;
            td_program_op_span(program, i, worker, &span->start, &span->end);
        }
    }
}
