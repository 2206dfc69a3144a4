/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <time.h>

#include "threads/wait.h"

/* A yield takes 0.2 to 3 us, so naps begin after some 0.2 to 3 ms and then lengthen a wait by a few
 * per cent. */
enum { TURNS_YIELDED = 1000, TURN_NAP_NS = 50000 };

void td_wait_turn(int *turns) {
    if (++*turns <= TURNS_YIELDED) {
        sched_yield();
    } else {
        *turns = TURNS_YIELDED;
        nanosleep(&(struct timespec){.tv_nsec = TURN_NAP_NS}, NULL);
    }
}
