#include "dispatch.h"

#include <cstring>

#include "processor.h"

namespace uc {

#define UC_DECLARE(isa)                    \
  namespace isa {                          \
  extern const ProductKernels products;    \
  extern const AttentionKernels attention; \
  extern const RowKernels rows;            \
  }
UC_DECLARE(portable)
UC_DECLARE(avx2)
UC_DECLARE(avx_vnni)
UC_DECLARE(avx512_base)
UC_DECLARE(avx512_vnni)
UC_DECLARE(avx512)
UC_DECLARE(amx)
UC_DECLARE(neon)
UC_DECLARE(neon_dotprod)
UC_DECLARE(neon_i8mm)
UC_DECLARE(neon_bf16)

namespace {

#if defined(__x86_64__)
#if !defined(UC_AVX_VNNI_FEATURE)
#define UC_AVX_VNNI_FEATURE "avx_vnni"
#endif
[[maybe_unused]] bool has_avx2() {
  return has_feature("avx2") && has_feature("fma") && has_feature("f16c");
}
[[maybe_unused]] bool has_avx_vnni() { return has_avx2() && has_feature(UC_AVX_VNNI_FEATURE); }
[[maybe_unused]] bool has_avx512_base() {
  return has_avx2() && has_feature("avx512f") && has_feature("avx512bw") &&
         has_feature("avx512vl") && has_feature("avx512dq");
}
[[maybe_unused]] bool has_avx512_vnni() { return has_avx512_base() && has_feature("avx512_vnni"); }
[[maybe_unused]] bool has_avx512() { return has_avx512_vnni() && has_feature("avx512_bf16"); }
[[maybe_unused]] bool has_amx() {
  return has_avx512() && has_feature("amx_tile") && has_feature("amx_int8") &&
         has_feature("amx_bf16") && may_use_tiles();
}
#elif defined(__aarch64__)
[[maybe_unused]] bool has_neon() { return has_feature("neon"); }
[[maybe_unused]] bool has_neon_dotprod() { return has_neon() && has_feature("dotprod"); }
[[maybe_unused]] bool has_neon_i8mm() { return has_neon_dotprod() && has_feature("i8mm"); }
[[maybe_unused]] bool has_neon_bf16() { return has_neon_i8mm() && has_feature("bf16"); }
#endif

struct Choice {
  Kernels kernels;
  bool (*supported)();
};

#define UC_KERNELS(isa, others) {isa::products, others::attention, others::rows, #isa}

// Best first; but amx, which no processor has verified, behind the set that it needs: it is never chosen
// unless it is named.
const Choice kChoices[] = {
#if defined(UC_HAS_avx512)
    {UC_KERNELS(avx512, avx512), has_avx512},
#endif
#if defined(UC_HAS_amx)
    {UC_KERNELS(amx, avx512), has_amx},
#endif
#if defined(UC_HAS_avx512_vnni)
    {UC_KERNELS(avx512_vnni, avx512_base), has_avx512_vnni},
#endif
#if defined(UC_HAS_avx512_base)
    {UC_KERNELS(avx512_base, avx512_base), has_avx512_base},
#endif
#if defined(UC_HAS_avx_vnni)
    {UC_KERNELS(avx_vnni, avx2), has_avx_vnni},
#endif
#if defined(UC_HAS_avx2)
    {UC_KERNELS(avx2, avx2), has_avx2},
#endif
#if defined(UC_HAS_neon_bf16)
    {UC_KERNELS(neon_bf16, neon_bf16), has_neon_bf16},
#endif
#if defined(UC_HAS_neon_i8mm)
    {UC_KERNELS(neon_i8mm, neon), has_neon_i8mm},
#endif
#if defined(UC_HAS_neon_dotprod)
    {UC_KERNELS(neon_dotprod, neon), has_neon_dotprod},
#endif
#if defined(UC_HAS_neon)
    {UC_KERNELS(neon, neon), has_neon},
#endif
    {UC_KERNELS(portable, portable), [] { return true; }},
};

const Kernels* chosen = nullptr;

}  // namespace

const char* available_isa(int index) {
  for (const Choice& choice : kChoices) {
    if (choice.supported() && index-- == 0) return choice.kernels.name;
  }
  return nullptr;
}

Status set_isa(const char* name) {
  const bool any = !name || !*name;
  for (const Choice& choice : kChoices) {
    if (!any && std::strcmp(choice.kernels.name, name) != 0) continue;
    if (choice.supported()) {
      chosen = &choice.kernels;
      return kOk;
    }
    if (!any) return fail(kUnsupported, "this processor cannot run %s", name);
  }
  return fail(kUnsupported, "instruction set '%s' is not known", name);
}

const Kernels& kernels() {
  if (!chosen) set_isa(nullptr);
  return *chosen;
}

}  // namespace uc
