/* SPDX-License-Identifier: Apache-2.0
 * Ranks that mpirun starts, with every MPI library that this build has a module for: the bits of
 * thread and process ranks, and what becomes of a rank that errs, stops or dies. Without MPI there
 * is nothing to test, and the tests say so.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/mpi_ranks.h"
#include "trials.h"

enum { OUTPUT = 16384 };

static const char *const libraries[] = {"openmpi", "mpich"};
enum { LIBRARIES = 2 };

static bool is_here(const char *library) {
    char path[512];
    snprintf(path, sizeof path, "%s/tandem_mpi_%s.so", TD_BUILD_DIRECTORY, library);
    bool module = access(path, R_OK) == 0;
    snprintf(path, sizeof path, "command -v mpirun.%s >/dev/null 2>&1", library);
    return module && system(path) == 0;
}

/* Exit code; what the command said. */
static int run(const char *line, char *output) {
    FILE *pipe = popen(line, "r");
    cr_assert_not_null(pipe);
    size_t used = 0;
    for (size_t n; (n = fread(output + used, 1, OUTPUT - 1 - used, pipe)) > 0;) {
        used += n;
    }
    output[used] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Runs a command under mpirun and returns its exit code; ranks may outnumber CPUs, and mpirun may
 * be asked by root. What the libraries have not freed at the end is not looked for. */
static int start(const char *library, int ranks, const char *command, char *output) {
    char line[1024];
    bool open = strcmp(library, "openmpi") == 0;
    snprintf(line, sizeof line,
             "env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
             "ASAN_OPTIONS=detect_leaks=0 timeout -k 5 400 "
             "mpirun.%s %s -n %d %s 2>&1",
             library, open ? "--oversubscribe --bind-to none" : "-bind-to none", ranks, command);
    return run(line, output);
}

typedef struct setting {
    int library, ranks, workers, hosts;
    bool uneven; /* the first host has all ranks but one for each other */
} setting;

static int ranks_of_host(const setting *s, int host) {
    if (s->uneven) {
        return host == 0 ? s->ranks - s->hosts + 1 : 1;
    }
    return s->ranks / s->hosts;
}

/* The same on hosts td-0, td-1, ..., made by host_agent.sh; their network is this machine's own. */
static int start_on_hosts(const setting *s, const char *command, char *output) {
    char line[2048], hosts[256];
    size_t used = 0;
    for (int i = 0; i < s->hosts; i++) {
        used += (size_t)snprintf(hosts + used, sizeof hosts - used, "%std-%d:%d", i > 0 ? "," : "",
                                 i, ranks_of_host(s, i));
    }
    snprintf(line, sizeof line,
             s->library == 0
                 ? "env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
                   "ASAN_OPTIONS=detect_leaks=0 timeout -k 5 400 mpirun.openmpi --bind-to none "
                   "--mca plm_rsh_agent %s/tests/mpi/host_agent.sh --mca oob_tcp_if_include lo "
                   "--mca pml ob1 --mca btl self,tcp --mca btl_tcp_if_include lo "
                   "--mca mpi_yield_when_idle 1 --host %s -n %d %s 2>&1"
                 : "env ASAN_OPTIONS=detect_leaks=0 timeout -k 5 400 mpirun.mpich -bind-to none "
                   "-launcher ssh -launcher-exec %s/tests/mpi/host_agent.sh -iface lo "
                   "-hosts %s -n %d %s 2>&1",
             TD_SOURCE_DIRECTORY, hosts, s->ranks, command);
    return run(line, output);
}

static void skip_without_hosts(void) {
    if (system("unshare --uts hostname td-0 2>/dev/null") != 0) {
        cr_skip_test("no hosts of other names: unshare --uts is refused (needs root)");
    }
}

static void skip_without(const setting *s) {
    if (!is_here(libraries[s->library])) {
        cr_skip_test("no MPI: %s", libraries[s->library]);
    }
}

/* MPICH's ranks on shared CPUs take minutes: its polls are long. */
ParameterizedTestParameters(mpi, the_bits_of_other_ranks) {
    static setting settings[] = {{0, 2, 1, 1, false},
                                 {0, 2, 2, 1, false},
                                 {0, 3, 1, 1, false},
                                 {0, 4, 1, 1, false},
                                 {1, 2, 1, 1, false}};
    return cr_make_param_array(setting, settings, sizeof settings / sizeof settings[0]);
}

ParameterizedTest(setting *s, mpi, the_bits_of_other_ranks, .timeout = 900) {
    char output[OUTPUT], command[512], threads[TD_SHA256_HEX], processes[TD_SHA256_HEX];
    skip_without(s);
    td_layout layout = td_trial_layout(TD_RANK_THREAD, s->ranks, s->workers);
    cr_assert_eq(td_trial_rows(&layout, TD_TRIAL_MPI, true, threads), TD_OK, "%s", td_error());
    layout.kind = TD_RANK_PROCESS;
    cr_assert_eq(td_trial_rows(&layout, TD_TRIAL_MPI, true, processes), TD_OK, "%s", td_error());
    cr_expect_str_eq(threads, processes);
    snprintf(command, sizeof command, "%s rows %d", TD_MPI_RUNNER, s->workers);
    int code = start(libraries[s->library], s->ranks, command, output);
    cr_assert_eq(code, 0, "%s: %s", libraries[s->library], output);
    const char *at = strstr(output, "sha256 ");
    cr_assert_not_null(at, "%s", output);
    cr_expect_eq(strncmp(at + 7, threads, TD_SHA256_HEX - 1), 0, "%s: %s, threads: %s",
                 libraries[s->library], at, threads);
}

/* Ranks that this test has started and that are still there: their last argument is its pid. */
static int left_behind(void) {
    int n = 0;
    char mark[24];
    snprintf(mark, sizeof mark, "%d", (int)getpid());
    DIR *proc = opendir("/proc");
    cr_assert_not_null(proc);
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        char path[300], line[1024];
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        FILE *file = fopen(path, "re");
        size_t length = file == NULL ? 0 : fread(line, 1, sizeof line - 1, file);
        line[length] = '\0';
        const char *last = length < 2 ? "" : (const char *)memrchr(line, '\0', length - 1);
        n += last != NULL && strcmp(line, TD_MPI_RUNNER) == 0 && strcmp(last + 1, mark) == 0;
        if (file != NULL) {
            fclose(file);
        }
    }
    closedir(proc);
    return n;
}

/* Their ends may come a little after that of mpirun. */
static bool all_gone(void) {
    for (int64_t until_ns = td_now_ns() + INT64_C(10000000000); left_behind() > 0; sched_yield()) {
        if (td_now_ns() > until_ns) {
            return false;
        }
    }
    return true;
}

static void expect_end(const setting *s, const char *what, int code, const char *says) {
    char output[OUTPUT], command[512];
    snprintf(command, sizeof command, "%s %s %d", TD_MPI_RUNNER, what, (int)getpid());
    int found = s->hosts > 1 ? start_on_hosts(s, command, output)
                             : start(libraries[s->library], s->ranks, command, output);
    cr_expect(code > 0 ? found == code : found != 0 && found != 124, "%s: exit %d: %s", what, found,
              output);
    cr_expect_not_null(strstr(output, says), "%s: \"%s\" is not in: %s", what, says, output);
}

ParameterizedTestParameters(mpi, a_rank_that_errs_stops_or_dies) {
    static setting settings[] = {{0, 3, 1, 1, false}, {1, 3, 1, 1, false}};
    return cr_make_param_array(setting, settings, LIBRARIES);
}

ParameterizedTest(setting *s, mpi, a_rank_that_errs_stops_or_dies, .timeout = 900) {
    skip_without(s);
    expect_end(s, "differ", 3, "ring of 2048 f32 sum");
    expect_end(s, "differ", 3, "ring of 4096 f32 sum");
    expect_end(s, "stop", 3, "rank 1 made no progress in allreduce/ring within 1.5 s");
    expect_end(s, "quit", 3, "rank 1 returned while others wait for it");
    expect_end(s, "kill", 0, s->library == 0 ? "rank 1" : "signal 9");
    cr_expect(all_gone(), "%d ranks are still there", left_behind());
}

ParameterizedTestParameters(mpi, hosts_give_the_same_bits) {
    static setting settings[] = {
        {0, 4, 1, 2, false}, {0, 4, 1, 4, false}, {0, 4, 1, 2, true}, {1, 2, 1, 2, false}};
    return cr_make_param_array(setting, settings, sizeof settings / sizeof settings[0]);
}

ParameterizedTest(setting *s, mpi, hosts_give_the_same_bits, .timeout = 900) {
    char output[OUTPUT], command[512], threads[TD_SHA256_HEX], hosts[256] = "hosts";
    skip_without(s);
    skip_without_hosts();
    td_layout layout = td_trial_layout(TD_RANK_THREAD, s->ranks, s->workers);
    cr_assert_eq(td_trial_rows(&layout, TD_TRIAL_MPI, false, threads), TD_OK, "%s", td_error());
    snprintf(command, sizeof command, "%s rows %d", TD_MPI_RUNNER, s->workers);
    int code = start_on_hosts(s, command, output);
    cr_assert_eq(code, 0, "%s: exit %d: %s", libraries[s->library], code, output);
    for (int host = 0; host < s->hosts; host++) {
        for (int i = 0; i < ranks_of_host(s, host); i++) {
            snprintf(hosts + strlen(hosts), sizeof hosts - strlen(hosts), " %d td-%d", host, host);
        }
    }
    cr_expect_not_null(strstr(output, hosts), "%s", output);
    const char *at = strstr(output, "sha256 ");
    cr_assert_not_null(at, "%s", output);
    cr_expect_eq(strncmp(at + 7, threads, TD_SHA256_HEX - 1), 0, "%s: %s, threads: %s",
                 libraries[s->library], at, threads);
}

ParameterizedTestParameters(mpi, a_rank_of_another_host_that_errs_stops_or_dies) {
    static setting settings[] = {{0, 3, 1, 3, false}, {1, 3, 1, 3, false}};
    return cr_make_param_array(setting, settings, LIBRARIES);
}

ParameterizedTest(setting *s, mpi, a_rank_of_another_host_that_errs_stops_or_dies, .timeout = 900) {
    skip_without(s);
    skip_without_hosts();
    expect_end(s, "differ", 3, "ring of 2048 f32 sum");
    expect_end(s, "differ", 3, "ring of 4096 f32 sum");
    expect_end(s, "stop", 3, "rank 1 on td-1 made no progress in allreduce/ring within 4.0 s");
    expect_end(s, "quit", 3, "rank 1 on td-1 returned while others wait for it");
    expect_end(s, "leave", 3, "rank 1 on td-1 returned while others wait at a barrier");
    expect_end(s, "direct", 3, "these are on several hosts, expected an algorithm of messages");
    expect_end(s, "kill", 0, s->library == 0 ? "rank 1" : "RUNNING AT td-1");
    cr_expect(all_gone(), "%d ranks are still there", left_behind());
}

static int lines_with(const char *path, const char *what, const char *also) {
    int n = 0;
    static char line[1 << 20];
    FILE *file = fopen(path, "re");
    cr_assert_not_null(file, "%s", path);
    while (fgets(line, sizeof line, file) != NULL) {
        n += strstr(line, what) != NULL && strstr(line, also) != NULL;
    }
    fclose(file);
    return n;
}

ParameterizedTestParameters(mpi, its_own_collectives_stand_beside_ours) {
    static setting settings[] = {{0, 2, 1, 1, false}, {1, 2, 1, 1, false}};
    return cr_make_param_array(setting, settings, LIBRARIES);
}

/* In place and apart, every result compared: what differs has the status failed. */
ParameterizedTest(setting *s, mpi, its_own_collectives_stand_beside_ours, .timeout = 900) {
    char output[OUTPUT], command[512], records[256], remove[256];
    char folder[] = "/tmp/tandem-mpi-XXXXXX";
    skip_without(s);
    cr_assert_not_null(mkdtemp(folder));
    snprintf(records, sizeof records, "%s/records.jsonl", folder);
    snprintf(command, sizeof command,
             "%s/tandem bench 'coll/*/f32-1KiB-written-isolated*' --suite full --layouts p2xt1:mpi "
             "--min-time-ms 1 --out %s",
             TD_BUILD_DIRECTORY, folder);
    int code = start(libraries[s->library], s->ranks, command, output);
    cr_expect_eq(code, 0, "exit %d: %s", code, output);
    int ours = lines_with(records, "\"case\":\"coll/", "\"provider\":\"tandem\"");
    cr_expect_geq(ours, 12);
    /* MPI has no exchange with both neighbours. */
    int exchanges = lines_with(records, "\"case\":\"coll/exchange/", "\"provider\":\"tandem\"");
    cr_expect_eq(exchanges, 1);
    ours -= exchanges;
    cr_expect_eq(lines_with(records, "\"provider\":\"mpi\"", "\"status\":\"ok\""), ours);
    cr_expect_eq(lines_with(records, "\"times_mpi\"", "\"provider\":\"tandem\""), ours);
    /* Other libraries would share the CPUs with ranks that poll. */
    snprintf(command, sizeof command,
             "%s/tandem bench 'coll/scan/*' --layouts p2xt1:mpi --mpi %s --out %s/no",
             TD_BUILD_DIRECTORY, folder, folder);
    code = start(libraries[s->library], s->ranks, command, output);
    cr_expect_eq(code, 2, "exit %d: %s", code, output);
    cr_expect_not_null(strstr(output, "expected no --mpi"), "%s", output);
    static const char *const verbs[] = {"bench 'coll/scan/*' --layouts", "train --layout"};
    for (int i = 0; i < 2; i++) {
        snprintf(command, sizeof command, "%s/tandem %s p3xt1:mpi", TD_BUILD_DIRECTORY, verbs[i]);
        code = start(libraries[s->library], s->ranks, command, output);
        cr_expect_eq(code, 2, "exit %d: %s", code, output);
        cr_expect_not_null(strstr(output, "expected mpirun -n 3, or p2xT:mpi"), "%s", output);
        cr_expect_null(strstr(output, "ceiling/"), "%s", output);
    }
    snprintf(remove, sizeof remove, "rm -r %s", folder);
    cr_expect_eq(system(remove), 0);
}

ParameterizedTestParameters(mpi, hosts_are_measured) {
    static setting settings[] = {{0, 4, 1, 2, false}, {1, 2, 1, 2, false}};
    return cr_make_param_array(setting, settings, LIBRARIES);
}

/* Every call compared, in all modes; direct rows have a record that says why they do not run. What
 * goes through a network has no roof of memory. */
ParameterizedTest(setting *s, mpi, hosts_are_measured, .timeout = 900) {
    char output[OUTPUT], command[512], records[256], report[256], remove[256], hosts[64];
    char folder[] = "/tmp/tandem-hosts-XXXXXX";
    skip_without(s);
    skip_without_hosts();
    cr_assert_not_null(mkdtemp(folder));
    snprintf(records, sizeof records, "%s/records.jsonl", folder);
    snprintf(report, sizeof report, "%s/report.md", folder);
    snprintf(command, sizeof command,
             "%s/tandem bench 'coll/allreduce/*/f32-1KiB*' --suite full --layouts p%dxt1:mpi "
             "--min-time-ms 1 --out %s",
             TD_BUILD_DIRECTORY, s->ranks, folder);
    int code = start_on_hosts(s, command, output);
    cr_expect_eq(code, 0, "exit %d: %s", code, output);
    snprintf(hosts, sizeof hosts, "\"hosts\":%d", s->hosts);
    int ours = lines_with(records, hosts, "\"status\":\"ok\"");
    cr_expect_geq(ours, 10, "%d records: %s", ours, output);
    cr_expect_eq(lines_with(records, "chosen/f32-1KiB-written-isolated\"", hosts), 1);
    cr_expect_eq(lines_with(records, "chosen/f32-1KiB-written-skewed\"", hosts), 1);
    cr_expect_eq(lines_with(records, "_2pn", hosts), 0);
    cr_expect_eq(lines_with(records, "roof\"", hosts), 0);
    cr_expect_eq(lines_with(records, "ceiling/", ""), 0);
    snprintf(hosts, sizeof hosts, "\"hosts\":[{\"name\":\"td-0\",\"ranks\":[0%s]}",
             s->ranks == s->hosts ? "" : ",1");
    cr_expect_eq(lines_with(records, hosts, "{\"name\":\"td-1\",\"ranks\":["), 1);
    snprintf(hosts, sizeof hosts, "td-0 (rank%s", s->ranks == s->hosts ? " 0)" : "s 0-1)");
    cr_expect_eq(lines_with(report, hosts, "ran on 2 hosts: "), 1);
    snprintf(hosts, sizeof hosts, "\"hosts\":%d", s->hosts);
    cr_expect_eq(lines_with(records, "\"rank_identical\":1", hosts), ours);
    cr_expect_eq(lines_with(records, "\"clock_error_ns\":", hosts), ours);
    cr_expect_eq(lines_with(records, "\"provider\":\"mpi\"", "\"status\":\"ok\""), ours);
    cr_expect_geq(lines_with(records, "memory in common", "\"status\":\"skipped\""), 1);
    snprintf(command, sizeof command, "%s/tandem train --model ti-32 --layout p%dxt1:mpi",
             TD_BUILD_DIRECTORY, s->ranks);
    code = start_on_hosts(s, command, output);
    cr_expect_eq(code, 2, "exit %d: %s", code, output);
    cr_expect_not_null(strstr(output, "expected one host"), "%s", output);
    snprintf(remove, sizeof remove, "rm -r %s", folder);
    cr_expect_eq(system(remove), 0);
}

/* The batch script under a Slurm of its own, whose srun starts the ranks by PMIx and by PMI-2. */
ParameterizedTestParameters(full_slurm, the_batch_script_measures) {
    static setting settings[] = {{0, 2, 1, 1, false}, {1, 2, 1, 1, false}};
    return cr_make_param_array(setting, settings, LIBRARIES);
}

ParameterizedTest(setting *s, full_slurm, the_batch_script_measures, .timeout = 600) {
    char line[1024], output[OUTPUT];
    skip_without(s);
    if (geteuid() != 0 || access("/usr/sbin/slurmctld", X_OK) != 0) {
        cr_skip_test("no slurmctld (Debian: slurmctld slurmd slurm-client), or not root");
    }
    char folder[] = "/tmp/tandem-slurm-XXXXXX";
    cr_assert_not_null(mkdtemp(folder));
    snprintf(line, sizeof line,
             "cd %s && SRUN_MPI=%s RANKS=2 WORKERS=1 GLOB='coll/allreduce/hierarchical/*' "
             "TANDEM=%s/tandem OUT=%s tools/slurm_trial.sh 2>&1",
             TD_SOURCE_DIRECTORY, s->library == 0 ? "pmix" : "pmi2", TD_BUILD_DIRECTORY, folder);
    int code = run(line, output);
    cr_expect_eq(code, 0, "exit %d: %s", code, output);
    cr_expect_not_null(strstr(output, "12 measured, 0 failed"), "%s", output);
    snprintf(line, sizeof line, "rm -r %s", folder);
    cr_expect_eq(system(line), 0);
}

/* Without mpirun, and with a module that is none. */
Test(mpi, what_is_missing_is_said) {
    unsetenv("OMPI_COMM_WORLD_RANK");
    unsetenv("PMI_RANK");
    unsetenv("PMIX_RANK");
    td_layout layout = td_trial_layout(TD_RANK_MPI, 2, 1);
    char sha256[TD_SHA256_HEX];
    cr_expect_eq(td_trial_rows(&layout, TD_TRIAL_MPI, true, sha256), TD_ESKIP);
    cr_expect_not_null(strstr(td_error(), "mpirun -n P"), "%s", td_error());
    setenv("OMPI_COMM_WORLD_RANK", "0", 1);
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    setenv("TANDEM_MPI", "/nowhere/module.so", 1);
    cr_expect_eq(td_trial_rows(&layout, TD_TRIAL_MPI, true, sha256), TD_ESKIP);
    cr_expect_not_null(strstr(td_error(), "/nowhere/module.so: No such file"), "%s", td_error());
    setenv("TANDEM_MPI", "/proc/self/exe", 1);
    cr_expect_eq(td_trial_rows(&layout, TD_TRIAL_MPI, true, sha256), TD_ESKIP);
    cr_expect_not_null(strstr(td_error(), "cannot be loaded"), "%s", td_error());
    /* A layout that each of the ranks would run for itself. */
    layout.kind = TD_RANK_PROCESS;
    cr_expect_eq(td_trial_rows(&layout, TD_TRIAL_MPI, true, sha256), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "p2xT:mpi"), "%s", td_error());
}
