/* SPDX-License-Identifier: Apache-2.0
 * oracle_runner FILE.json...: runs every case, one line each, and a count at the end.
 * Exit: 0 all passed, 1 a case failed or is not supported, 2 usage, 3 a file cannot be read.
 */
#include <stdio.h>
#include <string.h>

#include "tests/oracle/oracle.h"

static const char *const words[] = {
    [ORACLE_PASS] = "pass", [ORACLE_FAIL] = "fail", [ORACLE_UNSUPPORTED] = "unsupported"};

static td_status run_file(const char *path, long counts[3]) {
    json_t *file, *cases;
    TD_TRY(oracle_load(path, &file, &cases));
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *item = json_array_get(cases, i);
        const char *id = json_string_value(json_object_get(item, "id"));
        td_text detail = {0};
        oracle_verdict verdict = oracle_run(item, &detail);
        counts[verdict]++;
        printf("%s %s%s\n", words[verdict], id == NULL ? "(no id)" : id,
               detail.data == NULL ? "" : detail.data);
        td_text_destroy(&detail);
    }
    json_decref(file);
    return TD_OK;
}

int main(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        FILE *out = argc < 2 ? stderr : stdout;
        fprintf(out, "usage: oracle_runner FILE.json...\n"
                     "Runs every recorded case and prints pass, fail (with both values) or "
                     "unsupported, and a count.\n");
        return argc < 2 ? 2 : 0;
    }
    long counts[3] = {0};
    for (int i = 1; i < argc; i++) {
        td_status status = run_file(argv[i], counts);
        if (status != TD_OK) {
            fprintf(stderr, "oracle_runner: %s\n", td_error());
            return td_exit_code(status);
        }
    }
    printf("%ld passed, %ld failed, %ld unsupported\n", counts[ORACLE_PASS], counts[ORACLE_FAIL],
           counts[ORACLE_UNSUPPORTED]);
    return counts[ORACLE_FAIL] + counts[ORACLE_UNSUPPORTED] == 0 ? 0 : 1;
}
