/* SPDX-License-Identifier: Apache-2.0
 * Containers refuse system calls. A program to which one is refused goes on without what needs it,
 * or says what it lacks; it neither dies nor hangs, and no bound worker is claimed that is not one.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/bench/run_program.h"
#include "threads/bind.h"
#include "threads/team.h"

/* What else this process and its children ask for is granted. */
static void refuse(const void *arg) {
    long call = *(const long *)arg;
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {sizeof rules / sizeof rules[0], rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        _exit(126);
    }
}

/* Runs `tandem` with words that blanks part; call -1: nothing is refused. */
static int run(long call, const char *text, td_text *out) {
    char copy[256], *rest = copy;
    const char *words[16] = {TD_TANDEM};
    snprintf(copy, sizeof copy, "%s", text);
    for (int n = 1; (words[n] = strsep(&rest, " ")) != NULL; n++) {
        cr_assert_lt(n, 15);
    }
    if (call >= 0) {
        /* The leak sanitizer stops threads by calls of its own, which are refused it too. */
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    }
    int code = run_program(words, call >= 0 ? refuse : NULL, &call, out);
    unsetenv("ASAN_OPTIONS");
    return code;
}

typedef struct refusal {
    long call;
    int code; /* the exit code */
    char words[112];
    char says[96]; /* "": nothing in particular */
} refusal;

ParameterizedTestParameters(refused_calls, are_named_or_done_without) {
    static refusal rows[] = {
        {SYS_sched_getaffinity, 3, "topo", "sched_getaffinity: Operation not permitted"},
        {SYS_sched_setaffinity, 0, "topo", ""},
        {SYS_sched_setaffinity, 3, "threads run migration", "may not be bound to CPUs here"},
        {SYS_sched_setaffinity, 3, "threads run first_cpu", "may not be bound to CPUs here"},
        {SYS_sched_setaffinity, 3, "threads run serial_share", "may not be bound to CPUs here"},
        {SYS_sched_setaffinity, 3, "threads run unit_of_scheduling",
         "may not be bound to CPUs here"},
        {SYS_membarrier, 3, "threads run asymmetric_fence", "offers no membarrier"},
        {SYS_kcmp, 3, "threads run kcmp", "kcmp is refused"},
        {SYS_process_vm_readv, 3, "threads run memory_of_another", "process_vm_readv is refused"},
        {SYS_clone3, 3, "threads run pidfd", "clone3 is refused"},
        {SYS_mbind, 0, "topo", ""},
        {SYS_set_mempolicy, 0, "topo", ""},
        {SYS_get_mempolicy, 0, "topo", ""},
        {SYS_move_pages, 0, "topo", ""},
        {SYS_process_vm_readv, 1, "threads watch PID --count 20000", "Found a deadlock"},
        {SYS_process_vm_readv, 1, "threads dump PID", "waiting to lock <0x"},
        {SYS_ptrace, 1, "threads watch PID --count 20000", "Found a deadlock"},
        {SYS_ptrace, 3, "threads dump PID --stacks", "may not be traced: Operation not permitted"},
        {SYS_clone3, 0, "threads run --brief", " 0 FAIL, "},
        {SYS_clone3, 3, "threads run once", "threads may not be created here"},
        {SYS_clone3, 3, "bench threads/region/open-bound/hot --layouts p1xt2 --out /tmp/td-refused",
         "clone3 refused with EPERM instead of ENOSYS"},
        {SYS_pidfd_open, 1, "threads deadlocks PID", ""},
        {SYS_perf_event_open, 1, "threads dump PID", ""}};
    return cr_make_param_array(refusal, rows, sizeof rows / sizeof rows[0]);
}

static pid_t plant_deadlock(void) {
    char words[64];
    td_text out;
    pid_t pid = plant_program((const char *const[]){TD_PLANTED_DEADLOCK, "normal", "2", NULL});
    snprintf(words, sizeof words, "threads watch %d --count 20000", pid);
    cr_expect_eq(run(-1, words, &out), 1, "%s", out.data);
    td_text_destroy(&out);
    return pid;
}

/* Whether `says` is what there was to say, or cannot be said here: the module of stacks was not
 * built, a sanitizer was, or what takes two CPUs is not begun on one. */
static bool has_said(const td_text *out, const char *says) {
    td_cpu_mask mask;
    td_bind_get(&mask);
    return strstr(out->data, says) != NULL || strstr(out->data, "libdw-dev") != NULL ||
           strstr(out->data, "a sanitizer is built in") != NULL ||
           (td_cpu_mask_count(&mask) == 1 && strstr(out->data, "needs two CPUs") != NULL);
}

ParameterizedTest(refusal *row, refused_calls, are_named_or_done_without, .timeout = 120) {
    char words[256];
    td_text out;
    const char *at = strstr(row->words, "PID");
    pid_t pid = at != NULL ? plant_deadlock() : 0;
    if (at != NULL) {
        snprintf(words, sizeof words, "%.*s%d%s", (int)(at - row->words), row->words, pid, at + 3);
    } else {
        snprintf(words, sizeof words, "%s", row->words);
    }
    cr_expect_eq(run(row->call, words, &out), row->code, "%s: %s", words, out.data);
    cr_expect(has_said(&out, row->says), "no \"%s\" in: %s", row->says, out.data);
    td_text_destroy(&out);
    if (pid > 0) {
        uproot_program(pid);
    }
}

static void do_nothing(void *arg, td_worker *worker) {
    (void)worker;
    atomic_fetch_add((_Atomic int *)arg, 1);
}

/* Bound is what was read back, and nothing else. */
Test(refused_calls, a_team_says_that_it_is_not_bound) {
    td_team *team = NULL;
    _Atomic int ran = 0;
    int pu[2] = {0, 0};
    td_cpu_mask mask;
    td_bind_get(&mask);
    while (!td_cpu_mask_has(&mask, pu[0])) {
        pu[0]++;
    }
    pu[1] = pu[0];
    td_team_options options = {.workers = 2, .pu = pu, .shares_cpus = true};
    cr_assert_eq(td_team_create(&options, &team), TD_OK, "%s", td_error());
    cr_expect_eq(td_team_bound(team), 2);
    cr_expect_null(td_team_note(team));
    td_team_destroy(team);
    const long call = SYS_sched_setaffinity;
    refuse(&call);
    cr_assert_eq(td_team_create(&options, &team), TD_OK, "%s", td_error());
    cr_expect_eq(td_team_bound(team), 0);
    cr_expect_not_null(strstr(td_team_note(team), "Operation not permitted"));
    td_team_run(team, do_nothing, (void *)&ran);
    cr_expect_eq(ran, 2);
    td_team_destroy(team);
}
