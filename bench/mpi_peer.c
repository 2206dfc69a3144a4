/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/mpi_peer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

static const int64_t START_NS = INT64_C(30000000000), ANSWER_NS = INT64_C(60000000000);
static const int64_t END_NS = INT64_C(5000000000), LOOK_NS = 20000000;
enum { SETTINGS = 64 };

struct td_mpi_peer {
    td_mpi_link *link;
    int file, log; /* memfds: the link, and what the library writes to stderr */
    pid_t pid;     /* of its launcher; 0: it has ended */
    int ranks;
    uint32_t expected; /* of link->done */
    char version[TD_MPI_TEXT + SETTINGS];
};

td_mpi_operation td_mpi_operation_find(const char *name) {
#define TD_MPI_NAME_OF(name) #name,
    static const char *const names[] = {TD_MPI_OPERATION_MAP(TD_MPI_NAME_OF)};
#undef TD_MPI_NAME_OF
    int i = 0;
    while (i < TD_MPI_OPERATIONS && strcmp(names[i], name) != 0) {
        i++;
    }
    return (td_mpi_operation)i;
}

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

td_status td_mpi_peers(const char *directory, char (*names)[TD_MPI_NAME], int *count) {
    DIR *dir = opendir(directory);
    *count = 0;
    while (dir != NULL && *count < TD_MPI_PEERS) {
        char path[512];
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            break;
        }
        int length = snprintf(path, sizeof path, "%s/%s/launch", directory, entry->d_name);
        bool fits = length < (int)sizeof path && strlen(entry->d_name) < TD_MPI_NAME;
        if (entry->d_name[0] != '.' && fits && access(path, X_OK) == 0) {
            snprintf(names[(*count)++], TD_MPI_NAME, "%.19s", entry->d_name);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    qsort(names, (size_t)*count, sizeof *names, by_name);
    return *count > 0 ? TD_OK
                      : td_fail(TD_EUSAGE, "%s holds no MPI library; make peers puts them there",
                                directory);
}

/* In the child. It inherits the binding of this rank's thread, and must not. */
static void become(const td_mpi_peer *peer, const char *directory, const char *name,
                   const td_rank *rank, pid_t parent) {
    char launch[512], driver[512], file[64], pid[16], ranks[8];
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < rank->count * rank->workers; i++) {
        CPU_SET((size_t)rank->pu[i], &set);
    }
    sched_setaffinity(0, sizeof set, &set);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int nothing = open("/dev/null", O_RDWR);
    if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(nothing, 1) < 0 || dup2(peer->log, 2) < 0) {
        _exit(126);
    }
    snprintf(launch, sizeof launch, "%s/%s/launch", directory, name);
    snprintf(driver, sizeof driver, "%s/%s/driver", directory, name);
    snprintf(file, sizeof file, "/proc/%d/fd/%d", (int)parent, peer->file);
    snprintf(pid, sizeof pid, "%d", (int)parent);
    snprintf(ranks, sizeof ranks, "%d", rank->count);
    execl(launch, launch, ranks, rank->shares_cpus ? "0" : "1", driver, file, pid, (char *)NULL);
    _exit(127);
}

/* The last line that the library wrote. */
static void last_words(const td_mpi_peer *peer, char *text, size_t size) {
    ssize_t n = pread(peer->log, text, size - 1, 0);
    off_t end = lseek(peer->log, 0, SEEK_END);
    if (end > (off_t)size - 1) {
        n = pread(peer->log, text, size - 1, end - (off_t)size + 1);
    }
    text[n > 0 ? n : 0] = '\0';
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '-')) {
        text[--n] = '\0';
    }
    const char *line = strrchr(text, '\n');
    if (line != NULL) {
        memmove(text, line + 1, strlen(line));
    }
}

/* Until all ranks have carried out what they were told. */
static td_status await(td_mpi_peer *peer, int64_t limit_ns) {
    int64_t start = td_now_ns();
    char words[160];
    for (;;) {
        uint32_t done = atomic_load_explicit(&peer->link->done, memory_order_acquire);
        if (done == peer->expected) {
            return TD_OK;
        }
        int how;
        if (peer->pid == 0 || waitpid(peer->pid, &how, WNOHANG) == peer->pid) {
            peer->pid = 0;
            last_words(peer, words, sizeof words);
            return td_fail(TD_ESKIP, "it ended: %s (make peers-mpi builds its driver again)",
                           words);
        }
        if (td_now_ns() - start > limit_ns) {
            return td_fail(TD_ESKIP, "no answer within %.0f s", (double)limit_ns * 1e-9);
        }
        struct timespec look = {.tv_nsec = LOOK_NS};
        syscall(SYS_futex, &peer->link->done, FUTEX_WAIT, done, &look, NULL, 0);
    }
}

static td_status share_link(td_mpi_peer *peer, const td_rank *rank) {
    peer->file = memfd_create("tandem-mpi", MFD_CLOEXEC);
    peer->log = memfd_create("tandem-mpi-log", MFD_CLOEXEC);
    if (peer->file < 0 || peer->log < 0 || ftruncate(peer->file, sizeof *peer->link) != 0) {
        return td_fail(TD_ESYS, "shared memory for an MPI library: %s", strerror(errno));
    }
    void *base = mmap(NULL, sizeof *peer->link, PROT_READ | PROT_WRITE, MAP_SHARED, peer->file, 0);
    if (base == MAP_FAILED) {
        return td_fail(TD_ESYS, "map shared memory for an MPI library: %s", strerror(errno));
    }
    peer->link = base;
    peer->link->made_for = TD_MPI_MADE_FOR;
    peer->link->ranks = peer->ranks = rank->count;
    peer->link->shares_cpus = rank->shares_cpus;
    peer->link->ticks_per_ns = td_tsc_hz() * 1e-9;
    for (int i = 0; i < rank->count; i++) {
        peer->link->pu[i] = rank->pu[i * rank->workers];
    }
    return TD_OK;
}

td_status td_mpi_peer_start(const char *directory, const char *name, const td_rank *rank,
                            td_mpi_peer **out) {
    td_mpi_peer *peer = td_alloc_zero(sizeof *peer);
    if (peer == NULL) {
        return td_fail(TD_ENOMEM, "an MPI library");
    }
    peer->file = peer->log = -1;
    td_status status = share_link(peer, rank);
    pid_t parent = getpid();
    if (status == TD_OK && (peer->pid = fork()) == 0) {
        become(peer, directory, name, rank, parent);
    }
    if (status == TD_OK) {
        peer->expected = (uint32_t)peer->ranks;
        status = await(peer, START_NS);
    }
    if (status != TD_OK) {
        td_mpi_peer_end(peer);
        return status;
    }
    snprintf(peer->version, sizeof peer->version, "%.100s; %s", peer->link->version,
             rank->shares_cpus ? "yielding" : "bound");
    *out = peer;
    return TD_OK;
}

static void tell(td_mpi_peer *peer, const td_mpi_command *what) {
    peer->link->what = *what;
    peer->expected += (uint32_t)peer->ranks;
    atomic_fetch_add_explicit(&peer->link->command, 1, memory_order_release);
    syscall(SYS_futex, &peer->link->command, FUTEX_WAKE, TD_COLL_RANKS, NULL, NULL, 0);
}

/* Gives it time to end by itself, so that it leaves nothing behind. */
void td_mpi_peer_end(td_mpi_peer *peer) {
    if (peer == NULL) {
        return;
    }
    if (peer->link != NULL) {
        tell(peer, &(td_mpi_command){.end = true});
    }
    int how;
    int64_t start = td_now_ns();
    while (peer->pid > 0 && waitpid(peer->pid, &how, WNOHANG) == 0) {
        if (td_now_ns() - start > END_NS) {
            kill(-peer->pid, SIGKILL);
            waitpid(peer->pid, &how, 0);
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS / 20}, NULL);
    }
    if (peer->link != NULL) {
        munmap(peer->link, sizeof *peer->link);
    }
    if (peer->file >= 0) {
        close(peer->file);
    }
    if (peer->log >= 0) {
        close(peer->log);
    }
    td_free(peer);
}

const char *td_mpi_peer_version(const td_mpi_peer *peer) {
    return peer->version;
}

td_status td_mpi_peer_run(td_mpi_peer *peer, const td_mpi_command *what, double *ns) {
    tell(peer, what);
    TD_TRY(await(peer, ANSWER_NS));
    if (atomic_load_explicit(&peer->link->failed, memory_order_relaxed)) {
        return td_fail(TD_ECHECK, "%s", peer->link->text);
    }
    if (ns != NULL) {
        td_coll_round round = {.ranks = peer->ranks,
                               .mode = what->mode,
                               .calls = what->calls,
                               .ticks_per_ns = peer->link->ticks_per_ns};
        td_coll_round_times(&round, &peer->link->board, ns);
    }
    return TD_OK;
}
