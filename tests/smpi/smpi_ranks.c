/* SPDX-License-Identifier: Apache-2.0
 * Ranks under SimGrid's simulator in place of threads/group.c, mpi_ranks.c and team.c: they have no
 * memory in common and one worker each, and a wait that is not a call of MPI would never end. The
 * module of MPI (threads/mpi_module.c) and everything above are the real ones.
 */
#include <stdio.h>

#include "threads/group.h"
#include "threads/mpi_ranks.h"
#include "threads/team.h"

enum { TAG = 1 };

const td_mpi_module *td_mpi_messages(void) {
    return &td_mpi_module_table;
}

int td_mpi_tag(void) {
    return TAG;
}

td_status td_mpi_failed(int error, const char *doing) {
    char text[256];
    td_mpi_module_table.explain(error, text, sizeof text);
    return td_fail(TD_EPEER, "%s: MPI says: %s", doing, text);
}

void *td_rank_peer(const td_rank *rank, int peer, const void *mine) {
    (void)rank, (void)peer;
    return (void *)(uintptr_t)mine;
}

td_status td_rank_barrier(td_rank *rank) {
    (void)rank;
    return TD_OK;
}

td_status td_rank_wait_for(td_rank *rank, int peer, td_event *event, uint32_t target) {
    (void)event, (void)target;
    return td_fail(TD_ESYS, "rank %d waits for the memory of rank %d", rank->rank, peer);
}

const td_wait_rule *td_rank_wait_rule(const td_rank *rank) {
    static const td_wait_rule none;
    (void)rank;
    return &none;
}

int64_t td_rank_deadline_ns(const td_rank *rank) {
    (void)rank;
    return INT64_MAX;
}

bool td_rank_failed(const td_rank *rank) {
    (void)rank;
    return false;
}

void td_rank_count_message(td_rank *rank, int peer, bool sent) {
    (void)rank, (void)peer, (void)sent;
}

void td_rank_listen(td_rank *rank, int peer, int64_t waited_ns) {
    (void)rank, (void)peer, (void)waited_ns;
}

int td_rank_waits_for(const td_rank *rank, int which) {
    (void)rank, (void)which;
    return -1;
}

const int *td_mpi_host_map(void) {
    return NULL;
}

void td_rank_name(const td_rank *rank, int which, char text[TD_RANK_NAME]) {
    (void)rank;
    snprintf(text, TD_RANK_NAME, "rank %d", which);
}

td_status td_rank_abort(td_rank *rank, td_status status) {
    fprintf(stderr, "rank %d: %s\n", rank->rank, td_error());
    td_mpi_module_table.abandon(td_exit_code(status));
    return status;
}

void td_team_barrier(td_worker *worker) {
    (void)worker;
}

void td_event_wake(td_event *event, const td_wait_rule *rule) {
    (void)event, (void)rule; /* nobody sleeps */
}

void td_wait_turn(int *turns) {
    (void)turns; /* the module's wait ends when the message is there */
}
