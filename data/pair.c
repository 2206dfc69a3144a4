/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pair.h"

#include <string.h>

#include "base/memory.h"
#include "data/resize.h"
#include "data/synth.h"

void td_pair_destroy(td_pair *pair) {
    td_text_destroy(&pair->caption);
    td_text_destroy(&pair->label);
    td_text_destroy(&pair->key);
    td_buffer_destroy(&pair->record);
    td_example_destroy(&pair->example);
    *pair = (td_pair){.item = -1};
}

static void set_text(td_text *text, const void *bytes, size_t size) {
    text->size = 0;
    td_text_append(text, bytes, size);
}

bool td_pair_is_procedural(const td_pair_source *source) {
    return source->shards == NULL && source->table == NULL;
}

/* Adds where a record is to the message of what is wrong with it. */
static td_status locate(const td_pair_source *source, int64_t item, td_status status) {
    if (status != TD_EINPUT || td_pair_is_procedural(source)) {
        return status;
    }
    if (source->table != NULL) {
        td_text where = {0};
        td_pair_table_place(source->table, item, &where);
        status = where.failed ? td_text_status(&where)
                              : td_fail(TD_EINPUT, "%.600s: %s", where.data, td_error());
        td_text_destroy(&where);
        return status;
    }
    td_shard_place place = td_shards_place(source->shards, item);
    return td_fail(TD_EINPUT, "%.600s: record %lld at byte %lld: %s", place.path,
                   (long long)place.number, (long long)place.offset, td_error());
}

td_status td_pair_feature(const td_example *example, const char *name, bool required,
                          td_span *out) {
    const td_feature *feature = td_example_find(example, name);
    *out = (td_span){(const uint8_t *)"", 0};
    if (feature == NULL || feature->kind == TD_FEATURE_NONE) {
        return required ? td_fail(TD_EINPUT, "no feature \"%s\"", name) : TD_OK;
    }
    if (feature->kind != TD_FEATURE_BYTES || feature->count != 1) {
        return td_fail(TD_EINPUT, "feature \"%s\" is %s with %lld values, expected one byte string",
                       name, feature->kind == TD_FEATURE_BYTES ? "bytes" : "a list of numbers",
                       (long long)feature->count);
    }
    *out = feature->bytes[0];
    return TD_OK;
}

void td_pair_place_key(const td_pair_source *source, int64_t item, td_text *out) {
    if (source->table != NULL) {
        (void)td_pair_table_key(source->table, item, out); /* the caller asks the text's status */
        return;
    }
    td_shard_place place = td_shards_place(source->shards, item);
    const char *slash = strrchr(place.path, '/');
    out->size = 0;
    td_text_printf(out, "%s#%lld", slash == NULL ? place.path : slash + 1, (long long)place.number);
}

/* The vector that stands for the image, where there is one. */
static td_status unpack_vector(td_pair *pair) {
    const td_feature *feature = td_example_find(&pair->example, TD_PAIR_VECTOR);
    pair->vector = NULL;
    pair->n_vector = 0;
    if (feature != NULL) {
        if (feature->kind != TD_FEATURE_FLOAT || feature->count < 1) {
            return td_fail(TD_EINPUT, "feature \"%s\" is not a list of floats", TD_PAIR_VECTOR);
        }
        pair->vector = feature->floats;
        pair->n_vector = feature->count;
    }
    return td_pair_feature(&pair->example, TD_PAIR_TOWER, pair->vector != NULL, &pair->tower);
}

/* The key first: a record of which the rest is wrong still has it. */
static td_status unpack(const td_tfrecord *record, td_pair *pair) {
    td_span caption, label, key;
    pair->key.size = 0;
    TD_TRY(td_example_decode(record->data, record->size, &pair->example));
    TD_TRY(td_pair_feature(&pair->example, TD_PAIR_KEY, false, &key));
    set_text(&pair->key, key.data, key.size);
    TD_TRY(td_pair_feature(&pair->example, TD_PAIR_LABEL, false, &label));
    TD_TRY(td_pair_feature(&pair->example, TD_PAIR_CAPTION, true, &caption));
    TD_TRY(unpack_vector(pair));
    TD_TRY(td_pair_feature(&pair->example, TD_PAIR_IMAGE, pair->vector == NULL, &pair->encoded));
    set_text(&pair->caption, caption.data, caption.size);
    set_text(&pair->label, label.data, label.size);
    return TD_OK;
}

static td_status fetch_record(const td_pair_source *source, int64_t item, td_pair *pair) {
    td_tfrecord record;
    TD_TRY(td_shards_read(source->shards, item, &pair->record, &record));
    td_status status = unpack(&record, pair);
    if (status != TD_OK) {
        return locate(source, item, status);
    }
    if (pair->key.size == 0) {
        td_pair_place_key(source, item, &pair->key);
    }
    return TD_OK;
}

static td_status fetch_sample(const td_pair_source *source, int64_t item, td_pair *pair) {
    td_pair_fields fields = {.caption = &pair->caption,
                             .label = &pair->label,
                             .key = &pair->key,
                             .buffer = &pair->record};
    TD_TRY(td_pair_table_read(source->table, item, &fields));
    pair->encoded = fields.image;
    pair->vector = NULL;
    pair->n_vector = 0;
    pair->tower = (td_span){NULL, 0};
    return TD_OK;
}

static td_status fetch_procedural(const td_pair_source *source, int64_t item, td_pair *pair) {
    char *caption = NULL, *label = NULL;
    TD_TRY(td_synth_caption(source->seed, item, &caption, &label));
    set_text(&pair->caption, caption, strlen(caption));
    set_text(&pair->label, label, strlen(label));
    pair->key.size = 0;
    td_pair_synthetic_key(source->seed, item, &pair->key);
    td_free(caption);
    td_free(label);
    return TD_OK;
}

td_status td_pair_fetch(const td_pair_source *source, int64_t item, td_pair *pair) {
    TD_ASSERT(item >= 0 && item < source->count);
    if (pair->item == item) {
        return TD_OK;
    }
    pair->item = -1;
    TD_TRY(source->shards != NULL  ? fetch_record(source, item, pair)
           : source->table != NULL ? fetch_sample(source, item, pair)
                                   : fetch_procedural(source, item, pair));
    TD_TRY(td_text_status(&pair->caption));
    TD_TRY(td_text_status(&pair->label));
    TD_TRY(td_text_status(&pair->key));
    pair->item = item;
    return TD_OK;
}

static td_status paint(const td_pair_source *source, int64_t item, td_image *out) {
    char *caption = NULL, *label = NULL;
    TD_TRY(td_synth_pair(source->seed, item, out, &caption, &label));
    td_free(caption);
    td_free(label);
    return TD_OK;
}

static td_status fitted(const td_pair_source *source, const td_pair *pair, int64_t size,
                        td_image *out) {
    td_image whole = {0};
    td_status status =
        td_pair_is_procedural(source)
            ? paint(source, pair->item, &whole)
            : td_image_decode_toward(pair->encoded.data, pair->encoded.size, size, &whole);
    if (status == TD_OK) {
        status = td_image_fit(&whole, size, out);
    }
    td_image_destroy(&whole);
    return status;
}

static td_status cropped(const td_pair_source *source, const td_pair *pair, int64_t size,
                         td_augment_draw *draw, td_image *out) {
    td_image part = {0};
    if (td_pair_is_procedural(source)) {
        TD_TRY(paint(source, pair->item, &part));
        td_image_box box = td_augment_box(draw, part.width, part.height);
        td_image_crop(&part, &box);
    } else {
        int64_t width, height;
        TD_TRY(td_image_sides(pair->encoded.data, pair->encoded.size, &width, &height));
        td_image_box box = td_augment_box(draw, width, height);
        TD_TRY(td_image_decode_box(pair->encoded.data, pair->encoded.size, &box, size, &part));
    }
    td_status status = td_image_resize_bicubic(&part, size, size, out);
    td_image_destroy(&part);
    return status;
}

td_status td_pair_pixels(const td_pair_source *source, const td_pair *pair, int64_t size,
                         td_augment_draw *draw, td_image *out) {
    TD_ASSERT(pair->item >= 0);
    if (pair->vector != NULL) {
        return locate(source, pair->item,
                      td_fail(TD_EINPUT, "no image, only the features that a tower made of it"));
    }
    return locate(source, pair->item,
                  draw == NULL ? fitted(source, pair, size, out)
                               : cropped(source, pair, size, draw, out));
}

static td_feature text_feature(const char *name, const td_span *value) {
    return (td_feature){
        .key = td_span_text(name), .kind = TD_FEATURE_BYTES, .count = 1, .bytes = value};
}

/* Leaves out empty texts, but not the first `always`. */
static td_status encode(td_feature *features, int64_t n, int64_t always, td_text *out) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        bool text = features[i].kind == TD_FEATURE_BYTES;
        if (i < always || !text || features[i].bytes->size > 0) {
            features[count++] = features[i];
        }
    }
    return td_example_encode(features, count, out);
}

td_status td_pair_encode(const void *image, size_t image_bytes, const char *caption,
                         const char *label, const char *key, td_text *out) {
    td_span values[] = {
        {image, image_bytes}, td_span_text(caption), td_span_text(label), td_span_text(key)};
    td_feature features[] = {
        text_feature(TD_PAIR_IMAGE, &values[0]), text_feature(TD_PAIR_CAPTION, &values[1]),
        text_feature(TD_PAIR_LABEL, &values[2]), text_feature(TD_PAIR_KEY, &values[3])};
    return encode(features, sizeof features / sizeof features[0], 2, out);
}

td_status td_pair_encode_vector(const float *vector, int64_t n, const char *tower,
                                const char *caption, const char *label, const char *key,
                                td_text *out) {
    td_span values[] = {td_span_text(tower), td_span_text(caption), td_span_text(label),
                        td_span_text(key)};
    td_feature features[] = {text_feature(TD_PAIR_TOWER, &values[0]),
                             text_feature(TD_PAIR_CAPTION, &values[1]),
                             text_feature(TD_PAIR_LABEL, &values[2]),
                             text_feature(TD_PAIR_KEY, &values[3]),
                             {.key = td_span_text(TD_PAIR_VECTOR),
                              .kind = TD_FEATURE_FLOAT,
                              .count = n,
                              .floats = vector}};
    enum { N = sizeof features / sizeof features[0] };
    return encode(features, n > 0 ? N : N - 1, 1, out);
}

void td_pair_synthetic_key(uint64_t seed, int64_t index, td_text *out) {
    td_text_printf(out, "synth/%llu/%lld", (unsigned long long)seed, (long long)index);
}
