# SPDX-License-Identifier: Apache-2.0
# Thin: packages, presets, and the program. Everything else is CMake and `tandem --help`.
#   make bench                 measure this machine and draw the report (SUITE=full for the long one)
#   make test                  every Criterion test; ends with Criterion's summary
#   make build | list | report OUT=out/<timestamp> | test-full | clean
#   make peers                 torch and open_clip into build/peers, for the scripts of tools/peers only, and MPI libraries
#                              into build/peers/mpi, for tandem bench --mpi; make peers-mpi: those alone
#   make peers-data            TensorFlow, tfrecord and crc32c into build/peers/data, for tools/peers/data_peer.py
#   make mpi MPICC=.../mpicc   the module by which ranks run under that MPI (docs/at-scale.md)
SUITE ?= quick
JOBS ?= $(shell nproc)
DATA ?= out/data/openclipart
RELEASE = build/release
TANDEM = $(RELEASE)/tandem

.PHONY: help build bench test test-full list report peers peers-mpi peers-data mpi clean
help:
	@sed -n 's/^#   //p' Makefile

build:
	@tools/packages.sh build
	@$(MAKE) --no-print-directory compile

.PHONY: compile
compile:
	@cmake --preset release $(CMAKE_ARGS) >build.log 2>&1 || { cat build.log; exit 3; }
	@rm -f build.log
	@cmake --build $(RELEASE) --target tandem oracle_runner -j $(JOBS) -- -s

bench:
	@tools/packages.sh bench
	@$(MAKE) --no-print-directory compile CMAKE_ARGS=-DTD_TESTS=OFF
	@tools/real_pairs.sh $(TANDEM) $(DATA)
	@$(TANDEM) bench --suite $(SUITE) --data $(DATA)

list: build
	@$(TANDEM) list

report: build
	@$(TANDEM) report $(OUT)

test:
	@tools/packages.sh test
	@tools/test.sh release

# The long suites, ASan and UBSan over every other test, TSan over the concurrent ones, half a minute of every fuzzer.
test-full:
	@tools/packages.sh test
	@tools/test.sh release full
	@tools/test.sh debug
	@tools/test.sh tsan
	@tools/fuzz.sh 30

peers: peers-mpi
	@tools/peers/setup.sh

peers-mpi:
	@tools/packages.sh mpi
	@tools/peers/mpi.sh

peers-data:
	@tools/peers/setup.sh data

# Tandem's module for an MPI library that is not Debian's: TANDEM_MPI=<the file> chooses it.
MPICC ?= mpicc
mpi:
	@mkdir -p $(RELEASE)
	@$(MPICC) -O2 -fPIC -shared -I. threads/mpi_module.c -o $(RELEASE)/tandem_mpi_own.so
	@echo "$(CURDIR)/$(RELEASE)/tandem_mpi_own.so"

clean:
	rm -rf build
