/* SPDX-License-Identifier: Apache-2.0 */
#include "data/record_index.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/crc32c.h"
#include "data/record_file.h"

/* What a data file is known by. */
typedef struct identity {
    int64_t bytes, mtime_ns;
    uint32_t crc;
} identity;

static td_status look_at(const char *path, identity *out) {
    struct stat info;
    if (stat(path, &info) != 0) {
        return td_fail(TD_EIO, "open %s: %s", path, strerror(errno));
    }
    out->bytes = (int64_t)info.st_size;
    out->mtime_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    return TD_OK;
}

/* Of all bytes of a file. */
static td_status checksum_file(const char *path, uint32_t *out) {
    enum { STEP = 1 << 20 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *buffer = td_alloc(STEP);
    td_status status = TD_OK;
    uint32_t crc = 0;
    ssize_t got = 1;
    if (fd < 0) {
        status = td_fail(TD_EIO, "open %s: %s", path, strerror(errno));
    } else if (buffer == NULL) {
        status = td_fail(TD_ENOMEM, "no memory to read %s", path);
    }
    while (status == TD_OK && got != 0) {
        got = read(fd, buffer, STEP);
        if (got > 0) {
            crc = td_crc32c_combine(crc, td_crc32c(buffer, (size_t)got), (uint64_t)got);
        } else if (got < 0 && errno != EINTR) {
            status = td_fail(TD_EIO, "read %s: %s", path, strerror(errno));
        }
    }
    td_free(buffer);
    if (fd >= 0) {
        close(fd);
    }
    *out = crc;
    return status;
}

void td_record_index_destroy(td_record_index *index) {
    td_free(index->offsets);
    *index = (td_record_index){0};
}

/* The lines of both files. */
static td_status list_records(const char *path, td_text *lines, int64_t *records) {
    td_tfrecord_options options = {.policy = TD_TFRECORD_STRICT, .headers_only = true};
    td_tfrecord_reader *reader;
    TD_TRY(td_tfrecord_open(path, &options, &reader));
    td_tfrecord record;
    bool end = false;
    td_status status;
    *records = 0;
    td_text_puts(lines, "");
    while ((status = td_tfrecord_next(reader, &record, &end)) == TD_OK && !end) {
        td_text_printf(lines, "%lld %zu\n", (long long)record.offset,
                       record.size + TD_TFRECORD_FRAME_BYTES);
        (*records)++;
    }
    td_tfrecord_close(reader);
    return status == TD_OK ? td_text_status(lines) : status;
}

static td_status write_beside(const char *path, const char *ending, const td_text *text) {
    td_text target = {0};
    td_text_printf(&target, "%s%s", path, ending);
    td_status status = td_text_status(&target);
    if (status == TD_OK) {
        status = td_file_write(target.data, text->data, text->size);
    }
    td_text_destroy(&target);
    return status;
}

/* A compressed file is read from its start only: there are no places to point to. */
static td_status check_uncompressed(const char *path) {
    td_compression compression;
    TD_TRY(td_record_file_compression(path, &compression));
    return compression == TD_COMPRESSION_NONE
               ? TD_OK
               : td_fail(TD_EINPUT,
                         "%s is compressed (%s), and an index cannot point into it; write its "
                         "records uncompressed, `tandem data repair %s NEW-FILE`, and index those",
                         path, td_compression_option(compression), path);
}

td_status td_record_index_write(const char *path, int64_t *records) {
    identity before, after = {0};
    td_text lines = {0}, own = {0};
    TD_TRY(look_at(path, &before));
    TD_TRY(check_uncompressed(path));
    td_status status = list_records(path, &lines, records);
    if (status == TD_OK) {
        status = checksum_file(path, &before.crc);
    }
    if (status == TD_OK) {
        status = look_at(path, &after);
    }
    if (status == TD_OK && (after.bytes != before.bytes || after.mtime_ns != before.mtime_ns)) {
        status = td_fail(TD_EIO, "%s: it was written to while its index was made", path);
    }
    if (status == TD_OK) {
        td_text_printf(&own,
                       "tandem-index 1\nbytes %" PRId64 "\nmtime_ns %" PRId64 "\ncrc32c %08" PRIx32
                       "\nrecords %" PRId64 "\n",
                       before.bytes, before.mtime_ns, before.crc, *records);
        td_text_append(&own, lines.data, lines.size);
        status = td_text_status(&own);
    }
    if (status == TD_OK) {
        td_text_printf(&own, "end %08" PRIx32 "\n", td_crc32c(own.data, own.size));
        status = td_text_status(&own);
    }
    if (status == TD_OK) {
        status = write_beside(path, TD_INDEX_TEXT_ENDING, &lines);
    }
    if (status == TD_OK) {
        status = write_beside(path, TD_INDEX_ENDING, &own);
    }
    td_text_destroy(&lines);
    td_text_destroy(&own);
    return status;
}

/* An index that cannot be used, why, and the way out. */
static td_status unusable(const char *path, const char *ending, const char *why) {
    return td_fail(TD_EINPUT, "%.600s%s: %s; run `tandem data index %.600s` again, or remove it",
                   path, ending, why, path);
}

/* A decimal number and the character behind it. */
static bool take_number(const char **at, char behind, int64_t *out) {
    char *end;
    if (**at < '0' || **at > '9') {
        return false;
    }
    errno = 0;
    *out = strtoll(*at, &end, 10);
    bool good = errno == 0 && *end == behind;
    *at = end + (*end == behind && behind != '\0');
    return good;
}

/* "offset bytes" lines from `at` to `end`, which have to join and cover [0, file_bytes). */
static td_status take_records(const char *path, const char *ending, const char *at, const char *end,
                              int64_t file_bytes, td_record_index *out) {
    int64_t n = 0, next = 0;
    for (const char *c = at; c < end; c++) {
        n += *c == '\n';
    }
    td_record_index index = {td_alloc((size_t)(n + 1) * sizeof *index.offsets), 0};
    if (index.offsets == NULL) {
        return td_fail(TD_ENOMEM, "no memory for an index of %" PRId64 " records", n);
    }
    char why[160] = "";
    while (at < end && why[0] == '\0') {
        int64_t offset, bytes;
        if (!take_number(&at, ' ', &offset) || !take_number(&at, '\n', &bytes) ||
            index.count == n) {
            snprintf(why, sizeof why, "record %" PRId64 ": expected \"offset bytes\"", index.count);
        } else if (offset != next || bytes < TD_TFRECORD_FRAME_BYTES ||
                   bytes > file_bytes - offset) {
            snprintf(why, sizeof why,
                     "record %" PRId64 " at byte %" PRId64 " with %" PRId64
                     " bytes, the one before ends at %" PRId64 " and the file at %" PRId64,
                     index.count, offset, bytes, next, file_bytes);
        } else {
            index.offsets[index.count++] = offset;
            next = offset + bytes;
        }
    }
    if (why[0] == '\0' && next != file_bytes) {
        snprintf(why, sizeof why,
                 "it is stale: its records end at byte %" PRId64 ", the file has %" PRId64, next,
                 file_bytes);
    }
    if (why[0] != '\0') {
        td_record_index_destroy(&index);
        return unusable(path, ending, why);
    }
    *out = index;
    return TD_OK;
}

/* The head of FILE.index; *at is left behind it. */
static bool take_head(const char **at, identity *out, int64_t *records) {
    unsigned int crc;
    int used = 0;
    if (sscanf(*at,
               "tandem-index 1\nbytes %" SCNd64 "\nmtime_ns %" SCNd64
               "\ncrc32c %8x\nrecords %" SCNd64 "%n",
               &out->bytes, &out->mtime_ns, &crc, records, &used) != 4 ||
        used == 0 || (*at)[used] != '\n') {
        return false;
    }
    out->crc = crc;
    *at += used + 1;
    return true;
}

/* Size and time, and where the time alone differs the checksum. */
static td_status check_identity(const char *path, const identity *said) {
    identity is = {0};
    char why[160] = "";
    TD_TRY(look_at(path, &is));
    if (is.bytes != said->bytes) {
        snprintf(why, sizeof why, "it is stale: made of %" PRId64 " bytes, the file has %" PRId64,
                 said->bytes, is.bytes);
    } else if (is.mtime_ns != said->mtime_ns) {
        TD_TRY(checksum_file(path, &is.crc));
        if (is.crc != said->crc) {
            snprintf(why, sizeof why,
                     "it is stale: the file was changed, its checksum is %08" PRIx32
                     " instead of %08" PRIx32,
                     is.crc, said->crc);
        }
    }
    return why[0] == '\0' ? TD_OK : unusable(path, TD_INDEX_ENDING, why);
}

static td_status read_own(const char *path, const char *text, size_t size, td_record_index *out) {
    enum { TAIL = sizeof "end 00000000\n" - 1 };
    const char *at = text, *tail = size < TAIL ? text : text + size - TAIL;
    unsigned int crc;
    identity said;
    int64_t records;
    if (size < TAIL || sscanf(tail, "end %8x\n", &crc) != 1 ||
        crc != td_crc32c(text, (size_t)(tail - text))) {
        return unusable(path, TD_INDEX_ENDING, "it is cut or damaged");
    }
    if (!take_head(&at, &said, &records)) {
        return unusable(path, TD_INDEX_ENDING, "expected \"tandem-index 1\" and what the file is");
    }
    TD_TRY(check_identity(path, &said));
    TD_TRY(take_records(path, TD_INDEX_ENDING, at, tail, said.bytes, out));
    if (out->count != records) {
        td_record_index_destroy(out);
        return unusable(path, TD_INDEX_ENDING, "it has not as many records as it says");
    }
    return TD_OK;
}

td_status td_record_index_read(const char *path, td_record_index *out, bool *found) {
    static const char *const endings[] = {TD_INDEX_ENDING, TD_INDEX_TEXT_ENDING};
    *found = false;
    for (int i = 0; i < 2 && !*found; i++) {
        td_text name = {0};
        char *text = NULL;
        size_t size = 0;
        td_text_printf(&name, "%s%s", path, endings[i]);
        td_status status = td_text_status(&name);
        *found = status == TD_OK && access(name.data, F_OK) == 0;
        if (*found) {
            status = td_file_read(name.data, &text, &size);
        }
        td_text_destroy(&name);
        TD_TRY(status);
        if (*found && i == 0) {
            status = read_own(path, text, size, out);
        } else if (*found) {
            identity is = {0};
            status = look_at(path, &is);
            if (status == TD_OK) {
                status = take_records(path, endings[i], text, text + size, is.bytes, out);
            }
        }
        td_free(text);
        TD_TRY(status);
    }
    return TD_OK;
}
