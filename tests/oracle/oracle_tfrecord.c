/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "data/crc32c.h"
#include "data/tf_error.h"
#include "data/tfrecord.h"
#include "tests/oracle/oracle.h"

/* The records of a case: a list of byte strings, or a generator of one. */
static int64_t record_count(const json_t *records) {
    return json_is_array(records) ? (int64_t)json_array_size(records)
                                  : json_integer_value(json_object_get(records, "count"));
}

static td_span record_at(const oracle_case *item, const json_t *records, int64_t i, char *digits,
                         size_t bytes) {
    if (json_is_array(records)) {
        return oracle_bytes(item, json_array_get(records, (size_t)i));
    }
    int n = snprintf(digits, bytes, "%lld.", (long long)i);
    return (td_span){(const uint8_t *)digits, (size_t)n};
}

json_t *oracle_tfrecord_write(const oracle_case *item) {
    const json_t *records = json_object_get(item->input, "records");
    td_text file = {0};
    td_text_puts(&file, "");
    for (int64_t i = 0; i < record_count(records); i++) {
        char digits[24];
        td_span record = record_at(item, records, i, digits, sizeof digits);
        td_tfrecord_frame frame = td_tfrecord_frame_of(record.data, record.size);
        td_text_append(&file, (const char *)frame.header, sizeof frame.header);
        td_text_append(&file, (const char *)record.data, record.size);
        td_text_append(&file, (const char *)frame.footer, sizeof frame.footer);
    }
    json_t *out = NULL;
    if (json_is_true(json_object_get(item->config, "digest"))) {
        char crc[12];
        snprintf(crc, sizeof crc, "%08x", td_crc32c(file.data, file.size));
        out = json_pack("{s:I, s:s}", "file_size", (json_int_t)file.size, "crc32c_of_file", crc);
    } else {
        out = json_pack("{s:o}", "file",
                        oracle_hex((td_span){(const uint8_t *)file.data, file.size}));
    }
    td_text_destroy(&file);
    return out;
}
