/* SPDX-License-Identifier: Apache-2.0
 * Counts what direct rows do: bytes that they load from and store to the memory of ranks, rounds
 * that they signal, peers that they wait for. Their copies, loops, signals and waits come by here
 * first (--wrap in tests/CMakeLists.txt).
 */
#ifndef TD_TESTS_COLLECTIVES_TRAFFIC_COUNT_H
#define TD_TESTS_COLLECTIVES_TRAFFIC_COUNT_H

#include <stdbool.h>
#include <stdint.h>

enum { TD_TRAFFIC_RANKS = 64 };

typedef struct td_traffic {
    bool open;
    const unsigned char *heap; /* of all ranks: nothing else is counted */
    int64_t heap_bytes;
    uint16_t *writer; /* of every 8 bytes: who wrote them, in which call */
    int rank;         /* whose turn it is */
    int call[TD_TRAFFIC_RANKS];
    int64_t loaded, stored, signals, waits;
} td_traffic;
extern td_traffic td_traffic_now;

#endif
