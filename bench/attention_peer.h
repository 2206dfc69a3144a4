/* SPDX-License-Identifier: Apache-2.0
 * What attention is timed beside: its peak of arithmetic, and, forward, the same composed of a
 * library's products and our vectorised softmax, one head after the other by every worker.
 */
#ifndef TD_BENCH_ATTENTION_PEER_H
#define TD_BENCH_ATTENTION_PEER_H

#include "bench/case.h"
#include "kernels/kernel.h"

typedef struct td_attention_peer td_attention_peer; /* opaque */

/* Adds the companions to a case. forward: what is to be composed, or NULL; its buffers must live as
 * long. Raises the workers' scratch where the composition needs more. */
td_status td_attention_peer_create(td_bench *bench, const td_kernel *row, double flops,
                                   const td_attention_f32_args *forward, td_attention_peer **out);
void td_attention_peer_destroy(td_attention_peer *peer);

/* Runs every library once, and sets aside those whose output is not within rounding of forward's,
 * which is there and proved. */
td_status td_attention_peer_verify(td_bench *bench, td_attention_peer *peer);

/* The workload's beside. */
double td_attention_peer_time(td_bench *bench, td_attention_peer *peer, int companion,
                              int64_t repeat);

/* share_beside: of the peak of the row's arithmetic; times_best: how many times faster than the
 * fastest composition. */
void td_attention_peer_finish(td_bench *bench, const td_attention_peer *peer);

#endif
