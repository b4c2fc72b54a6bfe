# The CUDA backend: built where nvcc is found, left out otherwise. QVL_HAS_CUDA says which.

set(QVL_HAS_CUDA OFF)
if(QVL_CUDA)
  find_program(QVL_NVCC nvcc HINTS ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
  if(QVL_NVCC)
    set(QVL_HAS_CUDA ON)
  else()
    message(STATUS "No nvcc: building without the CUDA backend")
  endif()
endif()

if(QVL_HAS_CUDA)
  set(CMAKE_CUDA_COMPILER ${QVL_NVCC})
  set(CMAKE_CUDA_ARCHITECTURES ${QVL_CUDA_ARCHITECTURES})
  if(QVL_CCACHE)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${QVL_CCACHE})
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
endif()

# qvl_cuda_sources(target sources...): adds .cu and .cc files of the CUDA backend to a target. Static
# runtime: the program starts without a GPU or a driver, and says so.
function(qvl_cuda_sources target)
  if(NOT QVL_HAS_CUDA)
    return()
  endif()
  target_sources(${target} PRIVATE ${ARGN})
  target_link_libraries(${target} PUBLIC CUDA::cudart_static)
endfunction()
