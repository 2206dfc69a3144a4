/* SPDX-License-Identifier: Apache-2.0 */
#include "models/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/text.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the format is little-endian; so is every machine here");

/* The format's own limit on headers. */
enum { MAX_HEADER = 100 * 1000 * 1000, LENGTH_BYTES = 8 };

static const struct {
    const char *name;
    int bytes;
    td_file_dtype dtype;
} dtypes[] = {{"F32", 4, TD_FILE_F32},   {"F64", 8, TD_FILE_F64},   {"I32", 4, TD_FILE_I32},
              {"I64", 8, TD_FILE_I64},   {"F16", 2, TD_FILE_OTHER}, {"BF16", 2, TD_FILE_OTHER},
              {"I16", 2, TD_FILE_OTHER}, {"U16", 2, TD_FILE_OTHER}, {"U32", 4, TD_FILE_OTHER},
              {"U64", 8, TD_FILE_OTHER}, {"I8", 1, TD_FILE_OTHER},  {"U8", 1, TD_FILE_OTHER},
              {"BOOL", 1, TD_FILE_OTHER}};
enum { N_DTYPES = sizeof(dtypes) / sizeof(dtypes[0]) };

/* Entry of the header -> tensor; *first and *last get its place in the data. */
static td_status read_entry(const char *path, const char *name, json_t *entry, int64_t data_bytes,
                            td_file_tensor *out, int64_t *first, int64_t *last) {
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    json_t *shape = json_object_get(entry, "shape"),
           *place = json_object_get(entry, "data_offsets");
    size_t row = 0;
    while (dtype != NULL && row < N_DTYPES && strcmp(dtypes[row].name, dtype) != 0) {
        row++;
    }
    if (dtype == NULL || row == N_DTYPES) {
        return td_fail(TD_EINPUT, "%s: tensor %s: dtype %s is unknown", path, name,
                       dtype == NULL ? "(missing)" : dtype);
    }
    *out = (td_file_tensor){.name = name, .dtype = dtypes[row].dtype, .count = 1};
    if (!json_is_array(shape) || json_array_size(shape) > TD_FILE_MAX_DIMS) {
        return td_fail(TD_EINPUT, "%s: tensor %s: shape must be a list of at most %d numbers", path,
                       name, TD_FILE_MAX_DIMS);
    }
    for (size_t i = 0; i < json_array_size(shape); i++) {
        json_t *dim = json_array_get(shape, i);
        int64_t value = json_is_integer(dim) ? json_integer_value(dim) : -1;
        if (value < 0 || (value > 0 && out->count > data_bytes / value)) {
            return td_fail(TD_EINPUT,
                           "%s: tensor %s: dimension %zu is not a number that fits the file", path,
                           name, i);
        }
        out->dims[out->n_dims++] = value;
        out->count *= value;
    }
    json_t *from = json_array_get(place, 0), *to = json_array_get(place, 1);
    if (json_array_size(place) != 2 || !json_is_integer(from) || !json_is_integer(to)) {
        return td_fail(TD_EINPUT, "%s: tensor %s: data_offsets must be two numbers", path, name);
    }
    *first = json_integer_value(from);
    *last = json_integer_value(to);
    if (*first < 0 || *first > *last || *last > data_bytes) {
        return td_fail(TD_EINPUT,
                       "%s: tensor %s: data_offsets [%" PRId64 ", %" PRId64 ") lie outside %" PRId64
                       " bytes of data",
                       path, name, *first, *last, data_bytes);
    }
    if (*last - *first != out->count * dtypes[row].bytes) {
        return td_fail(TD_EINPUT,
                       "%s: tensor %s: its shape needs %" PRId64
                       " bytes, data_offsets give %" PRId64,
                       path, name, out->count * dtypes[row].bytes, *last - *first);
    }
    return TD_OK;
}

static int by_place(const void *a, const void *b) {
    const td_file_tensor *x = a, *y = b;
    /* Empty tensors share a place with the next one and come before it. */
    if (x->data != y->data) {
        return (const char *)x->data < (const char *)y->data ? -1 : 1;
    }
    return (x->count > 0) - (y->count > 0);
}

static int64_t tensor_bytes(const td_file_tensor *tensor) {
    bool wide = tensor->dtype == TD_FILE_F64 || tensor->dtype == TD_FILE_I64;
    return tensor->count * (wide ? 8 : 4);
}

/* The header names a place for every tensor; together they must cover the data once. */
static td_status read_entries(td_safetensors *file, int64_t data_bytes) {
    const char *data = (const char *)file->map + file->map_bytes - data_bytes;
    const char *name;
    json_t *entry;
    int64_t covered = 0;
    json_object_foreach(file->header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        td_file_tensor *tensor = &file->tensors[file->count];
        int64_t first = 0, last = 0;
        TD_TRY(read_entry(file->path, name, entry, data_bytes, tensor, &first, &last));
        tensor->data = data + first;
        covered += last - first;
        file->count++;
    }
    qsort(file->tensors, (size_t)file->count, sizeof(file->tensors[0]), by_place);
    for (int64_t i = 1; i < file->count; i++) {
        const td_file_tensor *before = &file->tensors[i - 1];
        if (before->dtype != TD_FILE_OTHER && (const char *)before->data + tensor_bytes(before) >
                                                  (const char *)file->tensors[i].data) {
            return td_fail(TD_EINPUT, "%s: tensors %s and %s overlap", file->path, before->name,
                           file->tensors[i].name);
        }
    }
    if (covered != data_bytes) {
        return td_fail(TD_EINPUT, "%s: the tensors cover %" PRId64 " of %" PRId64 " bytes of data",
                       file->path, covered, data_bytes);
    }
    return TD_OK;
}

static td_status map_file(td_safetensors *file) {
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        td_status status = td_fail(TD_EIO, "open %s: %s", file->path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    if (!S_ISREG(info.st_mode) || info.st_size < LENGTH_BYTES) {
        close(fd);
        return td_fail(TD_EINPUT, "%s: %lld bytes; a safetensors file has at least %d", file->path,
                       (long long)info.st_size, LENGTH_BYTES);
    }
    file->map_bytes = (size_t)info.st_size;
    void *map = mmap(NULL, file->map_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED) {
        return td_fail(TD_EIO, "map %s: %s", file->path, strerror(errno));
    }
    file->map = map;
    return TD_OK;
}

static td_status parse_file(td_safetensors *file) {
    uint64_t header_bytes;
    memcpy(&header_bytes, file->map, sizeof(header_bytes));
    if (header_bytes > MAX_HEADER || header_bytes > file->map_bytes - LENGTH_BYTES) {
        return td_fail(TD_EINPUT,
                       "%s: header of %" PRIu64
                       " bytes in a file of %zu: not a safetensors file, or cut",
                       file->path, header_bytes, file->map_bytes);
    }
    json_error_t error;
    file->header = json_loadb((const char *)file->map + LENGTH_BYTES, header_bytes,
                              JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object((json_t *)file->header)) {
        return td_fail(TD_EINPUT, "%s: header: %s", file->path,
                       file->header == NULL ? error.text : "expected an object");
    }
    file->tensors = td_alloc_zero((json_object_size(file->header) + 1) * sizeof(file->tensors[0]));
    if (file->tensors == NULL) {
        return td_fail(TD_ENOMEM, "no memory for the header of %s", file->path);
    }
    return read_entries(file, (int64_t)(file->map_bytes - LENGTH_BYTES - header_bytes));
}

td_status td_safetensors_open(const char *path, td_safetensors *out) {
    td_safetensors file = {.path = td_strdup(path)};
    td_status status =
        file.path == NULL ? td_fail(TD_ENOMEM, "no memory to open %s", path) : map_file(&file);
    if (status == TD_OK) {
        status = parse_file(&file);
    }
    if (status != TD_OK) {
        td_safetensors_close(&file);
        return status;
    }
    *out = file;
    return TD_OK;
}

void td_safetensors_close(td_safetensors *file) {
    if (file->map != NULL) {
        munmap(file->map, file->map_bytes);
    }
    json_decref(file->header);
    td_free(file->tensors);
    td_free(file->path);
    *file = (td_safetensors){0};
}

const td_file_tensor *td_safetensors_find(const td_safetensors *file, const char *name) {
    for (int64_t i = 0; i < file->count; i++) {
        if (strcmp(file->tensors[i].name, name) == 0) {
            return &file->tensors[i];
        }
    }
    return NULL;
}

const char *td_safetensors_metadata(const td_safetensors *file, const char *key) {
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

static void print_shape(int n_dims, const int64_t *dims, char text[96]) {
    size_t used = (size_t)snprintf(text, 96, "[");
    for (int i = 0; i < n_dims && used < 80; i++) {
        used +=
            (size_t)snprintf(text + used, 96 - used, i == 0 ? "%" PRId64 : ", %" PRId64, dims[i]);
    }
    snprintf(text + used, 96 - used, "]");
}

/* The tensor, when it has the shape: leading ones do not count, so [1] is [] and [1, 1, 768] is
 * [768]. */
static td_status find_shaped(const td_safetensors *file, const char *name, int n_dims,
                             const int64_t *dims, const td_file_tensor **out) {
    const td_file_tensor *tensor = td_safetensors_find(file, name);
    if (tensor == NULL) {
        return td_fail(TD_EINPUT, "%s: tensor %s is missing", file->path, name);
    }
    int skip_want = 0, skip_have = 0;
    while (skip_want < n_dims && dims[skip_want] == 1) {
        skip_want++;
    }
    while (skip_have < tensor->n_dims && tensor->dims[skip_have] == 1) {
        skip_have++;
    }
    int n = n_dims - skip_want;
    bool same = n == tensor->n_dims - skip_have;
    for (int i = 0; i < n && same; i++) {
        same = dims[skip_want + i] == tensor->dims[skip_have + i];
    }
    if (!same) {
        char want[96], have[96];
        print_shape(n_dims, dims, want);
        print_shape(tensor->n_dims, tensor->dims, have);
        return td_fail(TD_EINPUT, "%s: tensor %s: expected shape %s, found %s", file->path, name,
                       want, have);
    }
    *out = tensor;
    return TD_OK;
}

static td_status wrong_dtype(const td_safetensors *file, const char *name, const char *expected) {
    return td_fail(TD_EINPUT, "%s: tensor %s: expected %s, found another type", file->path, name,
                   expected);
}

td_status td_safetensors_read_f64(const td_safetensors *file, const char *name, int n_dims,
                                  const int64_t *dims, double *out) {
    const td_file_tensor *tensor;
    TD_TRY(find_shaped(file, name, n_dims, dims, &tensor));
    if (tensor->dtype == TD_FILE_F64) {
        memcpy(out, tensor->data, (size_t)tensor->count * sizeof(double));
        return TD_OK;
    }
    if (tensor->dtype != TD_FILE_F32) {
        return wrong_dtype(file, name, "F32 or F64");
    }
    for (int64_t i = 0; i < tensor->count; i++) {
        float value;
        memcpy(&value, (const char *)tensor->data + i * (int64_t)sizeof(float), sizeof(float));
        out[i] = (double)value;
    }
    return TD_OK;
}

td_status td_safetensors_read_f32(const td_safetensors *file, const char *name, int n_dims,
                                  const int64_t *dims, float *out) {
    const td_file_tensor *tensor;
    TD_TRY(find_shaped(file, name, n_dims, dims, &tensor));
    if (tensor->dtype == TD_FILE_F32) {
        memcpy(out, tensor->data, (size_t)tensor->count * sizeof(float));
        return TD_OK;
    }
    if (tensor->dtype != TD_FILE_F64) {
        return wrong_dtype(file, name, "F32 or F64");
    }
    for (int64_t i = 0; i < tensor->count; i++) {
        double value;
        memcpy(&value, (const char *)tensor->data + i * (int64_t)sizeof(double), sizeof(double));
        out[i] = (float)value;
    }
    return TD_OK;
}

td_status td_safetensors_read_i32(const td_safetensors *file, const char *name, int n_dims,
                                  const int64_t *dims, int32_t *out) {
    const td_file_tensor *tensor;
    TD_TRY(find_shaped(file, name, n_dims, dims, &tensor));
    if (tensor->dtype == TD_FILE_I32) {
        memcpy(out, tensor->data, (size_t)tensor->count * sizeof(int32_t));
        return TD_OK;
    }
    if (tensor->dtype != TD_FILE_I64) {
        return wrong_dtype(file, name, "I32 or I64");
    }
    for (int64_t i = 0; i < tensor->count; i++) {
        int64_t value;
        memcpy(&value, (const char *)tensor->data + i * (int64_t)sizeof(int64_t), sizeof(int64_t));
        if (value < INT32_MIN || value > INT32_MAX) {
            return td_fail(TD_EINPUT,
                           "%s: tensor %s: element %" PRId64 " is %" PRId64 ", beyond 32 bits",
                           file->path, name, i, value);
        }
        out[i] = (int32_t)value;
    }
    return TD_OK;
}

/* The header's JSON, padded with spaces so that the data starts at a multiple of 8 bytes. NULL when
 * memory runs out. */
static char *print_header(const td_file_tensor *tensors, int64_t n_tensors,
                          const char *const (*metadata)[2], int64_t n_metadata) {
    json_t *header = json_object(), *pairs = json_object();
    for (int64_t i = 0; i < n_metadata; i++) {
        json_object_set_new(pairs, metadata[i][0], json_string(metadata[i][1]));
    }
    json_object_set_new(header, "__metadata__", pairs);
    int64_t place = 0;
    for (int64_t i = 0; i < n_tensors; i++) {
        json_t *shape = json_array();
        for (int k = 0; k < tensors[i].n_dims; k++) {
            json_array_append_new(shape, json_integer(tensors[i].dims[k]));
        }
        size_t row = 0;
        while (dtypes[row].dtype != tensors[i].dtype) {
            row++;
        }
        int64_t end = place + tensor_bytes(&tensors[i]);
        json_object_set_new(header, tensors[i].name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[row].name, "shape",
                                      shape, "data_offsets", (json_int_t)place, (json_int_t)end));
        place = end;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    return text;
}

td_status td_safetensors_write(const char *path, const td_file_tensor *tensors, int64_t n_tensors,
                               const char *const (*metadata)[2], int64_t n_metadata) {
    for (int64_t i = 0; i < n_tensors; i++) {
        TD_ASSERT(tensors[i].dtype != TD_FILE_OTHER);
    }
    char *header = print_header(tensors, n_tensors, metadata, n_metadata);
    if (header == NULL) {
        return td_fail(TD_ENOMEM, "no memory for the header of %s", path);
    }
    td_atomic_file file;
    td_status status = td_atomic_open(path, &file);
    if (status == TD_OK) {
        size_t size = strlen(header);
        uint64_t padded = (size + 7) / 8 * 8;
        fwrite(&padded, sizeof(padded), 1, file.stream);
        fprintf(file.stream, "%-*s", (int)padded, header);
        for (int64_t i = 0; i < n_tensors; i++) {
            fwrite(tensors[i].data, 1, (size_t)tensor_bytes(&tensors[i]), file.stream);
        }
        /* td_atomic_commit reports what any of these writes met. */
        status = td_atomic_commit(&file);
    }
    td_free(header);
    return status;
}
