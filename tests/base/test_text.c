/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"

static char directory[] = "/tmp/tandem-text-XXXXXX";

static void make_directory(void) {
    cr_assert_not_null(mkdtemp(directory));
}

static const char *in_directory(const char *name, char path[128]) {
    snprintf(path, 128, "%s/%s", directory, name);
    return path;
}

static int exists(const char *path) {
    return access(path, F_OK) == 0;
}

Test(text, grows_and_keeps_every_byte) {
    td_text text = {0};
    for (int i = 0; i < 1000; i++) {
        td_text_printf(&text, "%d,", i);
    }
    td_text_append(&text, "a\0b", 3);
    cr_assert_eq(td_text_status(&text), TD_OK);
    cr_assert_eq(text.size, 10u + 90 * 2 + 900 * 3 + 1000 + 3);
    cr_assert_arr_eq(text.data + text.size - 8, "998,999,a" + 3, 4);
    td_text_destroy(&text);
    cr_assert_null(text.data);
}

Test(text, file_round_trip, .init = make_directory) {
    char path[128], *data;
    size_t size;
    cr_assert_eq(td_file_write(in_directory("a", path), "x\0y", 3), TD_OK);
    cr_assert_eq(td_file_read(path, &data, &size), TD_OK);
    cr_assert_eq(size, 3);
    cr_assert_arr_eq(data, "x\0y", 4);
    td_free(data);
    cr_assert_eq(td_file_read(in_directory("none", path), &data, &size), TD_EIO);
    cr_assert_neq(strstr(td_error(), path), NULL);
}

Test(text, aborted_output_leaves_the_old_file_and_no_other, .init = make_directory) {
    char path[128], temporary[160], *data;
    size_t size;
    cr_assert_eq(td_file_write(in_directory("a", path), "old", 3), TD_OK);
    td_atomic_file file;
    cr_assert_eq(td_atomic_open(path, &file), TD_OK);
    snprintf(temporary, sizeof temporary, "%s", file.temporary);
    fputs("new", file.stream);
    cr_assert(exists(temporary));
    td_atomic_abort(&file);
    cr_assert_not(exists(temporary));
    cr_assert_eq(td_file_read(path, &data, &size), TD_OK);
    cr_assert_str_eq(data, "old");
    td_free(data);
}

Test(text, a_full_disk_is_an_error_and_keeps_the_old_file, .init = make_directory) {
    char path[128];
    cr_assert_eq(td_file_write(in_directory("a", path), "old", 3), TD_OK);
    td_atomic_file file;
    cr_assert_eq(td_atomic_open(path, &file), TD_OK);
    FILE *full = fopen("/dev/full", "wb");
    cr_assert_not_null(full);
    cr_assert_geq(dup2(fileno(full), fileno(file.stream)), 0);
    fclose(full);
    fputs("new", file.stream);
    cr_assert_eq(td_atomic_commit(&file), TD_EIO);
    cr_assert_neq(strstr(td_error(), "No space left"), NULL);
    char *data;
    size_t size;
    cr_assert_eq(td_file_read(path, &data, &size), TD_OK);
    cr_assert_str_eq(data, "old");
    td_free(data);
}

Test(text, directories_are_made_with_parents, .init = make_directory) {
    char path[128];
    cr_assert_eq(td_make_directory(in_directory("p/q//r/", path)), TD_OK);
    cr_assert_eq(td_make_directory(path), TD_OK);
    cr_assert(exists(path));
    cr_assert_eq(td_file_write(in_directory("file", path), "", 0), TD_OK);
    cr_assert_eq(td_make_directory(in_directory("file/below", path)), TD_EIO);
}

static char *wrapped(int indent, const char *text) {
    char *data = NULL;
    size_t size;
    FILE *stream = open_memstream(&data, &size);
    cr_assert_not_null(stream);
    td_print_wrapped(stream, indent, text);
    fclose(stream);
    return data;
}

Test(text, lines_break_between_words_and_at_newlines) {
    char word[121];
    memset(word, 'x', 120);
    word[120] = '\0';
    char text[400], expected[400];
    snprintf(text, sizeof text, "%.49s %.50s %.100s y\n  z", word, word, word);
    snprintf(expected, sizeof expected, "%.49s %.50s\n%.100s\ny\n  z\n", word, word, word);
    char *lines = wrapped(0, text);
    cr_expect_str_eq(lines, expected);
    free(lines);
    /* One column more and the second word goes to a line of its own; so does one too long for any.
     */
    snprintf(text, sizeof text, "%.46s %.50s %.120s", word, word, word);
    snprintf(expected, sizeof expected, "%.46s\n    %.50s\n    %.120s\n", word, word, word);
    lines = wrapped(4, text);
    cr_expect_str_eq(lines, expected);
    free(lines);
    lines = wrapped(3, "");
    cr_expect_str_eq(lines, "\n");
    free(lines);
}
