/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <math.h>
#include <stdio.h>

#include "threads/team.h"

/* Work is counted, not timed: a unit is one turn of a loop. The longest chain of units that had to
 * follow each other decides the speed-up, whatever the machine. */
enum { UNITS = 100000, WORKERS = 8 };

typedef struct job {
    int64_t serial, done[WORKERS];
} job;

static void work(void *arg, td_worker *worker) {
    job *j = arg;
    if (worker->id == 0) {
        for (int64_t i = 0; i < j->serial; i++) {
            j->done[0]++;
        }
    }
    td_team_barrier(worker);
    int64_t first, last;
    td_worker_share(worker, UNITS - j->serial, &first, &last);
    j->done[worker->id] += last - first;
}

void td_concept_amdahl(td_lab *lab) {
    static const double serial_shares[] = {0, 0.05, 0.2, 0.5};
    for (int workers = 2; workers <= WORKERS; workers *= 2) {
        td_team *team = NULL;
        td_lab_must(lab,
                    td_team_create(&(td_team_options){.workers = workers, .shares_cpus = true},
                                   &team) == TD_OK,
                    "a team");
        for (size_t i = 0; i < sizeof serial_shares / sizeof serial_shares[0]; i++) {
            double s = serial_shares[i];
            job j = {.serial = (int64_t)(s * UNITS)};
            td_team_run(team, work, &j);
            int64_t total = 0, longest = 0;
            for (int w = 0; w < workers; w++) {
                int64_t parallel = j.done[w] - (w == 0 ? j.serial : 0);
                longest = parallel > longest ? parallel : longest;
                total += j.done[w];
            }
            double speed_up = (double)UNITS / (double)(j.serial + longest);
            double told = lab->mutant ? s + 0.1 : s;
            double law = 1 / (told + (1 - told) / workers);
            td_lab_check(lab, total == UNITS && fabs(speed_up - law) < 0.001,
                         "%d workers, %2.0f %% serial: speed-up %.3f, Amdahl says %.3f", workers,
                         100 * s, speed_up, law);
            char name[40];
            snprintf(name, sizeof name, "speed_up_%.0f_pct_%d", 100 * s, workers);
            td_lab_number(lab, name, speed_up);
        }
        td_team_destroy(team);
    }
}
