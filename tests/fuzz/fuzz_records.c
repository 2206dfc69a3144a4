/* SPDX-License-Identifier: Apache-2.0
 * The reader of record files, with every policy; headers alone; index lines.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/record_dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const char *path, td_tfrecord_policy policy, bool headers_only) {
    td_tfrecord_options options = {.policy = policy, .headers_only = headers_only};
    td_tfrecord_reader *reader;
    td_tfrecord record;
    bool end = false;
    if (td_tfrecord_open(path, &options, &reader) == TD_OK) {
        while (!end && td_tfrecord_next(reader, &record, &end) == TD_OK) {
        }
        td_tfrecord_close(reader);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/tandem-fuzz-%ld", (long)getpid());
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
        abort();
    }
    read_all(path, TD_TFRECORD_STRICT, false);
    read_all(path, TD_TFRECORD_SKIP, false);
    read_all(path, TD_TFRECORD_SKIP, true);
    unlink(path);
    td_text lines = {0};
    td_record_index_lines((td_span){data, size}, &lines);
    td_text_destroy(&lines);
    return 0;
}
