# Helpers of our own targets: one warning level, one floating-point model, one way to declare a test.

find_program(QVL_CCACHE ccache)
if(QVL_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${QVL_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${QVL_CCACHE})
endif()

add_library(qvl_options INTERFACE)
target_include_directories(qvl_options INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
# -ffp-contract=off: a compiler that fuses a*b+c here but not there would make the same token differ
# between tile shapes. Kernels ask for fused multiply-add by name.
target_compile_options(qvl_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-std=c++20;-Wall;-Wextra;-Wshadow;-Wno-psabi;-Wno-missing-field-initializers;-ffp-contract=off>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr;--extended-lambda;-diag-suppress=554;-Xcompiler=-Wall;-Xcompiler=-Wno-psabi>"
  $<$<AND:$<BOOL:${QVL_WERROR}>,$<COMPILE_LANGUAGE:CXX>>:-Werror>)
if(QVL_SANITIZE)
  target_compile_options(qvl_options INTERFACE -fsanitize=${QVL_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(qvl_options INTERFACE -fsanitize=${QVL_SANITIZE})
endif()
if(QVL_FUZZ)
  target_compile_options(qvl_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports impossible overlaps inside std::string's operator+ (its bug 105651).
  target_compile_options(qvl_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
  target_link_options(qvl_options INTERFACE -static-libstdc++ -static-libgcc)
endif()

# qvl_library(name sources...): a static library of one folder.
function(qvl_library name)
  add_library(${name} STATIC ${ARGN})
  target_link_libraries(${name} PUBLIC qvl_options)
endfunction()

add_custom_target(unit_tests)
add_custom_target(fuzz_targets)

# qvl_test(stem libraries...): stem.cc in this folder is a GoogleTest program, labelled unit.
function(qvl_test stem)
  if(NOT QVL_TESTS)
    return()
  endif()
  add_executable(${stem} ${stem}.cc)
  target_link_libraries(${stem} PRIVATE ${ARGN} GTest::gtest_main)
  target_compile_definitions(${stem} PRIVATE QVL_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${stem} COMMAND ${stem})
  set_tests_properties(${stem} PROPERTIES LABELS unit TIMEOUT 600)
  add_dependencies(unit_tests ${stem})
endfunction()

# qvl_fuzz(stem libraries...): stem.cc defines LLVMFuzzerTestOneInput; its seeds lie in tests/fuzz/seeds/<stem>.
function(qvl_fuzz stem)
  if(NOT QVL_FUZZ)
    return()
  endif()
  add_executable(${stem} ${stem}.cc)
  target_link_libraries(${stem} PRIVATE ${ARGN})
  target_link_options(${stem} PRIVATE -fsanitize=fuzzer)
  set_target_properties(${stem} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
  add_dependencies(fuzz_targets ${stem})
endfunction()
