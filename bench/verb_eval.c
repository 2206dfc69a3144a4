/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verbs.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "bench/trained.h"
#include "models/evaluate.h"
#include "threads/layout.h"

typedef struct eval_cli {
    td_trained_cli trained;
    const char *layout, *templates;
    int64_t limit;
} eval_cli;

#define AT(field)         offsetof(eval_cli, field)
#define TRAINED_AT(field) AT(trained.field)
static const td_option options_table[] = {
    TD_TRAINED_OPTIONS(TRAINED_AT),
    {"held-out", TD_OPTION_FLAG, AT(trained.held_out), 0, 0, NULL, NULL,
     "only pairs that training with the same --holdout never saw"},
    {"holdout", TD_OPTION_REAL, AT(trained.holdout), 0, 0.9, NULL, "SHARE",
     "share that was held out"},
    {"limit", TD_OPTION_INT, AT(limit), 1, 20000, NULL, "N", "use at most N pairs"},
    {"templates", TD_OPTION_TEXT, AT(templates), 0, 0, NULL, "FILE",
     "zeroshot: one template a line, {} stands for the class"},
    {"layout", TD_OPTION_TEXT, AT(layout), 0, 0, NULL, "LAYOUT", "workers of one rank: p1xt2"},
};
enum { N_OPTIONS = sizeof(options_table) / sizeof(options_table[0]), MAX_TEMPLATES = 256 };

static const td_verb_help verb_help = {
    "tandem eval retrieval|zeroshot --weights FILE [--options]",
    "retrieval: does an image find its caption among all others, and back, within the best 1, 5 "
    "and 10. zeroshot: does an image find the name of its class. Every share has its 95 % interval "
    "(Wilson) and what chance would give beside it.",
    "  tandem eval retrieval --weights w.safetensors --data shards --held-out\n"
    "  tandem eval zeroshot --weights w.safetensors --held-out --limit 2000\n"};

/* What is opened for one evaluation. */
typedef struct eval_run {
    const eval_cli *cli;
    td_trained trained;
    td_encoder *encoder;
    char *template_text; /* the file, cut into lines */
    const char *lines[MAX_TEMPLATES];
    const char *const *templates;
    int n_templates;
} eval_run;

static td_status create_encoder(eval_run *run) {
    td_layout layout;
    TD_TRY(td_layout_parse(run->cli->layout, &layout));
    if (layout.ranks != 1) {
        return td_fail(TD_EUSAGE, "--layout %s has %d ranks; eval runs in one: expected p1xt<N>",
                       run->cli->layout, layout.ranks);
    }
    td_topology *topology;
    TD_TRY(td_topology_create_here(&topology));
    int pu[TD_MAX_WORKERS];
    td_status status = td_layout_resolve(&layout, topology, pu);
    td_topology_destroy(topology);
    TD_TRY(status);
    td_encoder_options options = {.config = run->trained.config,
                                  .loss = run->trained.loss,
                                  .precision = run->trained.precision,
                                  .batch = TD_EVALUATE_BATCH,
                                  .workers = layout.workers,
                                  .pu = pu};
    return td_encoder_create(&options, &run->trained.weights, &run->encoder);
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
    const td_trained_cli *cli = &run->cli->trained;
    TD_TRY(read_templates(run));
    TD_TRY(td_trained_open(cli, &run->trained));
    TD_TRY(create_encoder(run));
    printf("weights %s, model %s, %s pairs of %s: %" PRId64 "\n", cli->weights,
           run->trained.config.name, cli->held_out ? "held-out" : "training",
           cli->data ? cli->data : "(embedded)", td_pairs_count(run->trained.pairs));
    return TD_OK;
}

static void close_all(eval_run *run) {
    td_encoder_destroy(run->encoder);
    td_trained_close(&run->trained);
    td_free(run->template_text);
}

static void print_share(const char *name, const td_share *share) {
    printf("%-20s %6.2f %%  [%6.2f, %6.2f]  chance %6.2f %%  (%" PRId64 " of %" PRId64 ")\n", name,
           share->value * 100, share->low * 100, share->high * 100, share->chance * 100,
           share->hits, share->n);
}

static td_status retrieval(eval_run *run) {
    td_retrieval result;
    TD_TRY(td_evaluate_retrieval(run->encoder, run->trained.pairs, run->trained.tokenizer,
                                 run->cli->limit, &result));
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

static int64_t pairs_of_class(const td_zeroshot *result, int64_t label) {
    int64_t n = 0;
    for (int64_t c = 0; c < result->classes; c++) {
        n += result->confusion[label * result->classes + c];
    }
    return n;
}

/* Classes differ in size: who always gives the same answer may be right far more often than by
 * chance. */
static void print_largest_class(const td_zeroshot *result) {
    int64_t largest = 0, most = 0;
    for (int64_t label = 0; label < result->classes; label++) {
        int64_t n = pairs_of_class(result, label);
        if (n > most) {
            most = n;
            largest = label;
        }
    }
    if (most > 0) {
        printf("%-20s %6.2f %%  who always answers \"%s\"  (%" PRId64 " of %" PRId64 ")\n",
               "the largest class", 100 * (double)most / (double)result->pairs,
               result->names[largest], most, result->pairs);
    }
}

/* One line a class: how many, how many right, and the most frequent wrong answers. */
static void print_confusion(const td_zeroshot *result) {
    for (int64_t label = 0; label < result->classes; label++) {
        const int64_t *row = result->confusion + label * result->classes;
        int64_t n = pairs_of_class(result, label), worst[3] = {-1, -1, -1};
        for (int64_t c = 0; c < result->classes; c++) {
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
    TD_TRY(td_evaluate_zeroshot(run->encoder, run->trained.pairs, run->trained.tokenizer,
                                run->templates, run->n_templates, run->cli->limit, &result));
    printf("%" PRId64 " pairs, %" PRId64 " classes, %d templates, %" PRId64
           " without a label or undecodable; 95 %% intervals\n",
           result.pairs, result.classes, run->n_templates, result.skipped);
    print_share("top-1", &result.top1);
    print_share("top-5", &result.top5);
    print_largest_class(&result);
    print_confusion(&result);
    td_zeroshot_free(&result);
    return TD_OK;
}

td_status td_verb_eval(int argc, char **argv) {
    eval_cli cli = {
        .trained = {TD_TRAINED_DEFAULTS, .holdout = 0.1}, .layout = "p1xt1", .limit = 1000};
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
