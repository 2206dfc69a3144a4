/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "bench/build_info.h"
#include "bench/fingerprint.h"
#include "bench/verbs.h"
#include "threads/mpi_ranks.h"

typedef struct verb_row {
    const char *name, *summary;
    td_status (*run)(int argc, char **argv);
} verb_row;

static const verb_row verbs[] = {
#define VERB_ROW(verb, summary) {#verb, summary, td_verb_##verb},
    TD_VERB_MAP(VERB_ROW)
#undef VERB_ROW
};
enum { N_VERBS = sizeof verbs / sizeof verbs[0] };

static void print_help(void) {
    printf("Tandem measures CPU machines for vision-language training: kernels, collectives and "
           "whole\ntraining steps under process and thread layouts, each proved correct in the "
           "same run.\n\nusage: tandem VERB [--options]\n\n");
    for (int i = 0; i < N_VERBS; i++) {
        printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
    }
    printf("\nEach has its own --help. Exit codes: 0 good, 1 a check failed, 2 usage, 3 failure or "
           "nothing\nmeasured, 4 inconclusive, 5 machine unfit, 6 machines differ. "
           "TANDEM_ISA=portable|avx2|"
           "avx512|...\nrestricts the kernels; a name that is unknown or above the CPU is 2.\n");
}

static td_status unknown_verb(const char *name) {
    char list[256] = "";
    for (int i = 0; i < N_VERBS; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", verbs[i].name);
    }
    return td_fail(TD_EUSAGE, "unknown verb \"%s\"; expected one of %s", name, list);
}

static td_status dispatch(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        print_help();
        return TD_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("tandem %s (%s, %s)\n", TD_BUILD_VERSION, td_fingerprint_commit(),
               TD_BUILD_COMPILER);
        return TD_OK;
    }
    for (int i = 0; i < N_VERBS; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            td_isa isa;
            if (getenv("TANDEM_ISA") != NULL) {
                TD_TRY(td_isa_active(&isa)); /* refused here, whether the verb computes or not */
            }
            return verbs[i].run(argc - 1, argv + 1);
        }
    }
    return unknown_verb(argv[1]);
}

/* Of ranks that mpirun has started, rank 0 speaks. What the others have to say about usage or about
 * each other, it says as well. */
static bool is_heard(td_status status) {
    return !td_mpi_is_follower() || status == TD_EIO || status == TD_ESYS || status == TD_ENOMEM;
}

int main(int argc, char **argv) {
    if (td_mpi_is_follower() && freopen("/dev/null", "w", stdout) == NULL) {
        return td_exit_code(TD_EIO);
    }
    td_status status = dispatch(argc, argv);
    if (fflush(stdout) != 0 && status == TD_OK) {
        status = td_fail(TD_EIO, "standard output cannot be written");
    }
    if (status != TD_OK && is_heard(status)) {
        fprintf(stderr, "tandem: %s\n", td_error());
    }
    return td_mpi_end(status);
}
