/* SPDX-License-Identifier: Apache-2.0 */
#include "folder_files.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int folder_files(const char *folder, bool remove) {
    DIR *dir = opendir(folder);
    int n = 0;
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            char path[512];
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            n++;
            if (remove) {
                unlink(path);
            }
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    if (remove) {
        rmdir(folder);
    }
    return n;
}
