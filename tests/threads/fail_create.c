/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/threads/fail_create.h"

#include <errno.h>
#include <pthread.h>

static int creates_left = -1;

/* The linker gives these names; the first is the C library's function. */
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *arg) {
    if (creates_left == 0) {
        return EAGAIN;
    }
    creates_left -= creates_left > 0;
    return __real_pthread_create(thread, attributes, start, arg);
}

void td_test_allow_threads(int allowed) {
    creates_left = allowed;
}
