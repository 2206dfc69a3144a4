/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

/* How far the CPUs are from each other: a word goes to and fro between each two of them. Short
 * rounds: the fastest of them had both sides on their CPUs, even on a busy machine. The word is in
 * a page that one of the two was the first to touch: in one that a third CPU had touched, machines
 * whose memory has a home would tell the way by that home. */
enum { ROUNDS = 20, TRIPS = 50, MOST = 16 };

typedef enum way { THREADS, PROCESSES, EXCHANGES, WAYS } way;

typedef struct talk {
    _Atomic int *word;
    bool exchange; /* by compare-and-exchange, not by load and store */
    int cpu, answers, elsewhere;
    _Atomic int ready;
    td_lab *lab;
} talk;

static void look_again(int *looks) {
    if (++*looks % 4096 == 0) {
        td_lab_nap();
    }
}

static void wait_for(const talk *t, int value) {
    int looks = 0;
    while (atomic_load_explicit(t->word, memory_order_acquire) != value) {
        look_again(&looks);
    }
}

/* Waits for the word to be `value`, and makes it the next one. */
static void take_turn(const talk *t, int value) {
    if (!t->exchange) {
        wait_for(t, value);
        atomic_store_explicit(t->word, value + 1, memory_order_release);
        return;
    }
    int looks = 0, found = value;
    while (!atomic_compare_exchange_strong(t->word, &found, value + 1)) {
        found = value;
        look_again(&looks);
    }
}

static void answer(void *arg) {
    talk *t = arg;
    td_lab_pin(t->lab, t->cpu);
    atomic_store(&t->ready, 1);
    for (int i = 0; i < ROUNDS * TRIPS; i++) {
        take_turn(t, 2 * i + 1);
        t->answers++;
        t->elsewhere += i % TRIPS == TRIPS - 1 && sched_getcpu() != t->cpu;
    }
}

static int64_t own_faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_minflt;
}

typedef struct tally {
    int pairs, whole, fresh; /* all turns were taken, on the right CPUs; the page was new */
} tally;

/* Nanoseconds there and back. */
static double talk_between(td_lab *lab, int here, int there, way how, tally *sum) {
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    talk *t = td_lab_shared(lab, sizeof *t);
    *t = (talk){.word = td_lab_shared(lab, bytes), .cpu = there, .lab = lab};
    t->exchange = how == EXCHANGES;
    td_lab_pin(lab, here);
    if (lab->mutant) {
        atomic_store(t->word, 0);
    }
    int64_t faults = own_faults();
    atomic_store(t->word, 0);
    faults = own_faults() - faults;
    td_lab_side other = {.main = answer, .arg = t, .process = how == PROCESSES};
    td_lab_side_start(lab, &other);
    td_lab_must(lab, td_lab_await(&t->ready, 1), "start the other side");
    int elsewhere = 0;
    double fastest = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = td_tsc();
        for (int i = round * TRIPS; i < (round + 1) * TRIPS; i++) {
            take_turn(t, 2 * i);
        }
        wait_for(t, 2 * (round + 1) * TRIPS);
        double mean_ns = (double)(td_tsc() - start) / td_tsc_hz() * 1e9 / TRIPS;
        fastest = round == 0 || mean_ns < fastest ? mean_ns : fastest;
        elsewhere += sched_getcpu() != here;
    }
    td_lab_side_join(lab, &other);
    sum->pairs++;
    sum->whole += t->answers == ROUNDS * TRIPS && t->elsewhere == 0 && elsewhere == 0;
    sum->fresh += faults == 1;
    munmap((void *)t->word, bytes);
    munmap(t, sizeof *t);
    return fastest;
}

/* Above the diagonal threads, below it processes. */
static void show_matrix(td_lab *lab, const int *cpu, int n, double ns[MOST][MOST]) {
    for (int row = -1; row < n; row++) {
        char text[TD_LAB_LINE] = "       ", cell[16];
        if (row >= 0) {
            snprintf(text, sizeof text, "CPU %3d", cpu[row]);
        }
        for (int column = 0; column < n; column++) {
            if (row < 0) {
                snprintf(cell, sizeof cell, " %5d", cpu[column]);
            } else if (row == column) {
                snprintf(cell, sizeof cell, " %5s", "-");
            } else {
                snprintf(cell, sizeof cell, " %5.0f", ns[row][column]);
            }
            strncat(text, cell, sizeof text - strlen(text) - 1);
        }
        td_lab_saw(lab, "%s", text);
    }
}

void td_concept_line_matrix(td_lab *lab) {
    static const char *const ways[WAYS] = {"threads, by loads and stores",
                                           "processes, by loads and stores",
                                           "threads, by compare-and-exchange"};
    int n = lab->n_cpus < MOST ? lab->n_cpus : MOST, cpu[MOST];
    for (int i = 0; i < n; i++) {
        cpu[i] = lab->cpu[i * lab->n_cpus / n]; /* spread over all */
    }
    double ns[MOST][MOST] = {{0}}, least[WAYS], most[WAYS];
    for (way how = 0; how < WAYS; how++) {
        tally sum = {0};
        for (int a = 0; a < n; a++) {
            for (int b = a + 1; b < n; b++) {
                double trip = talk_between(lab, cpu[a], cpu[b], how, &sum);
                td_lab_sample(lab, trip);
                least[how] = sum.pairs == 1 || trip < least[how] ? trip : least[how];
                most[how] = sum.pairs == 1 || trip > most[how] ? trip : most[how];
                ns[a][b] = how == THREADS ? trip : ns[a][b];
                ns[b][a] = how == PROCESSES ? trip : ns[b][a];
            }
        }
        td_lab_check(
            lab, sum.whole == sum.pairs && sum.fresh == sum.pairs,
            "%s: of %d pairs of CPUs %d took turns %d times without leaving their CPUs, in "
            "%d the first touch of the page was theirs",
            ways[how], sum.pairs, sum.whole, 2 * ROUNDS * TRIPS, sum.fresh);
    }
    td_lab_saw(lab, "there and back in ns, threads above the diagonal, processes below:");
    show_matrix(lab, cpu, n, ns);
    td_lab_saw(lab,
               "from the nearest pair to the farthest: threads %.0f to %.0f ns, processes %.0f "
               "to %.0f; by compare-and-exchange %.0f to %.0f",
               least[THREADS], most[THREADS], least[PROCESSES], most[PROCESSES], least[EXCHANGES],
               most[EXCHANGES]);
    td_lab_number(lab, "nearest_ns", least[THREADS]);
    td_lab_number(lab, "farthest_ns", most[THREADS]);
    td_lab_number(lab, "nearest_exchange_ns", least[EXCHANGES]);
    td_lab_sampled(lab, "a round trip between two CPUs");
}
