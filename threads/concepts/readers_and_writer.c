/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <string.h>

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

typedef struct reader {
    td_lab *lab;
    _Atomic int *inside;
    int error;
} reader;

static int read_lock(const td_lab *lab) {
    return lab->mutant ? pthread_rwlock_trywrlock(&lock) : pthread_rwlock_tryrdlock(&lock);
}

static void *read_beside(void *arg) {
    reader *r = arg;
    r->error = read_lock(r->lab);
    if (r->error == 0) {
        atomic_fetch_add(r->inside, 1);
        pthread_rwlock_unlock(&lock);
    }
    return NULL;
}

static void *try_write(void *arg) {
    reader *r = arg;
    r->error = pthread_rwlock_trywrlock(&lock);
    return NULL;
}

void td_concept_readers_and_writer(td_lab *lab) {
    _Atomic int inside = 0;
    reader r = {.lab = lab, .inside = &inside};
    td_lab_must(lab, read_lock(lab) == 0, "the first reader");
    pthread_join(td_lab_thread(lab, read_beside, &r), NULL);
    td_lab_check(lab, r.error == 0 && inside == 1, "a second reader beside the first is %s",
                 r.error == 0 ? "let in" : strerror(r.error));
    pthread_join(td_lab_thread(lab, try_write, &r), NULL);
    td_lab_check(lab, r.error == EBUSY, "a writer beside a reader is %s",
                 r.error == EBUSY ? "kept out" : "let in");
    pthread_rwlock_unlock(&lock);
    td_lab_must(lab, pthread_rwlock_wrlock(&lock) == 0, "a writer alone");
    pthread_join(td_lab_thread(lab, read_beside, &r), NULL);
    td_lab_check(lab, r.error == EBUSY, "a reader beside a writer is %s",
                 r.error == EBUSY ? "kept out" : "let in");
}
