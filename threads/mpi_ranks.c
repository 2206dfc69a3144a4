/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/mpi_ranks.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/layout.h"

/* Tags: one for each purpose, and one for each group, so that what is left of a group that failed
 * meets nobody. MPI promises tags up to 32,767. */
enum { TAG_EXCHANGE = 1, TAG_TELL, TAG_GROUP, TAG_GROUPS = 15000 };
enum { HOST_NAME = 64, BOOT_ID = 40 };
static const int64_t COME_NS = INT64_C(60000000000), LEAVE_NS = INT64_C(10000000000);

static struct {
    const td_mpi_module *module;
    int rank, ranks, groups;
    bool lost; /* messages were given up: MPI cannot be ended in order any more */
    char library[80];
    td_cpu_mask cpus;
    int hosts, host_of[TD_MAX_RANKS];
    char host_name[TD_MAX_RANKS][HOST_NAME]; /* of each rank */
} world;

/* What launchers set for each process they start, and the module for it. Open MPI 4 and 5; MPICH,
 * Intel MPI and MVAPICH (Hydra); srun with PMI-2 and with PMIx. */
static const struct {
    const char *rank, *ranks, *module;
} launchers[] = {
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "openmpi"},
    {"PMI_RANK", "PMI_SIZE", "mpich"},
    {"PMIX_RANK", "SLURM_NTASKS", "openmpi"},
};
enum { LAUNCHERS = sizeof launchers / sizeof launchers[0] };

static bool number_of(const char *name, int *out) {
    const char *text = getenv(name);
    char *end;
    errno = 0;
    long value = text == NULL ? -1 : strtol(text, &end, 10);
    if (text == NULL || end == text || *end != '\0' || errno != 0 || value < 0 || value > INT_MAX) {
        return false;
    }
    *out = (int)value;
    return true;
}

static int launcher(int *rank, int *ranks) {
    int i = 0;
    while (i < LAUNCHERS &&
           !(number_of(launchers[i].rank, rank) && number_of(launchers[i].ranks, ranks))) {
        i++;
    }
    return i;
}

bool td_mpi_launched(int *rank, int *ranks) {
    bool launched = launcher(rank, ranks) < LAUNCHERS;
    return launched && *ranks > 1;
}

bool td_mpi_is_follower(void) {
    int rank, ranks;
    return td_mpi_launched(&rank, &ranks) && rank > 0;
}

bool td_mpi_started(void) {
    return world.module != NULL;
}

int td_mpi_rank(void) {
    return world.rank;
}

int td_mpi_ranks(void) {
    return world.ranks;
}

td_status td_mpi_fits(int ranks) {
    if (!td_mpi_started() || ranks == 1 || ranks == world.ranks) {
        return TD_OK;
    }
    return td_fail(TD_EUSAGE,
                   "%d rank%s started, a layout p%dxT:mpi has %d; expected mpirun -n %d, or "
                   "p%dxT:mpi",
                   world.ranks, world.ranks == 1 ? " was" : "s were", ranks, ranks, ranks,
                   world.ranks);
}

const char *td_mpi_library(void) {
    return world.library;
}

const td_cpu_mask *td_mpi_cpus(void) {
    return &world.cpus;
}

const td_mpi_module *td_mpi_messages(void) {
    return world.module;
}

int td_mpi_tag(void) {
    return TAG_GROUP + world.groups % TAG_GROUPS;
}

int td_mpi_notice_tag(void) {
    return td_mpi_tag() + TAG_GROUPS;
}

int td_mpi_hosts(void) {
    return world.hosts;
}

int td_mpi_host_of(int rank) {
    return world.host_of[rank];
}

const int *td_mpi_host_map(void) {
    return world.host_of;
}

const char *td_mpi_host_name(int rank) {
    return world.host_name[rank];
}

void td_mpi_next_group(bool failed) {
    world.groups++;
    if (failed) {
        world.module->drop();
        world.lost = true;
    }
}

td_status td_mpi_failed(int error, const char *doing) {
    char text[256];
    world.module->explain(error, text, sizeof text);
    return td_fail(TD_EPEER, "%s: MPI says: %s", doing, text);
}

/* ---- starting ---- */

static bool is_file(const char *path) {
    return access(path, R_OK) == 0;
}

/* TANDEM_MPI, or beside the program, or a folder or two above it (test programs). */
static td_status find_module(const char *library, char path[PATH_MAX]) {
    const char *given = getenv("TANDEM_MPI");
    if (given != NULL) {
        snprintf(path, PATH_MAX, "%s", given);
        return is_file(path) ? TD_OK
                             : td_fail(TD_ESKIP, "TANDEM_MPI=%s: %s", given, strerror(errno));
    }
    char folder[PATH_MAX - 64];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    folder[length > 0 ? length : 0] = '\0';
    for (int up = 0; up < 3; up++) {
        char *slash = strrchr(folder, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        snprintf(path, PATH_MAX, "%s/tandem_mpi_%s.so", folder, library);
        if (is_file(path)) {
            return TD_OK;
        }
    }
    return td_fail(TD_ESKIP,
                   "ranks of kind mpi need the module tandem_mpi_%s.so beside the program, which a "
                   "build makes when that MPI is installed: apt-get install libopenmpi-dev or "
                   "libmpich-dev, then make build; for another MPI, make mpi MPICC=<its mpicc> and "
                   "TANDEM_MPI=<the module>",
                   library);
}

static td_status load(const char *library, const td_mpi_module **out) {
    char path[PATH_MAX];
    TD_TRY(find_module(library, path));
    /* Global: Open MPI's own plug-ins look for the symbols of its library. */
    void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (handle == NULL) {
        return td_fail(TD_ESKIP, "the MPI module cannot be loaded: %s", dlerror());
    }
    const td_mpi_module *module = dlsym(handle, "td_mpi_module_table");
    if (module == NULL || module->version != TD_MPI_MODULE_VERSION) {
        return td_fail(TD_ESKIP, "%s is no MPI module of this version; build it again", path);
    }
    *out = module;
    return TD_OK;
}

/* ---- few words between ranks ---- */

void td_mpi_nap(int64_t waited_ns) {
    if (waited_ns > 50000) {
        nanosleep(&(struct timespec){.tv_nsec = waited_ns < 2000000 ? 20000 : 500000}, NULL);
    }
}

/* Until list 0 is done. most_ns 0: for ever. */
static td_status finish_list(int64_t most_ns) {
    int64_t start_ns = td_now_ns();
    for (;;) {
        int done, error = world.module->test(0, &done);
        int64_t waited_ns = td_now_ns() - start_ns;
        if (error != 0) {
            return td_mpi_failed(error, "a message between ranks");
        }
        if (done) {
            return TD_OK;
        }
        if (most_ns > 0 && waited_ns > most_ns) {
            int late = world.module->late(0);
            td_mpi_next_group(true);
            return td_fail(TD_ETIMEDOUT, "rank %d does not answer within %.0f s", late,
                           (double)most_ns * 1e-9);
        }
        td_mpi_nap(waited_ns);
    }
}

static td_status exchange(const void *mine, void *all, size_t bytes, int64_t most_ns) {
    int error = 0;
    memcpy((unsigned char *)all + (size_t)world.rank * bytes, mine, bytes);
    for (int i = 1; i < world.ranks && error == 0; i++) {
        int to = (world.rank + i) % world.ranks,
            from = (world.rank + world.ranks - i) % world.ranks;
        error = world.module->receive(0, (unsigned char *)all + (size_t)from * bytes,
                                      (int64_t)bytes, from, TAG_EXCHANGE);
        error = error ? error : world.module->send(0, mine, (int64_t)bytes, to, TAG_EXCHANGE);
    }
    return error ? td_mpi_failed(error, "an exchange between ranks") : finish_list(most_ns);
}

td_status td_mpi_exchange(const void *mine, void *all, size_t bytes) {
    return exchange(mine, all, bytes, COME_NS);
}

td_status td_mpi_tell(const void *what, size_t bytes) {
    int error = 0;
    for (int to = 1; to < world.ranks && error == 0; to++) {
        error = world.module->send(0, what, (int64_t)bytes, to, TAG_TELL);
    }
    return error ? td_mpi_failed(error, "a word to the other ranks") : finish_list(COME_NS);
}

td_status td_mpi_hear(void *what, size_t bytes) {
    int error = world.module->receive(0, what, (int64_t)bytes, 0, TAG_TELL);
    return error ? td_mpi_failed(error, "a word from rank 0") : finish_list(0);
}

td_status td_mpi_agree(td_status mine) {
    typedef struct said {
        int status;
        char text[500];
    } said;
    said here = {.status = (int)mine}, all[TD_MAX_RANKS];
    snprintf(here.text, sizeof here.text, "%.499s", mine == TD_OK ? "" : td_error());
    TD_TRY(td_mpi_exchange(&here, all, sizeof here));
    for (int i = 0; i < world.ranks; i++) {
        if (all[i].status != TD_OK) {
            return td_fail((td_status)all[i].status, "%s", all[i].text);
        }
    }
    return TD_OK;
}

typedef struct whereabouts {
    char name[HOST_NAME], boot[BOOT_ID];
} whereabouts;

static td_status find_hosts(void) {
    whereabouts mine = {0}, all[TD_MAX_RANKS];
    gethostname(mine.name, sizeof mine.name - 1);
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file != NULL) { /* without it the name must do */
        size_t length = fread(mine.boot, 1, sizeof mine.boot - 1, file);
        mine.boot[length] = '\0';
        fclose(file);
    }
    TD_TRY(td_mpi_exchange(&mine, all, sizeof mine));
    for (int i = 0; i < world.ranks; i++) {
        int same = 0;
        while (same < i && memcmp(&all[same], &all[i], sizeof all[i]) != 0) {
            same++;
        }
        world.host_of[i] = same < i ? world.host_of[same] : world.hosts++;
        memcpy(world.host_name[i], all[i].name, sizeof all[i].name);
    }
    return TD_OK;
}

td_status td_mpi_start(void) {
    int rank, ranks, which = launcher(&rank, &ranks), error;
    if (td_mpi_started()) {
        return TD_OK;
    }
    if (which == LAUNCHERS) {
        return td_fail(TD_ESKIP, "ranks of kind mpi are started by mpirun or srun: mpirun -n P "
                                 "tandem ..., with a layout pPxT:mpi");
    }
    const td_mpi_module *module = NULL;
    TD_TRY(load(launchers[which].module, &module));
    td_bind_get(&world.cpus);
    if ((error = module->start(&rank, &ranks, world.library, sizeof world.library)) != 0) {
        return td_fail(TD_ESKIP, "MPI does not start: error %d", error);
    }
    if (ranks > TD_MAX_RANKS) {
        return td_fail(TD_EUSAGE, "%d ranks were started; at most %d", ranks, TD_MAX_RANKS);
    }
    td_cpu_mask everywhere;
    memset(&everywhere, 0xFF, sizeof everywhere);
    td_bind_set(&everywhere);
    world.rank = rank;
    world.ranks = ranks;
    world.module = module;
    return find_hosts();
}

int td_mpi_end(td_status status) {
    int code = td_exit_code(status);
    if (!td_mpi_started()) {
        return code;
    }
    /* A rank that stopped early leaves the others somewhere in the middle. What is refused is
     * refused by all ranks: they need not be ended, which may cost what rank 0 has just said. */
    bool orderly = !world.lost && (status == TD_OK || status == TD_ECHECK || status == TD_ESKIP ||
                                   status == TD_EUSAGE || status == TD_EINTERRUPTED);
    char here = 1, all[TD_MAX_RANKS];
    if (!orderly || exchange(&here, all, 1, LEAVE_NS) != TD_OK) {
        /* Rank 0 says what has happened, and ends us all; unless it is the one that is stuck. */
        nanosleep(&(struct timespec){.tv_sec = world.rank > 0 ? 2 : 0}, NULL);
        world.module->abandon(code);
    }
    world.module->finish();
    return code;
}
