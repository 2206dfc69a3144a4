/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <sys/resource.h>

#include "threads/procfs.h"

enum { MOST = 400, STACK_BYTES = 1 << 20, ROOM = 64 << 20 };

static _Atomic int go, arrived;

static void *stay(void *arg) {
    atomic_fetch_add(&arrived, 1);
    td_lab_await(&go, 1);
    return arg;
}

void td_concept_creation_limit(td_lab *lab) {
    static pthread_t threads[MOST];
    static char marks[MOST];
    int64_t used = td_proc_number("/proc/self/status", "VmSize") * 1024;
    struct rlimit limit = {.rlim_cur = (rlim_t)used + ROOM, .rlim_max = RLIM_INFINITY};
    td_lab_must(lab, setrlimit(RLIMIT_AS, &limit) == 0, "limit the address space");
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (lab->mutant) {
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    }
    int count = 0, error = 0, joined = 0;
    while (count < MOST &&
           (error = pthread_create(&threads[count], &attributes, stay, &marks[count])) == 0) {
        count++;
    }
    td_lab_check(lab, error == EAGAIN, "thread %d of 1 MiB in 64 MiB of room: %s", count + 1,
                 error == EAGAIN ? "EAGAIN" : "another answer");
    td_lab_check(lab, count >= 16 && count < 64, "%d were created before", count);
    td_lab_must(lab, td_lab_await(&arrived, count), "run the threads");
    atomic_store(&go, 1);
    for (int i = 0; i < count && !lab->mutant; i++) {
        void *result = NULL;
        joined += pthread_join(threads[i], &result) == 0 && result == &marks[i];
    }
    td_lab_check(lab, joined == count, "%d of them ran and were joined", joined);
}
