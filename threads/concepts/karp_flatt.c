/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <math.h>

#include "threads/scaling.h"

void td_concept_karp_flatt(td_lab *lab) {
    static const double shares[] = {0, 0.05, 0.2, 0.5, 1};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        double worst = 0;
        for (int p = 2; p <= 64; p *= 2) {
            double speed_up = td_amdahl(shares[i], p);
            /* The mutant counts two threads of a core as two processors. */
            double found = td_karp_flatt(speed_up, lab->mutant ? 2 * p : p);
            worst = fmax(worst, fabs(found - shares[i]));
        }
        td_lab_check(lab, worst < 1e-9 || (shares[i] == 1 && worst < 1e-6),
                     "a serial share of %3.0f %% is found again from the speed-up on 2 to 64 "
                     "processors (off by %.2g)",
                     100 * shares[i], worst);
    }
    td_lab_check(lab, td_karp_flatt(2, 1) < 0 || isnan(td_karp_flatt(2, 1)),
                 "one processor tells nothing");
}
