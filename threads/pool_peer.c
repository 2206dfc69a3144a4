/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/pool_peer.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "threads/tbb_shim.h"

static const td_pool_peer peers[] = {
    {"libgomp", "libgomp.so.1", TD_POOL_OPENMP, false},
    {"libomp", "libomp.so.5", TD_POOL_OPENMP, false},
    {"pthreadpool", "libpthreadpool.so.0", TD_POOL_PTHREADPOOL, true},
    {"onetbb", TD_TBB_SHIM, TD_POOL_TBB, true},
};

const td_pool_peer *td_pool_peers(int *count) {
    *count = (int)(sizeof peers / sizeof peers[0]);
    return peers;
}

/* Both OpenMP libraries have the entry that gcc compiles a parallel region to. */
typedef void gomp_parallel_fn(void (*body)(void *), void *arg, unsigned threads, unsigned flags);
typedef int thread_num_fn(void);
typedef void *pool_create_fn(size_t threads);
typedef void pool_run_fn(void *pool, void (*body)(void *, size_t), void *arg, size_t range,
                         uint32_t flags);

static struct {
    gomp_parallel_fn *parallel;
    thread_num_fn *thread_num;
    pool_create_fn *create;
    pool_run_fn *run;
    void *pool;
    td_pool_tbb_fn *tbb;
} loaded;

/* ISO C has no conversion from an object pointer to a function pointer; POSIX says this is one. */
static bool find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

td_status td_pool_peer_load(const td_pool_peer *peer) {
    void *library = dlopen(peer->library, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return td_fail(TD_ESKIP, "%s is not installed: %s", peer->name, dlerror());
    }
    bool found = false;
    switch (peer->kind) {
    case TD_POOL_OPENMP:
        found = find(library, "GOMP_parallel", &loaded.parallel) &&
                find(library, "omp_get_thread_num", &loaded.thread_num);
        break;
    case TD_POOL_PTHREADPOOL:
        found = find(library, "pthreadpool_create", &loaded.create) &&
                find(library, "pthreadpool_parallelize_1d", &loaded.run);
        break;
    case TD_POOL_TBB:
        found = find(library, "td_pool_tbb", &loaded.tbb);
        break;
    }
    return found ? TD_OK : td_fail(TD_ESKIP, "%s lacks a function", peer->library);
}

typedef struct call {
    td_pool_body_fn *body;
    void *arg;
} call;

static void gomp_body(void *arg) {
    const call *c = arg;
    c->body(c->arg, loaded.thread_num());
}

static void pool_body(void *arg, size_t part) {
    const call *c = arg;
    c->body(c->arg, (int)part);
}

void td_pool_peer_run(const td_pool_peer *peer, int workers, td_pool_body_fn *body, void *arg) {
    call c = {body, arg};
    if (peer->kind == TD_POOL_TBB) {
        loaded.tbb(workers, body, arg);
        return;
    }
    if (peer->kind == TD_POOL_OPENMP) {
        loaded.parallel(gomp_body, &c, (unsigned)workers, 0);
        return;
    }
    if (loaded.pool == NULL) {
        loaded.pool = loaded.create((size_t)workers);
    }
    loaded.run(loaded.pool, pool_body, &c, (size_t)workers, 0);
}
