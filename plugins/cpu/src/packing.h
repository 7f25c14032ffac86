// Weights from row-major memory to the packed blob, and back.
#pragma once

#include "formats.h"

namespace uc {

struct Matrix {
  const void* data;
  int dtype;
  int64_t rows, cols;
  size_t stride;  // Elements from row to row.
};

// `blob` has room for layout.total_bytes().
Status pack(const Matrix& source, const Layout& layout, void* blob);
// From levels [rows, cols] that someone else chose: value = (level - zero) * scale; zero is the
// middle level (8 or 128) unless zeros [rows, num_scales] say otherwise. With shifts
// [rows, num_scales]: level * scale + shift.
Status pack_levels(const Layout& layout, const uint8_t* levels, const float* scales,
                   const uint8_t* zeros, const float* shifts, void* blob);
// float32 [rows, cols].
Status unpack(const Weight& weight, float* out);
// Rows `ids` of the matrix, to bfloat16 or float32 [count, cols].
Status embed(const Weight& weight, const int64_t* ids, int64_t count, void* out, int dtype);

}  // namespace uc
