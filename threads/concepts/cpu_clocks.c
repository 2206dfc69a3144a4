/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <time.h>

#include "threads/procfs.h"

enum { THREADS = 3 };

typedef struct burner {
    int64_t work_ns;
    clockid_t clock;
    _Atomic int done, *go;
} burner;

static int64_t read_clock(clockid_t clock) {
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void *burn(void *arg) {
    burner *b = arg;
    pthread_getcpuclockid(pthread_self(), &b->clock);
    while (read_clock(CLOCK_THREAD_CPUTIME_ID) < b->work_ns) {
    }
    atomic_store(&b->done, 1);
    td_lab_await(b->go, 1);
    return NULL;
}

void td_concept_cpu_clocks(td_lab *lab) {
    _Atomic int go = 0;
    burner burners[THREADS];
    pthread_t threads[THREADS];
    for (int t = 0; t < THREADS; t++) {
        burners[t] = (burner){.work_ns = (t + 1) * INT64_C(5000000), .go = &go};
        threads[t] = td_lab_thread(lab, burn, &burners[t]);
    }
    for (int t = 0; t < THREADS; t++) {
        td_lab_must(lab, td_lab_await(&burners[t].done, 1), "use the CPU");
    }
    /* The waiting threads go on using a little, so the sum lies between two readings. */
    int64_t before = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    int64_t sum = read_clock(CLOCK_THREAD_CPUTIME_ID);
    for (int t = 0; t < THREADS; t++) {
        sum += read_clock(burners[t].clock);
    }
    sum += lab->mutant ? read_clock(burners[THREADS - 1].clock) : 0;
    int64_t after = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    atomic_store(&go, 1);
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
    }
    int64_t slack = after / 100 + 50000;
    td_lab_check(lab, sum >= before - slack && sum <= after + slack,
                 "the clocks of 4 threads add up to %.3f ms, the process's read %.3f to %.3f ms",
                 (double)sum * 1e-6, (double)before * 1e-6, (double)after * 1e-6);
    int64_t later = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    td_lab_check(lab, later >= after, "threads that ended stay in the process's account");
    td_lab_check(lab, later >= 30000000, "3 threads worked 5, 10 and 15 ms: %.1f ms in all",
                 (double)later * 1e-6);
}
