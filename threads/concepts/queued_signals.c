/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* All signals are blocked and sent first, and then taken one by one, as a thread that is there to
 * take them would: no handler runs. */
enum { SENT = 5 };

typedef struct taken {
    int count, in_order, last;
} taken;

static void send_some(td_lab *lab, int number) {
    for (int i = 1; i <= SENT; i++) {
        union sigval value = {.sival_int = i};
        td_lab_must(lab, sigqueue(getpid(), number, value) == 0, "queue a signal");
    }
}

/* Until none of them is left; which number came first goes to *first. */
static taken take_all(const sigset_t *set, int number, int *first) {
    taken t = {0};
    siginfo_t info;
    const struct timespec now = {0};
    while (sigtimedwait(set, &info, &now) > 0) {
        *first = *first == 0 ? info.si_signo : *first;
        if (info.si_signo == number) {
            t.count++;
            t.in_order += info.si_value.sival_int > t.last;
            t.last = info.si_value.sival_int;
        }
    }
    return t;
}

void td_concept_queued_signals(td_lab *lab) {
    const int queued = lab->mutant ? SIGUSR2 : SIGRTMIN + 1, urgent = SIGRTMIN;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, queued);
    sigaddset(&set, urgent);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    int first = 0;
    send_some(lab, SIGUSR1);
    taken merged = take_all(&set, SIGUSR1, &first);
    td_lab_check(lab, merged.count == 1,
                 "a standard signal was sent %d times before it was taken, and came %d time", SENT,
                 merged.count);
    send_some(lab, queued);
    taken kept = take_all(&set, queued, &first);
    td_lab_check(lab, kept.count == SENT && kept.in_order == SENT,
                 "a real-time signal was sent %d times, and came %d times, %d of them in order "
                 "with the value it was sent with",
                 SENT, kept.count, kept.in_order);
    first = 0;
    send_some(lab, queued);
    send_some(lab, urgent);
    take_all(&set, queued, &first);
    td_lab_check(lab, first == urgent,
                 "of two real-time signals the one of the lower number came first, though it was "
                 "sent last");
}
