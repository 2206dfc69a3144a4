/* SPDX-License-Identifier: Apache-2.0 */
#include "models/embed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "data/pairs_pixels.h"

/* Runs twice, as every plan. */
static void plan_table(td_plan *plan, bool images, bool texts, td_embed_table *table) {
    int64_t values = table->pairs * table->embed;
    table->done = td_plan_take(plan, sizeof(*table->done));
    table->state = TD_PLAN_ARRAY(plan, unsigned char, table->pairs);
    table->images = images ? TD_PLAN_ARRAY(plan, float, values) : NULL;
    table->texts = texts ? TD_PLAN_ARRAY(plan, float, values) : NULL;
}

/* A file of that size that no name leads to. Its room is reserved now: a full disk is an error here
 * and not a signal later. */
static td_status open_nameless(const char *directory, size_t bytes, int *out) {
    td_text path = {0};
    td_text_printf(&path, "%s/.embed-XXXXXX", directory);
    td_status status = td_text_status(&path);
    int fd = status == TD_OK ? mkostemp(path.data, O_CLOEXEC) : -1;
    if (status == TD_OK && fd < 0) {
        status = td_fail(TD_EIO, "a file in %s: %s", directory, strerror(errno));
    }
    if (fd >= 0) {
        unlink(path.data);
        int code = posix_fallocate(fd, 0, (off_t)bytes);
        if (code != 0) {
            status = td_fail(TD_EIO, "%zu bytes in %s: %s", bytes, directory, strerror(code));
            close(fd);
        }
    }
    td_text_destroy(&path);
    if (status == TD_OK) {
        *out = fd;
    }
    return status;
}

td_status td_embed_table_create(const char *directory, int64_t pairs, int64_t embed, bool images,
                                bool texts, td_embed_table *out) {
    td_embed_table table = {.pairs = pairs, .embed = embed};
    td_plan plan = {0};
    int fd;
    plan_table(&plan, images, texts, &table);
    TD_TRY(open_nameless(directory, plan.used_bytes, &fd));
    table.map_bytes = plan.used_bytes;
    table.map = mmap(NULL, table.map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int wrong = errno;
    close(fd);
    if (table.map == MAP_FAILED) {
        return td_fail(TD_ENOMEM, "map %zu bytes: %s", table.map_bytes, strerror(wrong));
    }
    plan = (td_plan){.base = table.map};
    plan_table(&plan, images, texts, &table);
    *out = table;
    return TD_OK;
}

void td_embed_table_destroy(td_embed_table *table) {
    if (table->map != NULL) {
        munmap(table->map, table->map_bytes);
    }
    *table = (td_embed_table){0};
}

/* One batch on its way: item[row] is the pair of a row. */
typedef struct staged {
    int64_t rows, capacity;
    int64_t *item;
    float *images, *z;
    int32_t *ids;
    td_pair pair;
} staged;

static td_status staged_create(const td_model_config *config, int64_t capacity, staged *s) {
    size_t rows = (size_t)capacity, side = (size_t)config->image_size;
    *s = (staged){.capacity = capacity,
                  .item = td_alloc(rows * sizeof(int64_t)),
                  .images = td_alloc(rows * 3 * side * side * sizeof(float)),
                  .z = td_alloc(rows * (size_t)config->embed * sizeof(float)),
                  .ids = td_alloc(rows * (size_t)config->context * sizeof(int32_t)),
                  .pair = {.item = -1}};
    return s->item == NULL || s->images == NULL || s->z == NULL || s->ids == NULL
               ? td_fail(TD_ENOMEM, "no memory for a batch of %" PRId64 " pairs", capacity)
               : TD_OK;
}

static void staged_destroy(staged *s) {
    td_pair_destroy(&s->pair);
    td_free(s->item);
    td_free(s->images);
    td_free(s->z);
    td_free(s->ids);
}

static void scatter(const staged *s, int64_t embed, float *rows) {
    for (int64_t row = 0; row < s->rows; row++) {
        memcpy(rows + s->item[row] * embed, s->z + row * embed, (size_t)embed * sizeof(float));
    }
}

static td_status flush(td_encoder *encoder, staged *s, td_embed_table *table) {
    if (s->rows > 0 && table->images != NULL) {
        TD_TRY(td_encoder_images(encoder, s->images, s->rows, s->z));
        scatter(s, table->embed, table->images);
    }
    if (s->rows > 0 && table->texts != NULL) {
        TD_TRY(td_encoder_texts(encoder, s->ids, s->rows, s->z));
        scatter(s, table->embed, table->texts);
    }
    for (int64_t row = 0; row < s->rows; row++) {
        table->state[s->item[row]] = TD_EMBED_OK;
    }
    s->rows = 0;
    return TD_OK;
}

/* The pair's inputs as the next row of the batch. */
static td_status stage(const td_model_config *config, td_pairs *pairs,
                       const td_tokenizer *tokenizer, int64_t item, const td_embed_table *table,
                       staged *s) {
    int64_t pixels = 3 * config->image_size * config->image_size;
    TD_TRY(td_pairs_fetch(pairs, item, &s->pair));
    if (table->images != NULL) {
        TD_TRY(td_pairs_normalised(pairs, item, config->image_size, &s->pair, NULL,
                                   s->images + s->rows * pixels));
    }
    td_tokenize(tokenizer, s->pair.caption.data, s->ids + s->rows * config->context,
                config->context);
    s->item[s->rows++] = item;
    return TD_OK;
}

static td_status embed_share(td_encoder *encoder, td_pairs *pairs, const td_tokenizer *tokenizer,
                             const td_rank *rank, td_embed_table *table, staged *s,
                             td_embed_tick *tick, void *arg) {
    const td_model_config *config = td_encoder_config(encoder);
    int64_t first = table->pairs * rank->rank / rank->count;
    int64_t last = table->pairs * (rank->rank + 1) / rank->count;
    for (int64_t item = first; item < last; item++) {
        td_status status = stage(config, pairs, tokenizer, item, table, s);
        if (status == TD_EINPUT) {
            td_note(NULL, "%s; it has no row", td_error());
            table->state[item] = TD_EMBED_FAILED;
        } else {
            TD_TRY(status);
        }
        if (s->rows == s->capacity || item + 1 == last) {
            TD_TRY(flush(encoder, s, table));
        }
        int64_t done = 1 + atomic_fetch_add_explicit(table->done, 1, memory_order_relaxed);
        if (rank->rank == 0) {
            tick(arg, done);
        }
        if (td_interrupted()) {
            return td_fail(TD_EINTERRUPTED, "interrupted; nothing was written");
        }
    }
    return TD_OK;
}

td_status td_embed_rank(td_encoder *encoder, td_pairs *pairs, const td_tokenizer *tokenizer,
                        const td_rank *rank, int64_t batch, td_embed_table *table,
                        td_embed_tick *tick, void *arg) {
    staged s = {0};
    td_status status = staged_create(td_encoder_config(encoder), batch, &s);
    if (status == TD_OK) {
        status = embed_share(encoder, pairs, tokenizer, rank, table, &s, tick, arg);
    }
    staged_destroy(&s);
    return status;
}
