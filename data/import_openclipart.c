/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "data/import.h"
#include "data/svg_metadata.h"

#define PACKAGES_ROOT "/usr/share/openclipart"

/* One PNG. picture: the path below png/ of the file that holds it, which differs from name when
 * that is a link. Both without ".png". */
typedef struct clip {
    char *name, *picture;
    td_svg_metadata metadata;
    bool has_svg, bad_svg;
    int n_sharing; /* clips that show the same picture, this one included */
} clip;

typedef struct clips {
    const char *root; /* canonical */
    clip *items;
    size_t n, capacity;
} clips;

/* More names for one picture than this, or more pictures for one title, and the name says nothing
 * about the picture. Real copies stop at 6 in the packages; a placeholder there has 117. */
enum { SHARING_MAX = 8 };

static void clips_free(clips *all) {
    for (size_t i = 0; i < all->n; i++) {
        td_free(all->items[i].name);
        td_free(all->items[i].picture);
        td_svg_metadata_destroy(&all->items[i].metadata);
    }
    td_free(all->items);
}

static bool strip_png(char *path) {
    size_t size = strlen(path);
    if (size < 5 || strcmp(path + size - 4, ".png") != 0) {
        return false;
    }
    path[size - 4] = '\0';
    return true;
}

/* Where a link ends, as a path below png/; NULL when it leaves the directory or ends nowhere. */
static char *resolve(const clips *all, const char *path) {
    char *real = realpath(path, NULL);
    size_t size = strlen(all->root);
    char *below = NULL;
    if (real != NULL && strncmp(real, all->root, size) == 0 &&
        strncmp(real + size, "/png/", 5) == 0 && strip_png(real)) {
        below = td_strdup(real + size + 5);
    }
    free(real);
    return below;
}

static td_status add_clip(clips *all, const char *path, const char *name) {
    if (all->n == all->capacity) {
        size_t capacity = all->capacity == 0 ? 1024 : 2 * all->capacity;
        clip *items = td_realloc(all->items, capacity * sizeof *items);
        if (items == NULL) {
            return td_fail(TD_ENOMEM, "a list of %zu pictures", capacity);
        }
        all->items = items;
        all->capacity = capacity;
    }
    clip item = {.name = td_strdup(name), .picture = resolve(all, path)};
    if (item.name == NULL || !strip_png(item.name)) {
        td_free(item.name);
        td_free(item.picture);
        return td_fail(TD_ENOMEM, "the name %s", name);
    }
    all->items[all->n++] = item;
    return TD_OK;
}

enum { FOLDERS_DEPTH_MAX = 16 };

/* Lists the PNG files below png/`below`; directories that are links are not followed, so there are
 * no circles. */
static td_status list_folder(clips *all, const char *below, int depth) {
    td_text path = {0};
    td_text_printf(&path, "%s/png/%s", all->root, below);
    TD_TRY(td_text_status(&path));
    DIR *folder = opendir(path.data);
    td_status status = TD_OK;
    if (folder == NULL) {
        status = td_fail(TD_EIO, "%s: %s", path.data, strerror(errno));
    }
    size_t folder_size = path.size;
    for (struct dirent *entry; status == TD_OK && (entry = readdir(folder)) != NULL;) {
        struct stat facts;
        path.size = folder_size;
        td_text_printf(&path, "%s%s", *below == '\0' ? "" : "/", entry->d_name);
        status = td_text_status(&path);
        if (status != TD_OK || entry->d_name[0] == '.' || lstat(path.data, &facts) != 0) {
            continue;
        }
        const char *name = path.data + strlen(all->root) + 5;
        size_t size = strlen(entry->d_name);
        if (S_ISDIR(facts.st_mode) && depth < FOLDERS_DEPTH_MAX) {
            char *deeper = td_strdup(name);
            status =
                deeper == NULL ? td_fail(TD_ENOMEM, "a path") : list_folder(all, deeper, depth + 1);
            td_free(deeper);
        } else if (!S_ISDIR(facts.st_mode) && size > 4 &&
                   strcmp(entry->d_name + size - 4, ".png") == 0) {
            status = add_clip(all, path.data, name);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    td_text_destroy(&path);
    return status;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const clip *)a)->name, ((const clip *)b)->name);
}

static td_status read_metadata(clips *all) {
    td_text path = {0};
    for (size_t i = 0; i < all->n; i++) {
        clip *item = &all->items[i];
        path.size = 0;
        td_text_printf(&path, "%s/svg/%s.svg", all->root, item->name);
        td_status status = td_text_status(&path);
        item->has_svg = status == TD_OK && access(path.data, R_OK) == 0;
        if (item->has_svg) {
            status = td_svg_metadata_read(path.data, &item->metadata);
            item->bad_svg = status == TD_EINPUT;
        }
        if (status != TD_OK && status != TD_EINPUT) {
            td_text_destroy(&path);
            return status;
        }
    }
    td_text_destroy(&path);
    return TD_OK;
}

/* A text of a clip, whether it is common, and the clip: what is counted is pictures, not names. */
typedef struct use {
    const clip *owner;
    const td_text *text;
    bool *common;
} use;

static int compare_uses(const void *left, const void *right) {
    const use *a = left, *b = right;
    int order = strcmp(a->text->data, b->text->data);
    if (order != 0) {
        return order;
    }
    order = strcmp(a->owner->picture, b->owner->picture);
    return order != 0 ? order : strcmp(a->owner->name, b->owner->name);
}

/* Marks every text that stands for more than SHARING_MAX pictures. */
static void mark_common(use *uses, size_t n) {
    qsort(uses, n, sizeof *uses, compare_uses);
    for (size_t first = 0, end; first < n; first = end) {
        int pictures = 1;
        for (end = first + 1; end < n && strcmp(uses[end].text->data, uses[first].text->data) == 0;
             end++) {
            pictures += strcmp(uses[end].owner->picture, uses[end - 1].owner->picture) != 0;
        }
        for (size_t i = first; i < end; i++) {
            *uses[i].common = pictures > SHARING_MAX;
        }
    }
}

static use title_of(clip *item) {
    return (use){item, &item->metadata.title, &item->metadata.common_title};
}

static use description_of(clip *item) {
    return (use){item, &item->metadata.description, &item->metadata.common_description};
}

static use keywords_of(clip *item) {
    return (use){item, &item->metadata.keywords, &item->metadata.common_keywords};
}

static td_status find_common_texts(clips *all) {
    static use (*const parts[])(clip *) = {title_of, description_of, keywords_of};
    use *uses = td_alloc((all->n + 1) * sizeof *uses);
    if (uses == NULL) {
        return td_fail(TD_ENOMEM, "a list of %zu titles", all->n);
    }
    for (size_t part = 0; part < sizeof parts / sizeof parts[0]; part++) {
        size_t n = 0;
        for (size_t i = 0; i < all->n; i++) {
            use one = parts[part](&all->items[i]);
            if (one.text->size > 0 && all->items[i].picture != NULL) {
                uses[n++] = one;
            }
        }
        mark_common(uses, n);
    }
    td_free(uses);
    return TD_OK;
}

static int compare_pictures(const void *left, const void *right) {
    const clip *a = *(clip *const *)left, *b = *(clip *const *)right;
    return strcmp(a->picture, b->picture);
}

static td_status count_sharing(clips *all) {
    clip **order = td_alloc((all->n + 1) * sizeof *order);
    if (order == NULL) {
        return td_fail(TD_ENOMEM, "a list of %zu pictures", all->n);
    }
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++) {
        if (all->items[i].picture != NULL) {
            order[n++] = &all->items[i];
        }
    }
    qsort(order, n, sizeof(clip *), compare_pictures);
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && strcmp(order[first]->picture, order[end]->picture) == 0;
             end++) {
        }
        for (size_t i = first; i < end; i++) {
            order[i]->n_sharing = (int)(end - first);
        }
    }
    td_free(order);
    return TD_OK;
}

/* The top directory with spaces for underscores; "" for the one that says nothing. */
static void label_of(const char *name, char label[64]) {
    size_t size = strcspn(name, "/");
    label[0] = '\0';
    if (name[size] != '/' || size >= 64 || strncmp(name, "unsorted", size) == 0) {
        return;
    }
    for (size_t i = 0; i < size; i++) {
        label[i] = name[i];
        if (label[i] == '_') {
            label[i] = ' ';
        }
    }
    label[size] = '\0';
}

static td_status hand_on(const clips *all, const clip *item, td_import_fn *each, void *arg,
                         td_import_stats *stats) {
    const char *slash = strrchr(item->name, '/');
    char label[64], *bytes = NULL;
    td_text path = {0}, caption = {0}, key = {0};
    size_t size = 0;
    td_caption_source source =
        td_svg_caption(&item->metadata, slash == NULL ? item->name : slash + 1, &caption);
    label_of(item->name, label);
    td_text_printf(&key, "%s.png", item->picture);
    td_text_printf(&path, "%s/png/%s.png", all->root, item->picture);
    td_status status = caption.failed ? td_text_status(&caption) : td_text_status(&path);
    if (status == TD_OK && !key.failed && td_file_read(path.data, &bytes, &size) != TD_OK) {
        td_note(NULL, "%s; left out", td_error());
        stats->unreadable++;
    } else if (status == TD_OK) {
        stats->pairs++;
        stats->copies += item->n_sharing > 1 && strcmp(item->name, item->picture) != 0;
        stats->from_title += source == TD_CAPTION_TITLE;
        stats->from_keywords += source == TD_CAPTION_KEYWORDS;
        stats->from_name += source == TD_CAPTION_NAME;
        td_import_pair pair = {
            .bytes = bytes, .size = size, .caption = caption.data, .label = label, .key = key.data};
        status = each(arg, &pair);
    }
    td_free(bytes);
    td_text_destroy(&path);
    td_text_destroy(&caption);
    td_text_destroy(&key);
    return status;
}

static td_status hand_on_all(const clips *all, td_import_fn *each, void *arg,
                             td_import_stats *stats) {
    for (size_t i = 0; i < all->n; i++) {
        const clip *item = &all->items[i];
        stats->bad_svg += item->bad_svg;
        if (item->picture == NULL) {
            stats->unreadable++;
        } else if (!item->has_svg) {
            stats->no_svg++;
        } else if (item->n_sharing > SHARING_MAX) {
            stats->placeholders++;
        } else {
            TD_TRY(hand_on(all, item, each, arg, stats));
        }
    }
    return TD_OK;
}

td_status td_import_clipart(const char *root, td_import_fn *each, void *arg,
                            td_import_stats *stats) {
    *stats = (td_import_stats){0};
    char *canonical = realpath(root, NULL);
    if (canonical == NULL) {
        return td_fail(TD_EIO, "%s: %s", root, strerror(errno));
    }
    clips all = {.root = canonical};
    td_status status = list_folder(&all, "", 0);
    if (status == TD_OK && all.n == 0) {
        status = td_fail(TD_EINPUT, "%s/png holds no PNG file", root);
    }
    if (status == TD_OK) {
        qsort(all.items, all.n, sizeof *all.items, compare_names);
        status = read_metadata(&all);
    }
    if (status == TD_OK) {
        status = find_common_texts(&all);
    }
    if (status == TD_OK) {
        status = count_sharing(&all);
    }
    if (status == TD_OK) {
        status = hand_on_all(&all, each, arg, stats);
    }
    clips_free(&all);
    free(canonical);
    return status;
}

td_status td_import_openclipart(td_import_fn *each, void *arg, td_import_stats *stats) {
    if (access(PACKAGES_ROOT "/png", R_OK) != 0 || access(PACKAGES_ROOT "/svg", R_OK) != 0) {
        return td_fail(
            TD_EIO,
            "no pictures under %s: install the packages openclipart-png and openclipart-svg",
            PACKAGES_ROOT);
    }
    TD_TRY(td_import_clipart(PACKAGES_ROOT, each, arg, stats));
    td_note(NULL,
            "openclipart: %lld pairs (%lld show a picture that has another name too), captions "
            "from %lld titles, "
            "%lld keyword lists, %lld file names; %lld SVG files broken; left out: %lld names of "
            "placeholders, %lld "
            "without SVG, %lld unreadable",
            (long long)stats->pairs, (long long)stats->copies, (long long)stats->from_title,
            (long long)stats->from_keywords, (long long)stats->from_name, (long long)stats->bad_svg,
            (long long)stats->placeholders, (long long)stats->no_svg, (long long)stats->unreadable);
    return TD_OK;
}
