/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/procfs.h"

/* Short rounds: the fastest of many had both sides on their CPUs, even on a busy machine. */
enum { ROUNDS = 40, TRIPS = 50 };

typedef struct line {
    _Alignas(128) _Atomic int word;
    _Alignas(128) _Atomic int ready, stop;
    int cpu, cpu_seen;
    td_lab *lab;
} line;

static void look_until(line *l, int value) {
    for (int looks = 0; atomic_load_explicit(&l->word, memory_order_acquire) != value; looks++) {
        if (looks % 4096 == 4095) {
            td_lab_nap();
        }
    }
}

static void answer(void *arg) {
    line *l = arg;
    td_lab_pin(l->lab, l->cpu);
    atomic_store(&l->ready, 1);
    for (int i = 0; i < ROUNDS * TRIPS; i++) {
        look_until(l, 2 * i + 1);
        atomic_store_explicit(&l->word, 2 * i + 2, memory_order_release);
    }
    l->cpu_seen = sched_getcpu();
}

static double play(td_lab *lab, line *l) {
    double fastest = 0;
    td_lab_must(lab, td_lab_await(&l->ready, 1), "start the other side");
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = td_tsc();
        for (int i = round * TRIPS; i < (round + 1) * TRIPS; i++) {
            atomic_store_explicit(&l->word, 2 * i + 1, memory_order_release);
            look_until(l, 2 * i + 2);
        }
        double ns = (double)(td_tsc() - start) / td_tsc_hz() * 1e9 / TRIPS;
        fastest = round == 0 || ns < fastest ? ns : fastest;
        td_lab_sample(lab, ns);
    }
    return fastest;
}

void td_concept_talk_across_cpus(td_lab *lab) {
    double ns[2] = {0, 0};
    td_lab_pin(lab, lab->cpu[0]);
    for (int kind = 0; kind < 2; kind++) {
        line *l = td_lab_shared(lab, sizeof *l);
        *l = (line){.cpu = lab->cpu[lab->mutant ? 0 : 1], .lab = lab};
        td_lab_side other = {.main = answer, .arg = l, .process = kind == 1};
        td_lab_side_start(lab, &other);
        ns[kind] = play(lab, l);
        td_lab_side_join(lab, &other);
        td_lab_check(lab, l->word == 2 * ROUNDS * TRIPS, "%d messages arrived by one shared word",
                     l->word);
        td_lab_check(lab, l->cpu_seen == lab->cpu[1] && sched_getcpu() == lab->cpu[0],
                     "the two %s were on CPUs %d and %d", kind == 0 ? "threads" : "processes",
                     lab->cpu[0], l->cpu_seen);
    }
    td_lab_saw(lab, "a round trip: %.0f ns between threads, %.0f ns between processes", ns[0],
               ns[1]);
    td_lab_number(lab, "thread_round_trip_ns", ns[0]);
    td_lab_number(lab, "process_round_trip_ns", ns[1]);
    td_lab_sampled(lab, "a round trip by a shared word");
}
