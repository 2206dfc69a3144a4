/* SPDX-License-Identifier: Apache-2.0 */
#include "data/record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/byte_stream.h"

struct td_record_file {
    td_tfrecord_reader *reader; /* one of the two */
    td_record_stream *stream;
};

td_status td_record_file_compression(const char *path, td_compression *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return td_fail(TD_EIO, "open %s: %s", path, strerror(errno));
    }
    struct stat info;
    uint8_t first[TD_DETECT_BYTES];
    bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    size_t have = 0;
    ssize_t got = regular ? 1 : 0;
    while (got != 0 && have < sizeof first) {
        got = pread(fd, first + have, sizeof first - have, (off_t)have);
        if (got < 0 && errno != EINTR) {
            break;
        }
        have += got > 0 ? (size_t)got : 0;
    }
    int wrong = errno;
    close(fd);
    if (!regular || got < 0) {
        return td_fail(TD_EIO, "open %s: %s", path,
                       regular ? strerror(wrong) : "not a regular file");
    }
    *out = td_compression_detect(first, have);
    return TD_OK;
}

/* TD_COMPRESSION_COUNT: a pipe or the like, whose first bytes can be looked at only once. */
static td_status find_way(const char *path, td_compression *out) {
    struct stat info;
    if (strcmp(path, "-") == 0 || (stat(path, &info) == 0 && !S_ISREG(info.st_mode))) {
        *out = TD_COMPRESSION_COUNT;
        return TD_OK;
    }
    return td_record_file_compression(path, out);
}

td_status td_record_file_open(const char *path, const td_tfrecord_options *options,
                              td_record_file **out) {
    td_compression compression;
    TD_TRY(find_way(path, &compression));
    td_record_file *file = td_alloc_zero(sizeof *file);
    if (file == NULL) {
        return td_fail(TD_ENOMEM, "no memory to read %s", path);
    }
    td_status status;
    if (compression != TD_COMPRESSION_NONE) {
        status = td_record_stream_open(path, compression, TD_STREAM_STRICT, &file->stream);
        if (status == TD_OK && options->policy == TD_TFRECORD_SKIP) {
            td_record_stream_skip(file->stream, options->on_damage, options->arg);
        }
    } else {
        status = td_tfrecord_open(path, options, &file->reader);
    }
    if (status != TD_OK) {
        td_free(file);
        return status;
    }
    *out = file;
    return TD_OK;
}

void td_record_file_close(td_record_file *file) {
    if (file != NULL) {
        td_tfrecord_close(file->reader);
        td_record_stream_close(file->stream);
        td_free(file);
    }
}

td_status td_record_file_next(td_record_file *file, td_tfrecord *out, bool *end) {
    if (file->reader != NULL) {
        return td_tfrecord_next(file->reader, out, end);
    }
    td_span record;
    TD_TRY(td_record_stream_next(file->stream, &record, end));
    if (!*end) {
        *out = (td_tfrecord){record.data, record.size, td_record_stream_offset(file->stream),
                             td_record_stream_number(file->stream)};
    }
    return TD_OK;
}

td_tfrecord_stats td_record_file_get_stats(const td_record_file *file) {
    return file->reader != NULL ? td_tfrecord_get_stats(file->reader)
                                : td_record_stream_get_stats(file->stream);
}
