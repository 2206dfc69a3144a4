/* SPDX-License-Identifier: Apache-2.0
 * Regions in which workers can fail. Who fails, or sees that another did, arrives once more at the
 * meeting in its place, but does not wait there: the others pass it, all with the verdict that the
 * region is cancelled, and return. Nobody comes to a later meeting, so a team that met is whole
 * again once what was counted of a meeting that never took place is forgotten.
 */
#include <stdio.h>

#include "threads/team_state.h"

typedef struct attempt {
    td_try_fn *fn;
    void *arg;
} attempt;

static void run_attempt(void *arg, td_worker *worker) {
    const attempt *a = arg;
    td_team *team = worker->team;
    td_member *self = &team->members[worker->id];
    self->failed = self->told = false;
    td_status status = a->fn(a->arg, worker);
    if (self->told || (status == TD_OK && !td_worker_cancelled(worker))) {
        return;
    }
    if (status != TD_OK) {
        self->failed = true;
        self->status = status;
        snprintf(self->message, sizeof self->message, "%s", td_error());
        td_team_cancel(team);
    }
    if (team->count > 1 && td_meeting_arrive(&team->barrier, worker->id, team->count)) {
        td_team_let_pass(team, true);
    }
}

td_status td_team_try(td_team *team, td_try_fn *fn, void *arg) {
    attempt a = {fn, arg};
    atomic_store_explicit(&team->cancelled, 0, memory_order_relaxed);
    td_team_run(team, run_attempt, &a);
    if (!atomic_load_explicit(&team->cancelled, memory_order_relaxed)) {
        return TD_OK;
    }
    td_meeting_reset(&team->barrier, team->count);
    for (int i = 0; i < team->count; i++) {
        const td_member *self = &team->members[i];
        if (self->failed) {
            return td_fail(self->status, "worker %d: %s", i, self->message);
        }
    }
    return td_fail(TD_EINTERRUPTED, "the region was cancelled");
}

bool td_worker_meet(td_worker *worker) {
    td_member *self = &worker->team->members[worker->id];
    self->told = td_team_pass(worker, true);
    return !self->told;
}

bool td_worker_cancelled(const td_worker *worker) {
    return atomic_load_explicit(&worker->team->cancelled, memory_order_relaxed) != 0;
}

void td_team_cancel(td_team *team) {
    /* release: who is told sees what led to it. */
    atomic_store_explicit(&team->cancelled, 1, memory_order_release);
}
