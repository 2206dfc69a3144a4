/* SPDX-License-Identifier: Apache-2.0
 * Image-caption pairs read where they lie: WebDataset tar files, and tables that name image files.
 *
 * A sample of a tar file is the members that follow each other under one name up to the first dot
 * of its last part: an image (.jpg, .jpeg, .png), and a caption (.txt, .caption, or "caption" or
 * "text" of .json); .cls is its label. Other members are passed over. A line of a .tsv file is PATH
 * <tab> CAPTION [<tab> LABEL], paths relative to the file.
 */
#ifndef TD_DATA_PAIR_TABLE_H
#define TD_DATA_PAIR_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "data/example.h"
#include "data/shards.h"

typedef struct td_pair_table td_pair_table;

/* By the ending of its name. */
bool td_pair_table_is(const char *path);

/* files, .tar or .tsv, all of one kind; the table keeps nothing of the list. What is no tar file or
 * no table is TD_EINPUT with file and byte or line; so is one without a sample. */
td_status td_pair_table_open(const td_file_list *files, td_pair_table **out);
void td_pair_table_close(td_pair_table *table);
int64_t td_pair_table_count(const td_pair_table *table);
/* Lines of .tsv files that are no pair: noted with their number when opened, and left out. */
int64_t td_pair_table_bad_lines(const td_pair_table *table);

/* What a sample says; texts are replaced, the image points into buffer. TD_EINPUT for what is wrong
 * with this sample alone (no image, no caption, no such file). Several threads may read at once. */
typedef struct td_pair_fields {
    td_text *caption, *label, *key;
    td_buffer *buffer;
    td_span image;
} td_pair_fields;
td_status td_pair_table_read(const td_pair_table *table, int64_t index, td_pair_fields *fields);

/* The key alone, which every sample has. */
td_status td_pair_table_key(const td_pair_table *table, int64_t index, td_text *out);

/* Appends "FILE: sample N at byte B" or "FILE line N". */
void td_pair_table_place(const td_pair_table *table, int64_t index, td_text *out);

#endif
