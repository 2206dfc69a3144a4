/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include "threads/range.h"

/* One thread owns all tiles and takes them from the front; the others take from the back. They wait
 * until the owner has run some, and it then waits until they have, so that both do. */
enum { TILES = 4096, THREADS = 4, ROUNDS = 20 };

typedef struct field {
    td_range range;
    _Atomic int ran[TILES];
    _Atomic int begun, stolen;
    bool torn; /* the mutant: begin and end are read and written as if nobody else did */
} field;

typedef struct hand {
    field *field;
    int id;
} hand;

static const td_portions of = {.tiles = TILES, .grain = 1, .workers = THREADS};

/* Reads the range and writes it back in two steps, between which others run. */
static bool take_torn(td_range *range, bool from_back, int64_t *first, int64_t *last) {
    td_range copy = atomic_load(range);
    bool some = td_range_take(&copy, &of, from_back, first, last);
    td_lab_nap();
    atomic_store(range, atomic_load(&copy));
    return some;
}

static void *work(void *arg) {
    const hand *h = arg;
    field *f = h->field;
    bool thief = h->id > 0;
    int64_t first, last;
    if (thief) {
        td_lab_await(&f->begun, 1);
    }
    while (f->torn ? take_torn(&f->range, thief, &first, &last)
                   : td_range_take(&f->range, &of, thief, &first, &last)) {
        for (int64_t i = first; i < last; i++) {
            atomic_fetch_add_explicit(&f->ran[i], 1, memory_order_relaxed);
        }
        atomic_fetch_add(&f->stolen, thief ? (int)(last - first) : 0);
        if (!thief) {
            atomic_store(&f->begun, 1);
            td_lab_await(&f->stolen, 1);
        }
    }
    return NULL;
}

void td_concept_stolen_tiles(td_lab *lab) {
    int64_t never = 0, often = 0, stolen = 0;
    for (int round = 0; round < ROUNDS; round++) {
        static field f;
        f = (field){.torn = lab->mutant};
        td_range_deal(&f.range, 0, TILES);
        hand hands[THREADS];
        pthread_t threads[THREADS];
        for (int i = THREADS - 1; i >= 0; i--) {
            hands[i] = (hand){.field = &f, .id = i};
            threads[i] = td_lab_thread(lab, work, &hands[i]);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
        }
        for (int i = 0; i < TILES; i++) {
            never += f.ran[i] == 0;
            often += f.ran[i] > 1;
        }
        stolen += f.stolen;
    }
    td_lab_check(lab, never == 0, "of %d tiles %lld were not run", ROUNDS * TILES,
                 (long long)never);
    td_lab_check(lab, often == 0, "%lld were run more than once", (long long)often);
    td_lab_check(lab, stolen > 0, "three thieves took %lld of them from the end of the owner's",
                 (long long)stolen);
}
