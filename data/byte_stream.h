/* SPDX-License-Identifier: Apache-2.0
 * Bytes of a file, a pipe or memory one after the other, uncompressed on the way; and the TFRecords
 * in them. What td_tfrecord_reader does at any place of an uncompressed regular file, this does for
 * everything else, in bounded memory.
 */
#ifndef TD_DATA_BYTE_STREAM_H
#define TD_DATA_BYTE_STREAM_H

#include "data/example.h"
#include "data/tfrecord.h"

/*      name                  TensorFlow's word   what */
#define TD_COMPRESSION_MAP(X)                                                                      \
    X(TD_COMPRESSION_NONE, "", "uncompressed")                                                     \
    X(TD_COMPRESSION_GZIP, "GZIP", "gzip, all members")                                            \
    X(TD_COMPRESSION_ZLIB, "ZLIB", "zlib")                                                         \
    X(TD_COMPRESSION_ZSTD, "ZSTD", "zstd, all frames")                                             \
    X(TD_COMPRESSION_SNAPPY, "SNAPPY", "snappy blocks, each behind its length, big-endian")

typedef enum td_compression {
#define TD_COMPRESSION_ENUM(name, word, text) name,
    TD_COMPRESSION_MAP(TD_COMPRESSION_ENUM)
#undef TD_COMPRESSION_ENUM
        TD_COMPRESSION_COUNT
} td_compression;

const char *td_compression_word(td_compression compression);
/* By TensorFlow's word; anything it does not know is read as it is, as there. */
td_compression td_compression_find(const char *word);

enum { TD_DETECT_BYTES = 16 };
/* From the first bytes of a file, TD_DETECT_BYTES or all it has. A snappy file has no mark: it is
 * found when its first block fits and holds a record's header. */
td_compression td_compression_detect(const uint8_t *first, size_t size);

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

/* The next record, both checksums checked, valid until the next call; *end at the end. */
td_status td_record_stream_next(td_record_stream *stream, td_span *out, bool *end);
/* Where the last record started, and its number, in uncompressed bytes. */
int64_t td_record_stream_offset(const td_record_stream *stream);
int64_t td_record_stream_number(const td_record_stream *stream);
td_compression td_record_stream_compression(const td_record_stream *stream);

#endif
