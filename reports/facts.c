/* SPDX-License-Identifier: Apache-2.0 */
#include "reports/facts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/progress.h"

static const json_t *at_path(const json_t *object, const char *path) {
    while (object != NULL) {
        size_t size = strcspn(path, ".");
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)size, path);
        object = json_object_get(object, name);
        if (path[size] == '\0') {
            break;
        }
        path += size + 1;
    }
    return object;
}

const char *td_json_text(const json_t *object, const char *path, const char *otherwise) {
    const json_t *found = at_path(object, path);
    return json_is_string(found) ? json_string_value(found) : otherwise;
}

double td_json_number(const json_t *object, const char *path) {
    const json_t *found = at_path(object, path);
    return json_is_number(found)    ? json_number_value(found)
           : json_is_boolean(found) ? json_is_true(found)
                                    : NAN;
}

static void split_id(td_fact *fact) {
    const char *at = fact->id;
    while (fact->n_parts < TD_FACT_PARTS) {
        size_t size = strcspn(at, "/");
        snprintf(fact->part[fact->n_parts++], sizeof fact->part[0], "%.*s", (int)size, at);
        if (at[size] == '\0') {
            break;
        }
        at += size + 1;
    }
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Order statistics n/2 -+ 0.98 sqrt(n) bracket the median with at least 95 % (binomial, n >= 6);
 * fewer samples give the whole range. */
static td_status interval(td_fact *fact) {
    const json_t *samples = json_object_get(fact->json, "samples_ns");
    size_t n = json_array_size(samples);
    fact->low = fact->high = fact->value;
    if (n < 2 || !(fact->median_ns > 0)) {
        return TD_OK;
    }
    double *sorted = td_alloc(n * sizeof *sorted);
    if (sorted == NULL) {
        return td_fail(TD_ENOMEM, "no memory for %zu samples", n);
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i] = json_number_value(json_array_get(samples, i));
    }
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    double reach = 0.98 * sqrt((double)n);
    double first = floor((double)n / 2 - reach), last = ceil((double)n / 2 + reach);
    double fast = sorted[first < 0 ? 0 : (size_t)first];
    double slow = sorted[last >= (double)n ? n - 1 : (size_t)last];
    td_free(sorted);
    bool is_time = strcmp(fact->unit, "us") == 0 || strcmp(fact->unit, "ns") == 0 ||
                   strcmp(fact->unit, "ms") == 0;
    double by_fast = is_time ? fast / fact->median_ns : fact->median_ns / fast;
    double by_slow = is_time ? slow / fact->median_ns : fact->median_ns / slow;
    fact->low = fact->value * fmin(by_fast, by_slow);
    fact->high = fact->value * fmax(by_fast, by_slow);
    return TD_OK;
}

static td_status read_fact(const json_t *json, td_fact *fact) {
    *fact = (td_fact){.json = json};
    fact->id = td_json_text(json, "case", "");
    fact->layout = td_json_text(json, "layout", "");
    fact->isa = td_json_text(json, "isa", "");
    fact->provider = td_json_text(json, "provider", "tandem");
    fact->provider_version = td_json_text(json, "provider_version", "");
    fact->reason = td_json_text(json, "reason", "");
    fact->unit = td_json_text(json, "unit", "");
    fact->command = td_json_text(json, "command", "");
    fact->check_method = td_json_text(json, "check.method", "");
    fact->sha256 = td_json_text(json, "check.answer_sha256", "");
    fact->value = td_json_number(json, "value");
    fact->median_ns = td_json_number(json, "time_ns.p50");
    fact->mad_ns = td_json_number(json, "time_ns.mad");
    fact->samples = td_json_number(json, "time_ns.n");
    fact->flops = td_json_number(json, "flops");
    fact->bytes = td_json_number(json, "bytes");
    fact->steal_pct = td_json_number(json, "noise.steal_pct");
    fact->switches = td_json_number(json, "noise.involuntary_switches");
    fact->max_ulp = td_json_number(json, "check.max_ulp");
    fact->status = td_json_text(json, "status", "ok");
    fact->ok = strcmp(fact->status, "ok") == 0;
    fact->own = strcmp(fact->provider, "tandem") == 0;
    fact->ceilings = json_object_get(json, "ceilings");
    fact->ops = json_object_get(json, "ops");
    if (sscanf(fact->layout, "p%dxt%d", &fact->ranks, &fact->workers) != 2) {
        fact->ranks = fact->workers = 0;
    }
    split_id(fact);
    return interval(fact);
}

td_status td_facts_create(const td_record_set *set, td_facts *out) {
    size_t n = json_array_size(set->records);
    td_facts facts = {.machine = json_object_get(set->header, "machine"),
                      .run = json_object_get(set->header, "run")};
    facts.rows = td_alloc((n + 1) * sizeof *facts.rows);
    if (facts.rows == NULL) {
        return td_fail(TD_ENOMEM, "no memory for %zu records", n);
    }
    for (size_t i = 0; i < n; i++) {
        td_status status = read_fact(json_array_get(set->records, i), &facts.rows[i]);
        if (status != TD_OK) {
            td_free(facts.rows);
            return status;
        }
    }
    facts.n_rows = (int)n;
    *out = facts;
    return TD_OK;
}

void td_facts_destroy(td_facts *facts) {
    td_free(facts->rows);
    *facts = (td_facts){0};
}

td_status td_facts_read(const char *directory, td_record_set *set, td_facts *out) {
    td_text path = {0};
    td_text_printf(&path, "%s/records.jsonl", directory);
    TD_TRY(td_text_status(&path));
    char *warning = NULL;
    td_status status = td_record_read(path.data, set, &warning);
    td_text_destroy(&path);
    TD_TRY(status);
    if (warning != NULL) {
        td_note(NULL, "%s", warning);
        td_free(warning);
    }
    status = td_facts_create(set, out);
    if (status != TD_OK) {
        td_record_set_free(set);
    }
    return status;
}

bool td_fact_is(const td_fact *fact, const char *family) {
    return strcmp(fact->part[0], family) == 0;
}

static const json_t *ceiling(const td_fact *fact, const char *name) {
    size_t i;
    json_t *row;
    json_array_foreach(fact->ceilings, i, row) {
        if (name == NULL || strcmp(td_json_text(row, "name", ""), name) == 0) {
            return row;
        }
    }
    return NULL;
}

const td_fact *td_fact_peer(const td_facts *facts, const td_fact *own) {
    const td_fact *fastest = NULL;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!fact->own && fact->ok && strcmp(fact->id, own->id) == 0 &&
            strcmp(fact->layout, own->layout) == 0 &&
            (fastest == NULL || fact->value > fastest->value)) {
            fastest = fact;
        }
    }
    return fastest;
}

double td_fact_ceiling(const td_fact *fact, const char *name) {
    return td_json_number(ceiling(fact, name), "value");
}

double td_fact_share(const td_fact *fact, const char *name) {
    return td_json_number(ceiling(fact, name), "share");
}

bool td_fact_ceiling_is_disturbed(const td_fact *fact) {
    return json_object_get(ceiling(fact, NULL), "disturbed") != NULL;
}

const char *td_fact_ceiling_name(const td_fact *fact) {
    return td_json_text(ceiling(fact, NULL), "name", "");
}

double td_fact_number(const td_fact *fact, const char *name) {
    return td_json_number(fact->json, name);
}

double td_fact_dimension(const char *part, char letter) {
    for (const char *at = part; *at != '\0'; at++) {
        if (*at == letter && (at == part || at[-1] == '-') && at[1] >= '0' && at[1] <= '9') {
            return strtod(at + 1, NULL);
        }
    }
    return NAN;
}

double td_fact_message_bytes(const td_fact *fact) {
    double known = td_fact_number(fact, "message_bytes");
    return isnan(known) ? fact->bytes : known;
}
