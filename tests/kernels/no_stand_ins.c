/* SPDX-License-Identifier: Apache-2.0 */
#include "stand_ins.h"

bool stand_in_for(const td_kernel *row, td_kernel *out) {
    (void)row;
    (void)out;
    return false;
}
