/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/byte_stream.h"
#include "data/crc32c.h"
#include "data/tf_error.h"

enum {
    STEP_BYTES = 1 << 20
}; /* a payload is read in steps, so that a false length costs no memory */

struct td_record_stream {
    td_byte_stream *bytes;
    int fd;
    char *name;
    td_compression compression;
    td_stream_compat compat;
    uint8_t *buffer;
    size_t capacity;
    int64_t offset, number, next_offset;
};

static uint32_t load_u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* A record that cannot be given, in the words of either side. */
static td_status damaged(const td_record_stream *stream, const td_tfrecord_facts *facts,
                         const char *tensorflow) {
    if (stream->compat == TD_STREAM_TENSORFLOW) {
        return td_tf_fail(TD_TF_DATA_LOSS, "%s", tensorflow);
    }
    char message[TD_TFRECORD_MESSAGE_BYTES];
    td_tfrecord_describe(facts, message);
    return td_tf_fail(TD_TF_DATA_LOSS, "%s", message);
}

static td_status corrupted(const td_record_stream *stream, const td_tfrecord_facts *facts,
                           int64_t at) {
    char text[100];
    snprintf(text, sizeof text, "corrupted record at %lld%s", (long long)at,
             at == 0 ? " (Is this even a TFRecord file?)" : "");
    return damaged(stream, facts, text);
}

static td_status truncated(const td_record_stream *stream, const td_tfrecord_facts *facts) {
    char text[120];
    snprintf(text, sizeof text, "truncated record at %lld' failed with %s",
             (long long)stream->offset,
             stream->compression == TD_COMPRESSION_NONE ? "Read less bytes than requested"
                                                        : "EOF reached");
    return damaged(stream, facts, text);
}

/* What went wrong below, and where in the stream that was. */
static td_status stream_failed(const td_record_stream *stream, td_status status) {
    char what[TD_TFRECORD_MESSAGE_BYTES];
    if (stream->compat == TD_STREAM_TENSORFLOW || status != TD_EINPUT) {
        return status;
    }
    snprintf(what, sizeof what, "%.700s (record %lld, at byte %lld of what it holds)", td_error(),
             (long long)stream->number, (long long)stream->offset);
    return td_tf_refail(td_tf_last(), what);
}

/* Payload and checksum, in steps; *got tells how much there was. */
static td_status read_payload(td_record_stream *stream, uint64_t wanted, uint64_t *got) {
    *got = 0;
    while (*got < wanted) {
        uint64_t step = wanted - *got < STEP_BYTES ? wanted - *got : STEP_BYTES;
        if (*got + step > stream->capacity) {
            size_t capacity = (size_t)(*got + step) + stream->capacity / 2;
            uint8_t *moved = td_realloc(stream->buffer, capacity);
            if (moved == NULL) {
                return td_tf_no_memory("a record");
            }
            stream->buffer = moved;
            stream->capacity = capacity;
        }
        size_t part;
        TD_TRY(td_byte_stream_read(stream->bytes, stream->buffer + *got, (size_t)step, &part));
        *got += part;
        if (part < step) {
            break;
        }
    }
    return TD_OK;
}

static td_status check_length(const td_record_stream *stream, uint64_t length,
                              td_tfrecord_facts *facts) {
    if (stream->compat == TD_STREAM_TENSORFLOW) {
        if (length >= UINT64_MAX - 4) {
            return td_tf_fail(TD_TF_DATA_LOSS, "record size too large");
        }
        if ((int64_t)(length + 4) < 0) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT, "Can't read a negative number of bytes: %lld",
                              (long long)(int64_t)(length + 4));
        }
        return TD_OK;
    }
    if (length > TD_TFRECORD_PAYLOAD_MAX) {
        facts->kind = TD_DAMAGE_TOO_LARGE;
        return damaged(stream, facts, "");
    }
    return TD_OK;
}

td_status td_record_stream_next(td_record_stream *stream, td_span *out, bool *end) {
    uint8_t header[TD_TFRECORD_HEADER_BYTES];
    size_t got;
    *end = false;
    stream->offset = stream->next_offset;
    td_tfrecord_facts facts = {
        .path = stream->name, .offset = stream->offset, .number = stream->number};
    td_status status = td_byte_stream_read(stream->bytes, header, sizeof header, &got);
    if (status != TD_OK) {
        return stream_failed(stream, status);
    }
    facts.left = (int64_t)got;
    if (got == 0 || (got < sizeof header && stream->compat == TD_STREAM_TENSORFLOW)) {
        *end = true;
        return TD_OK;
    }
    if (got < sizeof header) {
        facts.kind = TD_DAMAGE_CUT_HEADER;
        return damaged(stream, &facts, "");
    }
    facts.length = load_u32(header) | (uint64_t)load_u32(header + 4) << 32;
    facts.stored = td_crc32c_unmask(load_u32(header + 8));
    facts.found = td_crc32c(header, 8);
    if (facts.stored != facts.found) {
        facts.kind = TD_DAMAGE_LENGTH_CRC;
        return corrupted(stream, &facts, stream->offset);
    }
    TD_TRY(check_length(stream, facts.length, &facts));
    uint64_t have;
    status = read_payload(stream, facts.length + 4, &have);
    if (status != TD_OK) {
        return stream_failed(stream, status);
    }
    facts.left = (int64_t)(sizeof header + have);
    if (have < facts.length + 4) {
        facts.kind = TD_DAMAGE_CUT_DATA;
        return truncated(stream, &facts);
    }
    facts.stored = td_crc32c_unmask(load_u32(stream->buffer + facts.length));
    facts.found = td_crc32c(stream->buffer, (size_t)facts.length);
    stream->next_offset = stream->offset + TD_TFRECORD_FRAME_BYTES + (int64_t)facts.length;
    stream->number++;
    if (facts.stored != facts.found) {
        facts.kind = TD_DAMAGE_DATA_CRC;
        return corrupted(stream, &facts, stream->offset + TD_TFRECORD_HEADER_BYTES);
    }
    *out = (td_span){stream->buffer, (size_t)facts.length};
    return TD_OK;
}

static td_status create(const char *name, int fd, td_record_stream **out) {
    td_record_stream *stream = td_alloc_zero(sizeof *stream);
    if (stream == NULL) {
        return td_tf_no_memory("reading a file");
    }
    stream->fd = fd;
    stream->name = td_strdup(name);
    if (stream->name == NULL) {
        td_free(stream);
        return td_tf_no_memory("reading a file");
    }
    *out = stream;
    return TD_OK;
}

void td_record_stream_close(td_record_stream *stream) {
    if (stream != NULL) {
        td_byte_stream_close(stream->bytes);
        if (stream->fd > STDIN_FILENO) {
            close(stream->fd);
        }
        td_free(stream->name);
        td_free(stream->buffer);
        td_free(stream);
    }
}

td_status td_record_stream_open(const char *path, td_compression compression,
                                td_stream_compat compat, td_record_stream **out) {
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        td_tf_fail(TD_TF_NOT_FOUND, "%s; %s", path, strerror(errno));
        return TD_EIO;
    }
    td_record_stream *stream = NULL;
    td_status status = create(standard ? "standard input" : path, fd, &stream);
    if (status != TD_OK) {
        if (!standard) {
            close(fd);
        }
        return status;
    }
    stream->compat = compat;
    status = td_byte_stream_open(fd, stream->name, compression, compat, &stream->bytes);
    if (status != TD_OK) {
        td_record_stream_close(stream);
        return status;
    }
    stream->compression = td_byte_stream_compression(stream->bytes);
    *out = stream;
    return TD_OK;
}

td_status td_record_stream_open_span(td_span data, const char *name, td_compression compression,
                                     td_stream_compat compat, td_record_stream **out) {
    td_record_stream *stream = NULL;
    TD_TRY(create(name, -1, &stream));
    stream->compat = compat;
    td_status status = td_byte_stream_open_memory(data, name, compression, compat, &stream->bytes);
    if (status != TD_OK) {
        td_record_stream_close(stream);
        return status;
    }
    stream->compression = td_byte_stream_compression(stream->bytes);
    *out = stream;
    return TD_OK;
}

td_status td_record_stream_open_memory(td_span data, td_compression compression,
                                       td_record_stream **out) {
    return td_record_stream_open_span(data, "a file in memory", compression, TD_STREAM_STRICT, out);
}

int64_t td_record_stream_offset(const td_record_stream *stream) {
    return stream->offset;
}

int64_t td_record_stream_number(const td_record_stream *stream) {
    return stream->number - 1;
}

td_compression td_record_stream_compression(const td_record_stream *stream) {
    return stream->compression;
}
