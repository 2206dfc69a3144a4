/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/bind.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

void td_bind_get_of(pid_t tid, td_cpu_mask *out) {
    memset(out, 0, sizeof *out);
    if (sched_getaffinity(tid, sizeof *out, (cpu_set_t *)out) != 0) {
        memset(out, 0, sizeof *out);
    }
}

void td_bind_get(td_cpu_mask *out) {
    td_bind_get_of(0, out);
}

int td_bind_set(const td_cpu_mask *mask) {
    if (td_cpu_mask_empty(mask)) {
        return 0;
    }
    return sched_setaffinity(0, sizeof *mask, (const cpu_set_t *)mask) == 0 ? 0 : errno;
}

int td_bind_pu(int pu) {
    td_cpu_mask wanted = {0}, seen;
    if (!td_cpu_mask_add(&wanted, pu)) {
        return EINVAL;
    }
    int error = td_bind_set(&wanted);
    if (error != 0) {
        return error;
    }
    td_bind_get(&seen);
    return memcmp(&wanted, &seen, sizeof wanted) == 0 && sched_getcpu() == pu ? 0 : EXDEV;
}

int td_bind_pus(const int *pu, int count) {
    td_cpu_mask wanted = {0};
    for (int i = 0; i < count; i++) {
        if (!td_cpu_mask_add(&wanted, pu[i])) {
            return EINVAL;
        }
    }
    return td_bind_set(&wanted);
}
