/* SPDX-License-Identifier: Apache-2.0
 * Ranks that mpirun has started: each runs td_group_run itself, and is one rank of the group.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "threads/group_state.h"
#include "threads/mpi_ranks.h"

/* What ranks tell each other before they have memory in common. */
typedef struct introduction {
    int pid, heap; /* heap: a descriptor of the process */
    td_cpu_mask cpus;
} introduction;

static void introduce(introduction *out, int heap) {
    *out = (introduction){.pid = (int)getpid(), .heap = heap, .cpus = *td_mpi_cpus()};
}

/* The PUs of this rank: of those it was bound to, or, when the ranks of its machine were bound to
 * the same ones, its share by the layout. */
static td_status find_pus(const td_layout *layout, const introduction *all, int *pu, bool *shares,
                          int64_t *caches) {
    const introduction *mine = &all[td_mpi_rank()];
    td_layout here = *layout;
    int local = 0, locals = 0;
    bool alike = true;
    for (int i = 0; i < layout->ranks; i++) {
        if (td_mpi_host_of(i) == td_mpi_host_of(td_mpi_rank())) {
            local += i < td_mpi_rank();
            locals++;
            alike = alike && memcmp(&all[i].cpus, &mine->cpus, sizeof mine->cpus) == 0;
        }
    }
    here.ranks = alike ? locals : 1;
    td_cpu_mask before;
    td_topology *topology = NULL;
    td_bind_get(&before);
    td_bind_set(&mine->cpus);
    td_status status = td_topology_create(NULL, &topology);
    td_bind_set(&before);
    TD_TRY(status);
    int slots[TD_MAX_WORKERS];
    status = td_layout_resolve(&here, topology, slots);
    *shares = here.ranks * here.workers > td_topology_get_info(topology)->effective_cpus;
    *caches = td_topology_cache_bytes(topology);
    td_topology_destroy(topology);
    if (status == TD_OK) {
        memcpy(pu, slots + (alike ? local * layout->workers : 0),
               (size_t)layout->workers * sizeof *pu);
    }
    return status;
}

static bool shares_with(const td_cpu_mask *used, int ranks) {
    const td_cpu_mask *mine = &used[td_mpi_rank()];
    for (int i = 0; i < ranks; i++) {
        bool beside = i != td_mpi_rank() && td_mpi_host_of(i) == td_mpi_host_of(td_mpi_rank());
        for (size_t word = 0; word < sizeof mine->bits / sizeof mine->bits[0]; word++) {
            if (beside && (used[i].bits[word] & mine->bits[word]) != 0) {
                return true;
            }
        }
    }
    return false;
}

td_status td_group_place_mpi(td_group *group, const td_layout *layout) {
    introduction mine, all[TD_MAX_RANKS];
    td_cpu_mask used = {0}, all_used[TD_MAX_RANKS];
    const int bits = 8 * (int)sizeof used.bits[0];
    int *pu = group->pu + (size_t)td_mpi_rank() * (size_t)layout->workers;
    bool shares = false;
    int64_t caches = 0;
    introduce(&mine, -1);
    TD_TRY(td_mpi_exchange(&mine, all, sizeof mine));
    group->apart = td_mpi_hosts() > 1;
    TD_TRY(td_mpi_agree(find_pus(layout, all, pu, &shares, &caches)));
    for (int w = 0; w < layout->workers; w++) {
        unsigned long bit = 1UL << (pu[w] % bits), *word = &used.bits[pu[w] / bits];
        shares = shares || (*word & bit) != 0;
        *word |= bit;
    }
    TD_TRY(td_mpi_exchange(&used, all_used, sizeof used));
    shares = shares || shares_with(all_used, layout->ranks);
    for (int i = 0; i < layout->ranks; i++) {
        group->ranks[i] = (td_rank){.rank = i,
                                    .count = layout->ranks,
                                    .kind = TD_RANK_MPI,
                                    .apart = group->apart,
                                    .group = group,
                                    .workers = layout->workers,
                                    .pu = group->pu + (size_t)i * (size_t)layout->workers,
                                    .shares_cpus = shares,
                                    .cache_bytes = caches};
    }
    return TD_OK;
}

/* Rank 0 makes the heap; the others open it through its process, so that it has no name. On
 * several hosts each has one of its own, in which the segments of others are room that nobody
 * touches. */
td_status td_group_share_heap(size_t bytes, td_heap *out) {
    introduction mine, all[TD_MAX_RANKS];
    if (td_mpi_hosts() > 1) {
        return td_mpi_agree(td_heap_create(bytes, true, out));
    }
    int fd = -1;
    td_status status = TD_OK;
    if (td_mpi_rank() == 0) {
        status = td_heap_file(bytes, &fd);
    }
    introduce(&mine, fd);
    TD_TRY(td_mpi_exchange(&mine, all, sizeof mine));
    if (td_mpi_rank() > 0 && all[0].heap >= 0) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/fd/%d", all[0].pid, all[0].heap);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0) {
            status = td_fail(TD_ESKIP, "rank %d cannot open the memory of rank 0 (%s): %s",
                             td_mpi_rank(), path, strerror(errno));
        }
    }
    if (fd >= 0) {
        status = td_heap_map(fd, bytes, out);
    }
    status = td_mpi_agree(status);
    if (fd >= 0) {
        close(fd); /* all have mapped it, or nobody will */
    }
    return status;
}

td_status td_group_run_mpi(td_group *group) {
    td_event *ended = &group->control->ended;
    int64_t waited_ns = 0, last_ns = 0, grace_ns = 0, grace_last_ns = 0;
    td_cpu_mask before;
    td_bind_get(&before);
    td_group_run_rank(&group->ranks[td_mpi_rank()]);
    td_bind_set(&before);
    if (group->apart) {
        td_apart_tell(group);
    }
    while (!(group->apart ? td_apart_ended(group)
                          : td_event_wait(ended, (uint32_t)group->count, &group->rule,
                                          TD_WAIT_SLICE_NS, NULL)) &&
           !td_group_grace_over(group, TD_WAIT_SLICE_NS, &grace_ns, &grace_last_ns)) {
        td_group_check_end(group, TD_WAIT_SLICE_NS, &waited_ns, &last_ns);
    }
    td_mpi_next_group(td_group_failed(group));
    return TD_OK;
}
