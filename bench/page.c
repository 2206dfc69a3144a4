/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/page.h"

#include "base/text.h"
#include "collectives/comm.h"
#include "collectives/schedule.h"
#include "reports/render.h"

td_status td_page_write(const char *directory, const char *title) {
    td_text ring = {0};
    td_status status = td_schedule_draw(td_collective_find("allreduce", "ring"), 4, &ring);
    if (status == TD_OK) {
        status = td_report_render(directory, title, ring.data);
    }
    td_text_destroy(&ring);
    return status;
}
