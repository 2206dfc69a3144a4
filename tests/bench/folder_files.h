/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TD_TESTS_FOLDER_FILES_H
#define TD_TESTS_FOLDER_FILES_H

#include <stdbool.h>

/* How many files of any name a folder has; with remove, they and it are gone afterwards. */
int folder_files(const char *folder, bool remove);

#endif
