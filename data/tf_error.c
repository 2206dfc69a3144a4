/* SPDX-License-Identifier: Apache-2.0 */
#include "data/tf_error.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local td_tf_class last_class;

td_status td_tf_fail(td_tf_class class, const char *format, ...) {
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return td_tf_refail(class, message);
}

td_status td_tf_refail(td_tf_class class, const char *message) {
    last_class = class;
    td_status status = class == TD_TF_RESOURCE_EXHAUSTED ? TD_ENOMEM : TD_EINPUT;
    td_fail(status, "%s", message);
    return status;
}

td_status td_tf_no_memory(const char *what) {
    return td_tf_fail(TD_TF_RESOURCE_EXHAUSTED, "no memory for %s", what);
}

td_tf_class td_tf_last(void) {
    return last_class;
}

const char *td_tf_exception(td_tf_class class) {
    static const char *const names[TD_TF_CLASS_COUNT] = {
#define NAME(name, exception, status) [name] = exception,
        TD_TF_CLASS_MAP(NAME)
#undef NAME
    };
    return names[class];
}

const char *td_tf_status(td_tf_class class) {
    static const char *const names[TD_TF_CLASS_COUNT] = {
#define NAME(name, exception, status) [name] = status,
        TD_TF_CLASS_MAP(NAME)
#undef NAME
    };
    return names[class];
}
