/* SPDX-License-Identifier: Apache-2.0
 * Ceilings: the most this machine does now, with a given number of workers, of f32 FMA, of bf16
 * dot products and of moving memory. Every figure of a run stands beside one measured in the same
 * run.
 */
#ifndef TD_BENCH_CEILING_H
#define TD_BENCH_CEILING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cpu.h"
#include "base/status.h"
#include "bench/peak.h"
#include "models/config.h"

/* The kinds of ceiling, and of bandwidth the mixes of loads and stores, because memory serves them
 * at different rates: ADD is to += from, as optimizers do; SWAP exchanges two buffers, as many
 * stores as loads and none of a line that was not read, as an allreduce in place does.
 *    kind           name       what it does  how it is checked                    bytes moved for
 *                                                                  a byte of a buffer, buffers */
/* clang-format off */
#define TD_PEAK_MAP(X)                                                                         \
    X(TD_PEAK_FMA,  "fma_f32", "FMA peak", "clock x ports within 3 %",               0, 0)     \
    X(TD_PEAK_DOT,  "dot_bf16", "bf16 dot peak", "clock x ports within 3 %",         0, 0)     \
    X(TD_PEAK_AMX,  "dot_bf16_amx", "bf16 tile peak", "clock x ports within 3 %",    0, 0)     \
    X(TD_PEAK_READ, "read",    "reading",  "exclusive or of all words",              1, 1)     \
    X(TD_PEAK_COPY, "copy",    "copying",  "memcmp of the copy",                     2, 2)     \
    X(TD_PEAK_ADD,  "add",     "adding",   "every word is the multiple it must be",  3, 2)     \
    X(TD_PEAK_SWAP, "swap",    "swapping", "every word is where it must be",         4, 2)
/* clang-format on */

typedef enum td_peak_kind {
#define TD_PEAK_ENUM(kind, name, doing, method, traffic, buffers) kind,
    TD_PEAK_MAP(TD_PEAK_ENUM)
#undef TD_PEAK_ENUM
        TD_PEAK_COUNT
} td_peak_kind;

typedef struct td_peak_row {
    const char *name, *doing, *method;
    int traffic, buffers;
} td_peak_row;
const td_peak_row *td_peak_row_of(td_peak_kind kind);

/* Kinds before TD_PEAK_READ compute, the others move memory. */
static inline bool td_peak_computes(td_peak_kind kind) {
    return kind < TD_PEAK_READ;
}

enum { TD_PEAK_SAMPLES = 24 };

/* One ceiling. value is of the fastest sample: noise only ever takes away. */
typedef struct td_peak {
    td_peak_kind kind;
    td_isa isa; /* of arithmetic: the loop's; else the width of loads and stores */
    int workers;
    bool shared;   /* workers share CPUs, so that what one waits for others is its time too */
    int64_t bytes; /* of all buffers of all workers together; 0 for arithmetic */
    double value;  /* GFLOP/s or GB/s (every byte read and every byte written counts) */
    double work;   /* FLOP or bytes of one sample */
    double samples_ns[TD_PEAK_SAMPLES];
    int n, discarded; /* samples, and those that were disturbed */
    double clock_ghz; /* arithmetic: of the same core, from a chain of additions */
    double per_cycle; /* arithmetic: FLOP of one worker */
    int tries;        /* measurements so far */
    bool ok;          /* not: the loop gave a wrong result */
    bool disturbed;   /* the value may be too low: something else had a part of the machine */
    char method[64], reason[160];
} td_peak;

/* The peak of arithmetic for code of an ISA: that of bf16 products without their instruction is
 * f32 FMAs. */
td_peak_kind td_peak_of_code(td_isa isa, td_precision precision);

/* The loop of a kind that computes; isa: of FMAs. And so many iterations of it; false when a lane
 * of the result is wrong. */
const td_peak_loop *td_peak_loop_of(td_peak_kind kind, td_isa isa);
bool td_peak_compute(td_peak_kind kind, td_isa isa, int64_t iterations);

/* Measures, or gives what an earlier call of this process measured. workers beyond the usable PUs
 * share them. remeasure: again, keeping the better of both; one that was disturbed is measured
 * again the next times it is asked for, whatever the caller wants, because what disturbed it may be
 * over. The result stays valid until exit. */
td_status td_ceiling_get(td_peak_kind kind, td_isa isa, int workers, int64_t bytes, bool remeasure,
                         const td_peak **out);

/* Bytes that no cache of this machine holds, for the bandwidth of memory itself. */
int64_t td_ceiling_memory_bytes(void);

/* The bandwidth of the fastest of the mixes over a working set: no kernel that
 * touches as much with this many workers can be faster. Sizes are rounded down to a power of four
 * times 16 KiB for each worker, where memory is faster, so that the roof stays a roof. */
td_status td_ceiling_bandwidth(int workers, double working_set, bool remeasure,
                               const td_peak **out);

/* GFLOP/s of arithmetic on the active ISA, of bf16 products that of the row in use; below 0.3 s,
 * then remembered. 0 when it cannot be measured. */
double td_ceiling_gflops(td_precision precision, int workers);

#endif
