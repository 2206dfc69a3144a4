/* SPDX-License-Identifier: Apache-2.0
 * protobuf-c on tf.Examples as a shared object with three functions, built where its compiler and
 * library are installed, loaded by example_peer.c, never needed.
 */
#include <stdbool.h>
#include <string.h>

#include "data/example.h"
#include "protobuf_c.pb-c.h"

#define TD_EXPORT __attribute__((visibility("default")))

TD_EXPORT const char *td_protobuf_c_version(void);
TD_EXPORT int64_t td_protobuf_c_parse(const td_span *records, int64_t n);
TD_EXPORT bool td_protobuf_c_same(const td_span *record);

/* Memory of one message, taken again for the next: the fastest allocator there can be. */
enum { ROOM = 1 << 16 };
static struct {
    _Alignas(16) unsigned char bytes[ROOM];
    size_t used;
} room;

static void *take(void *data, size_t bytes) {
    (void)data;
    size_t rounded = (bytes + 15) / 16 * 16;
    if (rounded > ROOM - room.used) {
        return NULL;
    }
    room.used += rounded;
    return room.bytes + room.used - rounded;
}

static void give(void *data, void *block) {
    (void)data;
    (void)block;
}

static ProtobufCAllocator allocator = {take, give, NULL};

static Peer__Example *parse(const td_span *record) {
    room.used = 0;
    return peer__example__unpack(&allocator, record->size, record->data);
}

const char *td_protobuf_c_version(void) {
    return protobuf_c_version();
}

int64_t td_protobuf_c_parse(const td_span *records, int64_t n) {
    int64_t parsed = 0;
    for (int64_t i = 0; i < n; i++) {
        parsed += parse(&records[i]) != NULL;
    }
    return parsed;
}

bool td_protobuf_c_same(const td_span *record) {
    static unsigned char again[ROOM];
    const Peer__Example *example = parse(record);
    return example != NULL && record->size <= ROOM &&
           peer__example__get_packed_size(example) == record->size &&
           peer__example__pack(example, again) == record->size &&
           memcmp(again, record->data, record->size) == 0;
}
