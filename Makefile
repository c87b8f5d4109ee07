# Understudy: build, test, run. `make help` lists the targets.
BUILD ?= build
CXX := $(if $(filter default undefined,$(origin CXX)),clang++-19,$(CXX))
CCACHE := $(shell command -v ccache 2>/dev/null)
PROTOC ?= protoc
# build, asan or tsan: each with objects of its own.
MODE ?= release
ifeq ($(MODE),release)
  MODE_FLAGS := -O2 -g1
else ifeq ($(MODE),asan)
  MODE_FLAGS := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(MODE),tsan)
  MODE_FLAGS := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
else
  $(error MODE is release, asan or tsan)
endif
OUT := $(BUILD)/$(MODE)

ifneq ($(findstring g++,$(CXX)),)
ifeq ($(findstring clang,$(CXX)),)
  $(error g++ miscompiles coroutine expressions; build with clang++-19 (docs/hacking.md))
endif
endif

CPPFLAGS := -I. -I$(OUT)/proto -DSPDLOG_COMPILED_LIB -DSPDLOG_SHARED_LIB -DSPDLOG_FMT_EXTERNAL -DFMT_SHARED
CXXFLAGS := -std=c++23 $(MODE_FLAGS) -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers -march=x86-64-v2 -pthread
LDFLAGS := -fuse-ld=lld-19 -pthread $(MODE_FLAGS)
LDLIBS := -luv -lsqlite3 -lcrypto -lprotobuf -lraft -lspdlog -lfmt -ledit -lzstd
TEST_LDLIBS := -lgtest -lgtest_main

PROTOS := $(wildcard common/wire/*.proto)
PROTO_OBJECTS := $(PROTOS:%.proto=$(OUT)/proto/%.pb.o)
PROTO_HEADERS := $(PROTOS:%.proto=$(OUT)/proto/%.pb.h)
LIBRARY_SOURCES := $(filter-out %/main.cc,$(wildcard common/*/*.cc nm/*.cc nm/*/*.cc ss/*.cc ss/*/*.cc client/*.cc client/*/*.cc))
LIBRARY_OBJECTS := $(LIBRARY_SOURCES:%.cc=$(OUT)/%.o)
SIM_OBJECTS := $(patsubst %.cc,$(OUT)/%.o,$(wildcard tests/sim/*.cc))
TEST_SOURCES := $(wildcard tests/test_*.cc)
TESTS := $(TEST_SOURCES:tests/%.cc=$(OUT)/tests/%)
MAINS := $(wildcard nm/main.cc ss/main.cc client/main.cc bench/main.cc)

.PHONY: all
all: $(OUT)/libunderstudy.a

$(OUT)/libunderstudy.a: $(LIBRARY_OBJECTS) $(PROTO_OBJECTS)
	@rm -f $@; llvm-ar-19 rcsT $@ $^

$(OUT)/%.o: %.cc | $(PROTO_HEADERS)
	@mkdir -p $(@D)
	@echo "  CXX $<"
	@$(CCACHE) $(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/proto/%.pb.cc $(OUT)/proto/%.pb.h &: %.proto
	@mkdir -p $(OUT)/proto
	@$(PROTOC) --cpp_out=$(OUT)/proto $<

$(OUT)/proto/%.pb.o: $(OUT)/proto/%.pb.cc
	@echo "  CXX $<"
	@$(CCACHE) $(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/tests/%: $(OUT)/tests/%.o $(SIM_OBJECTS) $(OUT)/libunderstudy.a
	@echo "  LD  $@"
	@$(CXX) $(LDFLAGS) -o $@ $< $(SIM_OBJECTS) $(OUT)/libunderstudy.a $(TEST_LDLIBS) $(LDLIBS)

.PHONY: test
test: $(TESTS)
	@for t in $(TESTS); do echo "== $$t"; $$t --gtest_brief=1 || exit 1; done

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
.SECONDARY:
