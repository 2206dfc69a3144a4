/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "threads/create.h"
#include "threads/group_state.h"

static void *rank_main(void *arg) {
    td_group_run_rank(arg);
    return NULL;
}

/* Returns how many were started; fewer than all means the failure is recorded. */
static int start_threads(td_group *group) {
    sigset_t interrupts, before;
    sigemptyset(&interrupts);
    sigaddset(&interrupts, SIGINT);
    sigaddset(&interrupts, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &interrupts, &before);
    int started = 0;
    for (; started < group->count; started++) {
        int error =
            pthread_create(&group->threads[started], NULL, rank_main, &group->ranks[started]);
        if (error != 0) {
            td_group_fail(group, TD_CLAIM_SUPERVISOR, TD_ESYS,
                          "create the thread of rank %d of %d: %s", started, group->count,
                          td_create_error(error));
            break;
        }
        char name[24];
        snprintf(name, sizeof name, "rank-%d", started);
        pthread_setname_np(group->threads[started], name);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* True when all started ranks have ended; false when the group has failed and some do not end. */
static bool wait_for_threads(td_group *group, int started) {
    static const td_wait_rule sleep_at_once = {0};
    td_event *ended = &group->control->ended;
    int64_t waited_ns = 0, last_ns = 0, grace_ns = 0, grace_last_ns = 0;
    while (!td_event_wait(ended, (uint32_t)started, &sleep_at_once, TD_WAIT_SLICE_NS, NULL)) {
        td_group_check_end(group, TD_WAIT_SLICE_NS, &waited_ns, &last_ns);
        if (td_group_grace_over(group, TD_WAIT_SLICE_NS, &grace_ns, &grace_last_ns)) {
            return false;
        }
    }
    return true;
}

td_status td_group_run_threads(td_group *group) {
    int started = start_threads(group);
    bool all = wait_for_threads(group, started);
    for (int i = 0; i < started; i++) {
        /* acquire pairs with the store in td_group_run_rank. */
        if (all || atomic_load_explicit(&group->control->slots[i].ended, memory_order_acquire)) {
            pthread_join(group->threads[i], NULL);
        } else {
            group->left_behind = true;
            pthread_detach(group->threads[i]);
        }
    }
    return TD_OK;
}
