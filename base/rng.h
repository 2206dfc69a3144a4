/* SPDX-License-Identifier: Apache-2.0
 * Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011). A draw depends on (seed,
 * purpose, id, index) only, never on who draws it or when.
 */
#ifndef TD_BASE_RNG_H
#define TD_BASE_RNG_H

#include <stdint.h>

/* What a stream is for; part of the key, so that two uses of one seed never share numbers. Append
 * only: the value is part of every recorded answer. */
typedef enum td_purpose {
    TD_PURPOSE_TEST = 0,
    TD_PURPOSE_INIT,
    TD_PURPOSE_SHUFFLE,
    TD_PURPOSE_AUGMENT,
    TD_PURPOSE_SYNTH,
    TD_PURPOSE_BOOTSTRAP,
    TD_PURPOSE_INPUT,
    TD_PURPOSE_SPLIT,
    TD_PURPOSE_PATCHES,
} td_purpose;

typedef struct td_rng {
    uint64_t seed, id, index;
    uint32_t purpose;
    uint32_t have;
    uint32_t block[4];
} td_rng;

/* One Philox block: 4 words from a 128-bit counter and a 64-bit key. */
void td_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

td_rng td_rng_make(uint64_t seed, td_purpose purpose, uint64_t id);
uint32_t td_rng_u32(td_rng *rng);
uint64_t td_rng_u64(td_rng *rng);
uint64_t td_rng_below(td_rng *rng,
                      uint64_t bound); /* uniform in [0, bound), no modulo bias; bound >= 1 */
double td_rng_uniform(td_rng *rng);    /* [0, 1), 53 bits */
double td_rng_normal(td_rng *rng);     /* Box-Muller on base/math.h, so equal on every machine */

/* A permutation of [0, count) that is evaluated per index in O(1) memory: position of item i under
 * the seed. */
uint64_t td_rng_permute(uint64_t seed, td_purpose purpose, uint64_t count, uint64_t i);

#endif
