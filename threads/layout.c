/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/layout.h"

#include <stdio.h>
#include <string.h>

static const char *const kinds[] = {
    [TD_RANK_THREAD] = "thread", [TD_RANK_PROCESS] = "process", [TD_RANK_MPI] = "mpi"};

/* From large to small: a unit is no larger than its scope. */
static const char *const levels[] = {"machine", "package", "die", "numa", "l3", "l2", "core", "pu"};
enum { N_LEVELS = sizeof(levels) / sizeof(levels[0]), MAX_SMT = 8 };

static const char level_list[] = "machine, package, die, numa, l3, l2, core, pu";

static int level_find(const char *name) {
    for (int i = 0; i < N_LEVELS; i++) {
        if (strcmp(levels[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

/* A word runs to the next separator; returns its length. */
static size_t word_length(const char *at) {
    return strcspn(at, ":@+");
}

/* Digits only: no sign, no space. At most six, which no layout needs and no int overflows. */
static bool take_count(const char **at, int *out) {
    size_t digits = strspn(*at, "0123456789");
    if (digits == 0 || digits > 6) {
        return false;
    }
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        *out = *out * 10 + (*(*at)++ - '0');
    }
    return true;
}

/* p<ranks>xt<workers> */
static td_status parse_counts(const char *text, const char **at, td_layout *layout) {
    *at = text;
    bool good = *(*at)++ == 'p' && take_count(at, &layout->ranks) && strncmp(*at, "xt", 2) == 0;
    *at += good ? 2 : 0;
    if (!good || !take_count(at, &layout->workers)) {
        return td_fail(TD_EUSAGE,
                       "layout \"%s\" does not start with p<ranks>xt<workers>, as in p2xt4", text);
    }
    if (layout->ranks < 1 || layout->ranks > TD_MAX_RANKS) {
        return td_fail(TD_EUSAGE, "layout \"%s\": ranks must be 1 to %d", text, TD_MAX_RANKS);
    }
    if (layout->workers < 1 || layout->workers > TD_MAX_WORKERS / layout->ranks) {
        return td_fail(TD_EUSAGE,
                       "layout \"%s\": workers must be 1 or more, and %d at most over all ranks",
                       text, TD_MAX_WORKERS);
    }
    return TD_OK;
}

static td_status parse_kind(const char *text, const char **at, td_layout *layout) {
    layout->kind = layout->ranks > 1 ? TD_RANK_PROCESS : TD_RANK_THREAD;
    if (**at != ':') {
        return TD_OK;
    }
    const char *word = *at + 1;
    size_t length = word_length(word);
    for (int i = 0; i < 3; i++) {
        if (strlen(kinds[i]) == length && strncmp(kinds[i], word, length) == 0) {
            layout->kind = (td_rank_kind)i;
            *at = word + length;
            return TD_OK;
        }
    }
    return td_fail(TD_EUSAGE, "layout \"%s\": rank kind \"%.*s\"; expected thread, process or mpi",
                   text, (int)length, word);
}

static td_status take_level(const char *text, const char *what, const char *word, char out[12]) {
    size_t length = word_length(word);
    snprintf(out, 12, "%.*s", (int)length, word);
    return length < 12 && level_find(out) >= 0
               ? TD_OK
               : td_fail(TD_EUSAGE, "layout \"%s\": %s \"%.*s\"; expected one of %s", text, what,
                         (int)length, word, level_list);
}

/* @cpus{LIST}: from behind the brace. Workers are counted against the list when it is resolved. */
static td_status parse_cpus(const char *text, const char **at, td_layout *layout) {
    const char *list = *at, *end = strchr(list, '}');
    int cpu[TD_MAX_WORKERS], count;
    if (!end) {
        return td_fail(TD_EUSAGE, "layout \"%s\": the CPU list has no end; expected @cpus{0-3,8}",
                       text);
    }
    size_t length = (size_t)(end - list);
    TD_TRY(td_cpu_list_parse(list, length, TD_MAX_WORKERS, cpu, &count));
    if (count == 0 ||
        td_cpu_list_print(cpu, count, layout->cpus, sizeof(layout->cpus)) >= TD_LAYOUT_CPUS) {
        return td_fail(TD_EUSAGE,
                       "layout \"%s\": a list of %d CPUs; expected 1 or more, %d characters with "
                       "ranges at most",
                       text, count, TD_LAYOUT_CPUS - 1);
    }
    *at = end + 1;
    return TD_OK;
}

/* [@scope:unit[:order]] */
static td_status parse_levels(const char *text, const char **at, td_layout *layout) {
    const char *word = *at;
    TD_TRY(take_level(text, "scope", word, layout->scope));
    word += word_length(word);
    if (*word != ':') {
        return td_fail(TD_EUSAGE,
                       "layout \"%s\": a unit must follow the scope, as in @package:core", text);
    }
    word++;
    TD_TRY(take_level(text, "unit", word, layout->unit));
    if (level_find(layout->unit) < level_find(layout->scope)) {
        return td_fail(TD_EUSAGE, "layout \"%s\": unit %s is larger than scope %s", text,
                       layout->unit, layout->scope);
    }
    word += word_length(word);
    if (*word == ':') {
        size_t length = word_length(++word);
        snprintf(layout->order, sizeof(layout->order), "%.*s", (int)length, word);
        if (length >= sizeof(layout->order) ||
            (strcmp(layout->order, "close") != 0 && strcmp(layout->order, "spread") != 0 &&
             strcmp(layout->order, "scatter") != 0)) {
            return td_fail(TD_EUSAGE,
                           "layout \"%s\": order \"%.*s\"; expected close, spread or scatter", text,
                           (int)length, word);
        }
        word += length;
    }
    *at = word;
    return TD_OK;
}

static td_status parse_place(const char *text, const char **at, td_layout *layout) {
    if (**at != '@') {
        return TD_OK;
    }
    ++*at;
    if (strncmp(*at, "cpus{", 5) == 0) {
        *at += 5;
        return parse_cpus(text, at, layout);
    }
    if (strncmp(*at, "none", 4) == 0 && word_length(*at) == 4) {
        *at += 4;
        layout->unbound = true;
        return TD_OK;
    }
    return parse_levels(text, at, layout);
}

static td_status parse_option(const char *text, const char **at, td_layout *layout) {
    const char *word = *at + 1;
    size_t length = word_length(word);
    char option[24];
    snprintf(option, sizeof(option), "%.*s", (int)length, word);
    *at = word + length;
    if (strcmp(option, "over") == 0) {
        layout->over = true;
    } else if (strcmp(option, "mem=local") == 0) {
        layout->interleave = false;
    } else if (strcmp(option, "mem=interleave") == 0) {
        layout->interleave = true;
    } else if (strncmp(option, "smt=", 4) == 0 && option[4] >= '1' && option[4] <= '0' + MAX_SMT &&
               option[5] == '\0') {
        layout->smt = option[4] - '0';
    } else {
        return td_fail(
            TD_EUSAGE,
            "layout \"%s\": option \"%.*s\"; expected over, smt=1 to smt=%d, mem=local or "
            "mem=interleave",
            text, (int)length, word, MAX_SMT);
    }
    return TD_OK;
}

td_status td_layout_parse(const char *text, td_layout *out) {
    td_layout layout = {.scope = "machine", .unit = "core", .order = "close", .smt = 1};
    const char *at;
    TD_TRY(parse_counts(text, &at, &layout));
    TD_TRY(parse_kind(text, &at, &layout));
    TD_TRY(parse_place(text, &at, &layout));
    while (*at == '+') {
        TD_TRY(parse_option(text, &at, &layout));
    }
    if (*at) {
        return td_fail(TD_EUSAGE,
                       "layout \"%s\": \"%s\" is left over; expected "
                       "p<ranks>xt<workers>[:kind][@scope:unit[:order]|@cpus{LIST}|"
                       "@none][+option]",
                       text, at);
    }
    *out = layout;
    return TD_OK;
}

void td_layout_print(const td_layout *layout, char text[TD_LAYOUT_TEXT]) {
    int used = snprintf(text, TD_LAYOUT_TEXT, "p%dxt%d", layout->ranks, layout->workers);
    char *at = text + used;
    char *end = text + TD_LAYOUT_TEXT;
    if (layout->ranks > 1 || layout->kind != TD_RANK_THREAD) {
        at += snprintf(at, (size_t)(end - at), ":%s", kinds[layout->kind]);
    }
    bool order = strcmp(layout->order, "close") != 0;
    if (layout->unbound) {
        at += snprintf(at, (size_t)(end - at), "@none");
    } else if (layout->cpus[0]) {
        at += snprintf(at, (size_t)(end - at), "@cpus{%s}", layout->cpus);
        order = false;
    } else if (order || strcmp(layout->scope, "machine") != 0 ||
               strcmp(layout->unit, "core") != 0) {
        at += snprintf(at, (size_t)(end - at), "@%s:%s", layout->scope, layout->unit);
    }
    if (order) {
        at += snprintf(at, (size_t)(end - at), ":%s", layout->order);
    }
    if (layout->over) {
        at += snprintf(at, (size_t)(end - at), "+over");
    }
    if (layout->smt != 1) {
        at += snprintf(at, (size_t)(end - at), "+smt=%d", layout->smt);
    }
    if (layout->interleave) {
        snprintf(at, (size_t)(end - at), "+mem=interleave");
    }
}
