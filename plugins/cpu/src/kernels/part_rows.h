// What goes row by row: packing, norms, rotation, activation, the choice of a token.
#include "kernels/quantize.h"

#include "kernels/elementwise.h"

#include "kernels/choose.h"

#include "kernels/low_rank.h"

extern const RowKernels rows;
const RowKernels rows = {pack_panel, unpack_row,   norm_row, silu_mul,      rope_head,  convert,
                         largest,    exponentials, read,     low_rank_down, low_rank_up};
