/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/profile.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "bench/stats.h"

double td_profile_model(const td_outcome *outcome, const td_profile_rates *rates) {
    double ns = (double)outcome->n_phases * outcome->barrier_ns;
    for (int64_t i = 0; i < outcome->n_ops; i++) {
        const td_outcome_op *op = &outcome->ops[i];
        /* Ranks are measured at the same time; their traffic shares the memory. */
        ns += op->alone_ns > 0 ? op->flops / op->alone_flops * op->alone_ns
                               : op->bytes * rates->ranks / rates->bandwidth;
    }
    return ns;
}

static td_status rates_of(const td_outcome *outcome, const td_layout *layout,
                          td_profile_rates *out) {
    td_isa isa;
    const td_peak *peak;
    TD_TRY(td_isa_active(&isa));
    *out = (td_profile_rates){.workers = layout->ranks * layout->workers, .ranks = layout->ranks};
    TD_TRY(td_ceiling_get(TD_PEAK_FMA, isa, out->workers, 0, false, &peak));
    for (td_precision p = TD_PRECISION_F32; p < TD_PRECISION_COUNT; p++) {
        out->products[p] = peak->value;
    }
    const td_cost *cost = &outcome->cost;
    td_peak_kind kind = td_peak_of_code((td_isa)cost->isa, cost->precision);
    TD_TRY(td_ceiling_get(kind, (td_isa)cost->isa, out->workers, 0, false, &peak));
    out->products[cost->precision] = peak->value;
    TD_TRY(td_ceiling_bandwidth(out->workers, 4 * (double)td_ceiling_memory_bytes(), false, &peak));
    out->bandwidth = peak->value;
    return TD_OK;
}

td_status td_profile_predict(const td_outcome *outcome, const td_layout *layout, double *ns) {
    td_profile_rates rates;
    TD_TRY(rates_of(outcome, layout, &rates));
    *ns = td_profile_model(outcome, &rates);
    return TD_OK;
}

/* ---- table ---- */

static int by_time(const void *a, const void *b) {
    const td_outcome_op *x = a, *y = b;
    return x->ns < y->ns ? 1 : x->ns > y->ns ? -1 : 0;
}

/* The larger of its shares of arithmetic and of memory. */
static td_status print_op(FILE *out, const td_outcome_op *op, const td_profile_rates *rates,
                          double step_ns) {
    double flops = op->flops * rates->ranks / op->ns, bytes = op->bytes * rates->ranks / op->ns;
    double share = flops / rates->products[op->precision], traffic = 0;
    if (op->bytes > 0) {
        const td_peak *memory;
        double touched = op->bytes * rates->ranks / (double)op->count;
        TD_TRY(td_ceiling_bandwidth(rates->workers, touched, false, &memory));
        traffic = bytes / memory->value;
    }
    double alone = op->alone_ns > 0 ? op->alone_flops * rates->ranks / op->alone_ns : 0;
    fprintf(out, "%-22s %-10s %5lld %9.3f %6.1f %8.3f %9.1f %9.1f %8.1f %6.0f  %s\n", op->name,
            op->family, (long long)op->count, op->ns * 1e-6, 100 * op->ns / step_ns,
            op->wait_ns * 1e-6, flops, alone, bytes, 100 * fmax(share, traffic),
            op->flops + op->bytes > 0 ? (share > traffic ? "arithmetic" : "memory") : "");
    return TD_OK;
}

/* The mean step: parts cover all samples, and the disturbed ones too. */
static void print_parts(FILE *out, const td_outcome *outcome) {
    double sum = 0;
    for (int64_t i = 0; i < outcome->n_parts; i++) {
        sum += outcome->parts[i].ns;
    }
    fprintf(out, "%-22s %9s %6s\n", "part of the mean step", "ms", "%");
    for (int64_t i = 0; i < outcome->n_parts; i++) {
        const td_outcome_part *part = &outcome->parts[i];
        fprintf(out, "%-22s %9.3f %6.2f\n", part->name, part->ns * 1e-6, 100 * part->ns / sum);
    }
    fprintf(out, "%-22s %9.3f\n\n", "all parts", sum * 1e-6);
}

td_status td_profile_print(FILE *out, const td_case *subject, const td_layout *layout,
                           const td_outcome *outcome) {
    td_outcome_op ops[TD_OUTCOME_OPS];
    td_profile_rates rates;
    td_stats stats;
    char text[TD_LAYOUT_TEXT];
    TD_TRY(rates_of(outcome, layout, &rates));
    TD_TRY(td_stats_compute(outcome->samples_ns, outcome->n_samples, &stats));
    td_layout_print(layout, text);
    memcpy(ops, outcome->ops, (size_t)outcome->n_ops * sizeof ops[0]);
    qsort(ops, (size_t)outcome->n_ops, sizeof ops[0], by_time);
    double predicted = td_profile_model(outcome, &rates);
    fprintf(out, "%s %s: %.3f ms, predicted %.3f ms, %.3f of it\n", subject->id, text,
            stats.p50 * 1e-6, predicted * 1e-6, predicted / stats.p50);
    fprintf(out, "%-22s %-10s %5s %9s %6s %8s %9s %9s %8s %6s  %s\n", "operation", "family",
            "calls", "ms", "%step", "wait ms", "GFLOP/s", "alone", "GB/s", "%roof", "bound by");
    double work = 0, wait = 0;
    for (int64_t i = 0; i < outcome->n_ops; i++) {
        TD_TRY(print_op(out, &ops[i], &rates, stats.p50));
        work += ops[i].ns;
        wait += ops[i].wait_ns;
    }
    fprintf(out, "%-22s %-10s %5s %9.3f %6.1f %8.3f\n\n", "all operations", "", "", work * 1e-6,
            100 * work / stats.p50, wait * 1e-6);
    print_parts(out, outcome);
    return TD_OK;
}

/* ---- timeline ---- */

static uint64_t earliest(const td_outcome *outcome, int64_t n) {
    uint64_t first = UINT64_MAX;
    for (int64_t i = 0; i < n; i++) {
        first = outcome->spans[i].start < first ? outcome->spans[i].start : first;
    }
    return first;
}

/* Names are of our own making: letters, digits, dots. */
static void print_spans(const td_outcome *outcome, int64_t n, td_text *text) {
    uint64_t first = earliest(outcome, n);
    double us = 1e6 / td_tsc_hz();
    for (int64_t i = 0; i < n; i++) {
        const td_outcome_span *span = &outcome->spans[i];
        td_text_printf(text,
                       ",\n{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,"
                       "\"pid\":%d,\"tid\":%d}",
                       span->name, span->family, (double)(span->start - first) * us,
                       (double)(span->end - span->start) * us, span->rank, span->worker);
    }
}

td_status td_profile_write_trace(const char *directory, const td_case *subject,
                                 const td_layout *layout, const td_outcome *outcome) {
    char name[TD_CASE_ID + TD_LAYOUT_TEXT + 8], shape[TD_LAYOUT_TEXT];
    td_layout_print(layout, shape);
    snprintf(name, sizeof name, "%s-%s", subject->id, shape);
    for (char *at = name; *at; at++) {
        *at = *at == '/' || *at == ':' ? '-' : *at;
    }
    int64_t n = atomic_load_explicit(&outcome->n_spans, memory_order_relaxed);
    n = n < TD_OUTCOME_SPANS ? n : TD_OUTCOME_SPANS;
    td_text text = {0}, path = {0};
    td_text_printf(&text, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
                          "{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":0,\"args\":{"
                          "\"sort_index\":0}}");
    for (int rank = 0; rank < layout->ranks; rank++) {
        for (int worker = 0; worker < layout->workers; worker++) {
            td_text_printf(&text,
                           ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":%d,"
                           "\"args\":{\"name\":\"rank %d worker %d\"}}",
                           rank, worker, rank, worker);
        }
    }
    print_spans(outcome, n, &text);
    td_text_printf(&text, "\n]}\n");
    td_text_printf(&path, "%s/%s.trace.json", directory, name);
    td_status status = td_text_status(&text);
    status = status == TD_OK ? td_text_status(&path) : status;
    if (status == TD_OK) {
        status = td_file_write(path.data, text.data, text.size);
    }
    td_text_destroy(&text);
    td_text_destroy(&path);
    return status;
}
