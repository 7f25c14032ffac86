/* Loads a build of the library and compares products with plain loops, on every instruction set:
   a proof where Python and torch cannot run. Usage: product LIBRARY */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../src/unisono_cpu.h"

#if defined(_WIN32)
#include <windows.h>
#define OPEN(path) (void*)LoadLibraryA(path)
#define FIND(library, name) (void*)GetProcAddress((HMODULE)library, name)
#else
#include <dlfcn.h>
#define OPEN(path) dlopen(path, RTLD_NOW)
#define FIND(library, name) dlsym(library, name)
#endif

enum { kRows = 200, kCols = 160, kTokens = 5 };
static float weights[kRows * kCols], x[kTokens * kCols], y[kTokens * kRows], wide[kRows * kCols];

static void* library;
#define CALL(name, type) ((type)FIND(library, name))
typedef const char* (*Text)(void);
typedef const char* (*Numbered)(int);
typedef int (*Choose)(const char*);
typedef int (*Count)(int);
typedef int (*Describe)(int, int, int, int64_t, int64_t, uc_weight_info*);
typedef int (*Pack)(const void*, int, int64_t, const uc_weight_info*, void*, size_t);
typedef int (*Unpack)(const void*, size_t, float*);
typedef int (*Multiply)(const uc_linear*, const void*, int, int64_t, int64_t, void*, int, int64_t);

static double error_of(int format, int group) {
  uc_weight_info info;
  if (CALL("uc_describe", Describe)(format, group, UC_FLOAT32, kRows, kCols, &info)) return 1e9;
  char* room = malloc((size_t)info.bytes + 64);
  char* blob = room + (64 - (size_t)room % 64);
  uc_linear linear = {blob, (size_t)info.bytes, NULL};
  int failed = CALL("uc_pack", Pack)(weights, UC_FLOAT32, kCols, &info, blob, (size_t)info.bytes) ||
               CALL("uc_unpack", Unpack)(blob, (size_t)info.bytes, wide) ||
               CALL("uc_multiply", Multiply)(&linear, x, UC_FLOAT32, kCols, kTokens, y, UC_FLOAT32,
                                             kRows);
  free(room);
  double difference = 0, size = 0;
  for (int t = 0; t < kTokens && !failed; ++t) {
    for (int n = 0; n < kRows; ++n) {
      double sum = 0;
      for (int k = 0; k < kCols; ++k) sum += (double)x[t * kCols + k] * wide[n * kCols + k];
      difference += (y[t * kRows + n] - sum) * (y[t * kRows + n] - sum);
      size += sum * sum;
    }
  }
  return failed ? 1e9 : sqrt(difference / size);
}

int main(int argc, char** argv) {
  library = argc == 2 ? OPEN(argv[1]) : NULL;
  if (!library) return fprintf(stderr, "cannot load %s\n", argc == 2 ? argv[1] : "nothing"), 2;
  unsigned state = 1;
  for (int i = 0; i < kRows * kCols; ++i) {
    weights[i] = (float)((state = state * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1.0f;
    if (i < kTokens * kCols) x[i] = weights[i] * weights[i] - 0.3f;
  }
  CALL("uc_set_threads", Count)(3);
  printf("processor: %s\n", CALL("uc_features", Text)());
  int wrong = 0;
  const char* isa;
  for (int i = 0; (isa = CALL("uc_available_isa", Numbered)(i)); ++i) {
    CALL("uc_set_isa", Choose)(isa);
    const double f32 = error_of(UC_F32, 0), bf16 = error_of(UC_BF16, 0);
    const double int8 = error_of(UC_INT8, 32), int4 = error_of(UC_INT4, 32);
    printf("%s: f32 %.1e, bf16 %.1e, int8 %.1e, int4 %.1e\n", isa, f32, bf16, int8, int4);
    wrong += f32 > 1e-5 || bf16 > 1e-2 || int8 > 2e-2 || int4 > 2e-2;
  }
  return wrong > 0;
}
