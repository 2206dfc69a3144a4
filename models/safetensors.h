/* SPDX-License-Identifier: Apache-2.0
 * safetensors files: 8 bytes of header length, a JSON header (name -> dtype, shape, place), then
 * the data. The reader maps the file and trusts nothing in it: lengths, places and shapes are
 * checked against the file before any byte of data is looked at. The writer's file appears under
 * its name only when complete.
 */
#ifndef TD_MODELS_SAFETENSORS_H
#define TD_MODELS_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Element types that are understood; a file with others can be opened, but those tensors cannot be
 * read. */
typedef enum td_file_dtype {
    TD_FILE_F32,
    TD_FILE_F64,
    TD_FILE_I32,
    TD_FILE_I64,
    TD_FILE_OTHER
} td_file_dtype;

enum { TD_FILE_MAX_DIMS = 8 };

typedef struct td_file_tensor {
    const char *name;
    td_file_dtype dtype;
    int n_dims;
    int64_t dims[TD_FILE_MAX_DIMS];
    int64_t count;
    const void *data; /* of any alignment when read */
} td_file_tensor;

typedef struct td_safetensors {
    char *path;
    void *map;
    size_t map_bytes;
    void *header;            /* the parsed JSON, which owns names and metadata */
    td_file_tensor *tensors; /* in order of place */
    int64_t count;
} td_safetensors;

td_status td_safetensors_open(const char *path, td_safetensors *out);
void td_safetensors_close(td_safetensors *file);

/* NULL when absent. */
const td_file_tensor *td_safetensors_find(const td_safetensors *file, const char *name);
const char *td_safetensors_metadata(const td_safetensors *file, const char *key);

/* Copies one tensor out. It must exist with that shape (dims of size 1 at the front and an empty
 * shape for one element are the same) and hold floats, or for _i32 whole numbers that fit;
 * TD_EINPUT names file, tensor, expected and found. */
td_status td_safetensors_read_f32(const td_safetensors *file, const char *name, int n_dims,
                                  const int64_t *dims, float *out);
td_status td_safetensors_read_f64(const td_safetensors *file, const char *name, int n_dims,
                                  const int64_t *dims, double *out);
td_status td_safetensors_read_i32(const td_safetensors *file, const char *name, int n_dims,
                                  const int64_t *dims, int32_t *out);

/* metadata: n_metadata pairs of key and value. */
td_status td_safetensors_write(const char *path, const td_file_tensor *tensors, int64_t n_tensors,
                               const char *const (*metadata)[2], int64_t n_metadata);

#endif
