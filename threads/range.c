/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/range.h"

#include "base/status.h"

void td_range_deal(td_range *range, int64_t first, int64_t last) {
    TD_ASSERT(0 <= first && first <= last && last <= INT32_MAX);
    atomic_store_explicit(range, (uint64_t)first << 32 | (uint64_t)last, memory_order_relaxed);
}

/* How many tiles a worker takes at a time. Where nothing is prepared, halves of what is left and
 * not less than an eighth of a share: late enough that another worker can take over what a worker
 * whose CPU is taken away would do last. A product packs B for every call: its owner takes a strip
 * at a time, for which B is packed once, and others at least enough rows to pay for it. */
static int64_t portion(const td_portions *of, int64_t begin, int64_t end, bool from_back) {
    enum { PAYS = 4 };
    int64_t left = end - begin, least = (of->tiles / of->workers + 7) / 8;
    if (of->grain > 1 && !from_back) {
        int64_t stop = (begin / of->grain + 1) * of->grain;
        return (stop < end ? stop : end) - begin;
    }
    least = of->grain > 1 && least < PAYS ? PAYS : least;
    int64_t most = (left + 1) / 2 > least ? (left + 1) / 2 : least;
    return most < left ? most : left;
}

bool td_range_take(td_range *range, const td_portions *of, bool from_back, int64_t *first,
                   int64_t *last) {
    uint64_t old = atomic_load_explicit(range, memory_order_relaxed), left;
    do {
        int64_t begin = (int64_t)(old >> 32), end = (int64_t)(old & UINT32_MAX);
        if (begin >= end) {
            return false;
        }
        int64_t some = portion(of, begin, end, from_back);
        *first = from_back ? end - some : begin;
        *last = from_back ? end : begin + some;
        left = from_back ? (uint64_t)begin << 32 | (uint64_t)*first
                         : (uint64_t)*last << 32 | (uint64_t)end;
    } while (!atomic_compare_exchange_weak_explicit(range, &old, left, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}
