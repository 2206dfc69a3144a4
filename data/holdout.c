/* SPDX-License-Identifier: Apache-2.0 */
#include "data/holdout.h"

#include "base/rng.h"

/* FNV-1a spread by one Philox draw: FNV alone leaves the high bits of short keys alike. */
bool td_is_held_out(const char *key, double share) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *at = key; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
    }
    td_rng rng = td_rng_make(0, TD_PURPOSE_SPLIT, hash);
    return td_rng_uniform(&rng) < share;
}
