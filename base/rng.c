/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include <math.h>

#include "base/math.h"
#include "base/status.h"

void td_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

td_rng td_rng_make(uint64_t seed, td_purpose purpose, uint64_t id) {
    return (td_rng){.seed = seed, .id = id, .purpose = (uint32_t)purpose};
}

uint32_t td_rng_u32(td_rng *rng) {
    if (rng->have == 0) {
        /* The purpose takes the top byte of the counter's index half: 2^56 blocks a stream are more
         * than anything draws. */
        uint64_t high = rng->index | (uint64_t)rng->purpose << 56;
        uint32_t counter[4] = {(uint32_t)rng->id, (uint32_t)(rng->id >> 32), (uint32_t)high,
                               (uint32_t)(high >> 32)};
        uint32_t key[2] = {(uint32_t)rng->seed, (uint32_t)(rng->seed >> 32)};
        td_philox(counter, key, rng->block);
        rng->index++;
        rng->have = 4;
    }
    return rng->block[4 - rng->have--];
}

uint64_t td_rng_u64(td_rng *rng) {
    uint64_t low = td_rng_u32(rng);
    return low | (uint64_t)td_rng_u32(rng) << 32;
}

uint64_t td_rng_below(td_rng *rng, uint64_t bound) {
    TD_ASSERT(bound >= 1);
    /* Draws under 2^64 mod bound are dropped; what is left divides evenly. */
    uint64_t reject = (0 - bound) % bound, draw;
    do {
        draw = td_rng_u64(rng);
    } while (draw < reject);
    return draw % bound;
}

double td_rng_uniform(td_rng *rng) {
    return (double)(td_rng_u64(rng) >> 11) * 0x1p-53;
}

double td_rng_normal(td_rng *rng) {
    double u = 1.0 - td_rng_uniform(rng); /* (0, 1]: the log is finite */
    double v = td_rng_uniform(rng);
    return sqrt(-2.0 * td_log(u)) * td_cospi(2.0 * v);
}

uint64_t td_rng_permute(uint64_t seed, td_purpose purpose, uint64_t count, uint64_t i) {
    TD_ASSERT(i < count);
    int half = 1;
    while (half < 32 && (count - 1) >> (2 * half) != 0) {
        half++;
    }
    uint64_t mask = ((uint64_t)1 << half) - 1;
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    /* A Feistel network on 2 * half bits is a bijection; walking its cycles until the value is
     * below count restricts it to [0, count). At most four times the range: four walks on average.
     */
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint32_t round = 0; round < 6; round++) {
            uint32_t counter[4] = {(uint32_t)right, round, (uint32_t)purpose, 0x50455232u}, out[4];
            td_philox(counter, key, out);
            uint64_t next = (left ^ out[0]) & mask;
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= count);
    return i;
}
