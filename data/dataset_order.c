/* SPDX-License-Identifier: Apache-2.0 */
#include "data/dataset_order.h"

#include "base/memory.h"
#include "base/rng.h"

enum { SLOT_EMPTY = -1 };

typedef struct slot {
    int64_t input, next;
} slot;

/* Fills an empty slot with the next input, when there is one. */
static bool refill(slot *at, int64_t *next_input, int64_t n) {
    if (at->input == SLOT_EMPTY && *next_input < n) {
        at->input = (*next_input)++;
        at->next = 0;
    }
    return at->input != SLOT_EMPTY;
}

td_status td_interleave(const int64_t *counts, int64_t n, int64_t cycle, int64_t block,
                        td_interleaved *out) {
    if (cycle < 1 || block < 1) {
        return td_fail(TD_EINPUT,
                       "interleave: cycle and block have to be at least 1, got %lld, %lld",
                       (long long)cycle, (long long)block);
    }
    int64_t slots = cycle < n ? cycle : n, next_input = 0, at = 0;
    slot *cycle_slots = td_alloc((size_t)(slots + 1) * sizeof *cycle_slots);
    if (cycle_slots == NULL) {
        return td_fail(TD_ENOMEM, "no memory to interleave %lld inputs", (long long)n);
    }
    for (int64_t i = 0; i < slots; i++) {
        cycle_slots[i].input = SLOT_EMPTY;
    }
    /* A slot more than there are inputs stays empty for ever, so it may as well not be there. */
    for (int64_t open = 1; open > 0;) {
        open = 0;
        for (int64_t s = 0; s < slots; s++) {
            slot *here = &cycle_slots[s];
            if (!refill(here, &next_input, n)) {
                continue;
            }
            open++;
            int64_t taken = 0;
            for (; taken < block && here->next < counts[here->input]; taken++) {
                out[at++] = (td_interleaved){here->input, here->next++};
            }
            if (taken < block) {
                here->input = SLOT_EMPTY;
            }
        }
    }
    td_free(cycle_slots);
    return TD_OK;
}

/* Philox4x32-10 with the first seed as key and the second in the counter's upper half; the four
 * words of a block are used in order. */
static uint32_t sample(uint64_t seed, uint64_t seed2, uint64_t index) {
    uint64_t block = index / 4;
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)seed2,
                                 (uint32_t)(seed2 >> 32)};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t words[4];
    td_philox(counter, key, words);
    return words[index % 4];
}

void td_shuffle_seeds(int64_t global, int64_t own, uint64_t out[2]) {
    const int64_t most = INT32_MAX, seeds[2] = {global, own};
    for (int i = 0; i < 2; i++) {
        out[i] = (uint64_t)((seeds[i] % most + most) % most);
    }
    if (out[0] == 0 && out[1] == 0) {
        out[1] = (uint64_t)most; /* two zeros would mean: any */
    }
}

struct td_shuffle {
    int64_t capacity, start, size;
    uint64_t seed, seed2, drawn;
    int64_t *ring;
};

td_status td_shuffle_create(int64_t capacity, uint64_t seed, uint64_t seed2, td_shuffle **out) {
    if (capacity < 1 || capacity > INT64_MAX / 16) {
        return td_fail(TD_EINPUT, "a shuffle buffer of %lld elements", (long long)capacity);
    }
    td_shuffle *shuffle = td_alloc_zero(sizeof *shuffle);
    int64_t *ring = td_alloc((size_t)capacity * sizeof *ring);
    if (shuffle == NULL || ring == NULL) {
        td_free(shuffle);
        td_free(ring);
        return td_fail(TD_ENOMEM, "no memory for a shuffle buffer of %lld elements",
                       (long long)capacity);
    }
    *shuffle = (td_shuffle){.capacity = capacity, .seed = seed, .seed2 = seed2, .ring = ring};
    *out = shuffle;
    return TD_OK;
}

void td_shuffle_destroy(td_shuffle *shuffle) {
    if (shuffle != NULL) {
        td_free(shuffle->ring);
        td_free(shuffle);
    }
}

void td_shuffle_epoch(uint64_t seed, uint64_t seed2, int64_t epoch, uint64_t out[2]) {
    out[0] = sample(seed, seed2, 2 * (uint64_t)epoch);
    out[1] = sample(seed, seed2, 2 * (uint64_t)epoch + 1);
}

bool td_shuffle_put(td_shuffle *shuffle, int64_t element) {
    if (shuffle->size == shuffle->capacity) {
        return false;
    }
    shuffle->ring[(shuffle->start + shuffle->size++) % shuffle->capacity] = element;
    return true;
}

bool td_shuffle_take(td_shuffle *shuffle, int64_t *element) {
    if (shuffle->size == 0) {
        return false;
    }
    uint32_t draw = sample(shuffle->seed, shuffle->seed2, shuffle->drawn++);
    int64_t *first = &shuffle->ring[shuffle->start];
    int64_t *chosen = &shuffle->ring[(shuffle->start + (int64_t)(draw % (uint64_t)shuffle->size)) %
                                     shuffle->capacity];
    *element = *chosen;
    *chosen = *first;
    shuffle->start = (shuffle->start + 1) % shuffle->capacity;
    shuffle->size--;
    return true;
}
