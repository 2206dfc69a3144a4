/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BYTES = 4096 };

static void write_there(td_lab *lab, void *arg) {
    (void)lab;
    strcpy(arg, "from the child");
}

void td_concept_shared_mapping(td_lab *lab) {
    int fd = memfd_create("tandem-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    td_lab_must(lab, fd >= 0 && ftruncate(fd, BYTES) == 0, "a memfd");
    int sharing = lab->mutant ? MAP_PRIVATE : MAP_SHARED;
    char *here = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, sharing, fd, 0);
    char *there = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *own = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    td_lab_must(lab, here != MAP_FAILED && there != MAP_FAILED && own != MAP_FAILED, "memory");
    td_lab_wait(lab, td_lab_fork(lab, write_there, here));
    td_lab_wait(lab, td_lab_fork(lab, write_there, own));
    td_lab_check(lab, strcmp(here, "from the child") == 0,
                 "what a child wrote to a shared mapping reads \"%s\"", here);
    td_lab_check(lab, here != there && strcmp(there, here) == 0,
                 "and so at the other address of the same file");
    td_lab_check(lab, own[0] == '\0', "what it wrote to private memory reads \"%s\"", own);
    td_lab_must(lab, fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0, "seal");
    td_lab_check(lab, ftruncate(fd, 0) != 0 && errno == EPERM,
                 "sealed, it cannot be cut under those who map it");
}
