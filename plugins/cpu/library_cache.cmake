# The library is taken from the user's cache where an earlier build made it of the same sources with
# the same compiler and options, and kept there otherwise (library_cache.py). One line says which.
find_package(Python3 COMPONENTS Interpreter)

set(library "${CMAKE_CURRENT_BINARY_DIR}/${CMAKE_SHARED_LIBRARY_PREFIX}unisono_cpu${CMAKE_SHARED_LIBRARY_SUFFIX}")
set(cache_program "${CMAKE_CURRENT_SOURCE_DIR}/library_cache.py")
string(TOUPPER "${CMAKE_BUILD_TYPE}" build_type)
set(flags "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${build_type}}")
set(arguments " ${CMAKE_CXX_COMPILER_ARG1}")  # Never empty: a list would lose it.
set(built_from
  "${CMAKE_CXX_COMPILER}" "${arguments}"
  "flags ${flags} ${CMAKE_OSX_ARCHITECTURES}"
  "system ${CMAKE_SYSROOT} ${CMAKE_OSX_SYSROOT} ${CMAKE_OSX_DEPLOYMENT_TARGET}"
  "linking ${CMAKE_SHARED_LINKER_FLAGS} ${CMAKE_SHARED_LINKER_FLAGS_${build_type}}"
  "sanitizers ${UNISONO_CPU_SANITIZE}"
  "sets ${UNISONO_CPU_ISAS} ${UNISONO_CPU_EVEX_VNNI}")

set(cached TRUE)
if(NOT Python3_FOUND)
  set(cached FALSE)
  message(STATUS "native kernels: compiled; there is no Python to keep them in a cache")
elseif("${arguments} ${flags}" MATCHES "=native")  # Each processor takes that as another.
  set(cached FALSE)
  message(STATUS "native kernels: compiled for this very processor, past the cache")
endif()

function(take_from_cache taken)
  set(${taken} FALSE PARENT_SCOPE)
  if(NOT cached)
    return()
  endif()
  # A change of a source asks the cache again.
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/src/*")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${sources})
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" "${cache_program}" find "${library}" ${built_from}
    OUTPUT_VARIABLE entry OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_VARIABLE why ERROR_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE status)
  if(status EQUAL 0)
    message(STATUS "native kernels: taken from ${entry}, compiled before")
    set(${taken} TRUE PARENT_SCOPE)
  elseif(status EQUAL 3)
    message(STATUS "native kernels: compiled (under a minute); the cache has none at ${entry}")
    set(cache_entry "${entry}" PARENT_SCOPE)
  else()
    message(STATUS "native kernels: compiled; the cache is of no use: ${why}")
    set(cached FALSE PARENT_SCOPE)
  endif()
endfunction()

function(keep_in_cache target)
  if(cached)
    add_custom_command(TARGET ${target} POST_BUILD VERBATIM
      COMMAND "${Python3_EXECUTABLE}" "${cache_program}" keep "${library}" "${cache_entry}" ${built_from})
  endif()
endfunction()
