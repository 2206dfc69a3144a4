/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include "base/clock.h"

/* Two threads add to two counters in short rounds, on one line and far apart in turn, so that each
 * round on one line has a neighbour to be compared with. A pair counts when in both of its rounds
 * both threads ran at the same time and neither lost its CPU. What decides is how many pairs were
 * slower on one line, not by how much: whatever else the machine does hits either round of a pair
 * alike. By chance, 34 of 40 are slower once in 100,000 runs. */
enum { ADDS = 2000, REPEATS = 8, PAIRS = 40, ATTEMPTS = 1000 };

/* How far the counters are apart; both orders of a pair are played. */
enum { ONE_LINE, FAR, NEXT_LINE, DISTANCES };
static const int order[] = {ONE_LINE, FAR, NEXT_LINE, FAR, ONE_LINE};
static const struct { int on_one_line, apart; } pairs[] = {{0, 1}, {4, 3}};
enum { ROUNDS = sizeof order / sizeof order[0], PAIRS_OF_ROUNDS = sizeof pairs / sizeof pairs[0] };

typedef struct court {
    _Alignas(128) _Atomic int64_t counters[64];
    td_lab_turns turns;
    _Alignas(128) uint64_t start[2], end[2];
    bool switched[2];
    int step[DISTANCES]; /* counters between the two in use */
    td_lab *lab;
    int counted, slower; /* pairs */
    int n[DISTANCES];
    double ns[DISTANCES][TD_LAB_SAMPLES]; /* an addition, of rounds that count */
} court;

/* Nanoseconds of an addition if both were adding most of the time that either was; else 0. */
static double judge_round(const court *c) {
    uint64_t begin = c->start[0] > c->start[1] ? c->start[0] : c->start[1];
    uint64_t end = c->end[0] < c->end[1] ? c->end[0] : c->end[1];
    uint64_t first = c->end[0] - c->start[0], second = c->end[1] - c->start[1];
    uint64_t longer = first > second ? first : second;
    bool counts =
        !c->switched[0] && !c->switched[1] && end > begin && (end - begin) * 10 > longer * 7;
    return counts ? (double)(first + second) / 2 / td_tsc_hz() * 1e9 / ADDS : 0;
}

static void judge_rounds(court *c, const double *ns) {
    for (int i = 0; i < ROUNDS; i++) {
        if (ns[i] > 0 && c->n[order[i]] < TD_LAB_SAMPLES) {
            c->ns[order[i]][c->n[order[i]]++] = ns[i];
        }
    }
    for (int i = 0; i < PAIRS_OF_ROUNDS; i++) {
        double same = ns[pairs[i].on_one_line], apart = ns[pairs[i].apart];
        c->counted += same > 0 && apart > 0;
        c->slower += apart > 0 && same > apart;
    }
}

static void play(court *c, int id) {
    int turn = 0;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double ns[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            _Atomic int64_t *mine = &c->counters[id * c->step[order[round]]];
            td_lab_meet(&c->turns, id, ++turn);
            int64_t before = td_lab_own_switches();
            c->start[id] = td_tsc();
            for (int i = 0; i < ADDS; i++) {
                atomic_fetch_add_explicit(mine, 1, memory_order_relaxed);
            }
            c->end[id] = td_tsc();
            c->switched[id] = td_lab_own_switches() != before;
            td_lab_meet(&c->turns, id, ++turn);
            ns[round] = id == 0 ? judge_round(c) : 0; /* the other waits for the next meeting */
        }
        if (id == 0) {
            judge_rounds(c, ns);
        }
    }
}

static void *other_side(void *arg) {
    court *c = arg;
    td_lab_pin(c->lab, c->lab->cpu[1]);
    play(c, 1);
    return NULL;
}

static void show(td_lab *lab, court *c, int distance, const char *name) {
    double ns = td_lab_median(c->ns[distance], c->n[distance]);
    td_lab_saw(lab, "%3d bytes apart an addition takes %.1f ns (median of %d rounds)",
               c->step[distance] * (int)sizeof(int64_t), ns, c->n[distance]);
    td_lab_number(lab, name, ns);
}

void td_concept_false_sharing(td_lab *lab) {
    static court the_court;
    court *c = &the_court;
    c->lab = lab;
    c->step[ONE_LINE] = 1;
    c->step[NEXT_LINE] = 8;
    c->step[FAR] = lab->mutant ? 2 : 16;
    td_lab_pin(lab, lab->cpu[0]);
    int attempts = 0;
    int64_t total = 0;
    for (; attempts < ATTEMPTS && c->counted < PAIRS && td_lab_patient(lab); attempts++) {
        c->turns = (td_lab_turns){.sides = 2};
        pthread_t other = td_lab_thread(lab, other_side, c);
        play(c, 0);
        pthread_join(other, NULL);
    }
    for (int i = 0; i < 64; i++) {
        total += c->counters[i];
    }
    td_lab_check(lab, total == INT64_C(2) * ADDS * ROUNDS * REPEATS * attempts,
                 "every one of %lld additions arrived", (long long)total);
    if (c->counted < PAIRS) {
        td_lab_skip(lab, "the two threads had their CPUs together in %d pairs of %d rounds",
                    c->counted, ROUNDS * REPEATS * attempts);
    }
    td_lab_check(
        lab, c->slower * 6 >= c->counted * 5,
        "in %d of %d pairs of rounds, one right after the other, sharing a line was slower",
        c->slower, c->counted);
    show(lab, c, ONE_LINE, "same_line_ns");
    show(lab, c, NEXT_LINE, "apart_64_ns");
    show(lab, c, FAR, "apart_128_ns");
    for (int i = 0; i < c->n[ONE_LINE]; i++) {
        td_lab_sample(lab, c->ns[ONE_LINE][i]);
    }
    td_lab_sampled(lab, "an addition to a counter that shares a line");
}
