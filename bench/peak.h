/* SPDX-License-Identifier: Apache-2.0
 * What one core can do at most, as loops in assembly that no compiler can improve or spoil: FMA on
 * registers, reading and copying memory, and a chain of dependent additions, which is the clock.
 */
#ifndef TD_BENCH_PEAK_H
#define TD_BENCH_PEAK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cpu.h"

/* Floating-point operations of one iteration, and how many a core may do in one cycle: the rates of
 * cores with 1, 2 and more pipes, or with one that starts an operation every other cycle. */
typedef struct td_peak_loop {
    td_isa isa;
    int64_t flops;       /* of one iteration */
    double per_cycle[4]; /* plausible rates, 0 ends the list */
    bool mixed; /* two kinds of operation share the pipes: any rate up to the last one is plausible
                 */
    const char *doc;
} td_peak_loop;

/* The row of an ISA; levels above AVX-512 use its f32 loop. */
const td_peak_loop *td_peak_loop_find(td_isa isa);

/* The bf16 dot product of pairs, on CPUs that have TD_ISA_AVX512_BF16. */
const td_peak_loop *td_peak_loop_dot(void);

/* The same on tiles, on CPUs that have TD_ISA_AMX_BF16. */
const td_peak_loop *td_peak_loop_tiles(void);

/* Whether a measured rate is within 3 % of one that a core may have. */
bool td_peak_rate_fits(const td_peak_loop *loop, double per_cycle);

/* Of a worker that ran a chain of additions, then n times a slice of a loop and the chain again:
 * the ticks of its fastest slice among those whose chains before and behind it agree within 3 %,
 * and of the chain beside it. It may have lost its CPU, or another thread of the core have had some
 * of its pipes, in all the others. False: less than half of the slices do, and these are of all. */
bool td_peak_fastest_slice(const double *loop_ticks, const double *chain_ticks, int n, double *loop,
                           double *chain);

/* Runs the loop. The registers hold a fixed point of the operation, so the result is known: false
 * when a lane of the result is not it. */
bool td_peak_fma(td_isa isa, int64_t iterations);
bool td_peak_dot(int64_t iterations);
bool td_peak_tiles(int64_t iterations);

/* 1,024 dependent additions an iteration: one a cycle on every core this runs on. */
enum { TD_PEAK_ADDS = 1024 };
uint64_t td_peak_adds(int64_t iterations);

/* The exclusive or of all 64-bit words of bytes (a multiple of 512, 64-byte aligned). */
uint64_t td_peak_read(td_isa isa, const void *data, int64_t bytes);

/* Copies bytes (as above). streaming: with stores that do not fetch the line they overwrite. */
void td_peak_copy(td_isa isa, void *to, const void *from, int64_t bytes, bool streaming);

/* to += from, as 64-bit words: two loads and one store for each, more than a copy can move where
 * loads and stores have pipes of their own. */
void td_peak_add(td_isa isa, void *to, const void *from, int64_t bytes);

/* Exchanges to and from: as many stores as loads, and every line that is written was read. */
void td_peak_swap(td_isa isa, void *to, void *from, int64_t bytes);

#endif
