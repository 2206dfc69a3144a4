/* SPDX-License-Identifier: Apache-2.0 */
#include "data/compression.h"

#include <string.h>

#include "data/crc32c.h"
#include "data/tfrecord.h"

static const struct {
    const char *word, *option, *ending;
} rows[TD_COMPRESSION_COUNT] = {
#define ROW(name, word, option, ending, text) [name] = {word, option, ending},
    TD_COMPRESSION_MAP(ROW)
#undef ROW
};

const char *td_compression_word(td_compression compression) {
    return rows[compression].word;
}

const char *td_compression_option(td_compression compression) {
    return rows[compression].option;
}

const char *td_compression_ending(td_compression compression) {
    return rows[compression].ending;
}

td_compression td_compression_find(const char *word) {
    for (int i = TD_COMPRESSION_NONE + 1; i < TD_COMPRESSION_COUNT; i++) {
        if (strcmp(word, rows[i].word) == 0) {
            return (td_compression)i;
        }
    }
    return TD_COMPRESSION_NONE;
}

td_compression td_compression_of_option(const char *option) {
    int i = TD_COMPRESSION_NONE;
    while (i + 1 < TD_COMPRESSION_COUNT && strcmp(option, rows[i].option) != 0) {
        i++;
    }
    return (td_compression)i;
}

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* A record's first 12 bytes say so themselves; the others have their marks. */
td_compression td_compression_detect(const uint8_t *first, size_t size) {
    enum { SNAPPY_BLOCK_MAX = 64 << 20 };
    if (size >= TD_TFRECORD_HEADER_BYTES) {
        uint32_t stored = (uint32_t)first[8] | (uint32_t)first[9] << 8 | (uint32_t)first[10] << 16 |
                          (uint32_t)first[11] << 24;
        if (td_crc32c_mask(td_crc32c(first, 8)) == stored) {
            return TD_COMPRESSION_NONE;
        }
    }
    if (size >= 2 && first[0] == 0x1f && first[1] == 0x8b) {
        return TD_COMPRESSION_GZIP;
    }
    if (size >= 4 && first[0] == 0x28 && first[1] == 0xb5 && first[2] == 0x2f && first[3] == 0xfd) {
        return TD_COMPRESSION_ZSTD;
    }
    if (size >= 2 && first[0] == 0x78 && (first[0] << 8 | first[1]) % 31 == 0) {
        return TD_COMPRESSION_ZLIB;
    }
    /* A snappy block starts with its uncompressed length, and a record's low bytes as a literal. */
    if (size >= 10 && big_endian(first) <= SNAPPY_BLOCK_MAX && big_endian(first) > 0 &&
        first[0] == 0 && (first[4] != 0 || first[5] != 0)) {
        return TD_COMPRESSION_SNAPPY;
    }
    return TD_COMPRESSION_NONE;
}
