/* SPDX-License-Identifier: Apache-2.0
 * Thread pools of other libraries, loaded at run time when they are installed, to stand beside a
 * team in the same measurement.
 */
#ifndef TD_THREADS_POOL_PEER_H
#define TD_THREADS_POOL_PEER_H

#include <stdbool.h>

#include "base/status.h"

/* One part of a region; 0 <= part < workers. */
typedef void td_pool_body_fn(void *arg, int part);

typedef struct td_pool_peer {
    const char *name, *library;
    enum { TD_POOL_OPENMP, TD_POOL_PTHREADPOOL, TD_POOL_TBB } kind;
    bool open_join; /* a worker that comes late may be left out */
} td_pool_peer;

/* libgomp, libomp, pthreadpool, oneTBB (through tbb_shim.cc, where its headers were installed) */
const td_pool_peer *td_pool_peers(int *count);

/* Loads the library; TD_ESKIP when it is not installed. Once a process and peer. */
td_status td_pool_peer_load(const td_pool_peer *peer);

/* Runs body once for each part, on at most `workers` threads, and returns when all have. */
void td_pool_peer_run(const td_pool_peer *peer, int workers, td_pool_body_fn *body, void *arg);

#endif
