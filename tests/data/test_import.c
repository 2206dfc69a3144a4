/* SPDX-License-Identifier: Apache-2.0 */
#include "data/import.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/svg_metadata.h"

static char root[64];

static void make_root(void) {
    strcpy(root, "/tmp/tandem-import-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
}

static int forget(const char *path, const struct stat *facts, int kind, struct FTW *where) {
    (void)facts;
    (void)kind;
    (void)where;
    return remove(path);
}

static void remove_root(void) {
    nftw(root, forget, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(import, .init = make_root, .fini = remove_root);

static void put(const char *name, const char *content) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    cr_assert_eq(td_make_directory(path), TD_OK);
    *slash = '/';
    cr_assert_eq(td_file_write(path, content, strlen(content)), TD_OK, "%s", td_error());
}

static void put_link(const char *name, const char *target) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    cr_assert_eq(symlink(target, path), 0);
}

static void put_svg(const char *name, const char *title, const char *description,
                    const char *keywords) {
    td_text svg = {0};
    td_text_printf(
        &svg,
        "<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"><metadata><rdf:RDF "
        "xmlns:rdf=\"r\" xmlns:dc=\"d\" xmlns:cc=\"c\"><cc:Work><dc:title>%s</dc:title>"
        "<dc:description>%s</dc:description><dc:subject><rdf:Bag>%s</rdf:Bag></"
        "dc:subject><dc:creator>"
        "<cc:Agent><dc:title>Ann Example</dc:title></cc:Agent></dc:creator><dc:publisher><cc:Agent>"
        "<dc:title>The Library</dc:title></cc:Agent></dc:publisher></cc:Work></rdf:RDF></metadata>"
        "<path d=\"M0,0\"/></svg>",
        title, description, keywords);
    put(name, svg.data);
    td_text_destroy(&svg);
}

/* Pairs as lines "key [label] caption = bytes". */
static td_status collect(void *arg, const td_import_pair *pair) {
    td_text_printf(arg, "%s [%s] %s = %.*s\n", pair->key, pair->label, pair->caption,
                   (int)pair->size, (const char *)pair->bytes);
    return TD_OK;
}

static void expect_clipart(const char *expected, td_import_stats *stats) {
    td_text out = {0};
    cr_assert_eq(td_import_clipart(root, collect, &out, stats), TD_OK, "%s", td_error());
    cr_expect_str_eq(out.data == NULL ? "" : out.data, expected);
    td_text_destroy(&out);
}

Test(import, captions_from_title_keywords_and_name) {
    td_import_stats stats;
    put("png/animals/birds/a.png", "A");
    put_svg("svg/animals/birds/a.svg", "Two_white\n swans", "They swim. On a lake.",
            "<rdf:li>bird</rdf:li>");
    put("png/animals/b.png", "B");
    put_svg("svg/animals/b.svg", "", "",
            "<rdf:li>cat</rdf:li><rdf:li>Ann Example</rdf:li><rdf:li>pet</rdf:li>");
    put("png/unsorted/green_apple_exam_02.png", "C");
    put_svg("svg/unsorted/green_apple_exam_02.svg", "Untitled 3", "http://example.org",
            "<rdf:li>HASH(0x1)</rdf:li>");
    put("png/signs_and_symbols/d.png", "D");
    put_svg("svg/signs_and_symbols/d.svg", "A bird", "a bird", "<rdf:li>Bird</rdf:li>");
    put("png/animals/lone.png", "L");
    put("png/animals/notes.txt", "not a picture");
    expect_clipart("animals/b.png [animals] cat, pet = B\n"
                   "animals/birds/a.png [animals] Two white swans, bird, They swim = A\n"
                   "signs_and_symbols/d.png [signs and symbols] A bird = D\n"
                   "unsorted/green_apple_exam_02.png [] green apple = C\n",
                   &stats);
    cr_expect_eq(stats.pairs, 4);
    cr_expect_eq(stats.from_title, 2);
    cr_expect_eq(stats.from_keywords, 1);
    cr_expect_eq(stats.from_name, 1);
    cr_expect_eq(stats.no_svg, 1);
    cr_expect_eq(stats.copies, 0);
}

/* Links to one picture have its key; links out of the directory, and dead ones, are left out. */
Test(import, copies_share_a_key) {
    td_import_stats stats;
    put("png/x/a.png", "A");
    put("svg/x/a.png", "S");
    put_svg("svg/x/a.svg", "an apple", "", "");
    put_svg("svg/x/b.svg", "a fruit", "", "");
    put_svg("svg/x/c.svg", "gone", "", "");
    put_svg("svg/x/d.svg", "outside", "", "");
    put_link("png/x/b.png", "a.png");
    put_link("png/x/c.png", "missing.png");
    put_link("png/x/d.png", "../../svg/x/a.png");
    put_link("png/circle", ".");
    expect_clipart("x/a.png [x] an apple = A\nx/a.png [x] a fruit = A\n", &stats);
    cr_expect_eq(stats.pairs, 2);
    cr_expect_eq(stats.copies, 1);
    cr_expect_eq(stats.unreadable, 2);
}

/* Nine names for one picture: a placeholder. Nine pictures of one title: a collection. */
Test(import, what_many_share_says_nothing) {
    td_import_stats stats;
    td_text expected = {0};
    put("png/g/0.png", "G");
    put_svg("svg/g/0.svg", "gradient", "", "");
    for (int i = 1; i <= 9; i++) {
        char name[64];
        snprintf(name, sizeof name, "png/g/%d.png", i);
        put_link(name, "0.png");
        snprintf(name, sizeof name, "svg/g/%d.svg", i);
        put_svg(name, "gradient", "", "");
        snprintf(name, sizeof name, "png/icons/key%c.png", 'a' + i);
        put(name, "I");
        snprintf(name, sizeof name, "svg/icons/key%c.svg", 'a' + i);
        put_svg(name, "Part of a collection", "the best", "<rdf:li>icon</rdf:li>");
        td_text_printf(&expected, "icons/key%c.png [icons] key%c, icon = I\n", 'a' + i, 'a' + i);
    }
    expect_clipart(expected.data, &stats);
    cr_expect_eq(stats.placeholders, 10);
    cr_expect_eq(stats.pairs, 9);
    td_text_destroy(&expected);
}

/* A broken SVG still has a name; what came before the fault counts. */
Test(import, broken_svg_falls_back) {
    td_import_stats stats;
    put("png/x/red_ball.png", "R");
    put("svg/x/red_ball.svg", "<svg><metadata><Work><title>never ends");
    put("png/x/blue_cup.png", "B");
    put("svg/x/blue_cup.svg", "<svg><metadata><Work><title>A cup</title></Work><<<");
    expect_clipart("x/blue_cup.png [x] A cup = B\nx/red_ball.png [x] red ball = R\n", &stats);
    cr_expect_eq(stats.bad_svg, 2);
    cr_expect_eq(stats.pairs, 2);
}

/* Entities are not expanded: neither a file of this machine nor a billion laughs gets into a
 * caption. */
Test(import, entities_are_not_expanded) {
    td_import_stats stats;
    char svg[512];
    put("secret.txt", "TOPSECRET");
    snprintf(
        svg, sizeof svg,
        "<!DOCTYPE svg [<!ENTITY file SYSTEM \"file://%s/secret.txt\"><!ENTITY a \"ha\">"
        "<!ENTITY b "
        "\"&a;&a;&a;&a;\">]><svg><metadata><Work><title>x&file;&b;</title></Work></metadata></svg>",
        root);
    put("png/x/plain_name.png", "P");
    put("svg/x/plain_name.svg", svg);
    expect_clipart("x/plain_name.png [x] plain name = P\n", &stats);
}

Test(import, missing_folders_are_named) {
    td_import_stats stats;
    td_text out = {0};
    cr_expect_eq(td_import_clipart("/nonexistent", collect, &out, &stats), TD_EIO);
    cr_expect_not_null(strstr(td_error(), "/nonexistent"), "%s", td_error());
    put("png/readme.txt", "empty");
    cr_expect_eq(td_import_clipart(root, collect, &out, &stats), TD_EINPUT);
    cr_expect_not_null(strstr(td_error(), "no PNG"), "%s", td_error());
}

static td_status stop(void *arg, const td_import_pair *pair) {
    (void)pair;
    ++*(int *)arg;
    return td_fail(TD_EINTERRUPTED, "stopped");
}

Test(import, the_receiver_can_stop_it) {
    td_import_stats stats;
    int calls = 0;
    put("png/x/a.png", "A");
    put("png/x/b.png", "B");
    put_svg("svg/x/a.svg", "one", "", "");
    put_svg("svg/x/b.svg", "two", "", "");
    cr_expect_eq(td_import_clipart(root, stop, &calls, &stats), TD_EINTERRUPTED);
    cr_expect_eq(calls, 1);
}

Test(import, tables) {
    td_import_stats stats;
    td_text out = {0};
    char path[128];
    put("images/a.jpg", "A");
    put("images/b.png", "B");
    put("pairs.tsv", "filepath\ttitle\n"
                     "images/a.jpg\ta red apple\tfruit\r\n"
                     "\n"
                     "images/missing.png\tnothing\n"
                     "no tab here\n"
                     "images/a.jpg\tone\ttwo\tthree\n"
                     "images/b.png\t\n"
                     "images/b.png\ta blue\x01 bird\n"
                     "images/b.png\ta blue bird");
    snprintf(path, sizeof path, "%s/pairs.tsv", root);
    cr_assert_eq(td_import_table(path, collect, &out, &stats), TD_OK, "%s", td_error());
    cr_expect_str_eq(out.data,
                     "images/a.jpg [fruit] a red apple = A\nimages/b.png [] a blue bird = B\n");
    cr_expect_eq(stats.pairs, 2);
    cr_expect_eq(stats.bad_lines, 4);
    cr_expect_eq(stats.unreadable, 1);
    td_text_destroy(&out);
    cr_expect_eq(td_import_table("/nonexistent.tsv", collect, &out, &stats), TD_EIO);
}

static td_status count_openclipart(void *arg, const td_import_pair *pair) {
    cr_assert_gt(pair->size, 8);
    cr_assert_gt(strlen(pair->caption), 0, "%s", pair->key);
    ++*(int *)arg;
    return TD_OK;
}

Test(import, debians_packages) {
    td_import_stats stats;
    int n = 0;
    td_status status = td_import_openclipart(count_openclipart, &n, &stats);
    if (status == TD_EIO) {
        cr_expect_not_null(strstr(td_error(), "openclipart-png and openclipart-svg"), "%s",
                           td_error());
        cr_skip_test("openclipart-png and openclipart-svg are not installed");
    }
    cr_assert_eq(status, TD_OK, "%s", td_error());
    cr_expect_eq(n, stats.pairs);
    cr_expect_gt(n, 7500);
    cr_expect_eq(stats.from_title + stats.from_keywords + stats.from_name, stats.pairs);
}
