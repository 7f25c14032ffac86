#include "dispatch.h"

#include <cstdlib>
#include <cstring>

namespace uc {

#define UC_DECLARE(isa)       \
  namespace isa {             \
  extern const Kernels table; \
  }
UC_DECLARE(portable)
UC_DECLARE(avx2)
UC_DECLARE(avx512_base)
UC_DECLARE(avx512_vnni)
UC_DECLARE(avx512)

namespace {

#if defined(__x86_64__)
#define HAS(feature) __builtin_cpu_supports(feature)
[[maybe_unused]] bool has_avx2() { return HAS("avx2") && HAS("fma"); }
[[maybe_unused]] bool has_avx512_base() {
  return HAS("avx512f") && HAS("avx512bw") && HAS("avx512vl") && HAS("avx512dq");
}
[[maybe_unused]] bool has_avx512_vnni() { return has_avx512_base() && HAS("avx512vnni"); }
[[maybe_unused]] bool has_avx512() { return has_avx512_vnni() && HAS("avx512bf16"); }
#endif

struct Choice {
  const Kernels* table;
  bool (*supported)();
};

// Best first.
const Choice kChoices[] = {
#if defined(UC_HAS_avx512)
    {&avx512::table, has_avx512},
#endif
#if defined(UC_HAS_avx512_vnni)
    {&avx512_vnni::table, has_avx512_vnni},
#endif
#if defined(UC_HAS_avx512_base)
    {&avx512_base::table, has_avx512_base},
#endif
#if defined(UC_HAS_avx2)
    {&avx2::table, has_avx2},
#endif
    {&portable::table, [] { return true; }},
};

const Kernels* chosen = nullptr;

}  // namespace

const char* available_isa(int index) {
  for (const Choice& choice : kChoices) {
    if (choice.supported() && index-- == 0) return choice.table->name;
  }
  return nullptr;
}

Status set_isa(const char* name) {
  const bool any = !name || !*name;
  for (const Choice& choice : kChoices) {
    if (!any && std::strcmp(choice.table->name, name) != 0) continue;
    if (choice.supported()) {
      chosen = choice.table;
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
