/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

/* Two sides on one CPU hand a turn to and fro, each way between threads and between processes. */
enum { TURNS = 400 };

typedef enum way { FUTEX, CONDITION, PIPE, EVENTFD, SOCKET, WAYS } way;
static const char *const names[WAYS] = {[FUTEX] = "a futex",
                                        [CONDITION] = "a condition variable",
                                        [PIPE] = "two pipes",
                                        [EVENTFD] = "two eventfds",
                                        [SOCKET] = "a Unix socket"};

/* Direction 0 is to the answering side, 1 back. */
typedef struct court {
    td_event turn[2];
    td_wait_rule rule;
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    int at[2]; /* under the mutex */
    int in[2], out[2];
    way how;
    _Atomic int tid, done;
    int64_t wrong; /* by whoever has the turn */
} court;

static void open_ways(td_lab *lab, court *c, bool processes) {
    int ends[2] = {-1, -1};
    pthread_mutexattr_t of_mutex;
    pthread_condattr_t of_condition;
    pthread_mutexattr_init(&of_mutex);
    pthread_condattr_init(&of_condition);
    pthread_mutexattr_setpshared(&of_mutex, PTHREAD_PROCESS_SHARED);
    pthread_condattr_setpshared(&of_condition, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&c->mutex, &of_mutex);
    pthread_cond_init(&c->condition, &of_condition);
    c->rule = (td_wait_rule){.between_processes = processes}; /* sleeps at once */
    for (int i = 0; i < 2; i++) {
        if (c->how == PIPE) {
            td_lab_must(lab, pipe(ends) == 0, "a pipe");
            c->in[i] = ends[0];
            c->out[i] = ends[1];
        } else if (c->how == EVENTFD) {
            c->in[i] = c->out[i] = eventfd(0, EFD_CLOEXEC);
        }
    }
    if (c->how == SOCKET) {
        td_lab_must(lab, socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "a socket pair");
        c->out[0] = c->in[1] = ends[0];
        c->in[0] = c->out[1] = ends[1];
    }
}

static void close_ways(const court *c) {
    for (int i = 0; i < 2 && c->how >= PIPE; i++) {
        close(c->in[i]);
        close(c->out[i]); /* of an eventfd the same */
    }
}

static void give(court *c, int direction, uint64_t turn) {
    switch (c->how) {
    case FUTEX:
        td_event_advance(&c->turn[direction], &c->rule);
        break;
    case CONDITION:
        pthread_mutex_lock(&c->mutex);
        c->at[direction] = (int)turn;
        pthread_cond_broadcast(&c->condition);
        pthread_mutex_unlock(&c->mutex);
        break;
    case PIPE:
    case EVENTFD:
    case SOCKET:
        turn = c->how == EVENTFD ? 1 : turn; /* what is written there is added up */
        c->wrong += write(c->out[direction], &turn, sizeof turn) != sizeof turn;
        break;
    case WAYS:
        break;
    }
}

static void take(court *c, int direction, uint64_t turn) {
    uint64_t got = 0;
    switch (c->how) {
    case FUTEX:
        td_event_wait(&c->turn[direction], (uint32_t)turn, &c->rule, 0, NULL);
        break;
    case CONDITION:
        pthread_mutex_lock(&c->mutex);
        while (c->at[direction] < (int)turn) {
            pthread_cond_wait(&c->condition, &c->mutex);
        }
        pthread_mutex_unlock(&c->mutex);
        break;
    case PIPE:
    case EVENTFD:
    case SOCKET:
        c->wrong += read(c->in[direction], &got, sizeof got) != sizeof got ||
                    got != (c->how == EVENTFD ? 1 : turn);
        break;
    case WAYS:
        break;
    }
}

static void answer(void *arg) {
    court *c = arg;
    c->tid = (int)syscall(SYS_gettid);
    for (uint64_t i = 1; i <= TURNS; i++) {
        take(c, 0, i);
        give(c, 1, i);
    }
    td_lab_await(&c->done, 1);
}

/* Microseconds of a turn there and back. */
static double play(td_lab *lab, way how, bool processes) {
    court *c = td_lab_shared(lab, sizeof *c);
    c->how = how;
    open_ways(lab, c, processes);
    td_lab_side other = {.main = answer, .arg = c, .process = processes};
    td_lab_side_start(lab, &other);
    td_lab_must(lab, td_lab_await(&c->tid, 1), "start the other side");
    int64_t before = td_lab_own_switches() + td_lab_switches(other.pid, c->tid);
    int64_t start = td_now_ns();
    for (uint64_t i = 1; i <= TURNS; i++) {
        give(c, 0, i);
        if (lab->mutant) {
            give(c, 1, i); /* does not wait for the other side */
        }
        take(c, 1, i);
    }
    double us = (double)(td_now_ns() - start) / TURNS * 1e-3;
    int64_t count = td_lab_own_switches() + td_lab_switches(other.pid, c->tid) - before;
    c->done = 1;
    td_lab_side_join(lab, &other);
    td_lab_check(lab, count >= 2 * TURNS * 95 / 100 && c->wrong == 0,
                 "%d turns there and back by %s between two %s: %lld switches", TURNS, names[how],
                 processes ? "processes" : "threads", (long long)count);
    close_ways(c);
    return us;
}

void td_concept_ways_to_hand_over(td_lab *lab) {
    static const char *const keys[WAYS] = {"process_futex_us", "process_condition_us",
                                           "process_pipe_us", "process_eventfd_us",
                                           "process_socket_us"};
    double us[WAYS][2];
    td_lab_pin(lab, lab->cpu[0]);
    /* The mutant shows by the first; a side that is not waited for fills up the others. */
    way end = lab->mutant ? FUTEX + 1 : WAYS;
    for (way how = 0; how < end; how++) {
        for (int processes = 0; processes < 2; processes++) {
            us[how][processes] = play(lab, how, processes == 1);
            td_lab_sample(lab, us[how][processes] * 1e3);
        }
    }
    for (way how = 0; how < end; how++) {
        td_lab_saw(lab, "%-21s%6.2f us between threads, %6.2f us between processes", names[how],
                   us[how][0], us[how][1]);
        td_lab_number(lab, keys[how], us[how][1]);
    }
    td_lab_sampled(lab, "a turn there and back, by way");
}
