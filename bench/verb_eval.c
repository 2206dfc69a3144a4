/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verbs.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/text.h"
#include "bench/row_choice.h"
#include "data/pairs.h"
#include "models/checkpoint.h"
#include "models/evaluate.h"
#include "threads/layout.h"

typedef struct eval_cli {
    const char *weights, *data, *model, *loss, *tokenizer, *layout, *templates, *precision;
    bool held_out;
    int64_t limit, synthetic, seed;
    double holdout;
} eval_cli;

#define AT(field) offsetof(eval_cli, field)
static const td_option options_table[] = {
    {"weights", TD_OPTION_TEXT, AT(weights), 0, 0, NULL, "FILE",
     "safetensors that `tandem train --save` wrote, or open_clip's with --model"},
    {"data", TD_OPTION_TEXT, AT(data), 0, 0, NULL, "PATH",
     "TFRecord shards (directory or glob); the embedded procedural set without"},
    {"synthetic", TD_OPTION_INT, AT(synthetic), 1, 1e9, NULL, "N", "pairs of the embedded set"},
    {"seed", TD_OPTION_INT, AT(seed), 0, 1e15, NULL, "N", "of the embedded set, as in training"},
    {"held-out", TD_OPTION_FLAG, AT(held_out), 0, 0, NULL, NULL,
     "only pairs that training with the same --holdout never saw"},
    {"holdout", TD_OPTION_REAL, AT(holdout), 0, 0.9, NULL, "SHARE", "share that was held out"},
    {"limit", TD_OPTION_INT, AT(limit), 1, 20000, NULL, "N", "use at most N pairs"},
    {"model", TD_OPTION_TEXT, AT(model), 0, 0, NULL, "NAME",
     "configuration, when the file does not say (name or open_clip .json)"},
    {"loss", TD_OPTION_CHOICE, AT(loss), 0, 0, "softmax|sigmoid", NULL,
     "with --model: which loss the weights were trained with"},
    {"tokenizer", TD_OPTION_TEXT, AT(tokenizer), 0, 0, NULL, "FILE",
     "merges file, when another than the one the weights name"},
    {"templates", TD_OPTION_TEXT, AT(templates), 0, 0, NULL, "FILE",
     "zeroshot: one template a line, {} stands for the class"},
    {"precision", TD_OPTION_CHOICE, AT(precision), 0, 0, TD_PRECISION_CHOICES, NULL,
     "arithmetic of the towers' products; default f32"},
    {"layout", TD_OPTION_TEXT, AT(layout), 0, 0, NULL, "LAYOUT", "workers of one rank: p1xt2"},
};
enum { N_OPTIONS = sizeof(options_table) / sizeof(options_table[0]), MAX_TEMPLATES = 256 };

static const td_verb_help verb_help = {
    "tandem eval retrieval|zeroshot --weights FILE [--options]",
    "retrieval: does an image find its caption among all others, and back, within the best 1, 5 "
    "and "
    "10. zeroshot: does an image find the name of its class. Every share has its 95 % interval "
    "(Wilson) and what chance would give beside it.",
    "  tandem eval retrieval --weights w.safetensors --data shards --held-out\n"
    "  tandem eval zeroshot --weights w.safetensors --held-out --limit 2000\n"};

/* What is opened for one evaluation. */
typedef struct eval_run {
    const eval_cli *cli;
    td_safetensors weights;
    td_tokenizer *tokenizer;
    td_pairs *pairs;
    td_encoder *encoder;
    char *template_text; /* the file, cut into lines */
    const char *lines[MAX_TEMPLATES];
    const char *const *templates;
    int n_templates;
} eval_run;

static td_status find_config(eval_run *run, td_model_config *config, td_loss *loss,
                             const char **tokenizer) {
    const eval_cli *cli = run->cli;
    if (cli->model == NULL) {
        return td_checkpoint_describe(&run->weights, config, loss, tokenizer);
    }
    *tokenizer = "";
    *loss = strcmp(cli->loss, "sigmoid") == 0 ? TD_LOSS_SIGMOID : TD_LOSS_SOFTMAX;
    return td_model_config_load(cli->model, config);
}

static td_status create_encoder(eval_run *run, const td_model_config *config, td_loss loss) {
    td_layout layout;
    td_precision precision;
    TD_TRY(td_precision_find(run->cli->precision, &precision));
    char rows[TD_ROW_CHOICE_TEXT];
    TD_TRY(td_rows_choose(precision, rows));
    TD_TRY(td_layout_parse(run->cli->layout, &layout));
    if (layout.ranks != 1) {
        return td_fail(TD_EUSAGE, "--layout %s has %d ranks; eval runs in one: expected p1xt<N>",
                       run->cli->layout, layout.ranks);
    }
    td_topology *topology;
    TD_TRY(td_topology_create(NULL, &topology));
    int pu[TD_MAX_WORKERS];
    td_status status = td_layout_resolve(&layout, topology, pu);
    td_topology_destroy(topology);
    TD_TRY(status);
    td_encoder_options options = {.config = *config,
                                  .loss = loss,
                                  .precision = precision,
                                  .batch = TD_EVALUATE_BATCH,
                                  .workers = layout.workers,
                                  .pu = pu};
    return td_encoder_create(&options, &run->weights, &run->encoder);
}

/* Lines of the templates file, each with {}; empty ones are skipped. */
static td_status read_templates(eval_run *run) {
    run->templates = td_zeroshot_templates(&run->n_templates);
    const char *path = run->cli->templates;
    if (path == NULL) {
        return TD_OK;
    }
    size_t size;
    TD_TRY(td_file_read(path, &run->template_text, &size));
    run->n_templates = 0;
    char *rest = run->template_text;
    for (char *line; (line = strsep(&rest, "\r\n")) != NULL;) {
        if (line[0] == '\0') {
            continue;
        }
        if (strstr(line, "{}") == NULL || run->n_templates == MAX_TEMPLATES) {
            return td_fail(TD_EUSAGE, "%s: expected at most %d lines with {} in each, found: %.80s",
                           path, MAX_TEMPLATES, line);
        }
        run->lines[run->n_templates++] = line;
    }
    run->templates = run->lines;
    return run->n_templates > 0 ? TD_OK : td_fail(TD_EUSAGE, "%s holds no template", path);
}

static td_status open_all(eval_run *run) {
    const eval_cli *cli = run->cli;
    if (cli->weights == NULL) {
        return td_fail(TD_EUSAGE,
                       "--weights FILE is missing; `tandem train --save FILE` writes one");
    }
    td_isa isa;
    TD_TRY(td_isa_active(&isa));
    TD_TRY(td_kernels_select(isa));
    TD_TRY(read_templates(run));
    TD_TRY(td_safetensors_open(cli->weights, &run->weights));
    td_model_config config;
    td_loss loss;
    const char *tokenizer;
    TD_TRY(find_config(run, &config, &loss, &tokenizer));
    const char *merges = cli->tokenizer != NULL ? cli->tokenizer : tokenizer;
    TD_TRY(td_tokenizer_load(merges[0] == '\0' ? NULL : merges, &run->tokenizer));
    td_pairs_options pairs = {.path = cli->data,
                              .n_synthetic = cli->synthetic,
                              .seed = (uint64_t)cli->seed,
                              .holdout = cli->holdout,
                              .held_out = cli->held_out};
    TD_TRY(td_pairs_open(&pairs, &run->pairs));
    TD_TRY(create_encoder(run, &config, loss));
    printf("weights %s, model %s, %s pairs of %s: %" PRId64 "\n", cli->weights, config.name,
           cli->held_out ? "held-out" : "training", cli->data ? cli->data : "(embedded)",
           td_pairs_count(run->pairs));
    return TD_OK;
}

static void close_all(eval_run *run) {
    td_encoder_destroy(run->encoder);
    if (run->pairs != NULL) {
        td_pairs_close(run->pairs);
    }
    if (run->tokenizer != NULL) {
        td_tokenizer_destroy(run->tokenizer);
    }
    td_safetensors_close(&run->weights);
    td_free(run->template_text);
}

static void print_share(const char *name, const td_share *share) {
    printf("%-20s %6.2f %%  [%6.2f, %6.2f]  chance %6.2f %%  (%" PRId64 " of %" PRId64 ")\n", name,
           share->value * 100, share->low * 100, share->high * 100, share->chance * 100,
           share->hits, share->n);
}

static td_status retrieval(eval_run *run) {
    td_retrieval result;
    TD_TRY(
        td_evaluate_retrieval(run->encoder, run->pairs, run->tokenizer, run->cli->limit, &result));
    printf("%" PRId64 " pairs, %" PRId64 " distinct captions (pairs of one caption answer each "
           "other), %" PRId64 " skipped; 95 %% intervals\n",
           result.pairs, result.distinct_captions, result.skipped);
    for (int k = 0; k < TD_RECALLS; k++) {
        char name[32];
        snprintf(name, sizeof(name), "image_to_text R@%" PRId64, td_recall_at[k]);
        print_share(name, &result.image_to_text[k]);
    }
    for (int k = 0; k < TD_RECALLS; k++) {
        char name[32];
        snprintf(name, sizeof(name), "text_to_image R@%" PRId64, td_recall_at[k]);
        print_share(name, &result.text_to_image[k]);
    }
    return TD_OK;
}

/* One line a class: how many, how many right, and the most frequent wrong answers. */
static void print_confusion(const td_zeroshot *result) {
    for (int64_t label = 0; label < result->classes; label++) {
        const int64_t *row = result->confusion + label * result->classes;
        int64_t n = 0, worst[3] = {-1, -1, -1};
        for (int64_t c = 0; c < result->classes; c++) {
            n += row[c];
            int64_t moving = c == label || row[c] == 0 ? -1 : c;
            for (int k = 0; k < 3 && moving >= 0; k++) {
                if (worst[k] < 0 || row[moving] > row[worst[k]]) {
                    int64_t pushed = worst[k];
                    worst[k] = moving;
                    moving = pushed;
                }
            }
        }
        printf("  %-28s %5" PRId64 " of %5" PRId64 " right", result->names[label], row[label], n);
        for (int k = 0; k < 3 && worst[k] >= 0; k++) {
            printf("%s%s %" PRId64, k == 0 ? "; taken for " : ", ", result->names[worst[k]],
                   row[worst[k]]);
        }
        printf("\n");
    }
}

static td_status zeroshot(eval_run *run) {
    td_zeroshot result;
    TD_TRY(td_evaluate_zeroshot(run->encoder, run->pairs, run->tokenizer, run->templates,
                                run->n_templates, run->cli->limit, &result));
    printf("%" PRId64 " pairs, %" PRId64 " classes, %d templates, %" PRId64
           " without a label or undecodable; 95 %% intervals\n",
           result.pairs, result.classes, run->n_templates, result.skipped);
    print_share("top-1", &result.top1);
    print_share("top-5", &result.top5);
    print_confusion(&result);
    td_zeroshot_free(&result);
    return TD_OK;
}

td_status td_verb_eval(int argc, char **argv) {
    eval_cli cli = {.loss = "softmax",
                    .layout = "p1xt1",
                    .precision = "f32",
                    .limit = 1000,
                    .synthetic = 8192,
                    .holdout = 0.1};
    const char *words[1];
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(options_table, N_OPTIONS, argc, argv, &cli, words, 1, &n_words, &help));
    if (help) {
        td_options_help(stdout, &verb_help, options_table, N_OPTIONS, &cli);
        return TD_OK;
    }
    bool is_retrieval = n_words == 1 && strcmp(words[0], "retrieval") == 0;
    if (!is_retrieval && !(n_words == 1 && strcmp(words[0], "zeroshot") == 0)) {
        return td_fail(TD_EUSAGE, "%s; expected: tandem eval retrieval, or tandem eval zeroshot",
                       n_words == 0 ? "nothing to evaluate" : words[0]);
    }
    eval_run run = {.cli = &cli};
    td_status status = open_all(&run);
    if (status == TD_OK) {
        status = is_retrieval ? retrieval(&run) : zeroshot(&run);
    }
    close_all(&run);
    return status;
}
