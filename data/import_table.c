/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "base/progress.h"
#include "data/import.h"
#include "data/pair_table.h"

static td_status hand_on(const td_pair_table *table, int64_t index, td_pair_fields *fields,
                         td_import_fn *each, void *arg, td_import_stats *stats) {
    td_status status = td_pair_table_read(table, index, fields);
    if (status == TD_EINPUT || status == TD_EIO) {
        td_note(NULL, "%s; left out", td_error());
        stats->unreadable++;
        return TD_OK;
    }
    TD_TRY(status);
    td_import_pair pair = {.bytes = fields->image.data,
                           .size = fields->image.size,
                           .caption = fields->caption->data,
                           .label = fields->label->data,
                           .key = fields->key->data};
    stats->pairs++;
    stats->from_title++;
    return each(arg, &pair);
}

td_status td_import_table(const char *path, td_import_fn *each, void *arg, td_import_stats *stats) {
    *stats = (td_import_stats){0};
    td_file_list files;
    td_pair_table *table;
    TD_TRY(td_file_list_find(path, &files));
    td_status status = td_pair_table_open(&files, &table);
    td_file_list_destroy(&files);
    TD_TRY(status);
    stats->bad_lines = td_pair_table_bad_lines(table);
    td_text caption = {0}, label = {0}, key = {0};
    td_buffer buffer = {0};
    td_pair_fields fields = {.caption = &caption, .label = &label, .key = &key, .buffer = &buffer};
    int64_t n = td_pair_table_count(table);
    for (int64_t i = 0; i < n && status == TD_OK; i++) {
        status = hand_on(table, i, &fields, each, arg, stats);
    }
    td_text_destroy(&caption);
    td_text_destroy(&label);
    td_text_destroy(&key);
    td_buffer_destroy(&buffer);
    td_pair_table_close(table);
    return status;
}
