/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pair_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/progress.h"
#include "data/tar_members.h"

/* Where a text or image is: in the table's own text (a .tsv), or in a tar file. */
typedef struct place {
    int64_t at, bytes; /* bytes < 0: nowhere */
} place;

typedef struct sample {
    int32_t file;
    int64_t line; /* of a .tsv, from 1; of a tar file the sample's number in it, from 0 */
    place image, caption, label;
    size_t key;
    bool json; /* the caption is a member of an object */
} sample;

typedef struct source {
    char *path;
    int fd;     /* a tar file */
    char *text; /* a .tsv: fields end with NUL */
    size_t text_bytes;
} source;

struct td_pair_table {
    source *sources;
    int64_t n_sources;
    sample *samples;
    int64_t count, capacity, bad_lines;
    td_text names; /* keys of tar samples, each behind a NUL */
    bool tar;
};

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcasecmp(text + n - m, end) == 0;
}

bool td_pair_table_is(const char *path) {
    return ends_with(path, ".tar") || ends_with(path, ".tsv");
}

static td_status add_sample(td_pair_table *table, const sample *added) {
    if (table->count == table->capacity) {
        int64_t capacity = table->capacity == 0 ? 1024 : 2 * table->capacity;
        sample *moved = td_realloc(table->samples, (size_t)capacity * sizeof *moved);
        if (moved == NULL) {
            return td_fail(TD_ENOMEM, "no memory for %lld pairs", (long long)capacity);
        }
        table->samples = moved;
        table->capacity = capacity;
    }
    table->samples[table->count++] = *added;
    return TD_OK;
}

static const place nowhere = {0, -1};

/* ---- tables ---- */

/* Fields of one line; NULL when absent. They point into the line, which is cut in place. */
typedef struct line_fields {
    char *path, *caption, *label;
} line_fields;

static bool split(char *line, line_fields *out) {
    *out = (line_fields){.path = strsep(&line, "\t")};
    out->caption = strsep(&line, "\t");
    out->label = strsep(&line, "\t");
    return out->caption != NULL && line == NULL && *out->path != '\0' && *out->caption != '\0';
}

static bool is_heading(const line_fields *f) {
    return strcmp(f->path, "filepath") == 0 || strcmp(f->path, "path") == 0 ||
           strcmp(f->path, "image") == 0;
}

/* NUL bytes and control characters would end or garble the text further on. */
static bool is_text(const char *line, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)line[i] < ' ' && line[i] != '\t') {
            return false;
        }
    }
    return true;
}

static place text_place(const source *from, const char *text) {
    return text == NULL ? nowhere : (place){text - from->text, (int64_t)strlen(text)};
}

static td_status take_line(td_pair_table *table, int32_t file, char *line, size_t size,
                           int64_t number) {
    const source *from = &table->sources[file];
    line_fields f;
    size -= size > 0 && line[size - 1] == '\r';
    line[size] = '\0';
    if (size == 0) {
        return TD_OK;
    }
    if (!is_text(line, size) || !split(line, &f)) {
        td_note(NULL, "%s line %lld: expected PATH <tab> CAPTION [<tab> LABEL]; left out",
                from->path, (long long)number);
        table->bad_lines++;
        return TD_OK;
    }
    if (number == 1 && is_heading(&f)) {
        return TD_OK;
    }
    sample added = {.file = file,
                    .line = number,
                    .image = text_place(from, f.path),
                    .caption = text_place(from, f.caption),
                    .label = text_place(from, f.label)};
    return add_sample(table, &added);
}

static td_status open_tsv(td_pair_table *table, int32_t file) {
    source *from = &table->sources[file];
    TD_TRY(td_file_read(from->path, &from->text, &from->text_bytes));
    int64_t number = 1;
    for (size_t at = 0; at < from->text_bytes; number++) {
        char *line = from->text + at;
        const char *newline = memchr(line, '\n', from->text_bytes - at);
        size_t size = newline == NULL ? from->text_bytes - at : (size_t)(newline - line);
        TD_TRY(take_line(table, file, line, size, number));
        at += size + 1;
    }
    return TD_OK;
}

/* ---- tar files ---- */

typedef struct tar_walk {
    td_pair_table *table;
    sample now;
    bool any;
    int64_t number;
} tar_walk;

static td_status end_sample(tar_walk *walk) {
    if (!walk->any) {
        return TD_OK;
    }
    walk->any = false;
    return add_sample(walk->table, &walk->now);
}

/* Bytes of the name before the first dot of its last part; 0 when it has none. */
static size_t stem_bytes(const char *name) {
    const char *slash = strrchr(name, '/');
    const char *dot = strchr(slash == NULL ? name : slash + 1, '.');
    return dot == NULL ? 0 : (size_t)(dot - name);
}

static td_status take_member(void *arg, const char *name, int64_t offset, int64_t bytes) {
    tar_walk *walk = arg;
    td_pair_table *table = walk->table;
    size_t stem = stem_bytes(name);
    if (stem == 0 || name[stem - 1] == '/') {
        return TD_OK; /* no sample: a hidden file, or one without an ending */
    }
    const char *key = table->names.data + walk->now.key;
    if (!walk->any || strlen(key) != stem || memcmp(key, name, stem) != 0) {
        TD_TRY(end_sample(walk));
        walk->any = true;
        walk->now = (sample){.file = walk->now.file,
                             .line = walk->number++,
                             .image = nowhere,
                             .caption = nowhere,
                             .label = nowhere,
                             .key = table->names.size};
        td_text_append(&table->names, name, stem);
        td_text_append(&table->names, "", 1);
        TD_TRY(td_text_status(&table->names));
    }
    const char *ending = name + stem;
    place here = {offset, bytes};
    sample *now = &walk->now;
    if (ends_with(name, ".jpg") || ends_with(name, ".jpeg") || ends_with(name, ".png")) {
        now->image = here;
    } else if (strcasecmp(ending, ".txt") == 0 || strcasecmp(ending, ".caption") == 0) {
        now->caption = here;
        now->json = false;
    } else if (strcasecmp(ending, ".json") == 0 && now->caption.bytes < 0) {
        now->caption = here;
        now->json = true;
    } else if (strcasecmp(ending, ".cls") == 0) {
        now->label = here;
    }
    return TD_OK;
}

static td_status open_tar(td_pair_table *table, int32_t file) {
    source *from = &table->sources[file];
    from->fd = open(from->path, O_RDONLY | O_CLOEXEC);
    if (from->fd < 0) {
        return td_fail(TD_EIO, "open %s: %s", from->path, strerror(errno));
    }
    tar_walk walk = {.table = table, .now = {.file = file}};
    TD_TRY(td_tar_walk(from->fd, from->path, take_member, &walk));
    return end_sample(&walk);
}

/* ---- both ---- */

static td_status open_sources(td_pair_table *table, const td_file_list *files) {
    table->sources = td_alloc_zero((size_t)files->count * sizeof *table->sources);
    if (table->sources == NULL) {
        return td_fail(TD_ENOMEM, "no memory for %lld files", (long long)files->count);
    }
    for (int64_t i = 0; i < files->count; i++) {
        source *from = &table->sources[i];
        *from = (source){.path = td_strdup(files->paths[i]), .fd = -1};
        table->n_sources++;
        if (from->path == NULL) {
            return td_fail(TD_ENOMEM, "no memory for the name of a file");
        }
        if (ends_with(from->path, ".tar") != table->tar) {
            return td_fail(TD_EINPUT, "%s and %s: expected files of one kind",
                           table->sources[0].path, from->path);
        }
        TD_TRY(table->tar ? open_tar(table, (int32_t)i) : open_tsv(table, (int32_t)i));
    }
    return table->count > 0 ? TD_OK
                            : td_fail(TD_EINPUT, "%s: no pair in it", table->sources[0].path);
}

td_status td_pair_table_open(const td_file_list *files, td_pair_table **out) {
    td_pair_table *table = td_alloc_zero(sizeof *table);
    if (table == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a table of pairs");
    }
    table->tar = ends_with(files->paths[0], ".tar");
    td_text_append(&table->names, "", 1);
    td_status status = td_text_status(&table->names);
    if (status == TD_OK) {
        status = open_sources(table, files);
    }
    if (status != TD_OK) {
        td_pair_table_close(table);
        return status;
    }
    *out = table;
    return TD_OK;
}

void td_pair_table_close(td_pair_table *table) {
    if (table == NULL) {
        return;
    }
    for (int64_t i = 0; i < table->n_sources; i++) {
        if (table->sources[i].fd >= 0) {
            close(table->sources[i].fd);
        }
        td_free(table->sources[i].text);
        td_free(table->sources[i].path);
    }
    td_free(table->sources);
    td_free(table->samples);
    td_text_destroy(&table->names);
    td_free(table);
}

int64_t td_pair_table_count(const td_pair_table *table) {
    return table->count;
}

int64_t td_pair_table_bad_lines(const td_pair_table *table) {
    return table->bad_lines;
}

void td_pair_table_place(const td_pair_table *table, int64_t index, td_text *out) {
    const sample *at = &table->samples[index];
    const char *path = table->sources[at->file].path;
    if (table->tar) {
        td_text_printf(out, "%s: sample %lld (%s)", path, (long long)at->line,
                       table->names.data + at->key);
    } else {
        td_text_printf(out, "%s line %lld", path, (long long)at->line);
    }
}

/* What is wrong with one sample, and where it is. */
static td_status fail_at(const td_pair_table *table, int64_t index, td_status status,
                         const char *what) {
    td_text where = {0};
    td_pair_table_place(table, index, &where);
    td_status said =
        where.failed ? td_text_status(&where) : td_fail(status, "%.700s: %.300s", where.data, what);
    td_text_destroy(&where);
    return said;
}

static td_status read_bytes(const source *from, place at, uint8_t *to) {
    for (int64_t done = 0; done < at.bytes;) {
        ssize_t got = pread(from->fd, to + done, (size_t)(at.bytes - done), (off_t)(at.at + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return td_fail(TD_EIO, "read %s at byte %lld: %s", from->path,
                           (long long)(at.at + done),
                           got < 0 ? strerror(errno) : "the file became shorter");
        }
        done += got;
    }
    return TD_OK;
}

td_status td_pair_table_key(const td_pair_table *table, int64_t index, td_text *out) {
    const sample *at = &table->samples[index];
    out->size = 0;
    td_text_puts(out, table->tar ? table->names.data + at->key
                                 : table->sources[at->file].text + at->image.at);
    return td_text_status(out);
}

/* A member as one line: a caption that ends with a newline, as most do, is not two lines. */
static td_status read_text(const td_pair_table *table, int64_t index, place at, td_buffer *buffer,
                           td_text *out) {
    enum { TEXT_MAX = 1 << 20 };
    out->size = 0;
    td_text_puts(out, "");
    if (at.bytes < 0) {
        return td_text_status(out);
    }
    if (at.bytes > TEXT_MAX) {
        return fail_at(table, index, TD_EINPUT, "a text of more than 1 MiB");
    }
    TD_TRY(td_buffer_reserve(buffer, (size_t)at.bytes + 1));
    TD_TRY(read_bytes(&table->sources[table->samples[index].file], at, buffer->data));
    size_t size = (size_t)at.bytes;
    while (size > 0 && (buffer->data[size - 1] == '\n' || buffer->data[size - 1] == '\r')) {
        size--;
    }
    if (memchr(buffer->data, '\0', size) != NULL) {
        return fail_at(table, index, TD_EINPUT, "a text with a zero byte");
    }
    td_text_append(out, (const char *)buffer->data, size);
    return td_text_status(out);
}

/* The caption of a .json member takes the place of its text. */
static td_status take_json(const td_pair_table *table, int64_t index, td_text *caption) {
    json_error_t error;
    json_t *root = json_loadb(caption->data, caption->size, 0, &error);
    const json_t *value = json_object_get(root, "caption");
    value = value != NULL ? value : json_object_get(root, "text");
    const char *text = json_string_value(value);
    td_text copy = {0};
    td_status status = TD_OK;
    if (text == NULL) {
        status = fail_at(table, index, TD_EINPUT,
                         root == NULL ? "its .json cannot be read"
                                      : "its .json has no string \"caption\" or \"text\"");
    } else {
        td_text_puts(&copy, text);
        caption->size = 0;
        td_text_puts(caption, copy.failed ? "" : copy.data);
        status = td_text_status(&copy);
    }
    td_text_destroy(&copy);
    json_decref(root);
    return status == TD_OK ? td_text_status(caption) : status;
}

static td_status read_tar(const td_pair_table *table, int64_t index, td_pair_fields *fields) {
    const sample *at = &table->samples[index];
    TD_TRY(read_text(table, index, at->label, fields->buffer, fields->label));
    TD_TRY(read_text(table, index, at->caption, fields->buffer, fields->caption));
    if (at->caption.bytes < 0) {
        return fail_at(table, index, TD_EINPUT, "no caption (.txt, .caption or .json)");
    }
    if (at->json) {
        TD_TRY(take_json(table, index, fields->caption));
    }
    if (at->image.bytes < 0) {
        return fail_at(table, index, TD_EINPUT, "no image (.jpg, .jpeg or .png)");
    }
    TD_TRY(td_buffer_reserve(fields->buffer, (size_t)at->image.bytes + 1));
    TD_TRY(read_bytes(&table->sources[at->file], at->image, fields->buffer->data));
    fields->image = (td_span){fields->buffer->data, (size_t)at->image.bytes};
    return TD_OK;
}

/* The bytes of a whole file, into the caller's buffer. */
static td_status read_image_file(const td_pair_table *table, int64_t index, const char *path,
                                 td_pair_fields *fields) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    char what[300];
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        snprintf(what, sizeof what, "open %.200s: %s", path,
                 fd < 0 ? strerror(errno) : "not a file");
        bool missing = fd >= 0 || errno == ENOENT || errno == ENOTDIR || errno == EACCES;
        if (fd >= 0) {
            close(fd);
        }
        return fail_at(table, index, missing ? TD_EINPUT : TD_EIO, what);
    }
    source from = {.path = (char *)(uintptr_t)path, .fd = fd};
    place whole = {0, (int64_t)info.st_size};
    td_status status = td_buffer_reserve(fields->buffer, (size_t)whole.bytes + 1);
    if (status == TD_OK) {
        status = read_bytes(&from, whole, fields->buffer->data);
    }
    close(fd);
    fields->image = (td_span){fields->buffer->data, (size_t)whole.bytes};
    return status;
}

static td_status read_tsv(const td_pair_table *table, int64_t index, td_pair_fields *fields) {
    const sample *at = &table->samples[index];
    const source *from = &table->sources[at->file];
    const char *image = from->text + at->image.at, *slash = strrchr(from->path, '/');
    td_text path = {0};
    fields->caption->size = fields->label->size = 0;
    td_text_puts(fields->caption, from->text + at->caption.at);
    td_text_puts(fields->label, at->label.bytes < 0 ? "" : from->text + at->label.at);
    if (image[0] != '/' && slash != NULL) {
        td_text_append(&path, from->path, (size_t)(slash + 1 - from->path));
    }
    td_text_puts(&path, image);
    td_status status = td_text_status(&path);
    if (status == TD_OK) {
        status = read_image_file(table, index, path.data, fields);
    }
    td_text_destroy(&path);
    return status;
}

td_status td_pair_table_read(const td_pair_table *table, int64_t index, td_pair_fields *fields) {
    TD_ASSERT(index >= 0 && index < table->count);
    TD_TRY(td_pair_table_key(table, index, fields->key));
    TD_TRY(table->tar ? read_tar(table, index, fields) : read_tsv(table, index, fields));
    TD_TRY(td_text_status(fields->caption));
    return td_text_status(fields->label);
}
