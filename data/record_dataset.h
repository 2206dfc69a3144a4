/* SPDX-License-Identifier: Apache-2.0
 * Records of several files as tf.data's TFRecordDataset gives them: one file after the other, or
 * `parallel` of them interleaved. A file with a bad record ends there and the next one is read when
 * the caller goes on; a file that cannot be opened is reported for ever.
 */
#ifndef TD_DATA_RECORD_DATASET_H
#define TD_DATA_RECORD_DATASET_H

#include "data/byte_stream.h"

typedef struct td_record_source {
    const char *path; /* a file, or the name of data in memory */
    td_span data;     /* data.data NULL: read the file */
} td_record_source;

typedef struct td_record_dataset td_record_dataset;

/* sources are borrowed. parallel 0: one after the other. */
td_status td_record_dataset_open(const td_record_source *sources, int64_t n, int64_t parallel,
                                 td_compression compression, td_stream_compat compat,
                                 td_record_dataset **out);
void td_record_dataset_close(td_record_dataset *dataset);

/* The next record, valid until the next call. After a failure the caller may go on. */
td_status td_record_dataset_next(td_record_dataset *dataset, td_span *out, bool *end);

/* A record at a known byte of an uncompressed file in memory, and where the next one starts; an
 * offset at or behind the last header is TD_TF_INDEX, as of TensorFlow's random reader. */
td_status td_record_at(td_span file, int64_t offset, td_span *out, int64_t *next);

/* "offset bytes" lines as the Python package tfrecord and DALI's tfrecord2idx write them: lengths
 * are believed, and a record that is cut gets what there is. */
td_status td_record_index_lines(td_span file, td_text *out);

#endif
