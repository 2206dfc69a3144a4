/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/trained.h"

#include <inttypes.h>
#include <string.h>

#include "base/cpu.h"
#include "bench/row_choice.h"

td_status td_trained_pairs(const td_trained_cli *cli, td_pairs **out) {
    return td_pairs_open(&(td_pairs_options){.path = cli->data,
                                             .n_synthetic = cli->synthetic,
                                             .seed = (uint64_t)cli->seed,
                                             .holdout = cli->holdout,
                                             .held_out = cli->held_out},
                         out);
}

static td_status find_model(const td_trained_cli *cli, td_trained *out, const char **tokenizer) {
    if (cli->model == NULL) {
        return td_checkpoint_describe(&out->weights, &out->config, &out->loss, tokenizer);
    }
    *tokenizer = "";
    out->loss = strcmp(cli->loss, "sigmoid") == 0 ? TD_LOSS_SIGMOID : TD_LOSS_SOFTMAX;
    return td_model_config_load(cli->model, &out->config);
}

td_status td_trained_open(const td_trained_cli *cli, td_trained *out) {
    if (cli->weights == NULL) {
        return td_fail(TD_EUSAGE,
                       "--weights FILE is missing; `tandem train --save FILE` writes one");
    }
    td_isa isa;
    char rows[TD_ROW_CHOICE_TEXT];
    TD_TRY(td_precision_find(cli->precision, &out->precision));
    TD_TRY(td_isa_active(&isa));
    TD_TRY(td_kernels_select(isa));
    TD_TRY(td_rows_choose(out->precision, rows));
    const char *tokenizer;
    TD_TRY(td_safetensors_open(cli->weights, &out->weights));
    TD_TRY(find_model(cli, out, &tokenizer));
    const char *merges = cli->tokenizer != NULL ? cli->tokenizer : tokenizer;
    TD_TRY(td_tokenizer_load(merges[0] == '\0' ? NULL : merges, &out->tokenizer));
    if (td_tokenizer_vocab(out->tokenizer) > out->config.vocab) {
        return td_fail(TD_EUSAGE,
                       "the tokenizer has %" PRId32 " ids, model %s a vocabulary of %" PRId64,
                       td_tokenizer_vocab(out->tokenizer), out->config.name, out->config.vocab);
    }
    return td_trained_pairs(cli, &out->pairs);
}

void td_trained_close(td_trained *trained) {
    td_pairs_close(trained->pairs);
    if (trained->tokenizer != NULL) {
        td_tokenizer_destroy(trained->tokenizer);
    }
    td_safetensors_close(&trained->weights);
}
