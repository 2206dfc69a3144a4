/* SPDX-License-Identifier: Apache-2.0
 * A group: the ranks of a layout, as threads of this process, as forked processes, or as processes
 * that mpirun has started (mpi_ranks.h), over one symmetric heap in a memfd (nothing in /dev/shm to
 * leave behind). Every rank owns a segment of equal size, so an object at some offset of my segment
 * has its twin at the same offset of every other. Threads and forked processes have them at the
 * same addresses; in the heap there are offsets, no pointers.
 *
 * A rank that dies, returns an error or does not reach a barrier within the deadline ends the
 * others. td_group_run returns TD_EPEER when a rank died or left the others waiting, TD_ETIMEDOUT
 * when one did not arrive, and the rank's own status when fn returned one; the message names the
 * rank and the signal or reason. The end of fn counts as a barrier: once one rank has returned, the
 * others have the deadline to do so.
 */
#ifndef TD_THREADS_GROUP_H
#define TD_THREADS_GROUP_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "threads/layout.h"
#include "threads/wait.h"

typedef struct td_group td_group; /* opaque, shared by all ranks */

typedef struct td_rank {
    int rank, count;
    td_rank_kind kind;
    td_group *group;
    int workers;
    const int *pu;          /* PU of each of my workers */
    bool shares_cpus;       /* the group has more workers than effective CPUs */
    bool apart;             /* on several hosts: only messages reach the others, no memory */
    int64_t cache_bytes;    /* of all data caches that this rank sees, as reported */
    unsigned char *segment; /* my segment of the heap: 2 MiB aligned, zero at start */
    size_t segment_bytes;
} td_rank;

/* Under MPI td_group_run is called by all ranks alike, and each runs fn once, in its main thread.
 * On one host they have the heap in common, and pass messages besides. On several (`apart`) a rank
 * has its own segment only, and td_rank_peer gives room that nobody else sees; results come from
 * segment 0 of the same process, so they are rank 0's in rank 0 only. */
typedef td_status td_rank_fn(td_rank *rank, void *arg);

typedef struct td_group_options {
    td_layout layout;
    const td_topology *topology; /* NULL: this machine */
    size_t segment_bytes;
    int64_t deadline_ns; /* of every rank barrier; 0 means 30 s */
} td_group_options;

/* Runs fn once in every rank and returns when all have ended. One rank runs in the caller's thread.
 * Process ranks are forked here: threads this process has do not exist in them, and a lock that
 * one of them held stays held for ever, so call before there are any that matter. What a rank
 * writes outside the heap is lost in the parent when ranks are processes: results go through
 * segment 0, which td_group_run_result copies out below. SIGINT and SIGTERM sent to this process or
 * its terminal reach every rank as td_interrupted(); they do not kill ranks.
 * When fn starts, the rank's segment is present on the node of its first PU, and its thread may run
 * on the PUs of the rank. A thread rank that hangs is left behind after the failure is reported: it
 * still uses arg and the heap, so the program should end soon. */
td_status td_group_run(const td_group_options *options, td_rank_fn *fn, void *arg);

/* As td_group_run, and copies result_bytes from the start of rank 0's segment into result after
 * success or failure. */
td_status td_group_run_result(const td_group_options *options, td_rank_fn *fn, void *arg,
                              void *result, size_t result_bytes);

/* The twin, in peer's segment, of an address inside my segment. */
void *td_rank_peer(const td_rank *rank, int peer, const void *mine);

/* All ranks meet; called by one thread of each. TD_EPEER or TD_ETIMEDOUT when the group has failed:
 * return at once. */
td_status td_rank_barrier(td_rank *rank);

/* Waits until event, which lies in the heap, has reached target; by any worker of the rank.
 * TD_EPEER when the group has failed. TD_ETIMEDOUT when the deadline has passed: nothing is
 * recorded then, because only the caller knows which rank is late; it says so with td_fail and
 * td_rank_abort.
 */
td_status td_rank_wait(td_rank *rank, td_event *event, uint32_t target);

/* The same for an event that only `peer` advances: TD_EPEER, recorded, when it returns without. */
td_status td_rank_wait_for(td_rank *rank, int peer, td_event *event, uint32_t target);

/* How ranks of this group wait for each other; for td_event_advance. */
const td_wait_rule *td_rank_wait_rule(const td_rank *rank);

/* How long a rank may wait for another. */
int64_t td_rank_deadline_ns(const td_rank *rank);

/* True when another rank has failed; cheap, for long loops. */
bool td_rank_failed(const td_rank *rank);

/* "rank 2", or "rank 2 on node-b" when ranks are on several hosts. */
enum { TD_RANK_NAME = 96 };
void td_rank_name(const td_rank *rank, int which, char text[TD_RANK_NAME]);

/* Counts a message to `peer`, or one that is asked for from it: what td_rank_listen tells a message
 * that is on its way from one that will not come by. */
void td_rank_count_message(td_rank *rank, int peer, bool sent);

/* For a rank that has waited so long for a message of `peer`, or to be rid of one (-1: for nobody
 * any more). On several hosts it tells others for whom it waits once that is long, and hears what
 * they tell. td_rank_failed says then how the group is: it has failed also when the peer has
 * returned and has sent, or asked for, fewer than this rank counts on. By the main thread. */
void td_rank_listen(td_rank *rank, int peer, int64_t waited_ns);

/* The rank for which `which` has said that it waits; -1: none. */
int td_rank_waits_for(const td_rank *rank, int which);

/* Marks the group failed with this rank's td_error() message, unless it has failed already; the
 * other ranks' barriers return TD_EPEER. Returns status. */
td_status td_rank_abort(td_rank *rank, td_status status);

#endif
