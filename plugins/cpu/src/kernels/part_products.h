// Matrix products.
#include "kernels/tile_ints.h"

#include "kernels/matmul.h"

#include "kernels/rates.h"

extern const ProductKernels products;
const ProductKernels products = {kFloatRows, kIntRows, tile_floats, tile_ints, matmul, products_alone};
