/* SPDX-License-Identifier: Apache-2.0
 * Properties of the batch parser that recorded rows cannot show: any number of workers, the short
 * way and the whole way, every prefix and every flipped bit of a record.
 */
#include "data/example_batch.h"

#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/rng.h"

enum { RECORDS = 700, FEATURES = 5 };

static const char *const keys[FEATURES] = {"dense", "ints", "list", "words", "rows"};

static td_parse_feature feature_of(int i) {
    static const td_parse_kind kinds[FEATURES] = {TD_PARSE_FIXED, TD_PARSE_FIXED, TD_PARSE_SPARSE,
                                                  TD_PARSE_RAGGED, TD_PARSE_PADDED};
    static const td_element_type dtypes[FEATURES] = {TD_ELEMENT_FLOAT32, TD_ELEMENT_INT64,
                                                     TD_ELEMENT_FLOAT32, TD_ELEMENT_BYTES,
                                                     TD_ELEMENT_INT64};
    return (td_parse_feature){.key = td_span_text(keys[i]),
                              .kind = kinds[i],
                              .dtype = dtypes[i],
                              .rank = i < 2 || i == 4,
                              .shape = {i == 0 ? 3 : 2},
                              .splits_dtype = TD_ELEMENT_INT64};
}

static td_example_parser *make_parser(void) {
    td_parse_feature features[FEATURES];
    td_example_parser *parser;
    for (int i = 0; i < FEATURES; i++) {
        features[i] = feature_of(i);
    }
    cr_assert_eq(td_example_parser_create(features, FEATURES, &parser), TD_OK, "%s", td_error());
    return parser;
}

/* Lists of random length; extra: a field of the top level before, so that the short way gives up.
 */
static void make_record(uint64_t id, bool extra, td_text *out) {
    td_rng rng = td_rng_make(11, TD_PURPOSE_TEST, id);
    float floats[8];
    int64_t ints[8];
    td_span words[8];
    for (int i = 0; i < 8; i++) {
        floats[i] = (float)td_rng_normal(&rng);
        ints[i] = (int64_t)td_rng_u64(&rng) >> td_rng_below(&rng, 64);
        words[i] = td_span_text(keys[td_rng_below(&rng, FEATURES)]);
    }
    const td_feature features[FEATURES] = {
        {td_span_text("dense"), TD_FEATURE_FLOAT, 3, NULL, floats, NULL},
        {td_span_text("ints"), TD_FEATURE_INT64, 2, NULL, NULL, ints},
        {td_span_text("list"), TD_FEATURE_FLOAT, (int64_t)td_rng_below(&rng, 8), NULL, floats,
         NULL},
        {td_span_text("words"), TD_FEATURE_BYTES, (int64_t)td_rng_below(&rng, 8), words, NULL,
         NULL},
        {td_span_text("rows"), TD_FEATURE_INT64, 2 * (int64_t)td_rng_below(&rng, 4), NULL, NULL,
         ints}};
    if (extra) {
        td_text_append(out, "\x48\x05", 2);
    }
    cr_assert_eq(td_example_encode(features, FEATURES, out), TD_OK);
}

static bool same_tensor(const td_tensor *a, const td_tensor *b) {
    bool same = a->dtype == b->dtype && a->rank == b->rank && a->count == b->count &&
                memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0;
    for (int64_t i = 0; same && a->dtype == TD_ELEMENT_BYTES && i < a->count; i++) {
        same = td_span_equal(td_tensor_spans(a)[i], td_tensor_spans(b)[i]);
    }
    return same && (a->dtype == TD_ELEMENT_BYTES || a->count == 0 ||
                    memcmp(a->data, b->data, (size_t)a->count * td_element_bytes(a->dtype)) == 0);
}

static bool same_array(const td_array *a, const td_array *b) {
    if (a->kind != b->kind) {
        return false;
    }
    if (a->kind == TD_ARRAY_TENSOR) {
        return same_tensor(&a->tensor, &b->tensor);
    }
    if (a->kind == TD_ARRAY_RAGGED) {
        size_t bytes = (size_t)a->ragged.splits[0].count * sizeof(int64_t);
        return a->ragged.splits[0].count == b->ragged.splits[0].count &&
               memcmp(a->ragged.splits[0].data, b->ragged.splits[0].data, bytes) == 0 &&
               same_tensor(&a->ragged.values, &b->ragged.values);
    }
    size_t bytes = (size_t)a->sparse.values.count * 2 * sizeof(int64_t);
    return same_tensor(&a->sparse.values, &b->sparse.values) &&
           (bytes == 0 || memcmp(a->sparse.indices, b->sparse.indices, bytes) == 0) &&
           memcmp(a->sparse.dense_shape, b->sparse.dense_shape, 2 * sizeof(int64_t)) == 0;
}

typedef struct batch {
    td_text bytes;
    td_span records[RECORDS];
} batch;

static void make_batch(batch *out, bool extra) {
    size_t ends[RECORDS + 1] = {0};
    memset(out, 0, sizeof *out);
    for (int i = 0; i < RECORDS; i++) {
        make_record((uint64_t)i, extra, &out->bytes);
        ends[i + 1] = out->bytes.size;
    }
    for (int i = 0; i < RECORDS; i++) {
        out->records[i] =
            (td_span){(const uint8_t *)out->bytes.data + ends[i], ends[i + 1] - ends[i]};
    }
}

Test(example_batch, any_number_of_workers_and_either_way) {
    static batch plain, extra;
    make_batch(&plain, false);
    make_batch(&extra, true);
    td_example_parser *parser = make_parser();
    td_pool pool = {0};
    td_array wanted[FEATURES];
    cr_assert_eq(td_example_parse_batch(parser, plain.records, RECORDS, NULL, NULL, &pool, wanted),
                 TD_OK, "%s", td_error());
    for (int workers = 1; workers <= 5; workers += 2) {
        td_team *team;
        td_team_options options = {.workers = workers, .shares_cpus = true};
        cr_assert_eq(td_team_create(&options, &team), TD_OK);
        for (int way = 0; way < 2; way++) {
            td_array got[FEATURES];
            const td_span *records = way == 0 ? plain.records : extra.records;
            cr_assert_eq(td_example_parse_batch(parser, records, RECORDS, NULL, team, &pool, got),
                         TD_OK);
            for (int i = 0; i < FEATURES; i++) {
                cr_expect(same_array(&got[i], &wanted[i]), "%s, %d workers, way %d", keys[i],
                          workers, way);
            }
        }
        td_team_destroy(team);
    }
    td_example_parser_destroy(parser);
    td_pool_destroy(&pool);
    td_text_destroy(&plain.bytes);
    td_text_destroy(&extra.bytes);
}

/* The first bad record is named, whoever meets another one first. */
Test(example_batch, first_bad_record_is_reported) {
    static batch all;
    make_batch(&all, false);
    td_example_parser *parser = make_parser();
    td_pool pool = {0};
    td_array got[FEATURES];
    td_team *team;
    td_team_options options = {.workers = 3, .shares_cpus = true};
    cr_assert_eq(td_team_create(&options, &team), TD_OK);
    all.records[650].size = 0;
    all.records[333].size = 0;
    cr_expect_eq(
        td_example_parse_batch(parser, all.records, RECORDS, all.records, team, &pool, got),
        TD_EINPUT);
    all.records[650].size = 0;
    td_span names[RECORDS];
    for (int i = 0; i < RECORDS; i++) {
        names[i] = td_span_text(i == 333 ? "this one" : "another");
    }
    td_example_parse_batch(parser, all.records, RECORDS, names, team, &pool, got);
    cr_expect_not_null(strstr(td_error(), "this one"), "%s", td_error());
    td_team_destroy(team);
    td_example_parser_destroy(parser);
    td_pool_destroy(&pool);
    td_text_destroy(&all.bytes);
}

/* Nothing is read or written where it must not be: meant for the sanitizers. A batch of the damaged
 * record alone and single parsing agree on whether it is bad, where their rules are the same. */
Test(example_batch, every_prefix_and_every_flipped_bit) {
    td_text record = {0};
    make_record(5, false, &record);
    td_example_parser *parser = make_parser();
    td_pool pool = {0};
    td_array got[FEATURES];
    for (size_t size = 0; size < record.size; size++) {
        td_span cut = {td_pool_copy(&pool, record.data, size), size};
        td_example_parse_batch(parser, &cut, 1, NULL, NULL, &pool, got);
        td_example_parse_one(parser, cut, &pool, got);
    }
    int same = 0;
    for (size_t bit = 0; bit < 8 * record.size; bit++) {
        td_pool_reset(&pool);
        uint8_t *copy = td_pool_copy(&pool, record.data, record.size);
        copy[bit / 8] = (uint8_t)(copy[bit / 8] ^ 1 << bit % 8);
        td_span flipped = {copy, record.size};
        td_status many = td_example_parse_batch(parser, &flipped, 1, NULL, NULL, &pool, got);
        same += many == td_example_parse_one(parser, flipped, &pool, got);
    }
    cr_expect_eq(same, (int)(8 * record.size));
    td_example_parser_destroy(parser);
    td_pool_destroy(&pool);
    td_text_destroy(&record);
}
