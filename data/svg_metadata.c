/* SPDX-License-Identifier: Apache-2.0 */
#include "data/svg_metadata.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <libxml/xmlreader.h>

enum { DEPTH_MAX = 32, NAME_MAX_BYTES = 24 };

/* The local names of the elements that are open, outermost first. */
typedef struct open_elements {
    char names[DEPTH_MAX][NAME_MAX_BYTES];
} open_elements;

static bool is_named(const open_elements *open, int depth, const char *name) {
    return depth >= 0 && depth < DEPTH_MAX && strcmp(open->names[depth], name) == 0;
}

static bool is_below(const open_elements *open, int depth, const char *name) {
    for (int d = 0; d <= depth && d < DEPTH_MAX; d++) {
        if (is_named(open, d, name)) {
            return true;
        }
    }
    return false;
}

/* Appends with white space and underscores collapsed to single spaces, none at either end. */
static void append_clean(td_text *out, const char *text) {
    bool space = false;
    size_t start = out->size;
    for (; *text != '\0'; text++) {
        if (isspace((unsigned char)*text) || *text == '_') {
            space = true;
            continue;
        }
        if (space && out->size > start) {
            td_text_append(out, " ", 1);
        }
        space = false;
        td_text_append(out, text, 1);
    }
}

/* Text whose parent element is at `depth`. The work's own title is inside Work; its creator's and
 * publisher's names are titles too, inside Agent. */
static void take_text(const open_elements *open, int depth, const char *text,
                      td_svg_metadata *out) {
    bool in_work = is_named(open, depth - 1, "Work");
    if (in_work && is_named(open, depth, "title") && out->title.size == 0) {
        append_clean(&out->title, text);
    } else if (in_work && is_named(open, depth, "description") && out->description.size == 0) {
        append_clean(&out->description, text);
    } else if (is_named(open, depth, "title") && is_below(open, depth, "creator")) {
        if (out->creator.size > 0) {
            td_text_append(&out->creator, " ", 1);
        }
        append_clean(&out->creator, text);
    } else if (is_below(open, depth, "subject") &&
               (is_named(open, depth, "li") || is_named(open, depth, "subject"))) {
        size_t before = out->keywords.size;
        append_clean(&out->keywords, text);
        if (out->keywords.size > before) {
            td_text_append(&out->keywords, "\n", 1);
        }
    }
}

/* Returns what xmlTextReaderRead does: 1 for more, 0 at the end, -1 at a fault. */
static int take_node(xmlTextReaderPtr reader, open_elements *open, td_svg_metadata *out) {
    int type = xmlTextReaderNodeType(reader), depth = xmlTextReaderDepth(reader);
    if (type == XML_READER_TYPE_ELEMENT && depth < DEPTH_MAX) {
        const xmlChar *name = xmlTextReaderConstLocalName(reader);
        strncpy(open->names[depth], (const char *)name, NAME_MAX_BYTES - 1);
        open->names[depth][NAME_MAX_BYTES - 1] = '\0';
    } else if ((type == XML_READER_TYPE_TEXT || type == XML_READER_TYPE_CDATA) && depth > 0 &&
               depth <= DEPTH_MAX) {
        take_text(open, depth - 1, (const char *)xmlTextReaderConstValue(reader), out);
    } else if (type == XML_READER_TYPE_END_ELEMENT && is_named(open, depth, "metadata")) {
        return 0; /* what follows is the drawing, which may be megabytes */
    }
    return xmlTextReaderRead(reader);
}

static void ignore_fault(void *arg, const char *message, xmlParserSeverities severity,
                         xmlTextReaderLocatorPtr where) {
    (void)arg;
    (void)message;
    (void)severity;
    (void)where;
}

td_status td_svg_metadata_read(const char *path, td_svg_metadata *out) {
    out->title.size = out->description.size = out->keywords.size = out->creator.size = 0;
    out->common_title = out->common_description = out->common_keywords = false;
    xmlTextReaderPtr reader = xmlReaderForFile(path, NULL, XML_PARSE_NONET | XML_PARSE_COMPACT);
    if (reader == NULL) {
        return td_fail(TD_EIO, "%s cannot be opened", path);
    }
    xmlTextReaderSetErrorHandler(reader, ignore_fault, NULL);
    open_elements open = {0};
    int more = xmlTextReaderRead(reader);
    while (more == 1) {
        more = take_node(reader, &open, out);
    }
    int line = xmlTextReaderGetParserLineNumber(reader);
    xmlFreeTextReader(reader);
    TD_TRY(td_text_status(&out->title));
    TD_TRY(td_text_status(&out->description));
    TD_TRY(td_text_status(&out->keywords));
    TD_TRY(td_text_status(&out->creator));
    return more == 0 ? TD_OK : td_fail(TD_EINPUT, "%s line %d: not well-formed XML", path, line);
}

void td_svg_metadata_destroy(td_svg_metadata *metadata) {
    td_text_destroy(&metadata->title);
    td_text_destroy(&metadata->description);
    td_text_destroy(&metadata->keywords);
    td_text_destroy(&metadata->creator);
}

static size_t count_letters(const char *text) {
    size_t n = 0;
    for (; *text != '\0'; text++) {
        n += (unsigned char)*text >= 0x80 || isalpha((unsigned char)*text);
    }
    return n;
}

/* Whether the words of `part` stand in `whole`, whatever the case. */
static bool says(const td_text *whole, const char *part) {
    return whole->size > 0 && strcasestr(whole->data, part) != NULL;
}

/* Addresses, and the HASH(0x8863bcc) that a script of the collection left in many files. */
static bool is_artefact(const char *text) {
    return strchr(text, '@') != NULL || strstr(text, "://") != NULL ||
           strstr(text, "HASH(") != NULL || (text[0] == '0' && text[1] == 'x');
}

/* Titles and descriptions that name a tool, an address or nothing. */
static bool is_empty_text(const char *title) {
    static const char *const empty[] = {"untitled",
                                        "no title",
                                        "drawing",
                                        "unnamed",
                                        "clipart",
                                        "clip art",
                                        "new document",
                                        "layer",
                                        "svg",
                                        "default",
                                        "hash",
                                        "unknown",
                                        "open clip art library",
                                        "open clip art project",
                                        "public domain"};
    if (count_letters(title) < 2 || is_artefact(title)) {
        return true;
    }
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        size_t size = strlen(empty[i]);
        if (strncasecmp(title, empty[i], size) == 0 &&
            strspn(title + size, " 0123456789.") == strlen(title + size)) {
            return true;
        }
    }
    return false;
}

/* Keywords are mostly the contributor's subject, but also artefacts of the collection's own tools.
 */
static bool is_empty_keyword(const td_svg_metadata *metadata, const char *word) {
    static const char *const empty[] = {"hash",    "unsorted",      "clipart",           "clip art",
                                        "svg",     "public domain", "signs and symbols", "special",
                                        "inkscape"};
    if (count_letters(word) < 2 || is_artefact(word) || says(&metadata->creator, word)) {
        return true;
    }
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        if (strcasecmp(word, empty[i]) == 0) {
            return true;
        }
    }
    return false;
}

enum { KEYWORDS_MAX = 5, SENTENCE_BYTES_MAX = 160 };

static int append_keywords(const td_svg_metadata *metadata, td_text *out) {
    int n = 0;
    const char *at = metadata->keywords.size > 0 ? metadata->keywords.data : "";
    while (*at != '\0' && n < KEYWORDS_MAX) {
        size_t size = strcspn(at, "\n");
        char word[64] = "";
        if (size < sizeof word) {
            memcpy(word, at, size);
            if (!is_empty_keyword(metadata, word) && !says(out, word)) {
                td_text_puts(out, out->size > 0 ? ", " : "");
                td_text_puts(out, word);
                n++;
            }
        }
        at += size + (at[size] == '\n');
    }
    return n;
}

/* The description's first sentence, when it is one and adds something. */
static void append_description(const td_svg_metadata *metadata, td_text *out) {
    if (metadata->description.size == 0 || metadata->common_description ||
        is_empty_text(metadata->description.data)) {
        return;
    }
    const char *text = metadata->description.data;
    const char *stop = strstr(text, ". ");
    size_t size = stop == NULL ? metadata->description.size : (size_t)(stop - text);
    size -= size > 0 && text[size - 1] == '.';
    if (size < 4 || size > SENTENCE_BYTES_MAX) {
        return;
    }
    char sentence[SENTENCE_BYTES_MAX + 1];
    memcpy(sentence, text, size);
    sentence[size] = '\0';
    if (!says(out, sentence)) {
        td_text_puts(out, out->size > 0 ? ", " : "");
        td_text_puts(out, sentence);
    }
}

/* Whether some word of the creator's name begins with this one: file names end in cut-off names. */
static bool starts_creator(const td_text *creator, const char *word, size_t size) {
    const char *at = creator->size > 0 ? creator->data : "";
    while (*at != '\0') {
        at += strspn(at, " ");
        if (strncasecmp(at, word, size) == 0) {
            return true;
        }
        at += strcspn(at, " ");
    }
    return false;
}

/* The words of a file's name less its running number and its contributor's name. */
static void append_name(const td_svg_metadata *metadata, const char *name, td_text *out) {
    size_t before = out->size;
    for (int keep_all = 0; keep_all < 2 && out->size == before; keep_all++) {
        for (const char *at = name; *at != '\0';) {
            size_t size = strcspn(at, "_-. ");
            bool number = strspn(at, "0123456789") >= size;
            bool drop = size == 0 ||
                        (!keep_all && (number || starts_creator(&metadata->creator, at, size)));
            if (!drop) {
                td_text_puts(out, out->size > before ? " " : before > 0 ? ", " : "");
                td_text_append(out, at, size);
            }
            at += size + (at[size] != '\0');
        }
    }
}

td_caption_source td_svg_caption(const td_svg_metadata *metadata, const char *name, td_text *out) {
    td_caption_source source = TD_CAPTION_TITLE;
    out->size = 0;
    if (metadata->title.size > 0 && !metadata->common_title &&
        !is_empty_text(metadata->title.data)) {
        td_text_append(out, metadata->title.data, metadata->title.size);
        append_keywords(metadata, out);
    } else if (!metadata->common_keywords && append_keywords(metadata, out) > 0) {
        source = TD_CAPTION_KEYWORDS;
    } else {
        append_name(metadata, name, out);
        append_keywords(metadata, out);
        source = TD_CAPTION_NAME;
    }
    append_description(metadata, out);
    return source;
}
