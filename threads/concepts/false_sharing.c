/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"

/* Two threads add to two counters in short rounds. A round counts when both ran at the same time
 * and neither lost its CPU: whatever else the machine does, what remains is the cost of the line.
 */
enum { ROUNDS = 60, ADDS = 4000, ATTEMPTS = 40, ENOUGH = 15 };

typedef struct court {
    _Alignas(128) _Atomic int64_t counters[64];
    _Alignas(128) _Atomic int ready[2];
    _Alignas(128) uint64_t start[2], end[2];
    bool switched[2];
    int step; /* counters between the two in use */
    td_lab *lab;
    double good_ns[ROUNDS * ATTEMPTS]; /* an addition, of the rounds that count */
    int n_good;
} court;

static long switches(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw + usage.ru_nivcsw;
}

/* Both were adding for most of the time that either was. */
static void judge_round(court *c) {
    uint64_t begin = c->start[0] > c->start[1] ? c->start[0] : c->start[1];
    uint64_t end = c->end[0] < c->end[1] ? c->end[0] : c->end[1];
    uint64_t first = c->end[0] - c->start[0], second = c->end[1] - c->start[1];
    uint64_t longer = first > second ? first : second;
    if (!c->switched[0] && !c->switched[1] && end > begin && (end - begin) * 10 > longer * 7) {
        c->good_ns[c->n_good++] = (double)(first + second) / 2 / td_tsc_hz() * 1e9 / ADDS;
    }
}

static void play(court *c, int id) {
    _Atomic int64_t *mine = &c->counters[id * c->step];
    for (int round = 1; round <= ROUNDS; round++) {
        atomic_store(&c->ready[id], 2 * round - 1);
        td_lab_await(&c->ready[1 - id], 2 * round - 1);
        long before = switches();
        c->start[id] = td_tsc();
        for (int i = 0; i < ADDS; i++) {
            atomic_fetch_add_explicit(mine, 1, memory_order_relaxed);
        }
        c->end[id] = td_tsc();
        c->switched[id] = switches() != before;
        atomic_store(&c->ready[id], 2 * round);
        td_lab_await(&c->ready[1 - id], 2 * round);
        if (id == 0) {
            judge_round(c); /* the other side waits for this one's next `ready` */
        }
    }
}

static void *other_side(void *arg) {
    court *c = arg;
    td_lab_pin(c->lab, c->lab->cpu[1]);
    play(c, 1);
    return NULL;
}

/* Nanoseconds an addition, the median of the rounds that count. */
static double measure(td_lab *lab, court *c, int step) {
    c->step = step;
    c->n_good = 0;
    int64_t expected = 0;
    memset((void *)c->counters, 0, sizeof c->counters);
    int attempts = 0;
    for (; attempts < ATTEMPTS && c->n_good < ENOUGH && td_lab_patient(lab); attempts++) {
        c->ready[0] = c->ready[1] = 0;
        pthread_t other = td_lab_thread(lab, other_side, c);
        play(c, 0);
        pthread_join(other, NULL);
        expected += 2 * ROUNDS * ADDS;
    }
    int64_t total = c->counters[0] + c->counters[step];
    td_lab_check(lab, total == expected, "%d bytes apart: every one of %lld additions arrived",
                 step * (int)sizeof(int64_t), (long long)expected);
    if (c->n_good < ENOUGH) {
        td_lab_skip(lab, "the two threads had their CPUs together in %d of %d rounds", c->n_good,
                    ROUNDS * attempts);
    }
    for (int i = 0; i < c->n_good && step == 1; i++) {
        td_lab_sample(lab, c->good_ns[i]);
    }
    return td_lab_median(c->good_ns, c->n_good);
}

void td_concept_false_sharing(td_lab *lab) {
    static court the_court;
    the_court.lab = lab;
    td_lab_pin(lab, lab->cpu[0]);
    double same = measure(lab, &the_court, 1), half = measure(lab, &the_court, 8);
    double apart = measure(lab, &the_court, lab->mutant ? 2 : 16);
    td_lab_check(lab, same > 1.5 * apart,
                 "an addition takes %.1f ns when the counters share a line, %.1f ns 128 bytes "
                 "apart",
                 same, apart);
    td_lab_saw(lab, "64 bytes apart: %.1f ns", half);
    td_lab_number(lab, "same_line_ns", same);
    td_lab_number(lab, "apart_64_ns", half);
    td_lab_number(lab, "apart_128_ns", apart);
    td_lab_sampled(lab, "an addition to a counter that shares a line");
}
