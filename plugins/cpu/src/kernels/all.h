// All kernels, in the namespace of one instruction set. Nothing here may be a template or inline
// function of the standard library: the linker would share it with processors that lack the set.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <new>

#include "attention_tile.h"
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace uc {
namespace UC_ISA {

#include "kernels/simd.h"

#include "kernels/tile_floats.h"
#include "kernels/tile_ints.h"

#include "kernels/matmul.h"

#include "kernels/quantize.h"

#include "kernels/elementwise.h"

#include "kernels/attending.h"

#include "kernels/attend_panels.h"

#include "kernels/attend_few.h"

#include "kernels/attend.h"

#include "kernels/choose.h"

extern const Kernels table;
const Kernels table = {
    UC_ISA_NAME,
    kFloatRows,
    kIntRows,
    kAttentionRows,
    tile_floats,
    tile_ints,
    matmul,
    quantize_panel,
    unpack_row,
    norm_row,
    silu_mul,
    rope_head,
    convert,
    attend,
    merge_parts,
    largest,
    exponentials,
    read,
};

}  // namespace UC_ISA
}  // namespace uc
