/* SPDX-License-Identifier: Apache-2.0 */
#include "models/safetensors.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/rng.h"
#include "base/text.h"
#include "train_case.h"

static void path_of(const char *what, char path[96]) {
    snprintf(path, 96, "/tmp/tandem_safetensors_%s_%d", what, (int)getpid());
}

static const float matrix[6] = {1, -2, 3.5F, 0, 1e-30F, -1e30F};
static const double scalar = 0.1;
static const int32_t ids[3] = {0, 7, -3};

static void write_good(const char *path) {
    td_file_tensor tensors[] = {
        {.name = "m",
         .dtype = TD_FILE_F32,
         .n_dims = 2,
         .dims = {2, 3},
         .count = 6,
         .data = matrix},
        {.name = "s", .dtype = TD_FILE_F64, .n_dims = 0, .count = 1, .data = &scalar},
        {.name = "empty", .dtype = TD_FILE_F32, .n_dims = 1, .dims = {0}, .count = 0, .data = ids},
        {.name = "ids", .dtype = TD_FILE_I32, .n_dims = 1, .dims = {3}, .count = 3, .data = ids}};
    const char *const metadata[][2] = {{"who", "a test"}, {"quote", "\"\\"}};
    td_case_ok(td_safetensors_write(path, tensors, 4, metadata, 2));
}

Test(safetensors, what_is_written_is_read) {
    char path[96];
    path_of("good", path);
    write_good(path);
    td_safetensors file;
    td_case_ok(td_safetensors_open(path, &file));
    cr_assert_eq(file.count, 4);
    float m[6];
    double s;
    int32_t i[3];
    td_case_ok(td_safetensors_read_f32(&file, "m", 2, (int64_t[]){2, 3}, m));
    cr_assert_arr_eq(m, matrix, sizeof(m));
    td_case_ok(td_safetensors_read_f64(&file, "s", 1, (int64_t[]){1}, &s));
    cr_assert_eq(s, scalar);
    td_case_ok(td_safetensors_read_i32(&file, "ids", 1, (int64_t[]){3}, i));
    cr_assert_arr_eq(i, ids, sizeof(ids));
    cr_assert_str_eq(td_safetensors_metadata(&file, "quote"), "\"\\");
    cr_assert_null(td_safetensors_metadata(&file, "other"));
    cr_assert_eq(td_safetensors_read_f32(&file, "m", 2, (int64_t[]){3, 2}, m), TD_EINPUT);
    cr_assert_not_null(strstr(td_error(), "expected shape [3, 2], found [2, 3]"), "%s", td_error());
    cr_assert_eq(td_safetensors_read_f32(&file, "x", 0, NULL, m), TD_EINPUT);
    cr_assert_eq(td_safetensors_read_f32(&file, "ids", 1, (int64_t[]){3}, m), TD_EINPUT);
    cr_assert_eq(td_safetensors_read_i32(&file, "m", 2, (int64_t[]){2, 3}, i), TD_EINPUT);
    td_safetensors_close(&file);
    unlink(path);
}

typedef struct bad_file {
    char header[224], says[48];
    int data_bytes, length; /* length < 0: that of the header */
} bad_file;

ParameterizedTestParameters(safetensors, corrupt_headers) {
#define F32(shape, from, to)                                                                       \
    "{\"dtype\": \"F32\", \"shape\": [" shape "], \"data_offsets\": [" from ", " to "]}"
    static bad_file cases[] = {
        {"", "safetensors", 0, 1000000},
        {"", "safetensors", 0, 0x7FFFFFFF},
        {"{", "header", 0, -1},
        {"[]", "object", 0, -1},
        {"{\"a\": 3}", "dtype", 0, -1},
        {"{\"a\": {\"dtype\": \"F31\"}}", "F31", 0, -1},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": 3}}", "shape", 0, -1},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1, 1, 1, 1, 1, 1, 1, 1, 1]}}", "shape", 0, -1},
        {"{\"a\": " F32("-1", "0", "4") "}", "dimension 0", 4, -1},
        {"{\"a\": " F32("9223372036854775807, 4", "0", "4") "}", "dimension", 4, -1},
        {"{\"a\": " F32("1.5", "0", "4") "}", "dimension", 4, -1},
        {"{\"a\": " F32("1", "0", "8") "}", "needs 4 bytes", 8, -1},
        {"{\"a\": " F32("1", "4", "8") "}", "outside", 4, -1},
        {"{\"a\": " F32("1", "8", "4") "}", "outside", 8, -1},
        {"{\"a\": " F32("1", "-4", "0") "}", "outside", 4, -1},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0]}}", "two numbers", 4,
         -1},
        {"{\"a\": " F32("2", "0", "8") ", \"b\": " F32("2", "4", "12") "}", "overlap", 12, -1},
        {"{\"a\": " F32("1", "0", "4") ", \"b\": " F32("1", "8", "12") "}", "cover", 12, -1},
        {"{\"a\": " F32("1", "0", "4") "}", "cover", 8, -1},
        {"{\"a\": " F32("1", "0", "4") ", \"a\": " F32("1", "4", "8") "}", "duplicate", 8, -1},
    };
    return cr_make_param_array(bad_file, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(bad_file *c, safetensors, corrupt_headers) {
    char path[96];
    path_of("bad", path);
    td_text text = {0};
    uint64_t length = c->length < 0 ? strlen(c->header) : (uint64_t)c->length;
    td_text_append(&text, (const char *)&length, sizeof(length));
    td_text_puts(&text, c->header);
    for (int i = 0; i < c->data_bytes; i++) {
        td_text_append(&text, "", 1);
    }
    td_case_ok(td_file_write(path, text.data, text.size));
    td_safetensors file;
    cr_assert_eq(td_safetensors_open(path, &file), TD_EINPUT, "%s", c->header);
    cr_assert_not_null(strstr(td_error(), c->says), "%s: %s", c->header, td_error());
    cr_assert_not_null(strstr(td_error(), path), "%s", td_error());
    td_text_destroy(&text);
    unlink(path);
}

/* Cut anywhere, or with any byte of the header changed, a file is refused or read within bounds. */
Test(safetensors, damage_never_reads_outside) {
    char path[96];
    path_of("damage", path);
    write_good(path);
    char *good;
    size_t size;
    td_case_ok(td_file_read(path, &good, &size));
    td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, 0);
    for (size_t i = 0; i < size + 2000; i++) {
        char saved = good[i % size];
        size_t kept = i < size ? i : size;
        if (i >= size) {
            good[i % size] = (char)td_rng_u32(&rng);
        }
        td_case_ok(td_file_write(path, good, kept));
        good[i % size] = saved;
        td_safetensors file;
        if (td_safetensors_open(path, &file) == TD_OK) {
            for (int64_t t = 0; t < file.count; t++) {
                double values[64];
                if (file.tensors[t].count <= 64) {
                    (void)td_safetensors_read_f64(&file, file.tensors[t].name,
                                                  file.tensors[t].n_dims, file.tensors[t].dims,
                                                  values);
                }
            }
            td_safetensors_close(&file);
            cr_assert_geq(i, size, "a file cut to %zu of %zu bytes was accepted", i, size);
        }
    }
    td_free(good);
    unlink(path);
}

Test(safetensors, missing_and_unwritable_files) {
    td_safetensors file;
    cr_assert_eq(td_safetensors_open("/nowhere/file", &file), TD_EIO);
    cr_assert_eq(td_safetensors_open("/tmp", &file), TD_EINPUT);
    cr_assert_eq(td_safetensors_write("/nowhere/file", NULL, 0, NULL, 0), TD_EIO);
}
