/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/procfs.h"

enum { BYTES = 64 << 20 };

typedef struct room {
    td_event order, done;
    int64_t data_kib, tables_kib;
    int parent, pid;
} room;

static void note(room *r) {
    r->data_kib = td_proc_number("/proc/self/status", "RssAnon");
    r->tables_kib = td_proc_number("/proc/self/status", "VmPTE");
    r->parent = getppid();
    r->pid = getpid();
}

static void be_rank(td_lab *lab, void *arg) {
    (void)lab;
    note(arg);
}

static void be_zygote(td_lab *lab, void *arg) {
    room *r = arg;
    td_event_wait(&r->order, 1, &lab->shared_rule, 0, NULL);
    td_lab_wait(lab, td_lab_fork(lab, be_rank, r));
    td_event_advance(&r->done, &lab->shared_rule);
}

static void load_data(td_lab *lab) {
    unsigned char *data =
        mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    td_lab_must(lab, data != MAP_FAILED, "memory");
    madvise(data, BYTES, MADV_NOHUGEPAGE);
    memset(data, 1, BYTES);
}

void td_concept_zygote(td_lab *lab) {
    room *r = td_lab_shared(lab, 2 * sizeof *r);
    if (lab->mutant) {
        load_data(lab);
    }
    pid_t zygote = td_lab_fork(lab, be_zygote, &r[0]);
    if (!lab->mutant) {
        load_data(lab);
    }
    td_lab_wait(lab, td_lab_fork(lab, be_rank, &r[1]));
    int64_t start = td_now_ns();
    td_event_advance(&r->order, &lab->shared_rule);
    td_event_wait(&r->done, 1, &lab->shared_rule, 0, NULL);
    td_lab_sample(lab, (double)(td_now_ns() - start));
    td_lab_sampled(lab, "a child by way of the zygote");
    td_lab_wait(lab, zygote);
    td_lab_check(lab, r[1].data_kib >= BYTES / 1024,
                 "a child forked by the process with %d MiB of data has %lld KiB", BYTES >> 20,
                 (long long)r[1].data_kib);
    td_lab_check(lab, r[0].data_kib < BYTES / 1024 / 4,
                 "one forked by the zygote has %lld KiB", (long long)r[0].data_kib);
    td_lab_check(lab, r[1].tables_kib - r[0].tables_kib >= BYTES / 4096 * 8 / 1024,
                 "page tables: %lld KiB against %lld KiB", (long long)r[1].tables_kib,
                 (long long)r[0].tables_kib);
    td_lab_check(lab, r[0].parent == zygote && r[0].pid != zygote,
                 "it was created on request: a new process, child of the zygote");
}
