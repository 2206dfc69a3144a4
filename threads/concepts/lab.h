/* SPDX-License-Identifier: Apache-2.0
 * Experiments about processes and threads. Each states a claim, checks it by counts and identities
 * and can fail: its mutant breaks the claim on purpose and must be told from the truth. Times are
 * measured beside and shown; a time alone never decides.
 *
 * An experiment runs in a process of its own, so it may leave anything behind: threads, a fault, a
 * changed limit.
 */
#ifndef TD_THREADS_CONCEPTS_LAB_H
#define TD_THREADS_CONCEPTS_LAB_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"
#include "threads/wait.h"

typedef enum td_verdict {
    TD_VERDICT_PASS,
    TD_VERDICT_FAIL,
    TD_VERDICT_NOT_APPLICABLE /* the facility is not here; reason says which */
} td_verdict;

/* What an experiment needs, probed before it runs. A probe asks the system, never a clock. */
#define TD_NEED_MAP(X)                                                                             \
    X(NOTHING, 0)                                                                                  \
    X(CPUS2, 1)  /* two CPUs */                                                                    \
    X(ROOT, 2)   /* may change its user */                                                         \
    X(PLAIN, 4)  /* no sanitizer: it faults, or runs without a thread library, on purpose */       \
    X(NUMA2, 8)  /* two NUMA nodes */                                                              \
    X(RT, 16)    /* may use real-time priorities */                                                \
    X(X86, 32)                                                                                     \
    X(THREADS, 64) /* may create threads */
typedef enum td_need {
#define TD_NEED_ENUM(name, bit) TD_NEED_##name = (bit),
    TD_NEED_MAP(TD_NEED_ENUM)
#undef TD_NEED_ENUM
} td_need;

typedef struct td_lab td_lab;
typedef void td_experiment_fn(td_lab *lab);

/* A row of concepts.inc. */
typedef struct td_concept {
    const char *id, *name, *group;
    int needs; /* td_need bits */
    const char *claim, *method, *mutant;
    td_experiment_fn *run;
} td_concept;
const td_concept *td_concepts(int *count);

enum { TD_LAB_LINES = 28, TD_LAB_LINE = 200, TD_LAB_NUMBERS = 16, TD_LAB_SAMPLES = 1024 };

/* The account of one run. Holds no pointers: it is written in another process. */
typedef struct td_lab_report {
    td_verdict verdict;
    char reason[TD_LAB_LINE]; /* of FAIL and NOT_APPLICABLE */
    int checks, broken, n_lines; /* broken: 0 of one that died or hung, which shows nothing */
    struct {
        char mark; /* '+' a check that held, '-' one that did not, ' ' seen, '|' a map of memory */
        char text[TD_LAB_LINE];
    } lines[TD_LAB_LINES];
    int n_numbers;
    struct {
        char name[24];
        double value;
    } numbers[TD_LAB_NUMBERS];
    char sampled[64]; /* what samples_ns are of; "": the whole experiment */
    int n_samples;
    double samples_ns[TD_LAB_SAMPLES];
} td_lab_report;

/* Runs one experiment, or its mutant, in a process of its own that may use the CPUs of the calling
 * thread. Fails only when that process cannot be started: everything else is a verdict. */
td_status td_concept_run(const td_concept *concept, bool mutant, td_lab_report *out);

/* Whether this report of a mutant tells it from the truth: by a check that did not hold. */
bool td_lab_caught(const td_lab_report *report);

/* ---- for experiments ---- */

struct td_lab {
    bool mutant; /* break the claim */
    int64_t start_ns;
    int n_cpus, cpu[64];
    td_wait_rule rule, shared_rule; /* for td_event, among threads and among processes */
    td_lab_report *report;
};

/* What was seen and whether it bears the claim out. Returns holds. */
bool td_lab_check(td_lab *lab, bool holds, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* What was seen, not judged. */
void td_lab_saw(td_lab *lab, const char *format, ...) __attribute__((format(printf, 2, 3)));
void td_lab_map_line(td_lab *lab, const char *text);
void td_lab_number(td_lab *lab, const char *name, double value);
void td_lab_sampled(td_lab *lab, const char *what);
void td_lab_sample(td_lab *lab, double ns);

/* End the experiment at once: not possible here, or something beside the claim went wrong. */
void td_lab_skip(td_lab *lab, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void td_lab_must(td_lab *lab, bool holds, const char *what);

/* Not applicable when binding, which ended with `error`, is refused to this process altogether, as
 * in some containers. */
void td_lab_may_bind(td_lab *lab, int error);

/* The same asked beforehand, where others than the experiment's own thread are bound: their answer
 * comes too late. */
void td_lab_needs_binding(td_lab *lab);

/* Gives up a real-time or idle policy that the program was started with: for claims about how
 * ordinary threads share a CPU. Those started later are ordinary too. */
void td_lab_be_ordinary(td_lab *lab);

/* Threads and processes; failure to create one ends the experiment. A CPU below 0: anywhere. */
pthread_t td_lab_thread(td_lab *lab, void *(*main)(void *), void *arg);
void td_lab_pin(td_lab *lab, int cpu);
typedef void td_lab_child_fn(td_lab *lab, void *arg);
pid_t td_lab_fork(td_lab *lab, td_lab_child_fn *main, void *arg); /* ends with _exit(0) */
int td_lab_wait(td_lab *lab, pid_t pid);                           /* the wait status */

/* The other side of an experiment that compares a thread with a process. Stays where it is until it
 * is joined. */
typedef struct td_lab_side {
    void (*main)(void *arg);
    void *arg;
    bool process;
    pthread_t thread;
    pid_t pid; /* its process: this one's for a thread */
} td_lab_side;
void td_lab_side_start(td_lab *lab, td_lab_side *side);
void td_lab_side_join(td_lab *lab, td_lab_side *side);

/* A child of clone(2) with flags (SIGCHLD is added, not with CLONE_THREAD) on its own small stack.
 * Returns -errno on failure. */
pid_t td_lab_clone(td_lab *lab, int flags, int (*main)(void *), void *arg);

/* Whether to try for an undisturbed round once more: not after 5 s, when the machine is too busy
 * to tell. */
bool td_lab_patient(const td_lab *lab);

/* Zeroed memory that children share. */
void *td_lab_shared(td_lab *lab, size_t bytes);

/* Waits until *word is at least value, among threads or processes; gives the CPU away. False after
 * 60 s: somebody is dead. */
bool td_lab_await(const _Atomic int *word, int value);

/* Lets others run after many looks in vain. A nap: pairs of threads, pinned to the same two CPUs
 * and yielding, were seen to hold each other and everybody else up for minutes (Linux 6.18). */
void td_lab_nap(void);

/* Sides that begin each turn together; one that sets stop ends the waiting of all. */
enum { TD_LAB_SIDES = 4 };
typedef struct td_lab_turns {
    _Alignas(128) _Atomic int of[TD_LAB_SIDES];
    _Alignas(128) _Atomic int stop;
    int sides;
} td_lab_turns;

/* Side `id` is at `turn` (from 1, growing) and waits for the others to be. */
void td_lab_meet(td_lab_turns *turns, int id, int turn);

/* Waits until the task sleeps in the system call `number` (any when negative). */
bool td_lab_await_blocked(pid_t pid, pid_t tid, long number);

/* Context switches so far, voluntary and not: of a task of any process, and of the calling thread,
 * which costs one system call. */
int64_t td_lab_switches(pid_t pid, pid_t tid);
int64_t td_lab_own_switches(void);

/* The smallest and the median of n values; sorts them. */
double td_lab_median(double *values, int n);

#define TD_CONCEPT(id, name, group, needs, claim, method, mutant)                                  \
    td_experiment_fn td_concept_##name;
#include "threads/concepts/concepts.inc"
#undef TD_CONCEPT

#endif
