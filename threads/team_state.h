/* SPDX-License-Identifier: Apache-2.0
 * Inside of a team; for team*.c and their tests only.
 */
#ifndef TD_THREADS_TEAM_STATE_H
#define TD_THREADS_TEAM_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <xmmintrin.h>

#include "base/memory.h"
#include "threads/barrier.h"
#include "threads/bind.h"
#include "threads/range.h"
#include "threads/team.h"
#include "threads/wait.h"

/* A region of tiles. Written before it is published, read by those who joined it. */
typedef struct td_tiles {
    td_tile_fn *fn;
    void *arg;
    int64_t count, chunk;
    unsigned mode; /* as of td_door */
    td_ticket ticket;
} td_tiles;

/* Written by its own worker inside regions, read by the caller of the team between them. */
typedef struct td_member {
    _Alignas(128) td_worker worker;
    td_wait_counts waits;
    int64_t regions, barriers;
    int64_t tiles, joined;           /* of regions of tiles: run, and regions joined */
    int64_t failed_tile;             /* its lowest failed tile of this region; -1: none */
    bool failed, told;               /* in td_team_try: it failed; a meeting told it to return */
    uint64_t open_ticks, wait_ticks; /* time in regions; the part of it spent waiting */
    uint64_t end_tsc;                /* when this worker left its last region */
    td_range range;                  /* of tiles that td_worker_tiles left to it */
    int cpu;
    int pu; /* asked for; -1: none */
    bool bound;
    int bind_error;
    pid_t tid;
    td_arena scratch;
    td_status status; /* of its set-up, later of its failure */
    char message[256];
    pthread_t thread;
} td_member;

/* All that a worker needs to enter a region, in the one line it waits on: every further line is
 * another trip between the cores, and there are two in a whole region. Published before `start`
 * advances, read by workers after; all have left before the next one is published. */
typedef union td_door {
    td_event start;
    struct {
        uint64_t of_start; /* its value and sleepers */
        /* generation << 32 | flags | workers that joined; see team_tiles.c. */
        _Atomic uint64_t state;
        td_region_fn *fn;
        void *arg;
        uint64_t open_tsc;      /* when this region was published */
        uint64_t closed_before; /* when the one before it ended */
        unsigned mode;          /* of floating point, as td_mode_now tells: the caller's */
    };
} td_door;
_Static_assert(sizeof(td_door) == sizeof(td_event), "the description fits beside its event");

/* What it takes to have help in a region of tiles, in ns. */
typedef struct td_team_costs {
    double wake;   /* an empty region of sleeping workers; 0: not measured */
    double meet;   /* the same of workers that spin */
    double ticket; /* the way of a ticket to another CPU */
} td_team_costs;

/* How to run one, decided by what its call site took the last times. */
typedef enum td_way {
    TD_WAY_CALLER, /* nobody else: what they could take over is less than meeting them costs */
    TD_WAY_AWAKE,  /* sleepers are left alone, workers that happen to be awake help */
    TD_WAY_ALL     /* sleepers are woken */
} td_way;

/* awake: whether a worker is. */
td_way td_team_way(const td_team_costs *costs, double work_ns, int64_t chunks, bool awake);

struct td_team {
    _Alignas(128) td_door door;
    _Alignas(128) td_tiles tiles;
    /* The caller's own line: whether to meet the workers at all is decided from it alone. */
    _Alignas(64) uint64_t closed_tsc; /* when the last region ended */
    td_team_costs costs;
    int forks; /* td_team_forks at creation: another value means a forked copy */
    bool running;
    _Atomic int cancelled;  /* the region that runs */
    _Atomic int verdict[2]; /* whether a meeting with that last bit found it cancelled */

    td_event left;
    td_meeting join, barrier;

    int count;
    td_wait_rule rule, rule_woken; /* the second for those who wait for sleepers they woke */
    double tsc_hz;
    td_cpu_mask caller_mask;
    char note[128];
    td_member members[];
};

/* Flags of td_team.state. */
#define TD_TEAM_ALL    (UINT64_C(1) << 31) /* every worker must run this region */
#define TD_TEAM_CLOSED (UINT64_C(1) << 30) /* nobody may join any more */
#define TD_TEAM_JOINED (TD_TEAM_CLOSED - 1)

/* Announces a region: what it is must be written already. wake: also to those who sleep. */
void td_team_publish(td_team *team, uint64_t flags, bool wake);

/* Waits until all have arrived. judge: the last looks whether the region is cancelled, for all
 * alike; returns whether it is. */
bool td_team_pass(td_worker *worker, bool judge);

/* The last to arrive, in place of td_event_advance. */
void td_team_let_pass(td_team *team, bool judge);

/* Rounding, denormals and masks of this thread's floating point, without the flags of what has
 * happened; and what makes it so. */
static inline unsigned td_mode_now(void) {
    return _mm_getcsr() & ~0x3fU;
}
static inline void td_mode_take(unsigned mode) {
    if (td_mode_now() != mode) {
        _mm_setcsr(mode);
    }
}

/* A worker's part in a region of tiles that it saw as `state`, if it is still open. */
void td_team_join_tiles(td_team *team, td_member *self, uint64_t state);

/* How often this process is a fork of the one that started: a team does not survive one. Counted
 * from the first call of td_team_count_forks. */
extern _Atomic int td_team_fork_count;
void td_team_count_forks(void);
static inline int td_team_forks(void) {
    return atomic_load_explicit(&td_team_fork_count, memory_order_relaxed);
}

/* The team whose region the calling thread is in, or NULL. */
extern _Thread_local const td_team *td_team_inside;

#endif
