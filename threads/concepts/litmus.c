/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* Short programs of two to four sides run against each other, over and over; what they read, and
 * what is left in the two words, tells which reorderings the machine allows. Shapes and names are
 * those of the literature (Alglave, Maranget, Sarkar, Sewell: Litmus, running tests against
 * hardware). Words have lines of their own, and each is reset by a side that loads it where one
 * does: its load is then quick, and the other side's store, to a line that is held elsewhere, slow.
 * What can be overtaken is. */
enum { FEW = 100000, MANY = 20000000, ACCESSES = 2 };
static const double FEW_S = 0.3, MANY_S = 20;

enum { X, Y, WORDS };
typedef enum strength { RELAXED, PAIRED, STRONG, STRENGTHS } strength;
static const char *const strength_names[STRENGTHS] = {"relaxed", "release/acquire",
                                                      "sequentially consistent"};

enum { ANY = -1 };
typedef struct access {
    enum { NOTHING, STORE, LOAD } kind;
    int word, value; /* of a load: what it reads in the outcome that is looked for */
} access;

typedef struct shape {
    const char *name, *outcome;
    bool seen_here;     /* on x86, unless all is sequentially consistent */
    int sides, swapped; /* whose accesses the mutant puts in the other order */
    access program[TD_LAB_SIDES][ACCESSES];
    int end[WORDS]; /* what is left in the outcome, or ANY */
} shape;

/* clang-format off */
static const shape shapes[] = {
    {"SB", "each load misses the other side's store", true, 2, ANY,
     {{{STORE, X, 1}, {LOAD, Y, 0}},
      {{STORE, Y, 1}, {LOAD, X, 0}}}, {ANY, ANY}},
    {"R", "a load misses what the other side stored before what this side overwrote", true, 2, ANY,
     {{{STORE, X, 1}, {STORE, Y, 1}},
      {{STORE, Y, 2}, {LOAD, X, 0}}}, {ANY, 2}},
    {"MP", "a flag is seen without the data stored before it", false, 2, 0,
     {{{STORE, X, 1}, {STORE, Y, 1}},
      {{LOAD, Y, 1}, {LOAD, X, 0}}}, {ANY, ANY}},
    {"LB", "each load sees the store behind the other load", false, 2, 1,
     {{{LOAD, X, 1}, {STORE, Y, 1}},
      {{LOAD, Y, 1}, {STORE, X, 1}}}, {ANY, ANY}},
    {"S", "an answer is overwritten by what was stored before the question", false, 2, 0,
     {{{STORE, X, 2}, {STORE, Y, 1}},
      {{LOAD, Y, 1}, {STORE, X, 1}}}, {2, ANY}},
    {"2+2W", "in both words the store is left that its side did first", false, 2, 0,
     {{{STORE, X, 1}, {STORE, Y, 2}},
      {{STORE, Y, 1}, {STORE, X, 2}}}, {1, 1}},
    {"CoRR", "of two loads of a word the second reads what was there before", false, 2, 1,
     {{{STORE, X, 1}},
      {{LOAD, X, 1}, {LOAD, X, 0}}}, {ANY, ANY}},
    {"WRC", "one is told by another of a store, and misses it", false, 3, 2,
     {{{STORE, X, 1}},
      {{LOAD, X, 1}, {STORE, Y, 1}},
      {{LOAD, Y, 1}, {LOAD, X, 0}}}, {ANY, ANY}},
    {"IRIW", "two see two stores in different orders", false, 4, 3,
     {{{STORE, X, 1}},
      {{STORE, Y, 1}},
      {{LOAD, X, 1}, {LOAD, Y, 0}},
      {{LOAD, Y, 1}, {LOAD, X, 0}}}, {ANY, ANY}},
};
/* clang-format on */

typedef struct notes {
    _Alignas(128) int read[ACCESSES];
    int left; /* in the word that this side resets */
} notes;

typedef struct arena {
    struct {
        _Alignas(128) _Atomic int value;
    } words[WORDS];
    td_lab_turns turns;
    notes notes[2][TD_LAB_SIDES]; /* of runs of odd and even numbers */
    _Alignas(128) const shape *shape;
    strength strength;
    td_lab *lab;
} arena;

typedef struct side {
    arena *arena;
    int id;
} side;

/* Written out: an order that is not a constant is taken as the strongest. */
static int perform(arena *a, const access *what) {
    _Atomic int *word = &a->words[what->word].value;
    int read = what->value;
    if (what->kind == STORE && a->strength == RELAXED) {
        atomic_store_explicit(word, what->value, memory_order_relaxed);
    } else if (what->kind == STORE && a->strength == PAIRED) {
        atomic_store_explicit(word, what->value, memory_order_release);
    } else if (what->kind == STORE) {
        atomic_store_explicit(word, what->value, memory_order_seq_cst);
    } else if (what->kind == LOAD && a->strength == RELAXED) {
        read = atomic_load_explicit(word, memory_order_relaxed);
    } else if (what->kind == LOAD && a->strength == PAIRED) {
        read = atomic_load_explicit(word, memory_order_acquire);
    } else if (what->kind == LOAD) {
        read = atomic_load_explicit(word, memory_order_seq_cst);
    }
    atomic_signal_fence(memory_order_seq_cst); /* the CPU is asked, not the compiler */
    return read;
}

static void take_part(arena *a, int id, int run) {
    const access *program = a->shape->program[id];
    int first = a->lab->mutant && a->shape->swapped == id;
    int read_first = perform(a, &program[first]), read_second = perform(a, &program[1 - first]);
    int *read = a->notes[run % 2][id].read;
    read[first] = read_first;
    read[1 - first] = read_second;
}

static void clean_up(arena *a, int id, int run) {
    if (id < WORDS) {
        _Atomic int *word = &a->words[WORDS - 1 - id].value;
        a->notes[run % 2][id].left = *word;
        *word = 0;
    }
}

static bool was_outcome(const arena *a, int run) {
    const notes *n = a->notes[run % 2];
    for (int id = 0; id < a->shape->sides; id++) {
        for (int i = 0; i < ACCESSES; i++) {
            if (n[id].read[i] != a->shape->program[id][i].value) {
                return false;
            }
        }
    }
    for (int word = 0; word < WORDS; word++) {
        int wanted = a->shape->end[word];
        if (wanted != ANY && n[WORDS - 1 - word].left != wanted) {
            return false;
        }
    }
    return true;
}

static void *other_side(void *arg) {
    const side *me = arg;
    arena *a = me->arena;
    int id = me->id;
    td_lab_pin(a->lab, a->lab->cpu[id]);
    for (int run = 1; !a->turns.stop; run++) {
        td_lab_meet(&a->turns, id, 2 * run - 1);
        if (a->turns.stop) {
            break;
        }
        for (int skew = run * id % 16; skew > 0; skew--) {
            __asm__ __volatile__("");
        }
        take_part(a, id, run);
        td_lab_meet(&a->turns, id, 2 * run);
        clean_up(a, id, run);
    }
    return NULL;
}

/* Runs `most` times, or for limit_s, or until the outcome is seen when that is waited for. A run is
 * judged after the next one: by then all sides have noted what they saw of it. */
static int64_t count_outcomes(td_lab *lab, const shape *s, strength how, bool until_seen,
                              int64_t *runs) {
    static arena a;
    memset((void *)&a, 0, sizeof a);
    a.shape = s;
    a.strength = how;
    a.lab = lab;
    a.turns.sides = s->sides;
    side sides[TD_LAB_SIDES];
    pthread_t threads[TD_LAB_SIDES];
    for (int id = 1; id < s->sides; id++) {
        sides[id] = (side){.arena = &a, .id = id};
        threads[id] = td_lab_thread(lab, other_side, &sides[id]);
    }
    int64_t seen = 0, end = td_now_ns() + (int64_t)((until_seen ? MANY_S : FEW_S) * 1e9);
    int most = until_seen ? MANY : FEW;
    *runs = 0;
    for (int run = 1; *runs < most && !(until_seen && seen > 0); run++) {
        td_lab_meet(&a.turns, 0, 2 * run - 1);
        take_part(&a, 0, run);
        if (run > 1) {
            seen += was_outcome(&a, run - 1);
            ++*runs;
        }
        td_lab_meet(&a.turns, 0, 2 * run);
        clean_up(&a, 0, run);
        if (run % 32 == 0 && td_now_ns() > end) {
            break;
        }
    }
    a.turns.stop = 1;
    for (int id = 1; id < s->sides; id++) {
        pthread_join(threads[id], NULL);
    }
    return seen;
}

/* "x=1 y? | y=1 x?": stores and loads of each side, in the order in which they are done. */
static void show_program(td_lab *lab, const shape *s) {
    char text[TD_LAB_LINE] = "";
    for (int id = 0; id < s->sides; id++) {
        bool swapped = lab->mutant && s->swapped == id;
        for (int i = 0; i < ACCESSES; i++) {
            const access *what = &s->program[id][swapped ? ACCESSES - 1 - i : i];
            size_t used = strlen(text);
            if (what->kind != NOTHING) {
                snprintf(text + used, sizeof text - used, what->kind == STORE ? " %c=%d" : " %c?",
                         "xy"[what->word], what -> value);
            }
        }
        strncat(text, id + 1 < s->sides ? " |" : "", sizeof text - strlen(text) - 1);
    }
    td_lab_saw(lab, "%s: %s:%s", s->name, s->outcome, text);
}

static void judge(td_lab *lab, const shape *s) {
    char text[TD_LAB_LINE] = "";
    bool holds = true;
    for (strength how = RELAXED; how < STRENGTHS; how++) {
        bool must_be_seen = s->seen_here && how != STRONG;
        /* The mutant of what must be seen is the strongest order, of the others the wrong one. */
        strength in_fact = must_be_seen && lab->mutant ? STRONG : how;
        bool until_seen = s->seen_here ? in_fact != STRONG : lab->mutant;
        int64_t runs, seen = count_outcomes(lab, s, in_fact, until_seen, &runs);
        holds = holds && (seen > 0) == must_be_seen;
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%lld of %lld %s", how == RELAXED ? "" : ", ",
                 (long long)seen, (long long)runs, strength_names[how]);
        if (s->seen_here && how == RELAXED) {
            char name[24];
            snprintf(name, sizeof name, "runs_until_seen_%s", s->name);
            td_lab_number(lab, name, (double)runs);
        }
    }
    td_lab_check(lab, holds, "%s %s: %s", s->name,
                 s->seen_here ? "is seen unless all is sequentially consistent" : "is never seen",
                 text);
}

void td_concept_litmus(td_lab *lab) {
    td_lab_pin(lab, lab->cpu[0]);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const shape *s = &shapes[i];
        if (s->sides <= lab->n_cpus) {
            show_program(lab, s);
            judge(lab, s);
        } else {
            td_lab_saw(lab, "%s: %s: takes %d CPUs, there are %d", s->name, s->outcome, s->sides,
                       lab->n_cpus);
        }
    }
}
