/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verbs.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "bench/embed_output.h"
#include "bench/trained.h"

typedef struct embed_cli {
    td_trained_cli trained;
    const char *layout, *towers, *out, *features_out;
    bool replace;
    int64_t batch;
} embed_cli;

#define AT(field)         offsetof(embed_cli, field)
#define TRAINED_AT(field) AT(trained.field)
static const td_option options_table[] = {
    TD_TRAINED_OPTIONS(TRAINED_AT),
    {"holdout", TD_OPTION_REAL, AT(trained.holdout), 0, 0.9, NULL, "SHARE",
     "leave out the pairs that `tandem train --holdout SHARE` keeps out; 0: none"},
    {"held-out", TD_OPTION_FLAG, AT(trained.held_out), 0, 0, NULL, NULL,
     "only those pairs instead"},
    {"out", TD_OPTION_TEXT, AT(out), 0, 0, NULL, "DIR",
     "write images.npy, texts.npy and pairs.jsonl here; it is created"},
    {"features-out", TD_OPTION_TEXT, AT(features_out), 0, 0, NULL, "DIR",
     "write the pairs with features in place of images, for `tandem train --freeze image`"},
    {"replace", TD_OPTION_FLAG, AT(replace), 0, 0, NULL, NULL,
     "replace shards that --features-out holds; without it they are an error"},
    {"towers", TD_OPTION_CHOICE, AT(towers), 0, 0, "both|image|text", NULL, "what is computed"},
    {"batch", TD_OPTION_INT, AT(batch), 1, 4096, NULL, "N", "rows that a rank encodes at once"},
    {"layout", TD_OPTION_TEXT, AT(layout), 0, 0, NULL, "LAYOUT",
     "ranks x workers, as p2xt1:process; the rows are the same on all"},
};
enum { N_OPTIONS = sizeof(options_table) / sizeof(options_table[0]) };

static const td_verb_help verb_help = {
    "tandem embed --weights FILE (--out DIR | --features-out DIR) [--options]",
    "Encodes the images and captions of a set with trained weights. images.npy and texts.npy are "
    "matrices of normalised f32 features that numpy.load reads, row i of both belongs to line i of "
    "pairs.jsonl (key, caption, label). Files appear when complete. Pairs that cannot be decoded "
    "are named and have no row.",
    "  tandem embed --weights w.safetensors --data shards --out features --layout p1xt2\n"
    "  tandem embed --weights w.safetensors --data shards --features-out lit\n"
    "  tandem train --init w.safetensors --freeze image --data lit --model vit-s-32-alt\n"};

/* Shared by all ranks, set before they start. */
typedef struct embed_job {
    const embed_cli *cli;
    td_trained trained; /* its pairs are for counts and texts; each rank opens its own */
    td_layout layout;
    td_embed_table table;
    td_progress progress;
    int64_t start_ns;
} embed_job;

/* What rank 0 leaves at the start of its segment. */
typedef struct embed_result {
    char tower[TD_TOWER_ID];
} embed_result;

static void show(void *arg, int64_t done) {
    embed_job *job = arg;
    double seconds = (double)(td_now_ns() - job->start_ns) * 1e-9;
    td_progress_show(&job->progress, (double)done / (double)job->table.pairs,
                     "%" PRId64 " of %" PRId64 " pairs, %.1f pairs/s", done, job->table.pairs,
                     (double)done / seconds);
}

static td_status rank_main(td_rank *rank, void *arg) {
    embed_job *job = arg;
    td_encoder *encoder = NULL;
    td_pairs *pairs = NULL;
    td_encoder_options options = {.config = job->trained.config,
                                  .loss = job->trained.loss,
                                  .precision = job->trained.precision,
                                  .batch = job->cli->batch,
                                  .workers = rank->workers,
                                  .pu = rank->pu,
                                  .shares_cpus = rank->shares_cpus};
    td_status status = td_encoder_create(&options, &job->trained.weights, &encoder);
    if (status == TD_OK) {
        status = td_trained_pairs(&job->cli->trained, &pairs);
    }
    embed_result *result = (embed_result *)(void *)rank->segment;
    if (status == TD_OK && rank->rank == 0) {
        char sha[TD_SHA256_HEX] = "";
        status = td_encoder_image_sha256(encoder, sha);
        td_tower_id(sha, job->trained.precision, result->tower);
    }
    if (status == TD_OK) {
        status = td_embed_rank(encoder, pairs, job->trained.tokenizer, rank, job->cli->batch,
                               &job->table, show, job);
    }
    if (rank->rank == 0) {
        td_progress_clear(&job->progress);
    }
    td_pairs_close(pairs);
    td_encoder_destroy(encoder);
    return status;
}

static td_status check(const embed_cli *cli) {
    if (cli->out == NULL && cli->features_out == NULL) {
        return td_fail(TD_EUSAGE, "nowhere to write; expected --out DIR or --features-out DIR");
    }
    if (cli->features_out != NULL && strcmp(cli->towers, "text") == 0) {
        return td_fail(TD_EUSAGE, "--features-out needs the image tower; expected --towers image");
    }
    if (cli->trained.held_out && !(cli->trained.holdout > 0)) {
        return td_fail(TD_EUSAGE, "--held-out needs the share that was: expected --holdout SHARE");
    }
    return TD_OK;
}

static td_status write_all(embed_job *job, const embed_result *result) {
    const embed_cli *cli = job->cli;
    int64_t rows = 0;
    for (int64_t i = 0; i < job->table.pairs; i++) {
        rows += job->table.state[i] == TD_EMBED_OK;
    }
    if (rows == 0) {
        return td_fail(TD_EINPUT, "none of %" PRId64 " pairs can be decoded", job->table.pairs);
    }
    double seconds = (double)(td_now_ns() - job->start_ns) * 1e-9;
    printf("model %s, image tower %s\n", job->trained.config.name, result->tower);
    printf("%" PRId64 " pairs encoded, %" PRId64 " cannot be decoded, %.1f pairs/s\n", rows,
           job->table.pairs - rows, (double)rows / seconds);
    if (cli->out != NULL) {
        TD_TRY(td_embed_write_matrices(cli->out, job->trained.pairs, &job->table, rows));
    }
    if (cli->features_out != NULL) {
        TD_TRY(td_embed_write_features(cli->features_out, cli->replace, job->trained.pairs,
                                       &job->table, result->tower));
    }
    return TD_OK;
}

static td_status run_job(embed_job *job) {
    const embed_cli *cli = job->cli;
    TD_TRY(check(cli));
    TD_TRY(td_layout_parse(cli->layout, &job->layout));
    TD_TRY(td_trained_open(&cli->trained, &job->trained));
    const char *directory = cli->out != NULL ? cli->out : cli->features_out;
    TD_TRY(td_make_directory(directory));
    TD_TRY(td_embed_table_create(directory, td_pairs_count(job->trained.pairs),
                                 job->trained.config.embed, strcmp(cli->towers, "text") != 0,
                                 strcmp(cli->towers, "image") != 0, &job->table));
    td_interrupt_install();
    job->progress = td_progress_start();
    job->start_ns = td_now_ns();
    /* A share of a large set takes long, and ranks end together. */
    td_group_options group = {.layout = job->layout,
                              .segment_bytes = sizeof(embed_result),
                              .deadline_ns = INT64_C(3600000000000)};
    embed_result result = {0};
    TD_TRY(td_group_run_result(&group, rank_main, job, &result, sizeof(result)));
    return write_all(job, &result);
}

td_status td_verb_embed(int argc, char **argv) {
    embed_cli cli = {
        .trained = {TD_TRAINED_DEFAULTS}, .layout = "p1xt1", .towers = "both", .batch = 32};
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(options_table, N_OPTIONS, argc, argv, &cli, NULL, 0, &n_words, &help));
    if (help) {
        td_options_help(stdout, &verb_help, options_table, N_OPTIONS, &cli);
        return TD_OK;
    }
    embed_job job = {.cli = &cli};
    td_status status = run_job(&job);
    td_embed_table_destroy(&job.table);
    td_trained_close(&job.trained);
    return status;
}
