/* SPDX-License-Identifier: Apache-2.0
 * Where the records of an uncompressed file are, in a file of its own.
 *
 * FILE.index is Tandem's: it says which file it is of (size, time of the last change, CRC-32C of
 * all its bytes), and ends with a checksum of itself. As long as size and time agree it is
 * believed; when the time alone differs (a copy), the file's checksum decides.
 *
 *     tandem-index 1
 *     bytes 74
 *     mtime_ns 1764187200000000000
 *     crc32c 1c2a4f5e
 *     records 4
 *     0 19
 *     ...
 *     end 0badcafe
 *
 * FILE.idx is what DALI and the Python package tfrecord read: lines "offset bytes" alone. It is
 * believed when its records join and end where the file does.
 */
#ifndef TD_DATA_RECORD_INDEX_H
#define TD_DATA_RECORD_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

#define TD_INDEX_ENDING      ".index"
#define TD_INDEX_TEXT_ENDING ".idx"

typedef struct td_record_index {
    int64_t *offsets; /* (count) */
    int64_t count;
} td_record_index;

void td_record_index_destroy(td_record_index *index);

/* Writes both files of an uncompressed record file. All its frames are read; a damaged one is
 * TD_EINPUT, and nothing is written. */
td_status td_record_index_write(const char *path, int64_t *records);

/* Reads FILE.index, or where that is missing FILE.idx. *found is false when there is neither. One
 * that is not of the file as it is now, or is damaged, is TD_EINPUT: which, why, and what to do. */
td_status td_record_index_read(const char *path, td_record_index *out, bool *found);

#endif
