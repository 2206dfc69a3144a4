/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/group.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "threads/bind.h"
#include "threads/group_state.h"
#include "threads/mpi_ranks.h"
#include "threads/numa.h"

#define DEFAULT_DEADLINE_NS INT64_C(30000000000)

static void publish(td_group *group, int claimer, td_status status, const char *format,
                    va_list args) {
    td_group_control *control = group->control;
    vsnprintf(control->text, sizeof control->text, format, args);
    control->status = status;
    /* release pairs with td_group_failed: who sees the failure sees its text. */
    atomic_store_explicit(&control->claim, (claimer + 1) | TD_CLAIM_PUBLISHED,
                          memory_order_release);
}

void td_group_fail(td_group *group, int claimer, td_status status, const char *format, ...) {
    int free = 0;
    if (atomic_compare_exchange_strong(&group->control->claim, &free, claimer + 1)) {
        va_list args;
        va_start(args, format);
        publish(group, claimer, status, format, args);
        va_end(args);
    }
}

void td_group_fail_dead(td_group *group, int dead, const char *format, ...) {
    int free = 0, unfinished = dead + 1;
    if (atomic_compare_exchange_strong(&group->control->claim, &free, TD_CLAIM_SUPERVISOR + 1) ||
        atomic_compare_exchange_strong(&group->control->claim, &unfinished,
                                       TD_CLAIM_SUPERVISOR + 1)) {
        va_list args;
        va_start(args, format);
        publish(group, TD_CLAIM_SUPERVISOR, TD_EPEER, format, args);
        va_end(args);
    }
}

bool td_group_failed(const td_group *group) {
    return (atomic_load_explicit(&group->control->claim, memory_order_acquire) &
            TD_CLAIM_PUBLISHED) != 0;
}

int64_t td_group_counted_ns(int64_t elapsed_ns, int64_t step_ns) {
    int64_t most = 10 * step_ns;
    return elapsed_ns < most ? elapsed_ns : most;
}

void td_group_name_ranks(const td_group *group, const bool *named, char *text, size_t text_bytes) {
    int total = 0, count = group->count;
    for (int i = 0; i < count; i++) {
        total += named[i];
    }
    size_t used = (size_t)snprintf(text, text_bytes, total == 1 ? "rank" : "ranks");
    for (int i = 0, seen = 0; i < count && used < text_bytes; i++) {
        if (named[i]) {
            used += (size_t)snprintf(text + used, text_bytes - used, "%s %d%s%s", seen++ ? "," : "",
                                     i, group->apart ? " on " : "",
                                     group->apart ? td_mpi_host_name(i) : "");
        }
    }
}

void td_group_check_end(td_group *group, int64_t step_ns, int64_t *waited_ns, int64_t *last_ns) {
    td_group_control *control = group->control;
    int ended = (int)atomic_load_explicit(&control->ended.value, memory_order_acquire);
    int64_t now_ns = td_now_ns();
    if (ended == 0 || ended == group->count) {
        *last_ns = 0;
        return;
    }
    if (*last_ns > 0) {
        *waited_ns += td_group_counted_ns(now_ns - *last_ns, step_ns);
    }
    *last_ns = now_ns;
    if (*waited_ns >= group->deadline_ns) {
        bool late[TD_MAX_RANKS];
        char names[512];
        for (int i = 0; i < group->count; i++) {
            late[i] = !atomic_load_explicit(&control->slots[i].ended, memory_order_relaxed);
        }
        td_group_name_ranks(group, late, names, sizeof names);
        td_group_fail(group, TD_CLAIM_SUPERVISOR, TD_ETIMEDOUT,
                      "%s did not end within %.1f s of the others", names,
                      (double)group->deadline_ns * 1e-9);
    }
}

bool td_group_grace_over(const td_group *group, int64_t step_ns, int64_t *waited_ns,
                         int64_t *last_ns) {
    if (!td_group_failed(group)) {
        return false;
    }
    int64_t now_ns = td_now_ns(), passed_ns = *last_ns > 0 ? now_ns - *last_ns : 0;
    *waited_ns += passed_ns < step_ns ? passed_ns : step_ns;
    *last_ns = now_ns;
    return *waited_ns > TD_GRACE_NS;
}

static td_status peer_failed(const td_rank *rank) {
    return td_fail(TD_EPEER, "%s", rank->group->control->text);
}

/* Records what this rank has found, its td_error(), without naming the finder. */
static td_status record(const td_rank *rank, td_status status) {
    td_group_fail(rank->group, rank->rank, status, "%s", td_error());
    return status;
}

static td_rank_slot *slot_of(const td_rank *rank) {
    return &rank->group->control->slots[rank->rank];
}

void *td_rank_peer(const td_rank *rank, int peer, const void *mine) {
    size_t offset = (size_t)((const unsigned char *)mine - rank->segment);
    TD_ASSERT(peer >= 0 && peer < rank->count && offset <= rank->segment_bytes);
    return rank->group->ranks[peer].segment + offset;
}

bool td_rank_failed(const td_rank *rank) {
    return td_group_failed(rank->group);
}

int64_t td_rank_deadline_ns(const td_rank *rank) {
    return rank->group->deadline_ns;
}

const td_wait_rule *td_rank_wait_rule(const td_rank *rank) {
    return &rank->group->rule;
}

void td_rank_name(const td_rank *rank, int which, char text[TD_RANK_NAME]) {
    bool apart = rank->apart;
    snprintf(text, TD_RANK_NAME, "rank %d%s%s", which, apart ? " on " : "",
             apart ? td_mpi_host_name(which) : "");
}

td_status td_rank_abort(td_rank *rank, td_status status) {
    char name[TD_RANK_NAME];
    td_rank_name(rank, rank->rank, name);
    td_group_fail(rank->group, rank->rank, status, "%s: %s", name, td_error());
    return status;
}

td_status td_group_fail_returned(td_rank *rank, int peer) {
    char name[TD_RANK_NAME];
    td_rank_name(rank, peer, name);
    return record(rank, td_fail(TD_EPEER, "%s returned while others wait for it", name));
}

/* TD_EPEER when the one who is to reach the target has returned without. */
static td_status check_present(td_rank *rank, int peer, const td_event *event, uint32_t target) {
    /* acquire pairs with the store in td_group_run_rank: what the peer did before is visible. */
    if (!atomic_load_explicit(&rank->group->control->slots[peer].ended, memory_order_acquire) ||
        td_event_reached(event, target)) {
        return TD_OK;
    }
    return td_group_fail_returned(rank, peer);
}

/* peer: who is to reach the target; -1: not known. */
static td_status wait_event(td_rank *rank, int peer, td_event *event, uint32_t target) {
    const td_group *group = rank->group;
    td_rank_slot *slot = slot_of(rank);
    td_status status = TD_OK;
    int64_t waited_ns = 0, last_ns = td_now_ns();
    atomic_fetch_add_explicit(&slot->waiting, 1, memory_order_relaxed);
    while (status == TD_OK) {
        int64_t left_ns = group->deadline_ns - waited_ns;
        int64_t sleep_ns = left_ns < TD_WAIT_SLICE_NS ? left_ns : TD_WAIT_SLICE_NS;
        if (td_event_wait(event, target, &group->rule, sleep_ns, NULL)) {
            break;
        }
        int64_t now_ns = td_now_ns();
        waited_ns += td_group_counted_ns(now_ns - last_ns, TD_WAIT_SLICE_NS);
        last_ns = now_ns;
        if (td_group_failed(group)) {
            status = peer_failed(rank);
        } else if (waited_ns >= group->deadline_ns) {
            status = td_fail(TD_ETIMEDOUT, "no progress within %.1f s",
                             (double)group->deadline_ns * 1e-9);
        } else if (peer >= 0) {
            status = check_present(rank, peer, event, target);
        }
    }
    atomic_fetch_sub_explicit(&slot->waiting, 1, memory_order_relaxed);
    return status;
}

td_status td_rank_wait(td_rank *rank, td_event *event, uint32_t target) {
    return wait_event(rank, -1, event, target);
}

td_status td_rank_wait_for(td_rank *rank, int peer, td_event *event, uint32_t target) {
    return wait_event(rank, peer, event, target);
}

/* Those who have not arrived: first choice the ones that do not wait for somebody else themselves.
 */
static void find_late(const td_rank *rank, bool *late) {
    const td_group_control *control = rank->group->control;
    uint32_t mine = atomic_load_explicit(&slot_of(rank)->arrivals, memory_order_relaxed);
    for (int pass = 0, found = 0; pass < 2 && found == 0; pass++) {
        for (int i = 0; i < rank->count; i++) {
            const td_rank_slot *slot = &control->slots[i];
            uint32_t theirs = atomic_load_explicit(&slot->arrivals, memory_order_relaxed);
            bool waits = atomic_load_explicit(&slot->waiting, memory_order_relaxed) > 0;
            late[i] = (int32_t)(theirs - mine) < 0 && (pass > 0 || !waits);
            found += late[i];
        }
    }
}

td_status td_group_fail_unmatched(td_rank *rank) {
    const td_group_control *control = rank->group->control;
    bool ended[TD_MAX_RANKS];
    char names[512];
    if (td_group_failed(rank->group)) {
        return peer_failed(rank);
    }
    for (int i = 0; i < rank->count; i++) {
        ended[i] = atomic_load_explicit(&control->slots[i].ended, memory_order_relaxed);
    }
    td_group_name_ranks(rank->group, ended, names, sizeof names);
    return record(rank, td_fail(TD_EPEER, "%s returned while others wait at a barrier", names));
}

td_status td_group_fail_late(td_rank *rank) {
    bool late[TD_MAX_RANKS];
    char names[512];
    find_late(rank, late);
    td_group_name_ranks(rank->group, late, names, sizeof names);
    return record(rank, td_fail(TD_ETIMEDOUT, "%s did not reach the barrier within %.1f s", names,
                                (double)rank->group->deadline_ns * 1e-9));
}

td_status td_rank_barrier(td_rank *rank) {
    td_group_control *control = rank->group->control;
    if (td_group_failed(rank->group)) {
        return peer_failed(rank);
    }
    if (rank->count == 1) {
        return TD_OK;
    }
    if (rank->group->apart) {
        return td_apart_barrier(rank);
    }
    uint32_t target = atomic_load_explicit(&control->barrier.value, memory_order_relaxed) + 1;
    /* seq_cst pairs with the increment of `ended` in td_group_run_rank: of a rank that arrives and
     * one that returns, at least one sees the other. It also orders the data of those who arrived
     * before the last one. */
    uint32_t arrived = atomic_fetch_add_explicit(&control->arrived, 1, memory_order_seq_cst) + 1;
    if (arrived == (uint32_t)rank->count) {
        atomic_store_explicit(&control->arrived, 0, memory_order_relaxed);
        td_event_advance(&control->barrier, &rank->group->rule);
    }
    /* Counted last: a rank that is stopped above, even as the last to arrive, is the late one. */
    atomic_fetch_add_explicit(&slot_of(rank)->arrivals, 1, memory_order_relaxed);
    if (arrived == (uint32_t)rank->count) {
        return TD_OK;
    }
    /* Who has ended may have met everybody here first: then the barrier is passed, and that is
     * seen, because it came before the end. */
    if (atomic_load_explicit(&control->ended.value, memory_order_seq_cst) > 0 &&
        !td_event_reached(&control->barrier, target)) {
        return td_group_fail_unmatched(rank);
    }
    td_status status = td_rank_wait(rank, &control->barrier, target);
    if (status == TD_ETIMEDOUT) {
        status = td_group_fail_late(rank);
    }
    return status;
}

static td_status place_segment(td_rank *rank) {
    td_bind_pu(
        rank->pu[0]); /* refused: the team reports it; the segment lies where we happen to be */
    if (rank->group->interleave) {
        td_status status = td_numa_interleave(rank->segment, rank->segment_bytes);
        if (status != TD_OK && status != TD_ESKIP) {
            return status;
        }
    }
    if (rank->kind != TD_RANK_THREAD && !rank->group->interleave) {
        td_heap_touch_huge(rank->segment, rank->segment_bytes);
    }
    TD_TRY(td_numa_first_touch(rank->segment, rank->segment_bytes));
    td_bind_pus(rank->pu, rank->workers);
    return TD_OK;
}

td_status td_group_run_rank(td_rank *rank) {
    td_group *group = rank->group;
    td_group_control *control = group->control;
    td_cpu_flush_denormals();
    td_status status = place_segment(rank);
    if (status == TD_OK) {
        status = td_rank_barrier(rank);
    }
    if (status == TD_OK) {
        status = group->fn(rank, group->arg);
    }
    if (status != TD_OK) {
        td_rank_abort(rank, status);
    }
    /* release pairs with check_present and never_comes: all that this rank did before is visible.
     */
    atomic_store_explicit(&slot_of(rank)->ended, true, memory_order_release);
    td_event_advance(&control->ended, &group->rule);
    /* seq_cst, see td_rank_barrier. */
    if (status == TD_OK && rank->count > 1 &&
        atomic_load_explicit(&control->arrived, memory_order_seq_cst) > 0) {
        status = td_group_fail_unmatched(rank);
    }
    return status;
}

/* Sizes the heap and gives every rank its part. The control block comes first, in huge pages of its
 * own. */
static td_status lay_out(td_group *group, const td_group_options *options) {
    const td_layout *layout = &options->layout;
    size_t align = TD_HEAP_ALIGN;
    size_t control_bytes = (sizeof(td_group_control) + align - 1) / align * align;
    size_t segment_bytes = (options->segment_bytes + align - 1) / align * align;
    size_t ranks = (size_t)layout->ranks;
    if (segment_bytes < options->segment_bytes || segment_bytes > (SIZE_MAX / 2) / ranks) {
        return td_fail(TD_ENOMEM, "%zu segments of %zu bytes", ranks, options->segment_bytes);
    }
    size_t bytes = control_bytes + ranks * segment_bytes;
    td_rank_kind kind = group->ranks[0].kind;
    TD_TRY(kind == TD_RANK_MPI ? td_group_share_heap(bytes, &group->heap)
                               : td_heap_create(bytes, kind == TD_RANK_PROCESS, &group->heap));
    group->control = (td_group_control *)group->heap.base;
    for (int i = 0; i < layout->ranks; i++) {
        group->ranks[i].segment = group->heap.base + control_bytes + (size_t)i * segment_bytes;
        group->ranks[i].segment_bytes = options->segment_bytes;
    }
    return TD_OK;
}

static td_status place(td_group *group, const td_group_options *options) {
    td_topology *own = NULL;
    const td_topology *topology = options->topology;
    if (topology == NULL) {
        TD_TRY(td_topology_create_here(&own));
        topology = own;
    }
    const td_layout *layout = &options->layout;
    td_status status = td_layout_resolve(layout, topology, group->pu);
    int effective = td_topology_get_info(topology)->effective_cpus;
    int64_t caches = td_topology_cache_bytes(topology);
    td_topology_destroy(own);
    TD_TRY(status);
    int total = layout->ranks * layout->workers;
    bool shares = total > effective;
    for (int i = 0; i < total && !shares; i++) {
        for (int j = 0; j < i && !shares; j++) {
            shares = group->pu[i] >= 0 && group->pu[i] == group->pu[j];
        }
    }
    for (int i = 0; i < layout->ranks; i++) {
        group->ranks[i] = (td_rank){
            .rank = i,
            .count = layout->ranks,
            .kind = layout->ranks == 1 ? TD_RANK_THREAD : layout->kind,
            .group = group,
            .workers = layout->workers,
            .pu = group->pu + (size_t)i * (size_t)layout->workers,
            .shares_cpus = shares,
            .cache_bytes = caches,
        };
    }
    return TD_OK;
}

static void destroy_group(td_group *group) {
    if (group->left_behind) {
        return; /* a thread still uses it all */
    }
    td_heap_destroy(&group->heap);
    td_free(group->ranks);
    td_free(group->pu);
    td_free(group);
}

static td_status create_group(const td_group_options *options, td_rank_fn *fn, void *arg,
                              td_group **out) {
    const td_layout *layout = &options->layout;
    int ranks = layout->ranks, workers = layout->workers;
    if (ranks < 1 || ranks > TD_MAX_RANKS || workers < 1 || workers > TD_MAX_WORKERS) {
        return td_fail(TD_EUSAGE, "%d ranks of %d workers; expected 1 to %d and 1 to %d", ranks,
                       workers, TD_MAX_RANKS, TD_MAX_WORKERS);
    }
    bool mpi = layout->kind == TD_RANK_MPI && ranks > 1;
    int rank, launched;
    if (mpi) {
        TD_TRY(td_mpi_start());
        TD_TRY(td_mpi_fits(ranks));
    } else if (!td_mpi_started() && td_mpi_launched(&rank, &launched)) {
        return td_fail(TD_EUSAGE,
                       "%d ranks were started by mpirun, and this layout would run in each of "
                       "them; expected p%dxT:mpi",
                       launched, launched);
    }
    td_group *group = td_alloc_zero(sizeof *group);
    int *pu = td_alloc_zero((size_t)ranks * (size_t)workers * sizeof *pu);
    td_rank *list = td_alloc_zero((size_t)ranks * sizeof *list);
    if (group == NULL || pu == NULL || list == NULL) {
        td_free(group);
        td_free(pu);
        td_free(list);
        return td_fail(TD_ENOMEM, "a group of %d ranks", ranks);
    }
    *group = (td_group){
        .deadline_ns = options->deadline_ns > 0 ? options->deadline_ns : DEFAULT_DEADLINE_NS,
        .fn = fn,
        .arg = arg,
        .interleave = layout->interleave,
        .count = ranks,
        .pu = pu,
        .ranks = list,
    };
    td_status status = mpi ? td_group_place_mpi(group, layout) : place(group, options);
    if (status == TD_OK) {
        status = lay_out(group, options);
    }
    if (status != TD_OK) {
        destroy_group(group);
        return status;
    }
    group->rule =
        td_wait_rule_make(group->ranks[0].shares_cpus, group->ranks[0].kind != TD_RANK_THREAD);
    *out = group;
    return TD_OK;
}

static td_status run_alone(td_group *group) {
    td_cpu_mask before;
    td_bind_get(&before);
    td_status status = td_group_run_rank(&group->ranks[0]);
    td_bind_set(&before);
    return status;
}

/* The first failure as td_group_run reports it. */
static td_status outcome(const td_group *group) {
    if (!td_group_failed(group)) {
        return TD_OK;
    }
    return td_fail(group->control->status, "%s", group->control->text);
}

td_status td_group_run_result(const td_group_options *options, td_rank_fn *fn, void *arg,
                              void *result, size_t result_bytes) {
    TD_ASSERT(result_bytes <= options->segment_bytes);
    td_group *group = NULL;
    TD_TRY(create_group(options, fn, arg, &group));
    td_status status;
    if (group->count == 1) {
        status = run_alone(group);
    } else {
        td_rank_kind kind = group->ranks[0].kind;
        status = kind == TD_RANK_PROCESS ? td_group_run_processes(group)
                 : kind == TD_RANK_MPI   ? td_group_run_mpi(group)
                                         : td_group_run_threads(group);
        if (status == TD_OK) {
            status = outcome(group);
        }
    }
    if (result_bytes > 0) {
        memcpy(result, group->ranks[0].segment, result_bytes);
    }
    destroy_group(group);
    return status;
}

td_status td_group_run(const td_group_options *options, td_rank_fn *fn, void *arg) {
    return td_group_run_result(options, fn, arg, NULL, 0);
}
