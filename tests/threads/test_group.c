/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "tests/threads/fail_create.h"
#include "threads/bind.h"
#include "threads/group.h"
#include "threads/heap.h"
#include "threads/numa.h"
#include "threads/team.h"

#define MS INT64_C(1000000)

/* Ranks on whatever PUs there are. */
static td_group_options options_for(int ranks, td_rank_kind kind) {
    td_group_options options = {.segment_bytes = 1 << 16, .deadline_ns = 20000 * MS};
    options.layout = (td_layout){.ranks = ranks,
                                 .workers = 1,
                                 .kind = kind,
                                 .scope = "machine",
                                 .unit = "pu",
                                 .order = "close",
                                 .smt = 1,
                                 .over = true};
    return options;
}

static const char *kind_name(td_rank_kind kind) {
    return kind == TD_RANK_PROCESS ? "process" : "thread";
}

/* A rank that never comes back, for a test to end by other means. */
static void hang(void) {
    for (;;) {
        pause();
    }
}

/* Every (kind, ranks) the tests run over. */
typedef struct setting {
    td_rank_kind kind;
    int ranks;
} setting;

static setting settings[] = {
    {TD_RANK_THREAD, 1},  {TD_RANK_THREAD, 2},  {TD_RANK_THREAD, 5},  {TD_RANK_THREAD, 16},
    {TD_RANK_PROCESS, 1}, {TD_RANK_PROCESS, 2}, {TD_RANK_PROCESS, 5}, {TD_RANK_PROCESS, 16},
};
enum { N_SETTINGS = sizeof settings / sizeof settings[0] };

typedef struct shared_row {
    int64_t value, errors;
} shared_row;

/* Everybody writes its own segment, meets, and reads all the others. */
static td_status exchange(td_rank *rank, void *arg) {
    shared_row *mine = (shared_row *)rank->segment;
    int rounds = *(const int *)arg;
    for (size_t i = 0; i < rank->segment_bytes; i++) {
        mine->errors += rank->segment[i] != 0;
    }
    for (int round = 1; round <= rounds; round++) {
        mine->value = round * 100 + rank->rank;
        TD_TRY(td_rank_barrier(rank));
        for (int peer = 0; peer < rank->count; peer++) {
            const shared_row *theirs = td_rank_peer(rank, peer, mine);
            mine->errors += theirs->value != round * 100 + peer;
        }
        TD_TRY(td_rank_barrier(rank));
    }
    int64_t errors = 0;
    for (int peer = 0; peer < rank->count; peer++) {
        errors += ((shared_row *)td_rank_peer(rank, peer, mine))->errors;
    }
    TD_TRY(td_rank_barrier(rank));
    mine->errors = errors;
    return td_rank_failed(rank) ? td_fail(TD_ECHECK, "failed?") : TD_OK;
}

ParameterizedTestParameters(group, ranks_meet) {
    return cr_make_param_array(setting, settings, N_SETTINGS);
}

ParameterizedTest(setting *s, group, ranks_meet) {
    td_group_options options = options_for(s->ranks, s->kind);
    int rounds = 200;
    shared_row result = {0};
    cr_assert_eq(td_group_run_result(&options, exchange, &rounds, &result, sizeof result), TD_OK,
                 "%s x %d: %s", kind_name(s->kind), s->ranks, td_error());
    cr_assert_eq(result.value, 100 * rounds);
    cr_assert_eq(result.errors, 0);
}

/* The file behind an address, as the kernel names it; "" when there is none. */
static void mapped_file(const void *address, char path[256]) {
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    path[0] = '\0';
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        char name[256] = "";
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %255s", &from, &to, name) >= 2 &&
            from <= (unsigned long)address && (unsigned long)address < to) {
            memcpy(path, name, sizeof name);
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
}

static td_status look_at_place(td_rank *rank, void *arg) {
    (void)arg;
    int64_t pages, untouched = 0;
    td_cpu_mask mask, wanted = {0};
    td_bind_get(&mask);
    wanted.bits[rank->pu[0] / 64] |= 1UL << rank->pu[0] % 64;
    if (memcmp(&mask, &wanted, sizeof mask) != 0) {
        return td_fail(TD_ECHECK, "the rank may run elsewhere than on PU %d", rank->pu[0]);
    }
    if ((uintptr_t)rank->segment % (2 << 20) != 0 || rank->segment_bytes != 1 << 16) {
        return td_fail(TD_ECHECK, "segment %p of %zu", (void *)rank->segment, rank->segment_bytes);
    }
    /* A memfd has no name in any file system, so nothing can stay behind in /dev/shm. */
    char path[256];
    mapped_file(rank->segment, path);
    if (strcmp(path, rank->kind == TD_RANK_PROCESS ? "/memfd:tandem-heap" : "") != 0) {
        return td_fail(TD_ECHECK, "the heap is in \"%s\"", path);
    }
    td_status status = td_numa_histogram(rank->segment, rank->segment_bytes, &pages, 1, &untouched);
    if (status == TD_OK && td_numa_nodes() == 1 && untouched != 0) {
        return td_fail(TD_ECHECK, "%ld pages are not there", (long)untouched);
    }
    return TD_OK;
}

ParameterizedTestParameters(group, ranks_are_placed) {
    return cr_make_param_array(setting, settings, N_SETTINGS);
}

ParameterizedTest(setting *s, group, ranks_are_placed) {
    td_group_options options = options_for(s->ranks, s->kind);
    options.layout.interleave = s->ranks == 5; /* with one node: nothing to do, and no error */
    td_cpu_mask before, after;
    td_bind_get(&before);
    cr_assert_eq(td_group_run(&options, look_at_place, NULL), TD_OK, "%s", td_error());
    td_bind_get(&after);
    cr_assert_arr_eq(&before, &after, sizeof before, "the caller's mask is as before");
}

/* Whether the kernel gives huge pages to processes: since 6.1, unless it is told to deny them. */
static bool gives_huge_pages(void) {
    td_heap heap;
    td_pages pages = {0};
    cr_assert_eq(td_heap_create(TD_HEAP_ALIGN, true, &heap), TD_OK);
    td_heap_touch_huge(heap.base, heap.bytes);
    cr_assert_eq(td_pages_add(heap.base, heap.bytes, &pages), TD_OK);
    cr_assert_eq(heap.base[heap.bytes - 1], 0);
    td_heap_destroy(&heap);
    return pages.huge_bytes == TD_HEAP_ALIGN;
}

/* Two huge pages and a few small ones in every segment; each rank reads those of all. */
static td_status look_at_pages(td_rank *rank, void *arg) {
    (void)arg;
    td_pages pages = {0};
    for (int peer = 0; peer < rank->count; peer++) {
        const unsigned char *segment = td_rank_peer(rank, peer, rank->segment);
        for (size_t i = 0; i < rank->segment_bytes; i += 4096) {
            if (segment[i] != 0) {
                return td_fail(TD_ECHECK, "byte %zu of rank %d is not 0", i, peer);
            }
        }
    }
    TD_TRY(td_pages_add(rank->segment, rank->segment_bytes, &pages));
    int64_t wanted = (int64_t)rank->count * 2 * TD_HEAP_ALIGN;
    return pages.huge_bytes == wanted ? TD_OK
                                      : td_fail(TD_ECHECK, "%lld bytes in huge pages, not %lld",
                                                (long long)pages.huge_bytes, (long long)wanted);
}

Test(group, processes_have_huge_pages) {
    td_group_options options = options_for(3, TD_RANK_PROCESS);
    options.segment_bytes = 2 * TD_HEAP_ALIGN + 12345;
    if (!gives_huge_pages()) {
        cr_skip_test("this kernel gives processes no huge pages");
    }
    cr_assert_eq(td_group_run(&options, look_at_pages, NULL), TD_OK, "%s", td_error());
}

/* How one rank of three goes wrong while the others wait at a barrier, and what must come of it. */
typedef enum fault {
    RETURNS_ERROR,
    RETURNS_EARLY,
    ABORTS,
    NEVER_ARRIVES,
    NEVER_ENDS,
    KILLED,
    ABORTED,
    STOPPED,
    EXITS,
} fault;

typedef struct fault_case {
    fault fault;
    td_rank_kind kind;
    td_status status;
    const char *message;
} fault_case;

static const fault_case faults[] = {
    {RETURNS_ERROR, TD_RANK_THREAD, TD_EINPUT, "rank 1: the shard \"x\" is cut at byte 17"},
    {RETURNS_ERROR, TD_RANK_PROCESS, TD_EINPUT, "rank 1: the shard \"x\" is cut at byte 17"},
    {RETURNS_EARLY, TD_RANK_THREAD, TD_EPEER, "rank 1 returned while others wait at a barrier"},
    {RETURNS_EARLY, TD_RANK_PROCESS, TD_EPEER, "rank 1 returned while others wait at a barrier"},
    {ABORTS, TD_RANK_THREAD, TD_ENOMEM, "rank 1: no room"},
    {ABORTS, TD_RANK_PROCESS, TD_ENOMEM, "rank 1: no room"},
    {NEVER_ARRIVES, TD_RANK_THREAD, TD_ETIMEDOUT, "rank 1 did not reach the barrier within 1.5 s"},
    {NEVER_ARRIVES, TD_RANK_PROCESS, TD_ETIMEDOUT, "rank 1 did not reach the barrier within 1.5 s"},
    {NEVER_ENDS, TD_RANK_THREAD, TD_ETIMEDOUT, "rank 1 did not end within 1.5 s of the others"},
    {NEVER_ENDS, TD_RANK_PROCESS, TD_ETIMEDOUT, "rank 1 did not end within 1.5 s of the others"},
    {KILLED, TD_RANK_PROCESS, TD_EPEER, "rank 1 was killed by signal 9 (SIGKILL)"},
    {ABORTED, TD_RANK_PROCESS, TD_EPEER, "rank 1 was killed by signal 6 (SIGABRT)"},
    {STOPPED, TD_RANK_PROCESS, TD_ETIMEDOUT, "rank 1 did not reach the barrier within 1.5 s"},
    {EXITS, TD_RANK_PROCESS, TD_EPEER, "rank 1 exited with code 7 before it returned"},
};
enum { N_FAULTS = sizeof faults / sizeof faults[0] };

/* In memory that children share, so that the test sees the pids and what the others were told. */
typedef struct witness {
    _Atomic int pids[16];
    _Atomic int told[16]; /* status of the barrier that failed */
} witness;

static witness *make_witness(void) {
    witness *w = mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(w, MAP_FAILED);
    return w;
}

typedef struct fault_plan {
    fault fault;
    witness *witness;
} fault_plan;

static td_status go_wrong(td_rank *rank, fault how) {
    switch (how) {
    case RETURNS_ERROR:
        return td_fail(TD_EINPUT, "the shard \"x\" is cut at byte 17");
    case RETURNS_EARLY:
        return TD_OK;
    case ABORTS:
        td_rank_abort(rank, td_fail(TD_ENOMEM, "no room"));
        return TD_OK;
    case NEVER_ARRIVES:
    case NEVER_ENDS:
        hang();
        break;
    case KILLED:
        raise(SIGKILL);
        break;
    case ABORTED:
        signal(SIGABRT, SIG_DFL);
        abort();
    case STOPPED:
        raise(SIGSTOP);
        break;
    case EXITS:
        _exit(7);
    }
    return td_fail(TD_ECHECK, "still here");
}

static td_status meet_a_faulty_rank(td_rank *rank, void *arg) {
    const fault_plan *plan = arg;
    plan->witness->pids[rank->rank] = getpid();
    td_status status = TD_OK;
    for (int round = 0; round < 20 && status == TD_OK; round++) {
        status = td_rank_barrier(rank);
    }
    /* A rank that was slow to leave the last of them may be told there. */
    if (status != TD_OK) {
        plan->witness->told[rank->rank] = (int)status;
        return status;
    }
    if (rank->rank == 1) {
        return go_wrong(rank, plan->fault);
    }
    if (plan->fault == NEVER_ENDS) {
        return TD_OK;
    }
    status = td_rank_barrier(rank);
    plan->witness->told[rank->rank] = (int)status;
    return status;
}

static bool is_gone(int pid) {
    return kill(pid, 0) != 0 && errno == ESRCH;
}

ParameterizedTestParameters(group, one_faulty_rank_ends_all) {
    /* Indices: a parameter is copied to another process, where its pointers mean nothing. */
    static int rows[N_FAULTS];
    for (int i = 0; i < N_FAULTS; i++) {
        rows[i] = i;
    }
    return cr_make_param_array(int, rows, N_FAULTS);
}

ParameterizedTest(int *row, group, one_faulty_rank_ends_all) {
    const fault_case *c = &faults[*row];
    td_group_options options = options_for(3, c->kind);
    if (c->status == TD_ETIMEDOUT) {
        options.deadline_ns = 1500 * MS; /* far beyond what a busy machine delays a rank */
    }
    fault_plan plan = {.fault = c->fault, .witness = make_witness()};
    td_status status = td_group_run(&options, meet_a_faulty_rank, &plan);
    cr_expect_eq(status, c->status, "%s", td_status_name(status));
    cr_expect_str_eq(td_error(), c->message);
    /* Ended by the failure and not by their deadline. */
    for (int i = 0; i < 3; i++) {
        if (i != 1 && c->fault != NEVER_ENDS) {
            int told = plan.witness->told[i];
            cr_expect(told == TD_EPEER || (told == TD_ETIMEDOUT && c->status == TD_ETIMEDOUT),
                      "rank %d was told %d", i, told);
        }
        cr_expect(c->kind == TD_RANK_THREAD || is_gone(plan.witness->pids[i]),
                  "rank %d is still there", i);
    }
}

/* A rank is killed while the others are busy with something else: they must be ended all the same.
 */
static td_status hang_unless_first(td_rank *rank, void *arg) {
    witness *w = arg;
    w->pids[rank->rank] = getpid();
    TD_TRY(td_rank_barrier(rank));
    if (rank->rank == 0) {
        raise(SIGKILL);
    }
    hang();
    return TD_OK;
}

Test(group, killed_rank_ends_busy_ones) {
    witness *w = make_witness();
    td_group_options options = options_for(4, TD_RANK_PROCESS);
    cr_assert_eq(td_group_run(&options, hang_unless_first, w), TD_EPEER);
    cr_assert_str_eq(td_error(), "rank 0 was killed by signal 9 (SIGKILL)");
    for (int i = 0; i < 4; i++) {
        cr_assert(is_gone(w->pids[i]), "rank %d is still there", i);
    }
}

static td_status fail_alone(td_rank *rank, void *arg) {
    (void)arg;
    memcpy(rank->segment, "kept", 5);
    return td_fail(TD_ECHECK, "as it was said");
}

Test(group, a_single_rank_keeps_its_own_error) {
    td_group_options options = options_for(1, TD_RANK_PROCESS);
    char result[5] = "";
    cr_assert_eq(td_group_run_result(&options, fail_alone, NULL, result, 5), TD_ECHECK);
    cr_assert_str_eq(td_error(), "as it was said");
    cr_assert_str_eq(result, "kept");
}

static td_status one_team_each(td_rank *rank, void *arg) {
    (void)arg;
    td_team *team = NULL;
    td_team_options options = {
        .workers = rank->workers, .pu = rank->pu, .shares_cpus = rank->shares_cpus};
    TD_TRY(td_team_create(&options, &team));
    int bound = td_team_bound(team);
    td_team_destroy(team);
    return bound == rank->workers ? TD_OK : td_fail(TD_ECHECK, "%d bound", bound);
}

ParameterizedTestParameters(group, ranks_have_teams) {
    return cr_make_param_array(setting, settings, N_SETTINGS);
}

ParameterizedTest(setting *s, group, ranks_have_teams) {
    td_group_options options = options_for(s->ranks, s->kind);
    options.layout.workers = 3;
    cr_assert_eq(td_group_run(&options, one_team_each, NULL), TD_OK, "%s", td_error());
}

static int count_entries(const char *path) {
    DIR *directory = opendir(path);
    int count = 0;
    if (directory != NULL) {
        while (readdir(directory) != NULL) {
            count++;
        }
        closedir(directory);
    }
    return count;
}

static int count_maps(void) {
    FILE *maps = fopen("/proc/self/maps", "re");
    int count = 0;
    for (int c; maps != NULL && (c = fgetc(maps)) != EOF;) {
        count += c == '\n';
    }
    fclose(maps);
    return count;
}

static td_status meet_once(td_rank *rank, void *arg) {
    (void)arg;
    return td_rank_barrier(rank);
}

Test(group, two_hundred_groups_leave_nothing) {
    td_group_options options = options_for(2, TD_RANK_PROCESS);
    int files = 0, maps = 0;
    for (int i = 0; i < 202; i++) {
        if (i == 2) { /* after whatever a library maps once */
            files = count_entries("/proc/self/fd");
            maps = count_maps();
        }
        options.layout.kind = i % 2 == 0 ? TD_RANK_PROCESS : TD_RANK_THREAD;
        cr_assert_eq(td_group_run(&options, meet_once, NULL), TD_OK, "%s", td_error());
    }
    cr_assert_eq(count_entries("/proc/self/fd"), files);
    cr_assert_leq(count_maps(), maps + 2, "mappings leak");
    cr_assert(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "a child was not collected");
}

/* Interrupts: every rank counts what the parent got, once, wherever it was sent. */
typedef struct interrupt_plan {
    bool whole_group; /* to parent and ranks, as a terminal or `timeout` does */
    int signal;
    witness *witness;
} interrupt_plan;

static td_status wait_for_interrupt(td_rank *rank, void *arg) {
    const interrupt_plan *plan = arg;
    plan->witness->pids[rank->rank] = getpid();
    TD_TRY(td_rank_barrier(rank));
    if (rank->rank == 0) {
        bool thread = rank->kind == TD_RANK_THREAD;
        kill(plan->whole_group ? 0 : (thread ? getpid() : getppid()), plan->signal);
    }
    while (td_interrupted() == 0) {
        sched_yield();
    }
    for (int round = 0; round < 2000; round++) { /* time for a second delivery, if there is one */
        TD_TRY(td_rank_barrier(rank));
    }
    plan->witness->told[rank->rank] = td_interrupted();
    return td_fail(TD_EINTERRUPTED, "interrupted");
}

/* Or the test runner would be interrupted too. */
static void lead_own_process_group(void) {
    setpgid(0, 0); /* refused for a session leader, which is one already */
    cr_assert_eq(getpgrp(), getpid());
}

static interrupt_plan interrupt_plans[] = {
    {false, SIGINT, NULL}, {true, SIGINT, NULL}, {false, SIGTERM, NULL}, {true, SIGTERM, NULL}};

ParameterizedTestParameters(group, interrupts_reach_every_rank_once) {
    return cr_make_param_array(interrupt_plan, interrupt_plans, 4);
}

ParameterizedTest(interrupt_plan *p, group, interrupts_reach_every_rank_once, .timeout = 60) {
    lead_own_process_group();
    interrupt_plan plan = *p;
    plan.witness = make_witness();
    td_group_options options = options_for(3, TD_RANK_PROCESS);
    cr_assert_eq(td_group_run(&options, wait_for_interrupt, &plan), TD_EINTERRUPTED, "%s",
                 td_error());
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(plan.witness->told[i], 1, "rank %d counted %d", i, plan.witness->told[i]);
    }
    cr_assert_eq(td_interrupted(), 1);
}

Test(group, interrupts_reach_thread_ranks, .timeout = 60) {
    lead_own_process_group();
    interrupt_plan plan = {.signal = SIGINT, .witness = make_witness()};
    td_group_options options = options_for(3, TD_RANK_THREAD);
    td_interrupt_install();
    cr_assert_eq(td_group_run(&options, wait_for_interrupt, &plan), TD_EINTERRUPTED);
    cr_assert_eq(plan.witness->told[2], 1);
}

/* The parent is killed: no rank may survive it. */
static td_status report_and_hang(td_rank *rank, void *arg) {
    witness *w = arg;
    w->pids[rank->rank] = getpid();
    hang();
    return TD_OK;
}

Test(group, no_orphans_when_the_parent_is_killed, .timeout = 60) {
    witness *w = make_witness();
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* orphans come here, so that their end can be waited for */
    pid_t parent = fork();
    if (parent == 0) {
        td_group_options options = options_for(2, TD_RANK_PROCESS);
        td_group_run(&options, report_and_hang, w);
        _exit(0);
    }
    while (w->pids[0] == 0 || w->pids[1] == 0) {
        sched_yield();
    }
    kill(parent, SIGKILL);
    for (int ended = 0; ended < 3; ended++) {
        int status;
        cr_assert_gt(waitpid(-1, &status, 0), 0); /* the test's own timeout is the judge */
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
}

Test(group, refuses_what_it_cannot_do) {
    td_group_options options = options_for(2, TD_RANK_MPI);
    cr_assert_eq(td_group_run(&options, meet_once, NULL), TD_ESKIP);
    options = options_for(0, TD_RANK_THREAD);
    cr_assert_eq(td_group_run(&options, meet_once, NULL), TD_EUSAGE);
    options = options_for(4, TD_RANK_PROCESS);
    options.segment_bytes = SIZE_MAX / 8;
    cr_assert_eq(td_group_run(&options, meet_once, NULL), TD_ENOMEM);
    cr_assert_neq(strlen(td_error()), 0);
    options = options_for(64, TD_RANK_THREAD);
    options.layout.over = false;
    cr_assert_eq(td_group_run(&options, meet_once, NULL), TD_EUSAGE, "more ranks than PUs");
}

Test(group, refused_threads_unwind) {
    for (int allowed = 0; allowed < 3; allowed++) {
        td_group_options options = options_for(3, TD_RANK_THREAD);
        td_test_allow_threads(allowed);
        cr_assert_eq(td_group_run(&options, meet_once, NULL), TD_ESYS);
        td_test_allow_threads(-1);
        cr_assert_eq(td_test_unjoined_threads(), 0, "a rank was left behind");
        char expected[96];
        snprintf(expected, sizeof expected, "create the thread of rank %d of 3: %s", allowed,
                 strerror(EAGAIN));
        cr_assert_str_eq(td_error(), expected);
    }
}
