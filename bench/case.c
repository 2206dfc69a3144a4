/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/case.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static const td_workload *const workloads[] = {
#define TD_WORKLOAD(name, doc) &td_workload_##name,
#include "bench/workloads.inc"
#undef TD_WORKLOAD
};

bool td_case_fits_one_rank(const td_case *subject, const td_layout *layout) {
    (void)subject;
    return layout->ranks == 1;
}

td_case *td_case_add(td_case_list *list, const td_workload *workload, const char *format, ...) {
    static td_case nowhere;
    if (list->count == list->capacity) {
        int64_t capacity = list->capacity ? 2 * list->capacity : 256;
        td_case *at = td_realloc(list->at, (size_t)capacity * sizeof *at);
        if (!at) {
            list->failed = true;
            return &nowhere;
        }
        list->at = at;
        list->capacity = capacity;
    }
    td_case *added = &list->at[list->count++];
    *added = (td_case){.workload = workload, .provider = "tandem", .seconds = 0.5};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(added->id, sizeof added->id, format, arguments);
    va_end(arguments);
    return added;
}

td_status td_case_list_all(td_case_list *out) {
    *out = (td_case_list){0};
    for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++) {
        td_status status = workloads[i]->list(workloads[i], out);
        if (status == TD_OK && out->failed) {
            status = td_fail(TD_ENOMEM, "the list of cases");
        }
        if (status != TD_OK) {
            td_case_list_destroy(out);
            return status;
        }
    }
    return TD_OK;
}

void td_case_list_destroy(td_case_list *list) {
    td_free(list->at);
    *list = (td_case_list){0};
}

/* The last star is retried one character further on a mismatch, which is enough: an earlier star
 * could only match the same text in another way. */
static bool glob_matches(const char *glob, const char *text) {
    const char *star = NULL, *retry = NULL;
    while (*text) {
        if (*glob == '*') {
            star = glob++;
            retry = text;
        } else if (*glob == '?' || *glob == *text) {
            glob++;
            text++;
        } else if (star) {
            glob = star + 1;
            text = ++retry;
        } else {
            return false;
        }
    }
    while (*glob == '*') {
        glob++;
    }
    return *glob == '\0';
}

bool td_case_matches(const char *glob, const char *id) {
    size_t length = strlen(glob);
    if (!strpbrk(glob, "*?") && strncmp(glob, id, length) == 0 && length > 0 &&
        (id[length] == '/' || glob[length - 1] == '/')) {
        return true;
    }
    return glob_matches(glob, id);
}

void td_outcome_number(td_outcome *outcome, const char *name, double value) {
    TD_ASSERT(outcome->n_numbers < TD_OUTCOME_NUMBERS);
    int64_t i = outcome->n_numbers++;
    snprintf(outcome->numbers[i].name, sizeof outcome->numbers[i].name, "%s", name);
    outcome->numbers[i].value = value;
}

void td_outcome_add_part(td_outcome *outcome, const char *name, double ns) {
    int64_t i = 0;
    while (i < outcome->n_parts && strcmp(outcome->parts[i].name, name) != 0) {
        i++;
    }
    TD_ASSERT(i < TD_OUTCOME_PARTS);
    td_outcome_part *part = &outcome->parts[i];
    if (i == outcome->n_parts) {
        *part = (td_outcome_part){.ns = 0};
        snprintf(part->name, sizeof part->name, "%s", name);
        outcome->n_parts++;
    }
    part->ns += ns;
}

double td_outcome_number_of(const td_outcome *outcome, const char *name) {
    for (int64_t i = 0; i < outcome->n_numbers; i++) {
        if (strcmp(outcome->numbers[i].name, name) == 0) {
            return outcome->numbers[i].value;
        }
    }
    return 0;
}
