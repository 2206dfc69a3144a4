/* SPDX-License-Identifier: Apache-2.0 */
#include "data/table_synth.h"

#include <stdio.h>

#include "base/math.h"
#include "base/rng.h"
#include "data/example.h"

static const char *const regions[] = {"north", "south",  "east",   "west",   "coast",    "hills",
                                      "lakes", "plains", "island", "valley", "old town", "harbour"};
static const char *const devices[] = {"phone", "tablet", "laptop", "desktop", "kiosk", "watch"};
static const char *const plans[] = {"none", "basic", "plus", "premium"};
enum {
    N_REGIONS = sizeof regions / sizeof regions[0],
    N_DEVICES = sizeof devices / sizeof devices[0],
    N_PLANS = sizeof plans / sizeof plans[0],
    N_TAGS = 40,
    MOST_TAGS = 4,
    N_FEATURES = 9,
    TASTES = 1 << 20 /* streams of tastes; rows have those from here on */
};

const char td_table_synth_columns[] =
    "{\"label\": {\"type\": \"vocab_list\", \"key\": \"label\",\n"
    "   \"vocabulary\": [\"none\", \"basic\", \"plus\", \"premium\"]},\n"
    " \"wide\": [\n"
    "   {\"type\": \"crossed\", \"keys\": [\"region\", \"device\"], \"hash_bucket_size\": 1000},\n"
    "   {\"type\": \"weighted\", \"weight_key\": \"spend\", \"categorical\":\n"
    "     {\"type\": \"hash_bucket\", \"key\": \"tags\", \"hash_bucket_size\": 200}}],\n"
    " \"deep\": [\n"
    "   {\"type\": \"numeric\", \"key\": \"age\",\n"
    "    \"normalizer\": {\"op\": \"mul\", \"value\": 0.02}},\n"
    "   {\"type\": \"numeric\", \"key\": \"income\", \"normalizer\": {\"op\": \"log1p\"}},\n"
    "   {\"type\": \"bucketized\", \"boundaries\": [25, 35, 45, 55, 65],\n"
    "    \"source\": {\"type\": \"numeric\", \"key\": \"age\"}},\n"
    "   {\"type\": \"indicator\", \"categorical\":\n"
    "     {\"type\": \"identity\", \"key\": \"hour\", \"num_buckets\": 24}},\n"
    "   {\"type\": \"embedding\", \"dimension\": 8, \"categorical\":\n"
    "     {\"type\": \"hash_bucket\", \"key\": \"region\", \"hash_bucket_size\": 100}},\n"
    "   {\"type\": \"embedding\", \"dimension\": 4, \"categorical\":\n"
    "     {\"type\": \"hash_bucket\", \"key\": \"device\", \"hash_bucket_size\": 50}},\n"
    "   {\"type\": \"embedding\", \"dimension\": 8, \"combiner\": \"sqrtn\", \"max_norm\": 2,\n"
    "    \"categorical\": {\"type\": \"hash_bucket\", \"key\": \"tags\", \"hash_bucket_size\": "
    "200}}],\n"
    " \"hidden\": [64, 32], \"activation\": \"gelu\"}\n";

/* A fixed number of mean 0 and variance 1 for plan and thing. */
static double taste(int plan, int kind, int64_t thing) {
    td_rng rng = td_rng_make(0, TD_PURPOSE_SYNTH, (uint64_t)((thing * 4 + kind) * N_PLANS + plan));
    return td_rng_normal(&rng);
}

typedef struct row {
    float age, income;
    int64_t hour;
    int region, device, n_tags;
    int tags[MOST_TAGS];
    float spend[MOST_TAGS];
} row;

static row draw_row(td_rng *rng) {
    row r = {.age = (float)(18 + 60 * td_rng_uniform(rng)),
             .income = (float)(10 * td_exp(1 + 0.6 * td_rng_normal(rng))),
             .hour = (int64_t)td_rng_below(rng, 24),
             .region = (int)td_rng_below(rng, N_REGIONS),
             .device = (int)td_rng_below(rng, N_DEVICES),
             .n_tags = (int)td_rng_below(rng, MOST_TAGS + 1)};
    for (int i = 0; i < r.n_tags; i++) {
        double u = td_rng_uniform(rng);
        r.tags[i] = (int)(N_TAGS * u * u); /* some are worn more than others */
        r.spend[i] = (float)(0.1 + td_rng_uniform(rng));
    }
    return r;
}

static double score(const row *r, int plan) {
    double age = ((double)r->age - 25 - 13 * plan) / 14;
    double hour = (double)((r->hour + 6 * plan) % 24) / 12 - 1;
    double sum = 1.6 * taste(plan, 0, r->region * N_DEVICES + r->device) - age * age +
                 1.5 * (0.5 - hour * hour) +
                 0.4 * (plan - 1.5) * td_log(1 + (double)r->income / 27);
    for (int i = 0; i < r->n_tags; i++) {
        sum += 1.2 * taste(plan, 1, r->tags[i]) * (double)r->spend[i];
    }
    return sum;
}

/* The best plan for the row, each score with Gumbel noise. */
static int choose(const row *r, td_rng *rng) {
    int best = 0;
    double most = 0;
    for (int plan = 0; plan < N_PLANS; plan++) {
        double u = (td_rng_uniform(rng) + 0x1p-54),
               noisy = score(r, plan) - 0.4 * td_log(-td_log(u));
        if (plan == 0 || noisy > most) {
            most = noisy;
            best = plan;
        }
    }
    return best;
}

td_status td_table_synth(uint64_t seed, int64_t index, td_text *out) {
    td_rng rng = td_rng_make(seed, TD_PURPOSE_SYNTH, (uint64_t)(TASTES + index));
    row r = draw_row(&rng);
    char key[32], tags[MOST_TAGS][16];
    td_span region = td_span_text(regions[r.region]), device = td_span_text(devices[r.device]);
    td_span label = td_span_text(plans[choose(&r, &rng)]), tag_spans[MOST_TAGS];
    snprintf(key, sizeof key, "visit-%08lld", (long long)index);
    td_span key_span = td_span_text(key);
    for (int i = 0; i < r.n_tags; i++) {
        snprintf(tags[i], sizeof tags[i], "tag-%02d", r.tags[i]);
        tag_spans[i] = td_span_text(tags[i]);
    }
#define BYTES(name, n, at)                                                                         \
    { .key = td_span_text(name), .kind = TD_FEATURE_BYTES, .count = (n), .bytes = (at) }
#define FLOATS(name, n, at)                                                                        \
    { .key = td_span_text(name), .kind = TD_FEATURE_FLOAT, .count = (n), .floats = (at) }
    const td_feature features[N_FEATURES] = {
        FLOATS("age", 1, &r.age),
        FLOATS("income", 1, &r.income),
        {.key = td_span_text("hour"), .kind = TD_FEATURE_INT64, .count = 1, .ints = &r.hour},
        BYTES("region", 1, &region),
        BYTES("device", 1, &device),
        BYTES("tags", r.n_tags, tag_spans),
        FLOATS("spend", r.n_tags, r.spend),
        BYTES("key", 1, &key_span),
        BYTES("label", 1, &label),
    };
#undef BYTES
#undef FLOATS
    return td_example_encode(features, N_FEATURES, out);
}
