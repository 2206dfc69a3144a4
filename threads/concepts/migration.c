/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <sched.h>

#include "base/clock.h"
#include "threads/bind.h"

enum { MOVES = 20 };

void td_concept_migration(td_lab *lab) {
    int arrived = 0;
    double ns[MOVES];
    for (int i = 0; i < MOVES; i++) {
        int to = lab->cpu[i % 2];
        int64_t start = td_now_ns();
        /* The mutant allows both CPUs, so nothing has to move. */
        int error = lab->mutant ? td_bind_pus(lab->cpu, 2) : td_bind_pus(&to, 1);
        ns[i] = (double)(td_now_ns() - start);
        td_lab_may_bind(lab, error);
        td_lab_must(lab, error == 0, "set the affinity");
        arrived += sched_getcpu() == to;
        td_lab_sample(lab, ns[i]);
    }
    td_lab_sampled(lab, "moving to another CPU");
    td_lab_check(lab, arrived == MOVES, "after %d of %d moves the thread was where it was sent",
                 arrived, MOVES);
    cpu_set_t none;
    CPU_ZERO(&none);
    td_lab_check(lab, sched_setaffinity(0, sizeof none, &none) != 0 && errno == EINVAL,
                 "a mask without a CPU is refused");
    td_cpu_mask mask;
    td_bind_get(&mask);
    int allowed = 0;
    for (int i = 0; i < TD_MAX_PUS; i++) {
        allowed += (int)(mask.bits[i / 64] >> i % 64 & 1);
    }
    td_lab_check(lab, allowed == 1, "and leaves the old mask of %d CPU", allowed);
}
