/* SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local char message[1024];

static const struct {
    const char *name, *text;
    int exit_code;
} rows[TD_STATUS_COUNT] = {
#define TD_STATUS_ROW(name, exit, text) [name] = {#name, text, exit},
    TD_STATUS_MAP(TD_STATUS_ROW)
#undef TD_STATUS_ROW
};

td_status td_fail(td_status code, const char *format, ...) {
    /* Formatted aside first: an argument may be td_error() itself. */
    char fresh[sizeof message];
    va_list args;
    va_start(args, format);
    vsnprintf(fresh, sizeof fresh, format, args);
    va_end(args);
    for (size_t i = 0; i < sizeof fresh; i++) {
        message[i] = fresh[i];
        if (fresh[i] == '\0') {
            break;
        }
    }
    return code;
}

const char *td_error(void) {
    return message;
}

static int row_of(td_status code) {
    TD_ASSERT((int)code >= 0 && code < TD_STATUS_COUNT);
    return (int)code;
}

const char *td_status_name(td_status code) {
    return rows[row_of(code)].name;
}
const char *td_status_text(td_status code) {
    return rows[row_of(code)].text;
}
int td_exit_code(td_status code) {
    return rows[row_of(code)].exit_code;
}

void td_assert_failed(const char *file, int line, const char *condition) {
    fprintf(stderr, "tandem: %s:%d: broken invariant: %s\n", file, line, condition);
    abort();
}
