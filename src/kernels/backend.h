#pragma once

/// The backends an operator can run on. Each operator has one header with one overload per backend
/// and the same statement of what is computed; the forward pass is a template over these types.

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/arena.h"
#include "core/threads.h"
#include "qvl/result.h"

struct CUstream_st;  // cudaStream_t, for those who do not call CUDA

namespace qvl {

/// Plain loops with float32 accumulation in index order: the specification in code, for tests and
/// parity.
struct Ref {
  static constexpr std::string_view kName = "ref";
};

/// What the instruction set offers. Chosen at run time; a lower one may be asked for in tests.
enum class Isa : uint8_t { avx2, avx512, avx512_bf16 };

std::string_view isa_name(Isa isa);
/// The best one of this processor. Error unsupported_cpu without AVX2, FMA and F16C.
Result<Isa> detect_isa();

/// The one to use unless told otherwise: the best, but plain AVX-512 on Intel, where vdpbf16ps runs
/// at half the rate of float32 multiply-adds (1,264 against 2,488 GFLOP/s on 16 cores of a Xeon; on
/// Zen 5 it runs at twice the rate).
Result<Isa> preferred_isa();

struct CpuKernels;  // one table of functions per ISA

/// All cores of one machine. One user at a time: operators share the threads and the scratch
/// memory.
struct Cpu {
  static constexpr std::string_view kName = "cpu";

  Threads* threads = nullptr;
  Arena* scratch = nullptr;  ///< operators rewind it; scratch_bytes() says how large it must be
  Isa isa = Isa::avx2;
  const CpuKernels* kernels = nullptr;
};

/// `isa` must be supported by this processor (detect_isa() or lower).
Cpu make_cpu(Threads& threads, Arena& scratch, Isa isa);

struct DeviceLists;  // of a step; see kernels/device_lists.h
class Staging;       // see kernels/staging.h

/// One NVIDIA GPU. Everything that operators read and write is device memory, but where they say
/// otherwise; they return when the work is queued on the stream. One user at a time.
struct Cuda {
  static constexpr std::string_view kName = "cuda";

  CUstream_st* stream = nullptr;
  Arena* scratch = nullptr;    ///< device memory; operators rewind it
  int compute_capability = 0;  ///< 90 for 9.0; see make_cuda
  int sm_count = 0;
  int shared_bytes = 0;                         ///< of shared memory that a block may have
  const DeviceLists* lists = nullptr;           ///< of the step under way
  std::vector<std::byte>* read_back = nullptr;  ///< host memory that holds copies for the host
  Staging* staging = nullptr;                   ///< what is uploaded goes through it; or null
  Threads* threads = nullptr;                   ///< of the host, to prepare weights; or null
};

/// The current device with what operators choose their kernels by; all else is the caller's to set.
/// That follows the code that was loaded as well as the device: where the driver has translated
/// kernels that were built for an older architecture, or the device runs those of one, the compute
/// capability is theirs, and so is the shared memory of 7.5. Error no_gpu: the program has no
/// kernels for the device.
Result<Cuda> make_cuda();

/// The mixture of experts of one engine; num_experts 0: there is none.
struct MoeShape {
  int64_t rows = 0;  ///< of a text step
  int64_t hidden_size = 0;
  int64_t moe_intermediate_size = 0;
  int64_t num_experts = 0;
  int64_t top_k = 0;
};

/// The largest shapes that operators of one engine will see; what scratch memory is sized by.
struct OperatorShapes {
  int64_t max_rows = 0;           ///< of a text step or a vision pass
  int64_t max_in = 0;             ///< widest input of a Linear
  int64_t max_out = 0;            ///< widest output of a Linear
  int64_t max_attention_len = 0;  ///< longest segment of vision attention, in patches
  int64_t max_heads = 0;
  int64_t max_head_dim = 0;
  int64_t max_input_elements = 0;  ///< rows · columns of the largest input of a Linear
  MoeShape moe{};
};
inline int64_t scratch_bytes(const Ref&, const OperatorShapes&) { return 0; }
int64_t scratch_bytes(const Cpu&, const OperatorShapes& shapes);
int64_t scratch_bytes(const Cuda&, const OperatorShapes& shapes);

/// Rows of a step by role, prompt rows first. A token's numerics follow its role: prompt rows go
/// through prefill kernels even when there is one of them, generated rows through decode kernels. A
/// backend whose kernels are bit-equal for any number of rows may treat them alike.
struct RowRoles {
  int64_t prompt = 0;
  int64_t generated = 0;

  int64_t rows() const { return prompt + generated; }
};

}  // namespace qvl
