/* SPDX-License-Identifier: Apache-2.0
 * Command lines from one table: parsing, range checks, help text. Long options only, "--name value"
 * or "--name=value".
 */
#ifndef TD_BASE_OPTIONS_H
#define TD_BASE_OPTIONS_H

#include <stddef.h>
#include <stdio.h>

#include "base/status.h"

typedef enum td_option_type {
    TD_OPTION_FLAG,   /* bool at offset */
    TD_OPTION_INT,    /* int64_t, min..max; "64Ki", "16Mi", "4k" accepted */
    TD_OPTION_REAL,   /* double, min..max */
    TD_OPTION_TEXT,   /* const char *, points into argv */
    TD_OPTION_CHOICE, /* const char *, one of choices ("a|b|c") */
} td_option_type;

typedef struct td_option {
    /* Without the dashes: "name"; "name|second" has two names; with "name|second=value" the second
     * takes no value and stands for that one. */
    const char *name;
    td_option_type type;
    size_t offset; /* offsetof(struct, field) */
    double min, max;
    const char *choices; /* TD_OPTION_CHOICE only */
    const char *value;   /* name of the value in the help: "N", "FILE"; NULL for flags */
    const char *help;
} td_option;

typedef struct td_verb_help {
    const char *usage;    /* "tandem train [--options]" */
    const char *summary;  /* one paragraph */
    const char *examples; /* lines, or NULL */
} td_verb_help;

/* Writes parsed values into fields. Words that are not options go to words (at most max_words, in
 * order). An unknown option, a missing or bad value, an option given by both its names, or too many
 * words is TD_EUSAGE and says what was expected. At most 64 options. "--help" anywhere sets *help
 * and leaves fields and words alone. */
td_status td_options_parse(const td_option *table, size_t n_options, int argc, char **argv,
                           void *fields, const char **words, size_t max_words, size_t *n_words,
                           int *help);

/* Writes the help text; an option's default is what its field holds (NULL where there are none). */
void td_options_help(FILE *out, const td_verb_help *verb, const td_option *table, size_t n_options,
                     const void *fields);

/* Parses one whole number with an optional Ki/Mi/Gi/k/M/G suffix, or a real; TD_EUSAGE says what
 * and why. */
td_status td_parse_int(const char *text, const char *what, double min, double max, long long *out);
td_status td_parse_real(const char *text, const char *what, double min, double max, double *out);

#endif
