/* SPDX-License-Identifier: Apache-2.0
 * Every recorded result of TensorFlow, one test an operation, each row named when it fails.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <string.h>

#include "base/status.h"
#include "tests/oracle/oracle.h"

typedef struct op_row {
    char name[40];
} op_row;

ParameterizedTestParameters(oracle, rows) {
    static op_row ops[] = {
#define ROW(name, function) {name},
        ORACLE_OP_MAP(ROW)
#undef ROW
    };
    return cr_make_param_array(op_row, ops, sizeof ops / sizeof *ops);
}

/* Runs the cases of one operation; how many there are. */
static int run_file(const char *path, const op_row *row) {
    json_t *file, *cases;
    cr_assert_eq(oracle_load(path, &file, &cases), TD_OK, "%s", td_error());
    int ran = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *item = json_array_get(cases, i);
        if (strcmp(json_string_value(json_object_get(item, "op")), row->name) != 0) {
            continue;
        }
        td_text detail = {0};
        oracle_verdict verdict = oracle_run(item, &detail);
        cr_expect_eq(verdict, ORACLE_PASS, "%s:%s", json_string_value(json_object_get(item, "id")),
                     detail.data == NULL ? "" : detail.data);
        td_text_destroy(&detail);
        ran++;
    }
    json_decref(file);
    return ran;
}

ParameterizedTest(op_row *row, oracle, rows) {
    int ran = run_file(TD_GOLDEN "/tensorflow.json", row);
    ran += run_file(TD_GOLDEN "/tensorflow_more.json", row);
    /* Sweeps over every length are computed below, not recorded. */
    cr_expect(ran > 0 || strcmp(row->name, "tfrecord_truncation_sweep") == 0, "no row of %s",
              row->name);
}

/* A file of records "foo", "bar", "" and "xxxx" cut to every length: whole records are given; up to
 * 11 bytes more are a silent end, a header and more is a loss of data. */
Test(oracle, truncation_at_every_length) {
    static const int starts[] = {0, 19, 38, 54, 74};
    json_t *results = json_array();
    for (int cut = 0; cut <= 74; cut++) {
        int records = 0;
        while (records < 4 && starts[records + 1] <= cut) {
            records++;
        }
        const char *end = cut - starts[records] < 12 ? "EOF" : "DATA_LOSS";
        json_array_append_new(
            results, json_pack("{s:i, s:i, s:s}", "cut", cut, "records", records, "end", end));
    }
    json_t *item = json_pack("{s:s, s:s, s:{s:s}, s:{}, s:{s:o}}", "id", "truncation", "op",
                             "tfrecord_truncation_sweep", "input", "file",
                             "0300000000000000b099490e666f6f618abefe0300000000000000b099490e6261724"
                             "600e5c80000000000000000"
                             "29039807d8ea82a2040000000000000042455204787878780d23a284",
                             "config", "expected", "results", results);
    td_text detail = {0};
    cr_expect_eq(oracle_run(item, &detail), ORACLE_PASS, "%s",
                 detail.data == NULL ? "" : detail.data);
    td_text_destroy(&detail);
    json_decref(item);
}

/* The comparison itself: what differs has to be seen. */
Test(oracle, comparison_rejects_differences) {
    static const char *const wrong[] = {
        "{'op':'crc32c','input':{'data':'61'},'config':{},'expected':{'crc32c':'c1d04331','masked':"
        "'28e46e78'}}",
        "{'op':'crc32c','input':{'data':'61'},'config':{},'expected':{'crc32c':'c1d04330'}}",
        "{'op':'fingerprint64','input':{'data':['61']},'config':{},'expected':{'u64':[]}}",
        "{'op':'hash_bucket','input':{'values':{'dtype':'bytes','shape':[0],'values':[]}},'config':"
        "{'kind':'fast','num_buckets':0},'expected':{'error':{'class':'ValueError'}}}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[400];
        snprintf(text, sizeof text, "%s", wrong[i]);
        for (char *at = text; *at != '\0'; at++) {
            *at = *at == '\'' ? '"' : *at;
        }
        json_t *item = json_loads(text, 0, NULL);
        cr_assert_not_null(item, "%s", text);
        td_text detail = {0};
        cr_expect_eq(oracle_run(item, &detail), ORACLE_FAIL, "%s", text);
        td_text_destroy(&detail);
        json_decref(item);
    }
}
