/* SPDX-License-Identifier: Apache-2.0 */
#include "data/tokenizer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <zlib.h>

#include "base/memory.h"
#include "base/rng.h"
#include "base/text.h"
#include "data/caption_text.h"
#include "data/synth.h"

/* Ids by hand: bytes that print come first, so '!' is 0 and 'a' is 64; with </w> they are 256
 * higher; merges follow from 512; then start and end. */
enum { MARK = 256, FIRST = 512 };

static char directory[64];
static char merges_path[96];

static void make_directory(void) {
    strcpy(directory, "/tmp/tandem-tokenizer-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(merges_path, sizeof merges_path, "%s/merges.txt", directory);
}

static void remove_directory(void) {
    unlink(merges_path);
    rmdir(directory);
}

TestSuite(tokenizer, .init = make_directory, .fini = remove_directory);

static td_tokenizer *load_text(const char *text) {
    td_tokenizer *t = NULL;
    cr_assert_eq(td_file_write(merges_path, text, strlen(text)), TD_OK);
    cr_assert_eq(td_tokenizer_load(merges_path, &t), TD_OK, "%s", td_error());
    return t;
}

static const char tiny[] = "#version: 0.2\nl o\nlo w</w>\ne r</w>\nlo w\nn e\nt h\nth e</w>\n";
enum { TINY_MERGES = 7, TINY_START = FIRST + TINY_MERGES, TINY_END };

static int id_of(char c) {
    return c - '!';
}

static void expect_ids(const td_tokenizer *t, const char *text, const int32_t *expected,
                       int64_t n) {
    int32_t ids[77];
    int64_t got = td_tokenize(t, text, ids, 77);
    cr_expect_eq(got, n, "\"%s\": %lld ids, expected %lld", text, (long long)got, (long long)n);
    for (int64_t i = 0; i < 77; i++) {
        cr_expect_eq(ids[i], i < n ? expected[i] : 0, "\"%s\": id %lld is %d, expected %d", text,
                     (long long)i, ids[i], i < n ? expected[i] : 0);
    }
}
#define EXPECT_IDS(t, text, ...)                                                                   \
    do {                                                                                           \
        const int32_t expected_[] = {TINY_START, __VA_ARGS__, TINY_END};                           \
        expect_ids(t, text, expected_, (int64_t)(sizeof expected_ / sizeof expected_[0]));         \
    } while (0)

Test(tokenizer, golden_ids) {
    td_tokenizer *t = load_text(tiny);
    cr_expect_eq(td_tokenizer_vocab(t), 512 + TINY_MERGES + 2);
    EXPECT_IDS(t, "low", FIRST + 1);
    EXPECT_IDS(t, "lower", FIRST + 3, FIRST + 2); /* "lo w" needs the w without the mark */
    EXPECT_IDS(t, "new", FIRST + 4, id_of('w') + MARK);
    EXPECT_IDS(t, "the the", FIRST + 6, FIRST + 6);
    EXPECT_IDS(t, "then", FIRST + 5, id_of('e'),
               id_of('n') + MARK); /* "th e</w>" ends words only */
    EXPECT_IDS(t, "!", 0 + MARK);
    /* Of the bytes that do not print, 0 to 32 come first, 127 is the 34th, 173 the last. */
    EXPECT_IDS(t, "\xff\x01\x7f\xad", 187, 188 + 1, 188 + 33, 255 + MARK);
    const int32_t none[] = {TINY_START, TINY_END};
    expect_ids(t, "", none, 2);
    expect_ids(t, " \t\n ", none, 2);
    td_tokenizer_destroy(t);
}

Test(tokenizer, cleaning) {
    static const char *const rows[][2] = {
        {"  A  Big\t\nDOG ", "a big dog"},
        {"&lt;b&gt; &amp;amp; &quot;x&quot;", "<b> & \"x\""},
        {"caf&eacute; &#233;&#xe9; &copy 1 &notaname; &ampx",
         "caf\xc3\xa9 \xc3\xa9\xc3\xa9 \xc2\xa9 1 \xc2\xac"
         "aname; &x"},
        {"&#150;&#0;&#1;&#55296;|", "\xe2\x80\x93\xef\xbf\xbd\xef\xbf\xbd|"},
        {"& && &; &# &#x; &#99999999999;", "& && &; &# &#x; \xef\xbf\xbd"},
        {"\xe2\x80\x9cquoted\xe2\x80\x9d it\xe2\x80\x99s", "\"quoted\" it's"},
        {"re\xcc\x81sume\xcc\x81", "r\xc3\xa9sum\xc3\xa9"}, /* composed */
        {"\xc3\x89T\xc3\x89 \xce\xa3\xce\x91\xce\xa3 \xc4\xb0",
         "\xc3\xa9t\xc3\xa9 \xcf\x83\xce\xb1\xcf\x82 i\xcc\x87"},
        {"a\xc2\xa0\xe3\x80\x80z", "a z"},
        {"ok \xff\xc3 bad", "ok \xff\xc3 bad"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        td_text out = {0};
        cr_assert_eq(td_caption_clean(rows[i][0], &out), TD_OK);
        cr_expect_str_eq(out.data, rows[i][1], "row %zu", i);
        td_text_destroy(&out);
    }
}

/* Words separated by '|'. */
Test(tokenizer, splitting) {
    static const char *const rows[][2] = {
        {"don't we'll they've i'd i'm you're it's",
         "don|'t|we|'ll|they|'ve|i|'d|i|'m|you|'re|it|'s"},
        {"o'clock 's", "o|'|clock|'s"},
        {"rock'n'roll", "rock|'|n|'|roll"},
        {"2024 a1b22", "2|0|2|4|a|1|b|2|2"},
        {"wait...what?! (x)", "wait|...|what|?!|(|x|)"},
        {"!!'s", "!!'|s"},
        {"<|startoftext|>a<|endoftext|>", "<|startoftext|>|a|<|endoftext|>"},
        {"\xe4\xb8\xad\xe6\x96\x87\xc2\xbd\xe2\x85\xa7",
         "\xe4\xb8\xad\xe6\x96\x87|\xc2\xbd|\xe2\x85\xa7"},
        {"e\xcc\x81t", "e|\xcc\x81|t"}, /* a mark is neither letter nor number */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        td_text out = {0};
        size_t at = 0, size = strlen(rows[i][0]);
        td_word word;
        while (td_caption_word(rows[i][0], size, &at, &word)) {
            td_text_puts(&out, out.size > 0 ? "|" : "");
            td_text_append(&out, word.bytes, word.size);
        }
        cr_expect_str_eq(out.data, rows[i][1], "row %zu", i);
        td_text_destroy(&out);
    }
}

Test(tokenizer, a_literal_special_is_its_id) {
    td_tokenizer *t = load_text(tiny);
    EXPECT_IDS(t, "low<|ENDOFTEXT|>low", FIRST + 1, TINY_END, FIRST + 1);
    td_tokenizer_destroy(t);
}

Test(tokenizer, long_captions_end_with_the_end) {
    td_tokenizer *t = load_text(tiny);
    for (int64_t context = 2; context <= 9; context++) {
        int32_t ids[10] = {[9] = -7};
        ids[context] = -7;
        cr_expect_eq(td_tokenize(t, "low low low low low 12345 low", ids, context), context);
        cr_expect_eq(ids[0], TINY_START);
        cr_expect_eq(ids[context - 1], TINY_END);
        cr_expect_eq(ids[context], -7, "written behind the context");
        for (int64_t i = 0; i < context; i++) {
            cr_expect_leq(ids[i], TINY_END);
        }
    }
    int32_t ids[9] = {[4] = -7};
    cr_expect_eq(td_tokenize(t, "low low <|endoftext|> <|endoftext|>", ids, 4), 4);
    cr_expect_eq(ids[4], -7, "written behind the context");
    /* A word longer than the context is cut inside. */
    cr_expect_eq(td_tokenize(t, "zzzzzzzzzzzzzzzzzzzzzzzz", ids, 8), 8);
    cr_expect_eq(ids[7], TINY_END);
    td_tokenizer_destroy(t);
}

/* Bytes of all values come back, but for what cleaning does on purpose: so the text is cleaned
 * first. */
Test(tokenizer, any_bytes_round_trip) {
    td_tokenizer *t = NULL;
    td_rng rng = td_rng_make(3, TD_PURPOSE_TEST, 4);
    cr_assert_eq(td_tokenizer_load(NULL, &t), TD_OK, "%s", td_error());
    for (int round = 0; round < 300; round++) {
        char raw[200];
        size_t size = (size_t)td_rng_below(&rng, sizeof raw - 1);
        for (size_t i = 0; i < size; i++) {
            raw[i] = (char)(1 + td_rng_below(&rng, 255));
        }
        raw[size] = '\0';
        td_text clean = {0}, words = {0};
        cr_assert_eq(td_caption_clean(raw, &clean), TD_OK);
        size_t at = 0;
        td_word word;
        while (td_caption_word(clean.data, clean.size, &at, &word)) {
            td_text_puts(&words, words.size > 0 ? " " : "");
            td_text_append(&words, word.bytes, word.size);
        }
        int32_t ids[512];
        int64_t n = td_tokenize(t, raw, ids, 512);
        char *back = td_detokenize(t, ids, n);
        cr_expect_str_eq(back, words.data == NULL ? "" : words.data);
        td_free(back);
        td_text_destroy(&clean);
        td_text_destroy(&words);
    }
    td_tokenizer_destroy(t);
}

Test(tokenizer, learns_the_most_frequent_pair_first) {
    /* p+u 12 + 5, then h+u 10 + 5, which leaves pu+n</w> 12 and hu+g</w> 10. */
    static const struct {
        const char *word;
        int count;
    } words[] = {{"hug", 10}, {"pug", 5}, {"pun", 12}, {"bun", 4}, {"hugs", 5}};
    const char *captions[36];
    size_t n = 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        for (int k = 0; k < words[i].count; k++) {
            captions[n++] = words[i].word;
        }
    }
    td_tokenizer *t = NULL;
    cr_assert_eq(td_tokenizer_train(captions, n, 4, &t), TD_OK, "%s", td_error());
    cr_expect_eq(td_tokenizer_vocab(t), 512 + 4 + 2);
    cr_assert_eq(td_tokenizer_save(t, merges_path), TD_OK);
    char *text;
    size_t size;
    cr_assert_eq(td_file_read(merges_path, &text, &size), TD_OK);
    cr_expect_str_eq(text, "#version: 0.2\np u\nh u\npu n</w>\nhu g</w>\n");
    td_free(text);
    td_tokenizer_destroy(t);
    /* With no limit it stops where nothing occurs twice. */
    cr_assert_eq(td_tokenizer_train(captions, n, 1000, &t), TD_OK);
    cr_expect_lt(td_tokenizer_vocab(t), 512 + 20);
    int32_t ids[8];
    cr_expect_eq(td_tokenize(t, "hug pug pun bun hugs", ids, 8), 7);
    td_tokenizer_destroy(t);
}

/* Learning the slow way: symbols are numbers with a name, and every merge counts all pairs anew. */
enum { WORDS = 300, LETTERS = 4, MERGES = 60, SYMBOLS = 2 * LETTERS + MERGES };

typedef struct slow {
    int words[WORDS][10], sizes[WORDS], n_symbols;
    char names[SYMBOLS][64];
    int counts[SYMBOLS][SYMBOLS];
} slow;

static void slow_count(slow *s) {
    memset(s->counts, 0, sizeof s->counts);
    for (int w = 0; w < WORDS; w++) {
        for (int i = 0; i + 1 < s->sizes[w]; i++) {
            s->counts[s->words[w][i]][s->words[w][i + 1]]++;
        }
    }
}

/* The names are letters and marks, and '<' sorts before letters, so strcmp is byte order. */
static bool slow_is_better(const slow *s, int left, int right, int best_left, int best_right) {
    int difference = s->counts[left][right] - s->counts[best_left][best_right];
    int order = strcmp(s->names[left], s->names[best_left]);
    order = order != 0 ? order : strcmp(s->names[right], s->names[best_right]);
    return difference > 0 || (difference == 0 && order < 0);
}

static void slow_merge(slow *s, td_text *out) {
    int left = 0, right = 0;
    slow_count(s);
    for (int i = 0; i < s->n_symbols * s->n_symbols; i++) {
        if (slow_is_better(s, i / s->n_symbols, i % s->n_symbols, left, right)) {
            left = i / s->n_symbols;
            right = i % s->n_symbols;
        }
    }
    td_text_printf(out, "%s %s\n", s->names[left], s->names[right]);
    strcpy(s->names[s->n_symbols], s->names[left]);
    strcat(s->names[s->n_symbols], s->names[right]);
    int product = 0;
    while (strcmp(s->names[product], s->names[s->n_symbols]) != 0) {
        product++; /* a string made in another way before is the same symbol */
    }
    s->n_symbols += product == s->n_symbols;
    for (int w = 0; w < WORDS; w++) {
        int kept = 0;
        for (int i = 0; i < s->sizes[w]; i++) {
            bool hit = i + 1 < s->sizes[w] && s->words[w][i] == left && s->words[w][i + 1] == right;
            s->words[w][kept++] = hit ? product : s->words[w][i];
            i += hit;
        }
        s->sizes[w] = kept;
    }
}

Test(tokenizer, learning_equals_counting_anew) {
    static slow s;
    static char words[WORDS][16];
    const char *captions[WORDS];
    td_rng rng = td_rng_make(8, TD_PURPOSE_TEST, 1);
    s.n_symbols = 2 * LETTERS;
    for (int i = 0; i < 2 * LETTERS; i++) {
        snprintf(s.names[i], sizeof s.names[i], "%c%s", 'a' + i % LETTERS,
                 i < LETTERS ? "" : "</w>");
    }
    for (int w = 0; w < WORDS; w++) {
        s.sizes[w] = 2 + (int)td_rng_below(&rng, 8);
        for (int i = 0; i < s.sizes[w]; i++) {
            int letter = (int)td_rng_below(&rng, LETTERS);
            words[w][i] = (char)('a' + letter);
            s.words[w][i] = letter + (i + 1 == s.sizes[w] ? LETTERS : 0);
        }
        captions[w] = words[w];
    }
    td_text expected = {0};
    td_text_puts(&expected, "#version: 0.2\n");
    for (int m = 0; m < MERGES; m++) {
        slow_merge(&s, &expected);
    }
    td_tokenizer *t = NULL;
    char *text;
    size_t size;
    cr_assert_eq(td_tokenizer_train(captions, WORDS, MERGES, &t), TD_OK, "%s", td_error());
    cr_assert_eq(td_tokenizer_save(t, merges_path), TD_OK);
    cr_assert_eq(td_file_read(merges_path, &text, &size), TD_OK);
    cr_expect_str_eq(text, expected.data);
    td_free(text);
    td_text_destroy(&expected);
    td_tokenizer_destroy(t);
}

Test(tokenizer, saved_and_loaded_gives_the_same_ids) {
    td_tokenizer *built_in = NULL, *loaded = NULL;
    cr_assert_eq(td_tokenizer_load(NULL, &built_in), TD_OK, "%s", td_error());
    cr_assert_eq(td_tokenizer_save(built_in, merges_path), TD_OK, "%s", td_error());
    cr_assert_eq(td_tokenizer_load(merges_path, &loaded), TD_OK, "%s", td_error());
    cr_expect_eq(td_tokenizer_vocab(loaded), td_tokenizer_vocab(built_in));
    for (int64_t i = 0; i < 200; i++) {
        char *caption, *label;
        int32_t a[64], b[64];
        cr_assert_eq(td_synth_caption(123, i, &caption, &label), TD_OK);
        cr_expect_eq(td_tokenize(built_in, caption, a, 64), td_tokenize(loaded, caption, b, 64));
        cr_expect_arr_eq(a, b, sizeof a);
        td_free(caption);
        td_free(label);
    }
    td_tokenizer_destroy(built_in);
    td_tokenizer_destroy(loaded);
}

/* The built-in vocabulary is learned from the procedural captions: each of their words is one id.
 */
Test(tokenizer, built_in_knows_the_procedural_words) {
    td_tokenizer *t = NULL;
    cr_assert_eq(td_tokenizer_load(NULL, &t), TD_OK, "%s", td_error());
    cr_expect_leq(td_tokenizer_vocab(t), 49408);
    int32_t ids[32];
    cr_expect_eq(td_tokenize(t, "two red circles left of a blue square", ids, 32), 8 + 2);
    for (int64_t i = 5000; i < 5300; i++) {
        char *caption, *label;
        cr_assert_eq(td_synth_caption(77, i, &caption, &label), TD_OK);
        int64_t n_words = 1;
        for (const char *c = caption; *c != '\0'; c++) {
            n_words += *c == ' ';
        }
        cr_expect_eq(td_tokenize(t, caption, ids, 32), n_words + 2, "%s", caption);
        td_free(caption);
        td_free(label);
    }
    td_tokenizer_destroy(t);
}

Test(tokenizer, gzip_is_read) {
    td_tokenizer *t = NULL;
    gzFile file = gzopen(merges_path, "wb");
    cr_assert_eq(gzwrite(file, tiny, sizeof tiny - 1), (int)sizeof tiny - 1);
    gzclose(file);
    cr_assert_eq(td_tokenizer_load(merges_path, &t), TD_OK, "%s", td_error());
    EXPECT_IDS(t, "lower", FIRST + 3, FIRST + 2);
    td_tokenizer_destroy(t);
}

/* The heading is passed over, whatever stands before "#version", and so are empty lines and CR. */
Test(tokenizer, headings_are_passed_over) {
    td_tokenizer *t = load_text("\"name.txt#version: 0.2\r\nl o\r\n\r\nlo w</w>\r\n");
    cr_expect_eq(td_tokenizer_vocab(t), 512 + 2 + 2);
    td_tokenizer_destroy(t);
}

Test(tokenizer, bad_files_name_line_and_reason) {
    static const char *const rows[][2] = {
        {"#version: 0.2\na b\nab\n", "line 3: expected two symbols"},
        {"#version: 0.2\na b c\n", "line 2: expected two symbols"},
        {"#version: 0.2\na b\nxy z\n", "line 3: the left symbol"},
        {"#version: 0.2\na b\na \xff\n", "line 3: the right symbol"},
        {"#version: 0.2\na b\na b\n", "line 3: the pair is there already, as merge 0"},
        {"#version: 0.2\n", "holds no merges"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        td_tokenizer *t = NULL;
        cr_assert_eq(td_file_write(merges_path, rows[i][0], strlen(rows[i][0])), TD_OK);
        cr_expect_eq(td_tokenizer_load(merges_path, &t), TD_EINPUT);
        cr_expect_not_null(strstr(td_error(), rows[i][1]), "\"%s\" does not say \"%s\"", td_error(),
                           rows[i][1]);
        cr_expect_not_null(strstr(td_error(), merges_path), "%s", td_error());
        cr_expect_null(t);
    }
    td_tokenizer *t = NULL;
    cr_expect_eq(td_tokenizer_load("/nonexistent/merges", &t), TD_EIO);
}

/* Doubling merges would make a symbol of 2^40 bytes. */
Test(tokenizer, symbols_cannot_explode) {
    td_text text = {0};
    char symbol[2049] = "a";
    td_text_puts(&text, "#version: 0.2\n");
    for (size_t size = 1; size <= 1024; size *= 2) {
        td_text_printf(&text, "%s %s\n", symbol, symbol);
        memset(symbol, 'a', 2 * size);
        symbol[2 * size] = '\0';
    }
    td_tokenizer *t = NULL;
    cr_assert_eq(td_file_write(merges_path, text.data, text.size), TD_OK);
    cr_expect_eq(td_tokenizer_load(merges_path, &t), TD_EINPUT);
    cr_expect_not_null(strstr(td_error(), "2048 bytes"), "%s", td_error());
    td_text_destroy(&text);
}

/* Two merges that make one string: the later id is written, as in a dictionary filled in order. */
Test(tokenizer, one_string_made_twice) {
    td_tokenizer *t = load_text("#version: 0.2\na b\nb c</w>\nab c</w>\na bc</w>\n");
    int32_t ids[8];
    cr_expect_eq(td_tokenize(t, "abc", ids, 8), 3);
    cr_expect_eq(ids[1], FIRST + 3);
    td_tokenizer_destroy(t);
}

typedef struct job {
    const td_tokenizer *tokenizer;
    int32_t ids[100][40];
} job;

static void *tokenize_many(void *arg) {
    job *j = arg;
    for (int64_t i = 0; i < 100; i++) {
        char *caption, *label;
        if (td_synth_caption(9, i, &caption, &label) == TD_OK) {
            td_tokenize(j->tokenizer, caption, j->ids[i], 40);
            td_free(caption);
            td_free(label);
        }
    }
    return NULL;
}

Test(tokenizer, threads_share_one) {
    static job jobs[4];
    td_tokenizer *t = NULL;
    pthread_t threads[4];
    cr_assert_eq(td_tokenizer_load(NULL, &t), TD_OK);
    for (int i = 0; i < 4; i++) {
        jobs[i].tokenizer = t;
        cr_assert_eq(pthread_create(&threads[i], NULL, tokenize_many, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_arr_eq(jobs[i].ids, jobs[0].ids, sizeof jobs[0].ids);
    }
    cr_expect_neq(jobs[0].ids[99][1], 0);
    td_tokenizer_destroy(t);
}

/* TANDEM_CLIP_MERGES names CLIP's bpe_simple_vocab_16e6.txt.gz. The ids below are what open_clip
 * writes. */
Test(tokenizer, clips_own_merges) {
    static const struct {
        const char *text;
        int32_t ids[12];
    } rows[] = {
        {"a diagram", {49406, 320, 22697, 49407}},
        {"pear, food, fruit", {49406, 18820, 267, 1559, 267, 5190, 49407}},
        {"don't you've 2024 it's",
         {49406, 847, 713, 592, 1200, 273, 271, 273, 275, 585, 568, 49407}},
        {"Caf\xc3\xa9 \xc5\x92uvre, na\xc3\xafve",
         {49406, 15304, 129, 241, 84, 17501, 267, 1097, 35689, 563, 49407}},
        {"A photo of the number 42!", {49406, 320, 1125, 539, 518, 2842, 275, 273, 256, 49407}},
    };
    const char *path = getenv("TANDEM_CLIP_MERGES");
    if (path == NULL) {
        cr_skip_test("TANDEM_CLIP_MERGES does not name CLIP's merges file");
    }
    td_tokenizer *t = NULL;
    cr_assert_eq(td_tokenizer_load(path, &t), TD_OK, "%s", td_error());
    cr_expect_eq(td_tokenizer_vocab(t), 49408);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t ids[12];
        td_tokenize(t, rows[i].text, ids, 12);
        cr_expect_arr_eq(ids, rows[i].ids, sizeof ids, "%s: %d %d %d %d", rows[i].text, ids[1],
                         ids[2], ids[3], ids[4]);
    }
    td_tokenizer_destroy(t);
}
