/* SPDX-License-Identifier: Apache-2.0
 * Of collectives in a run: what choosing cost, and guidelines that were violated.
 */
#ifndef TD_REPORTS_COLL_CHOICE_H
#define TD_REPORTS_COLL_CHOICE_H

#include "reports/sections.h"

/* Adds two tables: regret, the time of what coll/OPERATION/chosen called over that of the fastest
 * row in the same setting; and guidelines, each a row that is marked failed when the operation is
 * more than 10 % slower than others that do its work. Returns how many were violated. */
int td_coll_choice(const td_facts *facts, td_section *section);

#endif
