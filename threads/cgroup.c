/* SPDX-License-Identifier: Apache-2.0
 * The CPU limits of the control groups this process is in, version 1 and 2: time (quota) and CPUs
 * (cpuset). Every ancestor counts: a leaf without a limit inside a limited parent is still limited,
 * and a container's limit usually sits on a parent.
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

/* One hierarchy: the unified one of version 2, or the one of a controller of version 1. */
typedef struct hierarchy {
    bool v2;
    const char *controller;
} hierarchy;

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
static bool parse_mount(char *line, hierarchy h, cgroup_mount *out) {
    char *dash = strstr(line, " - ");
    if (!dash) {
        return false;
    }
    char type[32], super[512];
    if (sscanf(dash + 3, "%31s %*s %511s", type, super) != 2 ||
        strcmp(type, h.v2 ? "cgroup2" : "cgroup") != 0 ||
        (!h.v2 && !list_has(super, h.controller))) {
        return false;
    }
    return sscanf(line, "%*s %*s %*s %4095s %4095s", out->shown, out->point) == 2;
}

static bool find_mount(char *mountinfo, hierarchy h, cgroup_mount *out) {
    char *rest = mountinfo;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (parse_mount(line, h, out)) {
            return true;
        }
    }
    return false;
}

/* The group of this process in one hierarchy, from lines "id:controllers:path"; version 2 is
 * "0::path". */
static bool find_group(char *cgroup, hierarchy h, char path[PATH_BYTES]) {
    char *rest = cgroup;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) {
            continue;
        }
        *group = '\0';
        controllers++;
        if (h.v2 ? *controllers == '\0' && strncmp(line, "0:", 2) == 0
                 : list_has(controllers, h.controller)) {
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

/* What is gathered on the way up; found: some directory limits. */
typedef struct limits {
    double quota;
    td_cpu_mask cpus;
    bool found;
} limits;

/* Takes the limits of one directory into account; false when they cannot be read. */
typedef bool visit_fn(const char *directory, bool v2, limits *found);

static bool visit_quota(const char *directory, bool v2, limits *found) {
    double cpus = v2 ? quota_v2(directory) : quota_v1(directory);
    if (cpus > 0 && (found->quota == 0 || cpus < found->quota)) {
        found->quota = cpus;
    }
    return cpus >= 0;
}

/* The effective set, where the kernel shows one; an empty or missing file inherits. */
static bool visit_cpus(const char *directory, bool v2, limits *found) {
    static const char *const names[2][2] = {{"cpuset.effective_cpus", "cpuset.cpus"},
                                            {"cpuset.cpus.effective", "cpuset.cpus"}};
    for (int i = 0; i < 2; i++) {
        char path[DIRECTORY_BYTES + 32], *text;
        snprintf(path, sizeof(path), "%s/%s", directory, names[v2][i]);
        if (read_small(path, &text) != TD_OK) {
            return false;
        }
        if (!text) {
            continue;
        }
        td_cpu_mask here;
        td_status status = td_cpu_mask_parse(text, &here);
        td_free(text);
        if (status != TD_OK) {
            return false;
        }
        if (!td_cpu_mask_empty(&here)) {
            if (found->found) {
                td_cpu_mask_intersect(&found->cpus, &here);
            } else {
                found->cpus = here;
            }
            found->found = true;
            return true;
        }
    }
    return true;
}

/* From the process's group up to the mount point. */
static bool walk(const char *root, const cgroup_mount *mount, const char *group, bool v2,
                 visit_fn *visit, limits *found) {
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
    for (;;) {
        if (!visit(directory, v2, found)) {
            return false;
        }
        if (end <= top) {
            return true;
        }
        while (end > top && directory[end - 1] != '/') {
            end--;
        }
        end -= end > top;
        directory[end] = '\0';
    }
}

/* False when something cannot be read; a hierarchy that is not there limits nothing. */
static bool gather_one(const char *root, const char *cgroup, const char *mountinfo, hierarchy h,
                       visit_fn *visit, limits *found) {
    bool good = false;
    char *groups = td_strdup(cgroup), *mounts = td_strdup(mountinfo);
    char group[PATH_BYTES];
    static const cgroup_mount none;
    cgroup_mount mount = none;
    if (groups && mounts) {
        good = !find_group(groups, h, group) || !find_mount(mounts, h, &mount) ||
               walk(root, &mount, group, h.v2, visit, found);
    }
    td_free(groups);
    td_free(mounts);
    return good;
}

/* Both versions may be present: a hybrid system mounts version 2 without controllers beside
 * version 1. */
static bool gather(const char *root, const char *controller, visit_fn *visit, limits *found) {
    char path[PATH_BYTES], *cgroup = NULL, *mountinfo = NULL;
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    bool good = read_small(path, &cgroup) == TD_OK;
    snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
    good = good && read_small(path, &mountinfo) == TD_OK;
    for (int v2 = 0; v2 < 2 && good && cgroup && mountinfo; v2++) {
        hierarchy h = {.v2 = v2, .controller = controller};
        good = gather_one(root, cgroup, mountinfo, h, visit, found);
    }
    td_free(cgroup);
    td_free(mountinfo);
    return good;
}

double td_cgroup_quota(const char *root) {
    limits found = {0};
    return gather(root, "cpu", visit_quota, &found) ? found.quota : UNREADABLE;
}

td_status td_cgroup_cpus(const char *root, td_cpu_mask *out) {
    limits found = {0};
    if (!gather(root, "cpuset", visit_cpus, &found)) {
        return td_fail(TD_EIO, "the cpuset of a control group below \"%s/\" cannot be read", root);
    }
    if (!found.found) {
        return td_fail(TD_ESKIP, "no cpuset limits this process");
    }
    *out = found.cpus;
    return TD_OK;
}
