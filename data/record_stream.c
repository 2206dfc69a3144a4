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
    STEP_BYTES = 1 << 20, /* what is fetched at once, so that a false length costs no memory */
    LOOK_AHEAD_BYTES = 64 << 20 /* how far a length with a wrong checksum is followed */
};

struct td_record_stream {
    td_byte_stream *bytes;
    int fd;
    char *name;
    td_compression compression;
    td_stream_compat compat;
    uint8_t *buffer; /* [at, end) is fetched and not yet given; at is byte next_offset */
    size_t capacity, at, end;
    int64_t offset, number, next_offset;
    bool skip, over;
    int64_t search_bytes; /* payload bytes that searching may still check: four times what came */
    td_tfrecord_damage_fn *on_damage;
    void *arg;
    td_tfrecord_stats stats;
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

static bool make_room(td_record_stream *stream, size_t step) {
    if (stream->end + step <= stream->capacity) {
        return true;
    }
    if (stream->at > 0) {
        memmove(stream->buffer, stream->buffer + stream->at, stream->end - stream->at);
    }
    stream->end -= stream->at;
    stream->at = 0;
    if (stream->end + step > stream->capacity) {
        size_t capacity = stream->end + step + stream->capacity / 2;
        uint8_t *moved = td_realloc(stream->buffer, capacity);
        if (moved == NULL) {
            return false;
        }
        stream->buffer = moved;
        stream->capacity = capacity;
    }
    return true;
}

/* Brings the next `wanted` bytes into the buffer; *have tells how many of them there are. */
static td_status fetch(td_record_stream *stream, uint64_t wanted, uint64_t *have) {
    td_status status = TD_OK;
    bool more = true;
    if (stream->at == stream->end) {
        stream->at = stream->end = 0;
    }
    while (more && stream->end - stream->at < wanted) {
        uint64_t missing = wanted - (stream->end - stream->at);
        size_t step = missing < STEP_BYTES ? (size_t)missing : STEP_BYTES, part = 0;
        if (stream->buffer == NULL || stream->end + step > stream->capacity) {
            if (!make_room(stream, step)) {
                return td_tf_no_memory("a record");
            }
        }
        status = td_byte_stream_read(stream->bytes, stream->buffer + stream->end, step, &part);
        stream->end += part;
        stream->search_bytes += 4 * (int64_t)part;
        more = status == TD_OK && part == step;
    }
    uint64_t there = stream->end - stream->at;
    *have = there < wanted ? there : wanted;
    return status;
}

static void consume(td_record_stream *stream, size_t bytes) {
    stream->at += bytes;
    stream->next_offset += (int64_t)bytes;
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

/* The record that starts at next_offset. One whose payload alone is damaged is passed by, so that
 * the caller may go on. */
static td_status take(td_record_stream *stream, td_tfrecord_facts *facts, td_span *out, bool *end) {
    uint64_t have;
    td_status status = fetch(stream, TD_TFRECORD_HEADER_BYTES, &have);
    if (status != TD_OK) {
        facts->kind = TD_DAMAGE_STREAM;
        return stream_failed(stream, status);
    }
    facts->left = (int64_t)have;
    if (have == 0 || (have < TD_TFRECORD_HEADER_BYTES && stream->compat == TD_STREAM_TENSORFLOW)) {
        *end = true;
        return TD_OK;
    }
    if (have < TD_TFRECORD_HEADER_BYTES) {
        facts->kind = TD_DAMAGE_CUT_HEADER;
        return damaged(stream, facts, "");
    }
    const uint8_t *header = stream->buffer + stream->at;
    facts->length = load_u32(header) | (uint64_t)load_u32(header + 4) << 32;
    facts->stored = td_crc32c_unmask(load_u32(header + 8));
    facts->found = td_crc32c(header, 8);
    if (facts->stored != facts->found) {
        facts->kind = TD_DAMAGE_LENGTH_CRC;
        return corrupted(stream, facts, stream->offset);
    }
    TD_TRY(check_length(stream, facts->length, facts));
    uint64_t whole = facts->length + TD_TFRECORD_FRAME_BYTES;
    status = fetch(stream, whole, &have);
    if (status != TD_OK) {
        facts->kind = TD_DAMAGE_STREAM;
        return stream_failed(stream, status);
    }
    facts->left = (int64_t)have;
    if (have < whole) {
        facts->kind = TD_DAMAGE_CUT_DATA;
        return truncated(stream, facts);
    }
    const uint8_t *data = stream->buffer + stream->at + TD_TFRECORD_HEADER_BYTES;
    facts->stored = td_crc32c_unmask(load_u32(data + facts->length));
    facts->found = td_crc32c(data, (size_t)facts->length);
    consume(stream, (size_t)whole);
    stream->number++;
    if (facts->stored != facts->found) {
        facts->kind = TD_DAMAGE_DATA_CRC;
        return corrupted(stream, facts, stream->offset + TD_TFRECORD_HEADER_BYTES);
    }
    stream->stats.records++;
    stream->stats.payload_bytes += (int64_t)facts->length;
    *out = (td_span){data, (size_t)facts->length};
    return TD_OK;
}

/* What is left, when nothing more can be found. */
static td_status lose_rest(td_record_stream *stream) {
    td_status status;
    uint64_t have;
    do {
        consume(stream, stream->end - stream->at);
        status = fetch(stream, STEP_BYTES, &have);
    } while (status == TD_OK && have > 0);
    consume(stream, stream->end - stream->at);
    stream->over = true;
    return status == TD_EINPUT ? TD_OK : status;
}

/* True when a whole good record starts `from` bytes behind next_offset. *over: the stream ends
 * before one could. */
static td_status is_record(td_record_stream *stream, size_t from, bool *found, bool *over) {
    uint64_t have;
    td_status status = fetch(stream, from + TD_TFRECORD_FRAME_BYTES, &have);
    *found = false;
    *over = have < from + TD_TFRECORD_FRAME_BYTES;
    if (*over || (status != TD_OK && status != TD_EINPUT)) {
        return status == TD_EINPUT ? TD_OK : status;
    }
    const uint8_t *header = stream->buffer + stream->at + from;
    uint64_t length = load_u32(header) | (uint64_t)load_u32(header + 4) << 32;
    if (td_crc32c_mask(td_crc32c(header, 8)) != load_u32(header + 8) ||
        length > TD_TFRECORD_PAYLOAD_MAX) {
        return TD_OK;
    }
    uint64_t whole = from + TD_TFRECORD_FRAME_BYTES + length;
    status = fetch(stream, whole, &have);
    stream->search_bytes -= (int64_t)length;
    if (have == whole && stream->search_bytes >= 0) {
        const uint8_t *data = stream->buffer + stream->at + from + TD_TFRECORD_HEADER_BYTES;
        *found = td_crc32c_mask(td_crc32c(data, (size_t)length)) == load_u32(data + length);
    }
    return status == TD_EINPUT ? TD_OK : status;
}

/* A length with a wrong checksum is believed when a record, or the end, is where it says. */
static td_status follow_length(td_record_stream *stream, uint64_t length, bool *believed) {
    *believed = false;
    if (length > LOOK_AHEAD_BYTES) {
        return TD_OK;
    }
    bool over;
    uint64_t have, whole = length + TD_TFRECORD_FRAME_BYTES;
    TD_TRY(is_record(stream, (size_t)whole, believed, &over));
    if (over) {
        td_status status = fetch(stream, whole + 1, &have);
        *believed = status == TD_OK && have == whole;
    }
    return TD_OK;
}

/* Goes on behind a record whose frame cannot be trusted. */
static td_status search(td_record_stream *stream, const td_tfrecord_facts *facts) {
    bool found = false, over = false;
    if (facts->kind == TD_DAMAGE_LENGTH_CRC) {
        TD_TRY(follow_length(stream, facts->length, &found));
        if (found) {
            consume(stream, (size_t)facts->length + TD_TFRECORD_FRAME_BYTES);
            return TD_OK;
        }
    }
    size_t from = 1;
    for (;;) {
        TD_TRY(is_record(stream, from, &found, &over));
        if (found) {
            consume(stream, from);
            return TD_OK;
        }
        if (over || stream->search_bytes < 0) {
            return lose_rest(stream);
        }
        if (++from == STEP_BYTES) {
            consume(stream, from);
            from = 0;
        }
    }
}

/* The message of the damage is the calling thread's last error. */
static td_status pass_over(td_record_stream *stream, const td_tfrecord_facts *facts) {
    char message[TD_TFRECORD_MESSAGE_BYTES];
    snprintf(message, sizeof message, "%s", td_error());
    if (facts->kind == TD_DAMAGE_STREAM) {
        TD_TRY(lose_rest(stream));
    } else if (facts->kind != TD_DAMAGE_DATA_CRC) {
        TD_TRY(search(stream, facts));
    }
    stream->number = facts->number + 1;
    td_tfrecord_damage damage = {facts->kind, facts->offset, facts->number,
                                 stream->next_offset - facts->offset, message};
    stream->stats.damaged++;
    stream->stats.lost_bytes += damage.lost_bytes;
    if (stream->on_damage != NULL) {
        stream->on_damage(stream->arg, &damage);
    }
    return TD_OK;
}

td_status td_record_stream_next(td_record_stream *stream, td_span *out, bool *end) {
    *end = stream->over;
    while (!*end) {
        stream->offset = stream->next_offset;
        td_tfrecord_facts facts = {
            .path = stream->name, .offset = stream->offset, .number = stream->number};
        td_status status = take(stream, &facts, out, end);
        if (!stream->skip || status != TD_EINPUT) {
            return status;
        }
        TD_TRY(pass_over(stream, &facts));
        *end = stream->over;
    }
    return TD_OK;
}

void td_record_stream_skip(td_record_stream *stream, td_tfrecord_damage_fn *on_damage, void *arg) {
    TD_ASSERT(stream->compat == TD_STREAM_STRICT);
    stream->skip = true;
    stream->on_damage = on_damage;
    stream->arg = arg;
}

td_tfrecord_stats td_record_stream_get_stats(const td_record_stream *stream) {
    return stream->stats;
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
