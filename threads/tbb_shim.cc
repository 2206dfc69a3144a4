/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/tbb_shim.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>

/* The arena and the permission to have more threads than CPUs live as long as the process: it runs
 * one size. */
void td_pool_tbb(int workers, void (*body)(void *arg, int part), void *arg) {
    static tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                     static_cast<size_t>(workers));
    static tbb::task_arena arena(workers);
    arena.execute([&] {
        tbb::parallel_for(0, workers, 1, [&](int part) { body(arg, part); },
                          tbb::static_partitioner());
    });
}
