/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/bind.h"
#include "threads/create.h"
#include "threads/numa.h"
#include "threads/procfs.h"

static const double LIMIT_S = 240;

/* A row without a mutant does not build. */
#define TD_CONCEPT(id, name, group, needs, claim, method, mutant)                                  \
    _Static_assert(sizeof(mutant) > 1 && sizeof(claim) > 1, #name " needs a claim and a mutant");
#include "threads/concepts/concepts.inc"
#undef TD_CONCEPT

static const td_concept rows[] = {
#define TD_CONCEPT(id, name, group, needs, claim, method, mutant)                                  \
    {#id, #name, group, needs, claim, method, mutant, td_concept_##name},
#include "threads/concepts/concepts.inc"
#undef TD_CONCEPT
};

const td_concept *td_concepts(int *count) {
    *count = (int)(sizeof rows / sizeof rows[0]);
    return rows;
}

bool td_lab_caught(const td_lab_report *report) {
    return report->verdict == TD_VERDICT_FAIL && report->broken > 0;
}

/* ---- the account ---- */

static void add_line(td_lab_report *report, char mark, const char *format, va_list list) {
    if (report->n_lines < TD_LAB_LINES) {
        report->lines[report->n_lines].mark = mark;
        vsnprintf(report->lines[report->n_lines].text, TD_LAB_LINE, format, list);
        report->n_lines++;
    }
}

bool td_lab_check(td_lab *lab, bool holds, const char *format, ...) {
    td_lab_report *report = lab->report;
    va_list list;
    va_start(list, format);
    if (!holds && report->broken == 0) {
        va_list again;
        va_copy(again, list);
        vsnprintf(report->reason, sizeof report->reason, format, again);
        va_end(again);
    }
    add_line(report, holds ? '+' : '-', format, list);
    va_end(list);
    report->checks++;
    report->broken += !holds;
    return holds;
}

void td_lab_saw(td_lab *lab, const char *format, ...) {
    va_list list;
    va_start(list, format);
    add_line(lab->report, ' ', format, list);
    va_end(list);
}

static void add_map_line(td_lab_report *report, const char *format, ...) {
    va_list list;
    va_start(list, format);
    add_line(report, '|', format, list);
    va_end(list);
}

void td_lab_map_line(td_lab *lab, const char *text) {
    add_map_line(lab->report, "%s", text);
}

void td_lab_number(td_lab *lab, const char *name, double value) {
    td_lab_report *report = lab->report;
    TD_ASSERT(report->n_numbers < TD_LAB_NUMBERS);
    snprintf(report->numbers[report->n_numbers].name, sizeof report->numbers[0].name, "%s", name);
    report->numbers[report->n_numbers++].value = value;
}

void td_lab_sampled(td_lab *lab, const char *what) {
    snprintf(lab->report->sampled, sizeof lab->report->sampled, "%s", what);
}

void td_lab_sample(td_lab *lab, double ns) {
    if (lab->report->n_samples < TD_LAB_SAMPLES) {
        lab->report->samples_ns[lab->report->n_samples++] = ns;
    }
}

void td_lab_skip(td_lab *lab, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(lab->report->reason, sizeof lab->report->reason, format, list);
    va_end(list);
    lab->report->verdict = TD_VERDICT_NOT_APPLICABLE;
    _exit(0);
}

void td_lab_must(td_lab *lab, bool holds, const char *what) {
    if (!holds) {
        int error = errno;
        snprintf(lab->report->reason, sizeof lab->report->reason, "%s: %s", what, strerror(error));
        lab->report->broken++;
        lab->report->verdict = TD_VERDICT_FAIL;
        _exit(0);
    }
}

/* ---- threads, processes, memory ---- */

pthread_t td_lab_thread(td_lab *lab, void *(*main)(void *), void *arg) {
    pthread_t thread;
    errno = pthread_create(&thread, NULL, main, arg);
    td_lab_must(lab, errno == 0, "create a thread");
    return thread;
}

void td_lab_may_bind(td_lab *lab, int error) {
    if (error == EPERM || error == ENOSYS) {
        td_lab_skip(lab, "threads may not be bound to CPUs here: %s", strerror(error));
    }
}

void td_lab_needs_binding(td_lab *lab) {
    td_cpu_mask mask;
    td_bind_get(&mask);
    td_lab_may_bind(lab, td_bind_set(&mask));
}

void td_lab_pin(td_lab *lab, int cpu) {
    if (cpu >= 0) {
        errno = td_bind_pu(cpu);
        td_lab_may_bind(lab, errno);
        td_lab_must(lab, errno == 0, "bind to a CPU");
    }
}

void td_lab_be_ordinary(td_lab *lab) {
    struct sched_param none = {.sched_priority = 0};
    if (sched_getscheduler(0) != SCHED_OTHER && sched_setscheduler(0, SCHED_OTHER, &none) != 0) {
        td_lab_skip(lab, "the program runs under another policy and may not leave it: %s",
                    strerror(errno));
    }
}

pid_t td_lab_fork(td_lab *lab, td_lab_child_fn *main, void *arg) {
    pid_t parent = getpid(), pid = fork();
    td_lab_must(lab, pid >= 0, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            main(lab, arg);
        }
        _exit(0);
    }
    return pid;
}

int td_lab_wait(td_lab *lab, pid_t pid) {
    int how = 0;
    pid_t got;
    while ((got = waitpid(pid, &how, __WALL)) < 0 && errno == EINTR) {
    }
    td_lab_must(lab, got == pid, "wait for a child");
    return how;
}

pid_t td_lab_clone(td_lab *lab, int flags, int (*main)(void *), void *arg) {
    enum { STACK = 65536 };
    unsigned char *stack =
        mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    td_lab_must(lab, stack != MAP_FAILED, "a stack for clone");
    int exit_signal = flags & CLONE_THREAD ? 0 : SIGCHLD;
    pid_t pid = clone(main, stack + STACK, flags | exit_signal, arg);
    return pid < 0 ? -errno : pid;
}

static void *side_thread(void *arg) {
    const td_lab_side *side = arg;
    side->main(side->arg);
    return NULL;
}

static void side_process(td_lab *lab, void *arg) {
    (void)lab;
    side_thread(arg);
}

void td_lab_side_start(td_lab *lab, td_lab_side *side) {
    if (side->process) {
        side->pid = td_lab_fork(lab, side_process, side);
    } else {
        side->pid = getpid();
        side->thread = td_lab_thread(lab, side_thread, side);
    }
}

void td_lab_side_join(td_lab *lab, td_lab_side *side) {
    if (side->process) {
        td_lab_wait(lab, side->pid);
    } else {
        pthread_join(side->thread, NULL);
    }
}

void *td_lab_shared(td_lab *lab, size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    td_lab_must(lab, memory != MAP_FAILED, "shared memory");
    return memory;
}

bool td_lab_patient(const td_lab *lab) {
    return td_now_ns() - lab->start_ns < INT64_C(5000000000);
}

static const int64_t DEAD_NS = INT64_C(60000000000);

enum { FEW_LOOKS = 1000, MANY_LOOKS = 20000 };

void td_lab_nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

bool td_lab_await(const _Atomic int *word, int value) {
    int64_t end = td_now_ns() + DEAD_NS;
    for (int looks = 0; atomic_load_explicit(word, memory_order_acquire) < value; looks++) {
        if (td_now_ns() > end) {
            return false;
        }
        if (looks > FEW_LOOKS) {
            td_lab_nap();
        }
    }
    return true;
}

void td_lab_meet(td_lab_turns *turns, int id, int turn) {
    atomic_store(&turns->of[id], turn);
    int looks = 0;
    for (int other = 0; other < turns->sides; other++) {
        while (atomic_load(&turns->of[other]) < turn && !turns->stop) {
            if (++looks > MANY_LOOKS) {
                td_lab_nap();
            }
        }
    }
}

bool td_lab_await_blocked(pid_t pid, pid_t tid, long number) {
    int64_t end = td_now_ns() + DEAD_NS;
    td_proc_stat stat;
    for (int looks = 0; td_now_ns() < end; looks++) {
        td_proc_call call = td_proc_call_read(pid, tid);
        if (td_proc_stat_read(pid, tid, &stat) && stat.state == 'S' && call.number >= 0 &&
            (number < 0 || call.number == number)) {
            return true;
        }
        if (looks > FEW_LOOKS) {
            td_lab_nap();
        }
    }
    return false;
}

int64_t td_lab_switches(pid_t pid, pid_t tid) {
    td_proc_switches s = td_proc_switches_read(pid, tid);
    return s.voluntary + s.involuntary;
}

int64_t td_lab_own_switches(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw + usage.ru_nivcsw;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double td_lab_median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, by_size);
    return n == 0 ? 0 : values[n / 2];
}

/* ---- the process of an experiment ---- */

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static bool may_use_real_time(void) {
    struct sched_param before, wanted = {.sched_priority = 1};
    int policy = sched_getscheduler(0);
    sched_getparam(0, &before);
    bool may = sched_setscheduler(0, SCHED_FIFO, &wanted) == 0;
    sched_setscheduler(0, policy, &before);
    return may;
}

static void probe_needs(td_lab *lab, int needs) {
    if (needs & TD_NEED_CPUS2 && lab->n_cpus < 2) {
        td_lab_skip(lab, "needs two CPUs, this process may use %d", lab->n_cpus);
    }
    if (needs & TD_NEED_ROOT && geteuid() != 0) {
        td_lab_skip(lab, "needs root, this is user %u", geteuid());
    }
    if (needs & TD_NEED_PLAIN && SANITIZED) {
        td_lab_skip(lab, "a sanitizer is built in, which does not bear what is done here");
    }
    if (needs & TD_NEED_NUMA2 && td_numa_nodes() < 2) {
        td_lab_skip(lab, "one NUMA node here");
    }
    if (needs & TD_NEED_RT && !may_use_real_time()) {
        td_lab_skip(lab, "real-time priorities are not allowed here");
    }
    int error = needs & TD_NEED_THREADS ? td_create_probe() : 0;
    if (error == EPERM || error == ENOSYS) {
        td_lab_skip(lab, "threads may not be created here: %s", td_create_error(error));
    }
#ifndef __x86_64__
    if (needs & TD_NEED_X86) {
        td_lab_skip(lab, "written for x86-64");
    }
#endif
}

static void run_in_cell(const td_concept *concept, bool mutant, td_lab_report *report) {
    td_lab lab = {.mutant = mutant, .report = report};
    signal(SIGINT, SIG_DFL); /* what the program made of them is not part of any claim */
    signal(SIGTERM, SIG_DFL);
    td_cpu_mask mask;
    td_bind_get(&mask);
    for (int i = 0; i < TD_MAX_PUS && lab.n_cpus < 64; i++) {
        if (mask.bits[i / 64] >> i % 64 & 1) {
            lab.cpu[lab.n_cpus++] = i;
        }
    }
    /* shares_cpus: an experiment must also hold beside processes that use all CPUs. */
    lab.rule = td_wait_rule_make(true, false);
    lab.shared_rule = td_wait_rule_make(true, true);
    probe_needs(&lab, concept->needs);
    lab.start_ns = td_now_ns();
    concept->run(&lab);
    if (report->n_samples == 0) {
        report->sampled[0] = '\0';
        td_lab_sample(&lab, (double)(td_now_ns() - lab.start_ns));
    }
    if (report->checks > 0 && report->broken == 0) {
        report->verdict = TD_VERDICT_PASS;
        report->reason[0] = '\0';
    }
    _exit(0);
}

/* Whether the cell has ended within the limit. */
static bool await_cell(pid_t pid, int *how) {
    int64_t end = td_now_ns() + (int64_t)(LIMIT_S * 1e9);
    while (td_now_ns() < end) {
        pid_t done = waitpid(pid, how, WNOHANG);
        if (done == pid || (done < 0 && errno != EINTR)) {
            return true;
        }
        struct timespec nap = {.tv_nsec = 500000};
        nanosleep(&nap, NULL);
    }
    kill(-pid, SIGKILL);
    waitpid(pid, how, 0);
    return false;
}

td_status td_concept_run(const td_concept *concept, bool mutant, td_lab_report *out) {
    td_lab_report *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        return td_fail(TD_ENOMEM, "the account of an experiment");
    }
    td_tsc_hz(); /* calibrated once, here, for every experiment to come */
    /* What stands when the process dies. */
    shared->verdict = TD_VERDICT_FAIL;
    snprintf(shared->reason, sizeof shared->reason, "nothing was checked");
    fflush(NULL);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) {
        int error = errno;
        munmap(shared, sizeof *shared);
        return td_fail(TD_ESYS, "start the process of %s: %s", concept->name, strerror(error));
    }
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            run_in_cell(concept, mutant, shared);
        }
        _exit(0);
    }
    int how = 0;
    bool ended = await_cell(pid, &how);
    kill(-pid, SIGKILL); /* whatever it left behind */
    *out = *shared;
    munmap(shared, sizeof *shared);
    if (!ended) {
        out->verdict = TD_VERDICT_FAIL;
        snprintf(out->reason, sizeof out->reason, "not done after %.0f s", LIMIT_S);
    } else if (WIFSIGNALED(how)) {
        out->verdict = TD_VERDICT_FAIL;
        snprintf(out->reason, sizeof out->reason, "its process died of %s",
                 strsignal(WTERMSIG(how)));
    }
    out->broken = ended && WIFEXITED(how) ? out->broken : 0;
    return TD_OK;
}
