/* SPDX-License-Identifier: Apache-2.0
 * Whole training steps on image-caption pairs, fed by the loader as in training. Proof: the weights
 * after a few steps have the same SHA-256 on every layout.
 */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/case.h"
#include "bench/ceiling.h"
#include "bench/op_rows.h"
#include "bench/peak.h"
#include "bench/stats.h"
#include "data/pairs.h"
#include "models/train.h"
#include "threads/layout.h"

enum { VERIFY_STEPS = 3, ALONE = 3, BLOCKS = 8, SEED = 1, SYNTHETIC = 4096, SMALL_SYNTHETIC = 256 };

/* One row a model and loss; batch of the whole group. A step of the small models is shorter than
 * decoding its images, so they get a few procedural pairs that the loader keeps: what is measured
 * is the step. The others read the data given, as training does, and tell how long they waited. */
/* How the step is computed; all give the same weights. */
typedef struct step_variant {
    const char *name; /* the end of the case's id */
    bool whole;       /* neither packed nor pruned: what other programs compute */
    bool padded;      /* not packed: what a text tower that attends to padding may do */
    bool recompute;
    bool zero;  /* ZeRO-1 */
    bool after; /* gradients of ranks are added up after the backward pass */
    bool lion;
    int64_t accum;
    int64_t blocks; /* 0: BLOCKS */
} step_variant;

static const step_variant plain = {.name = ""}, whole = {.name = "-whole", .whole = true},
                          padded = {.name = "-padded", .padded = true},
                          accum4 = {.name = "-accum4", .whole = true, .accum = 4},
                          zero1 = {.name = "-zero1", .zero = true},
                          sum_after = {.name = "-after", .after = true},
                          lion = {.name = "-lion", .lion = true},
                          blocks1 = {.name = "-blocks1", .blocks = 1},
                          recompute = {.name = "-recompute", .whole = true, .recompute = true};

typedef struct step_row {
    const char *model;
    td_loss loss;
    td_precision precision;
    int64_t batch;
    const step_variant *variant;
    bool small, quick;
    double seconds;
} step_row;

static const step_row rows[] = {
    {"mu", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 64, &plain, true, true, 1},
    {"mu", TD_LOSS_SIGMOID, TD_PRECISION_F32, 64, &plain, true, true, 1},
    {"mu", TD_LOSS_SOFTMAX, TD_PRECISION_BF16, 64, &plain, true, true, 1},
    {"mu", TD_LOSS_SOFTMAX, TD_PRECISION_BF16_AMX, 64, &plain, true, true, 1},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 32, &plain, false, true, 10},
    {"vit-s-32-alt", TD_LOSS_SIGMOID, TD_PRECISION_F32, 32, &plain, false, true, 10},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 64, &plain, false, false, 15},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_BF16, 64, &plain, false, false, 15},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_BF16_AMX, 64, &plain, false, false, 15},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 64, &zero1, false, false, 15},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 64, &sum_after, false, false, 15},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 64, &lion, false, false, 15},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 64, &blocks1, false, false, 15},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 64, &whole, false, false, 15},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 64, &accum4, false, false, 20},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 64, &recompute, false, false, 20},
    {"vit-s-32-alt", TD_LOSS_SIGMOID, TD_PRECISION_F32, 64, &padded, false, false, 15},
    {"vit-s-16-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 16, &plain, false, false, 15},
    {"vit-s-16-alt", TD_LOSS_SIGMOID, TD_PRECISION_F32, 16, &padded, false, false, 15},
    {"vit-b-32", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 32, &plain, false, false, 40},
    {"vit-b-32", TD_LOSS_SOFTMAX, TD_PRECISION_BF16, 32, &plain, false, false, 40},
    {"vit-b-32", TD_LOSS_SOFTMAX, TD_PRECISION_BF16_AMX, 32, &plain, false, false, 40},
    {"vit-b-32", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 32, &zero1, false, false, 40},
    {"vit-b-32", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 32, &whole, false, false, 40},
    {"vit-b-32", TD_LOSS_SIGMOID, TD_PRECISION_F32, 32, &padded, false, false, 40},
    {"vit-b-16", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 8, &plain, false, false, 30},
    {"vit-b-16", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 8, &whole, false, false, 30},
    {"vit-b-16", TD_LOSS_SIGMOID, TD_PRECISION_F32, 8, &padded, false, false, 30},
    {"vit-b-16-siglip", TD_LOSS_SIGMOID, TD_PRECISION_F32, 16, &plain, false, false, 60},
};

typedef struct step_state {
    td_train *train;
    td_pairs *pairs;
    td_tokenizer *tokenizer;
    td_loader *loader;
    td_loader_stats before;
    int64_t steps, faults_before;
    uint64_t allocations_before;
} step_state;

/* Gradients are sums over logical blocks. With one block a sum runs straight through the batch: the
 * free order, which one rank alone can have, and what the canonical one is compared with. */
static int64_t blocks_of(const step_row *row) {
    return row->variant->blocks > 0 ? row->variant->blocks : BLOCKS;
}

static td_status options_of(const td_case *subject, td_train_options *out) {
    const step_row *row = &rows[subject->param[0]];
    td_model_config config;
    TD_TRY(td_model_config_find(row->model, &config));
    *out = (td_train_options){
        .config = config,
        .loss = row->loss,
        .precision = row->precision,
        .optimizer = {.kind = row->variant->lion ? TD_OPTIMIZER_LION : TD_OPTIMIZER_ADAMW,
                      .lr = 5e-4,
                      .beta1 = 0.9,
                      .beta2 = 0.98,
                      .eps = 1e-6,
                      .weight_decay = 0.2,
                      .schedule = TD_SCHEDULE_COSINE,
                      .warmup = 100,
                      .steps = 10000},
        .batch = row->batch,
        .blocks = blocks_of(row),
        .seed = SEED,
        .keep_padding = row->variant->whole || row->variant->padded,
        .keep_last_block = row->variant->whole,
        .recompute = row->variant->recompute,
        .zero = row->variant->zero,
        .sum_after = row->variant->after,
        .accum = row->variant->accum};
    return TD_OK;
}

static td_status list_steps(const td_workload *self, td_case_list *list) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        td_case *added = td_case_add(list, self, "step/%s/%s/b%lld-%s%s",
                                     rows[i].loss == TD_LOSS_SOFTMAX ? "clip" : "siglip",
                                     rows[i].model, (long long)rows[i].batch,
                                     td_precision_name(rows[i].precision), rows[i].variant->name);
        added->param[0] = (int64_t)i;
        added->quick = rows[i].quick;
        added->seconds = rows[i].seconds;
    }
    return TD_OK;
}

/* Every micro-batch has a logical block of each rank; one rank alone has nothing to add up. */
static bool fits_blocks(const td_case *subject, const td_layout *layout) {
    const step_row *row = &rows[subject->param[0]];
    int64_t accum = row->variant->accum;
    return layout->ranks * (accum > 1 ? accum : 1) <= blocks_of(row) &&
           (layout->ranks > 1 || !row->variant->after);
}

static td_status segment_step(const td_case *subject, const td_layout *layout, int64_t *bytes) {
    td_train_options options;
    td_train_needs needs;
    TD_TRY(options_of(subject, &options));
    TD_TRY(td_train_measure(&options, layout->ranks, &needs));
    *bytes = needs.segment_bytes;
    return TD_OK;
}

/* The peak beside every step; of one rank alone: others would not compute at the same time. */
static void add_probe(td_bench *bench) {
    td_outcome *out = bench->outcome;
    if (bench->rank->count == 1) {
        td_companion *probe = &out->companions[out->n_companions++];
        snprintf(probe->name, sizeof probe->name, "peak");
        probe->state = TD_OUTCOME_OK;
        probe->probe = true;
    }
}

static td_status setup_step(td_bench *bench) {
    step_state *s = bench->state = td_alloc_zero(sizeof *s);
    td_train_options options;
    if (!s) {
        return td_fail(TD_ENOMEM, "a training case");
    }
    TD_TRY(options_of(bench->subject, &options));
    bool small = rows[bench->subject->param[0]].small;
    TD_TRY(td_pairs_open(&(td_pairs_options){.path = small ? NULL : bench->settings->data,
                                             .n_synthetic = small ? SMALL_SYNTHETIC : SYNTHETIC,
                                             .seed = SEED},
                         &s->pairs));
    TD_TRY(td_tokenizer_load(NULL, &s->tokenizer));
    td_split split = {.batch = options.batch,
                      .blocks = options.blocks,
                      .rank = bench->rank->rank,
                      .ranks = bench->rank->count};
    /* The loader first: its worker inherits where this thread may run, and creating the team binds
     * this thread to one PU. */
    TD_TRY(
        td_loader_create(&(td_loader_options){.pairs = s->pairs,
                                              .tokenizer = s->tokenizer,
                                              .batch = options.batch,
                                              .first_row = td_split_first_row(&split, split.rank),
                                              .rows = td_split_rows(&split, split.rank),
                                              .image_size = options.config.image_size,
                                              .context = options.config.context,
                                              .seed = SEED,
                                              .prefetch = 2,
                                              .pu = -1,
                                              .cache_bytes = small ? INT64_C(64) << 20 : 0,
                                              .fill_cache = true},
                         &s->loader));
    add_probe(bench);
    return td_train_create(&options, bench->rank, &s->train);
}

static td_status run_step(td_bench *bench) {
    step_state *s = bench->state;
    const float *images;
    const int32_t *tokens;
    int64_t wait_ns;
    td_step_result result;
    TD_TRY(td_loader_next(s->loader, &images, &tokens, &wait_ns));
    TD_TRY(td_train_step(s->train, images, tokens, &result));
    s->steps++;
    return TD_OK;
}

static td_status verify_step(td_bench *bench) {
    step_state *s = bench->state;
    td_outcome *out = bench->outcome;
    char sha[TD_SHA256_HEX];
    for (int i = 0; i < VERIFY_STEPS; i++) {
        TD_TRY(run_step(bench));
    }
    TD_TRY(td_train_sha256(s->train, sha));
    bool even = td_split_even(td_train_split(s->train));
    if (bench->rank->rank == 0) {
        memcpy(out->sha256, sha, sizeof sha);
        snprintf(out->answer_class, sizeof out->answer_class, even ? "one" : "p%d",
                 bench->rank->count);
        snprintf(out->method, sizeof out->method, "sha256 after %d steps over layouts",
                 VERIFY_STEPS);
    }
    if (even && bench->expected_sha256[0] && strcmp(sha, bench->expected_sha256) != 0) {
        return td_fail(TD_ECHECK,
                       "weights after %d steps are %.16s..., on an earlier layout %.16s...",
                       VERIFY_STEPS, sha, bench->expected_sha256);
    }
    return TD_OK;
}

/* ---- what the machine gives beside ---- */

/* A few milliseconds of the arithmetic that products are made of, on the step's own workers. Where
 * others use the CPUs, or the other half of their cores, a peak found at a quiet moment says little
 * about the second in which a step ran. */
typedef struct peak_run {
    td_peak_kind kind;
    td_isa isa;
    double flops[TD_MAX_WORKERS], ns[TD_MAX_WORKERS];
} peak_run;

static void run_peak(void *arg, td_worker *worker) {
    peak_run *run = arg;
    const int64_t flops = 1500000000;
    const td_peak_loop *loop = td_peak_loop_of(run->kind, run->isa);
    int64_t iterations = flops / loop->flops;
    uint64_t start = td_tsc();
    bool good = td_peak_compute(run->kind, run->isa, iterations);
    TD_ASSERT(good);
    run->ns[worker->id] = (double)(td_tsc() - start) / td_tsc_hz() * 1e9;
    run->flops[worker->id] = (double)(iterations * loop->flops);
}

/* Nanoseconds that the nominal work of a step takes at that rate. And its ops alone. */
static td_status beside_step(td_bench *bench, int companion, int64_t repeat, double *ns) {
    (void)companion;
    (void)repeat;
    const step_state *s = bench->state;
    const td_cost *cost = &bench->outcome->cost;
    peak_run run = {.kind = td_peak_of_code((td_isa)cost->isa, cost->precision),
                    .isa = (td_isa)cost->isa};
    double rate = 0;
    td_outcome_time_ops(bench->outcome, td_train_program(s->train), td_train_team(s->train));
    td_team_run(td_train_team(s->train), run_peak, &run);
    for (int w = 0; w < bench->rank->workers; w++) {
        rate += run.flops[w] / run.ns[w];
    }
    *ns = cost->nominal / rate;
    return TD_OK;
}

/* The share of the peak that stood around each step, before it and behind. */
static void note_shares(td_outcome *out) {
    double shares[TD_COMPANION_SAMPLES];
    const td_companion *probe = &out->companions[0];
    if (out->n_companions == 0 || probe->n == 0) {
        return;
    }
    for (int64_t i = 0; i < probe->n; i++) {
        double before = probe->samples_ns[i > 0 ? i - 1 : i], behind = probe->samples_ns[i];
        shares[i] = 2 / (1 / before + 1 / behind) / out->samples_ns[i];
    }
    double share = td_stats_median(shares, probe->n);
    td_outcome_number(out, "mfu_beside", share);
    td_outcome_number(out, "hfu_beside", share * out->cost.flops / out->cost.nominal);
}

static void cost_step(const td_bench *bench, td_cost *out) {
    const step_state *s = bench->state;
    const td_train_options *options = td_train_get_options(s->train);
    *out = (td_cost){.value = TD_VALUE_ITEMS,
                     .items = (double)options->batch,
                     .unit = "pairs/s",
                     .precision = options->precision,
                     .nominal = td_model_nominal_flops(&options->config) * (double)options->batch};
    out->flops = out->nominal; /* until steps have been run: finish_step */
    out->isa = (int)td_kernel_selected(td_precision_product(options->precision))->isa;
}

static int64_t minor_faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

/* Of rank 0's process, the loader included: what decoding does to memory shows here. */
static void note_memory(const step_state *s, td_outcome *out) {
    double steps = (double)s->steps;
    td_pages pages = {0};
    td_outcome_number(out, "minor_faults_per_step",
                      (double)(minor_faults() - s->faults_before) / steps);
    td_outcome_number(out, "allocations_per_step",
                      (double)(td_alloc_count() - s->allocations_before) / steps);
    if (td_train_pages(s->train, &pages) == TD_OK && pages.resident_bytes > 0) {
        td_outcome_number(out, "huge_page_share",
                          (double)pages.huge_bytes / (double)pages.resident_bytes);
    }
}

static void begin_step(td_bench *bench) {
    step_state *s = bench->state;
    td_program_reset_cost(td_train_program(s->train));
    td_loader_get_stats(s->loader, &s->before);
    s->allocations_before = td_alloc_count();
    s->faults_before = minor_faults();
    s->steps = 0;
}

/* Parts add up to the mean step: what is in none of them is called other. */
static void note_parts(td_outcome *out, double data_wait_ns) {
    double sum = 0, wall = 0;
    td_outcome_add_part(out, "data_wait", data_wait_ns);
    for (int64_t i = 0; i < out->n_parts; i++) {
        sum += out->parts[i].ns;
    }
    for (int64_t i = 0; i < out->n_samples; i++) {
        wall += out->samples_ns[i] / (double)out->n_samples;
    }
    td_outcome_add_part(out, "other", wall - sum);
}

static void finish_step(td_bench *bench) {
    step_state *s = bench->state;
    td_outcome *out = bench->outcome;
    td_program *program = td_train_program(s->train);
    bool first = bench->rank->rank == 0;
    if (bench->settings->profile) {
        td_outcome_add_spans(out, program, bench->rank->rank, bench->rank->workers);
    }
    if (s->steps == 0) {
        return;
    }
    if (first) {
        td_outcome_add_ops(out, program, bench->rank->workers);
        td_program_cost total;
        td_program_total_cost(program, &total);
        td_loader_stats after;
        td_loader_get_stats(s->loader, &after);
        double steps = (double)s->steps;
        double data_wait_ns = (double)(after.wait_ns - s->before.wait_ns) / steps;
        td_outcome_number(out, "data_wait_ns", data_wait_ns);
        td_outcome_number(out, "decode_ns",
                          (double)(after.decode_ns - s->before.decode_ns) / steps);
        td_outcome_number(out, "phase_wait_ns", total.wait_ns);
        out->cost.flops = total.flops * bench->rank->count;
        td_outcome_number(out, "bad_samples", (double)after.bad_samples);
        if (bench->rank->count > 1) {
            td_outcome_number(out, "overlap_share", td_train_overlap(s->train));
        }
        note_memory(s, out);
        note_shares(out);
        note_parts(out, data_wait_ns);
    }
    for (int i = 0; i < ALONE && bench->rank->count > 1; i++) {
        td_outcome_time_ops(first ? out : NULL, program, td_train_team(s->train));
    }
}

static void teardown_step(td_bench *bench) {
    step_state *s = bench->state;
    if (s->loader) {
        td_loader_destroy(s->loader);
    }
    if (s->train) {
        td_train_destroy(s->train);
    }
    td_tokenizer_destroy(s->tokenizer);
    if (s->pairs) {
        td_pairs_close(s->pairs);
    }
    td_free(s);
}

const td_workload td_workload_step = {
    .name = "step",
    .own_team = true,
    .list = list_steps,
    .fits = fits_blocks,
    .segment = segment_step,
    .setup = setup_step,
    .verify = verify_step,
    .step = run_step,
    .cost = cost_step,
    .beside = beside_step,
    .begin = begin_step,
    .finish = finish_step,
    .teardown = teardown_step,
};
