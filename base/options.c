/* SPDX-License-Identifier: Apache-2.0 */
#include "base/options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

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

static td_status store(const td_option *option, const char *what, const char *value, void *fields) {
    char *field = (char *)fields + option->offset;
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

/* An option's names: its own, and the second where there is one. */
typedef struct names {
    const char *own, *second; /* not terminated; second may be NULL */
    int own_size, second_size;
    const char *implied; /* the value that the second name stands for, or NULL */
} names;

static names names_of(const td_option *option) {
    names out = {.own = option->name, .own_size = (int)strcspn(option->name, "|")};
    if (out.own[out.own_size] == '|') {
        out.second = out.own + out.own_size + 1;
        out.second_size = (int)strcspn(out.second, "=");
        const char *after = out.second + out.second_size;
        out.implied = *after == '=' ? after + 1 : NULL;
    }
    return out;
}

static bool is_name(const char *name, int name_size, const char *word, size_t size) {
    return name != NULL && (size_t)name_size == size && strncmp(name, word, size) == 0;
}

/* The row of a name, and whether it is the row's second name; n_options where there is none. */
static size_t find(const td_option *table, size_t n_options, const char *name, size_t size,
                   bool *second) {
    size_t i = 0;
    for (*second = false; i < n_options; i++) {
        names n = names_of(&table[i]);
        *second = is_name(n.second, n.second_size, name, size);
        if (*second || is_name(n.own, n.own_size, name, size)) {
            break;
        }
    }
    return i;
}

/* The options given so far, a bit a row: by their own name, and by their second. */
typedef struct given {
    uint64_t by[2];
} given;

/* argv[*i] and, where it takes one, its value behind it. */
static td_status parse_option(const td_option *table, size_t n_options, int argc, char **argv,
                              int *i, given *seen, void *fields) {
    const char *word = argv[*i];
    size_t size = strcspn(word + 2, "=");
    bool second;
    size_t row = find(table, n_options, word + 2, size, &second);
    if (row == n_options) {
        return td_fail(TD_EUSAGE, "%s: unknown option \"%.*s\"; see tandem %s --help", argv[0],
                       (int)size + 2, word, argv[0]);
    }
    const td_option *option = &table[row];
    names n = names_of(option);
    seen->by[second] |= UINT64_C(1) << row;
    if (seen->by[0] & seen->by[1]) {
        return td_fail(TD_EUSAGE, "--%.*s and --%.*s are the same option; expected one of them",
                       n.own_size, n.own, n.second_size, n.second);
    }
    char what[80];
    snprintf(what, sizeof what, "%.*s", (int)size + 2, word);
    const char *value = word[2 + size] == '=' ? word + 3 + size : NULL;
    const char *implied = second ? n.implied : NULL;
    if (option->type == TD_OPTION_FLAG || implied != NULL) {
        if (value != NULL) {
            return td_fail(TD_EUSAGE, "%s takes no value", what);
        }
        value = implied;
    } else if (value == NULL) {
        if (*i + 1 == argc) {
            return td_fail(TD_EUSAGE, "%s: missing value; expected %s", what,
                           option->value != NULL ? option->value : option->choices);
        }
        value = argv[++*i];
    }
    return store(option, what, value, fields);
}

static int asks_for_help(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return 1;
        }
    }
    return 0;
}

td_status td_options_parse(const td_option *table, size_t n_options, int argc, char **argv,
                           void *fields, const char **words, size_t max_words, size_t *n_words,
                           int *help) {
    TD_ASSERT(n_options <= 64);
    given seen = {{0, 0}};
    size_t count = 0;
    *n_words = 0;
    *help = asks_for_help(argc, argv);
    for (int i = 1; i < argc && !*help; i++) {
        const char *word = argv[i];
        if (strncmp(word, "--", 2) == 0) {
            TD_TRY(parse_option(table, n_options, argc, argv, &i, &seen, fields));
        } else if (count == max_words) {
            return td_fail(TD_EUSAGE, "%s: unexpected word \"%s\"; see tandem %s --help", argv[0],
                           word, argv[0]);
        } else {
            words[count++] = word;
        }
    }
    *n_words = count;
    return TD_OK;
}

/* "--steps N", or the choices themselves: "--loss softmax|sigmoid". Returns its size. */
static size_t option_label(const td_option *option, char *label, size_t size) {
    const char *value = option->type == TD_OPTION_CHOICE ? option->choices : option->value;
    snprintf(label, size, "--%.*s %s", names_of(option).own_size, option->name,
             value != NULL ? value : "");
    return strlen(label);
}

/* " (default 100)"; nothing for flags, which are off, and for texts that are not given. */
static void append_default(td_text *out, const td_option *option, const void *fields) {
    const char *field = (const char *)fields + option->offset;
    if (option->type == TD_OPTION_INT) {
        td_text_printf(out, " (default %" PRId64 ")", *(const int64_t *)(const void *)field);
    } else if (option->type == TD_OPTION_REAL) {
        td_text_printf(out, " (default %g)", *(const double *)(const void *)field);
    } else if (option->type != TD_OPTION_FLAG) {
        const char *text = *(const char *const *)(const void *)field;
        if (text != NULL) {
            td_text_printf(out, " (default %s)", text);
        }
    }
}

static void write_option(FILE *out, const td_option *option, int width, const void *fields) {
    char label[96];
    option_label(option, label, sizeof label);
    td_text text = {0};
    td_text_puts(&text, option->help);
    names n = names_of(option);
    if (n.second != NULL) {
        td_text_printf(&text, n.implied != NULL ? " (--%.*s: %s)" : " (or --%.*s%s)", n.second_size,
                       n.second, n.implied != NULL ? n.implied : "");
    }
    append_default(&text, option, fields);
    fprintf(out, "  %-*s  ", width, label);
    td_print_wrapped(out, width + 4, text.failed ? option->help : text.data);
    td_text_destroy(&text);
}

void td_options_help(FILE *out, const td_verb_help *verb, const td_option *table, size_t n_options,
                     const void *fields) {
    fprintf(out, "usage: %s\n\n", verb->usage);
    td_print_wrapped(out, 0, verb->summary);
    size_t width = 6;
    char label[96];
    for (size_t i = 0; i < n_options; i++) {
        size_t size = option_label(&table[i], label, sizeof label);
        width = size > width ? size : width;
    }
    fprintf(out, "\noptions:\n");
    for (size_t i = 0; i < n_options; i++) {
        write_option(out, &table[i], (int)width, fields);
    }
    fprintf(out, "  %-*s  %s\n", (int)width, "--help", "this text");
    if (verb->examples != NULL) {
        fprintf(out, "\nexamples:\n%s", verb->examples);
    }
}
