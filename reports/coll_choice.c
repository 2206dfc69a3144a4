/* SPDX-License-Identifier: Apache-2.0
 * Whether algorithms are chosen well, and whether operations keep what their users may expect: that
 * none is slower than others of this run put together that do its work (Traeff, Gropp, Thakur,
 * 2010: self-consistent MPI performance guidelines).
 */
#include <math.h>
#include <string.h>

#include "reports/coll_choice.h"

/* A median moves by some per cent between two cases. */
static const double TOLERANCE = 1.1;

/* left <= first + second, of the fastest rows; second NULL: left <= first. */
typedef struct guideline {
    const char *left, *first, *second;
} guideline;

static const guideline guidelines[] = {
    {"allreduce", "reduce_scatter", "allgather"},
    {"allreduce", "reduce", "broadcast"},
    {"reduce", "allreduce", NULL},
    {"reduce_scatter", "allreduce", NULL},
    {"allgather", "gather", "broadcast"},
    {"broadcast", "scatter", "allgather"},
    {"gather", "allgather", NULL},
    {"scatter", "broadcast", NULL},
};
enum { N_GUIDELINES = sizeof guidelines / sizeof guidelines[0] };

static bool is_call(const td_fact *fact) {
    return td_fact_is(fact, "coll") && fact->ok && fact->own && fact->n_parts >= 4 &&
           fact->median_ns > 0;
}

/* The last part of the id is the type, the size and how it was called. */
static const char *call_of(const td_fact *fact) {
    return fact->part[3];
}

static bool same_setting(const td_fact *a, const td_fact *b) {
    return strcmp(call_of(a), call_of(b)) == 0 && strcmp(a->layout, b->layout) == 0;
}

/* The fastest row of an operation where `like` was measured; chosen: the row called so. */
static const td_fact *find(const td_facts *facts, const td_fact *like, const char *operation,
                           bool chosen) {
    const td_fact *best = NULL;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (is_call(fact) && same_setting(fact, like) && strcmp(fact->part[1], operation) == 0 &&
            (strcmp(fact->part[2], "chosen") == 0) == chosen &&
            (best == NULL || fact->median_ns < best->median_ns)) {
            best = fact;
        }
    }
    return best;
}

/* The first of its operation and setting: the others are found from it. */
static bool is_first(const td_facts *facts, int i) {
    const td_fact *fact = &facts->rows[i];
    for (int j = 0; j < i; j++) {
        const td_fact *before = &facts->rows[j];
        if (is_call(before) && same_setting(before, fact) &&
            strcmp(before->part[1], fact->part[1]) == 0) {
            return false;
        }
    }
    return is_call(fact);
}

static int add_guidelines(const td_facts *facts, const td_fact *fact, td_table *table) {
    int violated = 0;
    const td_fact *left = find(facts, fact, fact->part[1], false);
    for (int g = 0; g < N_GUIDELINES && left != NULL; g++) {
        const guideline *rule = &guidelines[g];
        const td_fact *first = find(facts, fact, rule->first, false);
        const td_fact *second =
            rule->second == NULL ? NULL : find(facts, fact, rule->second, false);
        if (strcmp(rule->left, left->part[1]) != 0 || first == NULL ||
            (rule->second != NULL && second == NULL)) {
            continue;
        }
        double right = first->median_ns + (second == NULL ? 0 : second->median_ns);
        bool kept = left->median_ns <= TOLERANCE * right;
        td_table_text(table, "%s <= %s%s%s", rule->left, rule->first, second == NULL ? "" : " + ",
                      second == NULL ? "" : rule->second);
        td_table_text(table, "%s", call_of(left));
        td_table_text(table, "%s", left->layout);
        td_table_text(table, "%s", left->part[2]);
        td_table_number(table, left->median_ns * 1e-3);
        td_table_number(table, right * 1e-3);
        td_table_text(table, kept ? "kept" : "failed: violated");
        if (!kept) {
            td_table_mark_bad(table);
            violated++;
        }
    }
    return violated;
}

static void add_regret(const td_facts *facts, const td_fact *fact, td_table *table) {
    const td_fact *chosen = find(facts, fact, fact->part[1], true);
    const td_fact *best = find(facts, fact, fact->part[1], false);
    if (chosen == NULL || best == NULL) {
        return;
    }
    const char *name = strstr(chosen->check_method, "chosen: ");
    td_table_text(table, "%s", fact->part[1]);
    td_table_text(table, "%s", call_of(fact));
    td_table_text(table, "%s", fact->layout);
    td_table_text(table, "%s", name == NULL ? "?" : name + strlen("chosen: "));
    td_table_number(table, chosen->median_ns * 1e-3);
    td_table_text(table, "%s", best->part[2]);
    td_table_number(table, best->median_ns * 1e-3);
    td_table_number(table, chosen->median_ns / best->median_ns);
}

/* A table without rows is not shown. */
static void drop_if_empty(td_section *section, td_table *table) {
    if (table->n_rows == 0) {
        td_table_destroy(table);
        section->n_tables--;
    }
}

int td_coll_choice(const td_facts *facts, td_section *section) {
    int violated = 0;
    td_table *regret = td_section_table(
        section, "Chosen algorithms: regret",
        (const char *const[]){"operation||t", "call||t", "layout||t", "chosen||t", "time|us|n",
                              "fastest||t", "time|us|n", "regret||n", NULL});
    for (int i = 0; i < facts->n_rows; i++) {
        if (is_first(facts, i)) {
            add_regret(facts, &facts->rows[i], regret);
        }
    }
    drop_if_empty(section, regret);
    td_table *kept = td_section_table(section, "Performance guidelines, of the fastest algorithms",
                                      (const char *const[]){"guideline||t", "call||t", "layout||t",
                                                            "algorithm||t", "time|us|n",
                                                            "at most|us|n", "verdict||t", NULL});
    for (int i = 0; i < facts->n_rows; i++) {
        if (is_first(facts, i)) {
            violated += add_guidelines(facts, &facts->rows[i], kept);
        }
    }
    drop_if_empty(section, kept);
    return violated;
}
