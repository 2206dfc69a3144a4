// SPDX-License-Identifier: Apache-2.0
// The only C++ file. No exception leaves it, and no C++ type is in its interface.
#include <benchmark/benchmark.h>

#include <cstring>
#include <iostream>
#include <sstream>
#include <string>

extern "C" {
#include "bench/gbench.h"
}

namespace {

// Google Benchmark appends how it runs a benchmark to its name. A name here is a case and a layout
// and nothing else, in the listing and for a filter that ends in '$'.
constexpr const char SUFFIX[] = "/iterations:1/manual_time";

bool lists = false;
std::string filter = ".";

std::string without_suffix(const std::string &name) {
    const std::size_t at = name.rfind(SUFFIX);
    return at != std::string::npos && at + std::strlen(SUFFIX) == name.size() ? name.substr(0, at)
                                                                              : name;
}

// Prints nothing: neither the context, which says that the library was built for debugging (true of
// Debian's, and of no influence here, because it times nothing), nor rows, which are the caller's.
class Silent : public benchmark::ConsoleReporter {
  public:
    Silent() : benchmark::ConsoleReporter(OO_None) {
        SetOutputStream(&out_);
        SetErrorStream(&err_);
    }
    bool ReportContext(const Context &) override { return true; }
    void ReportRuns(const std::vector<Run> &) override {}
    std::string listed() const { return out_.str(); }

  private:
    std::ostringstream out_, err_;
};

void run_one(benchmark::State &state, td_gbench_fn *fn, void *user) {
    static const char *const names[] = {"median_ns", "mad_ns", "min_ns", "samples"};
    for (auto _ : state) {
        td_gbench_result result = {};
        fn(user, &result);
        if (result.error != nullptr) {
            state.SkipWithError(result.error);
            break;
        }
        state.SetIterationTime(result.seconds);
        for (int i = 0; i < 4; i++) {
            state.counters[names[i]] = result.counters[i];
        }
    }
}

} // namespace

extern "C" int td_gbench_register(const char *name, td_gbench_fn *fn, void *user) {
    try {
        benchmark::RegisterBenchmark(
            name, [fn, user](benchmark::State &state) { run_one(state, fn, user); })
            ->Iterations(1)
            ->UseManualTime();
        return 0;
    } catch (...) {
        return -1;
    }
}

extern "C" const char *td_gbench_initialize(int *argc, char **argv) {
    static const char spelled[] = "--benchmark_", listing[] = "--benchmark_list_tests",
                      chosen[] = "--benchmark_filter=";
    try {
        for (int i = 1; i < *argc; i++) {
            if (std::strcmp(argv[i], listing) == 0 ||
                std::strcmp(argv[i], "--benchmark_list_tests=true") == 0) {
                lists = true;
            } else if (std::strncmp(argv[i], chosen, std::strlen(chosen)) == 0) {
                filter = argv[i] + std::strlen(chosen);
            }
        }
        if (filter.empty() || filter == "all") {
            filter = ".";
        } else if (filter.back() == '$') {
            filter.insert(filter.size() - 1, SUFFIX);
        }
        benchmark::Initialize(argc, argv);
        for (int i = 1; i < *argc; i++) {
            if (std::strncmp(argv[i], spelled, std::strlen(spelled)) == 0) {
                return argv[i];
            }
        }
        return nullptr;
    } catch (...) {
        return "--benchmark_";
    }
}

extern "C" bool td_gbench_lists(void) {
    return lists;
}

extern "C" long td_gbench_run(void) {
    try {
        Silent reporter;
        const std::size_t matched = benchmark::RunSpecifiedBenchmarks(&reporter, filter);
        std::istringstream names(reporter.listed());
        for (std::string name; lists && std::getline(names, name);) {
            std::cout << without_suffix(name) << "\n";
        }
        std::cout.flush();
        return static_cast<long>(matched);
    } catch (...) {
        return -1;
    }
}
