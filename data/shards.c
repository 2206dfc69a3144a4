/* SPDX-License-Identifier: Apache-2.0 */
#include "data/shards.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/progress.h"
#include "data/record_file.h"
#include "data/record_index.h"

static const char suffix[] = ".tfrecord";

void td_sharded_name(td_text *out, const char *name, int64_t shard, int64_t n_shards) {
    td_text_printf(out, "%s-%05lld-of-%05lld", name, (long long)shard, (long long)n_shards);
}

void td_sharded_pattern(td_text *out, const char *name, int64_t n_shards) {
    td_text_printf(out,
                   "%s-????"
                   "?-of-%05lld",
                   name, (long long)n_shards);
}

void td_shard_name(td_text *out, const char *name, int shard, int n_shards,
                   td_compression compression) {
    td_sharded_name(out, name, shard, n_shards);
    td_text_printf(out, "%s%s", suffix, td_compression_ending(compression));
}

/* Where ".tfrecord", or that and the ending of a compression, starts at the path's end; NULL when
 * there is none. */
static const char *find_suffix(const char *path) {
    size_t size = strlen(path), own = sizeof suffix - 1;
    for (int i = 0; i < TD_COMPRESSION_COUNT; i++) {
        const char *ending = td_compression_ending((td_compression)i);
        size_t tail = own + strlen(ending);
        if (size > tail && strncmp(path + size - tail, suffix, own) == 0 &&
            strcmp(path + size - tail + own, ending) == 0) {
            return path + size - tail;
        }
    }
    return NULL;
}

void td_file_list_destroy(td_file_list *list) {
    for (int64_t i = 0; i < list->count; i++) {
        td_free(list->paths[i]);
    }
    td_free(list->paths);
    *list = (td_file_list){0};
}

/* Matches of a pattern as copies, sorted as glob sorts in the C locale: by bytes. */
static td_status list_glob(const char *pattern, td_file_list *out) {
    glob_t found;
    int code = glob(pattern, 0, NULL, &found);
    if (code != 0) {
        return code == GLOB_NOMATCH
                   ? td_fail(TD_EIO, "%s: no such file, and no file matches", pattern)
                   : td_fail(TD_EIO, "%s: cannot be listed: %s", pattern, strerror(errno));
    }
    td_file_list list = {td_alloc_zero(found.gl_pathc * sizeof *list.paths),
                         (int64_t)found.gl_pathc};
    bool failed = list.paths == NULL;
    for (int64_t i = 0; !failed && i < list.count; i++) {
        list.paths[i] = td_strdup(found.gl_pathv[i]);
        failed = list.paths[i] == NULL;
    }
    globfree(&found);
    if (failed) {
        list.count = list.paths == NULL ? 0 : list.count;
        td_file_list_destroy(&list);
        return td_fail(TD_ENOMEM, "no memory for the files of %s", pattern);
    }
    *out = list;
    return TD_OK;
}

/* A pattern that matches every shard in a directory, whatever characters its name has; what else it
 * matches (an index) has no suffix that find_suffix knows. */
static void directory_pattern(td_text *out, const char *directory, const char *ending) {
    for (const char *at = directory; *at != '\0'; at++) {
        td_text_printf(out, strchr("*?[\\", *at) != NULL ? "\\%c" : "%c", *at);
    }
    td_text_printf(out, "/*%s", ending);
}

static td_status list_directory(const char *directory, td_file_list *out) {
    td_text pattern = {0};
    td_file_list list = {0};
    directory_pattern(&pattern, directory, ".tfrecord*");
    td_status status = td_text_status(&pattern);
    if (status == TD_OK) {
        status = list_glob(pattern.data, &list);
    }
    td_text_destroy(&pattern);
    TD_TRY(status);
    int64_t kept = 0;
    for (int64_t i = 0; i < list.count; i++) {
        if (find_suffix(list.paths[i]) != NULL) {
            list.paths[kept++] = list.paths[i];
        } else {
            td_free(list.paths[i]);
        }
    }
    list.count = kept;
    if (kept == 0) {
        td_file_list_destroy(&list);
        return td_fail(TD_EIO, "%s: no *%s file in this directory", directory, suffix);
    }
    *out = list;
    return TD_OK;
}

static td_status list_tars(const char *directory, td_file_list *out) {
    td_text pattern = {0};
    directory_pattern(&pattern, directory, ".tar");
    td_status status = td_text_status(&pattern);
    if (status == TD_OK) {
        status = list_glob(pattern.data, out);
    }
    td_text_destroy(&pattern);
    return status != TD_EIO
               ? status
               : td_fail(TD_EIO, "%s: no *%s or *.tar file in this directory", directory, suffix);
}

static bool is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Splits ".../name-00003-of-00008.tfrecord" or ".tfrecord.gz"; false for files that are not named
 * as shards of a set.
 */
static bool parse_shard_name(const char *path, size_t *name_bytes, int *shard, int *n_shards) {
    static const char shape[] = "-00000-of-00000";
    const char *end = find_suffix(path);
    size_t size = end == NULL ? 0 : (size_t)(end - path), tail = sizeof shape - 1;
    if (size <= tail) {
        return false;
    }
    const char *at = path + size - tail;
    for (size_t i = 0; i < tail; i++) {
        bool digit = at[i] >= '0' && at[i] <= '9';
        if (shape[i] == '0' ? !digit : at[i] != shape[i]) {
            return false;
        }
    }
    *name_bytes = size - tail;
    *shard = (int)strtol(at + 1, NULL, 10);
    *n_shards = (int)strtol(at + 10, NULL, 10);
    return true;
}

/* The list is sorted, so the shards of a complete set stand together in order: 0, 1, ... n-1. */
static td_status check_sets(const td_file_list *list) {
    for (int64_t i = 0; i < list->count;) {
        size_t name_bytes;
        int shard, n_shards;
        if (!parse_shard_name(list->paths[i], &name_bytes, &shard, &n_shards)) {
            i++;
            continue;
        }
        for (int expected = 0; expected < n_shards; expected++, i++) {
            size_t bytes = 0;
            int found = -1, of = 0;
            bool good = i < list->count && parse_shard_name(list->paths[i], &bytes, &found, &of) &&
                        bytes == name_bytes && found == expected && of == n_shards &&
                        memcmp(list->paths[i], list->paths[i - expected], bytes) == 0;
            if (!good) {
                return td_fail(TD_EINPUT, "shard %d of %d of %.*s is missing; found %s", expected,
                               n_shards, (int)name_bytes, list->paths[i - expected],
                               i < list->count ? list->paths[i] : "nothing more");
            }
        }
    }
    return TD_OK;
}

td_status td_file_list_find(const char *path, td_file_list *out) {
    if (!is_directory(path)) {
        if (access(path, F_OK) != 0) {
            return list_glob(path, out);
        }
        td_file_list one = {td_alloc_zero(sizeof *one.paths), 1};
        char *copy = td_strdup(path);
        if (one.paths == NULL || copy == NULL) {
            td_free(one.paths);
            td_free(copy);
            return td_fail(TD_ENOMEM, "no memory to list %s", path);
        }
        one.paths[0] = copy;
        *out = one;
        return TD_OK;
    }
    td_file_list list = {0};
    td_status status = list_directory(path, &list);
    if (status == TD_EIO) {
        status = list_tars(path, &list);
    }
    if (status == TD_OK) {
        status = check_sets(&list);
    }
    if (status != TD_OK) {
        td_file_list_destroy(&list);
        return status;
    }
    *out = list;
    return TD_OK;
}

struct td_shard_writer {
    td_tfrecord_writer *shards;
    int n_shards, n_open;
    int64_t dealt; /* by append, in turn */
    td_file_list replaced;
};

static void writer_free(td_shard_writer *writer) {
    td_file_list_destroy(&writer->replaced);
    td_free(writer->shards);
    td_free(writer);
}

/* Finds the shards that are in the directory now. */
static td_status find_old(const char *directory, bool replace, td_file_list *out) {
    td_status status = list_directory(directory, out);
    if (status == TD_EIO) {
        return TD_OK; /* none */
    }
    if (status == TD_OK && !replace) {
        status =
            td_fail(TD_EUSAGE,
                    "%s already holds %lld *%s files, the first is %s; choose another directory or "
                    "give --replace",
                    directory, (long long)out->count, suffix, out->paths[0]);
        td_file_list_destroy(out);
    }
    return status;
}

td_status td_shard_writer_create(const char *directory, const char *name, int n_shards,
                                 td_compression compression, bool replace, td_shard_writer **out) {
    if (n_shards < 1 || n_shards > TD_SHARDS_MAX) {
        return td_fail(TD_EUSAGE, "%d shards, expected 1 to %d", n_shards, TD_SHARDS_MAX);
    }
    TD_TRY(td_make_directory(directory));
    td_file_list replaced = {0};
    TD_TRY(find_old(directory, replace, &replaced));
    td_shard_writer *writer = td_alloc_zero(sizeof *writer);
    if (writer != NULL) {
        writer->replaced = replaced;
        writer->n_shards = n_shards;
        writer->shards = td_alloc_zero((size_t)n_shards * sizeof *writer->shards);
    }
    if (writer == NULL || writer->shards == NULL) {
        td_file_list_destroy(&replaced);
        td_free(writer);
        return td_fail(TD_ENOMEM, "no memory for %d shards", n_shards);
    }
    for (int i = 0; i < n_shards; i++) {
        td_text path = {0};
        td_text_printf(&path, "%s/", directory);
        td_shard_name(&path, name, i, n_shards, compression);
        td_status status = td_text_status(&path);
        if (status == TD_OK) {
            status = td_tfrecord_create_compressed(path.data, compression, &writer->shards[i]);
        }
        td_text_destroy(&path);
        if (status != TD_OK) {
            td_shard_writer_abort(writer);
            return status;
        }
        writer->n_open++;
    }
    *out = writer;
    return TD_OK;
}

td_status td_shard_writer_append_to(td_shard_writer *writer, int shard, const void *data,
                                    size_t size) {
    TD_ASSERT(shard >= 0 && shard < writer->n_shards);
    return td_tfrecord_append(&writer->shards[shard], data, size);
}

td_status td_shard_writer_append(td_shard_writer *writer, const void *data, size_t size) {
    int shard = (int)(writer->dealt++ % writer->n_shards);
    return td_shard_writer_append_to(writer, shard, data, size);
}

void td_shard_writer_abort(td_shard_writer *writer) {
    for (int i = 0; i < writer->n_open; i++) {
        td_tfrecord_abort(&writer->shards[i]);
    }
    writer_free(writer);
}

/* Old shards go only once every new one is complete; a new one of the same name has replaced its
 * predecessor. */
static void remove_replaced(const td_shard_writer *writer, char *const *kept) {
    for (int64_t i = 0; i < writer->replaced.count; i++) {
        bool keep = false;
        for (int k = 0; k < writer->n_shards; k++) {
            keep = keep || strcmp(writer->replaced.paths[i], kept[k]) == 0;
        }
        if (!keep) {
            unlink(writer->replaced.paths[i]);
        }
    }
}

td_status td_shard_writer_commit(td_shard_writer *writer) {
    td_status status = TD_OK;
    td_file_list written = {td_alloc_zero((size_t)writer->n_shards * sizeof *written.paths), 0};
    if (written.paths == NULL) {
        status = td_fail(TD_ENOMEM, "no memory for %d names", writer->n_shards);
    }
    for (int i = 0; i < writer->n_shards; i++) {
        if (status == TD_OK) {
            char *path = td_strdup(writer->shards[i].file.path);
            written.paths[written.count++] = path;
            status = path == NULL ? td_fail(TD_ENOMEM, "no memory for a name")
                                  : td_tfrecord_commit(&writer->shards[i]);
        } else {
            td_tfrecord_abort(&writer->shards[i]);
        }
    }
    if (status == TD_OK) {
        remove_replaced(writer, written.paths);
    }
    td_file_list_destroy(&written);
    writer_free(writer);
    return status;
}

typedef struct entry {
    int64_t offset;
    int32_t file, number;
} entry;

struct td_shards {
    td_file_list files;
    td_tfrecord_reader **readers;
    entry *entries;
    int64_t count, capacity, damaged;
};

static void note_damage(void *arg, const td_tfrecord_damage *damage) {
    enum { LINES_PER_FILE = 3 };
    int *lines = arg;
    if (++*lines <= LINES_PER_FILE) {
        td_note(NULL, "%s; %lld bytes passed over%s", damage->message,
                (long long)damage->lost_bytes,
                *lines == LINES_PER_FILE ? "; further damage in this file is not listed" : "");
    }
}

static td_status add_entry(td_shards *shards, int32_t file, const td_tfrecord *record) {
    if (shards->count == shards->capacity) {
        int64_t capacity = shards->capacity == 0 ? 1024 : 2 * shards->capacity;
        entry *moved = td_realloc(shards->entries, (size_t)capacity * sizeof *moved);
        if (moved == NULL) {
            return td_fail(TD_ENOMEM, "no memory for an index of %lld records",
                           (long long)capacity);
        }
        shards->entries = moved;
        shards->capacity = capacity;
    }
    if (record->number > INT32_MAX) {
        return td_fail(TD_EINPUT, "%s: more than %d records in one file", shards->files.paths[file],
                       INT32_MAX);
    }
    shards->entries[shards->count++] = (entry){record->offset, file, (int32_t)record->number};
    return TD_OK;
}

static td_status take_index(td_shards *shards, int32_t file, const td_record_index *index) {
    for (int64_t i = 0; i < index->count; i++) {
        TD_TRY(add_entry(shards, file, &(td_tfrecord){.offset = index->offsets[i], .number = i}));
    }
    return TD_OK;
}

static td_status index_file(td_shards *shards, int32_t file) {
    int lines = 0;
    const char *path = shards->files.paths[file];
    td_tfrecord_options options = {TD_TFRECORD_SKIP, true, note_damage, &lines};
    td_tfrecord_reader *reader;
    td_compression compression;
    td_record_index index = {0};
    bool indexed;
    TD_TRY(td_tfrecord_open(path, &options, &reader));
    shards->readers[file] = reader;
    TD_TRY(td_record_file_compression(path, &compression));
    if (compression != TD_COMPRESSION_NONE) {
        return td_fail(TD_EINPUT,
                       "%s: %s has to be read from its start, and records are wanted in any order; "
                       "`tandem data split` makes uncompressed shards of it",
                       path, td_compression_option(compression));
    }
    TD_TRY(td_record_index_read(path, &index, &indexed));
    if (indexed) {
        td_status status = take_index(shards, file, &index);
        td_record_index_destroy(&index);
        return status;
    }
    for (;;) {
        td_tfrecord record;
        bool end;
        TD_TRY(td_tfrecord_next(reader, &record, &end));
        if (end) {
            break;
        }
        TD_TRY(add_entry(shards, file, &record));
    }
    shards->damaged += td_tfrecord_get_stats(reader).damaged;
    return TD_OK;
}

td_status td_shards_open(const char *path, td_shards **out) {
    td_file_list files;
    TD_TRY(td_file_list_find(path, &files));
    td_shards *shards = td_alloc_zero(sizeof *shards);
    td_tfrecord_reader **readers = td_alloc_zero((size_t)files.count * sizeof *readers);
    if (shards == NULL || readers == NULL) {
        td_file_list_destroy(&files);
        td_free(shards);
        td_free(readers);
        return td_fail(TD_ENOMEM, "no memory to open %s", path);
    }
    shards->files = files;
    shards->readers = readers;
    td_status status = TD_OK;
    for (int32_t i = 0; i < files.count && status == TD_OK; i++) {
        status = index_file(shards, i);
    }
    if (status != TD_OK) {
        td_shards_close(shards);
        return status;
    }
    *out = shards;
    return TD_OK;
}

void td_shards_close(td_shards *shards) {
    if (shards == NULL) {
        return;
    }
    for (int64_t i = 0; i < shards->files.count; i++) {
        td_tfrecord_close(shards->readers[i]);
    }
    td_free(shards->readers);
    td_free(shards->entries);
    td_file_list_destroy(&shards->files);
    td_free(shards);
}

int64_t td_shards_count(const td_shards *shards) {
    return shards->count;
}

int64_t td_shards_damaged(const td_shards *shards) {
    return shards->damaged;
}

td_shard_place td_shards_place(const td_shards *shards, int64_t index) {
    TD_ASSERT(index >= 0 && index < shards->count);
    const entry *at = &shards->entries[index];
    return (td_shard_place){shards->files.paths[at->file], at->offset, at->number};
}

td_status td_shards_read(const td_shards *shards, int64_t index, td_buffer *buffer,
                         td_tfrecord *out) {
    TD_ASSERT(index >= 0 && index < shards->count);
    const entry *at = &shards->entries[index];
    return td_tfrecord_read_at(shards->readers[at->file], at->offset, at->number, buffer, out);
}
