/* SPDX-License-Identifier: Apache-2.0 */
#include "data/synth.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/sha256.h"

typedef struct pair {
    td_image image;
    char *caption, *label;
} pair;

static pair make(uint64_t seed, int64_t index) {
    pair p = {0};
    cr_assert_eq(td_synth_pair(seed, index, &p.image, &p.caption, &p.label), TD_OK, "%s",
                 td_error());
    return p;
}

static void drop(pair *p) {
    td_image_destroy(&p->image);
    td_free(p->caption);
    td_free(p->label);
}

/* The same bytes on every machine, compiler and build: a change of the drawings changes every
 * recorded answer. */
Test(synth, drawings_are_what_they_were) {
    td_sha256 *sha;
    char hex[TD_SHA256_HEX];
    cr_assert_eq(td_sha256_create(&sha), TD_OK);
    for (int64_t i = 0; i < 64; i++) {
        pair p = make(1, i);
        cr_assert_eq(p.image.width, TD_SYNTH_SIDE);
        cr_assert_eq(p.image.height, TD_SYNTH_SIDE);
        td_sha256_add(sha, p.image.pixels, 3 * TD_SYNTH_SIDE * TD_SYNTH_SIDE);
        td_sha256_add(sha, p.caption, strlen(p.caption) + 1);
        td_sha256_add(sha, p.label, strlen(p.label) + 1);
        drop(&p);
    }
    td_sha256_finish(sha, hex);
    cr_expect_str_eq(hex, "a8f70d923c247e1dc221208db981073eba6013f241786b052673a72cb702191d");
}

Test(synth, a_pair_needs_no_other) {
    pair first = make(4, 1000000007);
    pair other = make(4, 3);
    pair again = make(4, 1000000007);
    cr_expect_str_eq(first.caption, again.caption);
    cr_expect_arr_eq(first.image.pixels, again.image.pixels, 3 * TD_SYNTH_SIDE * TD_SYNTH_SIDE);
    cr_expect_neq(memcmp(first.image.pixels, other.image.pixels, 3 * TD_SYNTH_SIDE * TD_SYNTH_SIDE),
                  0);
    pair seeded = make(5, 3);
    cr_expect_neq(
        memcmp(seeded.image.pixels, other.image.pixels, 3 * TD_SYNTH_SIDE * TD_SYNTH_SIDE), 0);
    drop(&first);
    drop(&other);
    drop(&again);
    drop(&seeded);
}

Test(synth, texts_need_no_picture) {
    for (int64_t i = 0; i < 50; i++) {
        pair p = make(6, i);
        char *caption, *label;
        cr_assert_eq(td_synth_caption(6, i, &caption, &label), TD_OK);
        cr_expect_str_eq(caption, p.caption);
        cr_expect_str_eq(label, p.label);
        td_free(caption);
        td_free(label);
        drop(&p);
    }
}

static int class_of(const char *label) {
    for (int c = 0; c < TD_SYNTH_CLASSES; c++) {
        char name[TD_SYNTH_NAME_BYTES];
        td_synth_class_name(c, name);
        if (strcmp(name, label) == 0) {
            return c;
        }
    }
    return -1;
}

/* Half the pairs have one kind of object and its class; every class occurs about equally often. */
Test(synth, labels_are_classes_and_balanced) {
    enum { N = 6400 };
    int counts[TD_SYNTH_CLASSES] = {0}, unlabelled = 0;
    for (int64_t i = 0; i < N; i++) {
        char *caption, *label;
        cr_assert_eq(td_synth_caption(2, i, &caption, &label), TD_OK);
        if (*label == '\0') {
            unlabelled++;
        } else {
            int class = class_of(label);
            cr_assert_geq(class, 0, "%s", label);
            counts[class]++;
            char colour[16] = "";
            memcpy(colour, label, strcspn(label, " "));
            cr_assert_not_null(strstr(caption, colour), "%s: %s", label, caption);
        }
        td_free(caption);
        td_free(label);
    }
    /* Binomial: 3200 +- 40 and 50 +- 7. */
    cr_expect(abs(unlabelled - N / 2) < 200, "%d without a class", unlabelled);
    for (int c = 0; c < TD_SYNTH_CLASSES; c++) {
        cr_expect(counts[c] > 15 && counts[c] < 85, "class %d: %d", c, counts[c]);
    }
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Retrieval among hundreds means little when captions repeat: among 500, nearly all must differ. */
Test(synth, captions_rarely_repeat) {
    enum { N = 500 };
    char *captions[N];
    for (int64_t i = 0; i < N; i++) {
        char *label;
        cr_assert_eq(td_synth_caption(3, i, &captions[i], &label), TD_OK);
        td_free(label);
    }
    qsort(captions, N, sizeof(char *), compare_texts);
    int distinct = 1;
    for (int i = 1; i < N; i++) {
        distinct += strcmp(captions[i], captions[i - 1]) != 0;
    }
    cr_expect_gt(distinct, N * 95 / 100, "%d of %d captions are distinct", distinct, N);
    for (int i = 0; i < N; i++) {
        td_free(captions[i]);
    }
}

/* Pixels that are clearly red: far above both other channels. Of the hues only red is; of the
 * backgrounds none. */
static double red_column(const td_image *image, int64_t *n) {
    double sum = 0.0;
    *n = 0;
    for (int64_t i = 0; i < image->width * image->height; i++) {
        const unsigned char *p = image->pixels + 3 * i;
        if (p[0] > 180 && p[1] < 80 && p[2] < 80) {
            sum += (double)(i % image->width);
            ++*n;
        }
    }
    return *n > 0 ? sum / (double)*n : 0.0;
}

/* What the caption says is in the picture: red things are there, and on the side that it names. */
Test(synth, pictures_show_what_captions_say) {
    int n_left = 0, n_right = 0, n_red = 0;
    for (int64_t i = 0; i < 600; i++) {
        pair p = make(8, i);
        int64_t n;
        double column = red_column(&p.image, &n);
        bool said = strstr(p.caption, " red ") != NULL;
        cr_expect_eq(n > 40, said, "%lld red pixels in \"%s\"", (long long)n, p.caption);
        const char *red = strstr(p.caption, " red "), *left = strstr(p.caption, "left of"),
                   *right = strstr(p.caption, "right of");
        const char *word = left != NULL ? left : right;
        bool only_red = said && strstr(red + 4, " red ") == NULL;
        if (only_red && word != NULL) {
            bool on_left = (left != NULL) == (red < word);
            cr_expect_eq(column < TD_SYNTH_SIDE / 2.0, on_left, "red at %g in \"%s\"", column,
                         p.caption);
            n_left += on_left;
            n_right += !on_left;
        }
        n_red += said;
        drop(&p);
    }
    cr_expect(n_red > 50 && n_left > 5 && n_right > 5, "%d red, %d left, %d right", n_red, n_left,
              n_right);
}

/* Edges are drawn with partly covered pixels: between red and white lies a rim of levels. */
Test(synth, edges_are_antialiased) {
    for (int64_t i = 0; i < 20000; i++) {
        char *caption, *label;
        cr_assert_eq(td_synth_caption(10, i, &caption, &label), TD_OK);
        bool suits =
            strcmp(label, "red circle") == 0 && strstr(caption, "white background") != NULL;
        td_free(caption);
        td_free(label);
        if (!suits) {
            continue;
        }
        pair p = make(10, i);
        int between = 0;
        for (int64_t k = 0; k < TD_SYNTH_SIDE * TD_SYNTH_SIDE; k++) {
            int green = p.image.pixels[3 * k + 1];
            between += green > 80 && green < 215;
        }
        cr_expect_gt(between, 20, "%s", p.caption);
        drop(&p);
        return;
    }
    cr_assert_fail("no red circle on white");
}
