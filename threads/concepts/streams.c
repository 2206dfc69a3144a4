/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"

/* A child sends chunks, the parent adds up every word of each: what the memory of one CPU holds
 * must come to the other, whatever the way. */
enum { CHUNK = 65536, WORDS = CHUNK / 8, CHUNKS = 128, SLOTS = 4, ROUNDS = 4 };

typedef struct dock {
    td_event sent, taken;
    td_wait_rule rule;
    td_lab *lab;
    int way, fd[2];
    pid_t child;
    _Alignas(128) uint64_t slots[SLOTS][WORDS];
} dock;

static uint64_t source[WORDS], sink[WORDS];

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
    return read_all(d->fd[0], sink, CHUNK) ? sink : NULL;
}

static void send_ring(dock *d, uint32_t number) {
    if (number > SLOTS) {
        td_event_wait(&d->taken, number - SLOTS, &d->rule, 0, NULL);
    }
    memcpy(d->slots[number % SLOTS], source, CHUNK);
    td_event_advance(&d->sent, &d->rule);
}

static const uint64_t *take_ring(dock *d, uint32_t number) {
    td_event_wait(&d->sent, number, &d->rule, 0, NULL);
    return d->slots[number % SLOTS];
}

/* The child's memory must stand still while it is read. */
static void send_copy(dock *d, uint32_t number) {
    td_event_advance(&d->sent, &d->rule);
    td_event_wait(&d->taken, number, &d->rule, 0, NULL);
}

static const uint64_t *take_copy(dock *d, uint32_t number) {
    td_event_wait(&d->sent, number, &d->rule, 0, NULL);
    struct iovec local = {sink, CHUNK}, remote = {source, CHUNK};
    return process_vm_readv(d->child, &local, 1, &remote, 1, 0) == CHUNK ? sink : NULL;
}

static const struct {
    const char *name, *number;
    void (*send)(dock *d, uint32_t number);
    const uint64_t *(*take)(dock *d, uint32_t number);
} ways[] = {{"a pipe", "pipe_gbps", send_file, take_file},
            {"a Unix socket", "unix_stream_gbps", send_file, take_file},
            {"a ring in shared memory", "ring_gbps", send_ring, take_ring},
            {"process_vm_readv", "process_vm_readv_gbps", send_copy, take_copy}};
enum { WAYS = sizeof ways / sizeof ways[0] };

static void send_chunks(td_lab *lab, void *arg) {
    dock *d = arg;
    td_lab_pin(lab, lab->cpu[1]);
    for (uint32_t number = 1; number <= CHUNKS; number++) {
        source[0] = lab->mutant && number == CHUNKS / 2 ? number - 1 : number;
        ways[d->way].send(d, number);
    }
}

/* Adds up all chunks. Returns GB/s. */
static double receive(td_lab *lab, dock *d, uint64_t *sum, int *in_order) {
    double begin = (double)td_now_ns();
    for (uint32_t number = 1; number <= CHUNKS; number++) {
        const uint64_t *chunk = ways[d->way].take(d, number);
        td_lab_must(lab, chunk != NULL, "receive a chunk");
        for (int i = 0; i < WORDS; i++) {
            *sum += chunk[i];
        }
        *in_order += chunk[0] == number;
        td_event_advance(&d->taken, &d->rule);
    }
    return (double)CHUNKS * CHUNK / ((double)td_now_ns() - begin);
}

static double play(td_lab *lab, dock *d, int way, uint64_t *sum, int *in_order) {
    d->sent = d->taken = (td_event){0};
    d->way = way;
    if (way < 2) {
        int made = way == 0 ? pipe(d->fd) : socketpair(AF_UNIX, SOCK_STREAM, 0, d->fd);
        td_lab_must(lab, made == 0, "a channel");
    }
    d->child = td_lab_fork(lab, send_chunks, d);
    double gbps = receive(lab, d, sum, in_order);
    td_lab_wait(lab, d->child);
    if (way < 2) {
        close(d->fd[0]);
        close(d->fd[1]);
    }
    return gbps;
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
    td_lab_pin(lab, lab->cpu[0]);
    for (int round = 0; round < ROUNDS; round++) {
        for (int way = 0; way < WAYS; way++) {
            double gbps = play(lab, d, way, &sum[way], &in_order[way]);
            best[way] = gbps > best[way] ? gbps : best[way];
        }
    }
    for (int way = 0; way < WAYS; way++) {
        td_lab_check(lab, sum[way] == expected && in_order[way] == ROUNDS * CHUNKS,
                     "%-24s %d of %d chunks came in order and add up: %.2f GB/s", ways[way].name,
                     in_order[way], ROUNDS * CHUNKS, best[way]);
        td_lab_number(lab, ways[way].number, best[way]);
        td_lab_sample(lab, CHUNK / best[way]);
    }
    td_lab_saw(lab,
               "the ring moves %.1f times what a pipe and %.1f times what a socket does; one "
               "copy %.1f times a pipe",
               best[2] / best[0], best[2] / best[1], best[3] / best[0]);
    td_lab_sampled(lab, "64 KiB, by way");
}
