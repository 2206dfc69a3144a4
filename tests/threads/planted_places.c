/* SPDX-License-Identifier: Apache-2.0
 * An OpenMP program that knows nothing of Tandem: prints in one line the CPUs that each of its
 * threads may run on, "0/1" for two that are bound.
 */
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { MOST_THREADS = 64, MOST_CPUS = 1024, LIST_BYTES = 256 };

static char list[MOST_THREADS][LIST_BYTES];

static void write_own(char *text) {
    cpu_set_t mask;
    int used = 0;
    sched_getaffinity(0, sizeof mask, &mask);
    for (int cpu = 0; cpu < MOST_CPUS && used < LIST_BYTES - 8; cpu++) {
        if (CPU_ISSET((size_t)cpu, &mask)) {
            used += snprintf(text + used, LIST_BYTES - (size_t)used, "%s%d", used ? "," : "", cpu);
        }
    }
}

int main(void) {
    int threads = 0;
#pragma omp parallel
    {
        int id = omp_get_thread_num();
        if (id == 0) {
            threads = omp_get_num_threads();
        }
        if (id < MOST_THREADS) {
            write_own(list[id]);
        }
    }
    char line[MOST_THREADS * LIST_BYTES] = "";
    for (int id = 0; id < threads && id < MOST_THREADS; id++) {
        strcat(strcat(line, id ? "/" : ""), list[id]);
    }
    puts(line);
    return 0;
}
