# Understudy: build, test, run. `make help` lists the targets; docs/hacking.md says how to add things.
#
# Sources are found by wildcard: a new .cc beside its siblings is compiled, a new tests/test_<module>.cc is run.
# A target that people call first sees that the packages are there, then runs make again: nothing that was
# looked for before they came is remembered.
BUILD ?= build
# release, asan, tsan, or fuzz for the fuzzers: each with objects of its own.
MODE ?= release
CXX := $(if $(filter default undefined,$(origin CXX)),clang++-19,$(CXX))
CCACHE := $(shell command -v ccache 2>/dev/null)
PROTOC ?= protoc
PREFIX ?= /usr/local
OUT := $(BUILD)/$(MODE)
BIN := $(if $(filter release,$(MODE)),bin,$(OUT)/bin)

ifeq ($(MODE),release)
  MODE_FLAGS := -O2 -g1
else ifeq ($(MODE),asan)
  MODE_FLAGS := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(MODE),tsan)
  MODE_FLAGS := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
else ifeq ($(MODE),fuzz)
  MODE_FLAGS := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else
  $(error MODE is release, asan, tsan or fuzz)
endif
MACHINE_FLAGS := $(if $(filter x86_64,$(shell uname -m)),-march=x86-64-v2)

CPPFLAGS := -I. -I$(OUT)/proto -DSPDLOG_COMPILED_LIB -DSPDLOG_SHARED_LIB -DSPDLOG_FMT_EXTERNAL -DFMT_SHARED
CXXFLAGS := -std=c++23 $(MODE_FLAGS) $(MACHINE_FLAGS) -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers -pthread
LDFLAGS := -fuse-ld=lld-19 -pthread $(MODE_FLAGS)
# Programs allocate with jemalloc: a tenth less processor time for a small put (docs/decisions/0001).
# The sanitizers bring their own.
PROGRAM_LDLIBS := $(if $(filter release,$(MODE)),-ljemalloc)
LDLIBS := -luv -lsqlite3 -lssl -lcrypto -lprotobuf -lraft -lspdlog -lfmt -ledit
TEST_LDLIBS := -lgmock -lgtest -lgtest_main

PROTOS := $(wildcard common/wire/*.proto)
PROTO_OBJECTS := $(PROTOS:%.proto=$(OUT)/proto/%.pb.o)
PROTO_HEADERS := $(PROTOS:%.proto=$(OUT)/proto/%.pb.h)
LIBRARY_SOURCES := $(filter-out %/main.cc,$(wildcard common/*/*.cc nm/*.cc nm/*/*.cc ss/*.cc ss/*/*.cc client/*.cc client/*/*.cc))
LIBRARY_OBJECTS := $(LIBRARY_SOURCES:%.cc=$(OUT)/%.o)
SIM_OBJECTS := $(patsubst %.cc,$(OUT)/%.o,$(wildcard tests/sim/*.cc))
BENCH_OBJECTS := $(patsubst %.cc,$(OUT)/%.o,$(filter-out bench/main.cc,$(wildcard bench/*.cc)))
TEST_SOURCES := $(wildcard tests/test_*.cc)
TESTS := $(TEST_SOURCES:tests/%.cc=$(OUT)/tests/%)
DRILLS := $(wildcard test_*.sh)
FUZZERS := $(patsubst tests/fuzz/%.cc,$(OUT)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.cc))
MAINS := $(wildcard nm/main.cc ss/main.cc client/main.cc bench/main.cc)
# nm/main.cc is understudy-nm; the client is plain understudy.
PROGRAMS := $(patsubst %-client,%,$(MAINS:%/main.cc=$(BIN)/understudy-%))

# Make again, on all processors unless -j was given.
# The plus hands the job slots on when make was called with -j.
AGAIN = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: build
build: deps  ## the programs, into bin/ (this is the default)
	+@$(AGAIN) programs

.PHONY: help
help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/  make \1\t\2/p' Makefile | expand -t 18
	@echo "MODE=release|asan|tsan chooses the build (now $(MODE)), BUILD=DIR where objects go (now $(BUILD))."

.PHONY: deps
deps:  ## install the Debian packages that are missing (scripts/deps.sh has the list)
	@scripts/deps.sh </dev/null

.PHONY: run
run:  ## build, start a cluster under ./var and open the shell (or run the commands on standard input)
	+@{ $(MAKE) --no-print-directory deps && $(AGAIN) programs; } >&2 </dev/null
	@BIN=$(BIN) scripts/run.sh

.PHONY: cluster
cluster: build  ## like run, with the servers' logs interleaved in colour
	@BIN=$(BIN) scripts/run.sh --logs

.PHONY: test
test: deps  ## build and run every test and drill (ONLY='test_path test_sim*' for some; REWRITE=1 fills in scripts)
	+@$(AGAIN) programs tests fuzzers
	@BIN=$(BIN) OUT=$(OUT) scripts/run_tests.sh $(TESTS) $(DRILLS) tests/fuzz/test_fuzz.sh

# What the campaign is told in the environment: tests/test_sim_random.cc.
.PHONY: sim
sim: deps  ## the campaign: random clusters under faults, SEEDS=100 (default 25) from FIRST=1, or SEED=42, or SCRIPT=FILE
	+@$(AGAIN) $(OUT)/tests/test_sim_random $(OUT)/tests/test_cluster_scripts
	@SIM_COMMIT=$$(git describe --always --dirty 2>/dev/null) SIM_FAILURES=$(OUT)/sim-failures SEEDS=$${SEEDS:-25} TWICE=$${TWICE-1} \
	  SHRINK_SECONDS=$${SHRINK_SECONDS:-120} $(OUT)/tests/test_sim_random --gtest_filter='Campaign.*' --gtest_brief=1
	@[ -n "$$SEED$$SCRIPT" ] || OUT=$(OUT) SEEDS=5 scripts/run_tests.sh $(OUT)/tests/test_cluster_scripts

.PHONY: sweep
sweep: deps  ## one fault at every place of a whole cluster's disks: power cuts, failed calls, full disks (SWEEP_STEP=1)
	+@$(AGAIN) $(OUT)/tests/test_sim_sweeps
	@SWEEP_STEP=$${SWEEP_STEP:-1} TEST_SECONDS=$${TEST_SECONDS:-7200} OUT=$(OUT) scripts/run_tests.sh $(OUT)/tests/test_sim_sweeps

.PHONY: bench
bench: deps  ## a short run of every measurement, one JSON line each (bench/README.md)
	+@{ $(AGAIN) programs; } >&2
	@BIN=$(BIN) bench/run.sh

.PHONY: chaos
chaos: deps  ## the campaign's clients on real processes that are killed, stopped and cut off: MINUTES=10 (default 5)
	+@$(AGAIN) programs $(OUT)/tests/test_chaos
	@BIN=$(BIN) MINUTES=$${MINUTES:-5} $(OUT)/tests/test_chaos --gtest_brief=1

.PHONY: fuzz
fuzz: deps  ## the fuzzers under sanitizers, FUZZ_SECONDS=60 each (ONLY=fuzz_document for one; KEEP=1 keeps what covers more)
	+@$(MAKE) --no-print-directory MODE=fuzz $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc)) fuzzers
	@OUT=$(BUILD)/fuzz scripts/fuzz.sh

.PHONY: asan tsan
asan:  ## every test under the address and undefined-behaviour sanitizers
	@$(MAKE) --no-print-directory test MODE=asan
tsan:  ## every test under the thread sanitizer
	@$(MAKE) --no-print-directory test MODE=tsan

.PHONY: lint
lint: deps  ## what is checked without running: layers, coroutine rules, file lengths, the shell scripts' syntax
	@for script in $(wildcard scripts/*.sh bench/*.sh tests/fuzz/*.sh) $(DRILLS) .ci/run; do bash -n "$$script" || exit 1; done
	+@$(AGAIN) $(OUT)/tests/test_layers
	@OUT=$(OUT) scripts/run_tests.sh $(OUT)/tests/test_layers

.PHONY: install
install: build  ## the programs into $(DESTDIR)$(PREFIX)/bin
	@install -d $(DESTDIR)$(PREFIX)/bin
	@install -m 755 $(filter-out %-bench,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin

.PHONY: clean
clean:  ## forget what was built
	@rm -rf $(BUILD) bin

# ---- What the targets above make, once the packages are there ----

.PHONY: all programs tests fuzzers
all: $(OUT)/libunderstudy.a programs
programs: $(PROGRAMS) ; @:
tests: $(TESTS) ; @:
fuzzers: $(FUZZERS) ; @:

# Rewritten when it would change: another compiler, other flags or a source that came or went rebuilds what it must.
# g++ 12 miscompiles coroutine expressions (docs/hacking.md), so only clang may be the compiler.
$(OUT)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CXX) $(CPPFLAGS) $(CXXFLAGS)' | cmp -s - $@ || { \
	  $(CXX) --version | grep -q clang || { echo "error: $(CXX) is not clang; g++ miscompiles coroutines (docs/hacking.md)" >&2; exit 1; }; \
	  echo '$(CXX) $(CPPFLAGS) $(CXXFLAGS)' > $@; }
$(OUT)/sources: FORCE
	@mkdir -p $(@D)
	@echo '$(LIBRARY_OBJECTS) $(PROTO_OBJECTS) $(SIM_OBJECTS) $(BENCH_OBJECTS)' | cmp -s - $@ || \
	  echo '$(LIBRARY_OBJECTS) $(PROTO_OBJECTS) $(SIM_OBJECTS) $(BENCH_OBJECTS)' > $@
FORCE:

$(OUT)/libunderstudy.a: $(LIBRARY_OBJECTS) $(PROTO_OBJECTS) $(OUT)/sources
	@rm -f $@; llvm-ar-19 rcsT $@ $(filter %.o,$^)

$(OUT)/%.o: %.cc $(OUT)/flags | $(PROTO_HEADERS)
	@mkdir -p $(@D)
	@echo "  CXX $<"
	@$(CCACHE) $(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/proto/%.pb.cc $(OUT)/proto/%.pb.h &: %.proto
	@mkdir -p $(OUT)/proto
	@$(PROTOC) --cpp_out=$(OUT)/proto $<

$(OUT)/proto/%.pb.o: $(OUT)/proto/%.pb.cc $(OUT)/flags
	@echo "  CXX $<"
	@$(CCACHE) $(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/tests/%: $(OUT)/tests/%.o $(SIM_OBJECTS) $(OUT)/libunderstudy.a
	@echo "  LD  $@"
	@$(CXX) $(LDFLAGS) -o $@ $< $(SIM_OBJECTS) $(OUT)/libunderstudy.a $(TEST_LDLIBS) $(LDLIBS)

# A fuzzer follows the branches of what was built for it: of everything in MODE=fuzz, else of its own file only.
$(OUT)/tests/fuzz/%.o: CXXFLAGS += -fsanitize=fuzzer-no-link
$(OUT)/fuzz/%: $(OUT)/tests/fuzz/%.o $(SIM_OBJECTS) $(OUT)/libunderstudy.a
	@mkdir -p $(@D)
	@echo "  LD  $@"
	@$(CXX) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $(SIM_OBJECTS) $(OUT)/libunderstudy.a -lgmock -lgtest $(LDLIBS)

define PROGRAM_RULE
$(patsubst %-client,%,$(1:%/main.cc=$(BIN)/understudy-%)): $(OUT)/$(1:.cc=.o) $(if $(filter bench/%,$(1)),$(BENCH_OBJECTS)) $(OUT)/libunderstudy.a
	@mkdir -p $$(@D)
	@echo "  LD  $$@"
	@$(CXX) $(LDFLAGS) -o $$@ $$(filter %.o %.a,$$^) $(LDLIBS) $(PROGRAM_LDLIBS)
endef
$(foreach main,$(MAINS),$(eval $(call PROGRAM_RULE,$(main))))

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
.SECONDARY:
.DELETE_ON_ERROR:
