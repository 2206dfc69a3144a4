/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *be_nice(void *arg) {
    td_lab *lab = arg;
    id_t who = (id_t)(lab->mutant ? getpid() : syscall(SYS_gettid));
    td_lab_must(lab, setpriority(PRIO_PROCESS, who, 7) == 0, "setpriority");
    int own = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
    td_lab_check(lab, own == 7, "the thread that asked has nice value %d", own);
    return NULL;
}

void td_concept_nice_value(td_lab *lab) {
    int before = getpriority(PRIO_PROCESS, 0);
    if (before >= 7) {
        td_lab_skip(lab, "the nice value is %d already", before);
    }
    pthread_join(td_lab_thread(lab, be_nice, lab), NULL);
    int after = getpriority(PRIO_PROCESS, (id_t)getpid());
    td_lab_check(lab, after == before, "the first thread keeps %d: it has %d", before, after);
}
