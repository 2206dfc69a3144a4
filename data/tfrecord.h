/* SPDX-License-Identifier: Apache-2.0
 * TFRecord files. A record is: length u64, masked CRC-32C of those 8 bytes, payload, masked CRC-32C
 * of the payload, all little-endian; a file is records one after the other, and an empty file has
 * none. Both checksums are always checked. A length is compared with what the file still holds
 * before anything is allocated for it.
 */
#ifndef TD_DATA_TFRECORD_H
#define TD_DATA_TFRECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "data/compression.h"

enum {
    TD_TFRECORD_HEADER_BYTES = 12,
    TD_TFRECORD_FRAME_BYTES = 16,         /* header and the payload's checksum */
    TD_TFRECORD_PAYLOAD_MAX = 0x7fffffff, /* what a protocol buffer may have; longer is damage */
};

/* What can be wrong with a record. */
#define TD_DAMAGE_MAP(X)                                                                           \
    X(TD_DAMAGE_NONE, "nothing")                                                                   \
    X(TD_DAMAGE_CUT_HEADER, "cut header")                                                          \
    X(TD_DAMAGE_LENGTH_CRC, "length checksum")                                                     \
    X(TD_DAMAGE_CUT_DATA, "cut payload or oversized length")                                       \
    X(TD_DAMAGE_TOO_LARGE, "payload above the limit")                                              \
    X(TD_DAMAGE_DATA_CRC, "payload checksum")                                                      \
    X(TD_DAMAGE_STREAM, "compressed stream")

typedef enum td_damage_kind {
#define TD_DAMAGE_ENUM(name, text) name,
    TD_DAMAGE_MAP(TD_DAMAGE_ENUM)
#undef TD_DAMAGE_ENUM
        TD_DAMAGE_COUNT
} td_damage_kind;

const char *td_damage_text(td_damage_kind kind);

/* What was seen of a record that is not good, and the sentence that says it. */
typedef struct td_tfrecord_facts {
    const char *path;
    int64_t number, offset; /* of the record in its file */
    td_damage_kind kind;
    uint64_t length;        /* what its header says */
    int64_t left;           /* bytes of the file from the record's start, as far as known */
    uint32_t stored, found; /* checksums, unmasked, where they differ */
} td_tfrecord_facts;
enum { TD_TFRECORD_MESSAGE_BYTES = 1024 };
void td_tfrecord_describe(const td_tfrecord_facts *facts, char message[TD_TFRECORD_MESSAGE_BYTES]);

/* Strict: the first damaged record is TD_EINPUT, and so is every further read. Skip: damage is
 * reported to on_damage and counted, and reading goes on at the next intact record: behind the
 * payload when only that is bad, otherwise at the first later byte where a whole record fits and
 * both its checksums hold. Such a byte inside a lost payload that itself holds TFRecords is taken
 * for a record. A search that has checked four times the file's bytes gives up: the rest is lost.
 */
typedef enum td_tfrecord_policy { TD_TFRECORD_STRICT, TD_TFRECORD_SKIP } td_tfrecord_policy;

typedef struct td_tfrecord_damage {
    td_damage_kind kind;
    int64_t offset;      /* of the record */
    int64_t number;      /* of the record in its file, from 0; a damaged stretch counts as one */
    int64_t lost_bytes;  /* until the next intact record */
    const char *message; /* file, record, byte and reason; valid during the call */
} td_tfrecord_damage;

typedef void td_tfrecord_damage_fn(void *arg, const td_tfrecord_damage *damage);

typedef struct td_tfrecord_options {
    td_tfrecord_policy policy;
    bool headers_only; /* give offsets and sizes without reading or checking payloads: data is NULL
                        */
    td_tfrecord_damage_fn *on_damage; /* skip only; may be NULL */
    void *arg;
} td_tfrecord_options;

typedef struct td_tfrecord {
    const uint8_t *data; /* valid until the next call on the same reader or buffer */
    size_t size;
    int64_t offset, number;
} td_tfrecord;

typedef struct td_tfrecord_stats {
    int64_t records, payload_bytes, damaged, lost_bytes;
} td_tfrecord_stats;

typedef struct td_tfrecord_reader td_tfrecord_reader;

/* TD_EIO when path cannot be opened, or is not a regular file. */
td_status td_tfrecord_open(const char *path, const td_tfrecord_options *options,
                           td_tfrecord_reader **out);
void td_tfrecord_close(td_tfrecord_reader *reader);

/* The next record; *end is set at the end of the file, where out is left alone. */
td_status td_tfrecord_next(td_tfrecord_reader *reader, td_tfrecord *out, bool *end);

/* Gives the reader the records of [first, last) bytes, found without an index: from the first byte
 * at or behind `first` where a run of whole good records starts, to where the next range would
 * start. Ranges that join give every record of a sound file once, wherever it is cut, so several
 * readers can share a file; a damaged record is the business of the range before it. Records are
 * numbered from the range's first. Of a file whose payloads hold records themselves, a range may
 * start inside one: then the range before ends with TD_EINPUT, as its last record ends elsewhere.
 */
td_status td_tfrecord_range(td_tfrecord_reader *reader, int64_t first, int64_t last);

td_tfrecord_stats td_tfrecord_get_stats(const td_tfrecord_reader *reader);
const char *td_tfrecord_path(const td_tfrecord_reader *reader);

/* Zero-initialise to start; grows as needed and is kept for the next record. */
typedef struct td_buffer {
    uint8_t *data;
    size_t capacity;
} td_buffer;

td_status td_buffer_reserve(td_buffer *buffer, size_t bytes);
void td_buffer_destroy(td_buffer *buffer);

/* The record at a known offset, both checksums checked, into the caller's buffer. number is for
 * messages only. Does not move the reader; several threads may call it at once, each with its own
 * buffer. */
td_status td_tfrecord_read_at(const td_tfrecord_reader *reader, int64_t offset, int64_t number,
                              td_buffer *buffer, td_tfrecord *out);

/* What stands before and behind a payload. */
typedef struct td_tfrecord_frame {
    uint8_t header[TD_TFRECORD_HEADER_BYTES], footer[4];
} td_tfrecord_frame;

td_tfrecord_frame td_tfrecord_frame_of(const void *data, size_t size);

/* Writes a file that appears under its name, complete, at commit. */
typedef struct td_tfrecord_writer {
    td_atomic_file file;
    struct td_byte_sink *sink; /* NULL: uncompressed */
    int lock;                  /* of a file that is extended: kept open and locked until the end */
    int64_t records, bytes;    /* of this writer's own, uncompressed */
} td_tfrecord_writer;

td_status td_tfrecord_create(const char *path, td_tfrecord_writer *out);
td_status td_tfrecord_create_compressed(const char *path, td_compression compression,
                                        td_tfrecord_writer *out);
/* Adds to an uncompressed file that exists: commit puts the old records and the new ones in its
 * place at once, until then it stays as it is. A file whose frames do not reach its end exactly (a
 * torn tail, or other damage) is TD_EINPUT; one that another writer extends is TD_EIO. */
td_status td_tfrecord_extend(const char *path, td_tfrecord_writer *out);
td_status td_tfrecord_append(td_tfrecord_writer *writer, const void *data, size_t size);
/* Hands what was written to the system. */
td_status td_tfrecord_flush(td_tfrecord_writer *writer);
/* Ends the writer: append and flush fail afterwards, commit and abort do nothing. */
td_status td_tfrecord_commit(td_tfrecord_writer *writer);
void td_tfrecord_abort(td_tfrecord_writer *writer);

#endif
