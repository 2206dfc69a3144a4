/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/emit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/profile.h"
#include "bench/stats.h"

static const double ABOVE_ROOF = 1.01;
enum { MAX_CEILINGS = 3, NAME_BYTES = 48 };

/* What is computed of one outcome before it is written. */
typedef struct result {
    double value;
    char unit[16];
    bool lower_is_better;
    td_ceiling ceilings[MAX_CEILINGS];
    char names[MAX_CEILINGS][NAME_BYTES];
    int n_ceilings;
    double mfu, hfu;     /* nominal and executed FLOPs against the peak; 0: not applicable */
    double predicted_ns; /* of a step, from ceilings alone; 0: not applicable */
} result;

static void add_ceiling(result *r, const td_peak *peak, double value, const char *unit,
                        const char *name) {
    snprintf(r->names[r->n_ceilings], NAME_BYTES, "%s", name);
    r->ceilings[r->n_ceilings] = (td_ceiling){r->names[r->n_ceilings], value, unit,
                                              peak && peak->disturbed ? peak->reason : NULL};
    r->n_ceilings++;
}

/* "read_4MiB"; separator '/' where it is part of a case id. */
static void bandwidth_name(const td_peak *peak, char separator, char name[NAME_BYTES]) {
    bool mib = peak->bytes >= 1 << 20;
    snprintf(name, NAME_BYTES, "%s%c%lld%s", td_peak_row_of(peak->kind)->name, separator,
             (long long)(peak->bytes >> (mib ? 20 : 10)), mib ? "MiB" : "KiB");
}

/* The roofs of a kernel in its unit, the lower one first. */
static td_status add_roofline(result *r, const td_cost *cost, int workers, bool again) {
    const td_peak *peak = NULL, *memory = NULL;
    char name[NAME_BYTES];
    double compute = INFINITY, bandwidth = INFINITY;
    bool in_flops = cost->value == TD_VALUE_FLOPS;
    if (cost->flops > 0) {
        td_peak_kind kind = td_peak_of_code((td_isa)cost->isa, cost->precision);
        TD_TRY(td_ceiling_get(kind, (td_isa)cost->isa, workers, 0, again, &peak));
        compute = peak->value * (in_flops ? 1 : cost->bytes / cost->flops);
    }
    if (cost->mix_gbps > 0) {
        bandwidth = cost->mix_gbps * (in_flops ? cost->flops / cost->bytes : 1);
        snprintf(name, sizeof name, "%s", cost->mix);
    } else if (cost->working_set > 0 && cost->bytes > 0) {
        TD_TRY(td_ceiling_bandwidth(workers, cost->working_set, again, &memory));
        bandwidth = memory->value * (in_flops ? cost->flops / cost->bytes : 1);
        bandwidth_name(memory, '_', name);
    }
    const char *unit = in_flops ? "GFLOP/s" : "GB/s";
    for (int pass = 0; pass < 2; pass++) {
        bool compute_now = (compute <= bandwidth) == (pass == 0);
        if (compute_now && peak != NULL) {
            add_ceiling(r, peak, compute, unit, td_peak_row_of(peak->kind)->name);
        } else if (!compute_now && isfinite(bandwidth)) {
            add_ceiling(r, memory, bandwidth, unit, name);
        }
    }
    return TD_OK;
}

/* Of ranks that share memory: a network has no roof of memory. */
static td_status add_bus_roof(result *r, const td_case *subject, const td_cost *cost, int workers,
                              bool again) {
    const td_peak *memory;
    char operation[24], name[NAME_BYTES];
    if (!(cost->working_set > 0)) {
        return TD_OK;
    }
    TD_TRY(td_ceiling_bandwidth(workers, cost->working_set, again, &memory));
    if (sscanf(subject->id, "coll/%23[^/]", operation) != 1) {
        operation[0] = '\0';
    }
    snprintf(name, sizeof name, "%s_2pn", operation);
    add_ceiling(r, memory, cost->bus_factor * cost->bytes * memory->value / cost->roof_bytes,
                "GB/s", name);
    if (cost->like != 0) {
        const td_peak *like;
        TD_TRY(td_ceiling_get((td_peak_kind)cost->like, memory->isa, workers, memory->bytes, again,
                              &like));
        snprintf(name, sizeof name, "%s_2pn_%s", operation, td_peak_row_of(like->kind)->name);
        add_ceiling(r, like, cost->bus_factor * cost->bytes * like->value / cost->roof_bytes,
                    "GB/s", name);
    }
    return TD_OK;
}

/* One step's value from its median time. again: measure the ceilings anew. */
static td_status evaluate(const td_case *subject, const td_layout *layout, const td_cost *cost,
                          double median_ns, bool again, result *out) {
    int workers = layout->ranks * layout->workers;
    *out = (result){0};
    const char *unit = cost->unit;
    switch (cost->value) {
    case TD_VALUE_FLOPS:
        out->value = cost->flops / median_ns;
        unit = "GFLOP/s";
        TD_TRY(add_roofline(out, cost, workers, again));
        break;
    case TD_VALUE_BYTES:
        out->value = cost->bytes / median_ns;
        unit = "GB/s";
        TD_TRY(add_roofline(out, cost, workers, again));
        break;
    case TD_VALUE_BUS:
        out->value = cost->bus_factor * cost->bytes / median_ns;
        unit = "GB/s";
        TD_TRY(add_bus_roof(out, subject, cost, workers, again));
        break;
    case TD_VALUE_ITEMS:
        out->value = cost->items / median_ns * 1e9;
        if (cost->flops > 0) {
            const td_peak *peak;
            td_peak_kind kind = td_peak_of_code((td_isa)cost->isa, cost->precision);
            TD_TRY(td_ceiling_get(kind, (td_isa)cost->isa, workers, 0, again, &peak));
            add_ceiling(out, peak, peak->value, "GFLOP/s", td_peak_row_of(kind)->name);
            out->hfu = cost->flops / median_ns / peak->value;
            out->mfu = cost->nominal / median_ns / peak->value;
        }
        break;
    case TD_VALUE_TIME:
        out->value = median_ns * 1e-3 / (cost->items > 0 ? cost->items : 1);
        unit = "us";
        out->lower_is_better = true;
        break;
    case TD_VALUE_CYCLES:
        out->value = median_ns * cost->clock_ghz / cost->items;
        out->lower_is_better = true;
        break;
    }
    snprintf(out->unit, sizeof out->unit, "%s", unit);
    return TD_OK;
}

static double share_of(const result *r) {
    if (r->hfu > 0) {
        return r->hfu;
    }
    return r->n_ceilings > 0 ? r->value / r->ceilings[0].value : 0;
}

/* A roof that was disturbed and is below the value says nothing of the value. */
static bool roof_is_known_low(const result *r) {
    return share_of(r) > 1 && r->ceilings[0].disturbed != NULL;
}

static json_t *account_lines(const char *account) {
    json_t *lines = json_array();
    for (const char *at = account; *at != '\0';) {
        size_t length = strcspn(at, "\n");
        json_array_append_new(lines, json_stringn(at, length));
        at += length + (at[length] == '\n');
    }
    return lines;
}

static json_t *parts_of(const td_outcome *outcome) {
    json_t *parts = json_object();
    for (int64_t i = 0; i < outcome->n_parts; i++) {
        json_object_set_new(parts, outcome->parts[i].name, json_real(outcome->parts[i].ns));
    }
    return parts;
}

/* "0,2|4,6": the PUs of the workers, rank by rank; "*" for a worker that is not bound to one. */
static json_t *binding_of(const td_outcome *outcome, const td_layout *layout) {
    td_text text = {0};
    for (int rank = 0; rank < layout->ranks; rank++) {
        for (int i = 0; i < layout->workers; i++) {
            int pu = outcome->binding[rank * layout->workers + i];
            td_text_puts(&text, i > 0 ? "," : rank > 0 ? "|" : "");
            if (pu >= 0) {
                td_text_printf(&text, "%d", pu);
            } else {
                td_text_puts(&text, "*");
            }
        }
    }
    json_t *out = json_string(text.failed ? "" : text.data);
    td_text_destroy(&text);
    return out;
}

static json_t *further_members(const td_outcome *outcome, const td_layout *layout, const result *r,
                               const td_stats *stats) {
    json_t *extra = json_object();
    for (int64_t i = 0; i < outcome->n_numbers; i++) {
        json_object_set_new(extra, outcome->numbers[i].name, json_real(outcome->numbers[i].value));
        if (strcmp(outcome->numbers[i].name, "data_wait_ns") == 0 && stats) {
            json_object_set_new(extra, "data_wait_share",
                                json_real(outcome->numbers[i].value / stats->p50));
        }
    }
    if (stats) {
        json_object_set_new(extra, "repeat", json_integer(outcome->repeat));
        json_object_set_new(extra, "median_interval_ns",
                            json_pack("{s:f, s:f, s:f}", "low", stats->low, "high", stats->high,
                                      "confidence", stats->confidence));
    }
    if (r->mfu > 0 && !roof_is_known_low(r)) {
        json_object_set_new(extra, "mfu", json_real(r->mfu));
        json_object_set_new(extra, "hfu", json_real(r->hfu));
        json_object_set_new(extra, "nominal_flops", json_real(outcome->cost.nominal));
        json_object_set_new(extra, "code_isa", json_string(td_isa_name((td_isa)outcome->cost.isa)));
    }
    if (outcome->n_parts > 0) {
        json_object_set_new(extra, "parts_ns", parts_of(outcome));
    }
    if (r->predicted_ns > 0) {
        json_object_set_new(extra, "predicted_ns", json_real(r->predicted_ns));
    }
    if (outcome->cost.value == TD_VALUE_BUS && stats) {
        json_object_set_new(extra, "busbw", json_real(r->value));
        json_object_set_new(extra, "algbw", json_real(outcome->cost.bytes / stats->p50));
        if (r->n_ceilings > 0) {
            json_object_set_new(extra, "busbw_roof", json_real(r->ceilings[0].value));
        }
        if (r->n_ceilings > 1) {
            json_object_set_new(extra, "of_like_roof", json_real(r->value / r->ceilings[1].value));
        }
    }
    if (outcome->account[0] != '\0') {
        json_object_set_new(extra, "account", account_lines(outcome->account));
    }
    if (outcome->workers_read > 0) {
        json_object_set_new(extra, "workers_bound", json_integer(outcome->workers_bound));
        json_object_set_new(extra, "binding", binding_of(outcome, layout));
    }
    if (outcome->binding_note[0]) {
        json_object_set_new(extra, "binding_note", json_string(outcome->binding_note));
    }
    return extra;
}

static void fill_row(const td_record *record, const result *r, const td_stats *stats, int state,
                     td_row *row) {
    *row = (td_row){.value = record->value, .share = share_of(r), .state = state};
    snprintf(row->id, sizeof row->id, "%s", record->case_id);
    snprintf(row->layout, sizeof row->layout, "%s", record->layout);
    snprintf(row->provider, sizeof row->provider, "%s", record->provider);
    snprintf(row->unit, sizeof row->unit, "%s", record->unit ? record->unit : "");
    snprintf(row->reason, sizeof row->reason, "%s", record->reason ? record->reason : "");
    if (r->n_ceilings > 0) {
        const char *disturbed = r->ceilings[0].disturbed;
        snprintf(row->roof, sizeof row->roof, "%.31s%s", r->ceilings[0].name,
                 disturbed ? ", disturbed" : "");
        row->share = roof_is_known_low(r) ? 0 : row->share;
    }
    if (stats && stats->p50 > 0) {
        double slow = stats->high / stats->p50, fast = stats->low / stats->p50;
        row->low = record->lower_is_better ? row->value * fast : row->value / slow;
        row->high = record->lower_is_better ? row->value * slow : row->value / fast;
    }
}

static td_status write_outcome(td_record_writer *writer, const td_outcome *outcome,
                               const td_layout *layout, const result *r, const td_stats *stats,
                               td_record *record) {
    static td_op_time ops[TD_OUTCOME_OPS];
    for (int64_t i = 0; i < outcome->n_ops; i++) {
        const td_outcome_op *op = &outcome->ops[i];
        ops[i] = (td_op_time){.name = op->name,
                              .family = op->family,
                              .ns = op->ns,
                              .wait_ns = op->wait_ns,
                              .flops = op->flops,
                              .bytes = op->bytes,
                              .count = op->count};
    }
    record->ops = ops;
    record->n_ops = outcome->n_ops;
    record->ceilings = r->ceilings;
    record->n_ceilings = r->n_ceilings;
    record->extra = further_members(outcome, layout, r, stats);
    td_status status = td_record_write(writer, record);
    json_decref(record->extra);
    record->extra = NULL;
    return status;
}

static const char *text_or_null(const char *text) {
    return text[0] ? text : NULL;
}

td_status td_emit_outcome(td_record_writer *writer, const td_case *subject, const td_layout *layout,
                          const td_outcome *outcome, const char *command, td_row *row) {
    td_stats stats = {0};
    result r = {0};
    int state = outcome->state;
    char reason[TD_OUTCOME_TEXT], text[TD_LAYOUT_TEXT];
    snprintf(reason, sizeof reason, "%s", outcome->reason);
    td_layout_print(layout, text);
    if (state == TD_OUTCOME_OK) {
        TD_TRY(td_stats_compute(outcome->samples_ns, outcome->n_samples, &stats));
        TD_TRY(evaluate(subject, layout, &outcome->cost, stats.p50, false, &r));
        /* A neighbour may have disturbed the roof: the best of several stands. */
        for (int again = 0; again < 3 && share_of(&r) > ABOVE_ROOF; again++) {
            TD_TRY(evaluate(subject, layout, &outcome->cost, stats.p50, true, &r));
        }
        if (outcome->barrier_ns > 0) {
            TD_TRY(td_profile_predict(outcome, layout, &r.predicted_ns));
        }
        if (share_of(&r) > ABOVE_ROOF && !roof_is_known_low(&r)) {
            state = TD_OUTCOME_FAILED;
            snprintf(reason, sizeof reason,
                     "%.1f %% of its roof %s: the cost model or the clock is wrong",
                     100 * share_of(&r), r.ceilings[0].name);
        }
    }
    static const char *const states[] = {[TD_OUTCOME_NONE] = "skipped",
                                         [TD_OUTCOME_OK] = "ok",
                                         [TD_OUTCOME_FAILED] = "failed",
                                         [TD_OUTCOME_SKIPPED] = "skipped"};
    bool timed = outcome->state == TD_OUTCOME_OK;
    td_isa isa = TD_ISA_PORTABLE;
    TD_TRY(td_isa_active(&isa));
    td_record record = {.case_id = subject->id,
                        .layout = text,
                        .isa = td_isa_name(isa),
                        .provider = subject->provider,
                        .provider_version = text_or_null(outcome->provider_version),
                        .status = states[state],
                        .reason = text_or_null(reason),
                        .value = r.value,
                        .unit = timed ? r.unit : NULL,
                        .lower_is_better = r.lower_is_better,
                        .samples_ns = outcome->samples_ns,
                        .n_samples = timed ? outcome->n_samples : 0,
                        .flops = outcome->cost.flops,
                        .bytes = outcome->cost.bytes,
                        .check_ok = state == TD_OUTCOME_OK,
                        .check_method = text_or_null(outcome->method),
                        .max_ulp = outcome->max_ulp,
                        .answer_sha256 = text_or_null(outcome->sha256),
                        .answer_class = text_or_null(outcome->answer_class),
                        .steal_pct = outcome->steal_pct,
                        .involuntary_switches = outcome->involuntary_switches,
                        .command = command};
    td_status status = write_outcome(writer, outcome, layout, &r, timed ? &stats : NULL, &record);
    fill_row(&record, &r, timed ? &stats : NULL, state, row);
    return status;
}

td_status td_emit_companion(td_record_writer *writer, const td_case *subject,
                            const td_layout *layout, const td_outcome *outcome, int which,
                            const char *command, td_row *row) {
    const td_companion *companion = &outcome->companions[which];
    static td_outcome own; /* too large for the stack */
    memset(&own, 0, sizeof own);
    own.state = companion->state;
    own.max_ulp = -1;
    own.cost = outcome->cost;
    own.repeat = outcome->repeat;
    own.n_samples = companion->n;
    own.steal_pct = outcome->steal_pct;
    td_isa isa;
    TD_TRY(td_isa_active(&isa));
    own.cost.isa = (int)isa; /* it may use any level the CPU has, whatever row stands beside it */
    snprintf(own.reason, sizeof own.reason, "%s", companion->reason);
    snprintf(own.method, sizeof own.method, "%s", companion->method);
    snprintf(own.provider_version, sizeof own.provider_version, "%s", companion->version);
    memcpy(own.samples_ns, companion->samples_ns, (size_t)companion->n * sizeof(double));
    td_case as = *subject;
    snprintf(as.provider, sizeof as.provider, "%s", companion->name);
    return td_emit_outcome(writer, &as, layout, &own, command, row);
}

td_status td_emit_peak(td_record_writer *writer, const td_peak *peak, const char *command,
                       td_row *row) {
    char id[TD_CASE_ID], layout[TD_LAYOUT_TEXT], size[NAME_BYTES];
    if (td_peak_computes(peak->kind)) {
        snprintf(id, sizeof id, "ceiling/%s/%s", td_peak_row_of(peak->kind)->name,
                 td_isa_name(peak->isa));
    } else {
        bandwidth_name(peak, '/', size);
        snprintf(id, sizeof id, "ceiling/%s", size);
    }
    snprintf(layout, sizeof layout, "p1xt%d", peak->workers);
    td_stats stats;
    TD_TRY(td_stats_compute(peak->samples_ns, peak->n, &stats));
    result r = {0};
    json_t *extra = json_object();
    if (td_peak_computes(peak->kind)) {
        json_object_set_new(extra, "clock_ghz", json_real(peak->clock_ghz));
        json_object_set_new(extra, "flop_per_cycle", json_real(peak->per_cycle));
    }
    json_object_set_new(extra, "samples_discarded", json_integer(peak->discarded));
    json_object_set_new(extra, "measured_times", json_integer(peak->tries));
    bool trusted = peak->ok && !peak->disturbed;
    json_object_set_new(extra, "value_is", json_string("of the fastest sample"));
    td_record record = {.case_id = id,
                        .layout = layout,
                        .isa = td_isa_name(peak->isa),
                        .provider = "tandem",
                        .status = !peak->ok         ? "failed"
                                  : peak->disturbed ? "disturbed"
                                                    : "ok",
                        .reason = trusted ? NULL : peak->reason,
                        .value = peak->value,
                        .unit = td_peak_computes(peak->kind) ? "GFLOP/s" : "GB/s",
                        .samples_ns = peak->samples_ns,
                        .n_samples = peak->n,
                        .flops = td_peak_computes(peak->kind) ? peak->work : 0,
                        .bytes = td_peak_computes(peak->kind) ? 0 : peak->work,
                        .check_ok = trusted,
                        .check_method = peak->method,
                        .max_ulp = -1,
                        .extra = extra,
                        .command = command};
    td_status status = td_record_write(writer, &record);
    json_decref(extra);
    record.extra = NULL;
    fill_row(&record, &r, &stats, peak->ok ? TD_OUTCOME_OK : TD_OUTCOME_FAILED, row);
    row->disturbed = peak->ok && peak->disturbed;
    return status;
}
