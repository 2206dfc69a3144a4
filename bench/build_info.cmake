# SPDX-License-Identifier: Apache-2.0
# Run at every build: rewrites the header only when what it says changed, so that nothing is compiled for nothing.
find_program(GIT git)
set(TD_BUILD_COMMIT "unknown")
if(GIT)
    execute_process(COMMAND ${GIT} -C ${SOURCE} describe --always --abbrev=12 --dirty --exclude=*
        OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed)
        set(TD_BUILD_COMMIT ${described})
    endif()
endif()
configure_file(${SOURCE}/bench/build_info.h.in ${OUT} @ONLY)
