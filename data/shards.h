/* SPDX-License-Identifier: Apache-2.0
 * Sets of TFRecord files: name-00000-of-00004.tfrecord and so on, written together and read as one
 * numbered list of records.
 */
#ifndef TD_DATA_SHARDS_H
#define TD_DATA_SHARDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "data/tfrecord.h"

enum { TD_SHARDS_MAX = 99999 }; /* five digits */

/* Appends "name-00003-of-00008", TensorFlow's name of a shard, and "name-?????-of-00008", what
 * matches all of them. */
void td_sharded_name(td_text *out, const char *name, int64_t shard, int64_t n_shards);
void td_sharded_pattern(td_text *out, const char *name, int64_t n_shards);

/* Appends "name-00003-of-00008.tfrecord", with ".gz" and so on behind it when compressed. */
void td_shard_name(td_text *out, const char *name, int shard, int n_shards,
                   td_compression compression);

/* Writes a set: record i goes to shard i mod n_shards. Nothing appears under its final name before
 * commit. */
typedef struct td_shard_writer td_shard_writer;

/* Creates the directory. When it holds shards already (of any name), TD_EUSAGE, or with replace
 * they are removed at commit: two sets in one directory would be read as one. */
td_status td_shard_writer_create(const char *directory, const char *name, int n_shards,
                                 td_compression compression, bool replace, td_shard_writer **out);
td_status td_shard_writer_append(td_shard_writer *writer, const void *data, size_t size);
/* To a shard of the caller's choice instead, below n_shards; of different shards by several threads
 * at once. */
td_status td_shard_writer_append_to(td_shard_writer *writer, int shard, const void *data,
                                    size_t size);

/* Both end the writer. After a failed commit, shards that were complete may be there; temporary
 * files never are. */
td_status td_shard_writer_commit(td_shard_writer *writer);
void td_shard_writer_abort(td_shard_writer *writer);

/* The files that a path means, in order of their names: the *.tfrecord files of a directory
 * (compressed ones too, *.tfrecord.gz and so on; without any, its *.tar files), the matches of a
 * glob pattern, or the one file. TD_EIO when there are none. In a directory, a set with a shard
 * missing is TD_EINPUT. */
typedef struct td_file_list {
    char **paths;
    int64_t count;
} td_file_list;

td_status td_file_list_find(const char *path, td_file_list *out);
void td_file_list_destroy(td_file_list *list);

/* All records of the files, found by their index (data/record_index.h) where there is one, else by
 * reading headers. An index that does not fit its file is TD_EINPUT, and so is a compressed file,
 * which cannot be read at any place. Damage that headers show is noted on stderr, at most a few
 * lines a file, and passed over as td_tfrecord_next does under the skip policy. */
typedef struct td_shards td_shards;

td_status td_shards_open(const char *path, td_shards **out);
void td_shards_close(td_shards *shards);
int64_t td_shards_count(const td_shards *shards);
int64_t td_shards_damaged(const td_shards *shards); /* stretches that were passed over */

/* Where record `index` is: for messages and for keys of records that have none. path borrows. */
typedef struct td_shard_place {
    const char *path;
    int64_t offset, number;
} td_shard_place;
td_shard_place td_shards_place(const td_shards *shards, int64_t index);

/* Record `index`, both checksums checked, into the caller's buffer. Several threads may read at
 * once. */
td_status td_shards_read(const td_shards *shards, int64_t index, td_buffer *buffer,
                         td_tfrecord *out);

#endif
