/* SPDX-License-Identifier: Apache-2.0 */
#include "data/byte_stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "base/memory.h"
#include "data/tf_error.h"

enum { BUFFER_BYTES = 256 << 10 }; /* TensorFlow's; what an error takes with it depends on it */
/* A snappy block says how large it is; TensorFlow writes 256 KiB at a time. */
enum { SNAPPY_BLOCK_MAX = 64 << 20 };

struct td_byte_stream {
    int fd; /* -1: memory */
    td_span memory;
    char *name;
    td_compression compression;
    td_stream_compat compat;
    uint8_t *in, *out; /* buffers; out holds what is uncompressed and not yet asked for */
    size_t in_at, in_end, out_at, out_end, out_capacity;
    bool in_over;     /* the source has no more */
    bool over;        /* nor has the stream */
    bool inside;      /* in the middle of a member or frame */
    bool pending;     /* the output was full: there may be more without new input */
    td_status failed; /* reported once what came before it was given */
    td_tf_class failed_class;
    char message[512];
    z_stream zlib;
    ZSTD_DStream *zstd;
};

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void fail_stream(td_byte_stream *stream, td_tf_class class, const char *what) {
    stream->failed_class = class;
    stream->failed = TD_EINPUT;
    if (stream->compat == TD_STREAM_TENSORFLOW) {
        snprintf(stream->message, sizeof stream->message, "%s", what);
    } else {
        snprintf(stream->message, sizeof stream->message, "%s: %s", stream->name, what);
    }
}

/* More input, behind what is there. */
static void fill_in(td_byte_stream *stream) {
    if (stream->in_at == stream->in_end) {
        stream->in_at = stream->in_end = 0;
    } else if (stream->in_at > 0) {
        memmove(stream->in, stream->in + stream->in_at, stream->in_end - stream->in_at);
        stream->in_end -= stream->in_at;
        stream->in_at = 0;
    }
    size_t room = BUFFER_BYTES - stream->in_end;
    if (stream->fd < 0) {
        size_t n = stream->memory.size < room ? stream->memory.size : room;
        if (n > 0) {
            memcpy(stream->in + stream->in_end, stream->memory.data, n);
        }
        stream->memory.data += n;
        stream->memory.size -= n;
        stream->in_end += n;
        stream->in_over = stream->memory.size == 0;
        return;
    }
    ssize_t got;
    do {
        got = read(stream->fd, stream->in + stream->in_end, room);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        fail_stream(stream, TD_TF_DATA_LOSS, strerror(errno));
        stream->failed = TD_EIO;
    }
    stream->in_over = got <= 0;
    stream->in_end += got > 0 ? (size_t)got : 0;
}

/* Where a stream may end: between members and frames. TensorFlow does not ask where it was. */
static void end_stream(td_byte_stream *stream, const char *what) {
    stream->over = true;
    if (stream->inside && stream->compat == TD_STREAM_STRICT) {
        fail_stream(stream, TD_TF_DATA_LOSS, what);
    }
}

static void inflate_more(td_byte_stream *stream) {
    z_stream *z = &stream->zlib;
    bool gzip = stream->compression == TD_COMPRESSION_GZIP;
    z->next_in = stream->in + stream->in_at;
    z->avail_in = (uInt)(stream->in_end - stream->in_at);
    z->next_out = stream->out;
    z->avail_out = BUFFER_BYTES;
    stream->inside = true;
    int result = inflate(z, Z_NO_FLUSH);
    stream->in_at = stream->in_end - z->avail_in;
    stream->out_end = BUFFER_BYTES - z->avail_out;
    stream->pending = z->avail_out == 0 && result != Z_STREAM_END;
    if (result == Z_STREAM_END) {
        stream->inside = false;
        if (gzip) {
            inflateReset(z);
        } else if (stream->compat == TD_STREAM_STRICT && stream->in_at < stream->in_end) {
            fail_stream(stream, TD_TF_DATA_LOSS, "bytes behind the end of the zlib stream");
        } else {
            stream->over = true;
        }
        return;
    }
    if (result != Z_OK && result != Z_BUF_ERROR) {
        char what[200];
        snprintf(what, sizeof what, "inflate() failed with error %d: %s", result,
                 z->msg == NULL ? "out of memory" : z->msg);
        fail_stream(stream, TD_TF_DATA_LOSS, what);
        if (stream->compat == TD_STREAM_TENSORFLOW) {
            stream->out_end = 0;
        }
    }
}

static void zstd_more(td_byte_stream *stream) {
    ZSTD_inBuffer in = {stream->in, stream->in_end, stream->in_at};
    ZSTD_outBuffer out = {stream->out, BUFFER_BYTES, 0};
    size_t left = ZSTD_decompressStream(stream->zstd, &out, &in);
    stream->in_at = in.pos;
    stream->out_end = out.pos;
    stream->inside = left != 0;
    stream->pending = out.pos == BUFFER_BYTES && left != 0;
    if (ZSTD_isError(left)) {
        char what[200];
        snprintf(what, sizeof what, "zstd: %s", ZSTD_getErrorName(left));
        fail_stream(stream, TD_TF_DATA_LOSS, what);
    }
}

static bool grow_buffer(uint8_t **buffer, size_t *capacity, size_t wanted) {
    if (wanted > *capacity) {
        uint8_t *moved = td_realloc(*buffer, wanted);
        if (moved == NULL) {
            return false;
        }
        *buffer = moved;
        *capacity = wanted;
    }
    return true;
}

/* One block: its length, then its bytes. A block larger than the buffer is more than TensorFlow
 * writes or reads. */
static void snappy_more(td_byte_stream *stream) {
    while (stream->in_end - stream->in_at < 4 && !stream->in_over) {
        fill_in(stream);
    }
    size_t have = stream->in_end - stream->in_at;
    if (have < 4) {
        stream->inside = have > 0;
        end_stream(stream, "the file ends inside the length of a snappy block");
        return;
    }
    size_t block = big_endian(stream->in + stream->in_at);
    while (block <= BUFFER_BYTES - 4 && stream->in_end - stream->in_at < 4 + block &&
           !stream->in_over) {
        fill_in(stream);
    }
    size_t bytes;
    const char *data = (const char *)stream->in + stream->in_at + 4;
    if (block > BUFFER_BYTES - 4 || stream->in_end - stream->in_at < 4 + block) {
        char what[120];
        snprintf(what, sizeof what, "Failed to read %zu bytes from file. Possible data corruption.",
                 block);
        fail_stream(stream, TD_TF_DATA_LOSS, what);
    } else if (snappy_uncompressed_length(data, block, &bytes) == SNAPPY_OK &&
               bytes > BUFFER_BYTES && stream->compat == TD_STREAM_TENSORFLOW) {
        char what[120];
        snprintf(what, sizeof what,
                 "Output buffer(size: %d bytes) too small. Should be larger than %zu bytes.",
                 BUFFER_BYTES, bytes);
        fail_stream(stream, TD_TF_RESOURCE_EXHAUSTED, what);
    } else if (snappy_uncompressed_length(data, block, &bytes) != SNAPPY_OK ||
               bytes > SNAPPY_BLOCK_MAX ||
               !grow_buffer(&stream->out, &stream->out_capacity, bytes) ||
               snappy_uncompress(data, block, (char *)stream->out, &bytes) != SNAPPY_OK) {
        fail_stream(stream, TD_TF_DATA_LOSS, "a snappy block cannot be uncompressed");
    } else {
        stream->in_at += 4 + block;
        stream->out_end = bytes;
    }
}

/* TensorFlow asks its file for more whenever nothing came out, and takes a file that has no more
 * for the end of the stream, whatever is left of what it fetched before. */
static void fetch_like_tensorflow(td_byte_stream *stream) {
    size_t had = stream->in_end - stream->in_at;
    fill_in(stream);
    stream->over = stream->over || stream->in_end - stream->in_at == had;
}

/* Something to give, the end, or a failure. */
static void more(td_byte_stream *stream) {
    stream->out_at = stream->out_end = 0;
    while (stream->out_end == 0 && !stream->over && stream->failed == TD_OK) {
        if (stream->compression == TD_COMPRESSION_SNAPPY) {
            snappy_more(stream);
            continue;
        }
        if (stream->in_at == stream->in_end && !stream->pending) {
            fill_in(stream);
            if (stream->failed != TD_OK) {
                return;
            }
            if (stream->in_at == stream->in_end) {
                end_stream(stream, "the compressed stream is cut");
                return;
            }
        }
        if (stream->compression == TD_COMPRESSION_ZSTD) {
            zstd_more(stream);
        } else {
            inflate_more(stream);
            if (stream->compat == TD_STREAM_TENSORFLOW && stream->out_end == 0 && !stream->over &&
                stream->failed == TD_OK) {
                fetch_like_tensorflow(stream);
            }
        }
    }
}

/* Uncompressed input goes to the caller's memory without a stop when there is much of it. */
static td_status read_plain(td_byte_stream *stream, uint8_t *to, size_t n, size_t *got) {
    *got = 0;
    while (*got < n) {
        if (stream->in_at == stream->in_end) {
            if (!stream->in_over) {
                fill_in(stream);
                continue;
            }
            return stream->failed == TD_OK ? TD_OK : td_fail(stream->failed, "%s", stream->message);
        }
        size_t have = stream->in_end - stream->in_at, wanted = n - *got;
        size_t part = have < wanted ? have : wanted;
        memcpy(to + *got, stream->in + stream->in_at, part);
        stream->in_at += part;
        *got += part;
    }
    return TD_OK;
}

td_status td_byte_stream_read(td_byte_stream *stream, void *to, size_t n, size_t *got) {
    if (stream->compression == TD_COMPRESSION_NONE) {
        return read_plain(stream, to, n, got);
    }
    *got = 0;
    while (*got < n) {
        if (stream->out_at == stream->out_end) {
            if (stream->failed == TD_OK && !stream->over) {
                more(stream);
            }
            if (stream->out_at == stream->out_end) {
                break;
            }
        }
        size_t have = stream->out_end - stream->out_at, wanted = n - *got;
        size_t part = have < wanted ? have : wanted;
        memcpy((uint8_t *)to + *got, stream->out + stream->out_at, part);
        stream->out_at += part;
        *got += part;
    }
    if (*got < n && stream->failed != TD_OK) {
        td_tf_refail(stream->failed_class, stream->message);
        return stream->failed;
    }
    return TD_OK;
}

static td_status start(td_byte_stream *stream, const char *name) {
    stream->name = td_strdup(name);
    stream->in = td_alloc(BUFFER_BYTES);
    stream->out = td_alloc(BUFFER_BYTES);
    stream->out_capacity = BUFFER_BYTES;
    bool ok = stream->name != NULL && stream->in != NULL && stream->out != NULL;
    if (ok && stream->compression == TD_COMPRESSION_COUNT) {
        while (stream->in_end < TD_DETECT_BYTES && !stream->in_over) {
            fill_in(stream);
        }
        stream->compression = td_compression_detect(stream->in, stream->in_end);
    }
    if (stream->compression == TD_COMPRESSION_ZSTD) {
        stream->zstd = ZSTD_createDStream();
        ok = ok && stream->zstd != NULL;
    } else if (stream->compression == TD_COMPRESSION_GZIP ||
               stream->compression == TD_COMPRESSION_ZLIB) {
        ok = inflateInit2(&stream->zlib,
                          stream->compression == TD_COMPRESSION_GZIP ? 15 + 16 : 15) == Z_OK &&
             ok;
    }
    return ok ? TD_OK : td_tf_no_memory("reading a file");
}

static td_status open_stream(td_byte_stream model, const char *name, td_byte_stream **out) {
    td_byte_stream *stream = td_alloc_zero(sizeof *stream);
    if (stream == NULL) {
        return td_tf_no_memory("reading a file");
    }
    *stream = model;
    td_status status = start(stream, name);
    if (status != TD_OK) {
        td_byte_stream_close(stream);
        return status;
    }
    *out = stream;
    return TD_OK;
}

td_status td_byte_stream_open(int fd, const char *name, td_compression compression,
                              td_stream_compat compat, td_byte_stream **out) {
    return open_stream((td_byte_stream){.fd = fd, .compression = compression, .compat = compat},
                       name, out);
}

td_status td_byte_stream_open_memory(td_span data, const char *name, td_compression compression,
                                     td_stream_compat compat, td_byte_stream **out) {
    return open_stream(
        (td_byte_stream){.fd = -1, .memory = data, .compression = compression, .compat = compat},
        name, out);
}

td_compression td_byte_stream_compression(const td_byte_stream *stream) {
    return stream->compression;
}

void td_byte_stream_close(td_byte_stream *stream) {
    if (stream == NULL) {
        return;
    }
    if (stream->compression == TD_COMPRESSION_GZIP || stream->compression == TD_COMPRESSION_ZLIB) {
        inflateEnd(&stream->zlib);
    }
    ZSTD_freeDStream(stream->zstd);
    td_free(stream->name);
    td_free(stream->in);
    td_free(stream->out);
    td_free(stream);
}
