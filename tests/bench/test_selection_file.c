/* SPDX-License-Identifier: Apache-2.0
 * Tables of records written by hand, whose fastest rows are known.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "bench/fingerprint.h"
#include "bench/selection_file.h"
#include "folder_files.h"
#include "tests/bench/run_program.h"

static char folder[64];

static void make_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/tandem_selection_%d", (int)getpid());
    cr_assert_eq(td_make_directory(folder), TD_OK);
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

static void here(char id[40]) {
    td_topology *topology;
    json_t *machine;
    cr_assert_eq(td_topology_create(NULL, &topology), TD_OK);
    cr_assert_eq(td_fingerprint(topology, &machine), TD_OK);
    snprintf(id, 40, "%s", json_string_value(json_object_get(machine, "hw_id")));
    json_decref(machine);
    td_topology_destroy(topology);
}

static void add(td_text *out, const char *id, const char *provider, const char *status, double ns) {
    td_text_printf(out,
                   "{\"schema\":1,\"case\":\"%s\",\"layout\":\"p2xt1:process\",\"provider\":\"%s\","
                   "\"status\":\"%s\",\"time_ns\":{\"p50\":%g}}\n",
                   id, provider, status, ns);
}

static void write_records(const char *machine) {
    td_text text = {0};
    char path[128];
    td_text_printf(&text, "{\"schema\":1,\"machine\":{\"hw_id\":\"%s\"}}\n", machine);
    add(&text, "coll/allreduce/ring/f32-1KiB", "tandem", "ok", 900);
    add(&text, "coll/allreduce/linear/f32-1KiB", "tandem", "ok", 800);
    add(&text, "coll/allreduce/chain/f32-1KiB", "tandem", "failed", 100);
    add(&text, "coll/allreduce/chain/f32-1KiB", "mpi-openmpi", "ok", 100);
    add(&text, "coll/allreduce/binomial/f32-1KiB-written", "tandem", "ok", 100);
    add(&text, "coll/allreduce/binomial/f32-1KiB-apart", "tandem", "ok", 100);
    add(&text, "coll/allreduce/ring/f32-4MiB", "tandem", "ok", 5000);
    add(&text, "coll/allreduce/linear/f32-4MiB", "tandem", "ok", 9000);
    add(&text, "coll/shift/direct/f32-64B", "tandem", "ok", 500);
    add(&text, "coll/shift/direct/f32-4MiB", "tandem", "ok", 500 + 0.25 * ((4 << 20) - 64));
    add(&text, "kernel/gemm_f32/avx2/m1", "tandem", "ok", 1);
    snprintf(path, sizeof path, "%s/records.jsonl", folder);
    cr_assert_eq(td_file_write(path, text.data, text.size), TD_OK);
    td_text_destroy(&text);
}

static const td_layout two = {.ranks = 2, .workers = 1, .kind = TD_RANK_PROCESS};

/* The table of the records in the folder, written and read again. */
static td_selection table_of_records(void) {
    char path[128];
    td_coll_records records;
    td_selection table;
    snprintf(path, sizeof path, "%s/table.json", folder);
    cr_assert_eq(td_coll_records_read(folder, &records), TD_OK, "%s", td_error());
    cr_assert_eq(td_selection_write(path, &records, NULL), TD_OK, "%s", td_error());
    td_coll_records_destroy(&records);
    cr_assert_eq(td_selection_read(path, &table), TD_OK, "%s", td_error());
    return table;
}

Test(selection_file, the_fastest_proved_row_is_written_and_read, .init = make_folder,
     .fini = remove_folder) {
    char id[40];
    here(id);
    write_records(id);
    td_selection table = table_of_records();
    cr_expect_eq(table.n, 4);
    cr_expect_eq(td_selection_find(&table, TD_COLL_allreduce, &two, 1024),
                 td_collective_find("allreduce", "linear"));
    cr_expect_eq(td_selection_find(&table, TD_COLL_allreduce, &two, 8 << 20),
                 td_collective_find("allreduce", "ring"));
    td_selection_destroy(&table);
}

/* At 4 KiB one row of three was measured: what is chosen there is what was fastest below. */
Test(selection_file, the_fastest_of_few_is_not_chosen, .init = make_folder, .fini = remove_folder) {
    char id[40], path[128];
    td_text text = {0};
    here(id);
    td_text_printf(&text, "{\"schema\":1,\"machine\":{\"hw_id\":\"%s\"}}\n", id);
    add(&text, "coll/allreduce/ring/f32-1KiB", "tandem", "ok", 900);
    add(&text, "coll/allreduce/linear/f32-1KiB", "tandem", "ok", 800);
    add(&text, "coll/allreduce/tree/f32-1KiB", "tandem", "ok", 300);
    add(&text, "coll/allreduce/ring/f32-4KiB", "tandem", "ok", 1000);
    add(&text, "coll/allreduce/ring/f32-1MiB", "tandem", "ok", 9000);
    add(&text, "coll/allreduce/linear/f32-1MiB", "tandem", "ok", 8000);
    snprintf(path, sizeof path, "%s/records.jsonl", folder);
    cr_assert_eq(td_file_write(path, text.data, text.size), TD_OK);
    td_text_destroy(&text);
    td_selection table = table_of_records();
    cr_expect_eq(table.n, 2);
    cr_expect_eq(td_selection_find(&table, TD_COLL_allreduce, &two, 4096),
                 td_collective_find("allreduce", "tree"));
    cr_expect_eq(td_selection_find(&table, TD_COLL_allreduce, &two, 1 << 20),
                 td_collective_find("allreduce", "linear"), "two of three are enough");
    td_selection_destroy(&table);
}

/* Said before anything is measured. */
Test(selection_file, what_cannot_be_tuned_is_refused) {
    static const char *const globs[][2] = {
        {"barrier/*", "is always barrier/dissemination"},
        {"barrier", "a barrier has no sizes"},
        {"allreduce/best", "`tandem list collectives`"},
        {"allreduce/chosen", "no algorithm has such a name"},
    };
    for (size_t i = 0; i < sizeof globs / sizeof globs[0]; i++) {
        td_text out = {0};
        const char *words[] = {TD_TANDEM, "tune", globs[i][0], "--out", "/nowhere/table", NULL};
        cr_expect_eq(run_program(words, NULL, NULL, &out), 2, "%s", globs[i][0]);
        EXPECT_SAYS(&out, globs[i][1]);
        td_text_destroy(&out);
    }
}

Test(selection_file, a_line_goes_through_two_sizes, .init = make_folder, .fini = remove_folder) {
    td_coll_fit fit;
    write_records("x");
    cr_assert_eq(td_coll_records_fit(folder, "shift", "direct", 2, &fit), TD_OK, "%s", td_error());
    cr_expect_float_eq(fit.ns_per_byte, 0.25, 1e-6);
    cr_expect_float_eq(fit.ns, 500 - 16, 1e-2);
    cr_expect_eq(td_coll_records_fit(folder, "shift", "direct", 4, &fit), TD_EINPUT);
    cr_expect_eq(td_coll_records_fit(folder, "scan", "linear", 2, &fit), TD_EINPUT);
}

Test(selection_file, what_is_no_table_of_this_machine_is_refused, .init = make_folder,
     .fini = remove_folder) {
    static const char *const texts[][2] = {
        {"", "line"},
        {"[]", "no selection table"},
        {"{\"schema\":2,\"kind\":\"tandem selection\",\"entries\":[]}", "no selection table"},
        {"{\"schema\":1,\"kind\":\"tandem selection\",\"machine\":\"x\",\"entries\":[]}",
         "machine x"},
        {"{\"schema\":1,\"kind\":\"tandem selection\",\"machine\":\"%s\",\"entries\":[{}]}",
         "entry 0: expected"},
        {"{\"schema\":1,\"kind\":\"tandem selection\",\"machine\":\"%s\",\"entries\":[{"
         "\"operation\":\"allreduce\",\"algorithm\":\"best\",\"layout\":\"p2xt1\",\"bytes\":4}]}",
         "allreduce/best is no collective"},
        {"{\"schema\":1,\"kind\":\"tandem selection\",\"machine\":\"%s\",\"entries\":[{"
         "\"operation\":\"allgather\",\"algorithm\":\"neighbor\",\"layout\":\"p3xt1\",\"bytes\":4}]"
         "}",
         "not made for 3 ranks"},
    };
    char id[40], path[128], text[512];
    here(id);
    snprintf(path, sizeof path, "%s/table.json", folder);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *hole = strstr(texts[i][0], "%s");
        snprintf(text, sizeof text, "%.*s%s%s", hole ? (int)(hole - texts[i][0]) : 512, texts[i][0],
                 hole ? id : "", hole ? hole + 2 : "");
        cr_assert_eq(td_file_write(path, text, strlen(text)), TD_OK);
        td_selection table;
        cr_expect_eq(td_selection_read(path, &table), TD_EINPUT, "%s", text);
        cr_expect_not_null(strstr(td_error(), texts[i][1]), "%s", td_error());
    }
    cr_expect_eq(td_selection_read("/nowhere/table.json", &(td_selection){0}), TD_EIO);
}

Test(selection_file, one_row_is_no_choice, .init = make_folder, .fini = remove_folder) {
    char path[128];
    snprintf(path, sizeof path, "%s/table.json", folder);
    td_coll_record one = {.row = td_collective_find("shift", "direct"), .bytes = 64, .ns = 5};
    td_coll_records records = {.at = &one, .n = 1};
    cr_expect_eq(td_selection_write(path, &records, NULL), TD_EINPUT);
    cr_expect_neq(access(path, F_OK), 0, "a table without a choice was written");
}
