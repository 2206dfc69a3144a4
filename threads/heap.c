/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/heap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* the kernel knows it before the C library does */
#endif

/* A file without a name whose size nobody can change any more; -1 and errno on failure. */
static int make_file(size_t bytes) {
    int fd = memfd_create("tandem-heap", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -1;
    }
    if (ftruncate(fd, (off_t)bytes) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* Rounded up to whole huge pages; 0: too many. */
static size_t size_of(size_t bytes) {
    size_t size = (bytes + TD_HEAP_ALIGN - 1) / TD_HEAP_ALIGN * TD_HEAP_ALIGN;
    return size < bytes ? 0 : size;
}

td_status td_heap_file(size_t bytes, int *fd) {
    size_t size = size_of(bytes);
    *fd = size == 0 ? -1 : make_file(size);
    return *fd >= 0 ? TD_OK
                    : td_fail(TD_ENOMEM, "a heap of %zu bytes: %s", bytes,
                              strerror(size == 0 ? EOVERFLOW : errno));
}

td_status td_heap_map(int fd, size_t bytes, td_heap *out) {
    size_t size = size_of(bytes);
    if (size == 0) {
        return td_fail(TD_ENOMEM, "a heap of %zu bytes: %s", bytes, strerror(EOVERFLOW));
    }
    /* Address space first, with room to align it; then the heap in its place. */
    size_t span = size + TD_HEAP_ALIGN;
    unsigned char *base = MAP_FAILED;
    unsigned char *raw =
        mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw != MAP_FAILED) {
        size_t lead = (TD_HEAP_ALIGN - (uintptr_t)raw % TD_HEAP_ALIGN) % TD_HEAP_ALIGN;
        int flags =
            MAP_FIXED | MAP_NORESERVE | (fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);
        base = mmap(raw + lead, size, PROT_READ | PROT_WRITE, flags, fd, 0);
        int error = errno;
        if (base == MAP_FAILED) {
            munmap(raw, span);
        } else {
            if (lead > 0) {
                munmap(raw, lead);
            }
            if (lead < TD_HEAP_ALIGN) {
                munmap(raw + lead + size, TD_HEAP_ALIGN - lead);
            }
        }
        errno = error;
    }
    if (base == MAP_FAILED) {
        return td_fail(TD_ENOMEM, "map a heap of %zu bytes: %s", bytes, strerror(errno));
    }
    madvise(base, size, MADV_HUGEPAGE); /* advice: without it the heap is slower, not wrong */
    *out = (td_heap){base, size};
    return TD_OK;
}

void td_heap_touch_huge(void *base, size_t bytes) {
    uintptr_t first = ((uintptr_t)base + TD_HEAP_ALIGN - 1) / TD_HEAP_ALIGN * TD_HEAP_ALIGN;
    uintptr_t last = ((uintptr_t)base + bytes) / TD_HEAP_ALIGN * TD_HEAP_ALIGN;
    for (uintptr_t at = first; at < last; at += TD_HEAP_ALIGN) {
        *(unsigned char *)at = 0; /* a page to join the rest to, which says on which node */
    }
    if (first < last) {
        /* Refused for want of memory or by the kernel: slower, not wrong. */
        madvise((void *)first, last - first, MADV_COLLAPSE);
    }
}

td_status td_heap_create(size_t bytes, bool between_processes, td_heap *out) {
    int fd = -1;
    if (between_processes) {
        TD_TRY(td_heap_file(bytes, &fd));
    }
    td_status status = td_heap_map(fd, bytes, out);
    if (fd >= 0) {
        close(fd); /* the mapping keeps it */
    }
    return status;
}

void td_heap_destroy(td_heap *heap) {
    if (heap->base != NULL) {
        munmap(heap->base, heap->bytes);
    }
    *heap = (td_heap){0};
}
