/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/data/pair_files.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "data/image.h"
#include "data/pair.h"
#include "data/shards.h"

static char directory[64];

const char *pair_directory(void) {
    snprintf(directory, sizeof directory, "/tmp/tandem_pairs_%ld", (long)getpid());
    return directory;
}

void pair_directory_remove(void) {
    DIR *dir = opendir(pair_directory());
    if (dir == NULL) {
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        unlink(path);
    }
    closedir(dir);
    rmdir(directory);
}

int pair_level(int i) {
    return i % 256;
}

static void encode(int i, bool bad, td_text *out) {
    td_image image = {0};
    void *png = NULL;
    size_t size = 0;
    char caption[32], label[32], key[32];
    cr_assert_eq(td_image_create(8, 8, &image), TD_OK);
    for (int p = 0; p < 64; p++) {
        image.pixels[3 * p] = (unsigned char)pair_level(i);
        image.pixels[3 * p + 1] = (unsigned char)(p * 3);
    }
    cr_assert_eq(td_image_encode_png(&image, &png, &size), TD_OK, "%s", td_error());
    snprintf(caption, sizeof caption, "caption %d", i);
    snprintf(label, sizeof label, "label %d", i % 3);
    snprintf(key, sizeof key, "key-%d", i);
    td_status status = bad ? td_pair_encode("not an image", 12, caption, label, key, out)
                           : td_pair_encode(png, size, caption, label, key, out);
    cr_assert_eq(status, TD_OK, "%s", td_error());
    td_free(png);
    td_image_destroy(&image);
}

void pair_record(int i, td_text *out) {
    encode(i, false, out);
}

void pair_shards(int n, int n_shards, const int *bad, int n_bad) {
    td_shard_writer *writer;
    cr_assert_eq(td_shard_writer_create(pair_directory(), "pairs", n_shards, TD_COMPRESSION_NONE,
                                        false, &writer),
                 TD_OK, "%s", td_error());
    for (int i = 0; i < n; i++) {
        bool is_bad = false;
        for (int b = 0; b < n_bad; b++) {
            is_bad = is_bad || bad[b] == i;
        }
        td_text record = {0};
        encode(i, is_bad, &record);
        cr_assert_eq(td_shard_writer_append(writer, record.data, record.size), TD_OK);
        td_text_destroy(&record);
    }
    cr_assert_eq(td_shard_writer_commit(writer), TD_OK, "%s", td_error());
}
