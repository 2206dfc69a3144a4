/* SPDX-License-Identifier: Apache-2.0
 * What is compiled against mpi.h: a shared object for each MPI library, loaded by mpi_ranks.c.
 */
#include "threads/mpi_module.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>

#include "threads/mpi_calls.h"

/* A message has an int count: longer ones go in pieces, equally cut on both sides. */
static const int64_t PIECE = INT64_C(1) << 30;
enum { POSTED = 8192 };

typedef struct message_list {
    MPI_Request request[POSTED];
    int peer[POSTED];
    int n;
} message_list;

static message_list lists[TD_MPI_LISTS];
static MPI_Status statuses[POSTED]; /* nobody reads them; MPICH's header warns of none */
static MPI_Comm all = MPI_COMM_NULL;

static int start(int *rank, int *ranks, char *library, size_t library_bytes) {
    int provided, length, error, begun = 0;
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    MPI_Initialized(&begun);
    if (!begun && (error = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided)) != 0) {
        return error;
    }
    /* Of our own: nothing meets messages of others, and errors come back. */
    if ((error = MPI_Comm_dup(MPI_COMM_WORLD, &all)) != 0) {
        return error;
    }
    MPI_Comm_set_errhandler(all, MPI_ERRORS_RETURN);
    MPI_Comm_rank(all, rank);
    MPI_Comm_size(all, ranks);
    MPI_Get_library_version(text, &length);
    text[strcspn(text, "\n,")] = '\0';
    snprintf(library, library_bytes, "%s", text);
    return 0;
}

static int finish(void) {
    MPI_Comm_free(&all);
    return MPI_Finalize();
}

static void abandon(int code) {
    MPI_Abort(MPI_COMM_WORLD, code);
}

static int post(int list, int sends, unsigned char *data, int64_t bytes, int peer, int tag) {
    message_list *l = &lists[list];
    int64_t at = 0;
    do {
        int64_t left = bytes - at;
        int some = (int)(left < PIECE ? left : PIECE);
        if (l->n == POSTED) {
            return MPI_ERR_NO_MEM;
        }
        MPI_Request *request = &l->request[l->n];
        int error = sends ? MPI_Isend(data + at, some, MPI_BYTE, peer, tag, all, request)
                          : MPI_Irecv(data + at, some, MPI_BYTE, peer, tag, all, request);
        if (error != 0) {
            return error;
        }
        l->peer[l->n++] = peer;
        at += some;
    } while (at < bytes);
    return 0;
}

static int send(int list, const void *data, int64_t bytes, int to, int tag) {
    return post(list, 1, (unsigned char *)(uintptr_t)data, bytes, to, tag);
}

static int receive(int list, void *data, int64_t bytes, int from, int tag) {
    return post(list, 0, data, bytes, from, tag);
}

static int test(int list, int *done) {
    message_list *l = &lists[list];
    *done = 1;
#ifdef TD_MPI_SIMULATED /* where no time goes by between one look and the next */
    int error = l->n == 0 ? 0 : MPI_Waitall(l->n, l->request, statuses);
#else
    int error = l->n == 0 ? 0 : MPI_Testall(l->n, l->request, done, statuses);
#endif
    if (error == 0 && *done) {
        l->n = 0;
    }
    return error;
}

static int late(int list) {
    message_list *l = &lists[list];
    for (int i = 0; i < l->n; i++) {
        int done = 1;
        if (MPI_Test(&l->request[i], &done, MPI_STATUS_IGNORE) == 0 && !done) {
            return l->peer[i];
        }
    }
    return -1;
}

static void drop(void) {
    for (int list = 0; list < TD_MPI_LISTS; list++) {
        lists[list].n = 0;
    }
}

static int arrived(int tag, int *from) {
    MPI_Status status;
    int yes = 0, error = MPI_Iprobe(MPI_ANY_SOURCE, tag, all, &yes, &status);
    *from = error == 0 && yes ? status.MPI_SOURCE : -1;
    return error;
}

static int collective(const td_mpi_call *call) {
    int rank, ranks;
    MPI_Comm_rank(all, &rank);
    MPI_Comm_size(all, &ranks);
    return td_mpi_carry_out(call, all, rank, ranks);
}

static void explain(int error, char *text, size_t text_bytes) {
    char said[MPI_MAX_ERROR_STRING] = "";
    int length;
    MPI_Error_string(error, said, &length);
    snprintf(text, text_bytes, "%s", said);
}

TD_MPI_MODULE_TABLE;
