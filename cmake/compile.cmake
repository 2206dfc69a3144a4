# SPDX-License-Identifier: Apache-2.0
# One place for compiler flags. No -march and no -ffast-math anywhere: an FMA happens where one is written.
add_compile_definitions(_GNU_SOURCE)
add_compile_options(
    -fno-omit-frame-pointer -fno-math-errno -ffp-contract=off
    -Wall -Wextra -Wshadow
    $<$<COMPILE_LANGUAGE:C>:-Wpedantic>
    $<$<COMPILE_LANGUAGE:C>:-Wconversion>
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
    $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
    $<$<COMPILE_LANGUAGE:C>:-Wvla>)

option(TD_WERROR "warnings are errors" OFF)
if(TD_WERROR)
    add_compile_options(-Werror)
endif()

# TD_SANITIZE: "address,undefined" or "thread".
set(TD_SANITIZE "" CACHE STRING "sanitizers to build with")
if(TD_SANITIZE)
    add_compile_options(-fsanitize=${TD_SANITIZE} -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${TD_SANITIZE})
endif()

# One static library per folder, named td_<folder>; the link edges are the layers.
function(td_library folder)
    cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
    add_library(td_${folder} STATIC ${arg_SOURCES})
    target_link_libraries(td_${folder} PUBLIC ${arg_LINK})
endfunction()

# Tests of one folder: an object library that goes into tandem_tests, and test_<folder>, the same tests alone.
function(td_tests folder)
    cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
    add_library(tests_${folder} OBJECT ${arg_SOURCES})
    target_link_libraries(tests_${folder} PUBLIC ${arg_LINK} PkgConfig::criterion)
    add_executable(test_${folder} EXCLUDE_FROM_ALL)
    target_link_libraries(test_${folder} PRIVATE tests_${folder})
    set_property(GLOBAL APPEND PROPERTY td_test_libraries tests_${folder})
endfunction()
