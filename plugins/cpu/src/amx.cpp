// The instruction set amx: avx512, with the products of many rows on tiles.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <new>

#include <immintrin.h>

#include "kernels.h"

namespace uc {
namespace avx512 {
extern const ProductKernels products;
}
namespace amx {

#include "kernels/simd.h"
#include "kernels/products.h"
#include "kernels/tile_floats.h"
#include "kernels/linear_tile.h"
#include "kernels/amx_tiles.h"
#include "kernels/amx_products.h"

extern const ProductKernels products;
const ProductKernels products = {tile_rows, tile_floats, tile_ints, matmul, products_alone};

}  // namespace amx
}  // namespace uc
