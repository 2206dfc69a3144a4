/* SPDX-License-Identifier: Apache-2.0
 * Containers refuse system calls. A program to which one is refused goes on without what needs it,
 * or says what it lacks; it neither dies nor hangs, and no bound worker is claimed that is not one.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "threads/bind.h"
#include "threads/team.h"

/* What else this process and its children ask for is granted. */
static void refuse(long call) {
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

/* Runs a program with its words; call -1: nothing is refused. Returns its wait status; out: all
 * that it printed. With still_running it returns at its first line, and the program goes on. */
static int run(long call, const char *words, td_text *out, pid_t *still_running) {
    char copy[256], *rest = copy, *argv[16] = {NULL};
    int ends[2], n = 0, status = 0;
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word; (word = strsep(&rest, " ")) != NULL && n < 15;) {
        argv[n++] = word;
    }
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        if (call >= 0) {
            /* The leak sanitizer stops threads by calls of its own, which are refused it too. */
            setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
            refuse(call);
        }
        execv(argv[0], argv);
        _exit(127);
    }
    close(ends[1]);
    char part[4096];
    ssize_t got;
    *out = (td_text){0};
    while ((got = read(ends[0], part, sizeof part)) > 0) {
        td_text_append(out, part, (size_t)got);
        if (still_running != NULL) {
            *still_running = pid;
            close(ends[0]);
            return 0;
        }
    }
    close(ends[0]);
    waitpid(pid, &status, 0);
    return status;
}

typedef struct refusal {
    long call;
    int code; /* the exit code */
    char words[96];
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
        {SYS_pidfd_open, 1, "threads deadlocks PID", ""},
        {SYS_perf_event_open, 1, "threads dump PID", ""}};
    return cr_make_param_array(refusal, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(refusal *row, refused_calls, are_named_or_done_without, .timeout = 60) {
    char words[256];
    td_text out = {0}, planted;
    pid_t pid = 0;
    const char *at = strstr(row->words, "PID");
    if (at != NULL) {
        run(-1, TD_PLANTED_DEADLOCK " normal 2", &planted, &pid);
        td_text_destroy(&planted);
        snprintf(words, sizeof words, TD_TANDEM " threads watch %d --count 20000", pid);
        run(-1, words, &out, NULL);
        td_text_destroy(&out);
        snprintf(words, sizeof words, TD_TANDEM " %.*s%d%s", (int)(at - row->words), row->words,
                 pid, at + 3);
    } else {
        snprintf(words, sizeof words, TD_TANDEM " %s", row->words);
    }
    int status = run(row->call, words, &out, NULL);
    bool no_module = strstr(out.data, "libdw-dev") != NULL; /* built without stacks */
    cr_expect(WIFEXITED(status), "it died of signal %d: %s", WTERMSIG(status), out.data);
    cr_expect_eq(WEXITSTATUS(status), row->code, "%s ended with %d: %s", words, WEXITSTATUS(status),
                 out.data);
    cr_expect(no_module || strstr(out.data, row->says) != NULL, "no \"%s\" in: %s", row->says,
              out.data);
    td_text_destroy(&out);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
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
    refuse(SYS_sched_setaffinity);
    cr_assert_eq(td_team_create(&options, &team), TD_OK, "%s", td_error());
    cr_expect_eq(td_team_bound(team), 0);
    cr_expect_not_null(strstr(td_team_note(team), "Operation not permitted"));
    td_team_run(team, do_nothing, (void *)&ran);
    cr_expect_eq(ran, 2);
    td_team_destroy(team);
}
