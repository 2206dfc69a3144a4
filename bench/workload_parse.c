/* SPDX-License-Identifier: Apache-2.0
 * Batches of Examples into arrays, by number of workers.
 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/clock.h"
#include "bench/case.h"
#include "bench/example_peer.h"
#include "bench/parse_records.h"
#include "bench/ways.h"

enum { BATCH = TD_PARSE_BATCH, BATCHES = TD_PARSE_BATCHES, FEATURES = TD_PARSE_FEATURES };

typedef struct parse_state {
    td_span *records;
    td_text bytes;
    size_t total_bytes;
    td_example_parser *parser;
    td_parse_feature features[FEATURES];
    int n_features, next, peer_next;
    td_pool pool, setup_pool;
    td_array outputs[FEATURES];
} parse_state;

/* What is asked for: by the kind that lists which vary are parsed into. */
static const struct {
    const char *id;
    bool fixed, varying;
    td_parse_kind kind;
} variants[] = {
    {"data/parse/dense/300B-b1024", true, false, TD_PARSE_FIXED},
    {"data/parse/padded/300B-b1024", true, true, TD_PARSE_PADDED},
    {"data/parse/sparse/300B-b1024", true, true, TD_PARSE_SPARSE},
    {"data/parse/ragged/300B-b1024", true, true, TD_PARSE_RAGGED},
};
enum { PEER = 0 }; /* the only companion */
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static td_status make_parser(parse_state *s, int variant) {
    for (int f = 0; f < FEATURES; f++) {
        bool varies = td_parse_fields[f].values == 0;
        if (varies ? !variants[variant].varying : !variants[variant].fixed) {
            continue;
        }
        td_parse_feature *feature = &s->features[s->n_features++];
        *feature = (td_parse_feature){.key = td_span_text(td_parse_fields[f].key),
                                      .kind = varies ? variants[variant].kind : TD_PARSE_FIXED,
                                      .dtype = td_parse_fields[f].dtype,
                                      .rank = varies ? 0 : 1,
                                      .shape = {td_parse_fields[f].values},
                                      .splits_dtype = TD_ELEMENT_INT64};
    }
    return td_example_parser_create(s->features, s->n_features, &s->parser);
}

static td_status setup_parse(td_bench *bench) {
    parse_state *s = bench->state = td_alloc_zero(sizeof *s);
    int variant = (int)bench->subject->param[0];
    if (s == NULL) {
        return td_fail(TD_ENOMEM, "a data case");
    }
    TD_TRY(td_parse_records_make(&s->setup_pool, &s->bytes, &s->records));
    s->total_bytes = s->bytes.size;
    if (bench->rank->workers == 1) {
        td_example_peer_add(bench);
    }
    return make_parser(s, variant);
}

static td_status parse(td_bench *bench, int batch) {
    parse_state *s = bench->state;
    td_pool_reset(&s->pool);
    return td_example_parse_batch(s->parser, s->records + (size_t)batch * BATCH, BATCH, NULL,
                                  bench->team, &s->pool, s->outputs);
}

static const void *values_of(const td_feature *feature) {
    return feature->kind == TD_FEATURE_BYTES   ? (const void *)feature->bytes
           : feature->kind == TD_FEATURE_FLOAT ? (const void *)feature->floats
                                               : (const void *)feature->ints;
}

/* Byte strings point into the record, so equal spans are equal strings. */
static bool same_values(const td_array *value, int64_t row, const td_feature *feature,
                        int64_t *before) {
    const td_tensor *values = value->kind == TD_ARRAY_TENSOR   ? &value->tensor
                              : value->kind == TD_ARRAY_SPARSE ? &value->sparse.values
                                                               : &value->ragged.values;
    int64_t at = *before, count = feature->count;
    size_t bytes = td_element_bytes(values->dtype);
    *before += count;
    if (value->kind == TD_ARRAY_TENSOR) {
        at = row * (values->count / values->shape[0]);
    } else if (value->kind == TD_ARRAY_RAGGED) {
        const int64_t *splits = value->ragged.splits[0].data;
        if (splits[row] != at || splits[row + 1] != at + count) {
            return false;
        }
    }
    for (int64_t i = 0; i < count && value->kind == TD_ARRAY_SPARSE; i++) {
        const int64_t *index = value->sparse.indices + 2 * (at + i);
        if (index[0] != row || index[1] != i) {
            return false;
        }
    }
    return count == 0 || memcmp((const char *)values->data + (size_t)at * bytes, values_of(feature),
                                (size_t)count * bytes) == 0;
}

/* Every value is the one the strict reader of single Examples finds. */
static td_status verify_batch(parse_state *s, int batch) {
    td_example example = {0};
    int64_t before[FEATURES] = {0};
    td_status status = TD_OK;
    for (int64_t row = 0; row < BATCH && status == TD_OK; row++) {
        td_span record = s->records[(int64_t)batch * BATCH + row];
        status = td_example_decode(record.data, record.size, &example);
        for (int f = 0; f < s->n_features && status == TD_OK; f++) {
            const td_feature *feature =
                td_example_find(&example, (const char *)s->features[f].key.data);
            if (feature == NULL || !same_values(&s->outputs[f], row, feature, &before[f])) {
                status = td_fail(TD_ECHECK, "record %lld: feature %s differs", (long long)row,
                                 (const char *)s->features[f].key.data);
            }
        }
    }
    td_example_destroy(&example);
    return status;
}

static td_status verify_parse(td_bench *bench) {
    parse_state *s = bench->state;
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "memcmp:decode");
    for (int batch = 0; batch < BATCHES; batch++) {
        TD_TRY(parse(bench, batch));
        TD_TRY(verify_batch(s, batch));
    }
    if (bench->outcome->n_companions > 0) {
        td_example_peer_verify(bench, PEER, s->records, TD_PARSE_RECORDS);
    }
    return TD_OK;
}

static td_status step_parse(td_bench *bench) {
    parse_state *s = bench->state;
    TD_TRY(parse(bench, s->next));
    s->next = (s->next + 1) % BATCHES;
    return TD_OK;
}

static td_status beside_parse(td_bench *bench, int companion, int64_t repeat, double *ns) {
    parse_state *s = bench->state;
    (void)companion;
    int64_t start = td_now_ns();
    for (int64_t i = 0; i < repeat; i++) {
        td_example_peer_parse(s->records + (size_t)s->peer_next * BATCH, BATCH);
        s->peer_next = (s->peer_next + 1) % BATCHES;
    }
    *ns = (double)(td_now_ns() - start) / (double)repeat;
    return TD_OK;
}

static void finish_parse(td_bench *bench) {
    if (bench->outcome->n_companions > 0) {
        td_way_compare(bench->outcome, PEER, false, "times_protobuf_c");
    }
}

static void cost_parse(const td_bench *bench, td_cost *out) {
    const parse_state *s = bench->state;
    *out = (td_cost){.value = TD_VALUE_ITEMS,
                     .items = BATCH,
                     .unit = "records/s",
                     .bytes = (double)s->total_bytes / BATCHES,
                     .working_set = (double)s->total_bytes};
}

static void teardown_parse(td_bench *bench) {
    parse_state *s = bench->state;
    td_example_parser_destroy(s->parser);
    td_pool_destroy(&s->pool);
    td_pool_destroy(&s->setup_pool);
    td_text_destroy(&s->bytes);
    td_free(s);
}

static td_status list_parse(const td_workload *self, td_case_list *list) {
    for (int i = 0; i < VARIANTS; i++) {
        td_case *added = td_case_add(list, self, "%s", variants[i].id);
        added->param[0] = i;
        added->quick = true;
    }
    return TD_OK;
}

const td_workload td_workload_parse = {
    .name = "parse",
    .list = list_parse,
    .fits = td_case_fits_one_rank,
    .setup = setup_parse,
    .verify = verify_parse,
    .step = step_parse,
    .beside = beside_parse,
    .cost = cost_parse,
    .finish = finish_parse,
    .teardown = teardown_parse,
};
