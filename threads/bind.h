/* SPDX-License-Identifier: Apache-2.0
 * Binding the calling thread to CPUs, and reading back what the system made of the request: a
 * binding that was not read back is not a binding (a synthetic topology accepts every request and
 * does nothing).
 */
#ifndef TD_THREADS_BIND_H
#define TD_THREADS_BIND_H

#include <sys/types.h>

#include "threads/cpu_list.h"

/* The mask of the calling thread, or of another by its id; empty when the system does not tell. */
void td_bind_get(td_cpu_mask *out);
void td_bind_get_of(pid_t tid, td_cpu_mask *out);

/* Returns 0, or the errno of the refusal. An empty mask changes nothing. */
int td_bind_set(const td_cpu_mask *mask);

/* Binds the calling thread to one PU and reads the mask back. Returns 0 when the thread now runs on
 * that PU and no other, else the errno of the refusal; EXDEV when the call succeeded but the mask
 * or the CPU is a different one. */
int td_bind_pu(int pu);

/* Binds the calling thread to the union of the PUs: where its helpers may run. Returns as
 * td_bind_set. */
int td_bind_pus(const int *pu, int count);

#endif
