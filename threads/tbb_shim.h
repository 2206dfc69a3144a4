/* SPDX-License-Identifier: Apache-2.0
 * The one entry of the module that is built where oneTBB's headers are installed, and loaded at run
 * time. oneTBB has templates only, which no C program can call.
 */
#ifndef TD_THREADS_TBB_SHIM_H
#define TD_THREADS_TBB_SHIM_H

#ifdef __cplusplus
extern "C" {
#endif

typedef void td_pool_tbb_fn(int workers, void (*body)(void *arg, int part), void *arg);

/* Runs body once for each part on an arena of `workers` threads. */
td_pool_tbb_fn td_pool_tbb;

#ifdef __cplusplus
}
#endif

#endif
