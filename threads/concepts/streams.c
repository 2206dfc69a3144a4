/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"

/* A child sends chunks, the parent adds up every word of each: what the memory of one CPU holds
 * must come to the other, whatever the way. The clock starts when the first chunks have arrived:
 * until then the child starts up and both touch their memory, which for a fast way was half of the
 * time of 8 MiB. */
enum {
    CHUNK = 65536,
    WORDS = CHUNK / 8,
    SLOTS = 4,
    MANY_SLOTS = 32,
    UNTIMED = MANY_SLOTS, /* each slot has been touched when the clock starts */
    CHUNKS = UNTIMED + 1024,
    ROUNDS = 6,
    PAGE = 4096,
    BIG = 1048576,
    HUGE_PAGE = 2097152
};

typedef struct dock {
    td_event sent, taken;
    td_wait_rule rule;
    td_lab *lab;
    int way, fd[2];
    uint32_t n_slots;
    uint64_t *sink, (*given)[WORDS]; /* copied to, of the parent, and from, of the child */
    pid_t child;
    _Alignas(PAGE) uint64_t slots[MANY_SLOTS][WORDS];
} dock;

static _Alignas(PAGE) uint64_t source[WORDS], small_sink[WORDS], small_given[SLOTS][WORDS];
static uint64_t *huge_sink, (*huge_given)[WORDS];

static bool write_all(int fd, const void *from, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, (const char *)from + done, bytes - done);
        if (n <= 0 && errno != EINTR) {
            return false;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool read_all(int fd, void *to, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = read(fd, (char *)to + done, bytes - done);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void send_file(dock *d, uint32_t number) {
    (void)number;
    write_all(d->fd[1], source, CHUNK);
}

static const uint64_t *take_file(dock *d, uint32_t number) {
    (void)number;
    return read_all(d->fd[0], d->sink, CHUNK) ? d->sink : NULL;
}

static void send_ring(dock *d, uint32_t number) {
    if (number > d->n_slots) {
        td_event_wait(&d->taken, number - d->n_slots, &d->rule, 0, NULL);
    }
    memcpy(d->slots[number % d->n_slots], source, CHUNK);
    td_event_advance(&d->sent, &d->rule);
}

static const uint64_t *take_ring(dock *d, uint32_t number) {
    td_event_wait(&d->sent, number, &d->rule, 0, NULL);
    return d->slots[number % d->n_slots];
}

/* The child's memory must stand still until it has been read. */
static uint64_t *free_memory(dock *d, uint32_t number) {
    if (number > SLOTS) {
        td_event_wait(&d->taken, number - SLOTS, &d->rule, 0, NULL);
    }
    d->given[number % SLOTS][0] = source[0];
    return d->given[number % SLOTS];
}

static void send_pages(dock *d, uint32_t number) {
    struct iovec from = {free_memory(d, number), CHUNK};
    while (from.iov_len > 0) {
        ssize_t n = vmsplice(d->fd[1], &from, 1, 0);
        if (n <= 0 && errno != EINTR) {
            return;
        }
        from.iov_base = (char *)from.iov_base + (n > 0 ? n : 0);
        from.iov_len -= n > 0 ? (size_t)n : 0;
    }
}

static void send_copy(dock *d, uint32_t number) {
    free_memory(d, number);
    td_event_advance(&d->sent, &d->rule);
    if (number == CHUNKS) {
        td_event_wait(&d->taken, number, &d->rule, 0, NULL);
    }
}

static const uint64_t *take_copy(dock *d, uint32_t number) {
    td_event_wait(&d->sent, number, &d->rule, 0, NULL);
    struct iovec local = {d->sink, CHUNK}, remote = {d->given[number % SLOTS], CHUNK};
    return process_vm_readv(d->child, &local, 1, &remote, 1, 0) == CHUNK ? d->sink : NULL;
}

static bool make_pipe(dock *d) {
    return pipe(d->fd) == 0;
}

static bool make_big_pipe(dock *d) {
    return make_pipe(d) && fcntl(d->fd[1], F_SETPIPE_SZ, BIG) == BIG;
}

static bool make_pipe_for_pages(dock *d) {
    return make_big_pipe(d) && vmsplice(d->fd[1], NULL, 0, 0) == 0;
}

static bool make_sockets(dock *d) {
    return socketpair(AF_UNIX, SOCK_STREAM, 0, d->fd) == 0;
}

/* The kernel gives what it allows to. */
static bool make_big_sockets(dock *d) {
    int bytes = BIG;
    return make_sockets(d) &&
           setsockopt(d->fd[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0;
}

static bool make_ring(dock *d) {
    d->n_slots = SLOTS;
    return true;
}

/* What is written leaves a core's own cache before it is read: on a Zen 4, whose cores fetch from
 * the shared cache faster than from each other's, three to four times as fast. */
static bool make_big_ring(dock *d) {
    d->n_slots = MANY_SLOTS;
    return true;
}

static bool make_copy(dock *d) {
    (void)d;
    return true;
}

/* The kernel looks up each page of both sides, which takes longer than to copy 4 KiB. */
static bool make_huge_copy(dock *d) {
    d->sink = huge_sink;
    d->given = huge_given;
    return true;
}

/* Each as it is made, and with the most room that users get without asking for it. */
enum { PIPE, BIG_PIPE, PAGES, SOCKET, BIG_SOCKET, RING, BIG_RING, COPY, HUGE_COPY, WAYS };
static const struct {
    const char *name, *number;
    bool (*make)(dock *d);
    void (*send)(dock *d, uint32_t number);
    const uint64_t *(*take)(dock *d, uint32_t number);
} ways[WAYS] = {
    [PIPE] = {"a pipe", "pipe_gbps", make_pipe, send_file, take_file},
    [BIG_PIPE] = {"a pipe of 1 MiB", "big_pipe_gbps", make_big_pipe, send_file, take_file},
    [PAGES] = {"pages lent to that pipe", "vmsplice_gbps", make_pipe_for_pages, send_pages,
               take_file},
    [SOCKET] = {"a Unix socket", "unix_stream_gbps", make_sockets, send_file, take_file},
    [BIG_SOCKET] = {"a socket with more room", "big_unix_stream_gbps", make_big_sockets, send_file,
                    take_file},
    [RING] = {"a ring in shared memory", "ring_gbps", make_ring, send_ring, take_ring},
    [BIG_RING] = {"a ring of 2 MiB", "big_ring_gbps", make_big_ring, send_ring, take_ring},
    [COPY] = {"process_vm_readv", "process_vm_readv_gbps", make_copy, send_copy, take_copy},
    [HUGE_COPY] = {"... between huge pages", "huge_vm_readv_gbps", make_huge_copy, send_copy,
                   take_copy}};

static void send_chunks(td_lab *lab, void *arg) {
    dock *d = arg;
    td_lab_pin(lab, lab->cpu[1]);
    for (int slot = 0; slot < SLOTS; slot++) {
        memcpy(d->given[slot], source,
               CHUNK); /* here: memory from before the fork is in small pages */
    }
    for (uint32_t number = 1; number <= CHUNKS; number++) {
        source[0] = lab->mutant && number == CHUNKS / 2 ? number - 1 : number;
        ways[d->way].send(d, number);
    }
}

/* Adds up all chunks. Returns GB/s. */
static double receive(td_lab *lab, dock *d, uint64_t *sum, int *in_order) {
    double begin = 0;
    for (uint32_t number = 1; number <= CHUNKS; number++) {
        const uint64_t *chunk = ways[d->way].take(d, number);
        td_lab_must(lab, chunk != NULL, "receive a chunk");
        for (int i = 0; i < WORDS; i++) {
            *sum += chunk[i];
        }
        *in_order += chunk[0] == number;
        td_event_advance(&d->taken, &d->rule);
        begin = number == UNTIMED ? (double)td_now_ns() : begin;
    }
    return (double)(CHUNKS - UNTIMED) * CHUNK / ((double)td_now_ns() - begin);
}

/* 0: this way is not open here. */
static double play(td_lab *lab, dock *d, int way, uint64_t *sum, int *in_order) {
    d->sent = d->taken = (td_event){0};
    d->way = way;
    d->fd[0] = d->fd[1] = -1;
    d->sink = small_sink;
    d->given = small_given;
    double gbps = 0;
    if (ways[way].make(d)) {
        d->child = td_lab_fork(lab, send_chunks, d);
        gbps = receive(lab, d, sum, in_order);
        td_lab_wait(lab, d->child);
    } else {
        td_lab_must(lab, errno == ENOSYS || errno == EPERM, ways[way].name);
    }
    for (int end = 0; end < 2; end++) {
        if (d->fd[end] >= 0) {
            close(d->fd[end]);
        }
    }
    return gbps;
}

/* In small pages where huge ones are off. */
static void *untouched_huge_page(td_lab *lab) {
    char *memory =
        mmap(NULL, 2 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    td_lab_must(lab, memory != MAP_FAILED, "memory");
    memory += (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE;
    madvise(memory, HUGE_PAGE, MADV_HUGEPAGE);
    return memory;
}

void td_concept_streams(td_lab *lab) {
    dock *d = td_lab_shared(lab, sizeof *d);
    d->lab = lab;
    d->rule = td_wait_rule_make(false, true);
    double best[WAYS] = {0};
    uint64_t sum[WAYS] = {0}, expected = 0;
    int in_order[WAYS] = {0};
    for (uint64_t i = 1; i < WORDS; i++) {
        source[i] = i * i;
        expected += source[i];
    }
    expected = ROUNDS * (CHUNKS * expected + (uint64_t)CHUNKS * (CHUNKS + 1) / 2);
    huge_sink = untouched_huge_page(lab);
    huge_given = untouched_huge_page(lab);
    td_lab_pin(lab, lab->cpu[0]);
    for (int round = 0; round < ROUNDS; round++) {
        for (int way = 0; way < WAYS; way++) {
            double gbps = play(lab, d, way, &sum[way], &in_order[way]);
            best[way] = gbps > best[way] ? gbps : best[way];
        }
    }
    for (int way = 0; way < WAYS; way++) {
        if (best[way] == 0) {
            td_lab_saw(lab, "%-24s not allowed here", ways[way].name);
            continue;
        }
        td_lab_check(lab, sum[way] == expected && in_order[way] == ROUNDS * CHUNKS,
                     "%-24s %d of %d chunks came in order and add up: %.2f GB/s", ways[way].name,
                     in_order[way], ROUNDS * CHUNKS, best[way]);
        td_lab_number(lab, ways[way].number, best[way]);
        td_lab_sample(lab, CHUNK / best[way]);
    }
    double best_pipe = fmax(best[PIPE], best[BIG_PIPE]);
    double best_socket = fmax(best[SOCKET], best[BIG_SOCKET]);
    double best_ring = fmax(best[RING], best[BIG_RING]);
    double best_copy = fmax(best[COPY], best[HUGE_COPY]);
    if (best_pipe > 0 && best_socket > 0) {
        td_lab_saw(lab,
                   "the better ring moves %.1f times what the better pipe and %.1f times what the "
                   "better socket does; one copy %.1f times that pipe",
                   best_ring / best_pipe, best_ring / best_socket, best_copy / best_pipe);
    }
    td_lab_sampled(lab, "64 KiB, by way");
}
