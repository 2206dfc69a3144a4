/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verbs.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "bench/case.h"
#include "collectives/comm.h"
#include "kernels/kernel.h"
#include "kernels/provider.h"
#include "models/config.h"
#include "models/tensors.h"

static const td_verb_help verb_help = {
    "tandem list [cases|kernels|collectives|models] [GLOB]",
    "Lists what this program knows, from the tables it runs on. Cases of the quick suite are "
    "marked "
    "q; kernel rows in use are marked *. A row is native when this CPU can run it; `make test` "
    "runs "
    "every other one by emulation and keeps a ledger of both.",
    "  tandem list cases 'kernel/gemm_f32/*'\n"
    "  tandem list kernels\n"};

static td_status list_cases(const char *glob) {
    td_case_list list;
    TD_TRY(td_case_list_all(&list));
    for (int64_t i = 0; i < list.count; i++) {
        const td_case *c = &list.at[i];
        if (glob && !td_case_matches(glob, c->id)) {
            continue;
        }
        bool own = strcmp(c->provider, "tandem") == 0;
        printf("%s %s%s%s\n", c->quick ? "q" : " ", c->id, own ? "" : "  ", own ? "" : c->provider);
    }
    td_case_list_destroy(&list);
    return TD_OK;
}

/* Without a pattern the summary goes first. */
static td_status list_kernels_summary(void) {
    td_isa active;
    td_text text = {0};
    TD_TRY(td_isa_active(&active));
    td_kernels_describe(td_isa_native(), active, &text);
    td_status status = td_text_status(&text);
    if (status == TD_OK) {
        printf("%s\n", text.data);
    }
    td_text_destroy(&text);
    return status;
}

static td_status list_kernels(const char *glob) {
    int count;
    if (!glob) {
        TD_TRY(list_kernels_summary());
    }
    const td_kernel *rows = td_kernels(&count);
    td_op_id op = TD_OP_COUNT;
    for (int i = 0; i < count; i++) {
        const td_kernel *row = &rows[i];
        if (glob && !td_case_matches(glob, td_ops[row->op].name)) {
            continue;
        }
        if (row->op != op) {
            op = row->op;
            printf("%-22s %s\n", td_ops[op].name, td_ops[op].doc);
        }
        printf("  %s %-18s needs %-12s %s\n", td_kernel_selected(op) == row ? "*" : " ", row->name,
               td_isa_name(row->isa),
               row->isa <= td_isa_native() ? "native" : "not native: this CPU cannot run it");
    }
    for (const char *const *name = td_provider_names(); !glob && *name; name++) {
        const td_provider *provider;
        if (td_provider_open(*name, td_isa_native(), &provider) == TD_OK) {
            printf("peer %s %s, kernels %s\n", provider->name, provider->version, provider->core);
        } else {
            printf("peer %s: %s\n", *name, td_error());
        }
    }
    return TD_OK;
}

static td_status list_collectives(const char *glob) {
    int count;
    const td_collective *rows = td_collectives(&count);
    for (int i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s/%s", rows[i].operation, rows[i].algorithm);
        if (!glob || td_case_matches(glob, name)) {
            printf("%-34s %s\n", name, rows[i].doc);
        }
    }
    return TD_OK;
}

static td_status list_models(const char *glob) {
    int count;
    const td_model_config *configs = td_model_configs(&count);
    for (int i = 0; i < count; i++) {
        const td_model_config *c = &configs[i];
        if (!glob || td_case_matches(glob, c->name)) {
            printf("%-18s %-6s image %lld/%lld, %lld x %lld wide; text %lld tokens, %lld x %lld "
                   "wide; embedding %lld; %.1f GFLOP a pair and step\n",
                   c->name, c->family == TD_FAMILY_CLIP ? "clip" : "siglip",
                   (long long)c->image_size, (long long)c->patch, (long long)c->vision.layers,
                   (long long)c->vision.width, (long long)c->context, (long long)c->text.layers,
                   (long long)c->text.width, (long long)c->embed, td_model_nominal_flops(c) * 1e-9);
        }
    }
    return TD_OK;
}

static const struct {
    const char *name;
    td_status (*list)(const char *glob);
} lists[] = {{"kernels", list_kernels},
             {"collectives", list_collectives},
             {"models", list_models},
             {"cases", list_cases}};
enum { N_LISTS = sizeof lists / sizeof lists[0] };

td_status td_verb_list(int argc, char **argv) {
    const char *words[2] = {NULL, NULL};
    size_t n_words = 0;
    int help = 0;
    char unused;
    TD_TRY(td_options_parse(NULL, 0, argc, argv, &unused, words, 2, &n_words, &help));
    if (help) {
        td_options_help(stdout, &verb_help, NULL, 0, NULL);
        return TD_OK;
    }
    td_isa isa;
    TD_TRY(td_isa_active(&isa));
    TD_TRY(td_kernels_select(isa));
    for (int i = 0; i < N_LISTS; i++) {
        if (n_words > 0 && strcmp(words[0], lists[i].name) == 0) {
            return lists[i].list(words[1]);
        }
    }
    if (n_words > 0) {
        return td_fail(TD_EUSAGE, "list %s: expected cases, kernels, collectives or models",
                       words[0]);
    }
    for (int i = 0; i < N_LISTS; i++) {
        printf("%s%s\n", i ? "\n" : "", lists[i].name);
        TD_TRY(lists[i].list(NULL));
    }
    return TD_OK;
}
