/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/byte_sink.h"
#include "data/crc32c.h"
#include "data/record_file.h"
#include "data/tf_error.h"
#include "data/tfrecord.h"

static void store_u32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

td_tfrecord_frame td_tfrecord_frame_of(const void *data, size_t size) {
    td_tfrecord_frame frame;
    store_u32(frame.header, (uint32_t)size);
    store_u32(frame.header + 4, (uint32_t)((uint64_t)size >> 32));
    store_u32(frame.header + 8, td_crc32c_mask(td_crc32c(frame.header, 8)));
    store_u32(frame.footer, td_crc32c_mask(td_crc32c(data, size)));
    return frame;
}

td_status td_tfrecord_create(const char *path, td_tfrecord_writer *out) {
    return td_tfrecord_create_compressed(path, TD_COMPRESSION_NONE, out);
}

td_status td_tfrecord_create_compressed(const char *path, td_compression compression,
                                        td_tfrecord_writer *out) {
    td_tfrecord_writer writer = {.lock = -1};
    TD_TRY(td_atomic_open(path, &writer.file));
    if (compression != TD_COMPRESSION_NONE) {
        td_status status =
            td_byte_sink_open(writer.file.stream, writer.file.path, compression, &writer.sink);
        if (status != TD_OK) {
            td_atomic_abort(&writer.file);
            return status;
        }
    }
    *out = writer;
    return TD_OK;
}

/* Every frame, so that nothing is ever added behind a torn tail. */
static td_status check_frames(const char *path) {
    td_compression compression;
    TD_TRY(td_record_file_compression(path, &compression));
    if (compression != TD_COMPRESSION_NONE) {
        return td_fail(TD_EINPUT, "%s: %s; records are added to uncompressed files only", path,
                       td_compression_option(compression));
    }
    td_tfrecord_options options = {.policy = TD_TFRECORD_STRICT, .headers_only = true};
    td_tfrecord_reader *reader;
    TD_TRY(td_tfrecord_open(path, &options, &reader));
    td_tfrecord record;
    bool end = false;
    td_status status = TD_OK;
    while (status == TD_OK && !end) {
        status = td_tfrecord_next(reader, &record, &end);
    }
    td_tfrecord_close(reader);
    return status;
}

/* The lock is on the file that stands under the name: one that was replaced while this waited is
 * not it any more. */
static td_status lock_file(const char *path, int *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return td_fail(TD_EIO, "open %s: %s", path, strerror(errno));
    }
    struct stat held, named;
    bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!locked || fstat(fd, &held) != 0 || stat(path, &named) != 0 ||
        held.st_ino != named.st_ino || held.st_dev != named.st_dev) {
        close(fd);
        return td_fail(TD_EIO, "%s: another writer adds to it", path);
    }
    *out = fd;
    return TD_OK;
}

/* In the kernel, and without a copy where the file system shares extents. */
static td_status copy_file(const char *path, int from, int to) {
    struct stat info;
    if (fstat(from, &info) != 0 || fchmod(to, info.st_mode & 07777) != 0) {
        return td_fail(TD_EIO, "copy %s: %s", path, strerror(errno));
    }
    for (int64_t left = (int64_t)info.st_size; left > 0;) {
        ssize_t done = copy_file_range(from, NULL, to, NULL, (size_t)left, 0);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return td_fail(TD_EIO, "copy %s: %s", path,
                           done < 0 ? strerror(errno) : "the file became shorter");
        }
        left -= done;
    }
    return TD_OK;
}

td_status td_tfrecord_extend(const char *path, td_tfrecord_writer *out) {
    td_tfrecord_writer writer = {.lock = -1};
    TD_TRY(lock_file(path, &writer.lock));
    td_status status = check_frames(path);
    if (status == TD_OK) {
        status = td_atomic_open(path, &writer.file);
    }
    if (status == TD_OK) {
        status = copy_file(path, writer.lock, fileno(writer.file.stream));
        if (status == TD_OK && fseek(writer.file.stream, 0, SEEK_END) != 0) {
            status = td_fail(TD_EIO, "write %s: %s", path, strerror(errno));
        }
    }
    if (status != TD_OK) {
        td_tfrecord_abort(&writer);
        return status;
    }
    *out = writer;
    return TD_OK;
}

static td_status check_open(const td_tfrecord_writer *writer) {
    return writer->file.stream != NULL ? TD_OK
                                       : td_tf_fail(TD_TF_FAILED_PRECONDITION, "Writer is closed.");
}

static td_status put(td_tfrecord_writer *writer, const void *data, size_t size) {
    if (writer->sink != NULL) {
        return td_byte_sink_write(writer->sink, data, size);
    }
    return fwrite(data, 1, size, writer->file.stream) == size
               ? TD_OK
               : td_fail(TD_EIO, "write %s: %s", writer->file.path, strerror(errno));
}

td_status td_tfrecord_append(td_tfrecord_writer *writer, const void *data, size_t size) {
    TD_TRY(check_open(writer));
    if (size > TD_TFRECORD_PAYLOAD_MAX) {
        return td_fail(
            TD_EINPUT, "%s: record %lld: a payload of %zu bytes, at most %d are accepted",
            writer->file.path, (long long)writer->records, size, TD_TFRECORD_PAYLOAD_MAX);
    }
    td_tfrecord_frame frame = td_tfrecord_frame_of(data, size);
    TD_TRY(put(writer, frame.header, sizeof frame.header));
    TD_TRY(put(writer, data, size));
    TD_TRY(put(writer, frame.footer, sizeof frame.footer));
    writer->records++;
    writer->bytes += TD_TFRECORD_FRAME_BYTES + (int64_t)size;
    return TD_OK;
}

td_status td_tfrecord_flush(td_tfrecord_writer *writer) {
    TD_TRY(check_open(writer));
    if (writer->sink != NULL) {
        TD_TRY(td_byte_sink_flush(writer->sink));
    }
    return fflush(writer->file.stream) == 0
               ? TD_OK
               : td_fail(TD_EIO, "write %s: %s", writer->file.path, strerror(errno));
}

static void let_go(td_tfrecord_writer *writer) {
    td_byte_sink_close(writer->sink);
    writer->sink = NULL;
    if (writer->file.stream == NULL && writer->lock > 0) {
        close(writer->lock); /* the name is the new file's, or nothing happened to it */
        writer->lock = -1;
    }
}

td_status td_tfrecord_commit(td_tfrecord_writer *writer) {
    if (writer->file.stream == NULL) {
        return TD_OK;
    }
    td_status status = writer->sink != NULL ? td_byte_sink_finish(writer->sink) : TD_OK;
    if (status != TD_OK) {
        td_tfrecord_abort(writer);
        return status;
    }
    status = td_atomic_commit(&writer->file);
    let_go(writer);
    return status;
}

void td_tfrecord_abort(td_tfrecord_writer *writer) {
    td_atomic_abort(&writer->file);
    let_go(writer);
}
