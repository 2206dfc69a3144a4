/* SPDX-License-Identifier: Apache-2.0
 * Compiled columns against the columns that TensorFlow's recorded results hold to account: every
 * kind, any number of records and of workers, the same bits; and the bags that training looks up.
 */
#include "data/column_plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/rng.h"
#include "data/table_spec.h"

enum { MOST = 300, WORDS = 12 };

static const char columns_text[] =
    "[{'type':'numeric','key':'x','shape':[3]},"
    "{'type':'numeric','key':'y','normalizer':{'op':'log1p'}},"
    "{'type':'numeric','key':'n','dtype':'int64','default':7},"
    "{'type':'bucketized','source':{'type':'numeric','key':'x','shape':[3]},"
    "'boundaries':[-1,0,0.5]},"
    "{'type':'indicator','categorical':{'type':'identity','key':'ids','num_buckets':40,"
    "'default':3}},"
    "{'type':'indicator','categorical':{'type':'vocab_list','key':'words','vocabulary':"
    "['word-1','word-2','word-5'],'num_oov_buckets':2}},"
    "{'type':'indicator','categorical':{'type':'weighted','weight_key':'weights','categorical':"
    "{'type':'hash_bucket','key':'tags','hash_bucket_size':9}}},"
    "{'type':'indicator','categorical':{'type':'bucketized','boundaries':[0],"
    "'source':{'type':'numeric','key':'x','shape':[3]}}},"
    "{'type':'embedding','dimension':5,'combiner':'sqrtn','categorical':{'type':'weighted',"
    "'weight_key':'weights','categorical':{'type':'vocab_list','key':'tags','vocabulary':"
    "['word-3','word-4','word-7','word-8']}}},"
    "{'type':'embedding','dimension':8,'max_norm':1.5,'categorical':{'type':'hash_bucket',"
    "'key':'ids','dtype':'int64','hash_bucket_size':30}},"
    "{'type':'embedding','dimension':4,'combiner':'sum','categorical':{'type':'crossed',"
    "'keys':['words','tags',{'type':'bucketized','boundaries':[0],'source':{'type':'numeric',"
    "'key':'x','shape':[3]}}],'hash_bucket_size':50}},"
    "{'type':'shared_embeddings','dimension':3,'categoricals':["
    "{'type':'hash_bucket','key':'words','hash_bucket_size':20},"
    "{'type':'hash_bucket','key':'tags','hash_bucket_size':20}]},"
    "{'type':'hashing','key':'ids','dtype':'int64','num_bins':7,'mask_value':5,"
    "'output_mode':'count'},"
    "{'type':'hashing','key':'y','dtype':'float32','num_bins':4,'salt':9,'output_mode':'one_hot'},"
    "{'type':'string_lookup','key':'tags','vocabulary':['word-1','word-2','word-5'],"
    "'num_oov_indices':2,'mask_token':'','output_mode':'tf_idf','idf_weights':[0.5,0.25,3]},"
    "{'type':'embedding','dimension':6,'categorical':{'type':'string_lookup','key':'words',"
    "'vocabulary':['word-1','word-2','word-5']}},"
    "{'type':'indicator','categorical':{'type':'integer_lookup','key':'ids',"
    "'vocabulary':[3,4,5,40],'num_oov_indices':3}},"
    "{'type':'category_encoding','key':'ids','num_tokens':20},"
    "{'type':'discretization','key':'x','shape':[3],'bin_boundaries':[-1,0,1],"
    "'output_mode':'one_hot'},"
    "{'type':'indicator','categorical':{'type':'discretization','key':'x','shape':[3],"
    "'bin_boundaries':[0,0.5],'name':'bins'}},"
    "{'type':'normalization','key':'x','shape':[3],'mean':[1,2,3],'variance':[4,5,0]},"
    "{'type':'hashed_crossing','keys':['kind',{'key':'m','dtype':'int64'}],'num_bins':8,"
    "'output_mode':'one_hot'}]";

typedef struct fixture {
    td_pool pool;
    td_column_list sorted;
    td_text bytes;
    td_span records[MOST];
} fixture;

static td_status build_columns(const char *quoted, td_pool *pool, td_column_list *out) {
    char *text = td_strdup(quoted);
    for (char *at = text; *at != '\0'; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    json_t *list = json_loads(text, 0, NULL);
    td_status status = td_columns_build(list, false, pool, out);
    json_decref(list);
    td_free(text);
    return status;
}

static void give_tables(fixture *f) {
    for (int i = 0; i < f->sorted.count; i++) {
        td_column *column = f->sorted.columns[i];
        if (column->type == TD_COLUMN_EMBEDDING || column->type == TD_COLUMN_SHARED_EMBEDDING) {
            const int64_t shape[2] = {column->buckets, column->dimension};
            cr_assert_eq(td_tensor_take(&f->pool, TD_ELEMENT_FLOAT32, 2, shape, &column->table),
                         TD_OK);
            td_rng rng = td_rng_make(3, TD_PURPOSE_TEST, (uint64_t)column->dimension);
            for (int64_t k = 0; k < column->table.count; k++) {
                ((float *)column->table.data)[k] = (float)td_rng_normal(&rng);
            }
        }
    }
}

static void append_record(uint64_t id, td_text *out) {
    static const char *const words[WORDS] = {"",       "word-1", "word-2", "word-3",
                                             "word-4", "word-5", "word-6", "word-7",
                                             "word-8", "w",      "x y",    "word-1"};
    td_rng rng = td_rng_make(5, TD_PURPOSE_TEST, id);
    float x[3], y = (float)td_rng_uniform(&rng), weights[5];
    int64_t ids[6], n = (int64_t)td_rng_below(&rng, 100);
    td_span spans[2][5];
    for (int i = 0; i < 6; i++) {
        x[i % 3] = (float)td_rng_normal(&rng);
        ids[i] = (int64_t)td_rng_below(&rng, 60) - 10;
        weights[i % 5] = (float)td_rng_normal(&rng);
        spans[0][i % 5] = td_span_text(words[td_rng_below(&rng, WORDS)]);
        spans[1][i % 5] = td_span_text(words[td_rng_below(&rng, WORDS)]);
    }
    int64_t tags = (int64_t)td_rng_below(&rng, 5);
    td_feature features[] = {
        {td_span_text("x"), TD_FEATURE_FLOAT, 3, NULL, x, NULL},
        {td_span_text("y"), TD_FEATURE_FLOAT, 1, NULL, &y, NULL},
        {td_span_text("ids"), TD_FEATURE_INT64, (int64_t)td_rng_below(&rng, 6), NULL, NULL, ids},
        {td_span_text("words"), TD_FEATURE_BYTES, (int64_t)td_rng_below(&rng, 4), spans[0], NULL,
         NULL},
        {td_span_text("tags"), TD_FEATURE_BYTES, tags, spans[1], NULL, NULL},
        {td_span_text("weights"), TD_FEATURE_FLOAT, tags, NULL, weights, NULL},
        {td_span_text("kind"), TD_FEATURE_BYTES, 1, spans[0], NULL, NULL},
        {td_span_text("m"), TD_FEATURE_INT64, 1, NULL, NULL, ids},
        {td_span_text("n"), TD_FEATURE_INT64, 1, NULL, NULL, &n},
    };
    int64_t count = sizeof features / sizeof features[0];
    cr_assert_eq(td_example_encode(features, count - (id % 3 == 0), out), TD_OK);
}

static void make_records(fixture *f) {
    size_t ends[MOST + 1] = {0};
    for (int i = 0; i < MOST; i++) {
        append_record((uint64_t)i, &f->bytes);
        ends[i + 1] = f->bytes.size;
    }
    for (int i = 0; i < MOST; i++) {
        f->records[i] = (td_span){(const uint8_t *)f->bytes.data + ends[i], ends[i + 1] - ends[i]};
    }
}

static void set_up(fixture *f) {
    td_column_list built;
    memset(f, 0, sizeof *f);
    cr_assert_eq(build_columns(columns_text, &f->pool, &built), TD_OK, "%s", td_error());
    cr_assert_eq(td_columns_sort(&built, &f->pool, &f->sorted), TD_OK, "%s", td_error());
    give_tables(f);
    make_records(f);
}

static void tear_down(fixture *f) {
    td_text_destroy(&f->bytes);
    td_pool_destroy(&f->pool);
}

/* What the columns make of the batch one by one, from sparse inputs. */
static td_feature_map parse_sparse(fixture *f, int64_t n) {
    td_feature_spec *specs;
    td_spec_plan plan;
    td_example_parser *parser;
    int count;
    cr_assert_eq(td_columns_parse_spec(&f->sorted, &f->pool, &specs, &count), TD_OK);
    cr_assert_eq(td_spec_plan_create(specs, count, false, &f->pool, &plan), TD_OK);
    cr_assert_eq(td_example_parser_create(plan.raw, plan.n_raw, &parser), TD_OK);
    td_array *values = td_pool_take_zero(&f->pool, (size_t)plan.n_raw * sizeof *values);
    td_span *keys = td_pool_take_zero(&f->pool, (size_t)plan.n_raw * sizeof *keys);
    cr_assert_eq(td_example_parse_batch(parser, f->records, n, NULL, NULL, &f->pool, values), TD_OK,
                 "%s", td_error());
    for (int i = 0; i < plan.n_raw; i++) {
        keys[i] = plan.raw[i].key;
    }
    td_example_parser_destroy(parser);
    return (td_feature_map){keys, values, plan.n_raw};
}

static td_column_plan *make_plan(const fixture *f, bool tables_outside) {
    td_plan_spec spec = {.dense = f->sorted, .tables_outside = tables_outside};
    td_column_plan *plan;
    cr_assert_eq(td_column_plan_create(&spec, &plan), TD_OK, "%s", td_error());
    return plan;
}

Test(column_plan, has_the_bits_of_the_columns_for_any_number_of_workers) {
    static const int64_t counts[] = {1, 63, 64, 65, 128, MOST};
    fixture f;
    set_up(&f);
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        int64_t n = counts[c];
        td_feature_map map = parse_sparse(&f, n);
        td_tensor want;
        cr_assert_eq(td_columns_dense(&f.sorted, &map, &f.pool, &want), TD_OK, "%s", td_error());
        for (int workers = 0; workers <= 3; workers++) {
            td_team_options options = {.workers = workers};
            td_team *team = NULL;
            cr_assert(workers == 0 || td_team_create(&options, &team) == TD_OK);
            td_column_plan *plan = make_plan(&f, false);
            int64_t width = td_column_plan_width(plan);
            cr_assert_eq(width, want.shape[1]);
            float *got = td_alloc((size_t)(n * (width + 2)) * sizeof *got);
            for (int round = 0; round < 2; round++) { /* memory of the first serves the second */
                memset(got, 0xff, (size_t)(n * (width + 2)) * sizeof *got);
                cr_assert_eq(
                    td_column_plan_run(plan, f.records, n, NULL, team, got, width + 2, NULL), TD_OK,
                    "%s", td_error());
                for (int64_t r = 0; r < n; r++) {
                    cr_assert_arr_eq(got + r * (width + 2), (const float *)want.data + r * width,
                                     (size_t)width * sizeof *got, "row %d of %d, %d workers",
                                     (int)r, (int)n, workers);
                }
            }
            td_free(got);
            td_column_plan_destroy(plan);
            if (team != NULL) {
                td_team_destroy(team);
            }
        }
    }
    tear_down(&f);
}

/* What bags look up is what the columns look up: coefficient times row, within rounding. */
static void check_bag(const fixture *f, const td_column *column, int64_t at, int64_t width,
                      const td_bags *bag, const float *dense, int64_t n) {
    cr_assert_eq(bag->offsets[0], 0);
    cr_assert_eq(bag->offsets[n], bag->n);
    (void)f;
    for (int64_t r = 0; r < n; r++) {
        for (int64_t c = 0; c < column->dimension; c++) {
            double sum = 0, size = 1e-6;
            for (int32_t i = bag->offsets[r]; i < bag->offsets[r + 1]; i++) {
                const float *e =
                    (const float *)column->table.data + bag->ids[i] * column->dimension;
                double squares = 0, most = column->max_norm;
                for (int64_t k = 0; k < column->dimension; k++) {
                    squares += (double)e[k] * (double)e[k];
                }
                double norm = sqrt(squares), s = most > 0 && norm > most ? most / norm : 1;
                sum += (double)bag->coefficients[i] * s * (double)e[c];
                size += fabs((double)bag->coefficients[i] * (double)e[c]);
            }
            double got = (double)dense[r * width + at + c];
            cr_assert(fabs(got - sum) <= 1e-6 * size, "%s, row %d: %g, the bag gives %g",
                      (const char *)column->name.data, (int)r, got, sum);
        }
    }
}

Test(column_plan, bags_stand_for_embeddings_whose_tables_are_elsewhere) {
    fixture f;
    set_up(&f);
    td_column_plan *inside = make_plan(&f, false), *outside = make_plan(&f, true);
    int64_t width = td_column_plan_width(inside);
    float *dense = td_alloc((size_t)(MOST * width) * sizeof *dense);
    float *rest = td_alloc((size_t)(MOST * width) * sizeof *rest);
    const td_bags *bags;
    cr_assert_eq(td_column_plan_run(inside, f.records, MOST, NULL, NULL, dense, width, NULL),
                 TD_OK);
    memcpy(rest, dense, (size_t)(MOST * width) * sizeof *rest);
    cr_assert_eq(td_column_plan_run(outside, f.records, MOST, NULL, NULL, rest, width, &bags),
                 TD_OK, "%s", td_error());
    cr_expect_arr_eq(rest, dense, (size_t)(MOST * width) * sizeof *rest,
                     "places of tables are left as they are");
    int seen = 0;
    for (int i = 0; i < f.sorted.count; i++) {
        const td_column *column = f.sorted.columns[i];
        if (column->dimension > 0) {
            check_bag(&f, column, td_column_plan_at(outside, i), width, &bags[seen++], dense, MOST);
        }
    }
    cr_expect_eq(seen, 6);
    td_free(dense);
    td_free(rest);
    td_column_plan_destroy(inside);
    td_column_plan_destroy(outside);
    tear_down(&f);
}

/* Of several records that are wrong, the one in the first slice is named, whoever finds which. */
Test(column_plan, names_the_same_record_for_any_number_of_workers) {
    fixture f;
    set_up(&f);
    td_text bad = {0};
    td_span word = td_span_text("word-3");
    float x[3] = {0}, y = 1;
    int64_t m = 2;
    const td_feature features[] = {
        {td_span_text("x"), TD_FEATURE_FLOAT, 3, NULL, x, NULL},
        {td_span_text("y"), TD_FEATURE_FLOAT, 1, NULL, &y, NULL},
        {td_span_text("tags"), TD_FEATURE_BYTES, 1, &word, NULL, NULL},
        {td_span_text("kind"), TD_FEATURE_BYTES, 1, &word, NULL, NULL},
        {td_span_text("m"), TD_FEATURE_INT64, 1, NULL, NULL, &m},
    };
    cr_assert_eq(td_example_encode(features, 5, &bad), TD_OK);
    f.records[200] = f.records[290] = f.records[130] =
        (td_span){(const uint8_t *)bad.data, bad.size};
    for (int workers = 1; workers <= 3; workers++) {
        td_team_options options = {.workers = workers};
        td_team *team;
        cr_assert_eq(td_team_create(&options, &team), TD_OK);
        td_column_plan *plan = make_plan(&f, false);
        int64_t width = td_column_plan_width(plan);
        float *dense = td_alloc((size_t)(MOST * width) * sizeof *dense);
        td_status status =
            td_column_plan_run(plan, f.records, MOST, NULL, team, dense, width, NULL);
        cr_expect_eq(status, TD_EINPUT);
        cr_expect(strstr(td_error(), "record 130") != NULL && strstr(td_error(), "1 ids") != NULL,
                  "%s", td_error());
        td_free(dense);
        td_column_plan_destroy(plan);
        td_team_destroy(team);
    }
    td_text_destroy(&bad);
    tear_down(&f);
}

Test(column_plan, wide_columns_share_one_bag) {
    td_pool pool = {0};
    td_column_list list;
    fixture f;
    set_up(&f);
    cr_assert_eq(build_columns("[{'type':'hash_bucket','key':'words','hash_bucket_size':10},"
                               "{'type':'identity','key':'ids','num_buckets':60,'default':0}]",
                               &pool, &list),
                 TD_OK, "%s", td_error());
    td_bag_spec bag = {(const td_column *const *)list.columns, 2, TD_COMBINER_SUM};
    td_plan_spec spec = {.bags = &bag, .n_bags = 1};
    td_column_plan *plan;
    const td_bags *bags;
    cr_assert_eq(td_column_plan_create(&spec, &plan), TD_OK, "%s", td_error());
    cr_assert_eq(td_column_plan_run(plan, f.records, MOST, NULL, NULL, NULL, 0, &bags), TD_OK, "%s",
                 td_error());
    td_example example = {0};
    for (int r = 0; r < MOST; r++) {
        cr_assert_eq(td_example_decode(f.records[r].data, f.records[r].size, &example), TD_OK);
        const td_feature *words = td_example_find(&example, "words");
        const td_feature *ids = td_example_find(&example, "ids");
        int64_t n_words = words == NULL ? 0 : words->count;
        const int32_t *got = bags->ids + bags->offsets[r];
        cr_assert_eq(bags->offsets[r + 1] - bags->offsets[r], n_words + ids->count);
        for (int64_t i = 0; i < ids->count; i++) {
            int64_t want = ids->ints[i] < 0 ? 0 : ids->ints[i];
            cr_assert_eq(got[n_words + i], 10 + want);
        }
        for (int64_t i = 0; i < n_words; i++) {
            cr_assert(got[i] >= 0 && got[i] < 10);
        }
    }
    td_example_destroy(&example);
    td_column_plan_destroy(plan);
    td_pool_destroy(&pool);
    tear_down(&f);
}

typedef struct wrong_spec {
    const char *text, *message;
} wrong_spec;

Test(table_spec, messages_name_the_place) {
    static const wrong_spec wrong[] = {
        {"{", "line 1"},
        {"[]", "expected an object"},
        {"{'label':{'type':'identity','key':'y','num_buckets':3},'deep':[],'hidden':[4]}",
         "deep: expected at least one column"},
        {"{'label':{'type':'numeric','key':'y'},'deep':[],'hidden':[4]}", "label: expected"},
        {"{'label':{'type':'string_lookup','key':'y','vocabulary':['a','b']},'deep':[],"
         "'hidden':[4]}",
         "label: expected"},
        {"{'label':{'type':'identity','key':'y','num_buckets':3},'deep':[{'type':'numeric',"
         "'key':'x'},{'type':'embedding','dimension':0,'categorical':{'type':'hash_bucket',"
         "'key':'w','hash_bucket_size':5}}],'hidden':[4]}",
         "deep[1]: Invalid dimension 0"},
        {"{'label':{'type':'identity','key':'y','num_buckets':3},'deep':[{'type':'indicator',"
         "'categorical':{'type':'vocabulary'}}],'hidden':[4]}",
         "deep[0].categorical.type: expected a kind of column, found vocabulary"},
        {"{'label':{'type':'identity','key':'y','num_buckets':3},'deep':[{'type':'numeric',"
         "'key':'x'}],'wide':[{'type':'numeric','key':'x'}],'hidden':[4]}",
         "wide: column x has no ids"},
        {"{'label':{'type':'identity','key':'y','num_buckets':3},'deep':[{'type':'numeric',"
         "'key':'x'}],'hidden':[0]}",
         "hidden[0]: expected a whole number"},
        {"{'label':{'type':'identity','key':'y','num_buckets':3},'deep':[{'type':'numeric',"
         "'key':'x'}],'hidden':[4],'activation':'tanh'}",
         "activation: expected gelu, gelu_tanh, gelu_quick or relu"},
        {"{'labels':{}}", "unknown member \"labels\""},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[600];
        td_table_spec *spec;
        snprintf(text, sizeof text, "%s", wrong[i].text);
        for (char *at = text; *at != '\0'; at++) {
            *at = *at == '\'' ? '"' : *at;
        }
        cr_expect_eq(td_table_spec_parse(text, "t.json", &spec), TD_EINPUT);
        cr_expect(strncmp(td_error(), "t.json: ", 8) == 0 &&
                      strstr(td_error(), wrong[i].message) != NULL,
                  "\"%s\" lacks \"%s\"", td_error(), wrong[i].message);
    }
}
