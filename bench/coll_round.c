/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/coll_round.h"

#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "threads/wait.h"

/* From the last rank's arrival to the start: all have seen the barrier fall by then, or been woken.
 */
static const double LEAD_NS = 2000, LEAD_WOKEN_NS = 100000;
enum { POLLS = 256, YIELDS = 4, LOOK_NS = 100000000, LINE = 64, PAGE = 4096 };

#define TD_COLL_NAME(id, name) #name,
const char *td_coll_mode_name(td_coll_mode mode) {
    static const char *const names[] = {TD_COLL_MODE_MAP(TD_COLL_NAME)};
    return names[mode];
}

const char *td_coll_state_name(td_coll_state state) {
    static const char *const names[] = {TD_COLL_STATE_MAP(TD_COLL_NAME)};
    return names[state];
}
#undef TD_COLL_NAME

int64_t td_coll_stride(int64_t bytes) {
    /* An odd number of lines beyond whole pages: buffers of a power of two would fall on the same
     * sets of a cache. */
    return (bytes + PAGE - 1) / PAGE * PAGE + LINE;
}

int64_t td_coll_copies(td_coll_state state, int64_t bytes) {
    int64_t fit = TD_COLL_ROTATED_BYTES / td_coll_stride(bytes);
    if (state != TD_COLL_ROTATING) {
        return 1;
    }
    return fit < 2 ? 2 : fit > TD_COLL_ROTATED ? TD_COLL_ROTATED : fit;
}

void td_coll_write(unsigned char *to, int rank, int64_t first, int64_t n, int64_t element_bytes) {
    enum { PERIOD = 31, TIMES = 32 };
    unsigned char pattern[PERIOD * TIMES * 4];
    int64_t block = PERIOD * TIMES;
    for (int64_t i = 0; i < block; i++) {
        float value = (float)td_coll_value(rank, first + i);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        uint16_t upper = (uint16_t)(bits >> 16);
        if (element_bytes == 4) {
            memcpy(pattern + i * 4, &bits, 4);
        } else {
            memcpy(pattern + i * 2, &upper, 2);
        }
    }
    for (int64_t i = 0; i < n; i += block) {
        int64_t some = n - i < block ? n - i : block;
        memcpy(to + (first + i) * element_bytes, pattern, (size_t)(some * element_bytes));
    }
}

static void flush(const unsigned char *base, int64_t first, int64_t last) {
    for (int64_t at = first / LINE * LINE; at < last; at += LINE) {
        _mm_clflush(base + at);
    }
    _mm_mfence();
}

/* A worker's share of the buffers of the next call. */
static void prepare(const td_coll_round *round, unsigned char *in, unsigned char *out, int worker) {
    int64_t n = round->bytes / round->element_bytes;
    int64_t first = n * worker / round->workers, last = n * (worker + 1) / round->workers;
    if (round->state == TD_COLL_WRITTEN) {
        td_coll_write(in, round->rank, first, last - first, round->element_bytes);
    } else if (round->state == TD_COLL_FLUSHED) {
        flush(in, first * round->element_bytes, last * round->element_bytes);
        if (out != in) {
            flush(out, first * round->element_bytes, last * round->element_bytes);
        }
    }
}

/* A poll in vain; false: given up. Ranks that share CPUs sleep when a few turns have not helped:
 * one that yields may get its CPU back at once, for a millisecond, from a scheduler that owes it
 * time, while the rank that shall come next waits. They do not ask whether to give up before: an
 * MPI library's ranks make a system call for it, in the time of a rank that waits for the CPU. */
static bool wait_for_passing(const td_coll_round *round, td_coll_board *board, uint32_t phase,
                             int64_t polls, int *turns) {
    bool sleeps = round->shares_cpus && polls > YIELDS;
    if ((sleeps || polls % POLLS == 0) && round->given_up(round->arg)) {
        return false;
    }
    if (sleeps) {
        struct timespec look = {.tv_nsec = LOOK_NS};
        /* Not FUTEX_PRIVATE_FLAG: ranks are processes. */
        syscall(SYS_futex, &board->passed, FUTEX_WAIT, phase, &look, NULL, 0);
    } else if (round->shares_cpus || polls % POLLS == 0) {
        td_wait_turn(turns);
    } else {
        _mm_pause();
    }
    return true;
}

/* All ranks are here. Returns the agreed start; 0: given up. */
static uint64_t meet_ranks(const td_coll_round *round, td_coll_board *board) {
    if (round->meet_ranks != NULL) {
        return round->meet_ranks(round->arg);
    }
    uint32_t phase = atomic_load_explicit(&board->passed, memory_order_relaxed);
    /* acq_rel and release, acquire: what ranks wrote before is visible to all after. */
    uint32_t before = atomic_fetch_add_explicit(&board->arrived, 1, memory_order_acq_rel);
    if (before + 1 == (uint32_t)round->ranks) {
        double lead = (round->shares_cpus ? LEAD_WOKEN_NS : LEAD_NS) * round->ticks_per_ns;
        atomic_store_explicit(&board->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&board->go, __rdtsc() + (uint64_t)lead, memory_order_relaxed);
        atomic_store_explicit(&board->passed, phase + 1, memory_order_release);
        if (round->shares_cpus) {
            syscall(SYS_futex, &board->passed, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        }
    }
    int turns = 0;
    for (int64_t polls = 1; atomic_load_explicit(&board->passed, memory_order_acquire) == phase;
         polls++) {
        if (!wait_for_passing(round, board, phase, polls, &turns)) {
            return 0;
        }
    }
    return atomic_load_explicit(&board->go, memory_order_relaxed);
}

/* The time at which this rank is to call; 0: given up. */
static uint64_t wait_for_start(const td_coll_round *round, td_coll_board *board, int64_t call) {
    if (round->mode == TD_COLL_STREAMING) {
        return __rdtsc();
    }
    uint64_t go = meet_ranks(round, board);
    bool late =
        round->mode == TD_COLL_SKEWED && (call + TD_COLL_WARM) % round->ranks == round->rank;
    uint64_t start = go + (late ? (uint64_t)(TD_COLL_SKEW_NS * round->ticks_per_ns) : 0);
    while (go != 0 && __rdtsc() < start) {
        _mm_pause();
    }
    return go == 0 ? 0 : start;
}

/* A rank that returns first goes on to prepare its next call. Where another has done its part of
 * this one and waits for the same CPU, that would be time of the call: of the 330 us that a
 * reduce_scatter of 1 MiB took on four ranks of two CPUs more than 200 were that. */
static bool wait_for_returns(const td_coll_round *round, td_coll_board *board) {
    return round->mode == TD_COLL_STREAMING || meet_ranks(round, board) != 0;
}

static void meet_workers(const td_coll_round *round, int worker) {
    if (round->meet != NULL) {
        round->meet(round->arg, worker);
    }
}

bool td_coll_round_run(const td_coll_round *round, td_coll_board *board, int worker) {
    int64_t copies = td_coll_copies(round->state, round->bytes);
    int64_t stride = td_coll_stride(round->bytes);
    bool good = worker > 0 || meet_ranks(round, board) != 0;
    for (int64_t call = -TD_COLL_WARM; call < round->calls; call++) {
        int64_t at = (call + TD_COLL_WARM) % copies * stride;
        unsigned char *in = round->in + at, *out = round->out + at;
        prepare(round, in, out, worker);
        meet_workers(round, worker);
        uint64_t planned = worker == 0 && good ? wait_for_start(round, board, call) : 0;
        good = good && (worker > 0 || planned != 0);
        meet_workers(round, worker);
        uint64_t start = round->shares_cpus ? planned : __rdtsc();
        round->call(round->arg, worker, in, out);
        uint64_t end = __rdtsc();
        if (worker == 0 && call >= 0) {
            board->rank[round->rank].start[call] = start;
            board->rank[round->rank].end[call] = end;
        }
        if (worker == 0) {
            good = good && wait_for_returns(round, board);
        }
        meet_workers(round, worker);
    }
    return worker > 0 || (good && meet_ranks(round, board) != 0);
}

void td_coll_round_times(const td_coll_round *round, const td_coll_board *board, double *ns) {
    for (int64_t call = 0; call < round->calls; call++) {
        uint64_t start = 0, end = 0, longest = 0;
        for (int rank = 0; rank < round->ranks; rank++) {
            uint64_t from = board->rank[rank].start[call], to = board->rank[rank].end[call];
            start = from > start ? from : start;
            end = to > end ? to : end;
            longest = to - from > longest ? to - from : longest;
        }
        uint64_t ticks = round->mode == TD_COLL_STREAMING ? longest : end > start ? end - start : 0;
        ns[call] = (double)ticks / round->ticks_per_ns;
    }
}
