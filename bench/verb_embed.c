/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verbs.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "base/text.h"
#include "bench/embed_output.h"
#include "bench/row_choice.h"
#include "models/checkpoint.h"

typedef struct embed_cli {
    const char *weights, *data, *model, *loss, *tokenizer, *layout, *towers, *out, *features_out;
    const char *precision;
    bool held_out, replace;
    int64_t synthetic, seed, batch;
    double holdout;
} embed_cli;

#define AT(field) offsetof(embed_cli, field)
static const td_option options_table[] = {
    {"weights", TD_OPTION_TEXT, AT(weights), 0, 0, NULL, "FILE",
     "safetensors that `tandem train --save` wrote, or open_clip's with --model"},
    {"data", TD_OPTION_TEXT, AT(data), 0, 0, NULL, "PATH",
     "TFRecord shards (directory or glob); the embedded procedural set without"},
    {"synthetic", TD_OPTION_INT, AT(synthetic), 1, 1e9, NULL, "N", "pairs of the embedded set"},
    {"seed", TD_OPTION_INT, AT(seed), 0, 1e15, NULL, "N", "of the embedded set, as in training"},
    {"holdout", TD_OPTION_REAL, AT(holdout), 0, 0.9, NULL, "SHARE",
     "leave out the pairs that `tandem train --holdout SHARE` keeps out; 0: none"},
    {"held-out", TD_OPTION_FLAG, AT(held_out), 0, 0, NULL, NULL, "only those pairs instead"},
    {"out", TD_OPTION_TEXT, AT(out), 0, 0, NULL, "DIR",
     "write images.npy, texts.npy and pairs.jsonl here; it is created"},
    {"features-out", TD_OPTION_TEXT, AT(features_out), 0, 0, NULL, "DIR",
     "write the pairs with features in place of images, for `tandem train --freeze image`"},
    {"replace", TD_OPTION_FLAG, AT(replace), 0, 0, NULL, NULL,
     "replace shards that --features-out holds; without it they are an error"},
    {"towers", TD_OPTION_CHOICE, AT(towers), 0, 0, "both|image|text", NULL, "what is computed"},
    {"precision", TD_OPTION_CHOICE, AT(precision), 0, 0, TD_PRECISION_CHOICES, NULL,
     "of the towers' products, as in training"},
    {"batch", TD_OPTION_INT, AT(batch), 1, 4096, NULL, "N", "rows that a rank encodes at once"},
    {"layout", TD_OPTION_TEXT, AT(layout), 0, 0, NULL, "LAYOUT",
     "ranks x workers, as p2xt1:process; the rows are the same on all"},
    {"model", TD_OPTION_TEXT, AT(model), 0, 0, NULL, "NAME",
     "configuration, when the file does not say (name or open_clip .json)"},
    {"loss", TD_OPTION_CHOICE, AT(loss), 0, 0, "softmax|sigmoid", NULL,
     "with --model: which loss the weights were trained with"},
    {"tokenizer", TD_OPTION_TEXT, AT(tokenizer), 0, 0, NULL, "FILE",
     "merges file, when another than the one the weights name"},
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
    td_safetensors weights;
    td_model_config config;
    td_loss loss;
    td_precision precision;
    td_tokenizer *tokenizer;
    td_pairs *pairs; /* the parent's, for counts and texts */
    td_layout layout;
    td_embed_table table;
    td_progress progress;
    int64_t start_ns;
} embed_job;

/* What rank 0 leaves at the start of its segment. */
typedef struct embed_result {
    char tower[TD_TOWER_ID];
} embed_result;

static td_status open_pairs(const embed_cli *cli, td_pairs **out) {
    return td_pairs_open(&(td_pairs_options){.path = cli->data,
                                             .n_synthetic = cli->synthetic,
                                             .seed = (uint64_t)cli->seed,
                                             .holdout = cli->holdout,
                                             .held_out = cli->held_out},
                         out);
}

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
    td_encoder_options options = {.config = job->config,
                                  .loss = job->loss,
                                  .precision = job->precision,
                                  .batch = job->cli->batch,
                                  .workers = rank->workers,
                                  .pu = rank->pu,
                                  .shares_cpus = rank->shares_cpus};
    td_status status = td_encoder_create(&options, &job->weights, &encoder);
    if (status == TD_OK) {
        status = open_pairs(job->cli, &pairs);
    }
    embed_result *result = (embed_result *)(void *)rank->segment;
    if (status == TD_OK && rank->rank == 0) {
        char sha[TD_SHA256_HEX] = "";
        status = td_encoder_image_sha256(encoder, sha);
        td_tower_id(sha, job->precision, result->tower);
    }
    if (status == TD_OK) {
        status = td_embed_rank(encoder, pairs, job->tokenizer, rank, job->cli->batch, &job->table,
                               show, job);
    }
    if (rank->rank == 0) {
        td_progress_clear(&job->progress);
    }
    td_pairs_close(pairs);
    td_encoder_destroy(encoder);
    return status;
}

static td_status describe(embed_job *job) {
    const embed_cli *cli = job->cli;
    const char *tokenizer = "";
    TD_TRY(td_safetensors_open(cli->weights, &job->weights));
    if (cli->model == NULL) {
        TD_TRY(td_checkpoint_describe(&job->weights, &job->config, &job->loss, &tokenizer));
    } else {
        job->loss = strcmp(cli->loss, "sigmoid") == 0 ? TD_LOSS_SIGMOID : TD_LOSS_SOFTMAX;
        TD_TRY(td_model_config_load(cli->model, &job->config));
    }
    const char *merges = cli->tokenizer != NULL ? cli->tokenizer : tokenizer;
    TD_TRY(td_tokenizer_load(merges[0] == '\0' ? NULL : merges, &job->tokenizer));
    if (td_tokenizer_vocab(job->tokenizer) > job->config.vocab) {
        return td_fail(TD_EUSAGE,
                       "the tokenizer has %" PRId32 " ids, model %s a vocabulary of %" PRId64,
                       td_tokenizer_vocab(job->tokenizer), job->config.name, job->config.vocab);
    }
    return open_pairs(cli, &job->pairs);
}

static td_status check(const embed_cli *cli) {
    if (cli->weights == NULL) {
        return td_fail(TD_EUSAGE,
                       "--weights FILE is missing; `tandem train --save FILE` writes one");
    }
    if (cli->out == NULL && cli->features_out == NULL) {
        return td_fail(TD_EUSAGE, "nowhere to write; expected --out DIR or --features-out DIR");
    }
    if (cli->features_out != NULL && strcmp(cli->towers, "text") == 0) {
        return td_fail(TD_EUSAGE, "--features-out needs the image tower; expected --towers image");
    }
    if (cli->held_out && !(cli->holdout > 0)) {
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
    printf("model %s, image tower %s\n", job->config.name, result->tower);
    printf("%" PRId64 " pairs encoded, %" PRId64 " cannot be decoded, %.1f pairs/s\n", rows,
           job->table.pairs - rows, (double)rows / seconds);
    if (cli->out != NULL) {
        TD_TRY(td_embed_write_matrices(cli->out, job->pairs, &job->table, rows));
    }
    if (cli->features_out != NULL) {
        TD_TRY(td_embed_write_features(cli->features_out, cli->replace, job->pairs, &job->table,
                                       result->tower));
    }
    return TD_OK;
}

static td_status run_job(embed_job *job) {
    const embed_cli *cli = job->cli;
    TD_TRY(check(cli));
    td_isa isa;
    TD_TRY(td_precision_find(cli->precision, &job->precision));
    TD_TRY(td_isa_active(&isa));
    TD_TRY(td_kernels_select(isa));
    char rows[TD_ROW_CHOICE_TEXT];
    TD_TRY(td_rows_choose(job->precision, rows));
    TD_TRY(td_layout_parse(cli->layout, &job->layout));
    TD_TRY(describe(job));
    const char *directory = cli->out != NULL ? cli->out : cli->features_out;
    TD_TRY(td_make_directory(directory));
    TD_TRY(td_embed_table_create(directory, td_pairs_count(job->pairs), job->config.embed,
                                 strcmp(cli->towers, "text") != 0,
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
    embed_cli cli = {.loss = "softmax",
                     .precision = "f32",
                     .layout = "p1xt1",
                     .towers = "both",
                     .batch = 32,
                     .synthetic = 8192};
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
    td_pairs_close(job.pairs);
    if (job.tokenizer != NULL) {
        td_tokenizer_destroy(job.tokenizer);
    }
    td_safetensors_close(&job.weights);
    return status;
}
