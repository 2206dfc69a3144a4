/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <stdbool.h>
#include <stddef.h>

#include "base/options.h"

typedef struct fields {
    bool quiet;
    int64_t count;
    double rate;
    const char *file, *kind, *loss;
    double decay;
} fields;

static const td_option table[] = {
    {"quiet", TD_OPTION_FLAG, offsetof(fields, quiet), 0, 0, NULL, NULL, "say less"},
    {"count", TD_OPTION_INT, offsetof(fields, count), 1, 1 << 20, NULL, "N", "how many"},
    {"rate", TD_OPTION_REAL, offsetof(fields, rate), 0, 1, NULL, "X", "learning rate"},
    {"file", TD_OPTION_TEXT, offsetof(fields, file), 0, 0, NULL, "FILE", "where"},
    {"kind", TD_OPTION_CHOICE, offsetof(fields, kind), 0, 0, "thread|process", "KIND", "rank kind"},
    {"decay|wd", TD_OPTION_REAL, offsetof(fields, decay), 0, 1, NULL, "RATE", "shrinks"},
    {"loss|siglip=sigmoid", TD_OPTION_CHOICE, offsetof(fields, loss), 0, 0, "softmax|sigmoid", NULL,
     "what is learnt"},
};
enum { N_OPTIONS = sizeof table / sizeof table[0] };

static td_status parse(const char *line, fields *out, const char **word, int *help) {
    static char buffer[256];
    static char *argv[16];
    snprintf(buffer, sizeof buffer, "%s", line);
    int argc = 0;
    for (char *at = strtok(buffer, " "); at != NULL; at = strtok(NULL, " ")) {
        argv[argc++] = at;
    }
    size_t n_words = 0;
    *word = NULL;
    return td_options_parse(table, N_OPTIONS, argc, argv, out, word, 1, &n_words, help);
}

Test(options, every_type_is_stored) {
    fields got = {0};
    const char *word;
    int help;
    cr_assert_eq(parse("verb --quiet --count=64Ki --rate 0.25 pattern --file a=b --kind process",
                       &got, &word, &help),
                 TD_OK);
    cr_assert(got.quiet);
    cr_assert_eq(got.count, 65536);
    cr_assert_eq(got.rate, 0.25);
    cr_assert_str_eq(got.file, "a=b");
    cr_assert_str_eq(got.kind, "process");
    cr_assert_str_eq(word, "pattern");
    cr_assert_eq(help, 0);
    cr_assert_eq(parse("verb --help", &got, &word, &help), TD_OK);
    cr_assert_eq(help, 1);
}

Test(options, a_second_name_does_the_same) {
    fields got = {0};
    const char *word;
    int help;
    cr_assert_eq(parse("verb --wd 0.5 --siglip pattern", &got, &word, &help), TD_OK, "%s",
                 td_error());
    cr_assert_eq(got.decay, 0.5);
    cr_assert_str_eq(got.loss, "sigmoid");
    cr_assert_str_eq(word, "pattern");
    /* One name twice: the last counts; and the names of two options do not meet. */
    cr_assert_eq(parse("verb --wd=0.25 --wd=0.75 --loss softmax", &got, &word, &help), TD_OK, "%s",
                 td_error());
    cr_assert_eq(got.decay, 0.75);
    cr_assert_str_eq(got.loss, "softmax");
}

Test(options, every_mistake_says_what_was_expected) {
    static const char *const rows[][2] = {
        {"verb --cuont 3", "unknown option \"--cuont\""},
        {"verb --count", "missing value; expected N"},
        {"verb --count x", "not a whole number; expected 1 to 1048576"},
        {"verb --count 0", "out of range; expected 1 to 1048576"},
        {"verb --count 3q", "not a whole number"},
        {"verb --count 99999999999999999999", "not a whole number"},
        {"verb --rate nan", "not a number"},
        {"verb --rate 1.5", "out of range; expected 0 to 1"},
        {"verb --kind thr", "expected one of thread|process"},
        {"verb --kind ", "missing value"},
        {"verb --quiet=1", "takes no value"},
        {"verb one two", "unexpected word \"two\""},
        {"verb --wd 2", "--wd: 2 is out of range; expected 0 to 1"},
        {"verb --wd", "--wd: missing value; expected RATE"},
        {"verb --loss", "--loss: missing value; expected softmax|sigmoid"},
        {"verb --siglip=softmax", "--siglip takes no value"},
        {"verb --siglip softmax x", "unexpected word \"x\""},
        {"verb --decay|wd 1", "unknown option \"--decay|wd\""},
        {"verb --wd=1 --decay 1", "--decay and --wd are the same option"},
        {"verb --decay 1 --quiet --wd 1", "--decay and --wd are the same option"},
        {"verb --loss softmax --siglip", "--loss and --siglip are the same option"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fields got = {0};
        const char *word;
        int help;
        cr_assert_eq(parse(rows[i][0], &got, &word, &help), TD_EUSAGE, "%s", rows[i][0]);
        cr_assert_neq(strstr(td_error(), rows[i][1]), NULL, "%s: %s", rows[i][0], td_error());
    }
}

Test(options, help_leaves_the_defaults_alone) {
    fields got = {.count = 64};
    const char *word;
    int help;
    cr_assert_eq(parse("verb --count 5 --help", &got, &word, &help), TD_OK);
    cr_assert_eq(help, 1);
    cr_assert_eq(got.count, 64);
}

Test(options, help_names_every_option) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    fields defaults = {.count = 64, .rate = 0.5, .kind = "thread"};
    td_options_help(out, &(td_verb_help){"tandem verb", "Does it.", NULL}, table, N_OPTIONS,
                    &defaults);
    fclose(out);
    for (size_t i = 0; i < N_OPTIONS; i++) {
        cr_assert_neq(strstr(text, table[i].help), NULL);
    }
    cr_assert_neq(strstr(text, "--quiet "), NULL);
    cr_assert_neq(strstr(text, "--count N"), NULL);
    cr_assert_neq(strstr(text, "--decay RATE "), NULL);
    cr_assert_neq(strstr(text, "shrinks (or --wd) (default 0)\n"), NULL);
    cr_assert_neq(strstr(text, "--loss softmax|sigmoid "), NULL);
    cr_assert_neq(strstr(text, "what is learnt (--siglip: sigmoid)\n"), NULL);
    cr_assert_neq(strstr(text, "--kind thread|process"), NULL);
    cr_assert_neq(strstr(text, "rank kind (default thread)\n"), NULL);
    cr_assert_neq(strstr(text, "how many (default 64)\n"), NULL);
    cr_assert_neq(strstr(text, "learning rate (default 0.5)\n"), NULL);
    cr_assert_neq(strstr(text, "where\n"), NULL, "no default, none said");
    cr_assert_neq(strstr(text, "say less\n"), NULL);
    free(text);
}
