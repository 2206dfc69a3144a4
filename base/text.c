/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

static bool reserve(td_text *text, size_t extra) {
    size_t needed = text->size + extra + 1;
    if (text->failed || needed < extra) {
        text->failed = true;
        return false;
    }
    if (needed > text->capacity) {
        size_t capacity = needed * 2 < 256 ? 256 : needed * 2;
        char *data = td_realloc(text->data, capacity);
        if (data == NULL) {
            text->failed = true;
            return false;
        }
        text->data = data;
        text->capacity = capacity;
    }
    return true;
}

void td_text_append(td_text *text, const char *bytes, size_t size) {
    if (reserve(text, size)) {
        if (size > 0) {
            memcpy(text->data + text->size, bytes, size);
        }
        text->size += size;
        text->data[text->size] = '\0';
    }
}

void td_text_puts(td_text *text, const char *string) {
    td_text_append(text, string, strlen(string));
}

void td_text_printf(td_text *text, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size < 0) {
        text->failed = true;
    } else if (reserve(text, (size_t)size)) {
        vsnprintf(text->data + text->size, (size_t)size + 1, format, again);
        text->size += (size_t)size;
    }
    va_end(again);
}

td_status td_text_status(const td_text *text) {
    return text->failed ? td_fail(TD_ENOMEM, "no memory for %zu bytes of text", text->size) : TD_OK;
}

void td_text_destroy(td_text *text) {
    td_free(text->data);
    *text = (td_text){0};
}

void td_print_wrapped(FILE *out, int indent, const char *text) {
    enum { COLUMNS = 100 };
    int column = indent;
    for (const char *word = text; *word != '\0';) {
        int spaces = (int)strspn(word, " "), length = (int)strcspn(word + spaces, " \n");
        if (column > indent && column + spaces + length > COLUMNS) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
            word += spaces;
            spaces = 0;
        }
        fprintf(out, "%.*s", spaces + length, word);
        column += spaces + length;
        word += spaces + length;
        if (*word == '\n') {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
            word++;
        }
    }
    fputc('\n', out);
}

td_status td_file_read(const char *path, char **data, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return td_fail(TD_EIO, "open %s: %s", path, strerror(errno));
    }
    td_text text = {0};
    char chunk[1 << 16];
    size_t got;
    while ((got = fread(chunk, 1, sizeof chunk, file)) > 0) {
        td_text_append(&text, chunk, got);
    }
    int failed = ferror(file) ? errno : 0;
    fclose(file);
    td_text_append(&text, "", 0);
    if (failed != 0 || text.failed) {
        td_status status = failed != 0 ? td_fail(TD_EIO, "read %s: %s", path, strerror(failed))
                                       : td_fail(TD_ENOMEM, "no memory to read %s", path);
        td_text_destroy(&text);
        return status;
    }
    *data = text.data;
    *size = text.size;
    return TD_OK;
}

td_status td_file_write(const char *path, const void *data, size_t size) {
    td_atomic_file file = {0};
    TD_TRY(td_atomic_open(path, &file));
    fwrite(data, 1, size,
           file.stream); /* a short write leaves the stream's error flag for commit */
    return td_atomic_commit(&file);
}

td_status td_atomic_open(const char *path, td_atomic_file *out) {
    td_text temporary = {0};
    td_text_printf(&temporary, "%s.tmp.%ld", path, (long)getpid());
    char *copy = td_strdup(path);
    if (temporary.failed || copy == NULL) {
        td_text_destroy(&temporary);
        td_free(copy);
        return td_fail(TD_ENOMEM, "no memory to open %s", path);
    }
    FILE *stream = fopen(temporary.data, "wb");
    if (stream == NULL) {
        td_status status = td_fail(TD_EIO, "create %s: %s", temporary.data, strerror(errno));
        td_text_destroy(&temporary);
        td_free(copy);
        return status;
    }
    *out = (td_atomic_file){stream, copy, temporary.data};
    return TD_OK;
}

static void forget(td_atomic_file *file) {
    td_free(file->path);
    td_free(file->temporary);
    *file = (td_atomic_file){0};
}

td_status td_atomic_commit(td_atomic_file *file) {
    int wrong = 0;
    if (ferror(file->stream) || fflush(file->stream) != 0 || fsync(fileno(file->stream)) != 0) {
        wrong = errno != 0 ? errno : EIO;
    }
    if (fclose(file->stream) != 0 && wrong == 0) {
        wrong = errno;
    }
    if (wrong == 0 && rename(file->temporary, file->path) != 0) {
        wrong = errno;
    }
    td_status status = TD_OK;
    if (wrong != 0) {
        unlink(file->temporary);
        status = td_fail(TD_EIO, "write %s: %s", file->path, strerror(wrong));
    }
    forget(file);
    return status;
}

void td_atomic_abort(td_atomic_file *file) {
    if (file->stream != NULL) {
        fclose(file->stream);
        unlink(file->temporary);
    }
    forget(file);
}

td_status td_make_directory(const char *path) {
    char *copy = td_strdup(path);
    if (copy == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a path");
    }
    td_status status = TD_OK;
    for (char *at = copy; status == TD_OK && *at != '\0';) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        char kept = *at;
        *at = '\0';
        struct stat info;
        if (copy[0] != '\0' && mkdir(copy, 0777) != 0 &&
            !(errno == EEXIST && stat(copy, &info) == 0 && S_ISDIR(info.st_mode))) {
            status = td_fail(TD_EIO, "make directory %s: %s", copy, strerror(errno));
        }
        *at = kept;
    }
    td_free(copy);
    return status;
}
