/* SPDX-License-Identifier: Apache-2.0
 * One rank of a collective under SimGrid's simulator, which runs this program as it is and counts
 * its own time: the schedules, the executor over messages and the module of MPI are Tandem's.
 *   smpirun [...] tandem_smpi OPERATION ALGORITHM BYTES
 * BYTES of the vector, of f32; of alltoall: of all blocks of a rank. Every element is compared.
 * Rank 0 prints the time from the common start to the end of the last rank.
 */
#include <mpi.h>
#include <smpi/smpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "collectives/comm.h"
#include "reference.h"
#include "threads/mpi_module.h"

/* What ranks measured goes in messages too, and those of ranks that are done would be on the links
 * of one that is not: on 1,024 ranks rank 0 was 1.9 us late of 30.8. So nobody sends any for a
 * second of the simulator's time, which costs nothing. */
enum { LATER_US = 1000000 };

typedef struct play {
    td_rank rank;
    const td_collective *row;
    td_call call;
    int64_t elements, staging;
} play;

static td_status parse(int argc, char **argv, play *p) {
    int ranks = p->rank.count;
    if (argc != 4) {
        return td_fail(TD_EUSAGE, "usage: smpirun [...] tandem_smpi OPERATION ALGORITHM BYTES");
    }
    p->row = td_collective_find(argv[1], argv[2]);
    if (p->row == NULL || p->row->direct != NULL || !p->row->fits(ranks)) {
        return td_fail(TD_EUSAGE, "%s/%s is no schedule for %d ranks", argv[1], argv[2], ranks);
    }
    char *end;
    int64_t bytes = strtoll(argv[3], &end, 10);
    bool pairs = td_operation_of(p->row->id)->blocks == TD_BLOCKS_PAIRS;
    int64_t unit = (int64_t)sizeof(float) * (pairs ? ranks : 1);
    if (*end != '\0' || bytes < unit || bytes % unit != 0) {
        return td_fail(TD_EUSAGE, "%s bytes; expected a multiple of %lld", argv[3],
                       (long long)unit);
    }
    p->call = (td_call){.count = bytes / unit, .dtype = TD_F32, .reduce = TD_SUM};
    p->elements = bytes / (int64_t)sizeof(float);
    p->staging = td_collective_staging_bytes(p->row, ranks, p->call.count, TD_F32);
    p->staging = (p->staging + 63) / 64 * 64;
    return TD_OK;
}

/* In seconds: how much later than the first a rank began, and when it ended. That all began at
 * once, and none ended after others sent what they measured. */
static td_status judge_times(const play *p, double late, double took) {
    if (!(late <= 1e-9)) {
        return td_fail(TD_ECHECK, "rank %d began %.3f ns after another", p->rank.rank, late * 1e9);
    }
    if (!(took < LATER_US * 1e-6)) {
        return td_fail(TD_ECHECK,
                       "rank %d took %.3f s; expected less than %.3f, after which others send "
                       "what they measured",
                       p->rank.rank, took, LATER_US * 1e-6);
    }
    return TD_OK;
}

static td_status judge(const play *p) {
    const td_reference wanted = {.row = p->row,
                                 .call = &p->call,
                                 .ranks = p->rank.count,
                                 .elements = p->elements,
                                 .kind = TD_PATTERN_WHOLE};
    for (int64_t i = 0; i < p->elements && p->row->id != TD_COLL_barrier; i++) {
        unsigned char right[8];
        const float *have = (const float *)p->call.out + i;
        if (td_reference_wanted(&wanted, p->rank.rank, i, right) &&
            memcmp(have, right, sizeof *have) != 0) {
            return td_fail(TD_ECHECK, "rank %d, element %lld is %g", p->rank.rank, (long long)i,
                           (double)*have);
        }
    }
    return TD_OK;
}

/* All ranks begin at the same time, a millisecond after the last one is there. */
static double common_start(void) {
    double now = MPI_Wtime(), latest;
    MPI_Allreduce(&now, &latest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    smpi_usleep((useconds_t)((latest - MPI_Wtime()) * 1e6 + 1000));
    now = MPI_Wtime();
    MPI_Allreduce(&now, &latest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    latest += 1e-3;
    struct timespec nap = {.tv_nsec = (long)((latest - MPI_Wtime()) * 1e9)};
    smpi_nanosleep(&nap, NULL);
    return MPI_Wtime();
}

static td_status run(play *p) {
    td_comm *comm;
    td_worker worker = {.count = 1};
    unsigned char *segment = p->rank.segment;
    float *in = (float *)(segment + p->staging);
    const td_reference inputs = {
        .row = p->row, .call = &p->call, .ranks = p->rank.count, .kind = TD_PATTERN_WHOLE};
    p->call.in = in;
    p->call.out = (unsigned char *)in + (p->elements * 4 + 63) / 64 * 64;
    for (int64_t i = 0; i < p->elements; i++) {
        td_reference_store(in, i, td_reference_input(&inputs, p->rank.rank, i), TD_F32);
    }
    TD_TRY(td_comm_create(&p->rank, segment, p->staging, &comm));
    double first = common_start(), last, took, longest, begun;
    td_status status = td_collective_run(p->row, comm, &worker, &p->call);
    last = MPI_Wtime();
    smpi_usleep(LATER_US);
    td_comm_destroy(comm);
    TD_TRY(status);
    MPI_Allreduce(&first, &begun, 1, MPI_DOUBLE, MPI_MIN, MPI_COMM_WORLD);
    took = last - begun;
    MPI_Reduce(&took, &longest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    status = judge_times(p, first - begun, took);
    status = status == TD_OK ? judge(p) : status;
    int bad = status != TD_OK, any;
    MPI_Allreduce(&bad, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    TD_TRY(status);
    if (p->rank.rank == 0 && !any) {
        printf("%s/%s ranks %d bytes %lld ns %.3f\n", p->row->operation, p->row->algorithm,
               p->rank.count, (long long)(p->elements * 4), longest * 1e9);
    }
    return TD_OK;
}

int main(int argc, char **argv) {
    enum { ALIGN = 64 };
    char library[80];
    unsigned char *block = NULL;
    play p = {.rank = {.kind = TD_RANK_MPI, .workers = 1}};
    if (td_mpi_module_table.start(&p.rank.rank, &p.rank.count, library, sizeof library) != 0) {
        fprintf(stderr, "MPI does not start\n");
        return 3;
    }
    td_status status = parse(argc, argv, &p);
    if (status == TD_OK) {
        p.rank.segment_bytes = (size_t)(p.staging + 2 * ((p.elements * 4 + 63) / 64 * 64));
        block = td_alloc_zero(p.rank.segment_bytes + ALIGN);
        p.rank.segment = block + (ALIGN - (uintptr_t)block % ALIGN);
        status = block == NULL ? td_fail(TD_ENOMEM, "the buffers of a rank") : run(&p);
    }
    if (status != TD_OK) {
        fprintf(stderr, "rank %d: %s\n", p.rank.rank, td_error());
    }
    td_free(block);
    td_mpi_module_table.finish();
    return td_exit_code(status);
}
