/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include "base/memory.h"

/* The C library gives threads heaps of their own, each in an aligned mapping of 64 MiB. */
enum { ARENA = 64 << 20, BYTES = 4000 };

typedef struct blocks {
    void *mine, *again;
    _Atomic int made, freed;
} blocks;

static void *allocate(void *arg) {
    blocks *b = arg;
    b->mine = b->mine != NULL ? b->mine : td_alloc(BYTES);
    atomic_store(&b->made, 1);
    td_lab_await(&b->freed, 1);
    b->again = td_alloc(BYTES);
    return NULL;
}

static uintptr_t arena_of(const void *block) {
    return (uintptr_t)block / ARENA;
}

void td_concept_heap_arenas(td_lab *lab) {
    blocks b = {.mine = lab->mutant ? td_alloc(BYTES) : NULL};
    void *main_block = td_alloc(BYTES);
    pthread_t thread = td_lab_thread(lab, allocate, &b);
    td_lab_must(lab, td_lab_await(&b.made, 1), "allocate in a thread");
    td_lab_check(lab, arena_of(b.mine) != arena_of(main_block),
                 "the block of one thread and that of the other come from %s",
                 arena_of(b.mine) != arena_of(main_block) ? "two heaps" : "one heap");
    uintptr_t arena = arena_of(b.mine);
    td_free(b.mine); /* by this thread, not the one that allocated it */
    atomic_store(&b.freed, 1);
    pthread_join(thread, NULL);
    td_lab_check(lab, arena_of(b.again) == arena,
                 "a block that another thread freed leaves the owner's heap where it was");
    td_lab_check(lab, arena_of(td_alloc(BYTES)) != arena || lab->mutant,
                 "and this thread still allocates from its own");
}
