/* SPDX-License-Identifier: Apache-2.0
 * Other libraries' kernels, measured beside ours: loaded at run time when installed, never linked
 * and never needed. A library is a row of the table in provider.c.
 */
#ifndef TD_KERNELS_PROVIDER_H
#define TD_KERNELS_PROVIDER_H

#include <stdbool.h>

#include "base/cpu.h"
#include "base/status.h"
#include "kernels/args.h"

typedef struct td_provider {
    const char *name, *version, *core; /* core: the kernel family the library chose for this CPU */
} td_provider;

/* The names of the table, in order; NULL ends it. */
const char *const *td_provider_names(void);

/* Loads a library once per process and asks it for its best kernels of at most level `isa`, over
 * what the environment says. One thread until told otherwise. Call before workers run.
 * TD_ESKIP says why it is not available, TD_EUSAGE that the name is unknown. */
td_status td_provider_open(const char *name, td_isa isa, const td_provider **out);

/* Call from the thread that will multiply: OpenMP keeps the number per thread. */
void td_provider_set_threads(const td_provider *provider, int threads);

/* Whether the library can do this GEMM: no epilogue, one k block, dimensions that fit its int. */
bool td_provider_gemm_fits(const td_gemm_f32_args *args);

/* C = A B (+ C), all of it, on the library's threads. The order of its sums is its own. False: C is
 * not computed, because the library leaves this shape to another (libxsmm does with small ones). */
bool td_provider_gemm_f32(const td_provider *provider, const td_gemm_f32_args *args);

/* Whether the library multiplies bf16 into f32; and C = A B (+ C) of a_bf16 and b_bf16. False: it
 * reports an error or cannot (libxsmm an odd k), and C is not computed. */
bool td_provider_has_bf16(const td_provider *provider);
bool td_provider_gemm_bf16(const td_provider *provider, const td_gemm_bf16_args *args);

#endif
