/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/coll_records.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "reports/record.h"

enum { NAME = 64, PATH = 4096 };

/* "coll/OPERATION/ALGORITHM/f32-4KiB-written": false for any other case. */
static bool parse_case(const char *id, td_coll_record *out) {
    char operation[NAME], algorithm[NAME], unit[4];
    long long size;
    int end = 0;
    if (sscanf(id, "coll/%63[^/]/%63[^/]/f32-%lld%3[KiMB]%n", operation, algorithm, &size, unit,
               &end) != 4) {
        return false;
    }
    int shift = strcmp(unit, "MiB") == 0 ? 20 : strcmp(unit, "KiB") == 0 ? 10 : 0;
    const char *how = id + end;
    size_t length = strlen(how), apart = strlen("-apart");
    out->row = td_collective_find(operation, algorithm);
    out->bytes = size << shift;
    if (out->row == NULL || length >= sizeof out->how ||
        (length >= apart && strcmp(how + length - apart, "-apart") == 0)) {
        return false;
    }
    snprintf(out->how, sizeof out->how, "%s", how);
    return true;
}

static td_status take(const json_t *record, td_coll_records *out) {
    const char *id = json_string_value(json_object_get(record, "case"));
    const char *layout = json_string_value(json_object_get(record, "layout"));
    const char *provider = json_string_value(json_object_get(record, "provider"));
    const char *status = json_string_value(json_object_get(record, "status"));
    const json_t *median = json_object_get(json_object_get(record, "time_ns"), "p50");
    td_coll_record one = {.ns = json_number_value(median)};
    if (id == NULL || layout == NULL || provider == NULL || status == NULL || !(one.ns > 0) ||
        strcmp(provider, "tandem") != 0 || strcmp(status, "ok") != 0 || !parse_case(id, &one)) {
        return TD_OK;
    }
    TD_TRY(td_layout_parse(layout, &one.layout));
    snprintf(one.layout_text, sizeof one.layout_text, "%s", layout);
    if (out->n == out->capacity) {
        int capacity = out->capacity == 0 ? 64 : 2 * out->capacity;
        td_coll_record *larger = td_realloc(out->at, (size_t)capacity * sizeof *larger);
        if (larger == NULL) {
            return td_fail(TD_ENOMEM, "%d records", capacity);
        }
        out->at = larger;
        out->capacity = capacity;
    }
    out->at[out->n++] = one;
    return TD_OK;
}

td_status td_coll_records_read(const char *directory, td_coll_records *out) {
    char path[PATH], *warning = NULL;
    td_record_set set;
    td_coll_records records = {0};
    snprintf(path, sizeof path, "%s/records.jsonl", directory);
    TD_TRY(td_record_read(path, &set, &warning));
    if (warning != NULL) {
        fprintf(stderr, "tandem: %s\n", warning);
        td_free(warning);
    }
    const json_t *machine = json_object_get(json_object_get(set.header, "machine"), "hw_id");
    snprintf(records.machine, sizeof records.machine, "%s",
             json_is_string(machine) ? json_string_value(machine) : "");
    size_t i;
    json_t *record;
    td_status status = TD_OK;
    json_array_foreach(set.records, i, record) {
        status = status == TD_OK ? take(record, &records) : status;
    }
    td_record_set_free(&set);
    if (status != TD_OK) {
        td_coll_records_destroy(&records);
        return status;
    }
    *out = records;
    return TD_OK;
}

void td_coll_records_destroy(td_coll_records *records) {
    td_free(records->at);
    *records = (td_coll_records){0};
}

td_status td_coll_records_fit(const char *directory, const char *operation, const char *algorithm,
                              int ranks, td_coll_fit *out) {
    td_coll_records records;
    TD_TRY(td_coll_records_read(directory, &records));
    const td_collective *row = td_collective_find(operation, algorithm);
    const td_coll_record *low = NULL, *high = NULL;
    for (int i = 0; i < records.n; i++) {
        const td_coll_record *r = &records.at[i];
        if (r->row == row && r->layout.ranks == ranks && r->how[0] == '\0') {
            low = low == NULL || r->bytes < low->bytes ? r : low;
            high = high == NULL || r->bytes > high->bytes ? r : high;
        }
    }
    td_status status = TD_OK;
    if (low == NULL || low->bytes == high->bytes) {
        status = td_fail(TD_EINPUT,
                         "%s: expected records of coll/%s/%s in two sizes on %d ranks, on hot "
                         "buffers, in the streaming mode",
                         directory, operation, algorithm, ranks);
    } else {
        double slope = (high->ns - low->ns) / (double)(high->bytes - low->bytes);
        slope = slope > 0 ? slope : 0;
        double ns = low->ns - slope * (double)low->bytes;
        *out = (td_coll_fit){ns > 0 ? ns : 0, slope};
    }
    td_coll_records_destroy(&records);
    return status;
}
