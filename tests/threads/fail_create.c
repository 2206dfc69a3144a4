/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/threads/fail_create.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

static int creates_left = -1;
static _Atomic int unjoined;

/* The linker gives these names; __real_ ones are the C library's functions. */
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
    int error = __real_pthread_create(thread, attributes, start, arg);
    unjoined += error == 0;
    return error;
}

int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);

int __wrap_pthread_join(pthread_t thread, void **result) {
    unjoined--;
    return __real_pthread_join(thread, result);
}

int td_test_unjoined_threads(void) {
    return unjoined;
}
void td_test_allow_threads(int allowed) {
    creates_left = allowed;
}
