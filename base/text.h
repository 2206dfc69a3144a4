/* SPDX-License-Identifier: Apache-2.0
 * A growing text buffer, text in lines, and files that appear under their name only when complete.
 */
#ifndef TD_BASE_TEXT_H
#define TD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/status.h"

/* Zero-initialise to start. data is always NUL-terminated once anything was appended. Running out
 * of memory sets failed and drops further appends; check it once at the end with td_text_status. */
typedef struct td_text {
    char *data;
    size_t size, capacity;
    bool failed;
} td_text;

void td_text_append(td_text *text, const char *bytes, size_t size);
void td_text_puts(td_text *text, const char *string);
void td_text_printf(td_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
td_status td_text_status(const td_text *text);
void td_text_destroy(td_text *text);

/* Prints text in lines of at most 100 columns, where words allow, and ends the last one. The first
 * starts where the caller stands, at column `indent`; the others are indented by as much. A newline
 * in the text starts one too. */
void td_print_wrapped(FILE *out, int indent, const char *text);

/* Reads a whole file. data gets one NUL after size bytes; freed with td_free. TD_EIO names path and
 * reason. */
td_status td_file_read(const char *path, char **data, size_t *size);

/* Writes path through "<path>.tmp.<pid>" and rename, with fsync; on failure path is untouched and
 * the temporary gone. */
td_status td_file_write(const char *path, const void *data, size_t size);

/* The same for output that is produced piece by piece: write to file.stream, then commit or abort.
 */
typedef struct td_atomic_file {
    FILE *stream;
    char *path, *temporary;
} td_atomic_file;

td_status td_atomic_open(const char *path, td_atomic_file *out);
td_status td_atomic_commit(td_atomic_file *file);
void td_atomic_abort(td_atomic_file *file);

/* Creates a directory and its missing parents. An existing directory is fine. */
td_status td_make_directory(const char *path);

#endif
