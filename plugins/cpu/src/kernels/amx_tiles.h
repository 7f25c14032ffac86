// The registers of AMX, as products use them: 0 and 1 have the sums of up to 16 rows of x with the two
// halves of a panel, 2 has 16 words of these rows, 3 and 4 as many steps of the halves. UC_TILE_MODEL names
// a file with the same operations in plain C++, for processors that have none.
#if defined(UC_TILE_MODEL)
#include UC_TILE_MODEL
#define UC_TILE(operation) model_tile_##operation
#else
#define UC_TILE(operation) _tile_##operation
#endif

constexpr int kTileRows = 16, kTileWords = 16;

// What LDTILECFG reads.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int tile_rows, int words) {
    rows[tile] = uint8_t(tile_rows);
    row_bytes[tile] = uint16_t(4 * words);
  }
};

// For `rows` of x and `words` of each at a time.
static void begin_tiles(int rows, int words) {
  TileShapes shapes;
  shapes.set(0, rows, kLanes);
  shapes.set(1, rows, kLanes);
  shapes.set(2, rows, words);
  shapes.set(3, words, kLanes);
  shapes.set(4, words, kLanes);
  UC_TILE(loadconfig)(&shapes);
}
static void end_tiles() { UC_TILE(release)(); }

static inline void zero_sums() {
  UC_TILE(zero)(0);
  UC_TILE(zero)(1);
}
// Rows of x lie `pitch` bytes apart; steps of both halves at `weights`, as panels have them.
static inline void load_tiles(const uint32_t* x, size_t pitch, const uint8_t* weights) {
  UC_TILE(loadd)(2, x, pitch);
  UC_TILE(loadd)(3, weights, kBytesPerStep);
  UC_TILE(loadd)(4, weights + kBytesPerStep / 2, kBytesPerStep);
}
static inline void add_bytes() {  // Of x signed, of weights unsigned.
  UC_TILE(dpbsud)(0, 2, 3);
  UC_TILE(dpbsud)(1, 2, 4);
}
static inline void add_pairs() {
  UC_TILE(dpbf16ps)(0, 2, 3);
  UC_TILE(dpbf16ps)(1, 2, 4);
}
// [rows][32] of 32 bits.
static inline void store_sums(void* to) {
  UC_TILE(stored)(0, to, 4 * kPanelRows);
  UC_TILE(stored)(1, static_cast<char*>(to) + 4 * kLanes, 4 * kPanelRows);
}
