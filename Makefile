# The two commands of the README are `make demo` and `make test`; the rest is for people who work on qvl.

JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
TESTS ?=
TARGET ?= all
BASE ?= HEAD~1
GPU_TARGETS ?= 75-real;80-real;86-real;89-real;90a-real;100-real;120-real;80-virtual;120-virtual

.PHONY: demo test test-gpu release release-all lint asan tsan fuzz packages clean

demo: release  ## build, then answer a question about a picture
	tools/demo.sh

test: packages  ## build with warnings as errors and run every test
	cmake --preset dev
	cmake --build --preset dev -j $(JOBS)
	ctest --preset dev -j $(JOBS)

test-gpu: packages  ## what needs a GPU: operators, matrix products and attention against references, and reference cases
	cmake --preset dev
	cmake --build --preset dev -j $(JOBS) --target qvl assemble_golden quantised_test gpu_operators_test gpu_gemm_check gpu_flash_check gpu_decode_check gpu_int4_check gpu_forward_check gpu_candidates_check
	tools/test_gpu.sh

release: packages  ## build/release/qvl
	cmake --preset release
	cmake --build --preset release -j $(JOBS) --target qvl

release-all: packages  ## build/release-all/qvl with code for every GPU that is supported, and for later ones to translate
	cmake --preset release -B build/release-all -DQVL_CUDA_ARCHITECTURES="$(GPU_TARGETS)"
	cmake --build build/release-all -j $(JOBS) --target qvl

lint:  ## format and static checks of the files changed since BASE
	tools/lint.sh $(BASE)

asan: packages  ## the tests under address and undefined-behaviour sanitizers
	cmake --preset asan
	cmake --build --preset asan -j $(JOBS) --target $(TARGET)
	ctest --preset asan -j $(JOBS) $(TESTS)

tsan: packages  ## the tests under the thread sanitizer
	cmake --preset tsan
	cmake --build --preset tsan -j $(JOBS) --target $(TARGET)
	ctest --preset tsan -j $(JOBS) $(TESTS)

fuzz:  ## every fuzz target for FUZZ_SECONDS
	tools/install_packages.sh clang-19 libclang-rt-19-dev
	cmake --preset fuzz
	cmake --build --preset fuzz -j $(JOBS) --target fuzz_targets
	tools/fuzz.sh $(FUZZ_SECONDS)

packages:  ## install what packages.txt lists and this machine lacks
	tools/install_packages.sh $$(cat packages.txt)

clean:
	rm -rf build
