/* SPDX-License-Identifier: Apache-2.0
 * The verbs of the command line; each lives in its own verb_<name>.c. argv[0] is the verb itself.
 */
#ifndef TD_BENCH_VERBS_H
#define TD_BENCH_VERBS_H

#include "base/status.h"

/*  verb     one-line summary */
#define TD_VERB_MAP(X)                                                                             \
    X(topo, "draw the machine, and a layout on it")                                                \
    X(list, "list cases, kernels, collectives, models")                                            \
    X(bench, "measure cases on layouts, with proof")                                               \
    X(report, "render records as one HTML page, Markdown and CSV")                                 \
    X(threads, "experiments about threads; the threads and deadlocks of a process")                \
    X(tune, "measure algorithms of collectives, write which to call")                              \
    X(simulate, "what collectives would take on another machine")                                  \
    X(train, "train CLIP or SigLIP on image-caption pairs")                                        \
    X(eval, "retrieval and zero-shot accuracy of trained weights")                                 \
    X(table, "train a wide and deep classifier on feature columns of a table")                     \
    X(embed, "features of images and captions, as matrices or as shards to train from")            \
    X(data, "make, import, and inspect TFRecord shards")

#define TD_VERB_DECLARE(verb, summary) td_status td_verb_##verb(int argc, char **argv);
TD_VERB_MAP(TD_VERB_DECLARE)
#undef TD_VERB_DECLARE

/* Prints the collectives of a run's directory in one of TD_COLL_FORMATS (reports/coll_tables.h). */
td_status td_print_collectives(const char *directory, const char *format);

#endif
