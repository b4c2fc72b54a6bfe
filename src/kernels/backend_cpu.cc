#include <cpuid.h>

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cpu_kernels.h"
#include "kernels/moe_cpu.h"
#include "kernels/multiply_cpu.h"
#include "kernels/softmax_cpu.h"

namespace qvl {
namespace {

/// Features that not every compiler has a name for.
struct CpuidBits {
  bool f16c = false;
  bool avx512_bf16 = false;
};

CpuidBits read_cpuid() {
  CpuidBits out;
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) out.f16c = (ecx & bit_F16C) != 0;
  if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0) {
    out.avx512_bf16 = (eax & (1U << 5)) != 0;
  }
  return out;
}

const CpuKernels& kernels_of(Isa isa) {
  switch (isa) {
    case Isa::avx512_bf16:
      return avx512_bf16_kernels();
    case Isa::avx512:
      return avx512_kernels();
    case Isa::avx2:
      break;
  }
  return avx2_kernels();
}

}  // namespace

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512_bf16:
      return "avx512_bf16";
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      break;
  }
  return "avx2";
}

Result<Isa> detect_isa() {
  // The builtin also asks whether the system saves the wide registers.
  const CpuidBits bits = read_cpuid();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !bits.f16c) {
    return Error{ErrorCode::unsupported_cpu,
                 "this processor lacks AVX2, FMA or F16C, which every x86-64 processor since 2015 "
                 "has; expected all three",
                 ""};
  }
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    return Isa::avx2;
  }
  return bits.avx512_bf16 ? Isa::avx512_bf16 : Isa::avx512;
}

Result<Isa> preferred_isa() {
  Result<Isa> best = detect_isa();
  if (best && *best == Isa::avx512_bf16 && __builtin_cpu_is("intel")) return Isa::avx512;
  return best;
}

Cpu make_cpu(Threads& threads, Arena& scratch, Isa isa) {
  return {&threads, &scratch, isa, &kernels_of(isa)};
}

int64_t scratch_bytes(const Cpu& cpu, const OperatorShapes& shapes) {
  return std::max(
      {multiply_scratch_bytes(cpu, shapes.max_rows, shapes.max_in),
       moe_scratch_bytes(cpu, shapes.moe),
       attention_scratch_bytes(cpu, shapes.max_rows, shapes.max_heads, shapes.max_head_dim),
       vision_attention_scratch_bytes(cpu, shapes.max_heads, shapes.max_head_dim,
                                      shapes.max_attention_len)});
}

}  // namespace qvl
