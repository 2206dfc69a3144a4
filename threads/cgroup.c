/* SPDX-License-Identifier: Apache-2.0
 * The CPU limit of the control groups this process is in, version 1 and 2. Every ancestor counts: a
 * leaf without a limit inside a limited parent is still limited, and a container's limit usually
 * sits on a parent.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "threads/topology.h"

enum { PATH_BYTES = 4096, DIRECTORY_BYTES = 3 * PATH_BYTES };
static const double UNREADABLE = -1;

/* Where one hierarchy is mounted, and which of its directories the mount shows. */
typedef struct cgroup_mount {
    char point[PATH_BYTES], shown[PATH_BYTES];
} cgroup_mount;

/* Files below /proc and /sys report size 0, so they are read to their end. A missing file is *text
 * = NULL. */
static td_status read_small(const char *path, char **text) {
    *text = NULL;
    char *data;
    size_t size;
    FILE *file = fopen(path, "re");
    if (!file) {
        return errno == ENOENT ? TD_OK : td_fail(TD_EIO, "open %s: %s", path, strerror(errno));
    }
    fclose(file);
    TD_TRY(td_file_read(path, &data, &size));
    *text = data;
    return TD_OK;
}

static bool list_has(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

/* A line of mountinfo: id parent device root point options [tags] - type source super-options. */
static bool parse_mount(char *line, bool v2, cgroup_mount *out) {
    char *dash = strstr(line, " - ");
    if (!dash) {
        return false;
    }
    char type[32], super[512];
    if (sscanf(dash + 3, "%31s %*s %511s", type, super) != 2 ||
        strcmp(type, v2 ? "cgroup2" : "cgroup") != 0 || (!v2 && !list_has(super, "cpu"))) {
        return false;
    }
    return sscanf(line, "%*s %*s %*s %4095s %4095s", out->shown, out->point) == 2;
}

static bool find_mount(char *mountinfo, bool v2, cgroup_mount *out) {
    char *rest = mountinfo;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (parse_mount(line, v2, out)) {
            return true;
        }
    }
    return false;
}

/* The group of this process in one hierarchy, from lines "id:controllers:path"; version 2 is
 * "0::path". */
static bool find_group(char *cgroup, bool v2, char path[PATH_BYTES]) {
    char *rest = cgroup;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) {
            continue;
        }
        *group = '\0';
        controllers++;
        if (v2 ? *controllers == '\0' && strncmp(line, "0:", 2) == 0
               : list_has(controllers, "cpu")) {
            snprintf(path, PATH_BYTES, "%s", group + 1);
            return true;
        }
    }
    return false;
}

/* CPUs of one directory: 0 none, < 0 unreadable. */
static double quota_v2(const char *directory) {
    char path[DIRECTORY_BYTES + 32], *text;
    snprintf(path, sizeof(path), "%s/cpu.max", directory);
    if (read_small(path, &text) != TD_OK) {
        return UNREADABLE;
    }
    if (!text) {
        return 0;
    }
    double quota, period;
    double cpus = strncmp(text, "max", 3) == 0 ? 0 : UNREADABLE;
    if (sscanf(text, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0) {
        cpus = quota / period;
    }
    td_free(text);
    return cpus;
}

static double quota_v1(const char *directory) {
    char path[DIRECTORY_BYTES + 32], *quota_text = NULL, *period_text = NULL;
    snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", directory);
    td_status status = read_small(path, &quota_text);
    snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", directory);
    if (status == TD_OK) {
        status = read_small(path, &period_text);
    }
    double cpus = UNREADABLE, quota, period;
    if (status == TD_OK && !quota_text) {
        cpus = 0;
    } else if (status == TD_OK && sscanf(quota_text, "%lf", &quota) == 1) {
        if (quota < 0) {
            cpus = 0;
        } else if (period_text && sscanf(period_text, "%lf", &period) == 1 && period > 0) {
            cpus = quota / period;
        }
    }
    td_free(quota_text);
    td_free(period_text);
    return cpus;
}

/* The least limit from the process's group up to the mount point. */
static double walk(const char *root, const cgroup_mount *mount, const char *group, bool v2) {
    /* A mount may show a subtree only: its root is what the group's path starts with. When it is
     * not (a cgroup namespace, "/../.."), the mount point is all that can be seen. */
    size_t shown = strlen(mount->shown);
    const char *below = "";
    if (strcmp(mount->shown, "/") == 0) {
        below = strncmp(group, "/..", 3) == 0 ? "" : group;
    } else if (strncmp(group, mount->shown, shown) == 0 && (group[shown] == '/' || !group[shown])) {
        below = group + shown;
    }
    char directory[DIRECTORY_BYTES];
    size_t top = (size_t)snprintf(directory, sizeof(directory), "%s%s", root, mount->point);
    size_t end = top + (size_t)snprintf(directory + top, sizeof(directory) - top, "%s", below);
    while (end > top && directory[end - 1] == '/') {
        directory[--end] = '\0';
    }
    double least = 0;
    for (;;) {
        double cpus = v2 ? quota_v2(directory) : quota_v1(directory);
        if (cpus < 0) {
            return UNREADABLE;
        }
        if (cpus > 0 && (least == 0 || cpus < least)) {
            least = cpus;
        }
        if (end <= top) {
            return least;
        }
        while (end > top && directory[end - 1] != '/') {
            end--;
        }
        end -= end > top;
        directory[end] = '\0';
    }
}

static double quota_of(const char *root, const char *cgroup, const char *mountinfo, bool v2) {
    double result = 0;
    char *groups = td_strdup(cgroup), *mounts = td_strdup(mountinfo);
    char group[PATH_BYTES];
    static const cgroup_mount none;
    cgroup_mount mount = none;
    if (!groups || !mounts) {
        result = UNREADABLE;
    } else if (find_group(groups, v2, group) && find_mount(mounts, v2, &mount)) {
        result = walk(root, &mount, group, v2);
    }
    td_free(groups);
    td_free(mounts);
    return result;
}

double td_cgroup_quota(const char *root) {
    char path[PATH_BYTES], *cgroup = NULL, *mountinfo = NULL;
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    td_status status = read_small(path, &cgroup);
    snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
    if (status == TD_OK) {
        status = read_small(path, &mountinfo);
    }
    double result = status == TD_OK ? 0 : UNREADABLE;
    if (cgroup && mountinfo) {
        /* Both may be present: a hybrid system mounts version 2 without controllers beside
         * version 1. */
        double v1 = quota_of(root, cgroup, mountinfo, false);
        double v2 = quota_of(root, cgroup, mountinfo, true);
        if (v1 < 0 || v2 < 0) {
            result = UNREADABLE;
        } else {
            result = v1 == 0 || (v2 > 0 && v2 < v1) ? v2 : v1;
        }
    }
    td_free(cgroup);
    td_free(mountinfo);
    return result;
}
