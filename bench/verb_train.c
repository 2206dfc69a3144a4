/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verbs.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "base/text.h"
#include "bench/ceiling.h"
#include "bench/row_choice.h"
#include "bench/run_layout.h"
#include "bench/training_run.h"
#include "data/pairs.h"
#include "models/checkpoint.h"
#include "models/encoder.h"
#include "models/train.h"
#include "models/verify.h"

typedef struct train_cli {
    const char *model, *loss, *data, *layout, *schedule, *tokenizer, *save, *resume, *verify, *out;
    const char *precision, *pack, *prune, *recompute, *freeze, *init, *optimizer, *aug_scale;
    int64_t accum, unmask_steps, zero;
    double patch_mask, ema;
    bool plan;
    int64_t steps, batch, warmup, seed, blocks, save_every, log_every, synthetic, cache, prefetch,
        loader_workers;
    double lr, weight_decay, beta1, beta2, eps, grad_clip, holdout, aug_flip;
} train_cli;

#define AT(field) offsetof(train_cli, field)
static const td_option options_table[] = {
    {"model", TD_OPTION_TEXT, AT(model), 0, 0, NULL, "NAME",
     "a configuration of `tandem list`, or an open_clip .json file"},
    {"loss|siglip=sigmoid", TD_OPTION_CHOICE, AT(loss), 0, 0, "softmax|sigmoid", NULL,
     "CLIP's symmetric softmax, or SigLIP's sigmoid"},
    {"data", TD_OPTION_TEXT, AT(data), 0, 0, NULL, "PATH",
     "TFRecord shards or WebDataset tar files (directory or glob), or a .tsv of image files; the "
     "embedded procedural set without"},
    {"synthetic", TD_OPTION_INT, AT(synthetic), 1, 1e9, NULL, "N", "pairs of the embedded set"},
    {"holdout", TD_OPTION_REAL, AT(holdout), 0, 0.9, NULL, "SHARE",
     "share of pairs kept out of training, for `tandem eval --held-out`"},
    {"layout", TD_OPTION_TEXT, AT(layout), 0, 0, NULL, "LAYOUT",
     "ranks x workers, as p2xt1:process"},
    {"steps", TD_OPTION_INT, AT(steps), 1, 1e9, NULL, "N", "steps in all, also when resuming"},
    {"batch|batch-size", TD_OPTION_INT, AT(batch), 1, 1 << 20, NULL, "N",
     "pairs per step, over all ranks"},
    {"blocks", TD_OPTION_INT, AT(blocks), 1, TD_MAX_BLOCKS, NULL, "G",
     "logical blocks of the batch, a power of two: they fix the order of sums, and so the answer"},
    {"optimizer", TD_OPTION_CHOICE, AT(optimizer), 0, 0, "adamw|lion", NULL,
     "how gradients change weights; Lion steps by signs and keeps one moment: it wants a tenth of "
     "AdamW's lr, and more weight decay"},
    {"lr", TD_OPTION_REAL, AT(lr), 0, 10, NULL, "RATE", "learning rate after warm-up"},
    {"warmup", TD_OPTION_INT, AT(warmup), -1, 1e9, NULL, "N",
     "steps of linear warm-up; -1: a tenth of the steps"},
    {"schedule|lr-scheduler", TD_OPTION_CHOICE, AT(schedule), 0, 0, "cosine|const", NULL,
     "after warm-up"},
    {"weight-decay|wd", TD_OPTION_REAL, AT(weight_decay), 0, 10, NULL, "RATE",
     "decoupled, times lr"},
    {"beta1", TD_OPTION_REAL, AT(beta1), 0, 0.9999999, NULL, "B",
     "of AdamW's first moment, or of the sum whose sign Lion takes"},
    {"beta2", TD_OPTION_REAL, AT(beta2), -1, 0.9999999, NULL, "B",
     "of AdamW's second moment, or of Lion's; below 0: 0.98 of AdamW, 0.99 of Lion"},
    {"eps", TD_OPTION_REAL, AT(eps), 0, 1, NULL, "EPS", "AdamW's epsilon"},
    {"grad-clip|grad-clip-norm", TD_OPTION_REAL, AT(grad_clip), 0, 1e9, NULL, "NORM",
     "largest norm of all gradients; 0: none"},
    {"seed", TD_OPTION_INT, AT(seed), 0, 1e15, NULL, "N", "of weights and of the order of pairs"},
    {"accum|accum-freq", TD_OPTION_INT, AT(accum), 1, TD_MAX_BLOCKS, NULL, "A",
     "micro-batches, a power of two: less memory, a forward pass more, the same answer"},
    {"zero", TD_OPTION_INT, AT(zero), 0, 1, NULL, "STAGE",
     "1: every rank updates a part of the weights and keeps the moments of that part only "
     "(ZeRO-1): less memory, the same answer"},
    {"recompute|grad-checkpointing=on", TD_OPTION_CHOICE, AT(recompute), 0, 0, "off|on", NULL,
     "keep only each block's input and run it again for its backward pass: the same answer"},
    {"pack", TD_OPTION_CHOICE, AT(pack), 0, 0, "on|off", NULL,
     "leave out what lies behind a caption's end token, where nothing sees it: in f32 the same "
     "answer"},
    {"prune", TD_OPTION_CHOICE, AT(prune), 0, 0, "on|off", NULL,
     "of the last block compute only what the pooled token needs: in f32 the same answer"},
    {"freeze|lock-image=image", TD_OPTION_CHOICE, AT(freeze), 0, 0, "none|image", NULL,
     "LiT: the image tower keeps its weights and has no backward pass; data may be what `tandem "
     "embed --features-out` wrote"},
    {"patch-mask|force-patch-dropout", TD_OPTION_REAL, AT(patch_mask), 0, 0.99, NULL, "SHARE",
     "FLIP: share of each image's patches that is dropped"},
    {"unmask-steps", TD_OPTION_INT, AT(unmask_steps), 0, 1e9, NULL, "N",
     "last steps that see all patches again"},
    {"ema", TD_OPTION_REAL, AT(ema), 0, 0.9999999, NULL, "DECAY",
     "keep a moving average of the weights, saved as ema/<name>; 0: none"},
    {"init", TD_OPTION_TEXT, AT(init), 0, 0, NULL, "FILE",
     "start from the weights of a safetensors file, such as a tower to freeze"},
    {"precision", TD_OPTION_CHOICE, AT(precision), 0, 0, TD_PRECISION_CHOICES, NULL,
     "arithmetic of the towers' products; weights, norms, loss and update are f32 in any"},
    {"tokenizer", TD_OPTION_TEXT, AT(tokenizer), 0, 0, NULL, "FILE",
     "CLIP's merges file; a small built-in vocabulary without"},
    {"aug-scale", TD_OPTION_TEXT, AT(aug_scale), 0, 0, NULL, "MIN[,MAX]",
     "crop each image at random each time, to this share of its area (MAX: 1), at ratios of 3/4 to "
     "4/3, as open_clip's --aug-cfg scale; whole images without"},
    {"aug-flip", TD_OPTION_REAL, AT(aug_flip), 0, 1, NULL, "SHARE",
     "mirror this share of the images, left to right, chosen anew each time"},
    {"prefetch", TD_OPTION_INT, AT(prefetch), 0, 64, NULL, "N",
     "batches kept ready; 0: 1 to 8, more when batches come late"},
    {"loader-workers", TD_OPTION_INT, AT(loader_workers), 1, 256, NULL, "N",
     "threads of each rank that decode; batches do not depend on it"},
    {"data-cache", TD_OPTION_INT, AT(cache), 0, 1e15, NULL, "BYTES",
     "keep decoded images in memory when all fit, over all ranks; not with --aug-scale"},
    {"save", TD_OPTION_TEXT, AT(save), 0, 0, NULL, "FILE", "weights and state, as safetensors"},
    {"save-every", TD_OPTION_INT, AT(save_every), 0, 1e9, NULL, "N",
     "also during training; 0: at the end"},
    {"resume", TD_OPTION_TEXT, AT(resume), 0, 0, NULL, "FILE", "go on from a saved file"},
    {"log-every", TD_OPTION_INT, AT(log_every), 1, 1e9, NULL, "N", "steps between lines"},
    {"out", TD_OPTION_TEXT, AT(out), 0, 0, NULL, "DIR",
     "write train.jsonl (a line per logged step), and weights.safetensors without --save"},
    {"plan", TD_OPTION_FLAG, AT(plan), 0, 0, NULL, NULL,
     "instead of training, print what a rank's memory holds"},
    {"verify", TD_OPTION_TEXT, AT(verify), 0, 0, NULL, "DIR",
     "instead of training, check the steps another implementation recorded in DIR"},
};
enum { N_OPTIONS = sizeof(options_table) / sizeof(options_table[0]), PATH = 4096 };

static const td_verb_help verb_help = {
    "tandem train [--options]",
    "Trains an image and a text tower on pairs. The last line, weights_sha256, depends on options "
    "and data only: every layout whose ranks divide the blocks, and every instruction set, gives "
    "the same. With --verify: exit 0 when every loss and tensor is within its bound, 1 when one is "
    "beyond, 3 when the folder lacks something or holds what the model does not know "
    "(docs/verify.md).",
    "  tandem train --model ti-32 --steps 200 --layout p1xt2\n"
    "  tandem train --model vit-s-32-alt --loss sigmoid --data shards --save w.safetensors\n"
    "  tandem train --verify DIR --layout p2xt1:process\n"};

/* Shared by all ranks, set before they start. */
typedef struct train_job {
    const train_cli *cli;
    td_train_options options;
    td_layout layout;
    const char *save; /* or NULL */
    const td_tokenizer *tokenizer;
    td_train_needs needs;
    td_pair_vector vector; /* n > 0: the data are features of the frozen image tower */
    double peak_gflops;    /* of all workers, measured before; 0: unknown */
    char rows[TD_ROW_CHOICE_TEXT];
} train_job;

/* One rank's run. */
typedef struct train_run {
    const train_job *job;
    td_rank *rank;
    td_train *train;
    td_pairs *pairs;
    td_loader *loader;
    FILE *log;
    int64_t log_start_ns, log_wait_ns, log_steps;
    td_training_result *result;
} train_run;

static const char *loss_name(td_loss loss) {
    return loss == TD_LOSS_SIGMOID ? "sigmoid" : "softmax";
}

static td_status open_data(train_run *run, int64_t first_step) {
    const train_cli *cli = run->job->cli;
    const td_train_options *options = &run->job->options;
    td_split split = {.batch = options->batch,
                      .blocks = options->blocks,
                      .rank = run->rank->rank,
                      .ranks = run->rank->count};
    td_pairs_options pairs = {.path = cli->data,
                              .n_synthetic = cli->synthetic,
                              .seed = (uint64_t)cli->seed,
                              .holdout = cli->holdout};
    TD_TRY(td_pairs_open(&pairs, &run->pairs));
    td_loader_options loader = {.pairs = run->pairs,
                                .tokenizer = run->job->tokenizer,
                                .batch = options->batch,
                                .first_row = td_split_first_row(&split, split.rank),
                                .rows = td_split_rows(&split, split.rank),
                                .image_size = options->config.image_size,
                                .context = options->config.context,
                                .seed = options->seed,
                                .first_step = first_step,
                                .prefetch = (int)cli->prefetch,
                                .workers = (int)cli->loader_workers,
                                .augment = options->augment,
                                .vector = run->job->vector,
                                .pu = -1,
                                .cache_bytes = cli->cache / run->rank->count};
    return td_loader_create(&loader, &run->loader);
}

static void print_header(const train_run *run) {
    const td_train_options *o = &run->job->options;
    char layout[TD_LAYOUT_TEXT];
    td_layout_print(&run->job->layout, layout);
    td_isa isa = TD_ISA_PORTABLE;
    (void)td_isa_active(&isa); /* main has already refused a bad TANDEM_ISA */
    const td_train_needs *needs = &run->job->needs;
    printf("model %s, %.2f M parameters, %.2f M trained, loss %s, %.2f GFLOP a pair\n",
           o->config.name, (double)needs->n_params / 1e6, (double)needs->n_trained / 1e6,
           loss_name(o->loss), td_train_nominal_flops(o) / 1e9);
    printf("memory of a rank: %.0f MiB, of it activations %.0f MiB\n",
           (double)(needs->segment_bytes + needs->arena_bytes) / 0x1p20,
           (double)needs->activation_bytes / 0x1p20);
    printf("layout %s, isa %s, precision %s, workers bound %d of %d, batch %" PRId64 " in %" PRId64
           " blocks, answer class %s\n",
           layout, td_isa_name(isa), td_precision_name(o->precision),
           td_team_bound(td_train_team(run->train)), run->rank->workers, o->batch, o->blocks,
           td_split_even(td_train_split(run->train)) ? "one" : "p3");
    printf("data %s, %" PRId64 " pairs", run->job->cli->data ? run->job->cli->data : "(embedded)",
           td_pairs_count(run->pairs));
    if (run->job->peak_gflops > 0) {
        printf(", %s peak %.0f GFLOP/s", td_precision_name(run->job->options.precision),
               run->job->peak_gflops);
    }
    printf("%s%s\n", run->job->rows[0] ? ", " : "", run->job->rows);
    if (!td_augment_is_off(&o->augment)) {
        char augment[TD_AUGMENT_TEXT];
        td_augment_print(&o->augment, augment);
        printf("augmentation %s%s\n", augment,
               td_augment_crops(&o->augment) ? ", decoded images are not kept" : "");
    }
    fflush(stdout);
}

/* Rates since the last line, not since the start: they show what happens now. */
static void log_step(train_run *run, const td_step_result *step) {
    const td_train_options *o = &run->job->options;
    int64_t now = td_now_ns();
    double seconds = (double)(now - run->log_start_ns) * 1e-9, steps = (double)run->log_steps;
    double pairs_s = steps * (double)o->batch / seconds;
    double gflops = pairs_s * td_train_nominal_flops(o) * 1e-9;
    td_program_cost cost;
    td_program_total_cost(td_train_program(run->train), &cost);
    double executed = pairs_s / (double)o->batch * cost.flops * run->rank->count * 1e-9;
    double wait_ms = (double)run->log_wait_ns * 1e-6 / steps;
    double wait_share = (double)run->log_wait_ns * 1e-9 / seconds;
    double mfu = run->job->peak_gflops > 0 ? gflops / run->job->peak_gflops : 0;
    printf("step %" PRId64 " loss %.6f lr %.3e scale %.3f pairs/s %.1f GFLOP/s %.1f", step->step,
           step->loss, step->lr, step->scale, pairs_s, gflops);
    if (mfu > 0) {
        printf(" mfu %.1f%% hfu %.1f%%", mfu * 100, executed / run->job->peak_gflops * 100);
    }
    printf(" data_wait %.2f ms (%.1f%%)\n", wait_ms, wait_share * 100);
    fflush(stdout);
    if (run->log != NULL) {
        fprintf(run->log,
                "{\"step\": %" PRId64 ", \"loss\": %.9g, \"lr\": %.9g, \"scale\": %.9g, "
                "\"bias\": %.9g, \"grad_norm\": %.9g, \"pairs_per_s\": %.6g, \"gflops\": %.6g, "
                "\"mfu\": %.6g, \"executed_gflops\": %.6g, \"data_wait_ms\": %.6g}\n",
                step->step, step->loss, step->lr, step->scale, step->bias, step->grad_norm, pairs_s,
                gflops, mfu, executed, wait_ms);
        fflush(run->log);
    }
    run->log_start_ns = now;
    run->log_wait_ns = run->log_steps = 0;
}

/* Rank 0 writes; the others have the same weights and go on. */
static td_status save(train_run *run) {
    if (run->rank->rank != 0 || run->job->save == NULL) {
        return TD_OK;
    }
    TD_TRY(td_checkpoint_save(run->job->save, run->train, run->job->cli->tokenizer));
    run->result->saved = true;
    return TD_OK;
}

static td_status one_step(train_run *run, bool *stop) {
    const train_cli *cli = run->job->cli;
    const float *images;
    const int32_t *tokens;
    int64_t wait_ns;
    TD_TRY(td_loader_next(run->loader, &images, &tokens, &wait_ns));
    if (td_interrupted()) {
        td_train_ask_stop(run->train);
    }
    td_step_result step;
    TD_TRY(td_train_step(run->train, images, tokens, &step));
    run->log_wait_ns += wait_ns;
    run->log_steps++;
    if (!isfinite(step.loss)) {
        return td_fail(TD_ECHECK,
                       "step %" PRId64 ": the loss is %f; a lower --lr or --grad-clip 1 may help",
                       step.step, step.loss);
    }
    bool last = step.step + 1 == cli->steps;
    *stop = step.stop || (run->rank->count == 1 && td_interrupted());
    if (run->rank->rank == 0 && (step.step % cli->log_every == 0 || last || *stop)) {
        log_step(run, &step);
    }
    if (cli->save_every > 0 && (step.step + 1) % cli->save_every == 0 && !last && !*stop) {
        TD_TRY(save(run));
    }
    return TD_OK;
}

static void print_loader(const train_run *run, int64_t run_ns) {
    td_loader_stats stats;
    td_loader_get_stats(run->loader, &stats);
    if (run->rank->rank == 0 && stats.batches > 0) {
        printf("loader: %d worker%s, %d batches ahead, %.2f ms of decoding a batch, waited for "
               "%.2f%% of the time\n",
               stats.workers, stats.workers == 1 ? "" : "s", stats.depth,
               (double)stats.decode_ns * 1e-6 / (double)stats.batches,
               100 * (double)stats.wait_ns / (double)run_ns);
    }
}

static td_status train_loop(train_run *run) {
    const train_cli *cli = run->job->cli;
    bool stop = false;
    int64_t start_ns = td_now_ns();
    run->log_start_ns = start_ns;
    while (!stop && td_train_steps_done(run->train) < cli->steps) {
        TD_TRY(one_step(run, &stop));
    }
    print_loader(run, td_now_ns() - start_ns);
    TD_TRY(save(run));
    run->result->steps_done = td_train_steps_done(run->train);
    run->result->interrupted = stop && run->result->steps_done < cli->steps;
    return td_train_sha256(run->train, run->result->sha256);
}

static td_status open_log(train_run *run) {
    if (run->job->cli->out == NULL || run->rank->rank != 0) {
        return TD_OK;
    }
    char path[PATH];
    snprintf(path, sizeof(path), "%s/train.jsonl", run->job->cli->out);
    run->log = fopen(path, run->job->cli->resume == NULL ? "w" : "a");
    return run->log == NULL ? td_fail(TD_EIO, "%s cannot be written", path) : TD_OK;
}

static td_status load_weights(const char *path, td_train *train) {
    td_safetensors file;
    TD_TRY(td_safetensors_open(path, &file));
    td_status status =
        td_checkpoint_load_weights(&file, td_train_tensors(train), td_train_params(train));
    td_safetensors_close(&file);
    td_train_reset_ema(train);
    return status;
}

/* Features of another tower than the one that is frozen here would train a text tower that fits
 * nothing. */
static td_status check_tower(const train_run *run) {
    char sha[TD_SHA256_HEX], tower[TD_TOWER_ID];
    const td_pair_vector *vector = &run->job->vector;
    if (vector->n == 0) {
        return TD_OK;
    }
    TD_TRY(td_tensors_image_sha256(td_train_tensors(run->train), td_train_params(run->train), sha));
    td_tower_id(sha, run->job->options.precision, tower);
    if (strcmp(tower, vector->tower) != 0) {
        return td_fail(TD_EUSAGE,
                       "%s holds features of image tower %s, this run's is %s; expected --init "
                       "with the weights that `tandem embed` was given",
                       run->job->cli->data, vector->tower, tower);
    }
    return TD_OK;
}

static td_status train_in_rank(train_run *run) {
    const char *resume = run->job->cli->resume;
    int64_t first_step = 0;
    if (resume != NULL) {
        TD_TRY(td_checkpoint_step(resume, &first_step));
    }
    /* The loader first: its worker inherits where this thread may run, and creating the team binds
     * this thread to one PU. */
    TD_TRY(open_data(run, first_step));
    TD_TRY(td_train_create(&run->job->options, run->rank, &run->train));
    if (resume != NULL) {
        TD_TRY(td_checkpoint_resume(resume, run->train));
    } else if (run->job->cli->init != NULL) {
        TD_TRY(load_weights(run->job->cli->init, run->train));
    }
    TD_TRY(check_tower(run));
    TD_TRY(open_log(run));
    if (run->rank->rank == 0) {
        print_header(run);
        if (resume != NULL) {
            printf("resumed %s after %" PRId64 " steps\n", resume, first_step);
        }
    }
    return train_loop(run);
}

static td_status verify_in_rank(train_run *run) {
    TD_TRY(td_train_create(&run->job->options, run->rank, &run->train));
    td_verify_worst worst;
    td_status status = td_verify_run(run->job->cli->verify, run->train, stdout, &worst);
    if (run->rank->rank == 0 && (status == TD_OK || status == TD_ECHECK)) {
        printf("worst relative error: loss %.2e (bound %.0e), gradients %.2e (%.0e), weights %.2e "
               "(%.0e)\n",
               worst.loss, TD_VERIFY_LOSS, worst.grad, worst.grad_bound, worst.weights,
               TD_VERIFY_WEIGHTS);
        fflush(stdout);
    }
    TD_TRY(status);
    run->result->steps_done = td_train_steps_done(run->train);
    return td_train_sha256(run->train, run->result->sha256);
}

static td_status rank_main(td_rank *rank, void *arg) {
    train_run run = {.job = arg, .rank = rank, .result = td_training_result_of(rank)};
    td_status status = td_training_keep_check(
        run.result, run.job->cli->verify ? verify_in_rank(&run) : train_in_rank(&run));
    if (run.log != NULL) {
        fclose(run.log);
    }
    if (run.loader != NULL) {
        td_loader_destroy(run.loader);
    }
    if (run.pairs != NULL) {
        td_pairs_close(run.pairs);
    }
    td_train_destroy(run.train);
    return status;
}

/* What changes how a step is computed, and not what it is. */
static void exact_options(const train_cli *cli, td_train_options *out) {
    out->accum = cli->accum;
    out->zero = cli->zero == 1;
    out->recompute = strcmp(cli->recompute, "on") == 0;
    out->keep_padding = strcmp(cli->pack, "off") == 0;
    out->keep_last_block = strcmp(cli->prune, "off") == 0;
}

static td_status make_options(const train_cli *cli, td_train_options *out) {
    td_augment augment = {.flip = cli->aug_flip};
    if (cli->aug_scale != NULL) {
        TD_TRY(td_augment_parse_scale(cli->aug_scale, &augment));
    }
    if (cli->verify != NULL) {
        if (cli->zero != 0) {
            return td_fail(TD_EUSAGE,
                           "--verify compares all gradients in every rank; with --zero "
                           "%" PRId64 " a rank has those of its part; expected --zero 0",
                           cli->zero);
        }
        TD_TRY(td_verify_options(cli->verify, cli->blocks, out));
        TD_TRY(td_verify_check(cli->verify, out));
        exact_options(cli, out);
        return TD_OK;
    }
    bool lion = strcmp(cli->optimizer, "lion") == 0;
    *out = (td_train_options){
        .loss = strcmp(cli->loss, "sigmoid") == 0 ? TD_LOSS_SIGMOID : TD_LOSS_SOFTMAX,
        .optimizer = {.kind = lion ? TD_OPTIMIZER_LION : TD_OPTIMIZER_ADAMW,
                      .lr = cli->lr,
                      .beta1 = cli->beta1,
                      .beta2 = cli->beta2 >= 0 ? cli->beta2
                               : lion          ? 0.99
                                               : 0.98,
                      .eps = cli->eps,
                      .weight_decay = cli->weight_decay,
                      .grad_clip = cli->grad_clip,
                      .schedule = strcmp(cli->schedule, "const") == 0 ? TD_SCHEDULE_CONST
                                                                      : TD_SCHEDULE_COSINE,
                      .warmup = cli->warmup < 0 ? cli->steps / 10 : cli->warmup,
                      .steps = cli->steps},
        .batch = cli->batch,
        .blocks = cli->blocks == 0 ? 8 : cli->blocks,
        .seed = (uint64_t)cli->seed,
        .freeze_image = strcmp(cli->freeze, "image") == 0,
        .patch_mask = cli->patch_mask,
        .unmask_steps = cli->unmask_steps,
        .ema = cli->ema,
        .augment = augment,
    };
    exact_options(cli, out);
    TD_TRY(td_precision_find(cli->precision, &out->precision));
    return td_model_config_load(cli->model, &out->config);
}

/* Data that hold features instead of images go with a frozen image tower, and nothing else. */
static td_status take_features(train_job *job) {
    const train_cli *cli = job->cli;
    if (cli->data == NULL) {
        return TD_OK;
    }
    TD_TRY(td_pairs_find_vector(cli->data, &job->vector));
    if (job->vector.n == 0) {
        return TD_OK;
    }
    if (!job->options.freeze_image) {
        return td_fail(TD_EUSAGE,
                       "%s holds features of a frozen image tower, not images; expected --freeze "
                       "image, and --init with that tower",
                       cli->data);
    }
    if (job->options.patch_mask > 0 || !td_augment_is_off(&job->options.augment)) {
        return td_fail(
            TD_EUSAGE,
            "%s holds features of whole images, computed once: nothing that changes an "
            "image from step to step, as --patch-mask, --aug-scale and --aug-flip do, can reach "
            "them",
            cli->data);
    }
    if (job->vector.n != job->options.config.embed) {
        return td_fail(TD_EUSAGE, "%s holds features of %" PRId64 " numbers, model %s has %" PRId64,
                       cli->data, job->vector.n, job->options.config.name,
                       job->options.config.embed);
    }
    job->options.image_features = true;
    return TD_OK;
}

static td_status check_tokenizer(const train_job *job) {
    int32_t vocab = td_tokenizer_vocab(job->tokenizer);
    if (vocab > job->options.config.vocab) {
        return td_fail(TD_EUSAGE,
                       "the tokenizer has %" PRId32 " ids, model %s a vocabulary of %" PRId64
                       "; expected a smaller --tokenizer or another --model",
                       vocab, job->options.config.name, job->options.config.vocab);
    }
    return TD_OK;
}

static void print_plan_row(const char *what, int64_t image, int64_t text) {
    printf("%-22s %15" PRId64 " %15" PRId64 "\n", what, image, text);
}

/* Bytes, exactly: a frozen tower's zeros are zeros. */
static void print_plan(const train_job *job) {
    const td_train_needs *n = &job->needs;
    const td_tower_needs *image = &n->image, *text = &n->text;
    printf("memory of a rank of %s, model %s, batch %" PRId64 ", in bytes\n", job->cli->layout,
           job->options.config.name, job->options.batch);
    printf("%-22s %15s %15s\n", "", "image", "text");
    print_plan_row("parameters", image->params, text->params);
    print_plan_row("moving average", image->average, text->average);
    print_plan_row("gradients", image->grads, text->grads);
    print_plan_row("moments", image->moments, text->moments);
    print_plan_row("forward pass", image->forward, text->forward);
    print_plan_row("for a backward pass", image->backward, text->backward);
    printf("%-22s %15" PRId64 "  (of micro-batches and passes, the largest)\n",
           "activations at once", n->activation_bytes);
    printf("%-22s %15" PRId64 "  (loss, exchanges, indices)\n", "other", n->other_bytes);
    printf("%-22s %15" PRId64 "  (of each of %d workers)\n", "scratch", n->scratch_bytes,
           job->layout.workers);
    printf("%-22s %15" PRId64 "\n", "all",
           n->segment_bytes + n->arena_bytes + n->scratch_bytes * job->layout.workers);
}

static td_status run_job(train_job *job) {
    const train_cli *cli = job->cli;
    td_isa isa;
    TD_TRY(td_isa_active(&isa));
    TD_TRY(td_kernels_select(isa));
    TD_TRY(td_run_layout_parse(cli->layout, &job->layout));
    TD_TRY(make_options(cli, &job->options));
    if (cli->verify == NULL) {
        TD_TRY(take_features(job));
    }
    TD_TRY(td_train_measure(&job->options, job->layout.ranks, &job->needs));
    if (cli->plan) {
        print_plan(job);
        return TD_OK;
    }
    TD_TRY(td_rows_choose(job->options.precision, job->rows));
    char path[PATH];
    if (cli->out != NULL) {
        TD_TRY(td_make_directory(cli->out));
        if (cli->save == NULL) {
            snprintf(path, sizeof(path), "%s/weights.safetensors", cli->out);
            job->save = path;
        }
    }
    if (cli->verify == NULL) {
        TD_TRY(check_tokenizer(job));
        job->peak_gflops =
            td_ceiling_gflops(job->options.precision, job->layout.ranks * job->layout.workers);
    }
    return td_training_run(&job->layout, job->needs.segment_bytes, rank_main, job, job->save);
}

td_status td_verb_train(int argc, char **argv) {
    train_cli cli = {.model = "ti-32",
                     .loss = "softmax",
                     .layout = "p1xt1",
                     .schedule = "cosine",
                     .optimizer = "adamw",
                     .precision = "f32",
                     .pack = "on",
                     .prune = "on",
                     .recompute = "off",
                     .freeze = "none",
                     .accum = 1,
                     .steps = 100,
                     .batch = 64,
                     .warmup = -1,
                     .log_every = 10,
                     .synthetic = 8192,
                     .cache = INT64_C(2) << 30,
                     .loader_workers = 1,
                     .lr = 5e-4,
                     .weight_decay = 0.2,
                     .beta1 = 0.9,
                     .beta2 = -1,
                     .eps = 1e-6,
                     .holdout = 0.1};
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(options_table, N_OPTIONS, argc, argv, &cli, NULL, 0, &n_words, &help));
    if (help) {
        td_options_help(stdout, &verb_help, options_table, N_OPTIONS, &cli);
        return TD_OK;
    }
    td_tokenizer *tokenizer = NULL;
    if (cli.verify == NULL) {
        TD_TRY(td_tokenizer_load(cli.tokenizer, &tokenizer));
    }
    train_job job = {.cli = &cli, .save = cli.save, .tokenizer = tokenizer};
    td_status status = run_job(&job);
    if (tokenizer != NULL) {
        td_tokenizer_destroy(tokenizer);
    }
    return status;
}
