/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "data/import.h"

/* Fields of one line; NULL when absent. They point into the line, which is cut in place. */
typedef struct fields {
    char *path, *caption, *label;
} fields;

static bool split(char *line, fields *out) {
    *out = (fields){.path = strsep(&line, "\t")};
    out->caption = strsep(&line, "\t");
    out->label = strsep(&line, "\t");
    return out->caption != NULL && line == NULL && *out->path != '\0' && *out->caption != '\0';
}

static bool is_heading(const fields *f) {
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

static td_status read_relative(const char *table, const char *path, char **bytes, size_t *size) {
    td_text full = {0};
    const char *slash = strrchr(table, '/');
    if (path[0] != '/' && slash != NULL) {
        td_text_append(&full, table, (size_t)(slash + 1 - table));
    }
    td_text_puts(&full, path);
    td_status status = td_text_status(&full);
    if (status == TD_OK) {
        status = td_file_read(full.data, bytes, size);
    }
    td_text_destroy(&full);
    return status;
}

static td_status take_line(const char *table, char *line, size_t size, long number,
                           td_import_fn *each, void *arg, td_import_stats *stats) {
    fields f;
    size -= size > 0 && line[size - 1] == '\r';
    line[size] = '\0';
    if (size == 0) {
        return TD_OK;
    }
    if (!is_text(line, size) || !split(line, &f)) {
        td_note(NULL, "%s line %ld: expected PATH <tab> CAPTION [<tab> LABEL]; left out", table,
                number);
        stats->bad_lines++;
        return TD_OK;
    }
    if (number == 1 && is_heading(&f)) {
        return TD_OK;
    }
    char *bytes = NULL;
    size_t n_bytes = 0;
    if (read_relative(table, f.path, &bytes, &n_bytes) != TD_OK) {
        td_note(NULL, "%s line %ld: %s; left out", table, number, td_error());
        stats->unreadable++;
        return TD_OK;
    }
    td_import_pair pair = {.bytes = bytes,
                           .size = n_bytes,
                           .caption = f.caption,
                           .label = f.label == NULL ? "" : f.label,
                           .key = f.path};
    stats->pairs++;
    stats->from_title++;
    td_status status = each(arg, &pair);
    td_free(bytes);
    return status;
}

td_status td_import_tsv(const char *path, td_import_fn *each, void *arg, td_import_stats *stats) {
    *stats = (td_import_stats){0};
    char *table = NULL;
    size_t size = 0;
    TD_TRY(td_file_read(path, &table, &size));
    td_status status = TD_OK;
    long number = 1;
    for (size_t at = 0; at < size && status == TD_OK; number++) {
        const char *newline = memchr(table + at, '\n', size - at);
        size_t line_size = newline == NULL ? size - at : (size_t)(newline - (table + at));
        status = take_line(path, table + at, line_size, number, each, arg, stats);
        at += line_size + 1;
    }
    td_free(table);
    return status;
}
