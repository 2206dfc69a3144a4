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

/* The row of an op, a new one behind the others where there is none; NULL when there is no room. */
static td_outcome_op *find_row(td_outcome_op *rows, int64_t *n, const td_op_cost *op) {
    char name[sizeof rows[0].name];
    op_row_name(op->name, name, sizeof name);
    for (int64_t i = 0; i < *n; i++) {
        if (strcmp(rows[i].name, name) == 0 && strcmp(rows[i].family, op->family) == 0) {
            return &rows[i];
        }
    }
    if (*n == TD_OUTCOME_OPS) {
        return NULL;
    }
    td_outcome_op *row = &rows[(*n)++];
    *row = (td_outcome_op){0};
    snprintf(row->name, sizeof row->name, "%s", name);
    snprintf(row->family, sizeof row->family, "%s", op->family);
    return row;
}

/* Collectives belong together wherever they stand, and single calls of a function, which are next
 * to nothing. */
static const char *part_of(const td_op_cost *op) {
    return strcmp(op->family, "collective") == 0                      ? "communication"
           : strcmp(op->family, "scalar") == 0 || op->part[0] == '\0' ? "scalars"
                                                                      : op->part;
}

void td_outcome_add_ops(td_outcome *out, const td_program *program, int workers) {
    td_program_cost total;
    td_program_total_cost(program, &total);
    out->n_phases = total.phases;
    for (int i = 0; i < td_program_ops(program); i++) {
        td_op_cost op;
        td_op_id id;
        td_program_op_cost(program, i, &op);
        td_outcome_op *row = find_row(out->ops, &out->n_ops, &op);
        if (row != NULL) {
            row->ns += op.ns_max;
            row->wait_ns += op.wait_ns;
            row->precision = td_program_op_args(program, i, &id) != NULL ? td_precision_of_op(id)
                                                                         : TD_PRECISION_F32;
            row->flops += op.flops;
            row->bytes += op.bytes;
            row->count++;
        }
        td_outcome_add_part(out, part_of(&op), op.ns_sum / workers + op.wait_ns);
    }
}

/* Of each row of products and attention the op with most to do: of the pruned block's ops, which
 * have the same names, little is left. */
static void find_largest(td_outcome_op *rows, int64_t *n, const td_program *program,
                         int largest[TD_OUTCOME_OPS]) {
    double most[TD_OUTCOME_OPS] = {0};
    for (int i = 0; i < TD_OUTCOME_OPS; i++) {
        largest[i] = -1;
    }
    for (int i = 0; i < td_program_ops(program); i++) {
        td_op_cost op;
        td_program_op_cost(program, i, &op);
        bool chosen = strcmp(op.family, "gemm") == 0 || strcmp(op.family, "attention") == 0;
        td_outcome_op *row = chosen ? find_row(rows, n, &op) : NULL;
        if (row != NULL && op.flops > most[row - rows]) {
            most[row - rows] = op.flops;
            largest[row - rows] = i;
        }
    }
}

void td_outcome_time_ops(td_outcome *out, td_program *program, td_team *team) {
    td_outcome_op scratch[TD_OUTCOME_OPS];
    int largest[TD_OUTCOME_OPS];
    int64_t n_scratch = 0;
    td_outcome_op *rows = out != NULL ? out->ops : scratch;
    int64_t *n = out != NULL ? &out->n_ops : &n_scratch;
    find_largest(rows, n, program, largest);
    for (int64_t i = 0; i < *n; i++) {
        if (largest[i] >= 0) {
            td_op_id id;
            const void *args = td_program_op_args(program, largest[i], &id);
            rows[i].alone_ns += td_program_time_op(program, team, largest[i]);
            rows[i].alone_flops += td_ops[id].flops(args);
        }
    }
    double barrier_ns = td_program_time_barrier(team);
    if (out != NULL) {
        out->barrier_ns = barrier_ns;
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
