/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/wake_floor.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "threads/bind.h"
#include "threads/create.h"
#include "threads/wait.h"

enum { LOOKS = 20000 };

struct td_wake_floor {
    _Atomic uint32_t word; /* the futex: rounds asked for */
    _Atomic bool end;
    unsigned char apart[120];
    _Atomic uint32_t awake; /* rounds answered */
    _Atomic uint64_t tsc;   /* when it ran */
    int pu;
    pthread_t thread;
};

static void *sleeper_main(void *arg) {
    td_wake_floor *f = arg;
    td_bind_pu(f->pu);
    for (uint32_t round = 0; !atomic_load(&f->end); round++) {
        while (atomic_load(&f->word) == round) {
            syscall(SYS_futex, &f->word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, round, NULL, NULL, 0);
        }
        atomic_store(&f->tsc, td_tsc());
        atomic_store(&f->awake, round + 1);
    }
    return NULL;
}

td_status td_wake_floor_start(int pu, td_wake_floor **out) {
    td_wake_floor *f = td_alloc_zero(sizeof *f);
    if (f == NULL) {
        return td_fail(TD_ENOMEM, "a sleeper");
    }
    f->pu = pu;
    int error = pthread_create(&f->thread, NULL, sleeper_main, f);
    if (error != 0) {
        td_free(f);
        return td_fail(TD_ESYS, "create a sleeper: %s", td_create_error(error));
    }
    *out = f;
    return TD_OK;
}

static void wake(td_wake_floor *f) {
    atomic_fetch_add(&f->word, 1);
    syscall(SYS_futex, &f->word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

void td_wake_floor_end(td_wake_floor *floor) {
    if (floor != NULL) {
        atomic_store(&floor->end, true);
        wake(floor);
        pthread_join(floor->thread, NULL);
        td_free(floor);
    }
}

void td_wake_floor_sample(td_wake_floor *floor, double *call_ns, double *run_ns) {
    double ns = 1e9 / td_tsc_hz();
    uint64_t begin = td_tsc();
    wake(floor);
    uint64_t after = td_tsc();
    uint32_t round = atomic_load(&floor->word);
    for (int looks = 1, turns = 0; atomic_load(&floor->awake) != round; looks++) {
        if (looks % LOOKS == 0) {
            td_wait_turn(&turns); /* it may need this CPU */
        }
    }
    uint64_t ran = atomic_load(&floor->tsc);
    *call_ns = (double)(after - begin) * ns;
    *run_ns = ran > begin ? (double)(ran - begin) * ns : 0;
}
