/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/stack_module.h"

#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>

/* How the caller's registers are found from a place in the code, where that is as simple as it
 * nearly always is: the frame's address (CFA) is a register and a constant, and what was saved lies
 * at constants from it. */
typedef enum rule_kind {
    UNKNOWN, /* not looked up yet */
    SIMPLE,
    LAST, /* there is no caller */
    OTHER /* libdw's business */
} rule_kind;
enum { RSP = 7, RETURN = 16, UNCHANGED = INT32_MAX };
typedef struct rule {
    rule_kind kind;
    int32_t cfa_register, cfa_offset;
    int32_t at[TD_STACK_REGISTERS]; /* from the CFA, or UNCHANGED */
} rule;

/* Frames that were named: threads stand in few places, and libdw finds a name by going through all
 * symbols. A return address names its call, an interrupted instruction itself. pc 0: none. */
enum { NAMED = 1024 };
typedef struct named_frame {
    bool exact;
    rule rule;
    td_frame frame;
} named_frame;

/* libstdc++'s, where there is one: names of C++ are left as they are without. */
typedef char *demangle_fn(const char *name, char *buffer, size_t *length, int *status);

typedef struct process {
    Dwfl *dwfl;
    void *libstdcxx; /* or NULL */
    demangle_fn *demangle;
    int pid;
    const td_stack_copy *copy; /* that is walked now */
    named_frame named[NAMED];
} process;

static bool read_word(const td_stack_copy *copy, uint64_t address, uint64_t *out) {
    bool there = address >= copy->base && copy->bytes >= sizeof *out &&
                 address - copy->base <= copy->bytes - sizeof *out;
    if (there) {
        memcpy(out, copy->data + (address - copy->base), sizeof *out);
    }
    return there;
}

/* From the copy; what it does not hold (a signal handler's other stack, a constant) is read from
 * the process as it is now. */
static bool read_memory(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *result, void *arg) {
    const process *p = arg;
    (void)dwfl;
    if (read_word(p->copy, address, result)) {
        return true;
    }
    struct iovec to = {result, sizeof *result};
    struct iovec from = {(void *)(uintptr_t)address, sizeof *result};
    return process_vm_readv(p->pid, &to, 1, &from, 1, 0) == (ssize_t)sizeof *result;
}

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread_arg) {
    const process *p = arg;
    (void)dwfl;
    if (*thread_arg != NULL) {
        return 0;
    }
    *thread_arg = arg;
    return p->copy->tid;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *arg, void **thread_arg) {
    const process *p = arg;
    (void)dwfl;
    *thread_arg = arg;
    return tid == p->copy->tid;
}

static bool set_registers(Dwfl_Thread *thread, void *arg) {
    const process *p = arg;
    Dwarf_Word registers[TD_STACK_REGISTERS];
    for (int i = 0; i < TD_STACK_REGISTERS; i++) {
        registers[i] = p->copy->registers[i];
    }
    return dwfl_thread_state_registers(thread, 0, TD_STACK_REGISTERS, registers);
}

static const Dwfl_Thread_Callbacks thread_callbacks = {.next_thread = next_thread,
                                                       .get_thread = get_thread,
                                                       .memory_read = read_memory,
                                                       .set_initial_registers = set_registers};
static const Dwfl_Callbacks callbacks = {.find_elf = dwfl_linux_proc_find_elf,
                                         .find_debuginfo = dwfl_standard_find_debuginfo};

static void find_demangler(process *p) {
    p->libstdcxx = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
    void *function = p->libstdcxx != NULL ? dlsym(p->libstdcxx, "__cxa_demangle") : NULL;
    memcpy(&p->demangle, &function, sizeof p->demangle);
}

static void close_process(void *arg) {
    process *p = arg;
    if (p->dwfl != NULL) {
        dwfl_end(p->dwfl);
    }
    if (p->libstdcxx != NULL) {
        dlclose(p->libstdcxx);
    }
}

static int open_process(void *arg, int pid, char *why, size_t why_bytes) {
    process *p = arg;
    p->pid = pid;
    find_demangler(p);
    p->dwfl = dwfl_begin(&callbacks);
    int error = p->dwfl == NULL ? -1 : dwfl_linux_proc_report(p->dwfl, pid);
    if (error == 0 && (dwfl_report_end(p->dwfl, NULL, NULL) != 0 ||
                       !dwfl_attach_state(p->dwfl, NULL, pid, &thread_callbacks, p))) {
        error = -1;
    }
    if (error != 0) {
        snprintf(why, why_bytes, "%s", error > 0 ? strerror(error) : dwfl_errmsg(-1));
        return -1;
    }
    return 0;
}

typedef struct walk {
    process *of;
    td_frame *frames;
    int most, count;
} walk;

/* Where the parameters begin: "JavaThread::run()" is worth its line without them. */
static size_t length_without_parameters(const char *name) {
    static const char *const parts[] = {"(anonymous namespace)", "operator()"};
    int inside = 0;
    for (size_t i = 0; name[i] != '\0'; i++) {
        for (int k = 0; k < 2; k++) {
            i += strncmp(name + i, parts[k], strlen(parts[k])) == 0 ? strlen(parts[k]) : 0;
        }
        inside += (name[i] == '<') - (name[i] == '>');
        if (name[i] == '\0' || (name[i] == '(' && inside == 0)) {
            return i;
        }
    }
    return strlen(name);
}

static void write_function(const process *p, const char *symbol, char *to, size_t bytes) {
    int status;
    bool mangled = p->demangle != NULL && strncmp(symbol, "_Z", 2) == 0;
    char *name = mangled ? p->demangle(symbol, NULL, NULL, &status) : NULL;
    if (name != NULL) {
        snprintf(to, bytes, "%.*s", (int)length_without_parameters(name), name);
        free(name);
    } else {
        snprintf(to, bytes, "%s", symbol);
    }
}

static void name_frame(const process *p, Dwfl_Module *module, Dwarf_Addr pc, Dwarf_Addr past,
                       td_frame *frame) {
    GElf_Off offset;
    GElf_Sym symbol;
    const char *function = dwfl_module_addrinfo(module, pc, &offset, &symbol, NULL, NULL, NULL);
    if (function != NULL) {
        write_function(p, function, frame->function, sizeof frame->function);
        frame->offset = offset + past;
    }
    Dwfl_Line *line = dwfl_module_getsrc(module, pc);
    int number = 0;
    const char *file = line ? dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL) : NULL;
    if (file != NULL) {
        snprintf(frame->place, sizeof frame->place, "%s:%d", file, number);
    } else {
        const char *name = dwfl_module_info(module, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        snprintf(frame->place, sizeof frame->place, "%s", name ? name : "");
    }
}

static named_frame *look_up(process *p, uint64_t pc, bool exact) {
    named_frame *named = &p->named[(pc >> 1) % NAMED];
    if (named->frame.pc != pc || named->exact != exact) {
        *named = (named_frame){.exact = exact, .frame.pc = pc};
        /* A return address may lie behind its call's function: look the call up. */
        Dwarf_Addr past = exact ? 0 : 1;
        Dwfl_Module *module = dwfl_addrmodule(p->dwfl, pc - past);
        if (module != NULL) {
            name_frame(p, module, pc - past, past, &named->frame);
        }
    }
    return named;
}

static bool is_simple_cfa(Dwarf_Frame *frame, rule *out) {
    Dwarf_Op *ops;
    size_t n;
    if (dwarf_frame_cfa(frame, &ops, &n) != 0 || n != 1) {
        return false;
    }
    bool indexed = ops->atom == DW_OP_bregx;
    bool direct = ops->atom >= DW_OP_breg0 && ops->atom < DW_OP_breg0 + RETURN;
    int64_t offset = (int64_t)(indexed ? ops->number2 : ops->number);
    out->cfa_register = indexed ? (int32_t)ops->number : ops->atom - DW_OP_breg0;
    out->cfa_offset = (int32_t)offset;
    return (indexed || direct) && out->cfa_register >= 0 && out->cfa_register < RETURN &&
           offset == out->cfa_offset;
}

/* Where the caller's value of one register is. */
static bool is_simple_register(Dwarf_Frame *frame, int number, rule *out) {
    Dwarf_Op room[3], *ops;
    size_t n;
    out->at[number] = UNCHANGED;
    if (dwarf_frame_register(frame, number, room, &ops, &n) != 0) {
        return false;
    }
    if (n == 0) { /* ops NULL: unchanged; else lost, which only the return address must not be */
        out->kind = number == RETURN && ops != NULL ? LAST : out->kind;
        return number != RETURN || ops != NULL;
    }
    if (number == RSP) { /* the CFA itself, as the ABI has it */
        return n == 2 && ops[0].atom == DW_OP_call_frame_cfa && ops[1].atom == DW_OP_stack_value;
    }
    int64_t offset = n == 2 ? (int64_t)ops[1].number : 0;
    out->at[number] = (int32_t)offset;
    return ops[0].atom == DW_OP_call_frame_cfa && n <= 2 &&
           (n == 1 || ops[1].atom == DW_OP_plus_uconst) && offset == out->at[number];
}

static rule read_rule(Dwarf_CFI *cfi, Dwarf_Addr pc) {
    rule out = {.kind = SIMPLE};
    Dwarf_Frame *frame = NULL;
    bool signals = false;
    if (cfi == NULL || dwarf_cfi_addrframe(cfi, pc, &frame) != 0) {
        return (rule){.kind = OTHER};
    }
    bool simple = dwarf_frame_info(frame, NULL, NULL, &signals) == RETURN && !signals &&
                  is_simple_cfa(frame, &out);
    for (int i = 0; i < TD_STACK_REGISTERS && simple; i++) {
        simple = is_simple_register(frame, i, &out);
    }
    free(frame);
    return simple ? out : (rule){.kind = OTHER};
}

static rule find_rule(process *p, Dwarf_Addr pc) {
    Dwarf_Addr bias = 0;
    Dwfl_Module *module = dwfl_addrmodule(p->dwfl, pc);
    if (module == NULL) {
        return (rule){.kind = OTHER};
    }
    Dwarf_CFI *cfi = dwfl_module_eh_cfi(module, &bias);
    rule out = read_rule(cfi, pc - bias);
    if (out.kind == OTHER) {
        cfi = dwfl_module_dwarf_cfi(module, &bias);
        out = read_rule(cfi, pc - bias);
    }
    return out;
}

/* libdw reads the rules of a place anew each time, which is most of the time that a walk takes: by
 * rules that are kept it is a tenth. Returns 0 where a place is not simple. */
static int walk_by_rules(process *p, const td_stack_copy *copy, td_frame *frames, int most) {
    uint64_t now[TD_STACK_REGISTERS], next[TD_STACK_REGISTERS];
    memcpy(now, copy->registers, sizeof now);
    for (int count = 0; count < most;) {
        bool exact = count == 0;
        named_frame *named = look_up(p, now[RETURN], exact);
        rule *r = &named->rule;
        frames[count++] = named->frame;
        if (r->kind == UNKNOWN) {
            *r = find_rule(p, now[RETURN] - (exact ? 0 : 1));
        }
        if (r->kind != SIMPLE) {
            return r->kind == LAST ? count : 0;
        }
        uint64_t cfa = now[r->cfa_register] + (uint64_t)(int64_t)r->cfa_offset;
        memcpy(next, now, sizeof next);
        for (int i = 0; i < TD_STACK_REGISTERS; i++) {
            if (r->at[i] != UNCHANGED &&
                !read_word(copy, cfa + (uint64_t)(int64_t)r->at[i], &next[i])) {
                return 0;
            }
        }
        next[RSP] = cfa;
        if (next[RETURN] == 0) {
            return count;
        }
        memcpy(now, next, sizeof now);
    }
    return most;
}

static int take_frame(Dwfl_Frame *state, void *arg) {
    walk *w = arg;
    Dwarf_Addr pc;
    bool exact;
    if (w->count == w->most || !dwfl_frame_pc(state, &pc, &exact)) {
        return DWARF_CB_ABORT;
    }
    w->frames[w->count++] = look_up(w->of, pc, exact)->frame;
    return DWARF_CB_OK;
}

/* The walk ends with an error where the unwind information does: what was found stands. */
static int walk_by_libdw(void *arg, const td_stack_copy *copy, td_frame *frames, int most) {
    process *p = arg;
    walk w = {.of = p, .frames = frames, .most = most};
    p->copy = copy;
    dwfl_getthread_frames(p->dwfl, copy->tid, take_frame, &w);
    p->copy = NULL;
    if (w.count == 0) {
        frames[w.count++] = (td_frame){.pc = copy->registers[TD_STACK_REGISTERS - 1]};
    }
    return w.count;
}

static int walk_copy(void *arg, const td_stack_copy *copy, td_frame *frames, int most) {
    int count = walk_by_rules(arg, copy, frames, most);
    return count > 0 ? count : walk_by_libdw(arg, copy, frames, most);
}

const td_stack_module td_stack_module_table = {.version = TD_STACK_MODULE_VERSION,
                                               .process_bytes = sizeof(process),
                                               .open = open_process,
                                               .close = close_process,
                                               .walk = walk_copy,
                                               .walk_by_libdw = walk_by_libdw};
