/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <time.h>

#include "base/clock.h"
#include "threads/procfs.h"

typedef struct runner {
    td_lab *lab;
    bool sleeps;
    _Atomic int tid, stop;
    _Atomic int64_t ran_ns;
} runner;

static void *run(void *arg) {
    runner *r = arg;
    td_lab_pin(r->lab, r->lab->cpu[0]);
    r->tid = (int)syscall(SYS_gettid);
    while (!r->stop) {
        if (r->sleeps) {
            pause();
        }
        r->ran_ns = td_thread_cpu_ns();
    }
    return NULL;
}

void td_concept_time_slice(td_lab *lab) {
    enum { ENOUGH_NS = 20000000, LEAST = 2 };
    const int64_t limit_ns = lab->mutant ? 300000000 : INT64_C(20000000000);
    runner pair[2] = {{.lab = lab}, {.lab = lab, .sleeps = lab->mutant}};
    pthread_t threads[2];
    td_lab_be_ordinary(lab);
    int64_t start = td_now_ns(), taken[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        threads[i] = td_lab_thread(lab, run, &pair[i]);
        td_lab_must(lab, td_lab_await(&pair[i].tid, 1), "start a thread");
    }
    bool shared = false;
    while (!shared && td_now_ns() - start < limit_ns) {
        struct timespec nap = {.tv_nsec = 2000000};
        nanosleep(&nap, NULL);
        for (int i = 0; i < 2; i++) {
            taken[i] = td_proc_switches_read(getpid(), pair[i].tid).involuntary;
        }
        shared = pair[0].ran_ns > ENOUGH_NS && pair[1].ran_ns > ENOUGH_NS && taken[0] >= LEAST &&
                 taken[1] >= LEAST;
    }
    double wall = (double)(td_now_ns() - start) * 1e-6;
    td_lab_check(lab, shared,
                 "two threads that never wait had %.0f and %.0f ms of one CPU in %.0f ms",
                 (double)pair[0].ran_ns * 1e-6, (double)pair[1].ran_ns * 1e-6, wall);
    td_lab_check(lab, (double)(pair[0].ran_ns + pair[1].ran_ns) * 1e-6 < wall * 1.02 + 5,
                 "together no more than the time that passed");
    td_lab_check(lab, taken[0] >= LEAST && taken[1] >= LEAST,
                 "the CPU was taken from them %lld and %lld times", (long long)taken[0],
                 (long long)taken[1]);
    pair[0].stop = 1;
    pthread_join(threads[0], NULL);
    if (!lab->mutant) {
        pair[1].stop = 1;
        pthread_join(threads[1], NULL);
    }
}
