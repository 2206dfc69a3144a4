/* SPDX-License-Identifier: Apache-2.0
 * What it costs where memory lies: workers of one NUMA node read a block that lies on that node, on
 * the farthest one, or on all in turn. That the pages are where the policy says is read from the
 * kernel, page by page. On a machine of one node, remote and interleave are skipped as that.
 */
#include <stdio.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "bench/case.h"
#include "threads/numa.h"

/* Larger than what caches hold of it, as far as a quick case can. */
enum { BYTES = 256 << 20, WORDS = BYTES / 8, CHUNK = 4096, NODES = 64 };

static const char *const policies[] = {"local", "remote", "interleave"};

typedef struct memory_state {
    uint64_t *words;
    uint64_t nodes;
    _Atomic uint64_t sum;
} memory_state;

static td_status list_memory(const td_workload *self, td_case_list *list) {
    for (int i = 0; i < 3; i++) {
        td_case *added = td_case_add(list, self, "threads/numa/%s", policies[i]);
        added->param[0] = i;
        added->quick = true;
        added->seconds = 0.5;
    }
    return TD_OK;
}

static void teardown_memory(td_bench *bench) {
    memory_state *s = bench->state;
    if (s->words != NULL) {
        munmap(s->words, BYTES);
    }
    td_free(s);
}

static td_status setup_memory(td_bench *bench) {
    memory_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (s == NULL) {
        return td_fail(TD_ENOMEM, "a memory case");
    }
    int pu = bench->rank->pu != NULL ? bench->rank->pu[0] : 0;
    void *block = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) {
        return td_fail(TD_ENOMEM, "%d bytes", BYTES);
    }
    s->words = block;
    TD_TRY(td_numa_place(block, BYTES, (td_numa_policy)bench->subject->param[0],
                         td_numa_node_of_pu(pu), &s->nodes));
    TD_TRY(td_numa_first_touch(block, BYTES));
    for (int64_t i = 0; i < WORDS; i++) {
        s->words[i] = (uint64_t)i;
    }
    return TD_OK;
}

static void read_share(td_bench *bench, td_worker *worker) {
    memory_state *s = bench->state;
    int64_t first, last;
    uint64_t sum = 0;
    td_worker_share(worker, WORDS / CHUNK, &first, &last);
    for (int64_t i = first * CHUNK; i < last * CHUNK; i++) {
        sum += s->words[i];
    }
    atomic_fetch_add_explicit(&s->sum, sum, memory_order_relaxed);
}

static void read_once(void *arg, td_worker *worker) {
    read_share(arg, worker);
}

/* At least 99 pages of a hundred on nodes of the policy, and of several nodes each its part. */
static td_status check_pages(const memory_state *s) {
    int64_t pages[NODES], untouched, there = 0, all = BYTES / 4096;
    TD_TRY(td_numa_histogram(s->words, BYTES, pages, NODES, &untouched));
    int nodes = __builtin_popcountll(s->nodes);
    for (int node = 0; node < NODES; node++) {
        if (s->nodes >> node & 1) {
            there += pages[node];
            if (pages[node] < all / nodes * 99 / 100) {
                return td_fail(TD_ECHECK, "%lld of %lld pages are on node %d of %d",
                               (long long)pages[node], (long long)all, node, nodes);
            }
        }
    }
    return there >= all * 99 / 100 ? TD_OK
                                   : td_fail(TD_ECHECK, "%lld of %lld pages lie where they should",
                                             (long long)there, (long long)all);
}

static td_status verify_memory(td_bench *bench) {
    memory_state *s = bench->state;
    TD_TRY(check_pages(s));
    atomic_store(&s->sum, 0);
    td_team_run(bench->team, read_once, bench);
    uint64_t expected = (uint64_t)WORDS * (WORDS - 1) / 2;
    snprintf(bench->outcome->method, sizeof bench->outcome->method,
             "pages by move_pages, nodes %#llx; sum of all words", (unsigned long long)s->nodes);
    return s->sum == expected ? TD_OK : td_fail(TD_ECHECK, "a sum of words is wrong");
}

static void cost_memory(const td_bench *bench, td_cost *out) {
    (void)bench;
    *out = (td_cost){.value = TD_VALUE_BYTES, .bytes = BYTES, .working_set = BYTES};
}

const td_workload td_workload_memory = {
    .name = "memory",
    .list = list_memory,
    .fits = td_case_fits_one_rank,
    .setup = setup_memory,
    .verify = verify_memory,
    .region = read_share,
    .cost = cost_memory,
    .teardown = teardown_memory,
};
