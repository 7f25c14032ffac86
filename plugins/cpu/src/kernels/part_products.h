// Matrix products.
#include "kernels/tile_ints.h"

#include "kernels/matmul.h"

#include "kernels/rates.h"

static int tile_rows(int format, int64_t) { return is_integer(format) ? kIntRows : kFloatRows; }

extern const ProductKernels products;
const ProductKernels products = {tile_rows, tile_floats, tile_ints, matmul, products_alone};
