/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <math.h>
#include <stdio.h>

#include "threads/team.h"

/* As amdahl.c, but the work grows with the workers: each brings as much parallel work as one had.
 */
enum { UNITS = 40000, MOST = 8 };

typedef struct job {
    int64_t serial, each;
    int64_t done[MOST][16];
} job;

static void work(void *arg, td_worker *worker) {
    job *j = arg;
    if (worker->id == 0) {
        j->done[0][0] += j->serial;
    }
    td_team_barrier(worker);
    j->done[worker->id][0] += j->each;
}

void td_concept_gustafson(td_lab *lab) {
    const double s = 0.1;
    for (int workers = 1; workers <= MOST; workers *= 2) {
        job j = {.serial = (int64_t)(s * UNITS), .each = UNITS - (int64_t)(s * UNITS)};
        td_team *team = NULL;
        td_lab_must(lab,
                    td_team_create(&(td_team_options){.workers = workers, .shares_cpus = true},
                                   &team) == TD_OK,
                    "a team");
        td_team_run(team, work, &j);
        td_team_destroy(team);
        int64_t total = 0;
        for (int w = 0; w < workers; w++) {
            total += j.done[w][0];
        }
        double speed_up = (double)total / (double)(j.serial + j.each);
        double told = lab->mutant ? 0 : s;
        double law = workers - told * (workers - 1);
        td_lab_check(lab, fabs(speed_up - law) < 0.001,
                     "%d workers did %.2f times the work in the steps of one, Gustafson says %.2f",
                     workers, speed_up, law);
        char name[40];
        snprintf(name, sizeof name, "scaled_10_pct_%d", workers);
        td_lab_number(lab, name, speed_up);
    }
}
