// What goes row by row: packing, norms, rotation, activation, the choice of a token.
#include "kernels/quantize.h"

#include "kernels/elementwise.h"

#include "kernels/choose.h"

extern const RowKernels rows;
const RowKernels rows = {pack_panel, unpack_row, norm_row, silu_mul,     rope_head,
                         convert,    largest,    exponentials, read};
