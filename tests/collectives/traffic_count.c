/* SPDX-License-Identifier: Apache-2.0 */
#include "traffic_count.h"

#include <stddef.h>

#include "collectives/comm_state.h"
#include "collectives/elements.h"

td_traffic td_traffic_now;

static uint16_t stamp(void) {
    const td_traffic *t = &td_traffic_now;
    return (uint16_t)(t->rank * 16 + t->call[t->rank] + 1);
}

static bool is_counted(const void *at) {
    const td_traffic *t = &td_traffic_now;
    const unsigned char *byte = at;
    return t->open && byte >= t->heap && byte < t->heap + t->heap_bytes;
}

/* What a rank has written in this call it still has at hand. */
static void load(const void *from, int64_t bytes) {
    td_traffic *t = &td_traffic_now;
    if (is_counted(from)) {
        int64_t first = ((const unsigned char *)from - t->heap) / 8;
        for (int64_t i = first; i < first + bytes / 8; i++) {
            t->loaded += t->writer[i] == stamp() ? 0 : 8;
        }
    }
}

static void store(const void *to, int64_t bytes) {
    td_traffic *t = &td_traffic_now;
    if (is_counted(to)) {
        int64_t first = ((const unsigned char *)to - t->heap) / 8;
        t->stored += bytes;
        for (int64_t i = first; i < first + bytes / 8; i++) {
            t->writer[i] = stamp();
        }
    }
}

void *__real_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes) {
    if (td_traffic_now.open) {
        load(from, (int64_t)bytes);
        store(to, (int64_t)bytes);
    }
    return __real_memcpy(to, from, bytes);
}

const td_element_loops *__real_td_elements(void);

/* Ends of a buffer are copied by memcpy, which is counted already. */
static const td_element_loops *uncounted(void) {
    td_traffic_now.open = false;
    return __real_td_elements();
}

static void combine(void *to, void *also, const void *a, const void *b, int64_t n, td_dtype dtype,
                    td_reduce reduce) {
    int64_t bytes = n * td_dtype_bytes(dtype);
    load(a, bytes);
    load(b, bytes);
    store(to, bytes);
    if (also != to) {
        store(also, bytes);
    }
    uncounted()->combine(to, also, a, b, n, dtype, reduce);
    td_traffic_now.open = true;
}

static void combine_four(void *to, void *also, const void *const *from, int64_t n, td_dtype dtype,
                         td_reduce reduce) {
    int64_t bytes = n * td_dtype_bytes(dtype);
    for (int i = 0; i < 4; i++) {
        load(from[i], bytes);
    }
    store(to, bytes);
    if (also != to) {
        store(also, bytes);
    }
    uncounted()->combine_four(to, also, from, n, dtype, reduce);
    td_traffic_now.open = true;
}

static void stream(void *to, void *also, const void *from, int64_t bytes) {
    load(from, bytes);
    store(to, bytes);
    if (also != to) {
        store(also, bytes);
    }
    uncounted()->stream(to, also, from, bytes);
    td_traffic_now.open = true;
}

static void swap(void *a, void *b, int64_t bytes) {
    load(a, bytes);
    load(b, bytes);
    store(a, bytes);
    store(b, bytes);
    uncounted()->swap(a, b, bytes);
    td_traffic_now.open = true;
}

const td_element_loops *__wrap_td_elements(void);
const td_element_loops *__wrap_td_elements(void) {
    static td_element_loops counted;
    const td_element_loops *real = __real_td_elements();
    counted = *real;
    counted.combine = combine;
    counted.combine_four = combine_four;
    counted.stream = stream;
    counted.swap = swap;
    return td_traffic_now.open ? &counted : real;
}

void __real_td_comm_mark(td_comm_turn *turn, int round);
void __wrap_td_comm_mark(td_comm_turn *turn, int round);
void __wrap_td_comm_mark(td_comm_turn *turn, int round) {
    td_traffic_now.signals += td_traffic_now.open;
    __real_td_comm_mark(turn, round);
}

td_status __real_td_comm_await(td_comm_turn *turn, int peer, int round);
td_status __wrap_td_comm_await(td_comm_turn *turn, int peer, int round);
td_status __wrap_td_comm_await(td_comm_turn *turn, int peer, int round) {
    td_traffic_now.waits += td_traffic_now.open;
    return __real_td_comm_await(turn, peer, round);
}

td_status __real_td_comm_await_all(td_comm_turn *turn, int round);
td_status __wrap_td_comm_await_all(td_comm_turn *turn, int round);
td_status __wrap_td_comm_await_all(td_comm_turn *turn, int round) {
    td_traffic_now.waits += td_traffic_now.open ? td_comm_size(turn->comm) - 1 : 0;
    return __real_td_comm_await_all(turn, round);
}
