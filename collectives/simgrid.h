/* SPDX-License-Identifier: Apache-2.0
 * The machine of `tandem simulate` as SimGrid's smpirun wants it: a folder with a platform, a list
 * of hosts, and the options under which SimGrid counts what the model counts.
 */
#ifndef TD_COLLECTIVES_SIMGRID_H
#define TD_COLLECTIVES_SIMGRID_H

#include "collectives/loggops.h"

/* TD_EUSAGE: a term that SimGrid has not. Of one level: it has L, o, O and G. */
td_status td_simgrid_write(const td_network *network, const char *directory);

#endif
