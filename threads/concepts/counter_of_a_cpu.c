/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/rseq.h>
#include <sys/time.h>

/* More threads than CPUs add to counters, one for each CPU, with one plain instruction and no lock.
 * Between reading which CPU it is and adding, a thread may be moved away: the kernel then sends it
 * to the abort address, and it begins again. It does so too when a signal comes: a timer sends
 * them to who adds, each addition dawdles, and they add until one has begun again. */
enum { THREADS = 4, ADDS = 4000, MOST_ADDS = 100 * ADDS, TIMER_US = 500, MOVE_EVERY = 64 };
enum { MOST_CPUS = 1024 };

typedef struct shop {
    struct {
        _Alignas(64) int64_t value;
    } of_cpu[MOST_CPUS];
    td_lab *lab;
    _Atomic int64_t added, again;
} shop;

typedef struct clerk {
    shop *shop;
    int id;
} clerk;

static struct rseq *own_area(void) {
    return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

#ifdef __x86_64__
/* Adds one to the counter of `cpu` unless this thread is not there any more, or is interrupted on
 * the way. The signature before the abort address is what glibc has told the kernel. */
static bool add_on(int64_t *counter, uint32_t cpu) {
    struct rseq *area = own_area();
    __asm__ goto(".pushsection __rseq_cs, \"aw\"\n"
                 ".balign 32\n"
                 "3: .long 0, 0\n"
                 ".quad 1f, 2f - 1f, 4f\n"
                 ".popsection\n"
                 "leaq 3b(%%rip), %%rax\n"
                 "movq %%rax, %[cs]\n"
                 "1: cmpl %[cpu], %[now]\n"
                 "jne %l[moved]\n"
                 "movl $50, %%ecx\n"
                 "5: pause\n"
                 "decl %%ecx\n"
                 "jnz 5b\n"
                 "addq $1, %[counter]\n"
                 "2:\n"
                 ".pushsection __rseq_failure, \"ax\"\n"
                 ".byte 0x0f, 0xb9, 0x3d\n"
                 ".long %c[signature]\n"
                 "4: jmp %l[moved]\n"
                 ".popsection\n"
                 :
                 : [cs] "m"(area->rseq_cs), [now] "m"(area->cpu_id), [cpu] "r"(cpu),
                   [counter] "m"(*counter), [signature] "i"(RSEQ_SIG)
                 : "memory", "cc", "rax", "rcx"
                 : moved);
    return true;
moved:
    return false;
}
#else
static bool add_on(int64_t *counter, uint32_t cpu) {
    (void)counter;
    (void)cpu;
    return false; /* not reached: see the row's needs */
}
#endif

/* The mutant: reads, lets others run, and writes what is one more. */
static void add_torn(_Atomic int64_t *counter, bool slowly) {
    int64_t before = atomic_load_explicit(counter, memory_order_relaxed);
    if (slowly) {
        td_lab_nap();
    }
    atomic_store_explicit(counter, before + 1, memory_order_relaxed);
}

static void *serve(void *arg) {
    const clerk *c = arg;
    shop *s = c->shop;
    int i = 0;
    for (; i < ADDS || (i < MOST_ADDS && s->again == 0 && !s->lab->mutant); i++) {
        if (i % MOVE_EVERY == 0) {
            td_lab_pin(s->lab, s->lab->cpu[(i / MOVE_EVERY + c->id) % 2]);
        }
        for (;;) {
            uint32_t cpu = own_area()->cpu_id;
            int64_t *counter = &s->of_cpu[cpu % MOST_CPUS].value;
            if (s->lab->mutant) {
                add_torn((_Atomic int64_t *)counter, i % MOVE_EVERY == 1);
                break;
            }
            if (add_on(counter, cpu)) {
                break;
            }
            s->again++;
        }
    }
    s->added += i;
    return NULL;
}

static void ignore(int number) {
    (void)number;
}

/* By signals to the process, which the kernel gives to its first thread where that takes them. */
static void interrupt_others_every(int us) {
    struct sigaction act = {.sa_handler = ignore, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &act, NULL);
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, NULL);
    struct itimerval timer = {.it_interval = {.tv_usec = us}, .it_value = {.tv_usec = us}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

void td_concept_counter_of_a_cpu(td_lab *lab) {
    static shop s;
    clerk clerks[THREADS];
    pthread_t threads[THREADS];
    if (__rseq_size == 0) {
        td_lab_skip(lab, "the C library has registered no area for restartable sequences");
    }
    td_lab_needs_binding(lab);
    s.lab = lab;
    for (int i = 0; i < THREADS; i++) {
        clerks[i] = (clerk){.shop = &s, .id = i};
        threads[i] = td_lab_thread(lab, serve, &clerks[i]);
    }
    interrupt_others_every(TIMER_US);
    int64_t sum = 0;
    int used = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    interrupt_others_every(0);
    for (int i = 0; i < MOST_CPUS; i++) {
        sum += s.of_cpu[i].value;
        used += s.of_cpu[i].value > 0;
    }
    td_lab_check(lab, sum == s.added,
                 "%d threads added %lld in all, without a lock or an atomic instruction: the "
                 "counters of %d CPUs add up to %lld",
                 THREADS, (long long)s.added, used, (long long)sum);
    td_lab_check(lab, used == 2, "each was moved to and fro every %d additions", MOVE_EVERY);
    td_lab_check(lab, s.again > 0,
                 "%lld additions were begun again: the thread had lost its CPU or had a signal",
                 (long long)s.again);
    td_lab_number(lab, "begun_again", (double)s.again);
}
