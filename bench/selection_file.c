/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/selection_file.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/text.h"
#include "bench/fingerprint.h"

enum { SCHEMA = 1, MACHINE = 40 };

static const td_selection *in_use;

void td_selection_use(const td_selection *selection) {
    in_use = selection;
}

const td_selection *td_selection_in_use(void) {
    return in_use;
}

/* ---- writing ---- */

static bool same_call(const td_coll_record *a, const td_coll_record *b) {
    return a->row->id == b->row->id && a->bytes == b->bytes &&
           strcmp(a->layout_text, b->layout_text) == 0;
}

/* The first record of its call: the others are found from it. */
static bool is_first(const td_coll_records *records, int i) {
    for (int j = 0; j < i; j++) {
        if (records->at[j].how[0] == '\0' && same_call(&records->at[j], &records->at[i])) {
            return false;
        }
    }
    return records->at[i].how[0] == '\0';
}

static int count_rows(const td_coll_records *records, int i) {
    int rows = 0;
    for (int j = 0; j < records->n; j++) {
        rows += records->at[j].how[0] == '\0' && same_call(&records->at[i], &records->at[j]);
    }
    return rows;
}

/* Some rows are measured at more sizes than others. The fastest of few is no choice: what is best
 * at the sizes around may not be among them. */
static bool is_of_few(const td_coll_records *records, int i) {
    const td_coll_record *one = &records->at[i];
    int most = 0;
    for (int j = 0; j < records->n; j++) {
        const td_coll_record *r = &records->at[j];
        if (r->how[0] == '\0' && r->row->id == one->row->id &&
            strcmp(r->layout_text, one->layout_text) == 0) {
            int rows = count_rows(records, j);
            most = rows > most ? rows : most;
        }
    }
    return 2 * count_rows(records, i) < most;
}

typedef struct choice {
    const td_coll_record *best,
        *standard; /* standard: what the default calls, NULL: not measured */
    int rows;
} choice;

static choice choose(const td_coll_records *records, int i, json_t *measured) {
    const td_coll_record *one = &records->at[i];
    const td_collective *standard =
        td_selection_default(one->row->id, one->layout.ranks, one->bytes);
    choice c = {0};
    for (int j = i; j < records->n; j++) {
        const td_coll_record *r = &records->at[j];
        if (r->how[0] != '\0' || !same_call(one, r)) {
            continue;
        }
        c.rows++;
        c.best = c.best == NULL || r->ns < c.best->ns ? r : c.best;
        c.standard = r->row == standard ? r : c.standard;
        json_array_append_new(measured,
                              json_pack("{s:s, s:f}", "algorithm", r->row->algorithm, "ns", r->ns));
    }
    return c;
}

static void print_choice(FILE *out, const choice *c) {
    char regret[32] = "-";
    if (c->standard != NULL) {
        snprintf(regret, sizeof regret, "%.2f", c->standard->ns / c->best->ns);
    }
    fprintf(out, "%-15s %-16s %12lld  %-20s %12.2f  %-20s %8s\n", c->best->row->operation,
            c->best->layout_text, (long long)c->best->bytes, c->best->row->algorithm,
            c->best->ns * 1e-3, c->standard == NULL ? "-" : c->standard->row->algorithm, regret);
}

static td_status write_json(const char *path, const char *machine, json_t *entries) {
    json_t *all = json_pack("{s:i, s:s, s:s, s:O}", "schema", SCHEMA, "kind", "tandem selection",
                            "machine", machine, "entries", entries);
    char *text = all == NULL ? NULL : json_dumps(all, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    json_decref(all);
    if (text == NULL) {
        return td_fail(TD_ENOMEM, "a selection table");
    }
    td_status status = td_file_write(path, text, strlen(text));
    free(text);
    return status;
}

td_status td_selection_write(const char *path, const td_coll_records *records, FILE *out) {
    json_t *entries = json_array();
    bool any = false;
    if (out != NULL) {
        fprintf(out, "%-15s %-16s %12s  %-20s %12s  %-20s %8s\n", "operation", "layout", "bytes",
                "fastest", "us", "default", "regret");
    }
    for (int i = 0; i < records->n; i++) {
        if (!is_first(records, i) || is_of_few(records, i)) {
            continue;
        }
        json_t *measured = json_array();
        choice c = choose(records, i, measured);
        any = any || c.rows > 1;
        json_t *entry =
            json_pack("{s:s, s:s, s:I, s:s, s:f, s:O}", "operation", c.best->row->operation,
                      "layout", c.best->layout_text, "bytes", (json_int_t)c.best->bytes,
                      "algorithm", c.best->row->algorithm, "ns", c.best->ns, "measured", measured);
        json_decref(measured);
        if (c.standard != NULL) {
            json_object_set_new(entry, "default", json_string(c.standard->row->algorithm));
            json_object_set_new(entry, "default_regret", json_real(c.standard->ns / c.best->ns));
        }
        json_array_append_new(entries, entry);
        if (out != NULL) {
            print_choice(out, &c);
        }
    }
    td_status status =
        any ? write_json(path, records->machine, entries)
            : td_fail(TD_EINPUT, "no operation was measured with two algorithms on one layout and "
                                 "size: there is nothing to choose from");
    json_decref(entries);
    return status;
}

/* ---- reading ---- */

static td_status machine_here(char id[MACHINE]) {
    td_topology *topology;
    json_t *machine = NULL;
    TD_TRY(td_topology_create(NULL, &topology));
    td_status status = td_fingerprint(topology, &machine);
    td_topology_destroy(topology);
    if (status == TD_OK) {
        snprintf(id, MACHINE, "%s", json_string_value(json_object_get(machine, "hw_id")));
    }
    json_decref(machine);
    return status;
}

static td_status read_entry(const char *path, size_t i, const json_t *json,
                            td_selection_entry *out) {
    const char *operation = json_string_value(json_object_get(json, "operation"));
    const char *algorithm = json_string_value(json_object_get(json, "algorithm"));
    const char *text = json_string_value(json_object_get(json, "layout"));
    const json_t *bytes = json_object_get(json, "bytes");
    td_layout layout;
    if (operation == NULL || algorithm == NULL || text == NULL || !json_is_integer(bytes)) {
        return td_fail(TD_EINPUT, "%s: entry %zu: expected operation, algorithm, layout and bytes",
                       path, i);
    }
    const td_collective *row = td_collective_find(operation, algorithm);
    if (row == NULL) {
        return td_fail(TD_EINPUT,
                       "%s: entry %zu: %s/%s is no collective; tandem list has those there are",
                       path, i, operation, algorithm);
    }
    TD_TRY(td_layout_parse(text, &layout));
    if (!row->fits(layout.ranks)) {
        return td_fail(TD_EINPUT, "%s: entry %zu: %s/%s is not made for %d ranks", path, i,
                       operation, algorithm, layout.ranks);
    }
    *out = (td_selection_entry){
        row->id, layout.kind, layout.ranks, layout.workers, json_integer_value(bytes), row};
    return TD_OK;
}

static td_status read_entries(const char *path, const json_t *all, td_selection *out) {
    const json_t *entries = json_object_get(all, "entries");
    const char *kind = json_string_value(json_object_get(all, "kind"));
    const char *machine = json_string_value(json_object_get(all, "machine"));
    if (kind == NULL || strcmp(kind, "tandem selection") != 0 || !json_is_array(entries) ||
        json_integer_value(json_object_get(all, "schema")) != SCHEMA) {
        return td_fail(TD_EINPUT, "%s: no selection table of schema %d; tandem tune writes one",
                       path, SCHEMA);
    }
    char here[MACHINE];
    TD_TRY(machine_here(here));
    if (machine == NULL || strcmp(machine, here) != 0) {
        return td_fail(TD_EINPUT, "%s was measured on machine %s, this is %s; run tandem tune here",
                       path, machine == NULL ? "(unknown)" : machine, here);
    }
    size_t n = json_array_size(entries);
    out->entries = td_alloc((n + 1) * sizeof *out->entries);
    if (out->entries == NULL) {
        return td_fail(TD_ENOMEM, "%zu entries of a selection table", n);
    }
    for (size_t i = 0; i < n; i++) {
        TD_TRY(read_entry(path, i, json_array_get(entries, i), &out->entries[out->n]));
        out->n++;
    }
    return TD_OK;
}

td_status td_selection_read(const char *path, td_selection *out) {
    char *text;
    size_t size;
    json_error_t error;
    td_selection selection = {0};
    TD_TRY(td_file_read(path, &text, &size));
    json_t *all = json_loadb(text, size, 0, &error);
    td_free(text);
    td_status status = all == NULL
                           ? td_fail(TD_EINPUT, "%s, line %d: %s", path, error.line, error.text)
                           : read_entries(path, all, &selection);
    json_decref(all);
    if (status != TD_OK) {
        td_selection_destroy(&selection);
        return status;
    }
    *out = selection;
    return TD_OK;
}

void td_selection_destroy(td_selection *selection) {
    td_free(selection->entries);
    *selection = (td_selection){0};
}
