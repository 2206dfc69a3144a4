/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/procfs.h"

/* A process of three busy threads and one of one, on one CPU, in one session (so that the system's
 * grouping by session does not step in). */
enum { THREADS = 3, ENOUGH_MS = 150, LIMIT_S = 30 };

typedef struct contest {
    _Atomic int64_t ran_ns[THREADS + 1];
    _Atomic int started, stop;
    td_lab *lab;
} contest;

typedef struct seat {
    contest *all;
    int id;
    bool sleeps;
} seat;

static void burn(contest *c, int id, bool sleeps) {
    td_lab_pin(c->lab, c->lab->cpu[0]);
    atomic_fetch_add(&c->started, 1);
    while (!c->stop) {
        if (sleeps) {
            struct timespec nap = {.tv_nsec = 5000000};
            nanosleep(&nap, NULL);
        }
        c->ran_ns[id] = td_thread_cpu_ns();
    }
}

static void *burn_in_thread(void *arg) {
    seat *s = arg;
    burn(s->all, s->id, s->sleeps);
    return NULL;
}

static void be_three(td_lab *lab, void *arg) {
    seat seats[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        seats[i] = (seat){.all = arg, .id = i, .sleeps = lab->mutant && i == 2};
        threads[i] = td_lab_thread(lab, burn_in_thread, &seats[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void be_one(td_lab *lab, void *arg) {
    (void)lab;
    burn(arg, THREADS, false);
}

void td_concept_unit_of_scheduling(td_lab *lab) {
    contest *c = td_lab_shared(lab, sizeof *c);
    c->lab = lab;
    pid_t three = td_lab_fork(lab, be_three, c), one = td_lab_fork(lab, be_one, c);
    td_lab_must(lab, td_lab_await(&c->started, THREADS + 1), "start two processes");
    int64_t begin[THREADS + 1], limit = td_now_ns() + LIMIT_S * INT64_C(1000000000);
    for (int i = 0; i <= THREADS; i++) {
        begin[i] = c->ran_ns[i];
    }
    while (c->ran_ns[THREADS] - begin[THREADS] < ENOUGH_MS * INT64_C(1000000) &&
           td_now_ns() < limit) {
        struct timespec nap = {.tv_nsec = 2000000};
        nanosleep(&nap, NULL);
    }
    double of_three = 0, of_one = (double)(c->ran_ns[THREADS] - begin[THREADS]) * 1e-6;
    for (int i = 0; i < THREADS; i++) {
        of_three += (double)(c->ran_ns[i] - begin[i]) * 1e-6;
    }
    c->stop = 1;
    td_lab_wait(lab, three);
    td_lab_wait(lab, one);
    double ratio = of_one > 0 ? of_three / of_one : 0;
    td_lab_number(lab, "share_ratio", ratio);
    td_lab_check(lab, ratio > 2.5 && ratio < 3.6,
                 "the process of 3 threads had %.0f ms of CPU, the one of 1 had %.0f: %.2f to 1",
                 of_three, of_one, ratio);
}
