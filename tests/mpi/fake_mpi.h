/* SPDX-License-Identifier: Apache-2.0
 * A module of MPI without ranks: what other ranks say is up to the test that has loaded it
 * (td_fake_world_here, a symbol of the module). So a test can be a rank among others whose clocks,
 * hosts and ends it chooses.
 */
#ifndef TD_TESTS_FAKE_MPI_H
#define TD_TESTS_FAKE_MPI_H

#include <stdbool.h>
#include <stdint.h>

typedef struct td_fake_world {
    int rank, ranks;
    void (*answer)(void *data, int64_t bytes, int from, int tag);    /* to a receive; at once */
    void (*heard)(const void *data, int64_t bytes, int to, int tag); /* NULL: not looked at */
    bool (*done)(int list);                                          /* NULL: whenever asked */
    int (*arrived)(int tag); /* whose message waits; -1, and NULL: nobody's */
} td_fake_world;

#endif
