/* SPDX-License-Identifier: Apache-2.0
 * Recorded results of TensorFlow, run against this library. A case names an operation, its input
 * and its parameters; its function gives the result in the form the file has it in, and one
 * comparison serves them all.
 */
#ifndef TD_TESTS_ORACLE_ORACLE_H
#define TD_TESTS_ORACLE_ORACLE_H

#include <jansson.h>

#include "base/text.h"
#include "data/tensor.h"

typedef enum oracle_verdict { ORACLE_PASS, ORACLE_FAIL, ORACLE_UNSUPPORTED } oracle_verdict;

typedef struct oracle_case {
    const char *id, *op;
    const json_t *input, *config, *expected;
    td_pool *pool; /* for everything the case needs */
} oracle_case;

/* The result as JSON, a new reference; NULL: the failure is td_tf_last() and td_error(). */
typedef json_t *oracle_fn(const oracle_case *item);

/* clang-format off */
/*  operation                        function */
#define ORACLE_OP_MAP(X) \
    X("crc32c",                      oracle_crc32c) \
    X("tfrecord_header",             oracle_tfrecord_header) \
    X("tfrecord_write",              oracle_tfrecord_write) \
    X("tfrecord_read",               oracle_tfrecord_read) \
    X("tfrecord_iterator",           oracle_tfrecord_iterator) \
    X("tfrecord_truncation_sweep",   oracle_tfrecord_truncation) \
    X("tfrecord_flip_sweep",         oracle_tfrecord_flip) \
    X("tfrecord_random_read",        oracle_tfrecord_random_read) \
    X("tfrecord_index",              oracle_tfrecord_index) \
    X("tfrecord_writer_misuse",      oracle_tfrecord_writer_misuse) \
    X("sharded_filename",            oracle_sharded_filename) \
    X("serialize_example",           oracle_serialize_example) \
    X("parse_example",               oracle_parse_example) \
    X("parse_sequence_example",      oracle_parse_sequence) \
    X("fingerprint64",               oracle_fingerprint64) \
    X("fingerprint_cat64",           oracle_fingerprint_cat64) \
    X("hash_bucket",                   oracle_hash_bucket) \
    X("as_string",                     oracle_as_string) \
    X("to_number",                     oracle_to_number) \
    X("cast",                          oracle_cast) \
    X("interleave",                    oracle_interleave) \
    X("shard",                         oracle_shard) \
    X("shuffle",                       oracle_shuffle) \
    X("batch",                         oracle_batch) \
    X("sparse_cross",                  oracle_sparse_cross) \
    X("fc_meta",                       oracle_fc_meta) \
    X("make_parse_spec",               oracle_make_parse_spec) \
    X("fc_categorical",                oracle_fc_categorical) \
    X("fc_dense_raw",                  oracle_fc_dense_raw) \
    X("fc_dense",                      oracle_fc_dense) \
    X("fc_linear",                     oracle_fc_linear) \
    X("fc_sequence",                   oracle_fc_sequence) \
    X("concatenate_context_input",     oracle_concatenate_context) \
    X("bucketize",                     oracle_bucketize) \
    X("embedding_lookup",              oracle_embedding_lookup) \
    X("embedding_lookup_sparse",       oracle_embedding_lookup_sparse) \
    X("safe_embedding_lookup_sparse",  oracle_safe_embedding_lookup_sparse) \
    X("keras_layer",                   oracle_keras_layer)
/* clang-format on */

#define ORACLE_DECLARE(name, function) oracle_fn function;
ORACLE_OP_MAP(ORACLE_DECLARE)
#undef ORACLE_DECLARE

/* Runs one case of a file. detail, when it failed, holds what was expected and what came out. */
oracle_verdict oracle_run(const json_t *item, td_text *detail);

/* The cases of a file: TD_EINPUT when it is not one. The caller frees the whole file. */
td_status oracle_load(const char *path, json_t **file, json_t **cases);

/* Values. Every function allocates from the pool; malformed input gives an empty value. */
td_span oracle_bytes(const oracle_case *item, const json_t *data);
uint64_t oracle_u64(const json_t *value); /* a number, or its digits as text */
td_tensor oracle_tensor(const oracle_case *item, const json_t *value);
td_array oracle_value(const oracle_case *item, const json_t *value);
/* Numbers nested in lists, flattened; shape from the nesting. */
td_tensor oracle_nested(const oracle_case *item, const json_t *list, td_element_type dtype);

json_t *oracle_tensor_json(const td_tensor *tensor);
json_t *oracle_value_json(const td_array *value);
json_t *oracle_hex(td_span bytes);
json_t *oracle_error_json(void); /* {"class", "status", "message"} of the last failure */

#endif
