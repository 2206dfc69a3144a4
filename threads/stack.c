/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/stack.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "threads/create.h"
#include "threads/lock.h"
#include "threads/procfs.h"
#include "threads/stack_module.h"

/* 64 pages of 4 KiB hold 64 frames of any code but such with large arrays in them; most stacks end
 * within the first few. */
enum { PAGE = 4096, PAGES = 64, FIRST_PAGES = 4, STACK_BYTES = PAGES * PAGE, RED_ZONE = 128 };
/* A thread that could run and stands in line for a CPU is given longer: it will come. */
static const int64_t deadline_ns = 200000000, line_deadline_ns = INT64_C(10000000000);

/* What is taken of a thread that stands still. */
typedef struct still {
    int pid, tid;
    td_stack_copy copy;
    int64_t stopped_ns;
    unsigned char data[STACK_BYTES];
} still;

struct td_stacks {
    int pid;
    const td_stack_module *module;
    void *process; /* of the module */
    still of;
};

/* Copies memory until the first page that is not there. The kernel copies whole entries of a list:
 * entries are cut at pages. */
static size_t copy_pages(int pid, uint64_t at, uint64_t end, unsigned char *to_data) {
    struct iovec to = {to_data, end - at}, from[PAGES + 1];
    int n = 0;
    for (uint64_t next; at < end; at = next) {
        next = (at / PAGE + 1) * PAGE;
        next = next < end ? next : end;
        from[n++] = (struct iovec){(void *)(uintptr_t)at, (size_t)(next - at)};
    }
    ssize_t got = process_vm_readv(pid, &to, 1, from, (unsigned long)n, 0);
    return got > 0 ? (size_t)got : 0;
}

/* From the red zone below the stack pointer to the end of the stack or of the room; only system
 * calls, as it runs in a signal handler too. */
static void copy_stack(still *s, uint64_t sp) {
    uint64_t base = (sp - RED_ZONE) & ~UINT64_C(15);
    uint64_t some = base / PAGE * PAGE + FIRST_PAGES * PAGE, end = base + STACK_BYTES;
    size_t got = copy_pages(s->pid, base, some, s->data);
    if (got == some - base) {
        got += copy_pages(s->pid, some, end, s->data + got);
    }
    s->copy.base = base;
    s->copy.bytes = got > 0 ? got : td_proc_memory_read(s->pid, base, s->data, STACK_BYTES);
}

static bool has_waited_long(const still *s, int64_t start) {
    int64_t waited = td_now_ns() - start;
    td_proc_stat stat;
    return waited > line_deadline_ns ||
           (waited > deadline_ns && td_proc_stat_read(s->pid, s->tid, &stat) && stat.state != 'R');
}

/* ---- threads of other processes ---- */

typedef struct trace {
    still *of;
    const char *failed; /* what could not be done; NULL: nothing */
    int error;          /* errno of it, or 0 */
} trace;

static void take_registers(still *s, const struct user_regs_struct *r) {
    const uint64_t in_order[TD_STACK_REGISTERS] = {r->rax, r->rdx, r->rcx, r->rbx, r->rsi, r->rdi,
                                                   r->rbp, r->rsp, r->r8,  r->r9,  r->r10, r->r11,
                                                   r->r12, r->r13, r->r14, r->r15, r->rip};
    memcpy(s->copy.registers, in_order, sizeof in_order);
    copy_stack(s, r->rsp);
}

/* Its stop, whatever it is for, within the deadline. False: none, and why is written. */
static bool await_stop(trace *t, int *status) {
    int64_t start = td_now_ns();
    const struct timespec nap = {.tv_nsec = 50000};
    for (int looks = 0;; looks++) {
        pid_t got = waitpid(t->of->tid, status, __WALL | WNOHANG);
        if (got == t->of->tid && WIFSTOPPED(*status)) {
            return true;
        }
        if (got != 0 && !(got < 0 && errno == EINTR)) {
            t->failed = "it ended";
            return false;
        }
        if (has_waited_long(t->of, start)) {
            t->failed = "it did not stop in time";
            return false;
        }
        if (looks < 100) {
            sched_yield();
        } else {
            nanosleep(&nap, NULL);
        }
    }
}

/* A thread of its own: when it ends, however it ends, the kernel detaches what it traced, even a
 * task that did not stop, which nothing else can let go. */
static void *trace_main(void *arg) {
    trace *t = arg;
    int tid = t->of->tid, status;
    int64_t start = td_now_ns();
    struct user_regs_struct registers;
    if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0) {
        t->error = errno;
        t->failed = t->error == ESRCH ? "it ended" : "it may not be traced";
        return NULL;
    }
    if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) != 0 || !await_stop(t, &status)) {
        t->failed = t->failed != NULL ? t->failed : "it ended";
        return NULL;
    }
    if (ptrace(PTRACE_GETREGS, tid, NULL, &registers) == 0) {
        take_registers(t->of, &registers);
    } else {
        t->error = errno;
        t->failed = "its registers cannot be read";
    }
    /* A signal that was just being delivered is passed on. */
    long signal = status >> 16 == 0 ? WSTOPSIG(status) : 0;
    ptrace(PTRACE_DETACH, tid, NULL, signal);
    t->of->stopped_ns = td_now_ns() - start;
    return NULL;
}

static td_status fail_to_read(const still *s, const char *what, int error) {
    td_proc_stat stat;
    char state[16] = "";
    if (td_proc_stat_read(s->pid, s->tid, &stat)) {
        snprintf(state, sizeof state, " (state %c)", stat.state);
    }
    return td_fail(TD_ESYS, "stack of thread %d: %s%s%s%s", s->tid, what, error != 0 ? ": " : "",
                   error != 0 ? strerror(error) : "", state);
}

static td_status read_other(still *s) {
    trace t = {.of = s};
    pthread_t tracer;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&tracer, NULL, trace_main, &t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        return td_fail(TD_ESYS, "create a tracer: %s", td_create_error(error));
    }
    pthread_join(tracer, NULL);
    return t.failed == NULL ? TD_OK : fail_to_read(s, t.failed, t.error);
}

/* ---- threads of this process ---- */

/* One request at a time. A handler that runs late finds it taken back or another's, and does
 * nothing: so it outlives every td_stacks. */
static struct {
    td_mutex turn;
    _Atomic uint32_t stage;
    _Atomic int answering; /* the thread in the handler; 0: none */
    int tid;               /* that is asked */
    still *of;             /* the reader's; valid while COPYING, which the reader waits for */
} own = {.turn = {.name = "own stacks"}};
enum { IDLE, WANTED, COPYING, DONE };

static void set_stage(uint32_t stage) {
    atomic_store_explicit(&own.stage, stage, memory_order_release);
    syscall(SYS_futex, &own.stage, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

static void copy_self(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    /* In the order of DWARF, as td_stack_copy has them. */
    static const int in_order[TD_STACK_REGISTERS] = {
        REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
        REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
    int kept_errno = errno, tid = (int)syscall(SYS_gettid);
    int64_t start = td_now_ns();
    uint32_t wanted = WANTED;
    atomic_store(&own.answering, tid);
    /* acquire: the request is read after this. The id is looked at again once it is ours alone. */
    if (atomic_load_explicit(&own.stage, memory_order_acquire) == WANTED && own.tid == tid &&
        atomic_compare_exchange_strong_explicit(&own.stage, &wanted, COPYING, memory_order_acquire,
                                                memory_order_relaxed)) {
        const ucontext_t *at = context;
        for (int i = 0; i < TD_STACK_REGISTERS; i++) {
            own.of->copy.registers[i] = (uint64_t)at->uc_mcontext.gregs[in_order[i]];
        }
        copy_stack(own.of, (uint64_t)at->uc_mcontext.gregs[REG_RSP]);
        own.of->stopped_ns = td_now_ns() - start;
        set_stage(DONE);
    }
    atomic_store(&own.answering, 0);
    errno = kept_errno;
}

int td_stack_signal(void) {
    return SIGRTMIN + 3;
}

/* Never taken back: a late signal would then end the process. The signal is blocked while a thread
 * answers: requests one after the other would else pile up handlers on its stack. */
static td_status install_handler(void) {
    struct sigaction now,
        ours = {.sa_sigaction = copy_self, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigaction(td_stack_signal(), NULL, &now);
    bool is_ours = now.sa_flags & SA_SIGINFO && now.sa_sigaction == copy_self;
    if (!is_ours && (now.sa_flags & SA_SIGINFO || now.sa_handler != SIG_DFL)) {
        return td_fail(TD_ESYS, "stacks of this process need signal %d, which is in use",
                       td_stack_signal());
    }
    return is_ours || sigaction(td_stack_signal(), &ours, NULL) == 0
               ? TD_OK
               : td_fail(TD_ESYS, "signal %d: %s", td_stack_signal(), strerror(errno));
}

/* Not counting that it still returns from its last answer. */
static bool blocks_signal(const still *s) {
    char text[4096];
    if (atomic_load(&own.answering) == s->tid) {
        return false;
    }
    const char *mask = td_proc_read(text, sizeof text, "/proc/self/task/%d/status", s->tid) > 0
                           ? strstr(text, "\nSigBlk:")
                           : NULL;
    return mask != NULL && strtoull(mask + 8, NULL, 16) >> (td_stack_signal() - 1) & 1;
}

/* Waits for DONE. At the deadline a request that nobody began is taken back; one that was begun is
 * a copy of memory, which ends. */
static bool await_copy(void) {
    int64_t start = td_now_ns();
    const struct timespec nap = {.tv_nsec = 10000000};
    uint32_t stage;
    while ((stage = atomic_load_explicit(&own.stage, memory_order_acquire)) != DONE) {
        uint32_t wanted = WANTED;
        bool late = has_waited_long(own.of, start) ||
                    (td_now_ns() - start > deadline_ns && blocks_signal(own.of));
        if (late && atomic_compare_exchange_strong(&own.stage, &wanted, IDLE)) {
            return false;
        }
        syscall(SYS_futex, &own.stage, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, stage, &nap, NULL, 0);
    }
    return true;
}

static td_status ask(const still *s) {
    if (syscall(SYS_tgkill, s->pid, s->tid, td_stack_signal()) != 0) {
        return fail_to_read(s, "it ended", errno);
    }
    if (await_copy()) {
        return TD_OK;
    }
    char what[64];
    snprintf(what, sizeof what, "it blocks signal %d", td_stack_signal());
    return fail_to_read(s, blocks_signal(s) ? what : "it did not answer in time", 0);
}

static td_status read_own(still *s) {
    td_mutex_lock(&own.turn);
    own.of = s;
    own.tid = s->tid;
    atomic_store_explicit(&own.stage, WANTED, memory_order_release);
    td_status status = ask(s);
    atomic_store_explicit(&own.stage, IDLE, memory_order_relaxed);
    td_mutex_unlock(&own.turn);
    return status;
}

/* ---- both ---- */

static td_status load_module(const td_stack_module **out) {
    void *handle = dlopen(TD_STACK_MODULE, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        return td_fail(TD_ESKIP,
                       "stacks need elfutils' libdw, which is not here or was not when "
                       "this was built: apt-get install libdw-dev, then make build (%s)",
                       dlerror());
    }
    const td_stack_module *module = dlsym(handle, "td_stack_module_table");
    if (module == NULL || module->version != TD_STACK_MODULE_VERSION) {
        return td_fail(TD_ESKIP, "%s is no module of this version; build it again",
                       TD_STACK_MODULE);
    }
    *out = module;
    return TD_OK;
}

td_status td_stacks_open(int pid, td_stacks **out) {
    const td_stack_module *module = NULL;
    TD_TRY(load_module(&module));
    if (pid == (int)getpid()) {
        TD_TRY(install_handler());
    }
    td_stacks *stacks = td_alloc_zero(sizeof *stacks + module->process_bytes);
    if (stacks == NULL) {
        return td_fail(TD_ENOMEM, "the stacks of a process");
    }
    stacks->pid = pid;
    stacks->module = module;
    stacks->process = stacks + 1;
    char why[128];
    if (module->open(stacks->process, pid, why, sizeof why) != 0) {
        td_stacks_close(stacks);
        return td_fail(TD_ESYS, "stacks of process %d: %s", pid, why);
    }
    *out = stacks;
    return TD_OK;
}

void td_stacks_close(td_stacks *stacks) {
    if (stacks != NULL) {
        stacks->module->close(stacks->process);
        td_free(stacks);
    }
}

td_status td_stacks_read(td_stacks *stacks, int tid, td_frame *frames, int most, int *count,
                         int64_t *stopped_ns) {
    still *s = &stacks->of;
    TD_ASSERT(most > 0);
    s->pid = stacks->pid;
    s->tid = tid;
    TD_TRY(stacks->pid == (int)getpid() ? read_own(s) : read_other(s));
    if (s->copy.bytes == 0) {
        return fail_to_read(s, "its memory may not be read", 0);
    }
    s->copy.pid = s->pid;
    s->copy.tid = tid;
    s->copy.data = s->data;
    *count = stacks->module->walk(stacks->process, &s->copy, frames, most);
    *stopped_ns = s->stopped_ns;
    return TD_OK;
}
