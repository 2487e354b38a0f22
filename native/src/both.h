// Marks small functions that the CPU core and the CUDA core compile from the same text, so that both compute the same bits.
#ifndef DOPT_SRC_BOTH_H_
#define DOPT_SRC_BOTH_H_

#if defined(__CUDACC__)
#define DOPT_BOTH __host__ __device__ inline
#else
#define DOPT_BOTH inline
#endif

#endif  // DOPT_SRC_BOTH_H_
