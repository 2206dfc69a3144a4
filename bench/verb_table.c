/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verbs.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/options.h"
#include "base/text.h"
#include "bench/run_layout.h"
#include "bench/training_run.h"
#include "models/wide_deep.h"

typedef struct table_cli {
    const char *columns, *data, *layout, *schedule, *save, *resume, *out;
    int64_t synthetic, steps, batch, blocks, warmup, seed, save_every, log_every;
    double holdout, lr, weight_decay, beta1, beta2, eps;
    bool costs;
} table_cli;

#define AT(field) offsetof(table_cli, field)
static const td_option options_table[] = {
    {"columns", TD_OPTION_TEXT, AT(columns), 0, 0, NULL, "FILE",
     "JSON with label, wide, deep and hidden (docs/data.md); the embedded table's without"},
    {"data", TD_OPTION_TEXT, AT(data), 0, 0, NULL, "PATH",
     "TFRecord files of Examples (directory, glob or file); the embedded table without"},
    {"synthetic", TD_OPTION_INT, AT(synthetic), 1, 1e8, NULL, "N", "rows of the embedded table"},
    {"holdout", TD_OPTION_REAL, AT(holdout), 0, 0.9, NULL, "SHARE",
     "share of rows kept out of training, on which accuracy is measured"},
    {"layout", TD_OPTION_TEXT, AT(layout), 0, 0, NULL, "LAYOUT",
     "ranks x workers, as p2xt1:process"},
    {"steps", TD_OPTION_INT, AT(steps), 1, 1e9, NULL, "N", "steps in all, also when resuming"},
    {"batch", TD_OPTION_INT, AT(batch), 1, 1 << 20, NULL, "N", "rows per step, over all ranks"},
    {"blocks", TD_OPTION_INT, AT(blocks), 1, TD_MAX_BLOCKS, NULL, "G",
     "logical blocks of the batch, a power of two: they fix the order of sums, and so the answer"},
    {"lr", TD_OPTION_REAL, AT(lr), 0, 10, NULL, "RATE", "learning rate after warm-up"},
    {"warmup", TD_OPTION_INT, AT(warmup), -1, 1e9, NULL, "N",
     "steps of linear warm-up; -1: a tenth of the steps"},
    {"schedule", TD_OPTION_CHOICE, AT(schedule), 0, 0, "cosine|const", NULL, "after warm-up"},
    {"weight-decay", TD_OPTION_REAL, AT(weight_decay), 0, 10, NULL, "RATE",
     "decoupled, times lr; of tables and weights, not of biases"},
    {"beta1", TD_OPTION_REAL, AT(beta1), 0, 0.9999999, NULL, "B", "AdamW's first moment"},
    {"beta2", TD_OPTION_REAL, AT(beta2), 0, 0.9999999, NULL, "B", "AdamW's second moment"},
    {"eps", TD_OPTION_REAL, AT(eps), 0, 1, NULL, "EPS", "AdamW's epsilon"},
    {"seed", TD_OPTION_INT, AT(seed), 0, 1e15, NULL, "N", "of weights and of the order of rows"},
    {"save", TD_OPTION_TEXT, AT(save), 0, 0, NULL, "FILE", "weights and state, as safetensors"},
    {"save-every", TD_OPTION_INT, AT(save_every), 0, 1e9, NULL, "N",
     "also during training; 0: at the end"},
    {"resume", TD_OPTION_TEXT, AT(resume), 0, 0, NULL, "FILE", "go on from a saved file"},
    {"log-every", TD_OPTION_INT, AT(log_every), 1, 1e9, NULL, "N", "steps between lines"},
    {"out", TD_OPTION_TEXT, AT(out), 0, 0, NULL, "DIR",
     "write table.jsonl, a line per logged step"},
    {"costs", TD_OPTION_FLAG, AT(costs), 0, 0, NULL, NULL,
     "at the end, what each operation of a step cost"},
};
enum { N_OPTIONS = sizeof(options_table) / sizeof(options_table[0]), PATH = 4096 };

static const td_verb_help verb_help = {
    "tandem table [--options]",
    "Trains a wide and deep classifier on a table of tf.Examples through feature columns, and says "
    "its accuracy on held-out rows with the 95 % interval, beside what always giving the most "
    "frequent class would reach. The last line, weights_sha256, depends on options and data only: "
    "every layout whose ranks divide the blocks, and every instruction set, gives the same. SIGINT "
    "ends after the step at hand and saves.",
    "  tandem table --layout p1xt2\n"
    "  tandem data tabulate shards --out rows\n"
    "  tandem table --columns examples/openclipart.json --data rows --save w.safetensors\n"};

/* Shared by all ranks, set before they start. */
typedef struct table_job {
    const table_cli *cli;
    td_table_spec *spec;
    td_wide_deep_options options;
    td_wide_deep_needs needs;
    td_layout layout;
} table_job;

/* One rank's run. */
typedef struct table_run {
    const table_job *job;
    td_rank *rank;
    td_table *table;
    td_wide_deep *model;
    FILE *log;
    int64_t log_start_ns, log_input_ns, log_steps;
    td_training_result *result;
} table_run;

static void print_header(const table_run *run) {
    const table_job *job = run->job;
    const td_table_shape *s = td_table_spec_shape(job->spec);
    char layout[TD_LAYOUT_TEXT];
    td_isa isa = TD_ISA_PORTABLE;
    (void)td_isa_active(&isa); /* main has already refused a bad TANDEM_ISA */
    td_layout_print(&job->layout, layout);
    printf("model wide and deep, %.3f M parameters: %d wide columns of %" PRId64
           " ids, %d deep columns of %" PRId64 " numbers, layers",
           (double)job->needs.n_params / 1e6, s->n_wide, s->wide_buckets, s->n_deep, s->width);
    for (int i = 0; i < s->n_hidden; i++) {
        printf(" %" PRId64, s->hidden[i]);
    }
    printf(", %" PRId64 " classes\n", s->classes);
    printf("layout %s, isa %s, batch %" PRId64 " in %" PRId64 " blocks, answer class %s\n", layout,
           td_isa_name(isa), job->options.batch, job->options.blocks,
           job->options.blocks % run->rank->count == 0 ? "one" : "p3");
    printf("data %s, %" PRId64 " rows to train on, %" PRId64 " held out, %" PRId64
           " without a label\n",
           job->cli->data ? job->cli->data : "(embedded)", td_table_count(run->table, false),
           td_table_count(run->table, true), td_table_unlabelled(run->table));
    fflush(stdout);
}

static void log_step(table_run *run, const td_wide_deep_result *step) {
    int64_t now = td_now_ns();
    double seconds = (double)(now - run->log_start_ns) * 1e-9, steps = (double)run->log_steps;
    double rows_s = steps * (double)run->job->options.batch / seconds;
    double input = (double)run->log_input_ns * 1e-9 / seconds;
    printf("step %" PRId64 " loss %.6f accuracy %.3f lr %.3e rows/s %.0f input %.1f%%\n",
           step->step, step->loss, step->accuracy, step->lr, rows_s, input * 100);
    fflush(stdout);
    if (run->log != NULL) {
        fprintf(run->log,
                "{\"step\": %" PRId64 ", \"loss\": %.9g, \"accuracy\": %.9g, \"lr\": %.9g, "
                "\"rows_per_s\": %.6g, \"input_share\": %.6g}\n",
                step->step, step->loss, step->accuracy, step->lr, rows_s, input);
        fflush(run->log);
    }
    run->log_start_ns = now;
    run->log_input_ns = run->log_steps = 0;
}

/* Rank 0 writes; the others have the same weights and go on. */
static td_status save(table_run *run) {
    if (run->rank->rank != 0 || run->job->cli->save == NULL) {
        return TD_OK;
    }
    TD_TRY(td_wide_deep_save(run->job->cli->save, run->model));
    run->result->saved = true;
    return TD_OK;
}

static td_status one_step(table_run *run, bool *stop) {
    const table_cli *cli = run->job->cli;
    if (td_interrupted()) {
        td_wide_deep_ask_stop(run->model);
    }
    td_wide_deep_result step;
    TD_TRY(td_wide_deep_step(run->model, run->table, &step));
    run->log_input_ns += step.input_ns;
    run->log_steps++;
    if (!isfinite(step.loss)) {
        return td_fail(TD_ECHECK, "step %" PRId64 ": the loss is %f; a lower --lr may help",
                       step.step, step.loss);
    }
    bool last = step.step + 1 == cli->steps;
    *stop = step.stop;
    if (run->rank->rank == 0 && (step.step % cli->log_every == 0 || last || *stop)) {
        log_step(run, &step);
    }
    if (cli->save_every > 0 && (step.step + 1) % cli->save_every == 0 && !last && !*stop) {
        TD_TRY(save(run));
    }
    return TD_OK;
}

static void print_costs(const table_run *run) {
    const td_program *program = td_wide_deep_program(run->model);
    td_program_cost all;
    td_program_total_cost(program, &all);
    printf("%-40s %10s %8s %10s %8s\n", "operation of a step of rank 0", "ns", "share", "GFLOP/s",
           "GB/s");
    for (int i = 0; i < td_program_ops(program); i++) {
        td_op_cost op;
        td_program_op_cost(program, i, &op);
        printf("%-40s %10.0f %7.1f%% %10.2f %8.2f\n", op.name, op.ns_max, 100 * op.ns_max / all.ns,
               op.flops / op.ns_max, op.bytes / op.ns_max);
    }
}

static td_status report_held_out(table_run *run) {
    td_wide_deep_score score;
    if (run->rank->rank != 0 || td_table_count(run->table, true) == 0) {
        return TD_OK;
    }
    TD_TRY(td_wide_deep_evaluate(run->model, run->table, &score));
    printf("held out: %" PRId64 " rows, loss %.4f, accuracy %.3f (95 %% interval %.3f to %.3f), "
           "most frequent class %.3f\n",
           score.accuracy.n, score.loss, score.accuracy.value, score.accuracy.low,
           score.accuracy.high, score.accuracy.chance);
    return TD_OK;
}

static td_status train_loop(table_run *run) {
    const table_cli *cli = run->job->cli;
    bool stop = false;
    run->log_start_ns = td_now_ns();
    while (!stop && td_wide_deep_steps_done(run->model) < cli->steps) {
        TD_TRY(one_step(run, &stop));
    }
    TD_TRY(save(run));
    TD_TRY(report_held_out(run));
    if (cli->costs && run->rank->rank == 0) {
        print_costs(run);
    }
    run->result->steps_done = td_wide_deep_steps_done(run->model);
    run->result->interrupted = stop && run->result->steps_done < cli->steps;
    return td_wide_deep_sha256(run->model, run->result->sha256);
}

static td_status open_log(table_run *run) {
    if (run->job->cli->out == NULL || run->rank->rank != 0) {
        return TD_OK;
    }
    char path[PATH];
    snprintf(path, sizeof(path), "%s/table.jsonl", run->job->cli->out);
    run->log = fopen(path, run->job->cli->resume == NULL ? "w" : "a");
    return run->log == NULL ? td_fail(TD_EIO, "%s cannot be written", path) : TD_OK;
}

static td_status train_in_rank(table_run *run) {
    const table_cli *cli = run->job->cli;
    td_table_options table = {.path = cli->data,
                              .n_synthetic = cli->synthetic,
                              .seed = (uint64_t)cli->seed,
                              .holdout = cli->holdout};
    TD_TRY(td_table_open(run->job->spec, &table, &run->table));
    TD_TRY(td_wide_deep_create(&run->job->options, run->rank, &run->model));
    if (cli->resume != NULL) {
        TD_TRY(td_wide_deep_resume(cli->resume, run->model));
    }
    TD_TRY(open_log(run));
    if (run->rank->rank == 0) {
        print_header(run);
        if (cli->resume != NULL) {
            printf("resumed %s after %" PRId64 " steps\n", cli->resume,
                   td_wide_deep_steps_done(run->model));
        }
    }
    return train_loop(run);
}

static td_status rank_main(td_rank *rank, void *arg) {
    table_run run = {.job = arg, .rank = rank, .result = td_training_result_of(rank)};
    td_status status = td_training_keep_check(run.result, train_in_rank(&run));
    if (run.log != NULL) {
        fclose(run.log);
    }
    td_wide_deep_destroy(run.model);
    td_table_close(run.table);
    return status;
}

static td_wide_deep_options make_options(const table_cli *cli, const td_table_spec *spec) {
    return (td_wide_deep_options){
        .spec = spec,
        .optimizer = {.lr = cli->lr,
                      .beta1 = cli->beta1,
                      .beta2 = cli->beta2,
                      .eps = cli->eps,
                      .weight_decay = cli->weight_decay,
                      .schedule = strcmp(cli->schedule, "const") == 0 ? TD_SCHEDULE_CONST
                                                                      : TD_SCHEDULE_COSINE,
                      .warmup = cli->warmup < 0 ? cli->steps / 10 : cli->warmup,
                      .steps = cli->steps},
        .batch = cli->batch,
        .blocks = cli->blocks,
        .seed = (uint64_t)cli->seed};
}

static td_status run_job(table_job *job) {
    const table_cli *cli = job->cli;
    td_isa isa;
    TD_TRY(td_isa_active(&isa));
    TD_TRY(td_kernels_select(isa));
    TD_TRY(td_run_layout_parse(cli->layout, &job->layout));
    TD_TRY(td_wide_deep_measure(&job->options, job->layout.ranks, &job->needs));
    if (cli->out != NULL) {
        TD_TRY(td_make_directory(cli->out));
    }
    return td_training_run(&job->layout, job->needs.segment_bytes, rank_main, job, cli->save);
}

td_status td_verb_table(int argc, char **argv) {
    table_cli cli = {.layout = "p1xt1",
                     .schedule = "cosine",
                     .synthetic = 20000,
                     .steps = 1000,
                     .batch = 256,
                     .blocks = 8,
                     .warmup = -1,
                     .log_every = 100,
                     .lr = 2e-3,
                     .weight_decay = 0.02,
                     .beta1 = 0.9,
                     .beta2 = 0.98,
                     .eps = 1e-6,
                     .holdout = 0.1};
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(options_table, N_OPTIONS, argc, argv, &cli, NULL, 0, &n_words, &help));
    if (help) {
        td_options_help(stdout, &verb_help, options_table, N_OPTIONS, &cli);
        return TD_OK;
    }
    table_job job = {.cli = &cli};
    TD_TRY(td_table_spec_load(cli.columns, &job.spec));
    job.options = make_options(&cli, job.spec);
    td_status status = run_job(&job);
    td_table_spec_destroy(job.spec);
    return status;
}
