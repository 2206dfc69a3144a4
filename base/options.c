/* SPDX-License-Identifier: Apache-2.0 */
#include "base/options.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static double suffix_factor(const char *suffix) {
    static const struct {
        const char *text;
        double factor;
    } rows[] = {{"", 1},    {"k", 1e3},     {"K", 1e3},     {"M", 1e6},
                {"G", 1e9}, {"Ki", 0x1p10}, {"Mi", 0x1p20}, {"Gi", 0x1p30}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(suffix, rows[i].text) == 0) {
            return rows[i].factor;
        }
    }
    return 0;
}

td_status td_parse_int(const char *text, const char *what, double min, double max, long long *out) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    double factor = suffix_factor(end);
    bool fits = end != text && errno == 0 && factor != 0 && fabs((double)value * factor) <= 0x1p53;
    if (!fits) {
        return td_fail(TD_EUSAGE, "%s: \"%s\" is not a whole number; expected %.0f to %.0f", what,
                       text, min, max);
    }
    value *= (long long)factor;
    if (!((double)value >= min && (double)value <= max)) {
        return td_fail(TD_EUSAGE, "%s: %s is out of range; expected %.0f to %.0f", what, text, min,
                       max);
    }
    *out = value;
    return TD_OK;
}

td_status td_parse_real(const char *text, const char *what, double min, double max, double *out) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || isnan(value)) {
        return td_fail(TD_EUSAGE, "%s: \"%s\" is not a number; expected %g to %g", what, text, min,
                       max);
    }
    if (!(value >= min && value <= max)) {
        return td_fail(TD_EUSAGE, "%s: %s is out of range; expected %g to %g", what, text, min,
                       max);
    }
    *out = value;
    return TD_OK;
}

/* Whether value is one of the words of "a|b|c". */
static bool is_choice(const char *choices, const char *value) {
    size_t size = strlen(value);
    for (const char *at = choices; size > 0; at++) {
        size_t width = strcspn(at, "|");
        if (width == size && strncmp(at, value, size) == 0) {
            return true;
        }
        at += width;
        if (*at == '\0') {
            break;
        }
    }
    return false;
}

static td_status store(const td_option *option, const char *value, void *fields) {
    char *field = (char *)fields + option->offset;
    char what[80];
    snprintf(what, sizeof what, "--%s", option->name);
    long long whole;
    switch (option->type) {
    case TD_OPTION_FLAG:
        *(bool *)field = true;
        return TD_OK;
    case TD_OPTION_INT:
        TD_TRY(td_parse_int(value, what, option->min, option->max, &whole));
        *(int64_t *)field = whole;
        return TD_OK;
    case TD_OPTION_REAL:
        return td_parse_real(value, what, option->min, option->max, (double *)field);
    case TD_OPTION_CHOICE:
        if (!is_choice(option->choices, value)) {
            return td_fail(TD_EUSAGE, "%s: \"%s\" is unknown; expected one of %s", what, value,
                           option->choices);
        }
        *(const char **)field = value;
        return TD_OK;
    case TD_OPTION_TEXT:
        *(const char **)field = value;
        return TD_OK;
    }
    return td_fail(TD_EUSAGE, "%s: option table names no type", what);
}

static const td_option *find(const td_option *table, size_t n_options, const char *name,
                             size_t size) {
    for (size_t i = 0; i < n_options; i++) {
        if (strlen(table[i].name) == size && strncmp(table[i].name, name, size) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

td_status td_options_parse(const td_option *table, size_t n_options, int argc, char **argv,
                           void *fields, const char **words, size_t max_words, size_t *n_words,
                           int *help) {
    size_t count = 0;
    *help = 0;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            *help = 1;
            continue;
        }
        if (strncmp(word, "--", 2) != 0) {
            if (count == max_words) {
                return td_fail(TD_EUSAGE, "%s: unexpected word \"%s\"; see tandem %s --help",
                               argv[0], word, argv[0]);
            }
            words[count++] = word;
            continue;
        }
        size_t size = strcspn(word + 2, "=");
        const td_option *option = find(table, n_options, word + 2, size);
        if (option == NULL) {
            return td_fail(TD_EUSAGE, "%s: unknown option \"%.*s\"; see tandem %s --help", argv[0],
                           (int)size + 2, word, argv[0]);
        }
        const char *value = word[2 + size] == '=' ? word + 3 + size : NULL;
        if (option->type == TD_OPTION_FLAG) {
            if (value != NULL) {
                return td_fail(TD_EUSAGE, "--%s takes no value", option->name);
            }
        } else if (value == NULL) {
            if (i + 1 == argc) {
                return td_fail(TD_EUSAGE, "--%s: missing value; expected %s", option->name,
                               option->value);
            }
            value = argv[++i];
        }
        TD_TRY(store(option, value, fields));
    }
    *n_words = count;
    return TD_OK;
}

/* "--steps N", or the choices themselves: "--loss softmax|sigmoid". Returns its size. */
static size_t option_label(const td_option *option, char *label, size_t size) {
    const char *value = option->type == TD_OPTION_CHOICE ? option->choices : option->value;
    snprintf(label, size, "--%s %s", option->name, value != NULL ? value : "");
    return strlen(label);
}

void td_options_help(FILE *out, const td_verb_help *verb, const td_option *table,
                     size_t n_options) {
    fprintf(out, "usage: %s\n\n%s\n", verb->usage, verb->summary);
    size_t width = 6;
    char label[96];
    for (size_t i = 0; i < n_options; i++) {
        size_t size = option_label(&table[i], label, sizeof label);
        width = size > width ? size : width;
    }
    fprintf(out, "\noptions:\n");
    for (size_t i = 0; i < n_options; i++) {
        option_label(&table[i], label, sizeof label);
        fprintf(out, "  %-*s  %s\n", (int)width, label, table[i].help);
    }
    fprintf(out, "  %-*s  %s\n", (int)width, "--help", "this text");
    if (verb->examples != NULL) {
        fprintf(out, "\nexamples:\n%s", verb->examples);
    }
}
