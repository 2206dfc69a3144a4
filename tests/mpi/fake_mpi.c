/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_mpi.h"

#include <stdio.h>

#include "threads/mpi_module.h"

extern td_fake_world td_fake_world_here;
td_fake_world td_fake_world_here;

static int start(int *rank, int *ranks, char *library, size_t library_bytes) {
    *rank = td_fake_world_here.rank;
    *ranks = td_fake_world_here.ranks;
    snprintf(library, library_bytes, "none");
    return 0;
}

static int finish(void) {
    return 0;
}

static void abandon(int code) {
    (void)code;
}

static int send(int list, const void *data, int64_t bytes, int to, int tag) {
    (void)list;
    if (td_fake_world_here.heard != NULL) {
        td_fake_world_here.heard(data, bytes, to, tag);
    }
    return 0;
}

static int receive(int list, void *data, int64_t bytes, int from, int tag) {
    (void)list;
    td_fake_world_here.answer(data, bytes, from, tag);
    return 0;
}

static int test(int list, int *done) {
    *done = td_fake_world_here.done == NULL || td_fake_world_here.done(list);
    return 0;
}

static int late(int list) {
    (void)list;
    return -1;
}

static void drop(void) {}

static int arrived(int tag, int *from) {
    *from = td_fake_world_here.arrived == NULL ? -1 : td_fake_world_here.arrived(tag);
    return 0;
}

static int collective(const td_mpi_call *call) {
    (void)call;
    return 1;
}

static void explain(int error, char *text, size_t text_bytes) {
    snprintf(text, text_bytes, "error %d", error);
}

TD_MPI_MODULE_TABLE;
