/* SPDX-License-Identifier: Apache-2.0 */
#include "data/caption_text.h"

#include <libxml/HTMLparser.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { BAD_BYTE = -1 };

/* One code point at text, or BAD_BYTE for a byte that starts none; *size says how many bytes it
 * took. */
static int32_t next_code(const char *text, size_t left, size_t *size) {
    unsigned char first = (unsigned char)text[0];
    *size = 1;
    if (first < 0x80) {
        return first;
    }
    utf8proc_int32_t code = BAD_BYTE;
    utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text,
                                             left > 4 ? 4 : (utf8proc_ssize_t)left, &code);
    if (used < 1) {
        return BAD_BYTE;
    }
    *size = (size_t)used;
    return code;
}

static void append_code(td_text *out, int32_t code) {
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t size = utf8proc_encode_char(code, bytes);
    td_text_append(out, (const char *)bytes, (size_t)size);
}

static bool is_space(int32_t code) {
    return (code >= 9 && code <= 13) || code == 32 || code == 0x85 || code == 0xa0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

typedef enum char_class { CLASS_OTHER, CLASS_LETTER, CLASS_NUMBER, CLASS_SPACE } char_class;

static char_class class_of(int32_t code) {
    if (code == BAD_BYTE) {
        return CLASS_OTHER;
    }
    if (is_space(code)) {
        return CLASS_SPACE;
    }
    utf8proc_category_t category = utf8proc_category(code);
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) {
        return CLASS_LETTER;
    }
    if (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) {
        return CLASS_NUMBER;
    }
    return CLASS_OTHER;
}

/* What HTML gives the numbers 0x80 to 0x9f: the characters of Windows-1252, 0 where it has none. */
static const uint16_t windows_1252[32] = {
    0x20ac, 0x81,   0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8d,   0x017d, 0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d,   0x017e, 0x0178};

static void append_number(td_text *out, int64_t code) {
    bool control =
        (code >= 1 && code <= 8) || code == 0xb || (code >= 0xe && code <= 0x1f) || code == 0x7f;
    bool not_character = (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) == 0xfffe;
    if (code >= 0x80 && code <= 0x9f) {
        append_code(out, windows_1252[code - 0x80]);
    } else if (code == 0 || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) {
        append_code(out, 0xfffd);
    } else if (!control && !not_character) {
        append_code(out, (int32_t)code);
    }
}

/* "#65;" or "#x41;" after an ampersand. Returns the bytes taken, 0 when it is none. */
static size_t unescape_number(const char *text, size_t left, td_text *out) {
    size_t at = 1;
    int base = 10;
    if (at < left && (text[at] == 'x' || text[at] == 'X')) {
        base = 16;
        at++;
    }
    size_t first = at;
    int64_t code = 0;
    for (; at < left; at++) {
        char c = text[at];
        int digit = c >= '0' && c <= '9' ? c - '0' : 99;
        if (base == 16 && digit == 99) {
            char lower = (char)(c | 0x20);
            digit = lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 99;
        }
        if (digit >= base) {
            break;
        }
        code = code > 0x10ffff ? code : code * base + digit;
    }
    if (at == first) {
        return 0;
    }
    append_number(out, code);
    return at + (at < left && text[at] == ';');
}

/* The code point of a name without its semicolon, 0 when there is none. HTML 4's names through
 * libxml2, and the capitals that browsers also know. */
static uint32_t named_code(const char *name, size_t size, bool semicolon) {
    static const struct {
        const char *name;
        uint32_t code;
    } capitals[] = {{"AMP", '&'},  {"LT", '<'},    {"GT", '>'},
                    {"QUOT", '"'}, {"COPY", 0xa9}, {"REG", 0xae}};
    char text[33];
    memcpy(text, name, size);
    text[size] = '\0';
    for (size_t i = 0; i < sizeof capitals / sizeof capitals[0]; i++) {
        if (strcmp(text, capitals[i].name) == 0) {
            return capitals[i].code;
        }
    }
    const htmlEntityDesc *entity = htmlEntityLookup((const xmlChar *)text);
    /* Only Latin-1's names were ever allowed to go without the semicolon. */
    if (entity == NULL || (!semicolon && (entity->value > 255 || entity->value == '\''))) {
        return 0;
    }
    return entity->value;
}

/* "amp;" or "ampersand" after an ampersand: the whole name, or else its longest known start. */
static size_t unescape_name(const char *text, size_t left, td_text *out) {
    size_t size = 0;
    while (size < left && size < 32 && strchr("\t\n\f <&#;", text[size]) == NULL) {
        size++;
    }
    if (size == 0) {
        return 0;
    }
    uint32_t code = size < left && text[size] == ';' ? named_code(text, size, true) : 0;
    if (code != 0) {
        append_code(out, (int32_t)code);
        return size + 1;
    }
    for (; size > 1; size--) {
        code = named_code(text, size, false);
        if (code != 0) {
            append_code(out, (int32_t)code);
            return size;
        }
    }
    return 0;
}

static void unescape(const char *text, size_t size, td_text *out) {
    for (size_t at = 0; at < size;) {
        const char *start = text + at;
        size_t taken = 0;
        if (*start == '&' && at + 1 < size) {
            size_t left = size - at - 1;
            taken = start[1] == '#' ? unescape_number(start + 1, left, out)
                                    : unescape_name(start + 1, left, out);
        }
        if (taken > 0) {
            at += taken + 1;
            continue;
        }
        const char *next = memchr(start + 1, '&', size - at - 1);
        size_t plain = next == NULL ? size - at : (size_t)(next - start);
        td_text_append(out, start, plain);
        at += plain;
    }
}

static int32_t straight_quote(int32_t code) {
    if (code == 0x2bc || (code >= 0x2018 && code <= 0x201b)) {
        return '\'';
    }
    return code >= 0x201c && code <= 0x201f ? '"' : code;
}

static bool is_cased(int32_t code) {
    utf8proc_category_t category = utf8proc_category(code);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LT;
}

/* Characters that stand inside words without ending them: marks, modifiers, apostrophes, dots. */
static bool is_case_ignorable(int32_t code) {
    static const char *const marks = "'.:^`";
    utf8proc_category_t category =
        code == BAD_BYTE ? UTF8PROC_CATEGORY_CN : utf8proc_category(code);
    return (code > 0 && code < 0x80 && strchr(marks, code) != NULL) || code == 0xb7 ||
           code == 0x2019 || category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ME ||
           category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_LM ||
           category == UTF8PROC_CATEGORY_SK;
}

/* Whether the next character that counts has case. */
static bool cased_follows(const char *text, size_t left) {
    for (size_t at = 0, taken = 0; at < left; at += taken) {
        int32_t code = next_code(text + at, left - at, &taken);
        if (!is_case_ignorable(code)) {
            return code != BAD_BYTE && is_cased(code);
        }
    }
    return false;
}

/* Full lower-casing: the simple mapping, but for the two letters whose mapping is not simple. */
static void append_lower(td_text *out, int32_t code, bool word_final) {
    if (code == 0x130) {
        append_code(out, 'i');
        append_code(out, 0x307);
    } else if (code == 0x3a3 && word_final) {
        append_code(out, 0x3c2);
    } else {
        append_code(out, utf8proc_tolower(code));
    }
}

static void collapse_and_lower(const char *text, size_t size, td_text *out) {
    bool space = false, after_cased = false;
    for (size_t at = 0, taken = 0; at < size; at += taken) {
        int32_t code = next_code(text + at, size - at, &taken);
        char_class class = class_of(code);
        if (class != CLASS_SPACE && space && out->size > 0) {
            td_text_append(out, " ", 1);
        }
        space = class == CLASS_SPACE;
        if (code == BAD_BYTE) {
            td_text_append(out, text + at, 1);
        } else if (!space) {
            size_t next = at + taken;
            bool final = code == 0x3a3 && after_cased && !cased_follows(text + next, size - next);
            append_lower(out, code, final);
        }
        if (!is_case_ignorable(code)) {
            after_cased = code != BAD_BYTE && is_cased(code);
        }
    }
}

static void straighten(const char *text, size_t size, td_text *out) {
    for (size_t at = 0; at < size;) {
        size_t taken = 0;
        int32_t code = next_code(text + at, size - at, &taken);
        int32_t straight = straight_quote(code);
        if (straight != code) {
            append_code(out, straight);
        } else {
            td_text_append(out, text + at, taken);
        }
        at += taken;
    }
}

static bool is_ascii(const td_text *text) {
    for (size_t i = 0; i < text->size; i++) {
        if ((unsigned char)text->data[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

/* NFC, unless the text is ASCII, which is NFC, or not UTF-8, which has no normal form. */
static void normalise(td_text *text) {
    utf8proc_uint8_t *composed = NULL;
    if (is_ascii(text)) {
        return;
    }
    utf8proc_ssize_t size =
        utf8proc_map((const utf8proc_uint8_t *)text->data, (utf8proc_ssize_t)text->size, &composed,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (size >= 0) {
        text->size = 0;
        td_text_append(text, (const char *)composed, (size_t)size);
        free(composed);
    }
}

td_status td_caption_clean(const char *text, td_text *out) {
    td_text once = {0}, twice = {0};
    size_t size = strnlen(text, TD_CAPTION_BYTES_MAX);
    straighten(text, size, &once);
    unescape(once.data == NULL ? "" : once.data, once.size, &twice);
    once.size = 0;
    unescape(twice.data == NULL ? "" : twice.data, twice.size, &once);
    normalise(&once);
    out->size = 0;
    td_text_append(out, "", 0);
    collapse_and_lower(once.data == NULL ? "" : once.data, once.size, out);
    td_status status = once.failed || twice.failed ? td_text_status(once.failed ? &once : &twice)
                                                   : td_text_status(out);
    td_text_destroy(&once);
    td_text_destroy(&twice);
    return status;
}

static bool starts_with(const char *text, size_t left, const char *start) {
    size_t size = strlen(start);
    return left >= size && memcmp(text, start, size) == 0;
}

/* The alternatives that are literal strings, in the order of CLIP's expression. */
static bool literal_word(const char *text, size_t left, td_word *out) {
    static const struct {
        const char *text;
        td_word_kind kind;
    } literals[] = {{"<|startoftext|>", TD_WORD_START},
                    {"<|endoftext|>", TD_WORD_END},
                    {"'s", TD_WORD_PLAIN},
                    {"'t", TD_WORD_PLAIN},
                    {"'re", TD_WORD_PLAIN},
                    {"'ve", TD_WORD_PLAIN},
                    {"'m", TD_WORD_PLAIN},
                    {"'ll", TD_WORD_PLAIN},
                    {"'d", TD_WORD_PLAIN}};
    if (*text != '<' && *text != '\'') {
        return false;
    }
    for (size_t i = 0; i < sizeof literals / sizeof literals[0]; i++) {
        if (starts_with(text, left, literals[i].text)) {
            *out = (td_word){
                .bytes = text, .size = strlen(literals[i].text), .kind = literals[i].kind};
            return true;
        }
    }
    return false;
}

bool td_caption_word(const char *text, size_t size, size_t *at, td_word *out) {
    size_t taken = 0, start = *at;
    char_class class = CLASS_SPACE;
    while (start < size &&
           (class = class_of(next_code(text + start, size - start, &taken))) == CLASS_SPACE) {
        start += taken;
    }
    if (start >= size) {
        *at = size;
        return false;
    }
    if (literal_word(text + start, size - start, out)) {
        *at = start + out->size;
        return true;
    }
    size_t end = start + taken;
    while (class != CLASS_NUMBER && end < size &&
           class_of(next_code(text + end, size - end, &taken)) == class) {
        end += taken;
    }
    *out = (td_word){.bytes = text + start, .size = end - start, .kind = TD_WORD_PLAIN};
    *at = end;
    return true;
}
