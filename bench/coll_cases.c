/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/coll_cases.h"

#include <stdio.h>

#include "collectives/selection.h"

static const int64_t quick_sizes[] = {4 << 10, 64 << 10, 1 << 20, 8 << 20, 64 << 20};
static const int64_t full_sizes[] = {4,        16,        64,      256,     1 << 10,  16 << 10,
                                     32 << 10, 256 << 10, 2 << 20, 4 << 20, 16 << 20, 256 << 20};
static const int64_t other_sizes[] = {64, 1 << 10, 16 << 10, 64 << 10, 1 << 20, 4 << 20};

static const int64_t uneven_sizes[] = {256,       1 << 10, 4 << 10, 16 << 10,
                                       256 << 10, 1 << 20, 4 << 20, 16 << 20};

static int64_t pack_how(td_coll_how how) {
    return ((how.state * TD_COLL_MODES + how.mode) * 2 + how.apart) * 2 + how.uneven;
}

td_coll_how td_coll_how_of(const td_case *subject) {
    int64_t packed = subject->param[TD_COLL_PARAM_HOW];
    return (td_coll_how){(td_coll_state)(packed / 4 / TD_COLL_MODES),
                         (td_coll_mode)(packed / 4 % TD_COLL_MODES), packed / 2 % 2 != 0,
                         packed % 2 != 0};
}

static void list_size(const td_workload *self, td_case_list *list, int row, int64_t bytes,
                      td_dtype dtype, td_coll_how how, bool quick) {
    int n;
    const td_collective *rows = td_collectives(&n);
    const char *operation =
        row < n ? rows[row].operation : td_operation_of((td_operation_id)(row - n))->name;
    char size[24], name[64] = "";
    if (bytes >= 1 << 20) {
        snprintf(size, sizeof size, "%lldMiB", (long long)(bytes >> 20));
    } else if (bytes >= 1 << 10) {
        snprintf(size, sizeof size, "%lldKiB", (long long)(bytes >> 10));
    } else {
        snprintf(size, sizeof size, "%lldB", (long long)bytes);
    }
    if (bytes > 0) {
        snprintf(name, sizeof name, "/%s-%s", dtype == TD_F32 ? "f32" : "bf16", size);
    }
    td_case *added = td_case_add(list, self, "coll/%s/%s%s%s%s%s%s%s%s", operation,
                                 row < n ? rows[row].algorithm : "chosen", name,
                                 how.state == TD_COLL_HOT ? "" : "-",
                                 how.state == TD_COLL_HOT ? "" : td_coll_state_name(how.state),
                                 how.mode == TD_COLL_STREAMING ? "" : "-",
                                 how.mode == TD_COLL_STREAMING ? "" : td_coll_mode_name(how.mode),
                                 how.apart ? "-apart" : "", how.uneven ? "-uneven" : "");
    added->param[TD_COLL_PARAM_ROW] = row;
    added->param[TD_COLL_PARAM_BYTES] = bytes;
    added->param[TD_COLL_PARAM_DTYPE] = dtype;
    added->param[TD_COLL_PARAM_HOW] = pack_how(how);
    added->quick = quick;
}

/* The rows that the quick suite measures: what training uses, and what shows the difference. */
static bool is_quick(const td_collective *row) {
    static const char *const names[][2] = {{"barrier", "dissemination"},
                                           {"allreduce", "tree"},
                                           {"allreduce", "ring"},
                                           {"reduce_scatter", "ring"},
                                           {"allgather", "ring"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (row == td_collective_find(names[i][0], names[i][1])) {
            return true;
        }
    }
    return false;
}

/* Rows that stand for their operation beside other libraries: what is called for it. */
static bool is_measured_whole(const td_collective *row) {
    return row->direct != NULL;
}

/* Sizes from 4 B to 256 MiB by fours, each in every state of the buffers and every mode, and what
 * a training step does also out of place. */
static void list_whole(const td_workload *self, td_case_list *list, int row) {
    for (int64_t bytes = 4; bytes <= 256 << 20; bytes *= 4) {
        for (int state = 0; state < TD_COLL_STATES; state++) {
            for (int mode = 0; mode < TD_COLL_MODES; mode++) {
                td_coll_how how = {.state = (td_coll_state)state, .mode = (td_coll_mode)mode};
                if (pack_how(how) != 0) {
                    list_size(self, list, row, bytes, TD_F32, how, false);
                }
            }
        }
        td_coll_how apart = {TD_COLL_WRITTEN, TD_COLL_ISOLATED, .apart = true};
        list_size(self, list, row, bytes, TD_F32, apart, false);
    }
}

/* In counted blocks, as a direct row that has several takes them. An alltoall swaps in place, which
 * it can with even ones only. */
static void list_uneven(const td_workload *self, td_case_list *list, int row) {
    int n;
    const td_collective *at = &td_collectives(&n)[row];
    if (td_operation_of(at->id)->blocks == TD_BLOCKS_WHOLE) {
        return;
    }
    for (size_t i = 0; i < sizeof uneven_sizes / sizeof uneven_sizes[0]; i++) {
        for (int apart = at->id == TD_COLL_alltoall; apart < 2; apart++) {
            td_coll_how how = {TD_COLL_WRITTEN, TD_COLL_ISOLATED, apart != 0, .uneven = true};
            list_size(self, list, row, uneven_sizes[i], TD_F32, how, false);
        }
    }
}

td_status td_coll_list(const td_workload *self, td_case_list *list) {
    const td_coll_how plain = {.state = TD_COLL_HOT, .mode = TD_COLL_STREAMING};
    /* What is chosen stands for the operation where the direct row cannot run: on several hosts. */
    const td_coll_how isolated = {.state = TD_COLL_WRITTEN, .mode = TD_COLL_ISOLATED};
    const td_coll_how skewed = {.state = TD_COLL_WRITTEN, .mode = TD_COLL_SKEWED};
    int n;
    const td_collective *rows = td_collectives(&n);
    for (int row = 0; row < n; row++) {
        if (rows[row].id == TD_COLL_barrier) {
            list_size(self, list, row, 0, TD_F32, plain, is_quick(&rows[row]));
            continue;
        }
        if (!is_quick(&rows[row])) {
            for (size_t i = 0; i < sizeof other_sizes / sizeof other_sizes[0]; i++) {
                list_size(self, list, row, other_sizes[i], TD_F32, plain, false);
            }
        } else {
            for (size_t i = 0; i < sizeof quick_sizes / sizeof quick_sizes[0]; i++) {
                list_size(self, list, row, quick_sizes[i], TD_F32, plain, true);
                list_size(self, list, row, quick_sizes[i], TD_BF16, plain, false);
            }
            for (size_t i = 0; i < sizeof full_sizes / sizeof full_sizes[0]; i++) {
                list_size(self, list, row, full_sizes[i], TD_F32, plain, false);
            }
        }
        if (is_measured_whole(&rows[row])) {
            list_whole(self, list, row);
            list_uneven(self, list, row);
        }
    }
    for (int operation = TD_COLL_barrier + 1; operation < TD_COLL_COUNT; operation++) {
        for (size_t i = 0; i < sizeof other_sizes / sizeof other_sizes[0]; i++) {
            list_size(self, list, n + operation, other_sizes[i], TD_F32, plain, false);
            list_size(self, list, n + operation, other_sizes[i], TD_F32, isolated, false);
            list_size(self, list, n + operation, other_sizes[i], TD_F32, skewed, false);
        }
    }
    return TD_OK;
}
