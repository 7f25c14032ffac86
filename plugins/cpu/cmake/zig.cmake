# Builds for the platform ZIG_TARGET with the compiler of the PyPI package ziglang, run by ZIG_PYTHON.
# Its C++ library is linked in, so that the result needs nothing but the system's C library.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG_TARGET ZIG_PYTHON)
string(REGEX MATCH "^[^-]+" CMAKE_SYSTEM_PROCESSOR "${ZIG_TARGET}")
if(ZIG_TARGET MATCHES "macos")
  set(CMAKE_SYSTEM_NAME Darwin)
elseif(ZIG_TARGET MATCHES "windows")
  set(CMAKE_SYSTEM_NAME Windows)
  set(CMAKE_RC_COMPILER_INIT "${ZIG_PYTHON}")  # There are no resources.
  set(CMAKE_CXX_STANDARD_LIBRARIES "" CACHE STRING "Those of windows with windows are not called")
else()
  set(CMAKE_SYSTEM_NAME Linux)
endif()
# Every run of it has the same kind of C++ library, which is compiled at the first.
set(CMAKE_CXX_COMPILER "${ZIG_PYTHON}" -m ziglang c++ -target ${ZIG_TARGET} -O3 -g0 -s)
set(CMAKE_CXX_FLAGS_RELEASE_INIT "-DNDEBUG")
