/* SPDX-License-Identifier: Apache-2.0
 * Feature columns: how named inputs (numbers, ids, strings) become the numbers a model eats, with
 * TensorFlow's semantics, names, order and errors. Ids and hashes are equal bit for bit.
 *
 * A list of columns is described in JSON, one object a column:
 *   {"type": "numeric", "key", "shape": [1], "default", "dtype": "float32",
 *    "normalizer": {"op": "add" | "mul" | "log1p", "value"}}
 *   {"type": "bucketized", "source": numeric column, "boundaries": [..]}
 *   {"type": "identity", "key", "num_buckets", "default"}
 *   {"type": "vocab_list", "key", "vocabulary": [..], "dtype", "default": -1, "num_oov_buckets"}
 *   {"type": "vocab_file", "key", "file", "size", "default", "dtype", "num_oov_buckets",
 *    "file_format": "text" | "tfrecord_gzip"}
 *   {"type": "hash_bucket", "key", "hash_bucket_size", "dtype": "string"}
 *   {"type": "weighted", "categorical": column, "weight_key", "dtype": "float32"}
 *   {"type": "crossed", "keys": [key or column, ..], "hash_bucket_size", "hash_key"}
 *   {"type": "indicator", "categorical": column}
 *   {"type": "embedding", "categorical": column, "dimension", "table": [[..], ..],
 *    "combiner": "mean" | "sum" | "sqrtn", "max_norm", "safe": true}
 *   {"type": "shared_embeddings", "categoricals": [column, ..], "dimension", "table", ..}
 * and Keras' layers, with its names and defaults:
 *   {"type": "hashing", "key", "dtype": "string" | "int64" | "float32", "num_bins", "mask_value",
 *    "salt": number or [number, number], "output_mode"}
 *   {"type": "hashed_crossing", "keys": [key or {"key", "dtype": "int64"}, ..], "num_bins",
 *    "output_mode"}
 *   {"type": "string_lookup" | "integer_lookup", "key", "vocabulary": [..], "num_oov_indices": 1,
 *    "mask_token", "oov_token", "max_tokens", "pad_to_max_tokens", "idf_weights": [..],
 *    "oov_method": "floormod" | "farmhash", "salt", "output_mode"}
 *   {"type": "discretization", "key", "dtype": "float32", "bin_boundaries": [..], "output_mode"}
 *   {"type": "category_encoding", "key", "num_tokens", "output_mode": "multi_hot"}
 *   {"type": "normalization", "key", "dtype": "float32", "mean", "variance", "axis": -1, "invert"}
 * "output_mode" is "int", which makes a categorical column, or "one_hot", "multi_hot", "count" or
 * "tf_idf", which make dense ones. All may have "name" and "shape"; without a shape, hashing,
 * lookups and encodings that are not "one_hot" read lists of any length, the others [1].
 * "sequence": true makes the sequence variant of numeric, identity, vocabulary and hash columns.
 */
#ifndef TD_DATA_COLUMN_H
#define TD_DATA_COLUMN_H

#include <jansson.h>

#include "data/example_spec.h"

typedef enum td_column_type {
    TD_COLUMN_NUMERIC,
    TD_COLUMN_BUCKETIZED,
    TD_COLUMN_IDENTITY,
    TD_COLUMN_VOCAB_LIST,
    TD_COLUMN_VOCAB_FILE,
    TD_COLUMN_HASH,
    TD_COLUMN_WEIGHTED,
    TD_COLUMN_CROSSED,
    TD_COLUMN_INDICATOR,
    TD_COLUMN_EMBEDDING,
    TD_COLUMN_SHARED_EMBEDDING,
    TD_COLUMN_HASHING, /* Keras' layers from here on */
    TD_COLUMN_HASHED_CROSSING,
    TD_COLUMN_STRING_LOOKUP,
    TD_COLUMN_INTEGER_LOOKUP,
    TD_COLUMN_DISCRETIZATION,
    TD_COLUMN_CATEGORY_ENCODING,
    TD_COLUMN_NORMALIZATION,
    TD_COLUMN_TYPES
} td_column_type;

typedef enum td_combiner { TD_COMBINER_MEAN, TD_COMBINER_SUM, TD_COMBINER_SQRTN } td_combiner;

typedef enum td_normalizer {
    TD_NORMALIZER_NONE,
    TD_NORMALIZER_ADD,
    TD_NORMALIZER_MUL,
    TD_NORMALIZER_LOG1P
} td_normalizer;

/* Keys to row numbers; what is not in it goes to a bucket by its fingerprint, or to the default. */
typedef struct td_vocabulary td_vocabulary;

/* What only a layer of Keras has. */
typedef struct td_column_layer td_column_layer;

typedef struct td_column td_column;

/* A leaf of a cross: a feature by name, or a column. */
typedef struct td_cross_leaf {
    td_span key;
    const td_column *column; /* NULL: the feature itself */
    td_element_type dtype;   /* of the feature: bytes, but for a layer's */
} td_cross_leaf;

struct td_column {
    td_column_type type;
    td_span name; /* NUL-terminated too */
    td_span key;
    bool sequence;
    td_element_type dtype;
    int rank;
    int64_t shape[TD_RANK_MAX];
    bool has_default;
    td_tensor fallback; /* numeric: of the shape */
    td_normalizer normalizer;
    double normalizer_value;
    float *boundaries;
    int64_t n_boundaries;
    int64_t buckets, id_default; /* of categorical columns */
    td_vocabulary *vocabulary;
    int vocabulary_class; /* a td_tf_class: the file is bad, which shows when it is used */
    const char *vocabulary_message;
    const td_column *source; /* of bucketized, weighted, indicator and embedding columns */
    td_span weight_key;
    const td_cross_leaf *leaves; /* of a cross, nested ones laid flat, or a layer's keys */
    int n_leaves;
    uint64_t hash_key;
    int64_t dimension;
    td_tensor table;              /* [buckets, dimension]; data NULL: the caller has to give one */
    const td_column *shared_with; /* the first column of those that share the table, or NULL */
    td_combiner combiner;
    double max_norm; /* 0: none */
    bool safe;
    const td_column_layer *layer; /* NULL but for Keras' layers */
};

typedef struct td_column_list {
    td_column **columns; /* as given; shared embeddings are one column for each of theirs */
    int count;
} td_column_list;

#define TD_HASH_KEY_DEFAULT UINT64_C(0xdecafcaffe)

/* Builds columns from a JSON list; memory from the pool, which has to live as long as they do. The
 * message names the place ("columns[2].categorical") and what was expected there. A vocabulary file
 * is a path; hex_files: its contents in hexadecimal digits, as test files have it. */
td_status td_columns_build(const json_t *list, bool hex_files, td_pool *pool, td_column_list *out);

/* The same; messages call the list by this name. */
td_status td_columns_build_at(const json_t *list, const char *name, td_pool *pool,
                              td_column_list *out);

/* The same from a file that holds {"columns": [..]} or the list itself. */
td_status td_columns_load(const char *path, td_pool *pool, td_column_list *out);

/* Columns in the order in which their results stand: by name. TD_EINPUT for none, or for two of one
 * name. */
td_status td_columns_sort(const td_column_list *list, td_pool *pool, td_column_list *out);

/* What has to be parsed from Examples for the columns: one specification a feature. */
td_status td_columns_parse_spec(const td_column_list *list, td_pool *pool, td_feature_spec **specs,
                                int *count);

bool td_column_is_categorical(const td_column *column); /* has ids */
bool td_column_is_dense(const td_column *column);       /* has a dense tensor */
/* Shape of the dense tensor without the batch; rank. */
int td_column_variable_shape(const td_column *column, int64_t shape[TD_RANK_MAX]);

/* Inputs of a batch by name. */
typedef struct td_feature_map {
    const td_span *keys;
    const td_array *values; /* tensors or sparse */
    int count;
} td_feature_map;

/* Where cell i of a tensor is: an index for each dimension. */
void td_tensor_place(const td_tensor *tensor, int64_t i, int64_t *index);

/* An input by name, with a second dimension when it has only one. */
td_status td_feature_get(const td_feature_map *features, td_span key, td_pool *pool, td_array *out);
/* What is not sparse becomes it; '', -1 or 0.0 cells are left out. */
td_status td_to_sparse(const td_array *value, td_pool *pool, td_sparse *out);

typedef struct td_ids {
    td_sparse ids; /* int64, of bucketized columns int32 */
    bool weighted;
    td_sparse weights;  /* float32, or float64 where the column says so */
    bool static_counts; /* numbers of ids and weights are known before anything is computed */
} td_ids;

/* Numbers as float32; strings cannot be cast. */
td_status td_to_float32(const td_tensor *given, td_pool *pool, td_tensor *out);

/* Ids of a categorical column. */
td_status td_column_ids(const td_column *column, const td_feature_map *features, td_pool *pool,
                        td_ids *out);
/* Buckets of a bucketized column's input, in its shape: int32. */
td_status td_column_buckets(const td_column *column, const td_feature_map *features, td_pool *pool,
                            td_tensor *out);
/* Dense tensor of a numeric, bucketized, indicator or embedding column, not flattened. sequence: of
 * a sequence column, with the lengths of its rows. */
td_status td_column_dense(const td_column *column, const td_feature_map *features, bool sequence,
                          td_pool *pool, td_tensor *out, td_tensor *lengths);

/* All columns, sorted by name, flattened, side by side: [batch, width]. */
td_status td_columns_dense(const td_column_list *sorted, const td_feature_map *features,
                           td_pool *pool, td_tensor *out);
/* The same for sequence columns: [batch, steps, width], and int64 [batch] lengths. */
td_status td_columns_sequence(const td_column_list *sorted, const td_feature_map *features,
                              td_pool *pool, td_tensor *out, td_tensor *lengths);
/* Context beside every step of a sequence. */
td_status td_concatenate_context(const td_tensor *context, const td_tensor *sequence, td_pool *pool,
                                 td_tensor *out);

/* weights[i] of sorted column i: [buckets or width, units], data NULL for zeros. bias: units
 * numbers or NULL. */
td_status td_columns_linear(const td_column_list *sorted, const td_feature_map *features,
                            const td_tensor *weights, const float *bias, int64_t units,
                            td_combiner combiner, td_pool *pool, td_tensor *out);

/* Crosses. inputs are sparse or dense, rank 2, of integers or bytes. Sparse ones come first. */
typedef enum td_cross_mode { TD_CROSS_HASHED, TD_CROSS_STRING, TD_CROSS_STRONG } td_cross_mode;
typedef struct td_cross_options {
    td_cross_mode mode;
    int64_t buckets; /* 0: all of int64 */
    uint64_t hash_key;
    bool strong_hash; /* TD_CROSS_STRONG: strings by SipHash under salt */
    uint64_t salt[2];
    td_span separator;
} td_cross_options;
td_status td_sparse_cross(const td_array *inputs, int count, const td_cross_options *options,
                          td_pool *pool, td_sparse *out);

/* Bucket of every element among boundaries that do not fall: [b(i-1), b(i)) is i. int32. */
td_status td_bucketize(const td_tensor *values, const float *boundaries, int64_t n, td_pool *pool,
                       td_tensor *out);

/* Embeddings. table: [rows, width] float32. */
typedef struct td_lookup {
    const td_tensor *table;
    td_combiner combiner;
    double max_norm;    /* 0: none */
    bool safe;          /* leave out ids below 0 and, but for sums, weights that are not above 0 */
    int64_t default_id; /* safe: row for an empty row of ids; -1: zeros */
} td_lookup;
td_status td_embedding_lookup(const td_tensor *table, const td_tensor *ids, double max_norm,
                              td_pool *pool, td_tensor *out);
td_status td_embedding_lookup_sparse(const td_lookup *lookup, const td_ids *ids, td_pool *pool,
                                     td_tensor *out);
/* The same of one row: n ids, weights beside them or NULL, to as many floats as the table is wide.
 */
td_status td_embedding_row(const td_lookup *lookup, const int64_t *ids, const float *weights,
                           int64_t n, float *out);

/* Vocabularies. keys: bytes or integers. */
typedef enum td_vocabulary_format {
    TD_VOCABULARY_TEXT,
    TD_VOCABULARY_TFRECORD_GZIP
} td_vocabulary_format;
td_status td_vocabulary_from_list(const td_tensor *keys, td_pool *pool, td_vocabulary **out);
/* contents of a file; size -1: all of it. */
td_status td_vocabulary_from_file(td_span contents, td_vocabulary_format format,
                                  td_element_type dtype, int64_t size, td_pool *pool,
                                  td_vocabulary **out);
int64_t td_vocabulary_size(const td_vocabulary *vocabulary);
/* -1 when it is not there. */
int64_t td_vocabulary_find(const td_vocabulary *vocabulary, td_span key);
/* The same when the key's fingerprint is known. */
int64_t td_vocabulary_find_by(const td_vocabulary *vocabulary, uint64_t fingerprint, td_span key);
int64_t td_vocabulary_find_int(const td_vocabulary *vocabulary, int64_t key);

#endif
