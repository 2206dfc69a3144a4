/* SPDX-License-Identifier: Apache-2.0 */
#include "data/tfrecord.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/crc32c.h"
#include "data/file_window.h"

/* Payloads of a few hundred bytes are read many at a time; of headers alone, only a page is worth
 * fetching. */
enum { MAP_BYTES = 8 << 20, WINDOW_BYTES = 512 << 10, HEADER_WINDOW_BYTES = 4 << 10 };

struct td_tfrecord_reader {
    char *path;
    int fd;
    int64_t file_bytes, offset, number;
    int64_t limit;        /* where the next range's records start; the file's end without ranges */
    int64_t search_bytes; /* payload bytes that searching for an intact record may still check */
    td_tfrecord_options options;
    td_tfrecord_stats stats;
    td_buffer buffer;
    td_file_window map;
    const uint8_t
        *window; /* [window_start, window_start + window_bytes) of the file: map or buffer */
    int64_t window_start, window_bytes;
};

const char *td_damage_text(td_damage_kind kind) {
    static const char *const texts[TD_DAMAGE_COUNT] = {
#define TEXT(name, text) [name] = text,
        TD_DAMAGE_MAP(TEXT)
#undef TEXT
    };
    return texts[kind];
}

static uint32_t load_u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t load_u64(const uint8_t *at) {
    return load_u32(at) | (uint64_t)load_u32(at + 4) << 32;
}

td_status td_buffer_reserve(td_buffer *buffer, size_t bytes) {
    if (bytes <= buffer->capacity) {
        return TD_OK;
    }
    size_t capacity = bytes + bytes / 4;
    td_free(buffer->data);
    buffer->data = td_alloc(capacity);
    buffer->capacity = buffer->data == NULL ? 0 : capacity;
    return buffer->data == NULL ? td_fail(TD_ENOMEM, "no memory for a record of %zu bytes", bytes)
                                : TD_OK;
}

void td_buffer_destroy(td_buffer *buffer) {
    td_free(buffer->data);
    *buffer = (td_buffer){0};
}

td_status td_tfrecord_open(const char *path, const td_tfrecord_options *options,
                           td_tfrecord_reader **out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return td_fail(TD_EIO, "open %s: %s", path, strerror(errno));
    }
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return td_fail(TD_EIO, "open %s: not a regular file", path);
    }
    td_tfrecord_reader *reader = td_alloc_zero(sizeof *reader);
    char *copy = td_strdup(path);
    if (reader == NULL || copy == NULL) {
        close(fd);
        td_free(reader);
        td_free(copy);
        return td_fail(TD_ENOMEM, "no memory to read %s", path);
    }
    reader->path = copy;
    reader->fd = fd;
    reader->file_bytes = (int64_t)info.st_size;
    reader->options = *options;
    /* A file made of valid headers could ask for a checksum of everything at every byte: searching
     * stops at four times the file, which damage that was not made on purpose never reaches. */
    reader->search_bytes = 4 * reader->file_bytes;
    reader->limit = reader->file_bytes;
    *out = reader;
    return TD_OK;
}

void td_tfrecord_close(td_tfrecord_reader *reader) {
    if (reader != NULL) {
        close(reader->fd);
        td_buffer_destroy(&reader->buffer);
        td_file_window_unmap(&reader->map);
        td_free(reader->path);
        td_free(reader);
    }
}

td_tfrecord_stats td_tfrecord_get_stats(const td_tfrecord_reader *reader) {
    return reader->stats;
}

const char *td_tfrecord_path(const td_tfrecord_reader *reader) {
    return reader->path;
}

static td_status read_fully(const td_tfrecord_reader *reader, int64_t offset, int64_t bytes,
                            uint8_t *to) {
    while (bytes > 0) {
        ssize_t got = pread(reader->fd, to, (size_t)bytes, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return td_fail(TD_EIO, "read %s at byte %lld: %s", reader->path, (long long)offset,
                           got < 0 ? strerror(errno) : "the file became shorter while it was read");
        }
        to += got;
        offset += got;
        bytes -= got;
    }
    return TD_OK;
}

/* Where the callers below find file bytes: in the reader's window, or in a buffer of their own. */
typedef td_status fetch_fn(void *source, int64_t offset, int64_t bytes, const uint8_t **out);

/* Payloads are read where the page cache has them; a window moves over the file, so that any file
 * fits any address space. Of headers alone only a few bytes of many pages are wanted. */
static bool map_window(td_tfrecord_reader *reader, int64_t offset, int64_t bytes) {
    int64_t wanted = bytes > MAP_BYTES ? bytes : MAP_BYTES;
    int64_t left = reader->file_bytes - offset;
    wanted = wanted < left ? wanted : left;
    if (reader->options.headers_only ||
        !td_file_window_map(&reader->map, reader->fd, offset, wanted)) {
        return false;
    }
    reader->window = reader->map.data;
    reader->window_start = offset;
    reader->window_bytes = wanted;
    return true;
}

static td_status fetch_window(void *source, int64_t offset, int64_t bytes, const uint8_t **out) {
    td_tfrecord_reader *reader = source;
    int64_t from = offset - reader->window_start;
    if (from < 0 || from + bytes > reader->window_bytes) {
        if (map_window(reader, offset, bytes)) {
            *out = reader->window;
            return TD_OK;
        }
        int64_t window = reader->options.headers_only ? HEADER_WINDOW_BYTES : WINDOW_BYTES;
        int64_t wanted = bytes > window ? bytes : window;
        int64_t left = reader->file_bytes - offset;
        wanted = wanted < left ? wanted : left;
        /* What the window already holds of it moves to the front: reading it again would cost most
         * of a window when records are large. */
        int64_t kept = from >= 0 && from < reader->window_bytes ? reader->window_bytes - from : 0;
        if ((size_t)wanted <= reader->buffer.capacity) {
            memmove(reader->buffer.data, reader->buffer.data + from * (kept > 0), (size_t)kept);
        } else {
            kept = 0;
        }
        reader->window_bytes = 0;
        TD_TRY(td_buffer_reserve(&reader->buffer, (size_t)wanted));
        TD_TRY(read_fully(reader, offset + kept, wanted - kept, reader->buffer.data + kept));
        reader->window = reader->buffer.data;
        reader->window_start = offset;
        reader->window_bytes = wanted;
        from = 0;
    }
    *out = reader->window + from;
    return TD_OK;
}

typedef struct single_source {
    const td_tfrecord_reader *reader;
    td_buffer *buffer;
} single_source;

static td_status fetch_single(void *source, int64_t offset, int64_t bytes, const uint8_t **out) {
    single_source *single = source;
    TD_TRY(td_buffer_reserve(single->buffer, (size_t)bytes));
    TD_TRY(read_fully(single->reader, offset, bytes, single->buffer->data));
    *out = single->buffer->data;
    return TD_OK;
}

/* What one look at an offset found. */
typedef struct verdict {
    td_damage_kind kind;
    uint64_t length;
    int64_t left;           /* bytes of the file from the record's start */
    uint32_t stored, found; /* checksums, unmasked, where they differ */
    const uint8_t *data;
} verdict;

/* Judges the record at offset, which is inside the file. Nothing is fetched beyond the header
 * unless its checksum holds and the file has room for the length. */
static td_status judge(const td_tfrecord_reader *reader, int64_t offset, bool with_payload,
                       fetch_fn *fetch, void *source, verdict *out) {
    *out = (verdict){.left = reader->file_bytes - offset};
    if (out->left < TD_TFRECORD_HEADER_BYTES) {
        out->kind = TD_DAMAGE_CUT_HEADER;
        return TD_OK;
    }
    const uint8_t *header;
    TD_TRY(fetch(source, offset, TD_TFRECORD_HEADER_BYTES, &header));
    out->length = load_u64(header);
    out->stored = td_crc32c_unmask(load_u32(header + 8));
    out->found = td_crc32c(header, 8);
    if (out->stored != out->found) {
        out->kind = TD_DAMAGE_LENGTH_CRC;
        return TD_OK;
    }
    if (out->length > TD_TFRECORD_PAYLOAD_MAX) {
        out->kind = TD_DAMAGE_TOO_LARGE;
        return TD_OK;
    }
    if (out->left < TD_TFRECORD_FRAME_BYTES + (int64_t)out->length) {
        out->kind = TD_DAMAGE_CUT_DATA;
        return TD_OK;
    }
    if (with_payload) {
        const uint8_t *record;
        TD_TRY(fetch(source, offset, TD_TFRECORD_FRAME_BYTES + (int64_t)out->length, &record));
        out->data = record + TD_TFRECORD_HEADER_BYTES;
        out->stored = td_crc32c_unmask(load_u32(out->data + out->length));
        out->found = td_crc32c(out->data, out->length);
        if (out->stored != out->found) {
            out->kind = TD_DAMAGE_DATA_CRC;
        }
    }
    return TD_OK;
}

void td_tfrecord_describe(const td_tfrecord_facts *seen, char message[TD_TFRECORD_MESSAGE_BYTES]) {
    char reason[256] = "";
    switch (seen->kind) {
    case TD_DAMAGE_CUT_HEADER:
        snprintf(reason, sizeof reason, "the file ends %lld bytes into the 12-byte header",
                 (long long)seen->left);
        break;
    case TD_DAMAGE_LENGTH_CRC:
        snprintf(reason, sizeof reason, "checksum of the length is %08x, stored is %08x%s",
                 seen->found, seen->stored, seen->offset == 0 ? " (is this a TFRecord file?)" : "");
        break;
    case TD_DAMAGE_TOO_LARGE:
        snprintf(reason, sizeof reason, "a payload of %llu bytes, at most %d are accepted",
                 (unsigned long long)seen->length, TD_TFRECORD_PAYLOAD_MAX);
        break;
    case TD_DAMAGE_CUT_DATA:
        snprintf(reason, sizeof reason, "a payload of %llu bytes, the file holds %lld more",
                 (unsigned long long)seen->length,
                 (long long)(seen->left - TD_TFRECORD_HEADER_BYTES));
        break;
    case TD_DAMAGE_DATA_CRC:
        snprintf(reason, sizeof reason, "checksum of the payload is %08x, stored is %08x",
                 seen->found, seen->stored);
        break;
    case TD_DAMAGE_NONE:
    case TD_DAMAGE_STREAM: /* the stream's own message says more */
    case TD_DAMAGE_COUNT:
        break;
    }
    snprintf(message, TD_TFRECORD_MESSAGE_BYTES, "%.600s: record %lld at byte %lld: %s", seen->path,
             (long long)seen->number, (long long)seen->offset, reason);
}

static void describe(const td_tfrecord_reader *reader, int64_t offset, int64_t number,
                     const verdict *seen, char message[TD_TFRECORD_MESSAGE_BYTES]) {
    const td_tfrecord_facts facts = {reader->path, number,     offset,       seen->kind,
                                     seen->length, seen->left, seen->stored, seen->found};
    td_tfrecord_describe(&facts, message);
}

/* True when a whole record with good checksums starts at offset. Reading errors count as no. */
static td_status is_record(td_tfrecord_reader *reader, int64_t offset, bool *out) {
    verdict seen;
    TD_TRY(judge(reader, offset, false, fetch_window, reader, &seen));
    *out = false;
    if (seen.kind == TD_DAMAGE_NONE) {
        reader->search_bytes -= (int64_t)seen.length;
        if (reader->search_bytes >= 0) {
            TD_TRY(judge(reader, offset, true, fetch_window, reader, &seen));
            *out = seen.kind == TD_DAMAGE_NONE;
        }
    }
    return TD_OK;
}

/* The first offset behind a damaged record at `from` where reading can go on; the file's end when
 * there is none. */
static td_status resume_offset(td_tfrecord_reader *reader, int64_t from, const verdict *seen,
                               int64_t *out) {
    int64_t room = seen->left - TD_TFRECORD_FRAME_BYTES;
    if (seen->kind != TD_DAMAGE_CUT_HEADER && room >= 0 && seen->length <= (uint64_t)room) {
        /* The length is believed when it was checked, or when a record (or the file's end) follows
         * where it says: that keeps records inside this payload from being taken for records of the
         * file. */
        int64_t next = from + TD_TFRECORD_FRAME_BYTES + (int64_t)seen->length;
        bool believed = seen->kind == TD_DAMAGE_DATA_CRC || next == reader->file_bytes;
        if (!believed) {
            TD_TRY(is_record(reader, next, &believed));
        }
        if (believed) {
            *out = next;
            return TD_OK;
        }
    }
    int64_t last = reader->file_bytes - TD_TFRECORD_FRAME_BYTES;
    for (int64_t at = from + 1; at <= last && reader->search_bytes >= 0; at++) {
        bool found;
        TD_TRY(is_record(reader, at, &found));
        if (found) {
            *out = at;
            return TD_OK;
        }
    }
    *out = reader->file_bytes;
    return TD_OK;
}

/* What a mapping has behind the end of a file that became shorter are zeros: not damage. */
static td_status check_size(const td_tfrecord_reader *reader, int64_t offset) {
    struct stat info;
    return fstat(reader->fd, &info) == 0 && (int64_t)info.st_size >= reader->file_bytes
               ? TD_OK
               : td_fail(TD_EIO, "read %s at byte %lld: the file became shorter while it was read",
                         reader->path, (long long)offset);
}

/* A good record that lies in the window whole: the common case, without a call. */
static inline bool next_in_window(td_tfrecord_reader *reader, td_tfrecord *out) {
    int64_t from = reader->offset - reader->window_start;
    int64_t have = reader->window_bytes - from;
    if (from < 0 || have < TD_TFRECORD_FRAME_BYTES || reader->options.headers_only ||
        reader->offset >= reader->limit) {
        return false;
    }
    const uint8_t *at = reader->window + from;
    uint64_t length = load_u64(at);
    if (length > (uint64_t)(have - TD_TFRECORD_FRAME_BYTES) ||
        td_crc32c_mask(td_crc32c(at, 8)) != load_u32(at + 8)) {
        return false;
    }
    const uint8_t *data = at + TD_TFRECORD_HEADER_BYTES;
    if (td_crc32c_mask(td_crc32c(data, (size_t)length)) != load_u32(data + length) ||
        td_file_window_lost(&reader->map)) {
        return false;
    }
    *out = (td_tfrecord){data, (size_t)length, reader->offset, reader->number++};
    reader->offset += TD_TFRECORD_FRAME_BYTES + (int64_t)length;
    reader->stats.records++;
    reader->stats.payload_bytes += (int64_t)length;
    return true;
}

td_status td_tfrecord_next(td_tfrecord_reader *reader, td_tfrecord *out, bool *end) {
    if (next_in_window(reader, out)) {
        *end = false;
        return TD_OK;
    }
    while (reader->offset < reader->limit) {
        verdict seen;
        int64_t offset = reader->offset;
        TD_TRY(judge(reader, offset, !reader->options.headers_only, fetch_window, reader, &seen));
        if (seen.kind != TD_DAMAGE_NONE || td_file_window_lost(&reader->map)) {
            TD_TRY(check_size(reader, offset));
        }
        if (seen.kind == TD_DAMAGE_NONE) {
            *out = (td_tfrecord){seen.data, (size_t)seen.length, offset, reader->number};
            *end = false;
            reader->offset += TD_TFRECORD_FRAME_BYTES + (int64_t)seen.length;
            reader->number++;
            reader->stats.records++;
            reader->stats.payload_bytes += (int64_t)seen.length;
            return TD_OK;
        }
        char message[TD_TFRECORD_MESSAGE_BYTES];
        describe(reader, offset, reader->number, &seen, message);
        if (reader->options.policy == TD_TFRECORD_STRICT) {
            return td_fail(TD_EINPUT, "%s", message);
        }
        int64_t next;
        TD_TRY(resume_offset(reader, offset, &seen, &next));
        reader->stats.damaged++;
        reader->stats.lost_bytes += next - offset;
        if (reader->options.on_damage != NULL) {
            td_tfrecord_damage damage = {seen.kind, offset, reader->number, next - offset, message};
            reader->options.on_damage(reader->options.arg, &damage);
        }
        reader->offset = next;
        reader->number++;
    }
    if (reader->offset > reader->limit) {
        return td_fail(TD_EINPUT,
                       "%s: a record ends at byte %lld, the next range starts at byte %lld inside "
                       "it: its payload holds records; read the file from its start",
                       reader->path, (long long)reader->offset, (long long)reader->limit);
    }
    *end = true;
    return TD_OK;
}

/* A run of good records, or all until the file's end: what starts a range. One record alone may lie
 * in the payload of another. */
static td_status starts_run(td_tfrecord_reader *reader, int64_t at, bool *out) {
    enum { RUN = 4 };
    *out = true;
    for (int i = 0; i < RUN && *out && at < reader->file_bytes; i++) {
        verdict seen;
        TD_TRY(is_record(reader, at, out));
        if (*out) {
            TD_TRY(judge(reader, at, false, fetch_window, reader, &seen));
            at += TD_TFRECORD_FRAME_BYTES + (int64_t)seen.length;
        }
    }
    return TD_OK;
}

static td_status find_run(td_tfrecord_reader *reader, int64_t from, int64_t *out) {
    bool found = from <= 0;
    reader->search_bytes = 4 * reader->file_bytes;
    for (from = from < 0 ? 0 : from; !found && from < reader->file_bytes; from += !found) {
        TD_TRY(starts_run(reader, from, &found));
        if (!found && reader->search_bytes < 0) {
            return td_fail(TD_EINPUT, "%s: no record found behind byte %lld", reader->path,
                           (long long)from);
        }
    }
    *out = from < reader->file_bytes ? from : reader->file_bytes;
    return TD_OK;
}

td_status td_tfrecord_range(td_tfrecord_reader *reader, int64_t first, int64_t last) {
    int64_t start, limit;
    TD_TRY(find_run(reader, first, &start));
    TD_TRY(find_run(reader, last > first ? last : first, &limit));
    reader->search_bytes = 4 * reader->file_bytes;
    reader->offset = start;
    reader->limit = limit;
    reader->number = 0;
    return TD_OK;
}

td_status td_tfrecord_read_at(const td_tfrecord_reader *reader, int64_t offset, int64_t number,
                              td_buffer *buffer, td_tfrecord *out) {
    if (offset < 0 || offset >= reader->file_bytes) {
        return td_fail(TD_EINPUT, "%s: record %lld at byte %lld: the file has %lld bytes",
                       reader->path, (long long)number, (long long)offset,
                       (long long)reader->file_bytes);
    }
    verdict seen;
    single_source source = {reader, buffer};
    TD_TRY(judge(reader, offset, true, fetch_single, &source, &seen));
    if (seen.kind != TD_DAMAGE_NONE) {
        char message[TD_TFRECORD_MESSAGE_BYTES];
        describe(reader, offset, number, &seen, message);
        return td_fail(TD_EINPUT, "%s", message);
    }
    *out = (td_tfrecord){seen.data, (size_t)seen.length, offset, number};
    return TD_OK;
}
