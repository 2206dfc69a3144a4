/* SPDX-License-Identifier: Apache-2.0
 * Pairs from outside, one at a time: Debian's openclipart packages and tables of the user's own
 * files. Image bytes are handed on as they are; whether they decode is the receiver's to find out.
 */
#ifndef TD_DATA_IMPORT_H
#define TD_DATA_IMPORT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Everything is borrowed until the call returns. label may be "". key names the picture: where one
 * picture stands under several names, all of them have its key, so that a split by key never puts
 * a copy of a training picture among the held-out ones. */
typedef struct td_import_pair {
    const void *bytes;
    size_t size;
    const char *caption, *label, *key;
} td_import_pair;

/* A status other than TD_OK ends the import with it. */
typedef td_status td_import_fn(void *arg, const td_import_pair *pair);

/* pairs: handed on, of which `copies` show a picture that another name shows too. from_*: where
 * the caption begins. The rest was left out, by reason: no SVG of that name, an SVG that is not
 * well-formed XML as far as its metadata (the pair then takes its caption from the file name), one
 * picture for too many different names, a file that cannot be read, a line of a table that is not
 * a pair. */
typedef struct td_import_stats {
    int64_t pairs, copies;
    int64_t from_title, from_keywords, from_name;
    int64_t no_svg, bad_svg, placeholders, unreadable, bad_lines;
} td_import_stats;

/* Debian's openclipart-png and openclipart-svg, in the order of their paths; TD_EIO names the
 * packages when they are not installed. The caption is the SVG's title, else its keywords, else the
 * words of the file's name, with keywords and the first sentence of the description added when they
 * say more. Texts that more than 8 pictures share name a collection: such a title or description is
 * dropped, and such keywords stand behind the file's name.
 * The label is the top category, "" for unsorted; the key is the path below png/. Says what was
 * left out in one note. */
td_status td_import_openclipart(td_import_fn *each, void *arg, td_import_stats *stats);

/* The same for a directory with png/ and svg/ in it. */
td_status td_import_clipart(const char *root, td_import_fn *each, void *arg,
                            td_import_stats *stats);

/* The pairs of .tsv or .tar files (data/pair_table.h). Lines that are no pair, and samples that
 * cannot be read, are noted and counted. */
td_status td_import_table(const char *path, td_import_fn *each, void *arg, td_import_stats *stats);

#endif
