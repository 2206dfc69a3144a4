/* SPDX-License-Identifier: Apache-2.0
 * Sets of pairs that are read where they lie, and indexes. The first byte chooses: a tar file, a
 * table, or an index of a record file that is empty.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "data/pair_table.h"
#include "data/record_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_table(char *path) {
    char *paths[] = {path};
    td_pair_table *table;
    if (td_pair_table_open(&(td_file_list){paths, 1}, &table) != TD_OK) {
        return;
    }
    td_text caption = {0}, label = {0}, key = {0}, place = {0};
    td_buffer buffer = {0};
    td_pair_fields fields = {.caption = &caption, .label = &label, .key = &key, .buffer = &buffer};
    int64_t n = td_pair_table_count(table);
    for (int64_t i = 0; i < n && i < 100; i++) {
        if (td_pair_table_read(table, i, &fields) == TD_OK && fields.image.size > 0 &&
            fields.image.data[fields.image.size - 1] == 1) {
            td_pair_table_place(table, i, &place);
        }
    }
    td_text_destroy(&caption);
    td_text_destroy(&label);
    td_text_destroy(&key);
    td_text_destroy(&place);
    td_buffer_destroy(&buffer);
    td_pair_table_close(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const endings[] = {".tar", ".tsv", "", ""};
    static const char *const beside[] = {"", "", TD_INDEX_ENDING, TD_INDEX_TEXT_ENDING};
    if (size == 0) {
        return 0;
    }
    char path[64], written[80];
    int kind = data[0] % 4;
    snprintf(path, sizeof path, "/dev/shm/tandem-fuzz-table-%ld%s", (long)getpid(), endings[kind]);
    snprintf(written, sizeof written, "%s%s", path, beside[kind]);
    FILE *file = fopen(written, "wb");
    if (file == NULL || fwrite(data + 1, 1, size - 1, file) != size - 1 || fclose(file) != 0) {
        abort();
    }
    if (kind < 2) {
        read_table(path);
    } else {
        td_record_index index = {0};
        bool found;
        file = fopen(path, "wb");
        if (file == NULL || fclose(file) != 0) {
            abort();
        }
        if (td_record_index_read(path, &index, &found) == TD_OK) {
            td_record_index_destroy(&index);
        }
        unlink(path);
    }
    unlink(written);
    return 0;
}
