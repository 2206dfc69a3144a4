/* SPDX-License-Identifier: Apache-2.0
 * Trained weights and a set of pairs, as `tandem embed` and `tandem eval` take them: the options
 * both have, and what these open.
 */
#ifndef TD_BENCH_TRAINED_H
#define TD_BENCH_TRAINED_H

#include "base/options.h"
#include "data/pairs.h"
#include "models/checkpoint.h"

typedef struct td_trained_cli {
    const char *weights, *data, *model, *loss, *tokenizer, *precision;
    bool held_out;
    int64_t synthetic, seed;
    double holdout;
} td_trained_cli;

/* clang-format off */
#define TD_TRAINED_DEFAULTS .loss = "softmax", .precision = "f32", .synthetic = 8192

/* Rows of a verb's table of options; at: the offset of a field of its td_trained_cli. */
#define TD_TRAINED_OPTIONS(at)                                                                     \
    {"weights", TD_OPTION_TEXT, at(weights), 0, 0, NULL, "FILE",                                   \
     "safetensors that `tandem train --save` wrote, or open_clip's with --model"},                 \
    {"data", TD_OPTION_TEXT, at(data), 0, 0, NULL, "PATH",                                         \
     "TFRecord shards (directory or glob); the embedded procedural set without"},                  \
    {"synthetic", TD_OPTION_INT, at(synthetic), 1, 1e9, NULL, "N", "pairs of the embedded set"},   \
    {"seed", TD_OPTION_INT, at(seed), 0, 1e15, NULL, "N",                                          \
     "of the embedded set, as in training"},                                                       \
    {"model", TD_OPTION_TEXT, at(model), 0, 0, NULL, "NAME",                                       \
     "configuration, when the file does not say (name or open_clip .json)"},                       \
    {"loss", TD_OPTION_CHOICE, at(loss), 0, 0, "softmax|sigmoid", NULL,                            \
     "with --model: which loss the weights were trained with"},                                    \
    {"tokenizer", TD_OPTION_TEXT, at(tokenizer), 0, 0, NULL, "FILE",                               \
     "merges file, when another than the one the weights name"},                                   \
    {"precision", TD_OPTION_CHOICE, at(precision), 0, 0, TD_PRECISION_CHOICES, NULL,               \
     "arithmetic of the towers' products, as in training"}
/* clang-format on */

typedef struct td_trained {
    td_safetensors weights;
    td_model_config config;
    td_loss loss;
    td_precision precision;
    td_tokenizer *tokenizer;
    td_pairs *pairs;
} td_trained;

/* Selects kernels of the active ISA and the rows of the precision too. TD_EUSAGE without --weights,
 * or when the tokenizer does not fit the model; what was opened stays for td_trained_close. */
td_status td_trained_open(const td_trained_cli *cli, td_trained *out);
void td_trained_close(td_trained *trained);

/* The set of pairs once more, for a rank that reads it by itself. */
td_status td_trained_pairs(const td_trained_cli *cli, td_pairs **out);

#endif
