/* SPDX-License-Identifier: Apache-2.0 */
#include "data/record_dataset.h"

#include <string.h>

#include "base/memory.h"
#include "data/tf_error.h"

typedef struct reader_slot {
    const td_record_source *source; /* NULL: takes the next one */
    td_record_stream *stream;       /* NULL: the source was not opened yet, or failed */
    bool failed;
} reader_slot;

struct td_record_dataset {
    const td_record_source *sources;
    int64_t n, next, n_slots, turn;
    bool interleaved;
    td_compression compression;
    td_stream_compat compat;
    reader_slot *slots;
};

td_status td_record_dataset_open(const td_record_source *sources, int64_t n, int64_t parallel,
                                 td_compression compression, td_stream_compat compat,
                                 td_record_dataset **out) {
    td_record_dataset *dataset = td_alloc_zero(sizeof *dataset);
    int64_t slots = parallel > 0 ? parallel : 1;
    slots = slots < n + 1 ? slots : n + 1;
    reader_slot *room = td_alloc_zero((size_t)slots * sizeof *room);
    if (dataset == NULL || room == NULL) {
        td_free(dataset);
        td_free(room);
        return td_tf_no_memory("a data set");
    }
    *dataset = (td_record_dataset){.sources = sources,
                                   .n = n,
                                   .n_slots = slots,
                                   .interleaved = parallel > 0,
                                   .compression = compression,
                                   .compat = compat,
                                   .slots = room};
    *out = dataset;
    return TD_OK;
}

void td_record_dataset_close(td_record_dataset *dataset) {
    if (dataset != NULL) {
        for (int64_t i = 0; i < dataset->n_slots; i++) {
            td_record_stream_close(dataset->slots[i].stream);
        }
        td_free(dataset->slots);
        td_free(dataset);
    }
}

static td_status open_source(const td_record_dataset *dataset, reader_slot *slot) {
    const td_record_source *source = slot->source;
    return source->data.data != NULL
               ? td_record_stream_open_span(source->data, source->path, dataset->compression,
                                            dataset->compat, &slot->stream)
               : td_record_stream_open(source->path, dataset->compression, dataset->compat,
                                       &slot->stream);
}

/* The slot's next record. A source that cannot be opened is tried again each time; one that failed
 * while it was read is over. */
static td_status read_slot(const td_record_dataset *dataset, reader_slot *slot, td_span *out,
                           bool *over) {
    *over = slot->failed;
    if (slot->failed) {
        return TD_OK;
    }
    if (slot->stream == NULL) {
        TD_TRY(open_source(dataset, slot));
    }
    td_status status = td_record_stream_next(slot->stream, out, over);
    slot->failed = status != TD_OK;
    return status;
}

static void close_slot(reader_slot *slot) {
    td_record_stream_close(slot->stream);
    *slot = (reader_slot){0};
}

/* An interleaved slot gives one record a turn; when its file is over, the next slot has the turn.
 */
td_status td_record_dataset_next(td_record_dataset *dataset, td_span *out, bool *end) {
    for (int64_t idle = 0; idle < dataset->n_slots;) {
        reader_slot *slot = &dataset->slots[dataset->turn];
        if (slot->source == NULL) {
            if (dataset->next == dataset->n) {
                idle++;
                dataset->turn = (dataset->turn + 1) % dataset->n_slots;
                continue;
            }
            slot->source = &dataset->sources[dataset->next++];
        }
        idle = 0;
        bool over;
        td_status status = read_slot(dataset, slot, out, &over);
        if (status == TD_OK && over) {
            close_slot(slot);
        }
        if (dataset->interleaved) {
            dataset->turn = (dataset->turn + 1) % dataset->n_slots;
        }
        if (status != TD_OK || !over) {
            *end = false;
            return status;
        }
    }
    *end = true;
    return TD_OK;
}

td_status td_record_at(td_span file, int64_t offset, td_span *out, int64_t *next) {
    if (offset < 0 || offset > (int64_t)file.size ||
        (int64_t)file.size - offset < TD_TFRECORD_HEADER_BYTES) {
        return td_tf_fail(TD_TF_INDEX, "Out of range at reading offset %lld", (long long)offset);
    }
    td_span rest = {file.data + offset, file.size - (size_t)offset};
    td_record_stream *stream = NULL;
    TD_TRY(td_record_stream_open_span(rest, "a file in memory", TD_COMPRESSION_NONE,
                                      TD_STREAM_TENSORFLOW, &stream));
    td_span record;
    bool end;
    td_status status = td_record_stream_next(stream, &record, &end);
    if (status == TD_OK) {
        *out = (td_span){rest.data + TD_TFRECORD_HEADER_BYTES, record.size};
        *next = offset + TD_TFRECORD_FRAME_BYTES + (int64_t)record.size;
    }
    td_record_stream_close(stream);
    return status;
}

td_status td_record_index_lines(td_span file, td_text *out) {
    for (size_t at = 0; file.size - at >= 8;) {
        int64_t length;
        memcpy(&length, file.data + at, sizeof length);
        size_t left = file.size - at, whole = left;
        if (length >= 0 && (uint64_t)length + TD_TFRECORD_FRAME_BYTES < left) {
            whole = (size_t)length + TD_TFRECORD_FRAME_BYTES;
        }
        td_text_printf(out, "%zu %zu\n", at, whole);
        at += whole;
    }
    return td_text_status(out);
}
