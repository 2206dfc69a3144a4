/* SPDX-License-Identifier: Apache-2.0 */
#include "data/byte_sink.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "base/memory.h"

enum { OUT_BYTES = 256 << 10, SNAPPY_BLOCK = 256 << 10 };

struct td_byte_sink {
    FILE *stream;
    const char *path;
    td_compression compression;
    char *out, *block; /* block: what a snappy block is filled with */
    size_t out_bytes, block_used;
    z_stream zlib;
    bool zlib_open;
    ZSTD_CStream *zstd;
};

/* How far a call goes: what was given, all that can be read back, the end. */
typedef enum reach { REACH_MORE, REACH_FLUSH, REACH_END } reach;

static td_status put(td_byte_sink *sink, size_t bytes) {
    return fwrite(sink->out, 1, bytes, sink->stream) == bytes
               ? TD_OK
               : td_fail(TD_EIO, "write %s: %s", sink->path, strerror(errno));
}

static td_status deflate_some(td_byte_sink *sink, const void *data, size_t size, reach how) {
    static const int modes[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};
    z_stream *z = &sink->zlib;
    const Bytef *from = data;
    do {
        uInt part = size < (1u << 30) ? (uInt)size : 1u << 30; /* avail_in has 32 bits */
        z->next_in = (Bytef *)(uintptr_t)from;
        z->avail_in = part;
        from += part;
        size -= part;
        do {
            z->next_out = (Bytef *)sink->out;
            z->avail_out = (uInt)sink->out_bytes;
            int result = deflate(z, size > 0 ? Z_NO_FLUSH : modes[how]);
            if (result == Z_STREAM_ERROR) {
                return td_fail(TD_EIO, "write %s: deflate failed", sink->path);
            }
            TD_TRY(put(sink, sink->out_bytes - z->avail_out));
        } while (z->avail_out == 0);
    } while (size > 0);
    return TD_OK;
}

static td_status zstd_some(td_byte_sink *sink, const void *data, size_t size, reach how) {
    static const ZSTD_EndDirective modes[] = {ZSTD_e_continue, ZSTD_e_flush, ZSTD_e_end};
    ZSTD_inBuffer in = {data, size, 0};
    size_t left;
    do {
        ZSTD_outBuffer out = {sink->out, sink->out_bytes, 0};
        left = ZSTD_compressStream2(sink->zstd, &out, &in, modes[how]);
        if (ZSTD_isError(left)) {
            return td_fail(TD_EIO, "write %s: zstd: %s", sink->path, ZSTD_getErrorName(left));
        }
        TD_TRY(put(sink, out.pos));
    } while (how == REACH_MORE ? in.pos < in.size : left > 0);
    return TD_OK;
}

/* One block: its length, big-endian, and its bytes. */
static td_status snappy_block(td_byte_sink *sink) {
    size_t bytes = sink->out_bytes - 4;
    if (snappy_compress(sink->block, sink->block_used, sink->out + 4, &bytes) != SNAPPY_OK) {
        return td_fail(TD_EIO, "write %s: snappy failed", sink->path);
    }
    for (int i = 0; i < 4; i++) {
        sink->out[i] = (char)(bytes >> (24 - 8 * i));
    }
    sink->block_used = 0;
    return put(sink, bytes + 4);
}

static td_status snappy_some(td_byte_sink *sink, const void *data, size_t size, reach how) {
    const char *from = data;
    while (size > 0) {
        size_t room = SNAPPY_BLOCK - sink->block_used, part = size < room ? size : room;
        memcpy(sink->block + sink->block_used, from, part);
        sink->block_used += part;
        from += part;
        size -= part;
        if (sink->block_used == SNAPPY_BLOCK) {
            TD_TRY(snappy_block(sink));
        }
    }
    return how != REACH_MORE && sink->block_used > 0 ? snappy_block(sink) : TD_OK;
}

static td_status some(td_byte_sink *sink, const void *data, size_t size, reach how) {
    switch (sink->compression) {
    case TD_COMPRESSION_GZIP:
    case TD_COMPRESSION_ZLIB:
        return deflate_some(sink, data, size, how);
    case TD_COMPRESSION_ZSTD:
        return zstd_some(sink, data, size, how);
    case TD_COMPRESSION_SNAPPY:
        return snappy_some(sink, data, size, how);
    case TD_COMPRESSION_NONE:
    case TD_COMPRESSION_COUNT:
        break;
    }
    return fwrite(data, 1, size, sink->stream) == size
               ? TD_OK
               : td_fail(TD_EIO, "write %s: %s", sink->path, strerror(errno));
}

td_status td_byte_sink_write(td_byte_sink *sink, const void *data, size_t size) {
    return size > 0 ? some(sink, data, size, REACH_MORE) : TD_OK;
}

td_status td_byte_sink_flush(td_byte_sink *sink) {
    return some(sink, "", 0, REACH_FLUSH);
}

td_status td_byte_sink_finish(td_byte_sink *sink) {
    return some(sink, "", 0, REACH_END);
}

static bool start(td_byte_sink *sink) {
    sink->out_bytes = OUT_BYTES;
    if (sink->compression == TD_COMPRESSION_SNAPPY) {
        sink->out_bytes = 4 + snappy_max_compressed_length(SNAPPY_BLOCK);
        sink->block = td_alloc(SNAPPY_BLOCK);
        if (sink->block == NULL) {
            return false;
        }
    } else if (sink->compression == TD_COMPRESSION_ZSTD) {
        sink->zstd = ZSTD_createCStream();
        if (sink->zstd == NULL ||
            ZSTD_isError(ZSTD_CCtx_setParameter(sink->zstd, ZSTD_c_checksumFlag, 1))) {
            return false;
        }
    } else if (sink->compression != TD_COMPRESSION_NONE) {
        int window = sink->compression == TD_COMPRESSION_GZIP ? 15 + 16 : 15;
        sink->zlib_open = deflateInit2(&sink->zlib, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window, 9,
                                       Z_DEFAULT_STRATEGY) == Z_OK;
        if (!sink->zlib_open) {
            return false;
        }
    }
    sink->out = td_alloc(sink->out_bytes);
    return sink->out != NULL;
}

td_status td_byte_sink_open(FILE *stream, const char *path, td_compression compression,
                            td_byte_sink **out) {
    td_byte_sink *sink = td_alloc_zero(sizeof *sink);
    if (sink != NULL) {
        sink->stream = stream;
        sink->path = path;
        sink->compression = compression;
    }
    if (sink == NULL || !start(sink)) {
        td_byte_sink_close(sink);
        return td_fail(TD_ENOMEM, "no memory to compress %s", path);
    }
    *out = sink;
    return TD_OK;
}

void td_byte_sink_close(td_byte_sink *sink) {
    if (sink != NULL) {
        if (sink->zlib_open) {
            deflateEnd(&sink->zlib);
        }
        ZSTD_freeCStream(sink->zstd);
        td_free(sink->out);
        td_free(sink->block);
        td_free(sink);
    }
}
