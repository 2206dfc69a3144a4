/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/embed_output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/sha256.h"
#include "base/text.h"
#include "data/pairs_pixels.h"
#include "data/shards.h"

/* NumPy's format 1.0: a magic, the length of a header, and the header, a Python literal, padded so
 * that the data start at a multiple of 64 bytes. */
static td_status npy_header(FILE *file, int64_t rows, int64_t cols) {
    enum { PREFIX = 10, ALIGN = 64 };
    char text[3 * ALIGN];
    int used =
        snprintf(text, sizeof text,
                 "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRId64 ", %" PRId64 "), }",
                 rows, cols);
    int total = (PREFIX + used + 1 + ALIGN - 1) / ALIGN * ALIGN;
    fprintf(file, "\x93NUMPY%c%c%c%c%s%*s\n", 1, 0, (total - PREFIX) & 255, (total - PREFIX) >> 8,
            text, total - PREFIX - used - 1, "");
    return ferror(file) ? td_fail(TD_EIO, "write a matrix: %s", strerror(errno)) : TD_OK;
}

static td_status write_matrix(const char *directory, const char *name, const td_embed_table *table,
                              const float *values, int64_t rows) {
    td_text path = {0};
    td_text_printf(&path, "%s/%s", directory, name);
    TD_TRY(td_text_status(&path));
    td_atomic_file file;
    td_sha256 *sha;
    char hex[TD_SHA256_HEX];
    td_status status = td_atomic_open(path.data, &file);
    if (status == TD_OK) {
        status = npy_header(file.stream, rows, table->embed);
        if (status == TD_OK) {
            status = td_sha256_create(&sha);
        }
        if (status != TD_OK) {
            td_atomic_abort(&file);
        }
    }
    if (status == TD_OK) {
        size_t bytes = (size_t)table->embed * sizeof(float);
        for (int64_t i = 0; i < table->pairs; i++) {
            if (table->state[i] == TD_EMBED_OK) {
                fwrite(values + i * table->embed, 1, bytes, file.stream);
                td_sha256_add(sha, values + i * table->embed, bytes);
            }
        }
        td_sha256_finish(sha, hex);
        status = td_atomic_commit(&file);
    }
    if (status == TD_OK) {
        printf("%s (%" PRId64 ", %" PRId64 ") sha256 %s\n", path.data, rows, table->embed, hex);
    }
    td_text_destroy(&path);
    return status;
}

static td_status write_line(FILE *file, int64_t row, const td_pair *pair) {
    json_t *line =
        json_pack("{s:I, s:s%, s:s%, s:s%}", "row", (json_int_t)row, "key", pair->key.data,
                  pair->key.size, "caption", pair->caption.data, pair->caption.size, "label",
                  pair->label.data == NULL ? "" : pair->label.data, pair->label.size);
    if (line == NULL) {
        return td_fail(TD_EINPUT, "%s: key, caption and label are not all UTF-8", pair->key.data);
    }
    int code = json_dumpf(line, file, JSON_COMPACT);
    json_decref(line);
    return code != 0 || fputc('\n', file) == EOF ? td_fail(TD_EIO, "write a line of pairs.jsonl")
                                                 : TD_OK;
}

static td_status write_pairs(const char *directory, td_pairs *pairs, const td_embed_table *table) {
    td_text path = {0};
    td_text_printf(&path, "%s/pairs.jsonl", directory);
    TD_TRY(td_text_status(&path));
    td_atomic_file file;
    td_pair pair = {.item = -1};
    td_status status = td_atomic_open(path.data, &file);
    td_text_destroy(&path);
    TD_TRY(status);
    int64_t row = 0;
    for (int64_t i = 0; i < table->pairs && status == TD_OK; i++) {
        if (table->state[i] == TD_EMBED_OK) {
            status = td_pairs_fetch(pairs, i, &pair);
            if (status == TD_OK) {
                status = write_line(file.stream, row++, &pair);
            }
        }
    }
    td_pair_destroy(&pair);
    if (status != TD_OK) {
        td_atomic_abort(&file);
        return status;
    }
    return td_atomic_commit(&file);
}

td_status td_write_npy(const char *path, const float *values, int64_t rows, int64_t cols) {
    td_atomic_file file;
    TD_TRY(td_atomic_open(path, &file));
    td_status status = npy_header(file.stream, rows, cols);
    if (status != TD_OK) {
        td_atomic_abort(&file);
        return status;
    }
    fwrite(values, sizeof *values, (size_t)(rows * cols), file.stream);
    return td_atomic_commit(&file);
}

td_status td_embed_write_matrices(const char *directory, td_pairs *pairs,
                                  const td_embed_table *table, int64_t rows) {
    if (table->images != NULL) {
        TD_TRY(write_matrix(directory, "images.npy", table, table->images, rows));
    }
    if (table->texts != NULL) {
        TD_TRY(write_matrix(directory, "texts.npy", table, table->texts, rows));
    }
    return write_pairs(directory, pairs, table);
}

/* The record that takes the place of pair `item`. A pair of which only the key is known keeps that:
 * the hold-out hashes it. */
static td_status encode(td_pairs *pairs, const td_embed_table *table, const char *tower,
                        int64_t item, td_pair *pair, td_text *out) {
    td_status status = td_pairs_fetch(pairs, item, pair);
    const char *caption = "", *label = "", *key = NULL;
    char *only_key = NULL;
    if (status == TD_OK) {
        caption = pair->caption.data;
        label = pair->label.data == NULL ? "" : pair->label.data;
        key = pair->key.data;
    } else if (status == TD_EINPUT) {
        TD_TRY(td_pairs_key(pairs, item, &only_key));
        key = only_key;
    } else {
        return status;
    }
    int64_t n = table->state[item] == TD_EMBED_OK ? table->embed : 0;
    out->size = 0;
    status = td_pair_encode_vector(table->images + item * table->embed, n, tower, caption, label,
                                   key, out);
    td_free(only_key);
    return status;
}

td_status td_embed_write_features(const char *directory, bool replace, td_pairs *pairs,
                                  const td_embed_table *table, const char *tower) {
    td_shard_writer *writer;
    TD_TRY(td_shard_writer_create(directory, "features", 1, TD_COMPRESSION_NONE, replace, &writer));
    td_pair pair = {.item = -1};
    td_text record = {0};
    td_status status = TD_OK;
    for (int64_t i = 0; i < table->pairs && status == TD_OK; i++) {
        status = encode(pairs, table, tower, i, &pair, &record);
        if (status == TD_OK) {
            status = td_shard_writer_append(writer, record.data, record.size);
        }
    }
    td_pair_destroy(&pair);
    td_text_destroy(&record);
    if (status != TD_OK) {
        td_shard_writer_abort(writer);
        return status;
    }
    TD_TRY(td_shard_writer_commit(writer));
    printf("%" PRId64 " pairs as features of %" PRId64 " numbers in %s\n", table->pairs,
           table->embed, directory);
    return TD_OK;
}
