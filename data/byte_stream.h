/* SPDX-License-Identifier: Apache-2.0
 * Bytes of a file, a pipe or memory one after the other, uncompressed on the way; and the TFRecords
 * in them. What td_tfrecord_reader does at any place of an uncompressed regular file, this does for
 * everything else, in bounded memory.
 */
#ifndef TD_DATA_BYTE_STREAM_H
#define TD_DATA_BYTE_STREAM_H

#include "data/compression.h"
#include "data/example.h"
#include "data/tfrecord.h"

/* How strict. TensorFlow ends silently at a cut header and at a compressed stream that is cut,
 * stops after the first zlib stream, and loses the records inflated together with an error; its
 * messages are kept too. The strict reader reports all of these. */
typedef enum td_stream_compat { TD_STREAM_STRICT, TD_STREAM_TENSORFLOW } td_stream_compat;

typedef struct td_byte_stream td_byte_stream;

/* fd is borrowed. name is for messages. compression TD_COMPRESSION_COUNT: detect. */
td_status td_byte_stream_open(int fd, const char *name, td_compression compression,
                              td_stream_compat compat, td_byte_stream **out);
td_status td_byte_stream_open_memory(td_span data, const char *name, td_compression compression,
                                     td_stream_compat compat, td_byte_stream **out);
td_compression td_byte_stream_compression(const td_byte_stream *stream);
void td_byte_stream_close(td_byte_stream *stream);

/* Up to n bytes; fewer only at the end, or before a failure that the next call reports. */
td_status td_byte_stream_read(td_byte_stream *stream, void *to, size_t n, size_t *got);

typedef struct td_record_stream td_record_stream;

/* path "-" is standard input. */
td_status td_record_stream_open(const char *path, td_compression compression,
                                td_stream_compat compat, td_record_stream **out);
td_status td_record_stream_open_memory(td_span data, td_compression compression,
                                       td_record_stream **out);
/* Memory with every choice: what files are for td_record_stream_open. */
td_status td_record_stream_open_span(td_span data, const char *name, td_compression compression,
                                     td_stream_compat compat, td_record_stream **out);
void td_record_stream_close(td_record_stream *stream);

/* From now on damage is reported to on_damage (which may be NULL) and passed over, as
 * TD_TFRECORD_SKIP does; of a strict stream. Behind a wrong length the stream is searched as a file
 * is, in the memory that the record under suspicion takes; a length that is not trusted is followed
 * for 64 MiB at most. What cannot be uncompressed is lost to the end. */
void td_record_stream_skip(td_record_stream *stream, td_tfrecord_damage_fn *on_damage, void *arg);
td_tfrecord_stats td_record_stream_get_stats(const td_record_stream *stream);

/* The next record, both checksums checked, valid until the next call; *end at the end. */
td_status td_record_stream_next(td_record_stream *stream, td_span *out, bool *end);
/* Where the last record started, and its number, in uncompressed bytes. */
int64_t td_record_stream_offset(const td_record_stream *stream);
int64_t td_record_stream_number(const td_record_stream *stream);
td_compression td_record_stream_compression(const td_record_stream *stream);

#endif
