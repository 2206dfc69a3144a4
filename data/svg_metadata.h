/* SPDX-License-Identifier: Apache-2.0
 * What an SVG file says about itself in RDF: title, description, keywords and creator.
 */
#ifndef TD_DATA_SVG_METADATA_H
#define TD_DATA_SVG_METADATA_H

#include <stdbool.h>

#include "base/status.h"
#include "base/text.h"

/* Cleaned: white space collapsed, underscores made spaces. keywords: one a line. common_*: set by
 * who compares files, when so many pictures share the text that it says nothing about this one. */
typedef struct td_svg_metadata {
    td_text title, description, keywords, creator;
    bool common_title, common_description, common_keywords;
} td_svg_metadata;

/* Entities are not expanded and nothing is fetched. A file that is not well-formed is TD_EINPUT;
 * what was read before the fault is kept. Replaces what out holds. */
td_status td_svg_metadata_read(const char *path, td_svg_metadata *out);
void td_svg_metadata_destroy(td_svg_metadata *metadata);

/* Joins the metadata of one picture into a caption, as td_import_openclipart describes; name is the
 * file's name without directory and extension. Returns which of the three the caption begins with.
 */
typedef enum td_caption_source {
    TD_CAPTION_TITLE,
    TD_CAPTION_KEYWORDS,
    TD_CAPTION_NAME,
} td_caption_source;

td_caption_source td_svg_caption(const td_svg_metadata *metadata, const char *name, td_text *out);

#endif
