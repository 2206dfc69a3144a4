/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

long td_proc_read(char *text, size_t bytes, const char *format, ...) {
    char path[128];
    va_list list;
    va_start(list, format);
    vsnprintf(path, sizeof path, format, list);
    va_end(list);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    size_t used = 0;
    ssize_t got;
    while (used + 1 < bytes && (got = read(fd, text + used, bytes - 1 - used)) > 0) {
        used += (size_t)got;
    }
    close(fd);
    text[used] = '\0';
    return (long)used;
}

int64_t td_proc_field(const char *text, const char *key) {
    size_t length = strlen(key);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) == 0 && line[length] == ':') {
            return strtoll(line + length + 1, NULL, 10);
        }
        if (*line == '\0') {
            break;
        }
    }
    return -1;
}

int64_t td_proc_number(const char *path, const char *key) {
    char text[8192];
    return td_proc_read(text, sizeof text, "%s", path) < 0 ? -1 : td_proc_field(text, key);
}

static int by_value(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

/* The entries of a directory whose names are numbers. */
static int numbers_in(const char *path, int *number, int most) {
    DIR *directory = opendir(path);
    int count = 0;
    if (directory == NULL) {
        return 0;
    }
    for (struct dirent *entry; count < most && (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') {
            number[count++] = (int)strtol(entry->d_name, NULL, 10);
        }
    }
    closedir(directory);
    qsort(number, (size_t)count, sizeof *number, by_value);
    return count;
}

int td_proc_tasks(int pid, int *tid, int most) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    return numbers_in(path, tid, most);
}

int td_proc_files(int pid, int *fd, int most) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    return numbers_in(path, fd, most);
}

int td_proc_pids(int *pid, int most) {
    return numbers_in("/proc", pid, most);
}

bool td_proc_stat_read(int pid, int tid, td_proc_stat *out) {
    char text[1024];
    if (td_proc_read(text, sizeof text, "/proc/%d/task/%d/stat", pid, tid) <= 0) {
        return false;
    }
    /* The name may hold blanks and parentheses: it ends at the last one. */
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (open == NULL || close == NULL) {
        return false;
    }
    *close = '\0';
    *out = (td_proc_stat){0};
    snprintf(out->comm, sizeof out->comm, "%.31s", open + 1);
    int64_t field[42] = {0};
    char *at = close + 1;
    while (*at == ' ') {
        at++;
    }
    out->state = *at++;
    for (int i = 4; i < 42; i++) { /* counted as proc(5) does */
        field[i] = strtoll(at, &at, 10);
    }
    out->ppid = (int)field[4];
    out->minflt = field[10];
    out->majflt = field[12];
    out->utime_ticks = field[14];
    out->stime_ticks = field[15];
    out->priority = (int)field[18];
    out->nice = (int)field[19];
    out->threads = (int)field[20];
    out->start_ticks = field[22];
    out->cpu = (int)field[39];
    out->policy = (int)field[41];
    return true;
}

td_proc_switches td_proc_switches_read(int pid, int tid) {
    char text[4096];
    if (td_proc_read(text, sizeof text, "/proc/%d/task/%d/status", pid, tid) < 0) {
        return (td_proc_switches){-1, -1};
    }
    return (td_proc_switches){td_proc_field(text, "voluntary_ctxt_switches"),
                              td_proc_field(text, "nonvoluntary_ctxt_switches")};
}

td_proc_call td_proc_call_read(int pid, int tid) {
    char text[256];
    return td_proc_read(text, sizeof text, "/proc/%d/task/%d/syscall", pid, tid) <= 0
               ? (td_proc_call){.number = -2}
               : td_proc_call_parse(text);
}

td_proc_call td_proc_call_parse(const char *line) {
    td_proc_call call = {.number = -1};
    char *end;
    long number = strtol(line, &end, 10);
    if (end == line) { /* "running" */
        return call;
    }
    uint64_t value[8];
    for (int i = 0; i < 8; i++) {
        char *at = end;
        value[i] = strtoull(at, &end, 16);
        if (end == at) { /* blocked outside a system call: a page fault */
            return call;
        }
    }
    call.number = number;
    memcpy(call.argument, value, sizeof call.argument);
    call.sp = value[6];
    call.pc = value[7];
    return call;
}

size_t td_proc_memory_read(int pid, uint64_t address, void *to, size_t bytes) {
    struct iovec local = {to, bytes}, remote = {(void *)(uintptr_t)address, bytes};
    ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    if (got < 0 && (errno == EPERM || errno == ENOSYS)) {
        char path[32];
        snprintf(path, sizeof path, "/proc/%d/mem", pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        got = fd < 0 ? -1 : pread(fd, to, bytes, (off_t)address);
        close(fd);
    }
    return got > 0 ? (size_t)got : 0;
}

bool td_proc_sched_read(int pid, int tid, td_proc_sched *out) {
    char text[128];
    *out = (td_proc_sched){0};
    return td_proc_read(text, sizeof text, "/proc/%d/task/%d/schedstat", pid, tid) > 0 &&
           sscanf(text, "%" SCNd64 " %" SCNd64 " %" SCNd64, &out->run_ns, &out->delay_ns,
                  &out->slices) == 3;
}

td_proc_ticks td_proc_ticks_read(void) {
    enum { KINDS = 8, STOLEN = 7 }; /* proc(5): user, nice, system, idle, iowait, irq, softirq */
    int64_t ticks[KINDS];
    td_proc_ticks out = {0};
    char text[256];
    if (td_proc_read(text, sizeof text, "/proc/stat") > 0 &&
        sscanf(text,
               "cpu %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64
               " %" SCNd64 " %" SCNd64,
               &ticks[0], &ticks[1], &ticks[2], &ticks[3], &ticks[4], &ticks[5], &ticks[6],
               &ticks[7]) == KINDS) {
        for (int i = 0; i < KINDS; i++) {
            out.total += ticks[i];
        }
        out.stolen = ticks[STOLEN];
    }
    return out;
}
