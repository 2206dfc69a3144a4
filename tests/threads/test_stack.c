/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/threads/chain.h"
#include "tests/threads/planted_board.h"
#include "threads/monitor.h"
#include "threads/stack.h"
#include "threads/stack_module.h"
#include "threads/team.h"

enum { SAMPLES = 300, DEPTH = 48 };

/* Bounds that only make a failure out of hanging. */
static bool in_time(int64_t *end) {
    int64_t now = td_now_ns();
    *end = *end == 0 ? now + INT64_C(20000000000) : *end;
    sched_yield();
    return now < *end;
}

static void await_rounds(const planted_board *board, long more) {
    int64_t end = 0;
    long rounds = board->rounds;
    while (board->rounds < rounds + more && in_time(&end)) {
    }
    cr_assert_geq(board->rounds, rounds + more, "the observed thread does not go on");
}

static pid_t plant(const char *how, planted_board **out) {
    int fd = memfd_create("board", 0);
    cr_assert(fd >= 0 && ftruncate(fd, sizeof **out) == 0);
    planted_board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq((void *)board, MAP_FAILED);
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    pid_t pid = fork();
    if (pid == 0) {
        execl(TD_PLANTED_STACKS, TD_PLANTED_STACKS, number, how, NULL);
        _exit(127);
    }
    int64_t end = 0;
    while (board->tid == 0 && in_time(&end)) {
    }
    cr_assert_neq(board->tid, 0, "%s did not start", TD_PLANTED_STACKS);
    *out = board;
    return pid;
}

static void uproot(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static td_stacks *open_stacks(int pid) {
    td_stacks *stacks = NULL;
    td_status status = td_stacks_open(pid, &stacks);
    if (status == TD_ESKIP) {
        cr_skip("%s", td_error());
    }
    cr_assert_eq(status, TD_OK, "%s", td_error());
    return stacks;
}

/* Whether chain_9 to chain_1 stand in the stack one above the other, each with its file. */
static bool has_chain(const td_frame *frame, int count) {
    int found = 0;
    for (int i = 0; i < count && found < 9; i++) {
        char name[16];
        snprintf(name, sizeof name, "chain_%d", 9 - found);
        bool fits = strcmp(frame[i].function, name) == 0 && strstr(frame[i].place, "chain.h:");
        if (!fits && found > 0) {
            return false;
        }
        found += fits;
    }
    return found == 9;
}

static void expect_free(int pid, int tid) {
    char status[4096];
    cr_assert_gt(td_proc_read(status, sizeof status, "/proc/%d/task/%d/status", pid, tid), 0);
    cr_assert_eq(td_proc_field(status, "TracerPid"), 0, "it is still traced");
}

/* As written in the source, without parameters; as the linker has it where libstdc++ is not. */
static bool has_name_of_cxx(const td_frame *frame, int count) {
    for (int i = 0; i < count; i++) {
        if (strcmp(frame[i].function, "sleepy::sleep_on") == 0) {
            return true;
        }
    }
    return dlopen("libstdc++.so.6", RTLD_NOW) == NULL;
}

ParameterizedTestParameters(stack, a_chain_of_another_process_is_found) {
    static char how[][8] = {"sleep", "spin"};
    return cr_make_param_array(char[8], how, 2);
}

ParameterizedTest(char (*how)[8], stack, a_chain_of_another_process_is_found) {
    planted_board *board;
    pid_t pid = plant(*how, &board);
    await_rounds(board, 1);
    td_stacks *stacks = open_stacks(pid);
    td_frame frame[DEPTH];
    int found = 0, count;
    int64_t stopped_ns;
    for (int i = 0; i < SAMPLES; i++) {
        cr_assert_eq(td_stacks_read(stacks, board->tid, frame, DEPTH, &count, &stopped_ns), TD_OK,
                     "%s", td_error());
        cr_assert_gt(stopped_ns, 0);
        found += has_chain(frame, count);
    }
    cr_expect_geq(found * 100, SAMPLES * 99, "%d of %d samples", found, SAMPLES);
    cr_expect(strcmp(*how, "sleep") != 0 || has_name_of_cxx(frame, count));
    cr_expect_eq(td_stacks_read(stacks, board->tid, frame, 3, &count, &stopped_ns), TD_OK);
    cr_expect_eq(count, 3, "cut at what was asked for");
    /* What is stopped by this is seen by the call it was in, which shows that the count works. */
    cr_expect(strcmp(*how, "sleep") != 0 || board->interrupted > 0);
    expect_free(pid, board->tid);
    await_rounds(board, 3);
    td_stacks_close(stacks);
    uproot(pid);
}

Test(stack, looking_without_stacks_interrupts_nothing) {
    planted_board *board;
    td_thread_list list;
    pid_t pid = plant("sleep", &board);
    await_rounds(board, 1);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(td_monitor_deadlocks(&pid, 1, &list), TD_OK, "%s", td_error());
        cr_assert_eq(list.count, 2);
        td_thread_list_destroy(&list);
    }
    await_rounds(board, 3);
    cr_expect_eq(board->interrupted, 0, "%ld calls ended with EINTR", board->interrupted);
    uproot(pid);
}

/* Wherever the observer dies, what it looked at goes on. */
Test(stack, an_interrupted_observer_lets_go, .timeout = 120) {
    planted_board *board;
    pid_t pid = plant("sleep", &board);
    td_stacks_close(open_stacks(pid));
    for (int round = 0; round < 40; round++) {
        long looks = board->looks;
        pid_t observer = fork();
        if (observer == 0) {
            td_stacks *stacks = NULL;
            td_frame frame[DEPTH];
            int count;
            int64_t stopped_ns;
            td_status status = td_stacks_open(pid, &stacks);
            for (; status == TD_OK; board->looks++) {
                status = td_stacks_read(stacks, board->tid, frame, DEPTH, &count, &stopped_ns);
            }
            _exit(1);
        }
        int64_t end = 0;
        while (board->looks < looks + 2 && in_time(&end)) {
        }
        for (int64_t moment = td_now_ns() + round * 7919; td_now_ns() < moment;) {
        }
        kill(observer, SIGINT);
        int status;
        cr_assert_eq(waitpid(observer, &status, 0), observer);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "round %d: %x", round,
                  (unsigned)status);
        expect_free(pid, board->tid);
        await_rounds(board, 2);
    }
    uproot(pid);
}

/* A thread that nothing can stop: a parent in vfork. The look ends, and leaves no trace. */
Test(stack, what_does_not_stop_is_left_alone) {
    planted_board *board;
    pid_t pid = plant("vfork", &board);
    td_stacks *stacks = open_stacks(pid);
    td_frame frame[DEPTH];
    int64_t stopped_ns, end = 0;
    int count;
    while (board->child == 0 && in_time(&end)) {
    }
    cr_assert_eq(td_stacks_read(stacks, board->tid, frame, DEPTH, &count, &stopped_ns), TD_ESYS);
    cr_expect(strstr(td_error(), "did not stop in time (state D)"), "%s", td_error());
    expect_free(pid, board->tid);
    cr_assert_eq(td_stacks_read(stacks, pid, frame, DEPTH, &count, &stopped_ns), TD_OK,
                 "the other thread: %s", td_error());
    cr_assert_eq(board->rounds, 0);
    kill(board->child, SIGKILL);
    await_rounds(board, 3);
    cr_assert_eq(td_stacks_read(stacks, board->tid, frame, DEPTH, &count, &stopped_ns), TD_OK, "%s",
                 td_error());
    cr_expect(has_chain(frame, count));
    td_stacks_close(stacks);
    uproot(pid);
}

Test(stack, a_process_that_cannot_be_looked_into_is_named) {
    planted_board *board;
    td_stacks *stacks = NULL;
    td_frame frame[DEPTH];
    int count;
    int64_t stopped_ns;
    pid_t pid = plant("sleep", &board);
    td_stacks_close(open_stacks(pid));
    if (geteuid() == 0) {
        pid_t stranger = fork();
        if (stranger == 0) {
            _exit(setuid(65534) == 0 && td_stacks_open(pid, &stacks) == TD_ESYS &&
                          strstr(td_error(), "Permission denied") != NULL
                      ? 0
                      : 1);
        }
        int status;
        waitpid(stranger, &status, 0);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", (unsigned)status);
    }
    stacks = open_stacks(pid);
    cr_expect_eq(td_stacks_read(stacks, 1 << 22, frame, DEPTH, &count, &stopped_ns), TD_ESYS);
    cr_expect(strstr(td_error(), "it ended"), "%s", td_error());
    uproot(pid);
    cr_expect_eq(td_stacks_read(stacks, pid, frame, DEPTH, &count, &stopped_ns), TD_ESYS);
    td_stacks_close(stacks);
    cr_expect_eq(td_stacks_open(pid, &stacks), TD_ESYS);
}

/* ---- threads of this process ---- */

typedef struct inhabitant {
    _Atomic int tid, end;
    _Atomic long rounds;
    bool blocks;
} inhabitant;

static int stay(void *arg) {
    inhabitant *me = arg;
    for (; !me->end; me->rounds++) {
    }
    return 0;
}

static void *inhabit(void *arg) {
    inhabitant *me = arg;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(me->blocks ? SIG_BLOCK : SIG_UNBLOCK, &all, NULL);
    me->tid = (int)syscall(SYS_gettid);
    chain_1(stay, me);
    return NULL;
}

Test(stack, a_chain_of_this_process_is_found) {
    inhabitant me = {0}, deaf = {.blocks = true};
    pthread_t thread[2];
    td_stacks *stacks = open_stacks((int)getpid());
    pthread_create(&thread[0], NULL, inhabit, &me);
    pthread_create(&thread[1], NULL, inhabit, &deaf);
    while (me.rounds == 0 || deaf.rounds == 0) {
        sched_yield();
    }
    td_frame frame[DEPTH];
    int found = 0, count;
    int64_t stopped_ns;
    for (int i = 0; i < SAMPLES; i++) {
        cr_assert_eq(td_stacks_read(stacks, me.tid, frame, DEPTH, &count, &stopped_ns), TD_OK, "%s",
                     td_error());
        found += has_chain(frame, count);
    }
    cr_expect_geq(found * 100, SAMPLES * 99, "%d of %d samples", found, SAMPLES);
    cr_assert_eq(td_stacks_read(stacks, deaf.tid, frame, DEPTH, &count, &stopped_ns), TD_ESYS);
    cr_expect(strstr(td_error(), "it blocks signal 37"), "%s", td_error());
    cr_assert_eq(td_stacks_read(stacks, (int)getpid(), frame, DEPTH, &count, &stopped_ns), TD_OK);
    bool own = false;
    for (int i = 0; i < count; i++) {
        own = own || strcmp(frame[i].function, "td_stacks_read") == 0;
    }
    cr_expect(own, "td_stacks_read is not in its own caller's stack of %d frames", count);
    me.end = deaf.end = 1;
    pthread_join(thread[0], NULL);
    pthread_join(thread[1], NULL);
    td_stacks_close(stacks);
}

static void chain_in_region(void *arg, td_worker *worker) {
    inhabitant *me = arg;
    if (worker->id == 1) {
        me->tid = (int)syscall(SYS_gettid);
        chain_1(stay, me);
        return;
    }
    while (me->rounds == 0) {
        sched_yield();
    }
    td_stacks *stacks = NULL;
    td_frame frame[DEPTH];
    int count = 0;
    int64_t stopped_ns;
    if (td_stacks_open((int)getpid(), &stacks) == TD_OK &&
        td_stacks_read(stacks, me->tid, frame, DEPTH, &count, &stopped_ns) == TD_OK) {
        me->blocks = has_chain(frame, count);
    }
    td_stacks_close(stacks);
    me->end = 1;
}

/* Workers block signals, but not this one. */
Test(stack, a_worker_of_a_team_answers) {
    td_stacks_close(open_stacks((int)getpid()));
    td_team *team = NULL;
    td_team_options options = {.workers = 2, .shares_cpus = true};
    inhabitant me = {0};
    cr_assert_eq(td_team_create(&options, &team), TD_OK, "%s", td_error());
    td_team_run(team, chain_in_region, &me);
    cr_expect(me.blocks, "%s", td_error());
    td_team_destroy(team);
}

Test(stack, a_signal_in_use_is_not_taken) {
    td_stacks *stacks = NULL;
    signal(td_stack_signal(), SIG_IGN);
    td_status status = td_stacks_open((int)getpid(), &stacks);
    if (status == TD_ESKIP) {
        cr_skip("%s", td_error());
    }
    cr_expect_eq(status, TD_ESYS);
    cr_expect(strstr(td_error(), "in use"), "%s", td_error());
}

/* ---- rules that are kept, against libdw ---- */

enum { WALKED_BYTES = 1 << 15 };

typedef struct capture {
    const td_stack_module *module;
    void *process;
    int compared;
} capture;
static capture *capturing;

/* The frames above the caller, by both ways from one copy of this thread. */
__attribute__((noinline)) static int compare_walks(void *arg) {
    capture *c = arg;
    ucontext_t context;
    static const int in_order[TD_STACK_REGISTERS] = {
        REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
        REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
    static unsigned char data[WALKED_BYTES];
    static td_frame kept[DEPTH], libdw[DEPTH];
    td_stack_copy copy = {.pid = (int)getpid(), .tid = (int)gettid(), .data = data};
    cr_assert_eq(getcontext(&context), 0);
    for (int i = 0; i < TD_STACK_REGISTERS; i++) {
        copy.registers[i] = (uint64_t)context.uc_mcontext.gregs[in_order[i]];
    }
    copy.base = (uint64_t)context.uc_mcontext.gregs[REG_RSP] & ~UINT64_C(15);
    copy.bytes = td_proc_memory_read(copy.pid, copy.base, data, WALKED_BYTES);
    for (int turn = 0; turn < 2; turn++) { /* rules are looked up, then found */
        int n = c->module->walk(c->process, &copy, kept, DEPTH);
        int m = c->module->walk_by_libdw(c->process, &copy, libdw, DEPTH);
        cr_assert_eq(n, m, "%d and %d frames", n, m);
        for (int i = 0; i < n; i++) {
            cr_assert_eq(kept[i].pc, libdw[i].pc, "frame %d of %d: %s and %s", i, n,
                         kept[i].function, libdw[i].function);
        }
        c->compared += n > 4;
    }
    return 0;
}

static void compare_in_handler(int signal) {
    (void)signal;
    compare_walks(capturing);
}

/* Two frames of the C library and of a signal between the chain and the comparison. */
static int compare_everywhere(void *arg) {
    size_t bytes = 64 + (size_t)((capture *)arg)->compared % 7;
    char *room = __builtin_alloca(bytes); /* a frame found by its frame pointer */
    memset(room, 1, bytes);
    compare_walks(arg);
    raise(SIGUSR1);
    return room[3];
}

static void *compare_in_thread(void *arg) {
    chain_1(compare_everywhere, arg);
    return NULL;
}

static int compare_while_sorting(const void *a, const void *b) {
    compare_walks(capturing);
    return *(const int *)a - *(const int *)b;
}

Test(stack, rules_that_are_kept_lead_where_libdw_does) {
    td_stacks_close(open_stacks((int)getpid()));
    void *library = dlopen(TD_STACK_MODULE, RTLD_NOW);
    cr_assert_not_null(library, "%s", dlerror());
    capture c = {.module = dlsym(library, "td_stack_module_table")};
    char why[128];
    c.process = calloc(1, c.module->process_bytes);
    cr_assert_eq(c.module->open(c.process, (int)getpid(), why, sizeof why), 0, "%s", why);
    capturing = &c;
    signal(SIGUSR1, compare_in_handler);
    pthread_t thread;
    int numbers[3] = {3, 1, 2};
    chain_1(compare_everywhere, &c);
    qsort(numbers, 3, sizeof numbers[0], compare_while_sorting);
    cr_assert_eq(pthread_create(&thread, NULL, compare_in_thread, &c), 0);
    pthread_join(thread, NULL);
    cr_expect_geq(c.compared, 12, "%d", c.compared);
    c.module->close(c.process);
    free(c.process);
}
