/* SPDX-License-Identifier: Apache-2.0
 * The verbs below `tandem data`. argv[0] is the verb itself.
 */
#ifndef TD_BENCH_VERB_DATA_H
#define TD_BENCH_VERB_DATA_H

#include "base/status.h"

/*  verb     one-line summary */
#define TD_DATA_VERB_MAP(X)                                                                        \
    X(make, "write a procedural set of image-caption pairs as TFRecord shards")                    \
    X(import, "write Debian's openclipart, or your own images, as TFRecord shards")                \
    X(tabulate, "write a table of words, sizes and colours from image-caption pairs")              \
    X(features, "compute feature columns of records of tf.Examples")                               \
    X(verify, "check every record of TFRecord files")                                              \
    X(cat, "print the features of records")                                                        \
    X(stat, "count records, features and sizes")                                                   \
    X(index, "write the offsets of records beside their files")                                    \
    X(split, "deal the records of a file out to shards")                                           \
    X(append, "add records to a file, all or none")                                                \
    X(repair, "write the good records of a damaged file to a new one")

#define TD_DATA_VERB_DECLARE(verb, summary) td_status td_verb_data_##verb(int argc, char **argv);
TD_DATA_VERB_MAP(TD_DATA_VERB_DECLARE)
#undef TD_DATA_VERB_DECLARE

#endif
