/* SPDX-License-Identifier: Apache-2.0 */
#include "data/shards.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "tests/data/recorded_cases.h"
#include "tests/data/pair_files.h"

TestSuite(shards, .fini = pair_directory_remove);

static int files_in(const char *directory) {
    DIR *dir = opendir(directory);
    int n = 0;
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        n += entry->d_name[0] != '.';
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

static td_shard_writer *start(int n_shards, bool replace) {
    td_shard_writer *writer;
    cr_assert_eq(td_shard_writer_create(pair_directory(), "set", n_shards, TD_COMPRESSION_NONE,
                                        replace, &writer),
                 TD_OK, "%s", td_error());
    for (int i = 0; i < 10; i++) {
        char text[16];
        int size = snprintf(text, sizeof text, "record %d", i);
        cr_assert_eq(td_shard_writer_append(writer, text, (size_t)size), TD_OK);
    }
    return writer;
}

Test(shards, names) {
    td_text name = {0};
    td_shard_name(&name, "train", 7, 1024, TD_COMPRESSION_NONE);
    cr_expect_str_eq(name.data, "train-00007-of-01024.tfrecord");
    td_text_destroy(&name);
}

/* The recorded names carry no extension of their own. */
Test(shards, recorded_names) {
    json_t *cases = recorded_cases("sharded_filename"), *one;
    size_t i;
    json_array_foreach(cases, i, one) {
        const json_t *input = json_object_get(one, "input");
        td_text got = {0}, wanted = {0};
        td_shard_name(&got, json_string_value(json_object_get(input, "basename")),
                      (int)json_integer_value(json_object_get(input, "shard")),
                      (int)json_integer_value(json_object_get(input, "num_shards")),
                      TD_COMPRESSION_NONE);
        td_text_printf(
            &wanted, "%s.tfrecord",
            json_string_value(json_object_get(json_object_get(one, "expected"), "filename")));
        cr_expect_str_eq(got.data, wanted.data);
        td_text_destroy(&got);
        td_text_destroy(&wanted);
    }
    json_decref(cases);
}

Test(shards, round_trip) {
    td_shard_writer *writer = start(3, false);
    td_file_list none = {0};
    cr_expect_eq(td_file_list_find(pair_directory(), &none), TD_EIO, "nothing before commit");
    cr_assert_eq(td_shard_writer_commit(writer), TD_OK, "%s", td_error());
    cr_expect_eq(files_in(pair_directory()), 3);
    td_shards *shards;
    cr_assert_eq(td_shards_open(pair_directory(), &shards), TD_OK, "%s", td_error());
    cr_assert_eq(td_shards_count(shards), 10);
    td_buffer buffer = {0};
    /* Shard s holds records s, s + 3, s + 6, ... */
    static const int order[] = {0, 3, 6, 9, 1, 4, 7, 2, 5, 8};
    for (int i = 0; i < 10; i++) {
        char text[16];
        int size = snprintf(text, sizeof text, "record %d", order[i]);
        td_tfrecord record;
        cr_assert_eq(td_shards_read(shards, i, &buffer, &record), TD_OK, "%s", td_error());
        cr_assert_eq(record.size, (size_t)size);
        cr_assert_arr_eq(record.data, text, (size_t)size);
        cr_expect_eq(td_shards_place(shards, i).number, order[i] / 3);
    }
    td_buffer_destroy(&buffer);
    td_shards_close(shards);
}

Test(shards, abort_leaves_nothing) {
    td_shard_writer_abort(start(4, false));
    cr_expect_eq(files_in(pair_directory()), 0);
}

Test(shards, a_second_set_is_refused_or_replaces) {
    cr_assert_eq(td_shard_writer_commit(start(4, false)), TD_OK);
    td_shard_writer *writer;
    cr_expect_eq(
        td_shard_writer_create(pair_directory(), "set", 2, TD_COMPRESSION_NONE, false, &writer),
        TD_EUSAGE);
    td_shard_writer_abort(start(2, true));
    cr_expect_eq(files_in(pair_directory()), 4, "an aborted replacement changes nothing");
    cr_assert_eq(td_shard_writer_commit(start(2, true)), TD_OK);
    cr_expect_eq(files_in(pair_directory()), 2);
    cr_assert_eq(td_shard_writer_commit(start(2, true)), TD_OK);
    cr_expect_eq(files_in(pair_directory()), 2,
                 "shards of the same name are replaced, not removed");
}

Test(shards, a_missing_shard_is_an_error_in_a_directory) {
    for (int missing = 0; missing < 3; missing++) {
        cr_assert_eq(td_shard_writer_commit(start(3, true)), TD_OK);
        td_text path = {0};
        td_text_printf(&path, "%s/", pair_directory());
        td_shard_name(&path, "set", missing, 3, TD_COMPRESSION_NONE);
        cr_assert_eq(unlink(path.data), 0);
        td_shards *shards;
        cr_expect_eq(td_shards_open(pair_directory(), &shards), TD_EINPUT);
        char wanted[32];
        snprintf(wanted, sizeof wanted, "shard %d of 3", missing);
        cr_expect_not_null(strstr(td_error(), wanted), "%s", td_error());
        path.size = 0;
        td_text_printf(&path, "%s/set-*.tfrecord", pair_directory());
        cr_expect_eq(td_shards_open(path.data, &shards), TD_OK, "a pattern chooses on purpose: %s",
                     td_error());
        td_shards_close(shards);
        td_text_destroy(&path);
        pair_directory_remove();
    }
}

Test(shards, a_damaged_record_costs_itself_only) {
    cr_assert_eq(td_shard_writer_commit(start(1, false)), TD_OK);
    td_text path = {0};
    td_text_printf(&path, "%s/", pair_directory());
    td_shard_name(&path, "set", 0, 1, TD_COMPRESSION_NONE);
    char *bytes;
    size_t size;
    cr_assert_eq(td_file_read(path.data, &bytes, &size), TD_OK);
    bytes[24 * 3 + 1] ^= 1;                                         /* length of record 3 */
    bytes[24 * 7 + 13] ^= 1;                                        /* payload of record 7 */
    cr_assert_eq(td_file_write(path.data, bytes, size - 3), TD_OK); /* and record 9 is cut */
    td_shards *shards;
    cr_assert_eq(td_shards_open(path.data, &shards), TD_OK, "%s", td_error());
    cr_assert_eq(td_shards_count(shards), 8);
    cr_expect_eq(td_shards_damaged(shards), 2);
    td_buffer buffer = {0};
    td_tfrecord record;
    for (int i = 0; i < 8; i++) {
        td_status status = td_shards_read(shards, i, &buffer, &record);
        cr_expect_eq(status, i == 6 ? TD_EINPUT : TD_OK);
        if (status == TD_OK) {
            cr_expect_eq(record.data[7], (i < 3 ? '0' : '1') + i);
        } else {
            cr_expect(strstr(td_error(), "set-00000-of-00001") != NULL &&
                          strstr(td_error(), "record 7 at byte 168") != NULL,
                      "%s", td_error());
        }
    }
    td_buffer_destroy(&buffer);
    td_shards_close(shards);
    td_text_destroy(&path);
    td_free(bytes);
}

Test(shards, odd_directory_names_are_not_patterns) {
    char path[128];
    snprintf(path, sizeof path, "/tmp/tandem_[x]*_%ld", (long)getpid());
    td_shard_writer *writer;
    cr_assert_eq(td_shard_writer_create(path, "s", 1, TD_COMPRESSION_NONE, false, &writer), TD_OK,
                 "%s", td_error());
    cr_assert_eq(td_shard_writer_commit(writer), TD_OK);
    td_file_list files = {0};
    cr_expect_eq(td_file_list_find(path, &files), TD_OK, "%s", td_error());
    cr_expect_eq(files.count, 1);
    if (files.count == 1) {
        unlink(files.paths[0]);
    }
    td_file_list_destroy(&files);
    rmdir(path);
}
