/* SPDX-License-Identifier: Apache-2.0
 * The compressions of record files: they wrap the whole file, frames and all, so a compressed file
 * is read and written from its start only.
 */
#ifndef TD_DATA_COMPRESSION_H
#define TD_DATA_COMPRESSION_H

#include <stddef.h>
#include <stdint.h>

/*      name                  TensorFlow's word, option, ending, what */
#define TD_COMPRESSION_MAP(X)                                                                      \
    X(TD_COMPRESSION_NONE, "", "none", "", "uncompressed")                                         \
    X(TD_COMPRESSION_GZIP, "GZIP", "gzip", ".gz", "gzip, all members")                             \
    X(TD_COMPRESSION_ZLIB, "ZLIB", "zlib", ".zlib", "zlib")                                        \
    X(TD_COMPRESSION_ZSTD, "ZSTD", "zstd", ".zst", "zstd, all frames")                             \
    X(TD_COMPRESSION_SNAPPY, "SNAPPY", "snappy", ".snappy",                                        \
      "snappy blocks, each behind its length, big-endian")

typedef enum td_compression {
#define TD_COMPRESSION_ENUM(name, word, option, ending, text) name,
    TD_COMPRESSION_MAP(TD_COMPRESSION_ENUM)
#undef TD_COMPRESSION_ENUM
        TD_COMPRESSION_COUNT
} td_compression;

const char *td_compression_word(td_compression compression);
const char *td_compression_option(td_compression compression);
const char *td_compression_ending(td_compression compression);
#define TD_COMPRESSION_OPTIONS "none|gzip|zlib|zstd|snappy"
/* By TensorFlow's word; anything it does not know is read as it is, as there. */
td_compression td_compression_find(const char *word);
/* By the word of the command line, one of TD_COMPRESSION_OPTIONS. */
td_compression td_compression_of_option(const char *option);

enum { TD_DETECT_BYTES = 16 };
/* From the first bytes of a file, TD_DETECT_BYTES or all it has. A snappy file has no mark: it is
 * found when its first block fits and holds a record's header. */
td_compression td_compression_detect(const uint8_t *first, size_t size);

#endif
