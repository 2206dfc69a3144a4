/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/elements.h"

#include <string.h>

#include "base/cpu.h"
#include "collectives/loops.h"

/* Elements converted at a time: two operands and a result stay in a 32 KiB first-level cache. */
enum { BLOCK = 1024 };

const td_element_loops *td_elements(void) {
    td_isa isa = TD_ISA_PORTABLE;
    if (td_isa_active(&isa) != TD_OK || isa == TD_ISA_PORTABLE) {
        return &td_element_loops__portable;
    }
    return isa == TD_ISA_AVX2 ? &td_element_loops__avx2 : &td_element_loops__avx512;
}

void td_elements_copy(void *to, td_dtype to_type, const void *from, td_dtype from_type, int64_t n) {
    if (to_type == from_type) {
        if (to != from) {
            memcpy(to, from, (size_t)(n * td_dtype_bytes(to_type)));
        }
    } else if (to_type == TD_BF16) {
        td_elements()->narrow(to, from, n);
    } else {
        td_elements()->widen(to, from, n);
    }
}

/* The block as partial results: where it is, or widened into room. */
static const void *partial(const void *from, td_dtype type, int64_t first, int64_t n, float *room) {
    const unsigned char *at = (const unsigned char *)from + first * td_dtype_bytes(type);
    if (type != TD_BF16) {
        return at;
    }
    td_elements()->widen(room, (const uint16_t *)at, n);
    return room;
}

void td_elements_combine(void *to, td_dtype to_type, const void *a, td_dtype a_type, const void *b,
                         td_dtype b_type, int64_t n, td_reduce reduce) {
    const td_element_loops *loops = td_elements();
    if (to_type != TD_BF16 && a_type != TD_BF16 && b_type != TD_BF16) {
        loops->combine(to, to, a, b, n, to_type, reduce);
        return;
    }
    float left[BLOCK], right[BLOCK], sum[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t part = n - i < BLOCK ? n - i : BLOCK;
        const void *x = partial(a, a_type, i, part, left);
        const void *y = partial(b, b_type, i, part, right);
        if (to_type == TD_BF16) {
            loops->combine(sum, sum, x, y, part, TD_F32, reduce);
            loops->narrow((uint16_t *)to + i, sum, part);
        } else {
            loops->combine((float *)to + i, (float *)to + i, x, y, part, TD_F32, reduce);
        }
    }
}

void td_elements_finish(void *to, td_dtype to_type, const void *from, td_dtype from_type, int64_t n,
                        int ranks) {
    const td_element_loops *loops = td_elements();
    if (to_type != TD_BF16 || ranks == 0) {
        td_elements_copy(to, to_type, from, from_type, n);
        if (ranks > 0) {
            loops->divide(to, n, to_type, ranks);
        }
        return;
    }
    float room[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t part = n - i < BLOCK ? n - i : BLOCK;
        if (from_type == TD_BF16) {
            loops->widen(room, (const uint16_t *)from + i, part);
        } else {
            memcpy(room, (const float *)from + i, (size_t)part * sizeof *room);
        }
        loops->divide(room, part, TD_F32, ranks);
        loops->narrow((uint16_t *)to + i, room, part);
    }
}
