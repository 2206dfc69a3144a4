/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pairs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "data/pair.h"
#include "data/shards.h"
#include "tests/data/pair_files.h"

TestSuite(pairs, .fini = pair_directory_remove);

static td_pairs *open_pairs(const td_pairs_options *options) {
    td_pairs *pairs;
    cr_assert_eq(td_pairs_open(options, &pairs), TD_OK, "%s", td_error());
    return pairs;
}

Test(pairs, texts_keys_and_images) {
    enum { N = 7, SIZE = 8 };
    pair_shards(N, 2, NULL, 0);
    td_pairs *pairs = open_pairs(&(td_pairs_options){.path = pair_directory()});
    cr_assert_eq(td_pairs_count(pairs), N);
    static const int order[N] = {0, 2, 4, 6, 1, 3, 5};
    for (int i = 0; i < N; i++) {
        char *caption, *label, *key, wanted[32];
        float image[3 * SIZE * SIZE];
        cr_assert_eq(td_pairs_text(pairs, i, &caption, &label), TD_OK, "%s", td_error());
        cr_assert_eq(td_pairs_key(pairs, i, &key), TD_OK);
        cr_assert_eq(td_pairs_image(pairs, i, SIZE, image), TD_OK, "%s", td_error());
        snprintf(wanted, sizeof wanted, "caption %d", order[i]);
        cr_expect_str_eq(caption, wanted);
        snprintf(wanted, sizeof wanted, "label %d", order[i] % 3);
        cr_expect_str_eq(label, wanted);
        snprintf(wanted, sizeof wanted, "key-%d", order[i]);
        cr_expect_str_eq(key, wanted);
        float red = ((float)pair_level(order[i]) / 255.0F - 0.48145466F) / 0.26862954F;
        cr_expect(fabsf(image[0] - red) <= 1e-5F);
        td_free(caption);
        td_free(label);
        td_free(key);
    }
    td_pairs_close(pairs);
}

/* Both sides of a split together are the set, whatever the number of shards; the sides depend on
 * keys alone. */
Test(pairs, the_hold_out_is_a_partition_by_key) {
    enum { N = 200 };
    bool held[N] = {false};
    for (int n_shards = 1; n_shards <= 3; n_shards += 2) {
        int seen[N] = {0};
        pair_shards(N, n_shards, NULL, 0);
        for (int side = 0; side < 2; side++) {
            td_pairs_options options = {.path = pair_directory(),
                                        .holdout = 0.25,
                                        .held_out = side == 1,
                                        .seed = (uint64_t)n_shards};
            td_pairs *pairs = open_pairs(&options);
            if (side == 1) {
                cr_expect(td_pairs_count(pairs) > 25 && td_pairs_count(pairs) < 75, "%lld held out",
                          (long long)td_pairs_count(pairs));
            }
            for (int64_t i = 0; i < td_pairs_count(pairs); i++) {
                char *key;
                cr_assert_eq(td_pairs_key(pairs, i, &key), TD_OK);
                int pair = -1;
                cr_assert_eq(sscanf(key, "key-%d", &pair), 1);
                td_free(key);
                cr_assert(pair >= 0 && pair < N);
                seen[pair]++;
                if (n_shards == 1) {
                    held[pair] = side == 1;
                }
                cr_assert_eq(held[pair], side == 1, "pair %d changed sides", pair);
            }
            td_pairs_close(pairs);
        }
        for (int i = 0; i < N; i++) {
            cr_assert_eq(seen[i], 1);
        }
        pair_directory_remove();
    }
}

Test(pairs, the_procedural_set_needs_no_file) {
    enum { N = 40, SIZE = 32 };
    td_pairs_options options = {.n_synthetic = N, .seed = 3};
    td_pairs *pairs = open_pairs(&options);
    cr_assert_eq(td_pairs_count(pairs), N);
    char *caption, *label, *key;
    static float image[3 * SIZE * SIZE];
    cr_assert_eq(td_pairs_text(pairs, 11, &caption, &label), TD_OK, "%s", td_error());
    cr_assert_eq(td_pairs_key(pairs, 11, &key), TD_OK);
    cr_assert_eq(td_pairs_image(pairs, 11, SIZE, image), TD_OK, "%s", td_error());
    cr_expect_str_eq(key, "synth/3/11");
    cr_expect_gt(strlen(caption), 0u);
    td_free(caption);
    td_free(label);
    td_free(key);
    td_pairs_close(pairs);
}

/* What is wrong with a pair is said with file, record and byte; its neighbours are untouched. */
Test(pairs, bad_pairs_are_named) {
    enum { CASES = 5 };
    static const char *const reasons[CASES] = {"caption", "image/encoded", "", "Example",
                                               "caption"};
    const td_span text = td_span_text("words"), image = td_span_text("nonsense");
    const int64_t number = 3;
    const td_feature only_image = {
        .key = td_span_text(TD_PAIR_IMAGE), .kind = TD_FEATURE_BYTES, .count = 1, .bytes = &image};
    const td_feature only_text = {
        .key = td_span_text(TD_PAIR_CAPTION), .kind = TD_FEATURE_BYTES, .count = 1, .bytes = &text};
    const td_feature both[] = {only_image, only_text};
    const td_feature wrong[] = {only_image,
                                {.key = td_span_text(TD_PAIR_CAPTION),
                                 .kind = TD_FEATURE_INT64,
                                 .count = 1,
                                 .ints = &number}};
    td_text records[CASES + 1] = {0};
    cr_assert_eq(td_example_encode(&only_image, 1, &records[0]), TD_OK);
    cr_assert_eq(td_example_encode(&only_text, 1, &records[1]), TD_OK);
    cr_assert_eq(td_example_encode(both, 2, &records[2]), TD_OK);
    td_text_append(&records[3], "\x0a\x7f garbage", 10);
    cr_assert_eq(td_example_encode(wrong, 2, &records[4]), TD_OK);
    pair_record(9, &records[5]);
    td_shard_writer *writer;
    cr_assert_eq(
        td_shard_writer_create(pair_directory(), "bad", 1, TD_COMPRESSION_NONE, false, &writer),
        TD_OK);
    for (int i = 0; i <= CASES; i++) {
        cr_assert_eq(td_shard_writer_append(writer, records[i].data, records[i].size), TD_OK);
        td_text_destroy(&records[i]);
    }
    cr_assert_eq(td_shard_writer_commit(writer), TD_OK);
    td_pairs *pairs = open_pairs(&(td_pairs_options){.path = pair_directory()});
    float pixels[3 * 8 * 8];
    for (int i = 0; i < CASES; i++) {
        char place[32];
        snprintf(place, sizeof place, "record %d at byte", i);
        cr_expect_eq(td_pairs_image(pairs, i, 8, pixels), TD_EINPUT, "pair %d", i);
        cr_expect_not_null(strstr(td_error(), "bad-00000-of-00001"), "%s", td_error());
        cr_expect_not_null(strstr(td_error(), place), "%s", td_error());
        cr_expect_not_null(strstr(td_error(), reasons[i]), "%s", td_error());
    }
    cr_expect_eq(td_pairs_image(pairs, CASES, 8, pixels), TD_OK, "%s", td_error());
    td_pairs_close(pairs);
}

Test(pairs, odd_options) {
    td_pairs *pairs;
    cr_expect_eq(td_pairs_open(&(td_pairs_options){.n_synthetic = 5, .holdout = 1}, &pairs),
                 TD_EUSAGE);
    cr_expect_eq(td_pairs_open(&(td_pairs_options){.n_synthetic = 0}, &pairs), TD_EINPUT);
    cr_expect_eq(td_pairs_open(&(td_pairs_options){.path = "/nonexistent/dir"}, &pairs), TD_EIO);
    cr_expect_eq(td_pairs_open(&(td_pairs_options){.n_synthetic = 5, .held_out = true}, &pairs),
                 TD_EINPUT);
}
