/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verb_data.h"

#include <stdio.h>
#include <string.h>

#include "bench/verbs.h"

static const struct {
    const char *name, *summary;
    td_status (*run)(int argc, char **argv);
} verbs[] = {
#define ROW(verb, summary) {#verb, summary, td_verb_data_##verb},
    TD_DATA_VERB_MAP(ROW)
#undef ROW
};
enum { N_VERBS = sizeof verbs / sizeof verbs[0] };

#define VERBS "make, import, tabulate, features, verify, cat, stat, index, split, append or repair"

static void print_help(void) {
    printf("usage: tandem data VERB [--options]\n\n");
    for (int i = 0; i < N_VERBS; i++) {
        printf("  %-9s %s\n", verbs[i].name, verbs[i].summary);
    }
    printf("\nEach has its own --help.\n");
}

td_status td_verb_data(int argc, char **argv) {
    if (argc < 2) {
        return td_fail(TD_EUSAGE, "data: expected " VERBS);
    }
    if (strcmp(argv[1], "--help") == 0) {
        print_help();
        return TD_OK;
    }
    for (int i = 0; i < N_VERBS; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            return verbs[i].run(argc - 1, argv + 1);
        }
    }
    return td_fail(TD_EUSAGE, "data %s: expected " VERBS, argv[1]);
}
