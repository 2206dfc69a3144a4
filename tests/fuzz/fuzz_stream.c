/* SPDX-License-Identifier: Apache-2.0
 * Record streams of every compression, strict, with damage passed over, and as TensorFlow reads
 * them. The first byte chooses.
 */
#include "data/byte_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    td_compression compression = (td_compression)((data[0] & 0x1f) % (TD_COMPRESSION_COUNT + 1));
    td_stream_compat compat = data[0] & 0x80 ? TD_STREAM_TENSORFLOW : TD_STREAM_STRICT;
    td_record_stream *stream;
    td_span record;
    bool end = false;
    if (td_record_stream_open_span((td_span){data + 1, size - 1}, "fuzz", compression, compat,
                                   &stream) != TD_OK) {
        return 0;
    }
    if (compat == TD_STREAM_STRICT && (data[0] & 0x40) != 0) {
        td_record_stream_skip(stream, NULL, NULL);
    }
    /* A small file can hold very many empty records; some are enough. */
    for (int i = 0; i < 10000 && !end && td_record_stream_next(stream, &record, &end) == TD_OK;
         i++) {
    }
    td_record_stream_close(stream);
    return 0;
}
