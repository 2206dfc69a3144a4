/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/example_peer.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static struct {
    const char *(*version)(void);
    int64_t (*parse)(const td_span *records, int64_t n);
    bool (*same)(const td_span *record);
} loaded;

static bool find(void *module, const char *name, void *function) {
    void *symbol = dlsym(module, name); /* POSIX lets its bytes be read as a function pointer */
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static td_status load(void) {
    void *module = dlopen(TD_PROTOBUF_C_FILE, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) {
        return td_fail(TD_ESKIP, "protobuf-c was not installed when this was built: %s", dlerror());
    }
    bool found = find(module, "td_protobuf_c_version", &loaded.version) &&
                 find(module, "td_protobuf_c_parse", &loaded.parse) &&
                 find(module, "td_protobuf_c_same", &loaded.same);
    return found ? TD_OK : td_fail(TD_ESKIP, "%s lacks a function", TD_PROTOBUF_C_FILE);
}

void td_example_peer_add(td_bench *bench) {
    td_companion *peer = &bench->outcome->companions[bench->outcome->n_companions++];
    snprintf(peer->name, sizeof peer->name, "protobuf-c");
    peer->library = true;
    peer->state = load() == TD_OK ? TD_OUTCOME_OK : TD_OUTCOME_SKIPPED;
    if (peer->state == TD_OUTCOME_OK) {
        snprintf(peer->version, sizeof peer->version, "%s", loaded.version());
    } else {
        snprintf(peer->reason, sizeof peer->reason, "%.159s", td_error());
    }
}

void td_example_peer_verify(td_bench *bench, int companion, const td_span *records, int64_t n) {
    td_companion *peer = &bench->outcome->companions[companion];
    snprintf(peer->method, sizeof peer->method, "memcmp:parsed and serialised again");
    for (int64_t i = 0; i < n && peer->state == TD_OUTCOME_OK; i++) {
        if (!loaded.same(&records[i])) {
            peer->state = TD_OUTCOME_FAILED;
            snprintf(peer->reason, sizeof peer->reason, "record %lld reads back otherwise",
                     (long long)i);
        }
    }
}

void td_example_peer_parse(const td_span *records, int64_t n) {
    int64_t parsed = loaded.parse(records, n);
    TD_ASSERT(parsed == n); /* verified before */
}
