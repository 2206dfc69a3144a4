/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/fingerprint.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "base/text.h"
#include "bench/build_info.h"
#include "kernels/kernel.h"
#include "threads/mpi_ranks.h"
#include "threads/procfs.h"
#include "threads/wait.h"

const char *td_fingerprint_commit(void) {
    const char *given = getenv("TANDEM_COMMIT");
    return given && given[0] ? given : TD_BUILD_COMMIT;
}

/* The first line of a file, without what follows it; false when there is none. */
static bool first_line(const char *path, char *out, size_t size) {
    FILE *file = fopen(path, "re");
    bool good = file && fgets(out, (int)size, file);
    if (file) {
        fclose(file);
    }
    if (good) {
        out[strcspn(out, "\n")] = '\0';
    }
    return good;
}

static void put_line(json_t *object, const char *name, const char *path) {
    char text[1024];
    if (first_line(path, text, sizeof text)) {
        json_object_set_new(object, name, json_string(text));
    }
}

/* The value of "key<spaces>: value" in a file such as /proc/cpuinfo. */
static bool keyed_line(const char *path, const char *key, char *out, size_t size) {
    char line[1024];
    FILE *file = fopen(path, "re");
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (colon && strncmp(line, key, strlen(key)) == 0) {
            colon += 1 + strspn(colon + 1, " \t");
            colon[strcspn(colon, "\n")] = '\0';
            snprintf(out, size, "%s", colon);
            found = true;
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

static json_t *cpu_json(void) {
    td_cpu_info cpu;
    td_cpu_info_read(&cpu);
    json_t *out = json_pack("{s:s, s:s, s:i, s:i, s:i, s:s}", "vendor", cpu.vendor, "brand",
                            cpu.brand, "family", cpu.family, "model", cpu.model, "stepping",
                            cpu.stepping, "features", cpu.features);
    char text[256];
    if (out && keyed_line("/proc/cpuinfo", "microcode", text, sizeof text)) {
        json_object_set_new(out, "microcode", json_string(text));
    }
    return out;
}

static json_t *topology_json(const td_topology_info *info) {
    json_t *caches = json_array();
    for (int i = 0; i < info->n_caches; i++) {
        const td_cache_info *c = &info->caches[i];
        json_array_append_new(caches, json_pack("{s:i, s:b, s:I, s:I, s:i, s:b}", "level", c->level,
                                                "instruction", c->instruction, "bytes",
                                                (json_int_t)c->bytes, "relied_on_bytes",
                                                (json_int_t)c->clamped_bytes, "count", c->count,
                                                "plausible", c->plausible));
    }
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:f, s:i, s:o}", "packages", info->packages,
                     "numa_nodes", info->numa_nodes, "cores", info->cores, "pus", info->pus,
                     "pus_online", info->pus_online, "quota_cpus", info->quota_cpus,
                     "effective_cpus", info->effective_cpus, "caches", caches);
}

/* The machine as nested boxes, {"label", "inside"}, down to {"core", "pus"}: what a report draws
 * layouts on. */
enum { MOST_NESTED = 64 };

typedef struct nest {
    json_t *open[MOST_NESTED];
    int depth;
} nest;

static void enter_box(void *arg, const char *label) {
    nest *n = arg;
    json_t *box = json_pack("{s:s, s:[]}", "label", label, "inside");
    if (n->depth > 0) {
        json_array_append(json_object_get(n->open[n->depth - 1], "inside"), box);
    }
    TD_ASSERT(n->depth < MOST_NESTED);
    n->open[n->depth++] = box;
}

static void add_core(void *arg, int number, const int *pu, int n_pus) {
    nest *n = arg;
    json_t *pus = json_array();
    for (int i = 0; i < n_pus; i++) {
        json_array_append_new(pus, json_integer(pu[i]));
    }
    json_array_append_new(json_object_get(n->open[n->depth - 1], "inside"),
                          json_pack("{s:i, s:o}", "core", number, "pus", pus));
}

static void leave_box(void *arg) {
    nest *n = arg;
    if (n->depth > 1) { /* the outermost is the result */
        json_decref(n->open[n->depth - 1]);
    }
    n->depth--;
}

static json_t *tree_json(const td_topology *topology) {
    static const td_topology_visitor visitor = {enter_box, add_core, leave_box};
    nest n = {0};
    td_topology_walk(topology, &visitor, &n);
    return n.open[0];
}

static json_t *memory_json(const td_topology_info *info) {
    json_t *out = json_pack("{s:I}", "bytes", (json_int_t)info->memory_bytes);
    char text[64];
    if (out && keyed_line("/proc/meminfo", "MemAvailable", text, sizeof text)) {
        json_object_set_new(out, "available", json_string(text));
    }
    put_line(out, "thp", "/sys/kernel/mm/transparent_hugepage/enabled");
    put_line(out, "thp_defrag", "/sys/kernel/mm/transparent_hugepage/defrag");
    return out;
}

/* One member a vulnerability that is not simply "Not affected". */
static json_t *mitigations_json(void) {
    static const char folder[] = "/sys/devices/system/cpu/vulnerabilities";
    json_t *out = json_object();
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        char path[512], text[256];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.' && first_line(path, text, sizeof text) &&
            strcmp(text, "Not affected") != 0) {
            json_object_set_new(out, entry->d_name, json_string(text));
        }
    }
    if (directory) {
        closedir(directory);
    }
    return out;
}

static double steal_share(void) {
    const td_proc_ticks ticks = td_proc_ticks_read();
    return ticks.total > 0 ? 100 * (double)ticks.stolen / (double)ticks.total : 0;
}

static json_t *kernel_json(void) {
    struct utsname name;
    json_t *out = json_object();
    if (uname(&name) == 0) {
        json_object_set_new(out, "release", json_string(name.release));
        json_object_set_new(out, "machine", json_string(name.machine));
    }
    put_line(out, "command_line", "/proc/cmdline");
    put_line(out, "clocksource",
             "/sys/devices/system/clocksource/clocksource0/current_clocksource");
    put_line(out, "governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    put_line(out, "aslr", "/proc/sys/kernel/randomize_va_space");
    put_line(out, "load", "/proc/loadavg");
    json_object_set_new(out, "steal_pct_since_boot", json_real(steal_share()));
    json_object_set_new(out, "mitigations", mitigations_json());
    char text[128];
    if (keyed_line("/proc/cpuinfo", "flags", text, sizeof text)) {
        td_cpu_info cpu;
        td_cpu_info_read(&cpu);
        json_object_set_new(out, "virtual_machine", json_boolean(cpu.leaf1_ecx >> 31 & 1));
    }
    return out;
}

static json_t *build_json(void) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "compiler", TD_BUILD_COMPILER, "flags",
                     TD_BUILD_FLAGS, "type", TD_BUILD_TYPE, "sanitizers", TD_BUILD_SANITIZERS,
                     "commit", td_fingerprint_commit());
}

static td_status hardware_id(json_t *machine, char hex[TD_SHA256_HEX]) {
    json_t *parts = json_pack("{s:O, s:O}", "cpu", json_object_get(machine, "cpu"), "topology",
                              json_object_get(machine, "topology"));
    char *text = json_dumps(parts, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(parts);
    td_sha256 *sha;
    if (!text) {
        return td_fail(TD_ENOMEM, "the hash of a machine");
    }
    td_status status = td_sha256_create(&sha);
    if (status == TD_OK) {
        td_sha256_add(sha, text, strlen(text));
        td_sha256_finish(sha, hex);
    }
    td_free(text);
    return status;
}

static void write_title(const td_topology_info *info, td_isa isa, json_t *machine) {
    td_cpu_info cpu;
    td_cpu_info_read(&cpu);
    char title[256], summary[512];
    const char *meaning[] = {
#define ISA_TEXT(name, level, text, doc) [level] = doc,
        TD_ISA_MAP(ISA_TEXT)
#undef ISA_TEXT
    };
    size_t brand = strlen(cpu.brand);
    while (brand > 0 && cpu.brand[brand - 1] == ' ') {
        brand--;
    }
    snprintf(title, sizeof title, "%.*s (family %d, model %d), %s, %d core%s", (int)brand,
             cpu.brand, cpu.family, cpu.model, meaning[isa], info->cores,
             info->cores == 1 ? "" : "s");
    int used = snprintf(summary, sizeof summary, "%d PU%s", info->pus, info->pus == 1 ? "" : "s");
    for (int i = 0; i < info->n_caches && used < (int)sizeof summary - 64; i++) {
        const td_cache_info *c = &info->caches[i];
        if (!c->instruction && c->plausible) {
            bool mib = c->bytes >= 1 << 20;
            used +=
                snprintf(summary + used, sizeof summary - (size_t)used, ", L%d %.4g %s", c->level,
                         (double)c->bytes / (mib ? 1 << 20 : 1 << 10), mib ? "MiB" : "KiB");
        }
    }
    struct utsname name = {0};
    uname(&name);
    snprintf(summary + used, sizeof summary - (size_t)used, ", %.1f GiB memory, %s %s",
             (double)info->memory_bytes / (1 << 30), name.sysname, name.release);
    json_object_set_new(machine, "title", json_string(title));
    json_object_set_new(machine, "summary", json_string(summary));
}

static void write_odd(const td_topology_info *info, td_isa active, json_t *machine) {
    td_text odd = {0};
    td_text_puts(&odd, info->odd);
    double steal = steal_share();
    if (steal >= 0.1) {
        td_text_printf(&odd, "%s%.1f %% of CPU time was stolen since boot", odd.size ? "; " : "",
                       steal);
    }
    if (active < td_isa_native()) {
        td_text_printf(&odd, "%sTANDEM_ISA restricts kernels to %s", odd.size ? "; " : "",
                       td_isa_name(active));
    }
    if (TD_BUILD_SANITIZERS[0]) {
        td_text_printf(&odd, "%sbuilt with sanitizers: times mean nothing", odd.size ? "; " : "");
    }
    json_object_set_new(machine, "odd", json_string(odd.size ? odd.data : ""));
    td_text_destroy(&odd);
}

static void write_kernel_rows(td_isa active, json_t *machine) {
    td_text rows = {0};
    td_kernels_describe(td_isa_native(), active, &rows);
    json_object_set_new(machine, "kernel_rows", json_string(rows.failed ? "" : rows.data));
    td_text_destroy(&rows);
}

td_status td_fingerprint(const td_topology *topology, json_t **out) {
    const td_topology_info *info = td_topology_get_info(topology);
    td_isa active;
    char hex[TD_SHA256_HEX];
    TD_TRY(td_isa_active(&active));
    json_t *machine = json_object();
    write_title(info, active, machine);
    write_odd(info, active, machine);
    write_kernel_rows(active, machine);
    json_object_set_new(machine, "isa",
                        json_pack("{s:s, s:s}", "native", td_isa_name(td_isa_native()), "active",
                                  td_isa_name(active)));
    json_object_set_new(machine, "cpu", cpu_json());
    json_object_set_new(machine, "topology", topology_json(info));
    json_object_set_new(machine, "tree", tree_json(topology));
    json_object_set_new(machine, "memory", memory_json(info));
    json_object_set_new(machine, "kernel", kernel_json());
    json_object_set_new(machine, "build", build_json());
    td_wait_costs wait = td_wait_calibrated();
    json_object_set_new(machine, "wait_ns",
                        json_pack("{s:b, s:I, s:I, s:I, s:I, s:I}", "measured", wait.measured,
                                  "wake_call", (json_int_t)wait.wake_call_ns, "wake",
                                  (json_int_t)wait.wake_ns, "yield", (json_int_t)wait.yield_ns,
                                  "spin", (json_int_t)wait.spin_ns, "line",
                                  (json_int_t)wait.line_ns));
    json_object_set_new(machine, "tsc_ghz", json_real(td_tsc_hz() * 1e-9));
    td_status status = hardware_id(machine, hex);
    if (status != TD_OK) {
        json_decref(machine);
        return status;
    }
    hex[16] = '\0';
    json_object_set_new(machine, "hw_id", json_string(hex));
    *out = machine;
    return TD_OK;
}

json_t *td_fingerprint_hosts(void) {
    if (td_mpi_hosts() < 2) {
        return NULL;
    }
    json_t *hosts = json_array();
    for (int rank = 0; rank < td_mpi_ranks(); rank++) {
        size_t host = (size_t)td_mpi_host_of(rank);
        if (host == json_array_size(hosts)) {
            json_array_append_new(
                hosts, json_pack("{s:s, s:[]}", "name", td_mpi_host_name(rank), "ranks"));
        }
        json_array_append_new(json_object_get(json_array_get(hosts, host), "ranks"),
                              json_integer(rank));
    }
    return hosts;
}
