/* SPDX-License-Identifier: Apache-2.0
 * Failures that TensorFlow has a class for. The status is TD_EINPUT as for every bad input; the
 * class says which exception TensorFlow raises on the same input, so results can be compared.
 */
#ifndef TD_DATA_TF_ERROR_H
#define TD_DATA_TF_ERROR_H

#include "base/status.h"

/*      name                          Python exception           canonical status, or NULL */
#define TD_TF_CLASS_MAP(X)                                                                         \
    X(TD_TF_OK, "", "")                                                                            \
    X(TD_TF_INVALID_ARGUMENT, "InvalidArgumentError", "INVALID_ARGUMENT")                          \
    X(TD_TF_DATA_LOSS, "DataLossError", "DATA_LOSS")                                               \
    X(TD_TF_OUT_OF_RANGE, "OutOfRangeError", "OUT_OF_RANGE")                                       \
    X(TD_TF_NOT_FOUND, "NotFoundError", "NOT_FOUND")                                               \
    X(TD_TF_FAILED_PRECONDITION, "FailedPreconditionError", "FAILED_PRECONDITION")                 \
    X(TD_TF_UNIMPLEMENTED, "UnimplementedError", "UNIMPLEMENTED")                                  \
    X(TD_TF_RESOURCE_EXHAUSTED, "ResourceExhaustedError", "RESOURCE_EXHAUSTED")                    \
    X(TD_TF_VALUE, "ValueError", NULL)                                                             \
    X(TD_TF_TYPE, "TypeError", NULL)                                                               \
    X(TD_TF_INDEX, "IndexError", NULL)

typedef enum td_tf_class {
#define TD_TF_CLASS_ENUM(name, exception, status) name,
    TD_TF_CLASS_MAP(TD_TF_CLASS_ENUM)
#undef TD_TF_CLASS_ENUM
        TD_TF_CLASS_COUNT
} td_tf_class;

/* As td_fail(TD_EINPUT, ...), and remembers the class for the calling thread. */
td_status td_tf_fail(td_tf_class class, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same when memory ran out: TD_ENOMEM. */
td_status td_tf_no_memory(const char *what);

/* The class of the calling thread's last td_tf_fail. */
td_tf_class td_tf_last(void);
/* Sets it again on another thread than the one that failed, message and all. */
td_status td_tf_refail(td_tf_class class, const char *message);

const char *td_tf_exception(td_tf_class class);
const char *td_tf_status(td_tf_class class); /* NULL for plain Python exceptions */

#endif
