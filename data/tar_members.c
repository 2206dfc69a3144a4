/* SPDX-License-Identifier: Apache-2.0 */
#include "data/tar_members.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"

enum {
    BLOCK = 512,
    NAME_AT = 0,
    NAME_BYTES = 100,
    SIZE_AT = 124,
    SIZE_BYTES = 12,
    SUM_AT = 148,
    SUM_BYTES = 8,
    TYPE_AT = 156,
    MAGIC_AT = 257,
    PREFIX_AT = 345,
    PREFIX_BYTES = 155,
    EXTENSION_MAX = 1 << 20 /* of a long name or a pax header */
};

typedef struct walk {
    int fd;
    const char *path;
    int64_t file_bytes, at;
    td_text name;      /* of the next member, when an extension gave it */
    int64_t size;      /* of it, from a pax header; -1: none */
    td_text extension; /* the bytes of an extension */
} walk;

static td_status wrong(const walk *w, const char *what) {
    return td_fail(TD_EINPUT, "%s: header at byte %lld: %s", w->path, (long long)w->at, what);
}

static td_status read_at(const walk *w, int64_t offset, void *to, size_t bytes) {
    uint8_t *out = to;
    while (bytes > 0) {
        ssize_t got = pread(w->fd, out, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return td_fail(TD_EIO, "read %s at byte %lld: %s", w->path, (long long)offset,
                           got < 0 ? strerror(errno) : "the file became shorter");
        }
        out += got;
        offset += got;
        bytes -= (size_t)got;
    }
    return TD_OK;
}

/* Octal digits between blanks, or base 256 when the first bit is set (GNU). */
static bool take_number(const uint8_t *field, size_t n, int64_t *out) {
    int64_t value = 0;
    if ((field[0] & 0x80) != 0) {
        for (size_t i = 1; i < n; i++) {
            if (value >> 54 != 0) {
                return false;
            }
            value = value << 8 | field[i];
        }
        *out = value;
        return field[0] == 0x80;
    }
    size_t i = 0;
    while (i < n && field[i] == ' ') {
        i++;
    }
    size_t first = i;
    for (; i < n && field[i] >= '0' && field[i] <= '7'; i++) {
        value = value << 3 | (field[i] - '0');
    }
    *out = value;
    return i > first && (i == n || field[i] == ' ' || field[i] == '\0');
}

static bool sum_is_right(const uint8_t header[BLOCK]) {
    int64_t said, sum = 0;
    for (int i = 0; i < BLOCK; i++) {
        sum += i >= SUM_AT && i < SUM_AT + SUM_BYTES ? ' ' : header[i];
    }
    return take_number(header + SUM_AT, SUM_BYTES, &said) && said == sum;
}

static bool is_zero(const uint8_t header[BLOCK]) {
    for (int i = 0; i < BLOCK; i++) {
        if (header[i] != 0) {
            return false;
        }
    }
    return true;
}

/* "length key=value\n" records; path and size concern us. */
static bool take_pax(walk *w) {
    const char *at = w->extension.data, *end = at + w->extension.size;
    while (at < end) {
        char *digits_end;
        long length = strtol(at, &digits_end, 10);
        if (length <= 0 || length > end - at || *digits_end != ' ' || at[length - 1] != '\n' ||
            digits_end >= at + length) {
            return false;
        }
        const char *key = digits_end + 1, *stop = at + length - 1;
        const char *equals = memchr(key, '=', (size_t)(stop - key));
        if (equals == NULL) {
            return false;
        }
        if (equals - key == 4 && memcmp(key, "path", 4) == 0) {
            w->name.size = 0;
            td_text_append(&w->name, equals + 1, (size_t)(stop - equals - 1));
        } else if (equals - key == 4 && memcmp(key, "size", 4) == 0) {
            w->size = strtoll(equals + 1, NULL, 10);
        }
        at += length;
    }
    return true;
}

static td_status take_extension(walk *w, char type, int64_t size) {
    if (size > EXTENSION_MAX) {
        return wrong(w, "a name of more than 1 MiB");
    }
    char *bytes = td_alloc((size_t)size + 1);
    if (bytes == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a name in %s", w->path);
    }
    td_status status = read_at(w, w->at + BLOCK, bytes, (size_t)size);
    bytes[size] = '\0';
    w->extension.size = 0;
    td_text_append(&w->extension, bytes, (size_t)size);
    td_free(bytes);
    TD_TRY(status);
    TD_TRY(td_text_status(&w->extension));
    if (type == 'L') {
        w->name.size = 0;
        td_text_puts(&w->name, w->extension.data);
    } else if (!take_pax(w)) {
        return wrong(w, "a pax header that cannot be read");
    }
    return td_text_status(&w->name);
}

static void plain_name(walk *w, const uint8_t header[BLOCK]) {
    const char *name = (const char *)header + NAME_AT, *prefix = (const char *)header + PREFIX_AT;
    bool ustar = memcmp(header + MAGIC_AT, "ustar\0", 6) == 0;
    w->name.size = 0;
    if (ustar && prefix[0] != '\0') {
        td_text_append(&w->name, prefix, strnlen(prefix, PREFIX_BYTES));
        td_text_puts(&w->name, "/");
    }
    td_text_append(&w->name, name, strnlen(name, NAME_BYTES));
}

static td_status one_member(walk *w, const uint8_t header[BLOCK], td_tar_member_fn *each,
                            void *arg) {
    int64_t size;
    char type = (char)header[TYPE_AT];
    if (!sum_is_right(header)) {
        return wrong(w, w->at == 0 ? "wrong checksum (is this a tar file? compressed ones are not "
                                     "read in place)"
                                   : "wrong checksum");
    }
    if (!take_number(header + SIZE_AT, SIZE_BYTES, &size)) {
        return wrong(w, "no size");
    }
    bool extension = type == 'L' || type == 'x';
    size = !extension && w->size >= 0 ? w->size : size;
    if (size > w->file_bytes - w->at - BLOCK) {
        return wrong(w, "a member that ends behind the end of the file");
    }
    if (extension) {
        TD_TRY(take_extension(w, type, size));
    } else {
        if (w->name.size == 0) {
            plain_name(w, header);
        }
        TD_TRY(td_text_status(&w->name));
        if (type == '0' || type == '\0' || type == '7') {
            TD_TRY(each(arg, w->name.data, w->at + BLOCK, size));
        }
        w->name.size = 0;
        w->size = -1;
    }
    w->at += BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK;
    return TD_OK;
}

td_status td_tar_walk(int fd, const char *path, td_tar_member_fn *each, void *arg) {
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return td_fail(TD_EIO, "read %s: %s", path, strerror(errno));
    }
    walk w = {.fd = fd, .path = path, .file_bytes = (int64_t)info.st_size, .size = -1};
    td_status status = TD_OK;
    bool over = false;
    while (status == TD_OK && !over && w.at < w.file_bytes) {
        uint8_t header[BLOCK];
        if (w.file_bytes - w.at < BLOCK) {
            status = wrong(&w, "the file ends inside it");
            break;
        }
        status = read_at(&w, w.at, header, BLOCK);
        over = status == TD_OK && is_zero(header);
        if (status == TD_OK && !over) {
            status = one_member(&w, header, each, arg);
        }
    }
    td_text_destroy(&w.name);
    td_text_destroy(&w.extension);
    return status;
}
