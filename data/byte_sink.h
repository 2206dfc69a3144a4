/* SPDX-License-Identifier: Apache-2.0
 * Bytes compressed on their way into a file: the writing side of td_byte_stream.
 */
#ifndef TD_DATA_BYTE_SINK_H
#define TD_DATA_BYTE_SINK_H

#include <stdio.h>

#include "base/status.h"
#include "data/compression.h"

typedef struct td_byte_sink td_byte_sink;

/* stream and path (for messages) are borrowed until close. gzip and zlib as TensorFlow writes them
 * (default level, memory level 9), zstd at its default level with a checksum, snappy in blocks of
 * 256 KiB. */
td_status td_byte_sink_open(FILE *stream, const char *path, td_compression compression,
                            td_byte_sink **out);
void td_byte_sink_close(td_byte_sink *sink);

td_status td_byte_sink_write(td_byte_sink *sink, const void *data, size_t size);
/* Everything so far can be uncompressed from the file's bytes, once those are flushed. */
td_status td_byte_sink_flush(td_byte_sink *sink);
/* Ends the compressed stream; nothing may be written afterwards. */
td_status td_byte_sink_finish(td_byte_sink *sink);

#endif
