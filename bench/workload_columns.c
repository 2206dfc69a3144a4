/* SPDX-License-Identifier: Apache-2.0
 * Feature columns by kind and number of workers: a compiled plan from parsed features, the whole
 * layer with and without parsing, and the same layer column by column as it is without a plan.
 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "bench/case.h"
#include "bench/parse_records.h"
#include "data/column_plan.h"

enum { RECORDS = TD_PARSE_RECORDS, BATCHES_MAX = TD_PARSE_BATCHES, FEATURES = TD_PARSE_FEATURES };

/* Records a batch: what TensorFlow's users take, and all of them at once, where what workers need
 * to meet, a few microseconds, is small even beside the cheapest kinds. */
static const int batch_sizes[] = {TD_PARSE_BATCH, RECORDS};
enum { SIZES = sizeof batch_sizes / sizeof batch_sizes[0] };

typedef enum how { PARSED, FROM_RECORDS, ONE_BY_ONE } how;

#define TAGS(type, rest) "{'type':'" type "','key':'b_tags'," rest "}"
#define EMBEDDED(column) "{'type':'embedding','dimension':8,'categorical':" column "}"
#define COUNTED(column)  "{'type':'indicator','categorical':" column "}"
#define HASHED_WORDS     "{'type':'hash_bucket','key':'b_words','hash_bucket_size':1000}"
#define HASHED_NUMBERS                                                                             \
    "{'type':'hash_bucket','key':'i_four','dtype':'int64','hash_bucket_size':1000}"
#define CROSSED "{'type':'crossed','keys':['b_tags','b_words'],'hash_bucket_size':1000}"
#define TEN_WORDS                                                                                  \
    "'vocabulary':['word_000001','word_000002','word_000003','word_000004','word_000005',"         \
    "'word_000006','word_000007','word_000008','word_000009','word_000010']"
#define LISTED TAGS("vocab_list", TEN_WORDS ",'num_oov_buckets':1")
#define NUMBERS                                                                                    \
    "{'type':'numeric','key':'f_one'},{'type':'numeric','key':'f_two'},"                           \
    "{'type':'numeric','key':'i_one','dtype':'int64'},"                                            \
    "{'type':'numeric','key':'i_two','dtype':'int64'}"
#define BUCKETS                                                                                    \
    "{'type':'bucketized','source':{'type':'numeric','key':'f_one'},"                              \
    "'boundaries':[-1,-0.5,0,0.5,1]},"                                                             \
    "{'type':'bucketized','source':{'type':'numeric','key':'f_two'},'boundaries':[-1,0,1]}"
/* Four numbers, two sets of buckets, an indicator and three embeddings: 49 values wide. */
#define LAYER                                                                                      \
    NUMBERS "," BUCKETS "," COUNTED(LISTED) "," EMBEDDED(HASHED_WORDS) "," EMBEDDED(               \
        HASHED_NUMBERS) "," EMBEDDED(CROSSED)

static const struct {
    const char *id, *columns;
    how how;
} variants[] = {
    {"data/columns/numeric", NUMBERS, PARSED},
    {"data/columns/bucketized", BUCKETS, PARSED},
    {"data/columns/identity",
     COUNTED("{'type':'identity','key':'i_four','num_buckets':16,'default':0}"), PARSED},
    {"data/columns/vocabulary", COUNTED(LISTED), PARSED},
    {"data/columns/weighted",
     COUNTED("{'type':'weighted','weight_key':'f_one','categorical':{'type':'identity',"
             "'key':'i_one','num_buckets':16,'default':0}}"),
     PARSED},
    {"data/columns/hash_string", EMBEDDED(HASHED_WORDS), PARSED},
    {"data/columns/hash_int", EMBEDDED(HASHED_NUMBERS), PARSED},
    {"data/columns/crossed", EMBEDDED(CROSSED), PARSED},
    {"data/columns/keras_hashing", EMBEDDED("{'type':'hashing','key':'b_words','num_bins':1000}"),
     PARSED},
    {"data/columns/keras_hashed_crossing",
     EMBEDDED("{'type':'hashed_crossing','num_bins':1000,"
              "'keys':[{'key':'i_one','dtype':'int64'},{'key':'i_two','dtype':'int64'}]}"),
     PARSED},
    {"data/columns/keras_string_lookup",
     TAGS("string_lookup", TEN_WORDS ",'output_mode':'multi_hot'"), PARSED},
    {"data/columns/keras_integer_lookup",
     EMBEDDED("{'type':'integer_lookup','key':'i_four','vocabulary':[1,2,3,5,8,13]}"), PARSED},
    {"data/columns/keras_discretization",
     "{'type':'discretization','key':'f_one','bin_boundaries':[-1,-0.5,0,0.5,1],"
     "'output_mode':'one_hot'},"
     "{'type':'discretization','key':'f_two','bin_boundaries':[-1,0,1],'output_mode':'one_hot'}",
     PARSED},
    {"data/columns/keras_category_encoding",
     "{'type':'category_encoding','key':'i_four','num_tokens':16}", PARSED},
    {"data/columns/keras_normalization",
     "{'type':'normalization','key':'f_one','mean':0.5,'variance':2},"
     "{'type':'normalization','key':'f_two','mean':0.5,'variance':2}",
     PARSED},
    {"data/columns/layer", LAYER, PARSED},
    {"data/columns/layer_one_by_one", LAYER, ONE_BY_ONE},
    {"data/columns/parse_and_layer", LAYER, FROM_RECORDS},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

typedef struct columns_state {
    td_span *records;
    td_text bytes;
    td_pool setup, pool;
    td_column_list columns;
    td_column_plan *plan;
    td_array parsed[BATCHES_MAX][FEATURES]; /* for the plan */
    td_span keys[FEATURES];                 /* and for columns one by one, sparse */
    td_array sparse[BATCHES_MAX][FEATURES];
    int n_parsed, n_sparse, next, batch, n_batches; /* batch: records of one */
    int64_t width;
    float *dense;
} columns_state;

static td_status build_columns(columns_state *s, const char *quoted) {
    td_text text = {0};
    td_column_list built;
    td_text_printf(&text, "[%s]", quoted);
    TD_TRY(td_text_status(&text));
    for (size_t i = 0; i < text.size; i++) {
        text.data[i] = text.data[i] == '\'' ? '"' : text.data[i];
    }
    json_t *list = json_loads(text.data, 0, NULL);
    td_text_destroy(&text);
    td_status status = td_columns_build(list, false, &s->setup, &built);
    json_decref(list);
    TD_TRY(status);
    for (int i = 0; i < built.count; i++) {
        td_column *column = built.columns[i];
        const int64_t shape[2] = {column->buckets, column->dimension};
        if (column->type == TD_COLUMN_EMBEDDING) {
            TD_TRY(td_tensor_take(&s->setup, TD_ELEMENT_FLOAT32, 2, shape, &column->table));
            td_rng rng = td_rng_make(7, TD_PURPOSE_INIT, (uint64_t)i);
            for (int64_t j = 0; j < column->table.count; j++) {
                ((float *)column->table.data)[j] = (float)td_rng_normal(&rng);
            }
        }
    }
    return td_columns_sort(&built, &s->setup, &s->columns);
}

static td_status parse_all(columns_state *s, const td_parse_feature *features, int n,
                           td_array values[BATCHES_MAX][FEATURES]) {
    td_example_parser *parser;
    TD_TRY(td_example_parser_create(features, n, &parser));
    td_status status = TD_OK;
    for (int b = 0; b < s->n_batches && status == TD_OK; b++) {
        status = td_example_parse_batch(parser, s->records + (size_t)b * (size_t)s->batch, s->batch,
                                        NULL, NULL, &s->setup, values[b]);
    }
    td_example_parser_destroy(parser);
    return status;
}

static td_status setup_columns(td_bench *bench) {
    columns_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (s == NULL) {
        return td_fail(TD_ENOMEM, "a case of columns");
    }
    s->batch = (int)bench->subject->param[1];
    s->n_batches = RECORDS / s->batch;
    TD_TRY(td_parse_records_make(&s->setup, &s->bytes, &s->records));
    TD_TRY(build_columns(s, variants[bench->subject->param[0]].columns));
    td_plan_spec spec = {.dense = s->columns};
    TD_TRY(td_column_plan_create(&spec, &s->plan));
    s->width = td_column_plan_width(s->plan);
    s->dense = td_pool_take(&s->setup, (size_t)(s->batch * s->width) * sizeof *s->dense);
    const td_parse_feature *features = td_column_plan_features(s->plan, &s->n_parsed);
    TD_TRY(parse_all(s, features, s->n_parsed, s->parsed));
    td_feature_spec *specs;
    td_spec_plan raw;
    TD_TRY(td_columns_parse_spec(&s->columns, &s->setup, &specs, &s->n_sparse));
    TD_TRY(td_spec_plan_create(specs, s->n_sparse, false, &s->setup, &raw));
    for (int i = 0; i < raw.n_raw; i++) {
        s->keys[i] = raw.raw[i].key;
    }
    s->n_sparse = raw.n_raw;
    return s->dense == NULL ? td_fail(TD_ENOMEM, "a case of columns")
                            : parse_all(s, raw.raw, raw.n_raw, s->sparse);
}

static td_status one_by_one(columns_state *s, int batch, td_tensor *out) {
    td_feature_map map = {s->keys, s->sparse[batch], s->n_sparse};
    td_pool_reset(&s->pool);
    return td_columns_dense(&s->columns, &map, &s->pool, out);
}

static td_status compute(td_bench *bench, int batch) {
    columns_state *s = bench->state;
    td_tensor out;
    switch (variants[bench->subject->param[0]].how) {
    case ONE_BY_ONE:
        return one_by_one(s, batch, &out);
    case FROM_RECORDS:
        return td_column_plan_run(s->plan, s->records + (size_t)batch * (size_t)s->batch, s->batch,
                                  NULL, bench->team, s->dense, s->width, NULL);
    case PARSED:
        break;
    }
    return td_column_plan_apply(s->plan, s->parsed[batch], s->batch, bench->team, s->dense,
                                s->width, NULL);
}

static td_status verify_columns(td_bench *bench) {
    columns_state *s = bench->state;
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "memcmp:columns one by one");
    for (int batch = 0; batch < s->n_batches; batch++) {
        td_tensor want;
        TD_TRY(td_column_plan_apply(s->plan, s->parsed[batch], s->batch, bench->team, s->dense,
                                    s->width, NULL));
        TD_TRY(compute(bench, batch));
        TD_TRY(one_by_one(s, batch, &want));
        if (memcmp(s->dense, want.data, (size_t)want.count * sizeof *s->dense) != 0) {
            return td_fail(TD_ECHECK, "batch %d: other numbers than column by column", batch);
        }
    }
    return TD_OK;
}

static td_status step_columns(td_bench *bench) {
    columns_state *s = bench->state;
    int batch = s->next;
    s->next = (s->next + 1) % s->n_batches;
    return compute(bench, batch);
}

static void cost_columns(const td_bench *bench, td_cost *out) {
    const columns_state *s = bench->state;
    *out = (td_cost){.value = TD_VALUE_ITEMS,
                     .items = s->batch,
                     .unit = "records/s",
                     .bytes = (double)s->bytes.size / s->n_batches,
                     .working_set = (double)s->bytes.size};
}

static void teardown_columns(td_bench *bench) {
    columns_state *s = bench->state;
    td_column_plan_destroy(s->plan);
    td_pool_destroy(&s->pool);
    td_pool_destroy(&s->setup);
    td_text_destroy(&s->bytes);
    td_free(s);
}

static td_status list_columns(const td_workload *self, td_case_list *list) {
    for (int i = 0; i < VARIANTS * SIZES; i++) {
        int batch = batch_sizes[i % SIZES];
        td_case *added = td_case_add(list, self, "%s/300B-b%d", variants[i / SIZES].id, batch);
        added->param[0] = i / SIZES;
        added->param[1] = batch;
        added->quick = batch == TD_PARSE_BATCH;
    }
    return TD_OK;
}

/* Columns one by one know no team. */
static bool fits_columns(const td_case *subject, const td_layout *layout) {
    return layout->ranks == 1 &&
           (layout->workers == 1 || variants[subject->param[0]].how != ONE_BY_ONE);
}

const td_workload td_workload_columns = {
    .name = "columns",
    .list = list_columns,
    .fits = fits_columns,
    .setup = setup_columns,
    .verify = verify_columns,
    .step = step_columns,
    .cost = cost_columns,
    .teardown = teardown_columns,
};
