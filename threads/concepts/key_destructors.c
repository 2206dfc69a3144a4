/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <limits.h>

static pthread_key_t key;
static int calls;
static bool set_again;

static void destroy(void *value) {
    calls++;
    if (set_again) {
        pthread_setspecific(key, value);
    }
}

static void *use_key(void *arg) {
    pthread_setspecific(key, arg);
    return NULL;
}

void td_concept_key_destructors(td_lab *lab) {
    td_lab_must(lab, pthread_key_create(&key, destroy) == 0, "a key");
    set_again = false;
    pthread_join(td_lab_thread(lab, use_key, &calls), NULL);
    td_lab_check(lab, calls == 1, "the destructor of a thread's value ran %d time", calls);
    calls = 0;
    set_again = !lab->mutant;
    pthread_join(td_lab_thread(lab, use_key, &calls), NULL);
    td_lab_check(lab, calls == PTHREAD_DESTRUCTOR_ITERATIONS,
                 "one that sets the value again ran %d times, and then no more", calls);
    td_lab_check(lab, pthread_getspecific(key) == NULL, "the first thread never had a value");
}
