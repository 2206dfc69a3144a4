/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/coll_hosts.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "threads/layout.h"
#include "threads/mpi_ranks.h"

/* From the last arrival that is known to the start: longer than a nap and a message. */
static const double LEAD_NS = 500000;
enum { TRIPS = 12 };

static double now_ns(const td_coll_clock *clock) {
    return (double)td_tsc() / clock->ticks_per_ns;
}

/* One round trip between rank 0, which gives its time, and another. */
static td_status trip(const td_coll_clock *clock, int peer, double *theirs) {
    const td_mpi_module *mpi = td_mpi_messages();
    double mine = now_ns(clock);
    bool gives = td_mpi_rank() == 0;
    char ask = 0;
    for (int half = 0; half < 2; half++) {
        bool sends = gives == (half == 1);
        void *what = half == 0 ? (void *)&ask : (void *)(gives ? &mine : theirs);
        int64_t bytes = half == 0 ? (int64_t)sizeof ask : (int64_t)sizeof mine;
        mine = now_ns(clock);
        int done = 0, error = sends ? mpi->send(0, what, bytes, peer, td_mpi_tag())
                                    : mpi->receive(0, what, bytes, peer, td_mpi_tag());
        for (int64_t start = td_now_ns(); error == 0 && !done;) {
            error = mpi->test(0, &done);
            if (!done && td_now_ns() - start > INT64_C(60000000000)) {
                return td_fail(TD_ETIMEDOUT, "rank %d does not answer within 60 s", peer);
            }
        }
        if (error != 0) {
            return td_mpi_failed(error, "the clocks of the hosts");
        }
    }
    return TD_OK;
}

td_status td_coll_clock_set(td_coll_clock *clock) {
    double best_ns = -1, error = 0, all[TD_MAX_RANKS];
    int me = td_mpi_rank();
    *clock = (td_coll_clock){.ticks_per_ns = td_tsc_hz() * 1e-9};
    for (int rank = 1; rank < td_mpi_ranks(); rank++) {
        for (int i = 0; i < TRIPS && (me == 0 || me == rank); i++) {
            double start = now_ns(clock), theirs = 0;
            TD_TRY(trip(clock, me == 0 ? rank : 0, &theirs));
            double took = now_ns(clock) - start;
            if (me != 0 && (best_ns < 0 || took < best_ns)) {
                best_ns = took;
                error = took / 2;
                clock->ahead_ns = theirs - (start + took / 2);
            }
        }
    }
    TD_TRY(td_mpi_exchange(&error, all, sizeof error));
    for (int rank = 0; rank < td_mpi_ranks(); rank++) {
        clock->error_ns = all[rank] > clock->error_ns ? all[rank] : clock->error_ns;
    }
    return TD_OK;
}

td_status td_coll_hosts_meet(const td_coll_clock *clock, uint64_t *go) {
    double here = now_ns(clock) + clock->ahead_ns, all[TD_MAX_RANKS], last = here;
    TD_TRY(td_mpi_exchange(&here, all, sizeof here));
    for (int rank = 0; rank < td_mpi_ranks(); rank++) {
        last = all[rank] > last ? all[rank] : last;
    }
    *go = (uint64_t)((last + LEAD_NS - clock->ahead_ns) * clock->ticks_per_ns);
    return TD_OK;
}

td_status td_coll_hosts_times(const td_coll_clock *clock, const td_coll_round *round,
                              td_coll_board *board) {
    typedef struct times {
        double start[TD_COLL_CALLS], end[TD_COLL_CALLS];
    } times;
    times mine, *all = td_alloc((size_t)round->ranks * sizeof *all);
    if (all == NULL) {
        return td_fail(TD_ENOMEM, "the times of %d ranks", round->ranks);
    }
    memset(&mine, 0, sizeof mine);
    for (int64_t i = 0; i < round->calls; i++) {
        mine.start[i] =
            (double)board->rank[round->rank].start[i] / clock->ticks_per_ns + clock->ahead_ns;
        mine.end[i] =
            (double)board->rank[round->rank].end[i] / clock->ticks_per_ns + clock->ahead_ns;
    }
    td_status status = td_mpi_exchange(&mine, all, sizeof mine);
    for (int rank = 0; rank < round->ranks && status == TD_OK; rank++) {
        for (int64_t i = 0; i < round->calls; i++) {
            board->rank[rank].start[i] = (uint64_t)(all[rank].start[i] * clock->ticks_per_ns);
            board->rank[rank].end[i] = (uint64_t)(all[rank].end[i] * clock->ticks_per_ns);
        }
    }
    td_free(all);
    return status;
}

td_status td_coll_hosts_compare(const void *data, int64_t bytes, bool *same) {
    char all[TD_MAX_RANKS][TD_SHA256_HEX], mine[TD_SHA256_HEX];
    td_sha256 *sha;
    TD_TRY(td_sha256_create(&sha));
    td_sha256_add(sha, data, (size_t)bytes);
    td_sha256_finish(sha, mine);
    TD_TRY(td_mpi_exchange(mine, all, sizeof mine));
    *same = true;
    for (int rank = 0; rank < td_mpi_ranks(); rank++) {
        *same = *same && memcmp(all[rank], mine, sizeof mine) == 0;
    }
    return TD_OK;
}
