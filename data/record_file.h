/* SPDX-License-Identifier: Apache-2.0
 * The records of any file, one after the other: an uncompressed regular file through its mapping,
 * everything else (gzip, zlib, zstd, snappy, a pipe, "-" for standard input) as a stream. Policies
 * and damage are those of td_tfrecord_reader.
 */
#ifndef TD_DATA_RECORD_FILE_H
#define TD_DATA_RECORD_FILE_H

#include "data/compression.h"
#include "data/tfrecord.h"

typedef struct td_record_file td_record_file;

td_status td_record_file_open(const char *path, const td_tfrecord_options *options,
                              td_record_file **out);
void td_record_file_close(td_record_file *file);

/* The next record, valid until the next call; of a stream, offset is in uncompressed bytes. */
td_status td_record_file_next(td_record_file *file, td_tfrecord *out, bool *end);
td_tfrecord_stats td_record_file_get_stats(const td_record_file *file);

/* What a regular file is compressed with, by its first bytes. TD_EIO when there is no such file, or
 * it is not a regular one. */
td_status td_record_file_compression(const char *path, td_compression *out);

#endif
