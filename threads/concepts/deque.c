/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <string.h>

/* A deque after D. Chase and Y. Lev, with the orders of N. M. Le and others, of fixed size. */
enum {
    ITEMS = 40000,
    ROOM = 256,
    THIEVES = 3,
    ENOUGH_STOLEN = 500,
    FEW = 400,
    BURST = 7,
    MOST_NAPS = 20
};

typedef struct deque {
    _Alignas(128) _Atomic int64_t top;    /* thieves take here */
    _Alignas(128) _Atomic int64_t bottom; /* the owner puts and takes here, alone */
    _Atomic int items[ROOM];
    _Atomic int taken[ITEMS];
    _Alignas(128) _Atomic int stolen, out_of_order, done;
    int contested; /* last items that the owner had to fight for */
    bool careless;
} deque;

static bool put(deque *d, int item) {
    int64_t bottom = atomic_load_explicit(&d->bottom, memory_order_relaxed);
    if (bottom - atomic_load_explicit(&d->top, memory_order_acquire) >= ROOM) {
        return false;
    }
    atomic_store_explicit(&d->items[bottom % ROOM], item, memory_order_relaxed);
    /* release pairs with the acquire in steal: the item is there before it is announced. */
    atomic_store_explicit(&d->bottom, bottom + 1, memory_order_release);
    return true;
}

/* The mutant: a thief may have the item before the owner has written that it is gone. */
static int take_last_carelessly(deque *d, int64_t last) {
    int item = atomic_load(&d->items[last % ROOM]);
    d->contested++;
    for (int naps = 0; naps < MOST_NAPS && atomic_load(&d->top) == last; naps++) {
        td_lab_nap();
    }
    atomic_store(&d->top, last + 1);
    return item;
}

/* -1: it is empty. */
static int take(deque *d) {
    int64_t bottom = atomic_load_explicit(&d->bottom, memory_order_relaxed) - 1;
    if (d->careless && atomic_load(&d->top) == bottom) {
        return take_last_carelessly(d, bottom);
    }
    /* Before top is read, or a thief and the owner miss each other and have the same item. */
    atomic_store_explicit(&d->bottom, bottom, memory_order_seq_cst);
    int64_t top = atomic_load_explicit(&d->top, memory_order_seq_cst);
    if (top < bottom) {
        return atomic_load_explicit(&d->items[bottom % ROOM], memory_order_relaxed);
    }
    int item = -1;
    if (top == bottom) {
        item = atomic_load_explicit(&d->items[bottom % ROOM], memory_order_relaxed);
        d->contested++;
        if (!atomic_compare_exchange_strong_explicit(&d->top, &top, top + 1, memory_order_seq_cst,
                                                     memory_order_relaxed)) {
            item = -1;
        }
    }
    atomic_store_explicit(&d->bottom, bottom + 1, memory_order_relaxed);
    return item;
}

/* -1: empty, or somebody else was faster. */
static int steal(deque *d) {
    int64_t top = atomic_load_explicit(&d->top, memory_order_seq_cst);
    /* seq_cst: after top; also pairs with the release in put. */
    if (top >= atomic_load_explicit(&d->bottom, memory_order_seq_cst)) {
        return -1;
    }
    int item = atomic_load_explicit(&d->items[top % ROOM], memory_order_relaxed);
    return atomic_compare_exchange_strong_explicit(&d->top, &top, top + 1, memory_order_seq_cst,
                                                   memory_order_relaxed)
               ? item
               : -1;
}

static void *be_thief(void *arg) {
    deque *d = arg;
    int last = -1, looks = 0;
    while (!d->done) {
        int item = steal(d);
        if (item >= 0) {
            atomic_fetch_add(&d->taken[item], 1);
            atomic_fetch_add(&d->stolen, 1);
            atomic_fetch_add(&d->out_of_order, item <= last);
            last = item;
            looks = 0;
        } else if (++looks % 1000 == 0) {
            td_lab_nap();
        }
    }
    return NULL;
}

static int take_all(deque *d) {
    int n = 0;
    for (int item = take(d); item >= 0; item = take(d)) {
        atomic_fetch_add(&d->taken[item], 1);
        n++;
    }
    return n;
}

/* Some items at a time, and all that are left, so that the last one is often reached; where thieves
 * have had no CPU, the last items are left to them. Returns how many items there were. */
static int be_owner(td_lab *lab, deque *d, int *own) {
    int item = 0, most = lab->mutant ? FEW : ITEMS;
    while (item < most) {
        const int stolen = d->stolen, first = item;
        for (int i = 0; i <= item % BURST && item < most; i++) {
            item += put(d, item);
        }
        if (first >= most - ENOUGH_STOLEN / 2 && stolen < ENOUGH_STOLEN && !lab->mutant) {
            td_lab_must(lab, td_lab_await(&d->stolen, stolen + item - first),
                        "let thieves take what is there");
        }
        *own += take_all(d);
    }
    return item;
}

void td_concept_deque(td_lab *lab) {
    static deque d;
    int in_turn = 0;
    for (int i = 0; i < BURST; i++) {
        put(&d, i);
    }
    bool oldest = steal(&d) == 0;
    for (int i = BURST - 1; i > 1; i--) {
        in_turn += take(&d) == i;
    }
    td_lab_check(
        lab, oldest && in_turn == BURST - 2,
        "of %d items a thief gets the oldest and the owner the newest, one after the other", BURST);
    memset((void *)&d, 0, sizeof d);
    d.careless = lab->mutant;
    pthread_t thieves[THIEVES];
    for (int i = 0; i < THIEVES; i++) {
        thieves[i] = td_lab_thread(lab, be_thief, &d);
    }
    int own = 0, items = be_owner(lab, &d, &own), wrong = 0;
    d.done = 1;
    for (int i = 0; i < THIEVES; i++) {
        pthread_join(thieves[i], NULL);
    }
    for (int i = 0; i < items; i++) {
        wrong += d.taken[i] != 1;
    }
    td_lab_check(lab, wrong == 0 && own + d.stolen == items,
                 "%d items: the owner took %d, thieves %d; %d were not taken just once", items, own,
                 d.stolen, wrong);
    td_lab_check(
        lab, d.out_of_order == 0 && d.contested > 0 && d.stolen > 0,
        "each thief had them in the order they were put in but %d of %d; %d times the owner "
        "was at the last one",
        d.out_of_order, d.stolen, d.contested);
    td_lab_number(lab, "stolen_pct", 100.0 * d.stolen / items);
}
