/* SPDX-License-Identifier: Apache-2.0
 * The ranks of an MPI library, run beside Tandem's by `tandem bench --mpi`: carries out its
 * commands (bench/mpi_link.h) until told to end, or until Tandem is gone. tools/peers/mpi.sh builds
 * it once for each library. mpirun -n RANKS driver FILE PID      FILE: the shared block; PID:
 * Tandem's
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mpi.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench/coll_blocks.h"
#include "bench/mpi_link.h"
#include "threads/mpi_calls.h"

enum { KEPT_BYTES = 8 << 20 };

static td_mpi_link *mine;
static pid_t tandem;
static int rank, ranks;

/* Buffers stay between commands while they are small. */
static struct {
    unsigned char *base;
    size_t bytes;
} buffers;

static void fail(const char *what, int64_t at) {
    int none = 0;
    if (atomic_compare_exchange_strong(&mine->failed, &none, 1)) {
        snprintf(mine->text, sizeof mine->text, "rank %d: %s %lld", rank, what, (long long)at);
    }
}

static bool given_up(void *arg) {
    (void)arg;
    return kill(tandem, 0) != 0 && errno == ESRCH;
}

/* Where a block starts, of those that rank `from` has. */
static int64_t first_of(int from, int block) {
    bool pairs = mine->what.operation == TD_MPI_alltoall;
    return mine->what.uneven ? td_coll_uneven_first(mine->what.count, ranks, pairs, from, block)
                             : mine->what.count / ranks * block;
}

/* Of this command; a call finds them ready. */
static td_mpi_blocks blocks;

static void count_blocks(void) {
    for (int block = 0; block < ranks; block++) {
        blocks.firsts[block] = (int)first_of(rank, block);
        blocks.counts[block] = (int)(first_of(rank, block + 1) - first_of(rank, block));
    }
}

static void call(void *arg, int worker, void *in, void *out) {
    (void)arg, (void)worker;
    const td_mpi_call what = {mine->what.operation, in, out, mine->what.count,
                              mine->what.uneven ? &blocks : NULL};
    int error = td_mpi_carry_out(&what, MPI_COMM_WORLD, rank, ranks);
    if (error != MPI_SUCCESS) {
        fail("the call returns", error);
    }
}

static int sum_of(int last, int64_t i) {
    int sum = 0;
    for (int r = 0; r < last; r++) {
        sum += td_coll_value(r, i);
    }
    return sum;
}

/* What element i of out must be; false: undefined. */
static bool expected(int64_t i, int *value) {
    int owner = 0;
    int64_t own = first_of(rank, rank);
    while (owner + 1 < ranks && first_of(rank, owner + 1) <= i) {
        owner++;
    }
    switch (mine->what.operation) {
    case TD_MPI_broadcast:
        *value = td_coll_value(0, i);
        return true;
    case TD_MPI_reduce:
        *value = sum_of(ranks, i);
        return rank == 0;
    case TD_MPI_allreduce:
        *value = sum_of(ranks, i);
        return true;
    case TD_MPI_reduce_scatter:
        *value = sum_of(ranks, mine->what.in_place ? i + own : i);
        return mine->what.in_place ? i < first_of(rank, rank + 1) - own : owner == rank;
    case TD_MPI_allgather:
        *value = td_coll_value(owner, i);
        return true;
    case TD_MPI_gather:
        *value = td_coll_value(owner, i);
        return rank == 0;
    case TD_MPI_scatter:
        *value = td_coll_value(0, i);
        return owner == rank && !(mine->what.in_place && rank == 0);
    case TD_MPI_alltoall:
        *value = td_coll_value(owner, first_of(owner, rank) + i - first_of(rank, owner));
        return true;
    case TD_MPI_scan:
        *value = sum_of(rank + 1, i);
        return true;
    case TD_MPI_exscan:
        *value = sum_of(rank, i);
        return rank > 0;
    case TD_MPI_shift:
        *value = td_coll_value((rank + ranks - 1) % ranks, i);
        return true;
    default:
        return false;
    }
}

static void check(float *in, float *out) {
    int64_t n = mine->what.count;
    td_coll_write((unsigned char *)in, rank, 0, n, sizeof *in);
    call(NULL, 0, in, out);
    for (int64_t i = 0; i < n; i++) {
        int value;
        if (expected(i, &value) && out[i] != (float)value) {
            fail("wrong element", i);
            return;
        }
    }
}

static unsigned char *take_buffers(size_t bytes) {
    if (buffers.bytes < bytes) {
        if (buffers.base != NULL) {
            munmap(buffers.base, buffers.bytes);
        }
        void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED) {
            perror("buffers");
            MPI_Abort(MPI_COMM_WORLD, 3);
        }
        madvise(base, bytes, MADV_HUGEPAGE);
        buffers.base = base;
        buffers.bytes = bytes;
    }
    memset(buffers.base, 0, bytes);
    return buffers.base;
}

static void give_back(void) {
    if (buffers.bytes > KEPT_BYTES) {
        munmap(buffers.base, buffers.bytes);
        buffers.base = NULL;
        buffers.bytes = 0;
    }
}

static void carry_out(void) {
    const td_mpi_command *what = &mine->what;
    count_blocks();
    int64_t bytes = what->count * (int64_t)sizeof(float);
    int64_t copies = td_coll_copies(what->state, bytes), whole = copies * td_coll_stride(bytes);
    whole = (whole + 4095) / 4096 * 4096;
    unsigned char *in = take_buffers((size_t)(whole * (what->in_place ? 1 : 2)));
    unsigned char *out = what->in_place ? in : in + whole;
    if (what->check) {
        check((float *)in, (float *)out);
    } else {
        td_coll_round round = {.rank = rank,
                               .ranks = ranks,
                               .workers = 1,
                               .shares_cpus = mine->shares_cpus,
                               .mode = what->mode,
                               .state = what->state,
                               .calls = what->calls,
                               .in = in,
                               .out = out,
                               .bytes = bytes,
                               .element_bytes = sizeof(float),
                               .ticks_per_ns = mine->ticks_per_ns,
                               .call = call,
                               .given_up = given_up};
        if (!td_coll_round_run(&round, &mine->board, 0)) {
            _exit(0);
        }
    }
    give_back();
}

/* Asleep until the next command; false: Tandem is gone. */
static bool await(uint32_t seen) {
    struct timespec look = {.tv_sec = 1};
    while (atomic_load_explicit(&mine->command, memory_order_acquire) == seen) {
        syscall(SYS_futex, &mine->command, FUTEX_WAIT, seen, &look, NULL, 0);
        if (given_up(NULL)) {
            return false;
        }
    }
    return true;
}

static void bind_here(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)mine->pu[rank], &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void report_done(void) {
    atomic_fetch_add_explicit(&mine->done, 1, memory_order_release);
    syscall(SYS_futex, &mine->done, FUTEX_WAKE, 1, NULL, NULL, 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int file = argc == 3 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;
    tandem = argc == 3 ? (pid_t)strtol(argv[2], NULL, 10) : 0;
    mine = mmap(NULL, sizeof *mine, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mine == MAP_FAILED || tandem <= 0 || mine->made_for != TD_MPI_MADE_FOR ||
        mine->ranks != ranks) {
        fprintf(stderr,
                "usage: mpirun -n RANKS driver FILE PID, started by the tandem bench --mpi for "
                "which make peers-mpi has built it\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    bind_here();
    if (rank == 0) {
        char text[MPI_MAX_LIBRARY_VERSION_STRING];
        int length;
        MPI_Get_library_version(text, &length);
        text[strcspn(text, "\n")] = '\0';
        snprintf(mine->version, sizeof mine->version, "%.127s", text);
    }
    report_done();
    for (uint32_t seen = 0; await(seen); seen++) {
        if (mine->what.end) {
            MPI_Finalize();
            return 0;
        }
        carry_out();
        report_done();
    }
    _exit(0); /* not finalised: a library whose peers are gone would wait for them */
}
