/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/cpu_list.h"

#include <stdio.h>
#include <string.h>

enum { WORD_BITS = 8 * sizeof(unsigned long), MASK_WORDS = TD_MAX_PUS / WORD_BITS };

bool td_cpu_mask_add(td_cpu_mask *mask, int cpu) {
    if (cpu < 0 || cpu >= TD_MAX_PUS) {
        return false;
    }
    mask->bits[cpu / WORD_BITS] |= 1UL << cpu % WORD_BITS;
    return true;
}

bool td_cpu_mask_has(const td_cpu_mask *mask, int cpu) {
    return cpu >= 0 && cpu < TD_MAX_PUS && (mask->bits[cpu / WORD_BITS] >> cpu % WORD_BITS & 1);
}

bool td_cpu_mask_empty(const td_cpu_mask *mask) {
    return td_cpu_mask_count(mask) == 0;
}

int td_cpu_mask_count(const td_cpu_mask *mask) {
    int count = 0;
    for (int i = 0; i < MASK_WORDS; i++) {
        count += __builtin_popcountl(mask->bits[i]);
    }
    return count;
}

int td_cpu_mask_only(const td_cpu_mask *mask) {
    int found = -1;
    for (int i = 0; i < MASK_WORDS; i++) {
        if (mask->bits[i] != 0) {
            if (found >= 0 || (mask->bits[i] & (mask->bits[i] - 1)) != 0) {
                return -1;
            }
            found = i * WORD_BITS + __builtin_ctzl(mask->bits[i]);
        }
    }
    return found;
}

void td_cpu_mask_intersect(td_cpu_mask *mask, const td_cpu_mask *with) {
    for (int i = 0; i < MASK_WORDS; i++) {
        mask->bits[i] &= with->bits[i];
    }
}

/* Digits only, at most six: no sign, no overflow. */
static bool take_number(const char **at, const char *end, int *out) {
    int digits = 0;
    *out = 0;
    while (*at < end && **at >= '0' && **at <= '9' && digits++ < 6) {
        *out = *out * 10 + (*(*at)++ - '0');
    }
    return digits > 0 && digits <= 6;
}

static bool is_separator(char c) {
    return c == ',' || c == ' ' || c == '\n' || c == '\t';
}

/* N, N-M or N-M:S. */
static bool take_range(const char **at, const char *end, int *first, int *last, int *step) {
    *step = 1;
    if (!take_number(at, end, first)) {
        return false;
    }
    *last = *first;
    if (*at < end && **at == '-') {
        ++*at;
        if (!take_number(at, end, last)) {
            return false;
        }
        if (*at < end && **at == ':') {
            ++*at;
            if (!take_number(at, end, step)) {
                return false;
            }
        }
    }
    return *last >= *first && *step > 0 && *last < TD_MAX_PUS && (*at == end || is_separator(**at));
}

td_status td_cpu_list_parse(const char *text, size_t length, int most, int *cpu, int *count) {
    const char *at = text, *end = text + length;
    int n = 0;
    while (at < end) {
        if (is_separator(*at)) {
            at++;
            continue;
        }
        int first, last, step;
        if (!take_range(&at, end, &first, &last, &step)) {
            return td_fail(TD_EUSAGE,
                           "CPU list \"%.*s\"; expected numbers below %d and ranges, as in "
                           "0-3,8-11:2",
                           (int)length, text, TD_MAX_PUS);
        }
        for (int i = first; i <= last; i += step) {
            if (n == most) {
                return td_fail(TD_EUSAGE, "CPU list \"%.*s\" has more than %d CPUs", (int)length,
                               text, most);
            }
            cpu[n++] = i;
        }
    }
    *count = n;
    return TD_OK;
}

td_status td_cpu_mask_parse(const char *text, td_cpu_mask *out) {
    int cpu[TD_MAX_PUS], count;
    TD_TRY(td_cpu_list_parse(text, strlen(text), TD_MAX_PUS, cpu, &count));
    td_cpu_mask mask = {0};
    for (int i = 0; i < count; i++) {
        td_cpu_mask_add(&mask, cpu[i]);
    }
    *out = mask;
    return TD_OK;
}

int td_cpu_list_print(const int *cpu, int count, char *text, size_t bytes) {
    int used = 0;
    if (bytes > 0) {
        text[0] = '\0';
    }
    for (int i = 0; i < count;) {
        int last = i;
        while (last + 1 < count && cpu[last + 1] == cpu[last] + 1) {
            last++;
        }
        /* Two neighbours are no shorter as a range. */
        last = last == i + 1 ? i : last;
        char *at = (size_t)used < bytes ? text + used : NULL;
        size_t room = at ? bytes - (size_t)used : 0;
        used += last > i ? snprintf(at, room, "%s%d-%d", i ? "," : "", cpu[i], cpu[last])
                         : snprintf(at, room, "%s%d", i ? "," : "", cpu[i]);
        i = last + 1;
    }
    return used;
}

int td_cpu_mask_print(const td_cpu_mask *mask, char *text, size_t bytes) {
    int cpu[TD_MAX_PUS], count = 0;
    for (int i = 0; i < TD_MAX_PUS; i++) {
        if (td_cpu_mask_has(mask, i)) {
            cpu[count++] = i;
        }
    }
    return td_cpu_list_print(cpu, count, text, bytes);
}

int td_cpu_mask_print_hex(const td_cpu_mask *mask, char *text, size_t bytes) {
    int top = MASK_WORDS - 1;
    while (top > 0 && mask->bits[top] == 0) {
        top--;
    }
    int used = snprintf(text, bytes, "0x%lx", mask->bits[top]);
    while (top-- > 0) {
        char *at = (size_t)used < bytes ? text + used : NULL;
        used += snprintf(at, at ? bytes - (size_t)used : 0, "%016lx", mask->bits[top]);
    }
    return used;
}
