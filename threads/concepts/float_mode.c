/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <xmmintrin.h>

#include "threads/team.h"

enum { FLUSH = 0x8040 }; /* denormal results and operands are zero */

typedef struct mode {
    _Atomic int started, go;
    unsigned seen;
} mode;

static void *read_mode(void *arg) {
    mode *m = arg;
    atomic_store(&m->started, 1);
    td_lab_await(&m->go, 1);
    m->seen = _mm_getcsr();
    return NULL;
}

static void read_in_team(void *arg, td_worker *worker) {
    ((unsigned *)arg)[worker->id] = _mm_getcsr() & FLUSH;
}

void td_concept_float_mode(td_lab *lab) {
    mode before = {0}, after = {0};
    unsigned plain = _mm_getcsr() & ~(unsigned)FLUSH; /* the program may have set it */
    _mm_setcsr(plain);
    pthread_t first = 0;
    if (!lab->mutant) {
        first = td_lab_thread(lab, read_mode, &before);
        td_lab_must(lab, td_lab_await(&before.started, 1), "start a thread");
    }
    _mm_setcsr(plain | FLUSH);
    if (lab->mutant) {
        first = td_lab_thread(lab, read_mode, &before);
    }
    pthread_t second = td_lab_thread(lab, read_mode, &after);
    atomic_store(&before.go, 1);
    atomic_store(&after.go, 1);
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    _mm_setcsr(plain);
    td_lab_check(lab, (before.seen & FLUSH) == (plain & FLUSH),
                 "a thread from before the creator changed its mode has the old one (%#x)",
                 before.seen);
    td_lab_check(lab, (after.seen & FLUSH) == FLUSH, "one created after has the new one (%#x)",
                 after.seen);
    unsigned modes[3] = {0};
    td_team *team = NULL;
    td_lab_must(lab, td_team_create(&(td_team_options){.workers = 3, .shares_cpus = true},
                                    &team) == TD_OK, "a team");
    td_team_run(team, read_in_team, modes);
    td_team_destroy(team);
    td_lab_check(lab, modes[0] == FLUSH && modes[1] == FLUSH && modes[2] == FLUSH,
                 "so a team sets the mode in every worker itself");
}
