/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/tf_error.h"
#include "tests/oracle/oracle.h"

/* Operations whose floats are sums in an order TensorFlow does not fix; the others are exact. */
static const char *const tolerant_ops[] = {
    "fc_linear", "embedding_lookup", "embedding_lookup_sparse", "safe_embedding_lookup_sparse"};
/* The same where an embedding column takes part. */
static const char *const tolerant_with_embedding[] = {"fc_dense", "fc_dense_raw", "fc_sequence"};
/* Members that say nothing about the result, or repeat it for readers. */
static const char *const ignored[] = {"text", "message", "protobuf", "protobuf_pure_python"};

static bool listed(const char *const *names, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}
#define LISTED(names, name) listed(names, sizeof names / sizeof *names, name)

typedef struct compare_rules {
    bool tolerant;    /* |a - b| <= 1e-6 + 1e-5 |b| */
    bool nan_payload; /* counts */
} compare_rules;

static bool mentions_embedding(const json_t *value) {
    const char *type = json_string_value(json_object_get(value, "type"));
    if (type != NULL &&
        (strcmp(type, "embedding") == 0 || strcmp(type, "shared_embeddings") == 0)) {
        return true;
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (mentions_embedding(json_array_get(value, i))) {
            return true;
        }
    }
    return false;
}

static double real_from_bits(const char *hex) {
    uint64_t pattern = strtoull(hex, NULL, 16);
    if (strlen(hex) == 16) {
        double value;
        memcpy(&value, &pattern, sizeof value);
        return value;
    }
    uint32_t low = (uint32_t)pattern;
    float value;
    memcpy(&value, &low, sizeof value);
    return (double)value;
}

static bool same_bits(const char *expected, const char *actual, const compare_rules *rules) {
    if (strcmp(expected, actual) == 0) {
        return true;
    }
    double b = real_from_bits(expected), a = real_from_bits(actual);
    if (isnan(a) && isnan(b)) {
        return !rules->nan_payload;
    }
    if (!rules->tolerant || strlen(expected) != strlen(actual)) {
        return false;
    }
    return isinf(b) ? a == b : fabs(a - b) <= 1e-6 + 1e-5 * fabs(b);
}

static bool same(const json_t *expected, const json_t *actual, const compare_rules *rules);

static bool same_array(const json_t *expected, const json_t *actual, const compare_rules *rules) {
    if (json_array_size(expected) != json_array_size(actual)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(expected); i++) {
        if (!same(json_array_get(expected, i), json_array_get(actual, i), rules)) {
            return false;
        }
    }
    return true;
}

static bool same_bits_array(const json_t *expected, const json_t *actual,
                            const compare_rules *rules) {
    bool ok = json_array_size(expected) == json_array_size(actual);
    for (size_t i = 0; ok && i < json_array_size(expected); i++) {
        const char *e = json_string_value(json_array_get(expected, i));
        const char *a = json_string_value(json_array_get(actual, i));
        ok = e != NULL && a != NULL && same_bits(e, a, rules);
    }
    return ok;
}

/* By status where TensorFlow has one, by exception where it is plain Python's. */
static bool same_error(const json_t *expected, const json_t *actual) {
    const char *member = json_object_get(expected, "status") != NULL ? "status" : "class";
    const char *e = json_string_value(json_object_get(expected, member));
    const char *a = json_string_value(json_object_get(actual, member));
    return e != NULL && a != NULL && strcmp(e, a) == 0;
}

static bool same_object(const json_t *expected, const json_t *actual, const compare_rules *rules) {
    if (!json_is_object(actual)) {
        return false;
    }
    bool has_bits = json_object_get(expected, "bits") != NULL;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)actual, key, value) {
        if (!LISTED(ignored, key) && strcmp(key, "bits") != 0 &&
            json_object_get(expected, key) == NULL) {
            return false;
        }
    }
    json_object_foreach((json_t *)(uintptr_t)expected, key, value) {
        const json_t *other = json_object_get(actual, key);
        if (LISTED(ignored, key) || (has_bits && strcmp(key, "values") == 0)) {
            continue;
        }
        bool ok =
            other != NULL && (strcmp(key, "bits") == 0 ? same_bits_array(value, other, rules)
                              : json_is_object(value) && json_object_get(value, "class") != NULL
                                  ? same_error(value, other)
                                  : same(value, other, rules));
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool same(const json_t *expected, const json_t *actual, const compare_rules *rules) {
    if (json_is_object(expected)) {
        return same_object(expected, actual, rules);
    }
    if (json_is_array(expected)) {
        return json_is_array(actual) && same_array(expected, actual, rules);
    }
    if (json_is_number(expected) && json_is_number(actual)) {
        return json_is_integer(expected) && json_is_integer(actual)
                   ? json_integer_value(expected) == json_integer_value(actual)
                   : json_number_value(expected) == json_number_value(actual);
    }
    return json_equal(expected, actual) == 1;
}

static oracle_fn *find_op(const char *op) {
    static const struct {
        const char *name;
        oracle_fn *run;
    } table[] = {
#define ROW(name, function) {name, function},
        ORACLE_OP_MAP(ROW)
#undef ROW
    };
    for (size_t i = 0; op != NULL && i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, op) == 0) {
            return table[i].run;
        }
    }
    return NULL;
}

static void put_json(td_text *out, const char *title, const json_t *value) {
    enum { SHOWN = 600 };
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    td_text_printf(out, " %s %.*s%s", title, SHOWN, text == NULL ? "?" : text,
                   text != NULL && strlen(text) > SHOWN ? "..." : "");
    free(text);
}

/* What kills TensorFlow has to be an error here. */
static bool reports_error(const json_t *actual) {
    const json_t *events = json_object_get(actual, "events");
    for (size_t i = 0; i < json_array_size(events); i++) {
        if (json_object_get(json_array_get(events, i), "error") != NULL) {
            return true;
        }
    }
    return json_object_get(actual, "error") != NULL;
}

oracle_verdict oracle_run(const json_t *value, td_text *detail) {
    td_pool pool = {0};
    oracle_case item = {.id = json_string_value(json_object_get(value, "id")),
                        .op = json_string_value(json_object_get(value, "op")),
                        .input = json_object_get(value, "input"),
                        .config = json_object_get(value, "config"),
                        .expected = json_object_get(value, "expected"),
                        .pool = &pool};
    oracle_fn *run = find_op(item.op);
    if (run == NULL) {
        td_text_printf(detail, " operation %s", item.op == NULL ? "(none)" : item.op);
        return ORACLE_UNSUPPORTED;
    }
    json_t *actual = run(&item);
    if (actual == NULL) {
        actual = json_pack("{s:o}", "error", oracle_error_json());
    }
    compare_rules rules = {.tolerant =
                               LISTED(tolerant_ops, item.op) ||
                               (LISTED(tolerant_with_embedding, item.op) &&
                                mentions_embedding(json_object_get(item.config, "columns"))),
                           .nan_payload = strcmp(item.op, "parse_example") == 0};
    bool crash = json_object_get(item.expected, "crash") != NULL;
    bool ok = crash ? reports_error(actual) : same(item.expected, actual, &rules);
    if (!ok) {
        put_json(detail, "expected", item.expected);
        put_json(detail, "got", actual);
    }
    json_decref(actual);
    td_pool_destroy(&pool);
    return ok ? ORACLE_PASS : ORACLE_FAIL;
}

td_status oracle_load(const char *path, json_t **file, json_t **cases) {
    json_error_t error;
    *file = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (*file == NULL) {
        return td_fail(TD_EINPUT, "%s: line %d: %s", path, error.line, error.text);
    }
    *cases = json_is_array(*file) ? *file : json_object_get(*file, "cases");
    if (!json_is_array(*cases)) {
        json_decref(*file);
        return td_fail(TD_EINPUT, "%s: no list \"cases\"", path);
    }
    return TD_OK;
}
